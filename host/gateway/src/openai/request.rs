//! A request of OpenAI's API: a borrowed view, and edits in place.
//!
//! A body is parsed once, when it arrives. What each attempt needs to change
//! it (the model's name, perhaps `logprobs`) is kept as byte positions in a
//! [`RequestLayout`], so unknown fields, field order and number formats reach the
//! upstream exactly as the caller wrote them.

use super::Api;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What the gateway reads of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAiRequest<'a> {
    /// `model`: the name of a route.
    pub model: Cow<'a, str>,
    /// `stream`; never for an operation that does not stream.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// Where the fields stand that an attempt may change.
    pub layout: RequestLayout,
}

/// Byte positions in a request. They belong to the body that
/// they were found in; used on another one, the edits are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLayout {
    body_len: usize,
    /// Position after the `{` of the document.
    fields_start: usize,
    model_start: usize,
    model_end: usize,
    /// What asks for log-probabilities, where the caller says nothing of them.
    logprobs: &'static str,
    /// `n`, at least 1.
    choices: u32,
}

/// Why a body is no request. The texts are for the caller.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The body is not UTF-8.
    #[error("the request body is not valid UTF-8")]
    NotUtf8,
    /// The body is not JSON, or a field has the wrong type.
    #[error("the request body is not a valid {}: {error}", .api.request_name())]
    Invalid {
        /// What was asked for.
        api: Api,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// There is no `model`.
    #[error("the request has no `model`; name a route of this gateway")]
    NoModel,
}

impl RequestError {
    /// The field that is wrong, for the `param` of the error envelope.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            RequestError::NoModel => Some("model"),
            RequestError::NotUtf8 | RequestError::Invalid { .. } => None,
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
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(default)]
    logprobs: Present,
    #[serde(default)]
    include: Present,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> OpenAiRequest<'a> {
    /// Reads `body`, a request of `api`.
    ///
    /// # Errors
    ///
    /// The body is not a JSON object with a text `model`, a field that the
    /// gateway reads has the wrong type, or one of them is there twice.
    pub fn parse(api: Api, body: &'a [u8]) -> Result<Self, RequestError> {
        let text = std::str::from_utf8(body).map_err(|_| RequestError::NotUtf8)?;
        let invalid = |error| RequestError::Invalid { api, error };
        let fields: Fields<'a> = serde_json::from_str(text).map_err(invalid)?;
        let raw = fields.model.ok_or(RequestError::NoModel)?.get();
        let Name(model) = serde_json::from_str(raw).map_err(invalid)?;
        // `raw` is a slice of `text`, so the difference is its position.
        let model_start = raw.as_ptr().addr() - text.as_ptr().addr();
        let fields_start = memchr::memchr(b'{', body).ok_or(RequestError::NoModel)? + 1;
        let says_logprobs = match api {
            Api::Responses => fields.include.0,
            _ => fields.logprobs.0,
        };
        Ok(OpenAiRequest {
            model,
            stream: api.streams() && fields.stream.unwrap_or(false),
            include_usage: fields
                .stream_options
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
            layout: RequestLayout {
                body_len: body.len(),
                fields_start,
                model_start,
                model_end: model_start + raw.len(),
                choices: match api {
                    Api::Chat | Api::Completions => fields
                        .n
                        .and_then(|n| n.get().parse::<u32>().ok())
                        .unwrap_or(1)
                        .max(1),
                    Api::Embeddings | Api::Responses => 1,
                },
                logprobs: if says_logprobs {
                    ""
                } else {
                    api.logprobs_json()
                },
            },
        })
    }
}

impl RequestLayout {
    /// How many choices are asked for (`n`).
    pub fn choices(&self) -> u32 {
        self.choices
    }

    /// `body` with `model_json` (a JSON text) as its model, and asking for
    /// log-probabilities when `request_logprobs` is set and the caller did not
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
        let logprobs = if request_logprobs {
            self.logprobs.as_bytes()
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
        let layout = OpenAiRequest::parse(Api::Chat, body.as_bytes())
            .unwrap()
            .layout;
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
    fn each_operation_asks_for_logprobs_in_its_own_words() {
        for (api, silent, asked) in [
            (
                Api::Completions,
                r#"{"model":"a"}"#,
                r#"{"logprobs":1,"model":"a"}"#,
            ),
            (
                Api::Responses,
                r#"{"model":"a"}"#,
                r#"{"include":["message.output_text.logprobs"],"model":"a"}"#,
            ),
            (
                Api::Responses,
                r#"{"model":"a","include":[]}"#,
                r#"{"model":"a","include":[]}"#,
            ),
            (Api::Embeddings, r#"{"model":"a"}"#, r#"{"model":"a"}"#),
        ] {
            let layout = OpenAiRequest::parse(api, silent.as_bytes()).unwrap().layout;
            let edited = layout.rewrite(&Bytes::from_static(silent.as_bytes()), None, true);
            assert_eq!(edited.unwrap(), asked, "{api:?}");
        }
    }

    #[test]
    fn what_does_not_stream_is_not_asked_for_a_stream() {
        let body = br#"{"model":"a","stream":true}"#;
        assert!(!OpenAiRequest::parse(Api::Embeddings, body).unwrap().stream);
        assert!(OpenAiRequest::parse(Api::Responses, body).unwrap().stream);
    }

    #[test]
    fn a_body_without_a_change_is_not_copied() {
        let body = Bytes::from_static(br#"{"model":"a"}"#);
        let layout = OpenAiRequest::parse(Api::Chat, &body).unwrap().layout;
        let same = layout.rewrite(&body, Some("\"a\""), false).unwrap();
        assert_eq!(same.as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_layout_is_not_used_on_another_body() {
        let layout = OpenAiRequest::parse(Api::Chat, br#"{"model":"a"}"#)
            .unwrap()
            .layout;
        let other = Bytes::from_static(br#"{"model":"ab"}"#);
        assert!(layout.rewrite(&other, Some("\"x\""), false).is_none());
    }

    #[test]
    fn what_the_gateway_reads_is_read() {
        let request = OpenAiRequest::parse(Api::Chat,
            br#"{"model":"a\u0062","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
        )
        .unwrap();
        assert_eq!(request.model, "ab");
        assert!(request.stream && request.include_usage);

        let request = OpenAiRequest::parse(
            Api::Chat,
            br#"{"model":"m","stream":null,"stream_options":null}"#,
        );
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
            let refused = OpenAiRequest::parse(Api::Chat, body)
                .unwrap_err()
                .to_string();
            assert!(
                refused.contains(error) || body == b"[]",
                "{body:?}: {refused}"
            );
        }
    }
}
