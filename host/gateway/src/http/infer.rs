//! `/v2`: JSON routes in the words of the Open Inference Protocol.
//!
//! Bodies pass untouched in both directions, as with `/v1/predict`; what
//! differs are the paths and the shape of the gateway's own errors,
//! `{"error": "…"}`. An error that a model wrote is relayed as it is.

use super::{Served, predict, respond, unknown_route};
use crate::config::RouteKind;
use crate::gateway::Gateway;
use crate::http::body::Body;
use crate::openai::ApiError;
use crate::plant::Plant;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

/// Root of the protocol.
pub(super) const V2: &str = "/v2";
/// Before the name of a route.
const MODELS: &str = "/v2/models/";

/// What a path of the protocol asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    Server,
    Live,
    Ready,
    Model(&'a str),
    ModelReady(&'a str),
    Infer(&'a str),
}

impl<'a> Asked<'a> {
    fn at(path: &'a str) -> Option<Self> {
        match path {
            V2 => return Some(Asked::Server),
            "/v2/health/live" => return Some(Asked::Live),
            "/v2/health/ready" => return Some(Asked::Ready),
            _ => {}
        }
        let rest = path.strip_prefix(MODELS)?;
        let (name, asked) = rest.split_once('/').unwrap_or((rest, ""));
        match asked {
            _ if name.is_empty() => None,
            "" if !rest.ends_with('/') => Some(Asked::Model(name)),
            "ready" => Some(Asked::ModelReady(name)),
            "infer" => Some(Asked::Infer(name)),
            _ => None,
        }
    }

    fn method(&self) -> Method {
        match self {
            Asked::Infer(_) => Method::POST,
            _ => Method::GET,
        }
    }
}

#[derive(Serialize)]
struct Server {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 0],
}

/// A route as a model. What goes in and out is known to the models behind it
/// only, so both lists are empty.
#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    platform: &'static str,
    inputs: [(); 0],
    outputs: [(); 0],
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a str,
}

/// True for paths of the protocol.
pub(super) fn is_at(path: &str) -> bool {
    path == V2 || path.starts_with("/v2/")
}

/// Serves one request below [`V2`].
///
/// # Errors
///
/// An answer that says what is wrong with the request.
pub(super) async fn serve(gateway: &Gateway, request: Request<Incoming>) -> Served {
    let path = request.uri().path();
    let Some(asked) = Asked::at(path) else {
        let message = format!(
            "no such path `{}`: below /v2 are /v2/health/live, /v2/health/ready, \
             /v2/models/{{route}}, /v2/models/{{route}}/ready and /v2/models/{{route}}/infer",
            backstop_core::text::cut(path, 100)
        );
        let error = ApiError::new(StatusCode::NOT_FOUND, message).code("not_found");
        return Err(error.into());
    };
    super::allow(&request, asked.method())?;
    let ok = |value: serde_json::Value| Ok(respond::json(StatusCode::OK, &value));
    match asked {
        Asked::Server => Ok(respond::json(
            StatusCode::OK,
            &Server {
                name: "backstop",
                version: env!("CARGO_PKG_VERSION"),
                extensions: [],
            },
        )),
        // It answers, and it has routes from its start on.
        Asked::Live => ok(json!({"live": true})),
        Asked::Ready => ok(json!({"ready": true})),
        Asked::Model(name) => {
            let plant = gateway.plant();
            let name = known(&plant, name)?;
            let model = Model {
                name,
                platform: "backstop",
                inputs: [],
                outputs: [],
            };
            Ok(respond::json(StatusCode::OK, &model))
        }
        Asked::ModelReady(name) => {
            let plant = gateway.plant();
            let name = known(&plant, name)?;
            ok(json!({"name": name, "ready": true}))
        }
        Asked::Infer(_) => {
            predict::serve(gateway, request, |path| match Asked::at(path) {
                Some(Asked::Infer(name)) => name,
                _ => "",
            })
            .await
        }
    }
}

fn known<'n>(plant: &Plant, name: &'n str) -> Result<&'n str, Box<Response<Body>>> {
    match plant.route(name) {
        Some(route) if route.kind() == RouteKind::Json => Ok(name),
        _ => Err(unknown_route(plant, name, RouteKind::Json).into()),
    }
}

/// The gateway's own errors in the shape of the protocol.
pub(super) fn shaped(mut response: Response<Body>) -> Response<Body> {
    if let Some(respond::OwnError(message)) = response.extensions_mut().remove() {
        *response.body_mut() = Body::Whole(respond::to_json(&Failed { error: &message }));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_protocol_are_told_apart() {
        for (path, asked) in [
            ("/v2", Some(Asked::Server)),
            ("/v2/health/live", Some(Asked::Live)),
            ("/v2/health/ready", Some(Asked::Ready)),
            ("/v2/models/a", Some(Asked::Model("a"))),
            ("/v2/models/a/ready", Some(Asked::ModelReady("a"))),
            ("/v2/models/a/infer", Some(Asked::Infer("a"))),
            ("/v2/models/", None),
            ("/v2/models//infer", None),
            ("/v2/models/a/", None),
            ("/v2/models/a/infer/b", None),
            ("/v2/other", None),
        ] {
            assert_eq!(Asked::at(path), asked, "{path}");
        }
        assert!(is_at("/v2/x") && !is_at("/v2x"));
    }
}
