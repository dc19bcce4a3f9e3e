//! `POST /v1/chat/completions`, `/v1/completions`, `/v1/embeddings` and
//! `/v1/responses`: OpenAI's API, answered by a route.
//!
//! Of the request only what the gateway needs is read; the body itself goes
//! to the provider with nothing but the model's name changed, so fields that
//! this version does not know pass through.

use super::{Served, read_body, unknown_route};
use crate::callback;
use crate::config::RouteKind;
use crate::execute::{self, Ask, Heard};
use crate::gateway::Gateway;
use crate::openai::{Api, ApiError, OpenAiRequest};
use crate::upstream::Path;
use http::Request;
use hyper::body::Incoming;
use std::time::Instant;

/// Serves one request of `api`.
///
/// # Errors
///
/// An answer that says what is wrong with the request.
pub(super) async fn serve(gateway: &Gateway, request: Request<Incoming>, api: Api) -> Served {
    let arrived = Instant::now();
    let plant = gateway.plant();
    let (head, body) = request.into_parts();
    let body = read_body(&plant, body).await?;
    let asked = OpenAiRequest::parse(api, &body).map_err(ApiError::from)?;
    let kind = RouteKind::OpenAi(api);
    let route = match plant.route(&asked.model) {
        Some(route) if route.kind() == kind => route.clone(),
        _ => return Err(unknown_route(&plant, &asked.model, kind).into()),
    };
    let callback = callback::asked(&plant, &route, &head.headers)?;
    let heard = Heard {
        path: Path::OpenAi(api, asked.layout),
        streaming: asked.stream,
        include_usage: asked.include_usage,
        body: body.clone(),
        arrived,
        callback,
    };
    let ask = Ask::new(route, &head.headers, heard, &gateway.shared().counting());
    Ok(execute::serve(gateway, ask).await)
}
