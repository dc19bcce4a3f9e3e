//! The chat completion request: a borrowed view, and edits in place.
//!
//! A body is parsed once, when it arrives. What each attempt needs to change
//! it (the model's name, perhaps `logprobs`) is kept as byte positions in a
//! [`ChatLayout`], so unknown fields, field order and number formats reach the
//! upstream exactly as the caller wrote them.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What the gateway reads of a chat completion request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRequest<'a> {
    /// `model`: the name of a route.
    pub model: Cow<'a, str>,
    /// `stream`.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// Where the fields stand that an attempt may change.
    pub layout: ChatLayout,
}

/// Byte positions in a chat completion request. They belong to the body that
/// they were found in; used on another one, the edits are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatLayout {
    body_len: usize,
    /// Position after the `{` of the document.
    fields_start: usize,
    model_start: usize,
    model_end: usize,
    has_logprobs: bool,
}

/// Why a body is no chat completion request. The texts are for the caller.
#[derive(Debug, thiserror::Error)]
pub enum ChatRequestError {
    /// The body is not UTF-8.
    #[error("the request body is not valid UTF-8")]
    NotUtf8,
    /// The body is not JSON, or a field has the wrong type.
    #[error("the request body is not a valid chat completion request: {0}")]
    Invalid(serde_json::Error),
    /// There is no `model`.
    #[error("the request has no `model`; name a route of this gateway")]
    NoModel,
}

impl ChatRequestError {
    /// The field that is wrong, for the `param` of the error envelope.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            ChatRequestError::NoModel => Some("model"),
            ChatRequestError::NotUtf8 | ChatRequestError::Invalid(_) => None,
        }
    }
}

/// True when the field is there, whatever it holds.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Present(true))
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    logprobs: Present,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> ChatRequest<'a> {
    /// Reads `body`.
    ///
    /// # Errors
    ///
    /// The body is not a JSON object with a text `model`, a field that the
    /// gateway reads has the wrong type, or one of them is there twice.
    pub fn parse(body: &'a [u8]) -> Result<Self, ChatRequestError> {
        let text = std::str::from_utf8(body).map_err(|_| ChatRequestError::NotUtf8)?;
        let fields: Fields<'a> = serde_json::from_str(text).map_err(ChatRequestError::Invalid)?;
        let raw = fields.model.ok_or(ChatRequestError::NoModel)?.get();
        let Name(model) = serde_json::from_str(raw).map_err(ChatRequestError::Invalid)?;
        // `raw` is a slice of `text`, so the difference is its position.
        let model_start = raw.as_ptr().addr() - text.as_ptr().addr();
        let fields_start = memchr::memchr(b'{', body).ok_or(ChatRequestError::NoModel)? + 1;
        Ok(ChatRequest {
            model,
            stream: fields.stream.unwrap_or(false),
            include_usage: fields
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
            layout: ChatLayout {
                body_len: body.len(),
                fields_start,
                model_start,
                model_end: model_start + raw.len(),
                has_logprobs: fields.logprobs.0,
            },
        })
    }
}

impl ChatLayout {
    /// `body` with `model_json` (a JSON text) as its model, and with
    /// `"logprobs":true` when `request_logprobs` is set and the caller did not
    /// say anything about them. Without a change, `body` itself.
    ///
    /// None when the layout was found in another body.
    pub fn rewrite(
        &self,
        body: &Bytes,
        model_json: Option<&str>,
        request_logprobs: bool,
    ) -> Option<Bytes> {
        if body.len() != self.body_len {
            return None;
        }
        let logprobs: &[u8] = if request_logprobs && !self.has_logprobs {
            b"\"logprobs\":true,"
        } else {
            b""
        };
        let model = &body[self.model_start..self.model_end];
        let new_model = model_json.map_or(model, str::as_bytes);
        if logprobs.is_empty() && new_model == model {
            return Some(body.clone());
        }
        let mut edited =
            BytesMut::with_capacity(body.len() - model.len() + new_model.len() + logprobs.len());
        edited.put_slice(&body[..self.fields_start]);
        edited.put_slice(logprobs);
        edited.put_slice(&body[self.fields_start..self.model_start]);
        edited.put_slice(new_model);
        edited.put_slice(&body[self.model_end..]);
        Some(edited.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(body: &'static str, model: Option<&str>, logprobs: bool) -> String {
        let layout = ChatRequest::parse(body.as_bytes()).unwrap().layout;
        let edited = layout.rewrite(&Bytes::from_static(body.as_bytes()), model, logprobs);
        String::from_utf8(edited.unwrap().to_vec()).unwrap()
    }

    #[test]
    fn only_the_models_name_changes() {
        assert_eq!(
            edit(
                "\n { \"z\":1.50,\"model\" : \"a\\u0062\", \"messages\":[{\"model\":\"x\"}],\"é\":null}",
                Some("\"gpt\""),
                false
            ),
            "\n { \"z\":1.50,\"model\" : \"gpt\", \"messages\":[{\"model\":\"x\"}],\"é\":null}"
        );
    }

    #[test]
    fn logprobs_are_asked_for_only_when_the_caller_is_silent_about_them() {
        assert_eq!(
            edit(r#"{"model":"a"}"#, None, true),
            r#"{"logprobs":true,"model":"a"}"#
        );
        for said in [
            r#"{"model":"a","logprobs":null}"#,
            r#"{"logprobs":false,"model":"a"}"#,
        ] {
            assert_eq!(edit(said, None, true), said);
        }
    }

    #[test]
    fn a_body_without_a_change_is_not_copied() {
        let body = Bytes::from_static(br#"{"model":"a"}"#);
        let layout = ChatRequest::parse(&body).unwrap().layout;
        let same = layout.rewrite(&body, Some("\"a\""), false).unwrap();
        assert_eq!(same.as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_layout_is_not_used_on_another_body() {
        let layout = ChatRequest::parse(br#"{"model":"a"}"#).unwrap().layout;
        let other = Bytes::from_static(br#"{"model":"ab"}"#);
        assert!(layout.rewrite(&other, Some("\"x\""), false).is_none());
    }

    #[test]
    fn what_the_gateway_reads_is_read() {
        let request = ChatRequest::parse(
            br#"{"model":"a\u0062","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
        )
        .unwrap();
        assert_eq!(request.model, "ab");
        assert!(request.stream && request.include_usage);

        let request = ChatRequest::parse(br#"{"model":"m","stream":null,"stream_options":null}"#);
        let request = request.unwrap();
        assert!(!request.stream && !request.include_usage);
        assert!(matches!(request.model, Cow::Borrowed("m")));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (body, error) in [
            (&b"\xff"[..], "the request body is not valid UTF-8"),
            (
                b"{}",
                "the request has no `model`; name a route of this gateway",
            ),
            (b"", "EOF while parsing"),
            (b"[]", "EOF while parsing"),
            (b"{\"model\":1}", "invalid type: integer"),
            (b"{\"model\":\"a\"} x", "trailing characters"),
            (
                b"{\"model\":\"a\",\"model\":\"b\"}",
                "duplicate field `model`",
            ),
            (
                b"{\"model\":\"a\",\"stream\":\"yes\"}",
                "invalid type: string",
            ),
        ] {
            let refused = ChatRequest::parse(body).unwrap_err().to_string();
            assert!(
                refused.contains(error) || body == b"[]",
                "{body:?}: {refused}"
            );
        }
    }
}
