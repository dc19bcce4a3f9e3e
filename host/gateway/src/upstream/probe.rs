//! Asking a server whether it is well, without asking a model anything.

use super::classify::exchange_failure;
use super::client::Exchange;
use super::target::{Endpoint, Target, beside};
use super::types::Failure;
use backstop_core::fault::FailureClass;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Asks for `path` below the base URL of `target`; any 2xx is well. A
/// simulated model is always well: what it is told to do is what it shows.
///
/// # Errors
///
/// Why it is not, with a text for the operator.
pub async fn probe(target: &Target, path: &str, timeout: Duration) -> Result<(), Failure> {
    let server = match &target.endpoint {
        Endpoint::OpenAi { server, .. } | Endpoint::Json(server) => server,
        Endpoint::Simulated { .. } => return Ok(()),
    };
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = beside(server, path).into();
    *request.headers_mut() = server.headers.clone();
    request.headers_mut().remove(http::header::CONTENT_TYPE);
    if let Some(keys) = &target.keys
        && let Ok(position) = keys.round().next()
    {
        let (name, key) = keys.header(position);
        request.headers_mut().insert(name, key.clone());
    }
    let until = Instant::now() + timeout;
    let asked = timeout_at(
        until,
        Exchange::start(Arc::clone(&server.origin), request, until),
    );
    let late = || {
        Failure::new(
            FailureClass::TimeoutTotal,
            "the probe got no answer in time",
        )
    };
    let (head, exchange) = asked
        .await
        .map_err(|_| late())?
        .map_err(|error| exchange_failure(&error, false))?;
    exchange.let_go();
    if head.status.is_success() {
        return Ok(());
    }
    let text = format!("the probe was answered {}", head.status.as_u16());
    Err(Failure::new(FailureClass::ServerError, text).with_status(head.status))
}
