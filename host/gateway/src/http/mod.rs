//! The data plane's HTTP: paths, bodies, errors.
//!
//! [`handle`] serves one request. It loads the running state once, finds what
//! is asked for and hands over to one module per surface, in reading order:
//! [`mod@openai`], [`predict`], [`infer`], [`decide`], [`models`],
//! [`reviews`], [`feedback`]. Nothing in here calls a
//! model; that is the business of `execute`.

pub(crate) mod body;
mod decide;
pub(crate) mod deliver;
mod feedback;
mod infer;
mod models;
mod openai;
mod predict;
mod question;
pub(crate) mod respond;
pub(crate) mod reviews;

use crate::config::RouteKind;
use crate::execute;
use crate::gateway::Gateway;
use crate::openai::{Api, ApiError};
use crate::plant::Plant;
use body::{Body, ReadError};
use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::time::Instant;

/// Paths of the data plane whose last part is a name.
const PREDICT: &str = "/v1/predict/";
const DECIDE: &str = "/v1/decide/";
const MODELS: &str = "/v1/models/";
const REVIEWS: &str = "/v1/reviews/";
/// Where feedback is taken.
const FEEDBACK: &str = "/v1/feedback";

/// How like a name must be to be offered as what was meant; Jaro-Winkler.
const NEAR_ENOUGH: f64 = 0.75;
/// How many near names an error offers.
const NEAR_MAX: usize = 3;

/// Serves one request of the data plane. Never fails: whatever goes wrong is
/// an answer.
pub(crate) async fn handle(gateway: &Gateway, request: Request<Incoming>) -> Response<Body> {
    let arrived = Instant::now();
    if let Some(api) = Api::at(request.uri().path()) {
        let served = match allow(&request, Method::POST) {
            Ok(()) => openai::serve(gateway, request, api).await,
            Err(refusal) => Err(refusal),
        };
        return served.unwrap_or_else(|refusal| execute::refuse(gateway, arrived, *refusal));
    }
    if infer::is_at(request.uri().path()) {
        let served = infer::serve(gateway, request).await;
        let response = served.unwrap_or_else(|refusal| execute::refuse(gateway, arrived, *refusal));
        return infer::shaped(response);
    }
    let served = match request.uri().path() {
        "/v1/models" => allow(&request, Method::GET).map(|()| models::list(&gateway.plant())),
        FEEDBACK => match allow(&request, Method::POST) {
            Ok(()) => feedback::serve(gateway, request).await,
            Err(refusal) => Err(refusal),
        },
        path if path.starts_with(PREDICT) => match allow(&request, Method::POST) {
            Ok(()) => {
                predict::serve(gateway, request, |path| {
                    path.strip_prefix(PREDICT).unwrap_or_default()
                })
                .await
            }
            Err(refusal) => Err(refusal),
        },
        path if path.starts_with(DECIDE) => match allow(&request, Method::POST) {
            Ok(()) => decide::serve(gateway, request).await,
            Err(refusal) => Err(refusal),
        },
        path if path.starts_with(REVIEWS) => match allow(&request, Method::GET) {
            Ok(()) => reviews::one(gateway, &path[REVIEWS.len()..]).await,
            Err(refusal) => Err(refusal),
        },
        path if path.starts_with(MODELS) => allow(&request, Method::GET)
            .and_then(|()| models::one(&gateway.plant(), &path[MODELS.len()..])),
        path => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!(
                "no such path `{}`: the data plane serves /v1/chat/completions, /v1/completions, \
                 /v1/embeddings, /v1/responses, /v1/models, /v1/predict/{{route}}, \
                 /v1/reviews/{{id}}, /v1/feedback, /v1/decide/{{point}} and /v2/models/{{route}}/infer",
                backstop_core::text::cut(path, 100)
            ),
        )
        .code("not_found")
        .into()),
    };
    served.unwrap_or_else(|refusal| execute::refuse(gateway, arrived, *refusal))
}

/// A surface's answer; the error is an answer too, boxed because it is rare.
pub(crate) type Served = Result<Response<Body>, Box<Response<Body>>>;

impl From<ApiError> for Box<Response<Body>> {
    fn from(error: ApiError) -> Self {
        Box::new(respond::error(&error, None))
    }
}

fn allow(request: &Request<Incoming>, method: Method) -> Result<(), Box<Response<Body>>> {
    if request.method() == method {
        return Ok(());
    }
    let error = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("this path takes {method} only"),
    );
    let mut response = respond::error(&error.code("method_not_allowed"), None);
    if let Ok(value) = HeaderValue::from_str(method.as_str()) {
        response.headers_mut().insert(ALLOW, value);
    }
    Err(Box::new(response))
}

/// Reads the caller's body within the plant's limit.
async fn read_body(plant: &Plant, body: Incoming) -> Result<Bytes, ApiError> {
    body::read(body, plant.body_bytes_max())
        .await
        .map_err(|error| {
            let (status, code) = match &error {
                ReadError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
                ReadError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
                ReadError::Broken(_) => (StatusCode::BAD_REQUEST, "request_unreadable"),
            };
            ApiError::new(status, error.to_string()).code(code)
        })
}

/// The error for bytes that are not the JSON that is needed.
fn invalid_json(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        format!("the request body is not what this path takes: {error}"),
    )
    .code("invalid_json")
}

/// The error for a route that does not exist, with the names that are near.
fn unknown_route(plant: &Plant, asked: &str, kind: RouteKind) -> ApiError {
    let asked = backstop_core::text::cut(asked, 100);
    if let Some(other) = plant.route(asked) {
        let place = match other.kind() {
            RouteKind::OpenAi(api) => format!("/v1{}", api.path()),
            RouteKind::Json => format!("{PREDICT}{asked}"),
        };
        return ApiError::new(
            StatusCode::NOT_FOUND,
            format!("route `{asked}` is served at {place}"),
        )
        .code("wrong_path_for_route");
    }
    let mut near: Vec<(f64, &str)> = plant
        .routes()
        .filter(|route| route.kind() == kind)
        .map(|route| (strsim::jaro_winkler(asked, route.name()), &**route.name()))
        .filter(|(likeness, _)| *likeness >= NEAR_ENOUGH)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let mut message = format!("no such route `{asked}`");
    for (position, (_, name)) in near.iter().take(NEAR_MAX).enumerate() {
        message.push_str(if position == 0 {
            "; near names: `"
        } else {
            ", `"
        });
        message.push_str(name);
        message.push('`');
    }
    ApiError::new(StatusCode::NOT_FOUND, message)
        .code("model_not_found")
        .param(match kind {
            RouteKind::OpenAi(_) => "model",
            RouteKind::Json => "route",
        })
}
