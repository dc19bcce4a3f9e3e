//! The error envelope, `{"error":{"message","type","param","code"}}`: written
//! for callers, read from upstreams.
//!
//! Written errors always have all four keys. What they say comes from the
//! gateway and never holds an upstream's address or words; those are for the
//! operator ([`Failure::detail`]) or are relayed as a whole ([`Failure::relay`]).

use super::Api;
use super::responses::write::named;
use crate::upstream::Failure;
use backstop_core::fault::FailureClass;
use backstop_core::text::sanitize;
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// An error for a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status to answer with.
    pub status: StatusCode,
    /// For people.
    pub message: Cow<'static, str>,
    /// The kind, in OpenAI's words.
    pub kind: &'static str,
    /// The request's field that is wrong.
    pub param: Option<Cow<'static, str>>,
    /// For programs.
    pub code: Option<Cow<'static, str>>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ApiError {
    /// An error whose kind follows from its status.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        ApiError {
            status,
            message: message.into(),
            kind: match status.as_u16() {
                401 => "authentication_error",
                403 => "permission_error",
                429 => "rate_limit_error",
                400..=499 => "invalid_request_error",
                503 => "service_unavailable_error",
                _ => "server_error",
            },
            param: None,
            code: None,
        }
    }

    /// The same error with a code for programs.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same error with the field that is wrong.
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// What a caller is told when the plan ends with `failure` and there is
    /// nothing to relay. The code is the failure's class.
    pub fn from_failure(failure: &Failure) -> Self {
        Self::from_class(failure.class)
    }

    /// As [`ApiError::from_failure`], for a class alone.
    pub fn from_class(class: FailureClass) -> Self {
        use FailureClass as F;
        let message = match class {
            F::ClientFault => "the model refused the request",
            F::ContextLength => "the request is longer than the model's context",
            F::ContentPolicy => "the model's provider declined the content of the request",
            F::Auth => "the model's provider refused this gateway's credentials",
            F::RateLimit => "the model's provider limits the rate of requests",
            F::Overload => "the model is overloaded",
            F::ServerError => "the model failed",
            F::Connection => "the model could not be reached",
            F::TimeoutConnect | F::TimeoutFirstToken | F::TimeoutIdle | F::TimeoutTotal => {
                "the model did not answer in time"
            }
            F::CutStream => "the model's answer ended before it was complete",
            F::Malformed => "the model's answer could not be understood",
        };
        let status = StatusCode::from_u16(class.effect().status);
        let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
        Self::new(status, message).code(class.as_str())
    }

    /// The envelope as a body.
    pub fn to_json(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(192);
        self.write(&mut out);
        out.freeze()
    }

    /// The error as an event of a stream of `api` in which `position` events
    /// came before. Nothing follows it: a stream that failed has no end.
    pub fn to_event(&self, api: Api, position: u64) -> Bytes {
        if api == Api::Responses {
            let event = serde_json::json!({
                "type": "error",
                "code": self.code,
                "message": self.message,
                "param": self.param,
                "sequence_number": position,
            });
            return named("error", &event);
        }
        let mut out = BytesMut::with_capacity(192);
        out.put_slice(b"data: ");
        self.write(&mut out);
        out.put_slice(b"\n\n");
        out.freeze()
    }

    fn write(&self, out: &mut BytesMut) {
        let envelope = Envelope {
            error: Fields {
                message: &self.message,
                r#type: self.kind,
                param: self.param.as_deref(),
                code: self.code.as_deref(),
            },
        };
        let written = serde_json::to_writer(out.writer(), &envelope);
        debug_assert!(written.is_ok(), "strings into memory");
    }
}

impl From<super::RequestError> for ApiError {
    fn from(error: super::RequestError) -> Self {
        let api = ApiError::new(StatusCode::BAD_REQUEST, error.to_string());
        match error.param() {
            Some(param) => api.param(param),
            None => api,
        }
    }
}

/// What an upstream said about a failure, from whichever shape it used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamError {
    /// Its words. Untrusted; cut and made safe to show.
    pub message: String,
    /// `type`, `status` (Google's word for it) or empty.
    pub kind: String,
    /// `code`, as text; Azure's `innererror.code` stands here too, after a space.
    pub code: String,
}

/// Longest text that is kept of an upstream's error: enough for every phrase
/// that [`crate::upstream::classify`] looks for.
const MESSAGE_BYTES_MAX: usize = 1024;

impl UpstreamError {
    /// Reads an error body: an envelope, a bare error object, `detail`
    /// (FastAPI) or `message`. Empty for what is not JSON.
    pub fn from_body(body: &[u8]) -> Self {
        let value: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(_) => return Self::default(),
        };
        // Google wraps the envelope in an array.
        let value = match value {
            Value::Array(mut items) if !items.is_empty() => items.swap_remove(0),
            other => other,
        };
        match value.get("error") {
            Some(error @ (Value::Object(_) | Value::String(_))) => Self::read(error),
            _ => Self::read(&value),
        }
    }

    /// Reads what stands under `error`.
    pub fn from_value(json: &str) -> Self {
        serde_json::from_str(json).map_or_else(|_| Self::default(), |value| Self::read(&value))
    }

    fn read(error: &Value) -> Self {
        if let Value::String(message) = error {
            return UpstreamError {
                message: sanitize(message.clone(), MESSAGE_BYTES_MAX),
                ..Self::default()
            };
        }
        let mut code = text(error.get("code"));
        if let Some(inner) = error.pointer("/innererror/code") {
            code = format!("{code} {}", text(Some(inner)));
        }
        let first = |keys: &[&str]| {
            keys.iter()
                .map(|key| text(error.get(*key)))
                .find(|text| !text.is_empty())
                .unwrap_or_default()
        };
        UpstreamError {
            message: first(&["message", "detail", "error", "title"]),
            kind: first(&["type", "status"]),
            code,
        }
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => sanitize(text.clone(), MESSAGE_BYTES_MAX),
        Some(other) => sanitize(other.to_string(), MESSAGE_BYTES_MAX),
    }
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = if self.message.is_empty() {
            "no message"
        } else {
            &self.message
        };
        f.write_str(message)?;
        match (self.kind.is_empty(), self.code.is_empty()) {
            (true, true) => Ok(()),
            (false, true) => write!(f, " (type `{}`)", self.kind),
            (true, false) => write!(f, " (code `{}`)", self.code),
            (false, false) => write!(f, " (type `{}`, code `{}`)", self.kind, self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_all_four_keys() {
        let error = ApiError::new(StatusCode::NOT_FOUND, "no \"route\"");
        assert_eq!(
            error.to_json(),
            r#"{"error":{"message":"no \"route\"","type":"invalid_request_error","param":null,"code":null}}"#
        );
        assert_eq!(
            error.code("c").param("p").to_event(Api::Chat, 3),
            "data: {\"error\":{\"message\":\"no \\\"route\\\"\",\"type\":\"invalid_request_error\",\"param\":\"p\",\"code\":\"c\"}}\n\n"
        );
    }

    #[test]
    fn a_failure_tells_the_caller_nothing_of_the_upstream() {
        for class in FailureClass::ALL {
            let failure = Failure::new(class, "connect to 10.0.0.7: key sk-1 refused");
            let error = ApiError::from_failure(&failure);
            let body = error.to_json();
            assert!(memchr::memmem::find(&body, b"10.0.0.7").is_none());
            assert_eq!(error.code.as_deref(), Some(class.as_str()));
            assert!(error.status.as_u16() >= 400);
        }
    }

    #[test]
    fn upstream_errors_are_read_in_every_shape() {
        fn check(body: &str, message: &str, kind: &str, code: &str) {
            let read = UpstreamError::from_body(body.as_bytes());
            assert_eq!(
                (&*read.message, &*read.kind, &*read.code),
                (message, kind, code),
                "{body}"
            );
        }
        check(
            r#"{"error":{"message":"m","type":"t","param":null,"code":"c"}}"#,
            "m",
            "t",
            "c",
        );
        check(
            r#"{"error":{"message":"m","code":429,"status":"EXHAUSTED"}}"#,
            "m",
            "EXHAUSTED",
            "429",
        );
        check(r#"[{"error":{"message":"m"}}]"#, "m", "", "");
        check(r#"{"error":"plain"}"#, "plain", "", "");
        check(
            r#"{"object":"error","message":"m","type":"t","code":400}"#,
            "m",
            "t",
            "400",
        );
        check(r#"{"detail":"not found"}"#, "not found", "", "");
        check(
            r#"{"error":{"code":"content_filter","innererror":{"code":"R"}}}"#,
            "",
            "",
            "content_filter R",
        );
        check("<html>", "", "", "");
        check("[]", "", "", "");
        check(r#"{"error":{"message":"a\nb"}}"#, "a\u{fffd}b", "", "");
    }
}
