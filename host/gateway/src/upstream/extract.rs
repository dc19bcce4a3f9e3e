//! What is read out of a whole answer: confidence, label, scores, and whether
//! it is an answer at all.

use super::target::ReadingOptions;
use super::types::{Extracted, SCORES_MAX};
use crate::openai::completion::{Completion, CompletionError};
use crate::openai::error::UpstreamError;
use crate::openai::{Api, embeddings, responses};
use backstop_core::input::Score;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Why a body with a good status is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// It is an error in disguise.
    #[error("{0}")]
    Error(UpstreamError),
}

impl From<CompletionError> for ReadError {
    fn from(error: CompletionError) -> Self {
        match error {
            CompletionError::Error(error) => ReadError::Error(error),
            other => ReadError::Malformed(other.to_string()),
        }
    }
}

/// Reads a whole answer of `api`.
pub(super) fn openai(
    api: Api,
    body: &[u8],
    reading: &ReadingOptions,
) -> Result<Extracted, ReadError> {
    let completion = match api {
        Api::Chat | Api::Completions => Completion::parse(body)?,
        Api::Embeddings => embeddings::parse(body)?,
        Api::Responses => responses::parse(body)?,
    };
    let mut facts = if reading.any() {
        json(body, reading)?
    } else {
        Extracted::default()
    };
    // What the model did beats what it says of itself.
    facts.confidence = completion.logprobs.confidence().or(facts.confidence);
    facts.token_logprobs = completion.logprobs.into_kept();
    facts.finish_reason = completion.finish_reason;
    facts.served_model = completion.served_model;
    facts.usage = completion.usage;
    Ok(facts)
}

/// Reads any JSON answer.
pub(super) fn json(body: &[u8], reading: &ReadingOptions) -> Result<Extracted, ReadError> {
    let not_json = |error| ReadError::Malformed(format!("the answer is not JSON: {error}"));
    if !reading.any() {
        let _: IgnoredAny = serde_json::from_slice(body).map_err(not_json)?;
        return Ok(Extracted::default());
    }
    let document: Value = serde_json::from_slice(body).map_err(not_json)?;
    let at = |pointer: &Option<String>| pointer.as_deref().and_then(|at| document.pointer(at));
    let answer = match &reading.answer_pointer {
        None => None,
        Some(pointer) => Some(document.pointer(pointer).ok_or_else(|| {
            ReadError::Malformed(format!("the answer has nothing at `{pointer}`"))
        })?),
    };
    Ok(Extracted {
        answer: answer.map(Value::to_string),
        confidence: at(&reading.confidence_pointer).and_then(confidence),
        label: at(&reading.label_pointer).and_then(label),
        scores: at(&reading.scores_pointer).map(scores).unwrap_or_default(),
        ..Extracted::default()
    })
}

/// A number that can be a confidence. Others (percentages, logits) are left
/// out rather than bent into one.
fn confidence(value: &Value) -> Option<f64> {
    value.as_f64().filter(|value| (0.0..=1.0).contains(value))
}

fn label(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn scores(value: &Value) -> Vec<Score> {
    let mut scores: Vec<Score> = match value {
        Value::Object(by_label) => by_label
            .iter()
            .filter_map(|(label, value)| score(label.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .filter_map(|(position, item)| {
                if item.is_number() {
                    return score(position.to_string(), item);
                }
                let value = ["score", "value", "confidence", "probability"]
                    .iter()
                    .find_map(|key| item.get(*key))?;
                score(label(item.get("label")?)?, value)
            })
            .collect(),
        _ => Vec::new(),
    };
    scores.sort_by(|a, b| b.value.total_cmp(&a.value));
    scores.truncate(SCORES_MAX);
    scores
}

fn score(label: String, value: &Value) -> Option<Score> {
    let value = value.as_f64().filter(|value| value.is_finite())?;
    Some(Score { label, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> ReadingOptions {
        ReadingOptions {
            answer_pointer: Some("/out/0".into()),
            confidence_pointer: Some("/p".into()),
            label_pointer: Some("/label".into()),
            scores_pointer: Some("/scores".into()),
        }
    }

    #[test]
    fn facts_stand_where_the_pointers_say() {
        let body = br#"{"out":[{"a":1}],"p":0.75,"label":"fraud","scores":{"ok":0.25,"fraud":0.75,"odd":"x"}}"#;
        let facts = json(body, &reading()).unwrap();
        assert_eq!(facts.answer.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(facts.confidence, Some(0.75));
        assert_eq!(facts.label.as_deref(), Some("fraud"));
        let labels: Vec<_> = facts.scores.iter().map(|s| &*s.label).collect();
        assert_eq!(labels, ["fraud", "ok"]);
    }

    #[test]
    fn scores_come_in_several_shapes() {
        for (value, expected) in [
            (r#"[0.1,0.9]"#, vec!["1", "0"]),
            (
                r#"[{"label":"a","score":0.1},{"label":2,"value":0.3},{"x":1}]"#,
                vec!["2", "a"],
            ),
            (r#""none""#, vec![]),
        ] {
            let found = scores(&serde_json::from_str(value).unwrap());
            let labels: Vec<_> = found.iter().map(|s| &*s.label).collect();
            assert_eq!(labels, expected, "{value}");
        }
        let many: Vec<f64> = (0..300).map(f64::from).collect();
        assert_eq!(scores(&Value::from(many)).len(), SCORES_MAX);
    }

    #[test]
    fn what_can_be_no_confidence_is_none() {
        for value in ["87", "-0.1", "\"0.9\"", "null", "{}"] {
            let body = format!(r#"{{"out":[1],"p":{value}}}"#);
            assert_eq!(json(body.as_bytes(), &reading()).unwrap().confidence, None);
        }
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        let none = ReadingOptions::default();
        assert!(json(b"<html>", &none).is_err());
        assert!(json(b"{\"a\":1} {", &none).is_err());
        assert!(json(b"{\"a\":1}", &none).is_ok());
        let missing = json(b"{\"p\":1}", &reading()).unwrap_err();
        assert_eq!(missing.to_string(), "the answer has nothing at `/out/0`");
    }

    #[test]
    fn log_probabilities_come_before_the_pointer() {
        let reading = ReadingOptions {
            confidence_pointer: Some("/meta/confidence".into()),
            ..ReadingOptions::default()
        };
        let body = |logprobs: &str| {
            format!(
                r#"{{"choices":[{{"message":{{}},"logprobs":{logprobs}}}],"meta":{{"confidence":0.25}}}}"#
            )
        };
        let said = openai(Api::Chat, body("null").as_bytes(), &reading).unwrap();
        assert_eq!(said.confidence, Some(0.25));
        let done = openai(
            Api::Chat,
            body(r#"{"content":[{"logprob":0}]}"#).as_bytes(),
            &reading,
        )
        .unwrap();
        assert_eq!(done.confidence, Some(1.0));
        assert_eq!(done.token_logprobs, [0.0]);
        let none = openai(
            Api::Chat,
            body("null").as_bytes(),
            &ReadingOptions::default(),
        )
        .unwrap();
        assert_eq!(none.confidence, None);
    }
}
