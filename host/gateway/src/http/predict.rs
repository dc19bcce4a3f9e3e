//! `POST /v1/predict/{route}`: any JSON model, answered by a route.

use super::{Served, invalid_json, read_body, unknown_route};
use crate::callback;
use crate::config::RouteKind;
use crate::execute::{self, Ask, Heard};
use crate::gateway::Gateway;
use crate::upstream::Path;
use http::Request;
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use std::time::Instant;

/// Serves one prediction by the route whose name `name_in` finds in the path.
///
/// # Errors
///
/// An answer that says what is wrong with the request.
pub(super) async fn serve(
    gateway: &Gateway,
    request: Request<Incoming>,
    name_in: impl Fn(&str) -> &str,
) -> Served {
    let arrived = Instant::now();
    let plant = gateway.plant();
    let (head, body) = request.into_parts();
    let name = name_in(head.uri.path());
    let route = match plant.route(name) {
        Some(route) if route.kind() == RouteKind::Json => route.clone(),
        _ => return Err(unknown_route(&plant, name, RouteKind::Json).into()),
    };
    let body = read_body(&plant, body).await?;
    // The body goes to the model as it is; it only has to be JSON.
    serde_json::from_slice::<IgnoredAny>(&body).map_err(|error| invalid_json(&error))?;
    let callback = callback::asked(&plant, &route, &head.headers)?;
    let heard = Heard {
        path: Path::Json,
        streaming: false,
        include_usage: false,
        body,
        arrived,
        callback,
    };
    let ask = Ask::new(route, &head.headers, heard, &gateway.shared().counting());
    Ok(execute::serve(gateway, ask).await)
}
