//! `POST /v1/chat/completions`: OpenAI's chat, answered by a route.
//!
//! Of the request only what the gateway needs is read; the body itself goes
//! to the provider with nothing but the model's name changed, so fields that
//! this version does not know pass through.

use super::{Served, read_body, unknown_route};
use crate::config::RouteKind;
use crate::execute::{self, Ask, Heard};
use crate::gateway::Gateway;
use crate::openai::{ApiError, ChatRequest};
use crate::upstream::Path;
use http::Request;
use hyper::body::Incoming;
use std::time::Instant;

/// Serves one chat request.
///
/// # Errors
///
/// An answer that says what is wrong with the request.
pub(super) async fn serve(gateway: &Gateway, request: Request<Incoming>) -> Served {
    let arrived = Instant::now();
    let plant = gateway.plant();
    let (head, body) = request.into_parts();
    let body = read_body(&plant, body).await?;
    let chat = ChatRequest::parse(&body).map_err(ApiError::from)?;
    let route = match plant.route(&chat.model) {
        Some(route) if route.kind() == RouteKind::Chat => route.clone(),
        _ => return Err(unknown_route(&plant, &chat.model, RouteKind::Chat).into()),
    };
    let heard = Heard {
        path: Path::Chat(chat.layout),
        streaming: chat.stream,
        include_usage: chat.include_usage,
        body: body.clone(),
        arrived,
    };
    let ask = Ask::new(route, &head.headers, heard, gateway.clock());
    Ok(execute::serve(gateway, ask).await)
}
