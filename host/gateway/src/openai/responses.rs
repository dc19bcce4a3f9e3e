//! Answers of the responses API: whole ones, and the typed events of a stream.
//!
//! A stream ends with `response.completed`, `response.incomplete` or
//! `response.failed`; there is no `[DONE]`. Views skip what they do not know.
//! [`mod@write`] makes answers of this shape.

pub mod write;

use super::completion::{Chunk, Completion, CompletionError, Text, TokenView, is_nothing, usage};
use super::confidence::Logprobs;
use super::error::UpstreamError;
use crate::upstream::TOKEN_LOGPROBS_MAX;
use backstop_core::input::FinishReason;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct View<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    incomplete_details: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct ContentPart {
    logprobs: Option<Vec<TokenView>>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct EventView<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

impl<'a> View<'a> {
    fn items(&self) -> impl Iterator<Item = Item<'a>> {
        let items = self.output.iter().flatten();
        items.filter_map(|item| serde_json::from_str(item.get()).ok())
    }

    /// Why the model stopped; none while it has not.
    fn finish_reason(&self) -> Option<FinishReason> {
        let status = self.status.as_ref().map(|status| &*status.0)?;
        match status {
            "completed" => {
                let calls = |item: Item<'_>| item.kind.0.ends_with("function_call");
                Some(if self.items().any(calls) {
                    FinishReason::ToolCalls
                } else {
                    FinishReason::Stop
                })
            }
            "incomplete" => {
                let details = self.incomplete_details.map_or("null", RawValue::get);
                let details: Option<Incomplete<'_>> = serde_json::from_str(details).ok();
                let reason = details.and_then(|details| details.reason);
                Some(match reason.as_ref().map(|reason| &*reason.0) {
                    Some("max_output_tokens") => FinishReason::Length,
                    Some("content_filter") => FinishReason::ContentFilter,
                    _ => FinishReason::Other,
                })
            }
            _ => None,
        }
    }

    fn logprobs(&self) -> Logprobs {
        let mut logprobs = Logprobs::default();
        for part in self
            .items()
            .flat_map(|item| item.content.unwrap_or_default())
        {
            let part: Option<ContentPart> = serde_json::from_str(part.get()).ok();
            for token in part.and_then(|part| part.logprobs).into_iter().flatten() {
                logprobs.push(token.logprob, TOKEN_LOGPROBS_MAX);
            }
        }
        logprobs
    }
}

/// Reads the body of a whole answer. One that is still being worked on
/// (`background`) is an answer too.
///
/// # Errors
///
/// The body is not JSON, has no output, or says that the model failed.
pub fn parse(body: &[u8]) -> Result<Completion, CompletionError> {
    let view: View<'_> = serde_json::from_slice(body).map_err(CompletionError::Invalid)?;
    if let Some(error) = view.error {
        let error = UpstreamError::from_value(error.get());
        return Err(CompletionError::Error(error));
    }
    if view.output.is_none() {
        return Err(CompletionError::Missing("output"));
    }
    Ok(Completion {
        finish_reason: view.finish_reason(),
        logprobs: view.logprobs(),
        served_model: view.model.map(|text| text.0.into_owned()),
        usage: usage(view.usage),
    })
}

/// Reads the data of one event; true beside it when it is the last one.
///
/// # Errors
///
/// The data is no event of this API, or says that the model failed.
pub fn event(data: &[u8]) -> Result<(Chunk<'_>, bool), CompletionError> {
    let event: EventView<'_> = serde_json::from_slice(data).map_err(CompletionError::Invalid)?;
    let kind = &*event.kind.0;
    let mut chunk = Chunk::default();
    match kind {
        "error" => return Err(CompletionError::Error(UpstreamError::from_body(data))),
        "response.created"
        | "response.completed"
        | "response.incomplete"
        | "response.failed"
        | "response.cancelled" => {
            let raw = event.response.ok_or(CompletionError::Missing("response"))?;
            let view: View<'_> =
                serde_json::from_str(raw.get()).map_err(CompletionError::Invalid)?;
            if matches!(kind, "response.failed" | "response.cancelled") {
                let error = view.error.map_or("{}", RawValue::get);
                return Err(CompletionError::Error(UpstreamError::from_value(error)));
            }
            chunk.finish_reason = view.finish_reason();
            chunk.usage = usage(view.usage);
            chunk.served_model = view.model.map(|text| text.0);
            return Ok((chunk, kind != "response.created"));
        }
        _ => {}
    }
    // Texts, arguments of tools, reasoning, audio: whatever comes in pieces.
    chunk.has_content =
        kind.ends_with(".delta") && event.delta.is_some_and(|delta| !is_nothing(delta));
    if kind == "response.output_text.delta" {
        chunk.content = event.delta;
        chunk.logprobs = event.logprobs;
    }
    Ok((chunk, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_whole_answer_says_is_read() {
        let body = br#"{"object":"response","status":"completed","model":"m","error":null,
            "output":[{"type":"reasoning","summary":[]},{"type":"message","content":[
            {"type":"output_text","text":"hi","logprobs":[{"token":"hi","logprob":-0.5}]}]}],
            "usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}"#;
        let read = parse(body).unwrap();
        assert_eq!(read.finish_reason, Some(FinishReason::Stop));
        assert_eq!(read.logprobs.kept(), [-0.5]);
        assert_eq!(read.served_model.as_deref(), Some("m"));
        let usage = read.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 5));
    }

    #[test]
    fn a_status_is_a_finish_reason() {
        for (fields, expected) in [
            (
                r#""status":"completed","output":[{"type":"function_call"}]"#,
                Some(FinishReason::ToolCalls),
            ),
            (
                r#""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]"#,
                Some(FinishReason::Length),
            ),
            (
                r#""status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]"#,
                Some(FinishReason::ContentFilter),
            ),
            (r#""status":"queued","output":[]"#, None),
        ] {
            let read = parse(format!("{{{fields}}}").as_bytes()).unwrap();
            assert_eq!(read.finish_reason, expected, "{fields}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for body in [
            r#"{"status":"failed","error":{"code":"server_error","message":"x"},"output":[]}"#,
            r#"{"error":{"message":"x"}}"#,
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            assert!(matches!(error, CompletionError::Error(_)), "{body}");
        }
        let error = parse(br#"{"choices":[]}"#).unwrap_err();
        assert!(matches!(error, CompletionError::Missing("output")));
    }

    #[test]
    fn events_are_preamble_content_or_end() {
        for (data, content, last) in [
            (
                r#"{"type":"response.created","response":{"status":"in_progress"}}"#,
                false,
                false,
            ),
            (r#"{"type":"response.output_item.added"}"#, false, false),
            (
                r#"{"type":"response.output_text.delta","delta":""}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.output_text.delta","delta":"a"}"#,
                true,
                false,
            ),
            (
                r#"{"type":"response.function_call_arguments.delta","delta":"{"}"#,
                true,
                false,
            ),
            (
                r#"{"type":"response.invented.tomorrow","x":1}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.completed","response":{"status":"completed"}}"#,
                false,
                true,
            ),
            (
                r#"{"type":"response.incomplete","response":{"status":"incomplete"}}"#,
                false,
                true,
            ),
        ] {
            let (chunk, is_last) = event(data.as_bytes()).unwrap();
            assert_eq!((chunk.has_content, is_last), (content, last), "{data}");
        }
    }

    #[test]
    fn only_texts_are_text() {
        let (chunk, _) = event(
            br#"{"type":"response.output_text.delta","delta":"a\n","logprobs":[{"logprob":-1}]}"#,
        )
        .unwrap();
        assert_eq!(chunk.text().unwrap(), "a\n");
        let mut logprobs = Logprobs::default();
        chunk.add_logprobs(&mut logprobs);
        assert_eq!(logprobs.kept(), [-1.0]);
        let (chunk, _) = event(br#"{"type":"response.refusal.delta","delta":"no"}"#).unwrap();
        assert_eq!(chunk.text(), None);
    }

    #[test]
    fn failures_in_band_are_failures() {
        for data in [
            r#"{"type":"error","code":"server_error","message":"slow down","param":null}"#,
            r#"{"type":"error","error":{"code":"server_error","message":"slow down"}}"#,
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"slow down"}}}"#,
        ] {
            match event(data.as_bytes()).unwrap_err() {
                CompletionError::Error(error) => {
                    assert_eq!(
                        (&*error.message, &*error.code),
                        ("slow down", "server_error")
                    );
                }
                other => panic!("{data}: {other}"),
            }
        }
        assert!(matches!(event(b"{}"), Err(CompletionError::Invalid(_))));
    }
}
