//! Completions of chats and texts as the gateway reads them: whole ones and
//! the chunks of a stream.
//!
//! Views borrow from the body and skip what they do not know. Parts that only
//! inform (usage, log-probabilities) are read leniently: a provider with an
//! odd shape there still answers.

use super::confidence::Logprobs;
use super::error::UpstreamError;
use crate::upstream::{TOKEN_LOGPROBS_MAX, Usage};
use backstop_core::input::FinishReason;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What was read of a whole completion.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completion {
    /// Of the first choice.
    pub finish_reason: Option<FinishReason>,
    /// Of the first choice.
    pub logprobs: Logprobs,
    /// The model's name in the provider's words.
    pub served_model: Option<String>,
    /// Token counts.
    pub usage: Option<Usage>,
}

/// Why a body with a good status is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CompletionError {
    /// Not JSON, or not this shape.
    #[error("the answer does not have the shape of its API: {0}")]
    Invalid(serde_json::Error),
    /// An object without what makes it an answer.
    #[error("the answer does not have the shape of its API: it has no {0}")]
    Missing(&'static str),
    /// An error object under a good status.
    #[error("the answer holds an error: {0}")]
    Error(UpstreamError),
}

/// What was read of one chunk of a stream.
#[derive(Debug, Default)]
pub struct Chunk<'a> {
    /// `id`, as JSON.
    pub id: Option<&'a str>,
    /// `created`, as JSON.
    pub created: Option<&'a str>,
    /// `model` between its quotes; none where it is empty or has escapes.
    pub model: Option<&'a str>,
    /// True when the chunk adds something that a caller sees to any choice (and
    /// is not a preamble with nothing but a role, or a count of tokens).
    pub has_content: bool,
    /// The choices that it speaks of, a bit each; those from 63 on share one.
    pub choices: u64,
    /// Those of them that have their finish reason.
    pub finished: u64,
    /// Of the first choice.
    pub finish_reason: Option<FinishReason>,
    /// True when it adds nothing but text, and to the first choice alone.
    pub only_text: bool,
    /// The model's name in the provider's words.
    pub served_model: Option<Cow<'a, str>>,
    /// Token counts; the chunk before `[DONE]` may have them.
    pub usage: Option<Usage>,
    pub(super) content: Option<&'a RawValue>,
    pub(super) logprobs: Option<&'a RawValue>,
}

/// A JSON text, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[derive(Deserialize)]
struct CompletionView<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<Vec<ChoiceView<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceView<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<DeltaView<'a>>,
}

/// What a chunk adds to a choice. Whatever is not a role counts as content:
/// tool calls, refusals, reasoning, and fields that are yet to be invented.
#[derive(Default)]
struct DeltaView<'a> {
    content: Option<&'a RawValue>,
    has_content: bool,
    /// Something else than text is in it.
    has_other: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for DeltaView<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = DeltaView<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a delta")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut view = DeltaView::default();
                while let Some(Text(key)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    view.has_content |= key != "role" && !is_nothing(value);
                    view.has_other |= key != "role" && key != "content" && !is_nothing(value);
                    if key == "content" {
                        view.content = Some(value);
                    }
                }
                Ok(view)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// True for values that show nothing to anybody.
pub(super) fn is_nothing(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "\"\"" | "[]" | "{}")
}

#[derive(Deserialize)]
struct LogprobsView {
    content: Option<Vec<TokenView>>,
    /// The shape of the older completions API.
    token_logprobs: Option<Vec<Option<f64>>>,
}

#[derive(Deserialize)]
pub(super) struct TokenView {
    pub(super) logprob: f64,
}

/// The contract's word for a provider's reason.
pub fn finish_reason(text: &str) -> FinishReason {
    match text {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}

fn add_logprobs(raw: Option<&RawValue>, to: &mut Logprobs) {
    let Some(raw) = raw else { return };
    // Responses have the list itself.
    let view = if raw.get().starts_with('[') {
        serde_json::from_str(raw.get()).map(|tokens| LogprobsView {
            content: Some(tokens),
            token_logprobs: None,
        })
    } else {
        serde_json::from_str(raw.get())
    };
    let Ok(view) = view else { return };
    if let Some(tokens) = view.content {
        for token in tokens {
            to.push(token.logprob, TOKEN_LOGPROBS_MAX);
        }
    } else if let Some(tokens) = view.token_logprobs {
        // The first token of an echoed prompt has none.
        for logprob in tokens.into_iter().flatten() {
            to.push(logprob, TOKEN_LOGPROBS_MAX);
        }
    }
}

pub(super) fn usage(raw: Option<&RawValue>) -> Option<Usage> {
    serde_json::from_str(raw?.get()).ok()
}

/// Choices of one answer are numbered; with several, the first speaks for all.
fn first(choices: Vec<ChoiceView<'_>>) -> Option<ChoiceView<'_>> {
    choices.into_iter().min_by_key(|choice| choice.index)
}

impl Completion {
    /// Reads the body of a whole answer.
    ///
    /// # Errors
    ///
    /// The body is not JSON, has no choice with a message, or is an error
    /// object.
    pub fn parse(body: &[u8]) -> Result<Self, CompletionError> {
        let view: CompletionView<'_> =
            serde_json::from_slice(body).map_err(CompletionError::Invalid)?;
        let choice = view.choices.and_then(first);
        if let (Some(error), None) = (view.error, &choice) {
            return Err(CompletionError::Error(UpstreamError::from_value(
                error.get(),
            )));
        }
        let choice = choice
            .filter(|choice| choice.message.is_some() || choice.text.is_some())
            .ok_or(CompletionError::Missing("choice"))?;
        let mut logprobs = Logprobs::default();
        add_logprobs(choice.logprobs, &mut logprobs);
        Ok(Completion {
            finish_reason: choice.finish_reason.map(|text| finish_reason(&text.0)),
            logprobs,
            served_model: view.model.map(|text| text.0.into_owned()),
            usage: usage(view.usage),
        })
    }
}

impl<'a> Chunk<'a> {
    /// Reads the data of one event.
    ///
    /// # Errors
    ///
    /// As for [`Completion::parse`], but a chunk needs no choice.
    pub fn parse(data: &'a [u8]) -> Result<Self, CompletionError> {
        let view: CompletionView<'a> =
            serde_json::from_slice(data).map_err(CompletionError::Invalid)?;
        if let Some(error) = view.error {
            return Err(CompletionError::Error(UpstreamError::from_value(
                error.get(),
            )));
        }
        let served_model = view.model.map(|text| text.0);
        let model = match &served_model {
            Some(Cow::Borrowed(model)) if !model.is_empty() => Some(*model),
            _ => None,
        };
        let mut chunk = Chunk {
            model,
            id: view.id.map(RawValue::get),
            created: view.created.map(RawValue::get),
            served_model,
            usage: usage(view.usage),
            only_text: true,
            ..Chunk::default()
        };
        let choices = view.choices.unwrap_or_default();
        for choice in &choices {
            let bit = 1 << choice.index.min(63);
            chunk.choices |= bit;
            if choice.finish_reason.is_some() {
                chunk.finished |= bit;
            }
            let delta = choice.delta.as_ref();
            chunk.only_text &= choice.index == 0 && !delta.is_some_and(|delta| delta.has_other);
            chunk.has_content |= choice.text.is_some_and(|text| !is_nothing(text))
                || choice.delta.as_ref().is_some_and(|delta| delta.has_content);
        }
        if let Some(choice) = first(choices).filter(|choice| choice.index == 0) {
            chunk.finish_reason = choice.finish_reason.map(|text| finish_reason(&text.0));
            chunk.logprobs = choice.logprobs;
            chunk.content = choice.delta.and_then(|delta| delta.content).or(choice.text);
        }
        Ok(chunk)
    }

    /// Adds the log-probabilities of this chunk's tokens.
    pub fn add_logprobs(&self, to: &mut Logprobs) {
        add_logprobs(self.logprobs, to);
    }

    /// The text that this chunk adds to the answer, where it adds any.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let Text(text) = serde_json::from_str(self.content?.get()).ok()?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_read() {
        let read = Completion::parse(
            br#"{"id":"x","model":"gpt-x","choices":[
                {"index":1,"message":{},"finish_reason":"length"},
                {"index":0,"message":{"content":"hi"},"finish_reason":"stop",
                 "logprobs":{"content":[{"token":"hi","logprob":-0.5,"top_logprobs":[]}],"refusal":null}}],
                "usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"x":{}},"new":1}"#,
        )
        .unwrap();
        assert_eq!(read.finish_reason, Some(FinishReason::Stop));
        assert_eq!(read.served_model.as_deref(), Some("gpt-x"));
        assert_eq!(read.logprobs.kept(), [-0.5]);
        assert_eq!(read.usage.unwrap().total_tokens, 4);
    }

    #[test]
    fn odd_side_information_does_not_spoil_an_answer() {
        let read = Completion::parse(
            br#"{"choices":[{"message":{"content":null},"finish_reason":null,"logprobs":{"content":null}}],"usage":"free"}"#,
        )
        .unwrap();
        assert_eq!(read, Completion::default());
    }

    #[test]
    fn what_is_no_completion_is_named() {
        for (body, error) in [
            ("<html>", "shape of its API: expected value"),
            ("{}", "has no choice"),
            (r#"{"choices":[]}"#, "has no choice"),
            (r#"{"choices":[{"index":0}]}"#, "has no choice"),
            (r#"{"choices":3}"#, "invalid type"),
            (
                r#"{"error":{"message":"no","code":"x"}}"#,
                "holds an error: no",
            ),
            (r#"{"choices":[{"message":{}}]"#, "EOF"),
        ] {
            let found = Completion::parse(body.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(error), "{body}: {found}");
        }
    }

    #[test]
    fn a_chunk_is_read() {
        let chunk = Chunk::parse(
            br#"{"model":"m","choices":[{"index":0,"delta":{"content":"a\n"},"finish_reason":null,
               "logprobs":{"content":[{"logprob":-1}]}}],"usage":null}"#,
        )
        .unwrap();
        assert!(chunk.has_content && chunk.finish_reason.is_none());
        assert_eq!((chunk.choices, chunk.finished), (1, 0));
        assert_eq!(chunk.text().unwrap(), "a\n");
        let mut logprobs = Logprobs::default();
        chunk.add_logprobs(&mut logprobs);
        assert_eq!(logprobs.kept(), [-1.0]);

        let counts = Chunk::parse(br#"{"choices":[],"usage":{"total_tokens":7}}"#).unwrap();
        assert!(!counts.has_content && counts.choices == 0);
        assert_eq!(counts.usage.unwrap().total_tokens, 7);

        let other = Chunk::parse(br#"{"choices":[{"index":1,"finish_reason":"stop"}]}"#).unwrap();
        assert!(!other.has_content && other.finish_reason.is_none());
        assert_eq!((other.choices, other.finished), (2, 2));
    }

    #[test]
    fn whatever_a_caller_would_see_is_content() {
        for (delta, expected) in [
            (r#"{"role":"assistant"}"#, false),
            (r#"{"role":"assistant","content":"","refusal":null}"#, false),
            (r#"{"content":null,"tool_calls":[]}"#, false),
            ("{}", false),
            ("null", false),
            (r#"{"content":" "}"#, true),
            (r#"{"refusal":"no"}"#, true),
            (
                r#"{"tool_calls":[{"index":0,"function":{"name":"f"}}]}"#,
                true,
            ),
            (r#"{"reasoning_content":"hm"}"#, true),
        ] {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            let chunk = Chunk::parse(data.as_bytes()).unwrap();
            assert_eq!(chunk.has_content, expected, "{delta}");
        }
    }
}
