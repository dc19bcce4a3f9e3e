//! Answers to embeddings requests, as far as they are read: what was counted,
//! and which model it was. The vectors themselves pass unread.

use super::completion::{Completion, CompletionError, Text, usage};
use super::error::UpstreamError;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct View<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Reads the body of a whole answer. It never has log-probabilities or a
/// finish reason.
///
/// # Errors
///
/// The body is not JSON, has no list of embeddings, or is an error object.
pub fn parse(body: &[u8]) -> Result<Completion, CompletionError> {
    let view: View<'_> = serde_json::from_slice(body).map_err(CompletionError::Invalid)?;
    let is_list = view.data.is_some_and(|data| data.get().starts_with('['));
    match view.error {
        Some(error) if !is_list => Err(CompletionError::Error(UpstreamError::from_value(
            error.get(),
        ))),
        _ if !is_list => Err(CompletionError::Missing("list of embeddings")),
        _ => Ok(Completion {
            served_model: view.model.map(|text| text.0.into_owned()),
            usage: usage(view.usage),
            ..Completion::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_and_its_counts_are_read() {
        let body = br#"{"object":"list","data":[{"embedding":[0.5]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
        let read = parse(body).unwrap();
        assert_eq!(read.served_model.as_deref(), Some("e"));
        assert_eq!(read.usage.unwrap().prompt_tokens, 8);
        assert_eq!(read.logprobs.confidence(), None);
    }

    #[test]
    fn what_is_no_list_is_no_answer() {
        for body in [&b"{}"[..], b"{\"data\":null}", b"{\"data\":{}}"] {
            let error = parse(body).unwrap_err().to_string();
            assert!(error.contains("list of embeddings"), "{error}");
        }
        assert!(matches!(parse(b"<"), Err(CompletionError::Invalid(_))));
        let error = parse(br#"{"error":{"message":"no"}}"#).unwrap_err();
        assert!(matches!(error, CompletionError::Error(_)));
    }
}
