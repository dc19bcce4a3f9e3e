//! Answers of the gateway itself: errors in OpenAI's envelope, and JSON.

use super::body::Body;
use crate::openai::ApiError;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// The content type of every JSON answer.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The content type of every stream.
pub(crate) const EVENT_STREAM: HeaderValue =
    HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Marks an answer of [`error()`] with its message, for surfaces whose errors
/// have another shape.
#[derive(Debug, Clone)]
pub(crate) struct OwnError(pub(crate) Cow<'static, str>);

/// An error as an answer, with the time after which it is worth asking again
/// where that is known.
pub(crate) fn error(error: &ApiError, retry_after: Option<Duration>) -> Response<Body> {
    let mut response = json_bytes(error.status, error.to_json());
    let own = OwnError(error.message.clone());
    response.extensions_mut().insert(own);
    if let Some(wait) = retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    response
}

/// `wait` in seconds, rounded up: a caller must not come back too early.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    json_bytes(status, to_json(value))
}

/// `value` as JSON. Types of this crate have string keys and no failing
/// serialisers, which are the two ways in which this could fail; if one ever
/// does, the answer is an empty object rather than a panic.
pub(crate) fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from)
}

/// A JSON answer whose text is there already.
pub(crate) fn json_bytes(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let unavailable = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "later");
        for (millis, expected) in [(0, "0"), (1, "1"), (1000, "1"), (1001, "2")] {
            let response = error(&unavailable, Some(Duration::from_millis(millis)));
            assert_eq!(response.headers()[RETRY_AFTER], expected);
        }
        assert!(
            !error(&unavailable, None)
                .headers()
                .contains_key(RETRY_AFTER)
        );
    }
}
