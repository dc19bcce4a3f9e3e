//! The questions of `POST /v1/decide/{point}`: their JSON and its bounds.
//!
//! Facts come from outside and end in records, logs and guests, so every list,
//! name and text has a bound of its own, below that of the whole body, and all of
//! them but the bodies have one together.

use super::decide::wrong;
use crate::openai::ApiError;
use crate::upstream::{SCORES_MAX, TOKEN_LOGPROBS_MAX};
use backstop_core::input::{Attempt, BreakerState, FinishReason, RolloutFacts, Score};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most candidates, rules, tags, attempts and ready releases of one question;
/// the contract's bound on candidates and rules.
const LIST_MAX: usize = 64;
/// Longest name of a policy, route, model, release, rules answer or tag, and
/// longest key: other gateways use paths with a version as names.
const NAME_BYTES_MAX: usize = 256;
/// Longest label and value of a tag: what a policy may give as a reason.
const TEXT_BYTES_MAX: usize = 1_024;
/// Most bytes of all names and texts of one question, without the bodies:
/// records keep them for long. Scores of 256 labels of 60 bytes fit.
const TEXTS_BYTES_MAX: usize = 16 << 10;
/// Longest body of a request or an answer: a policy reads it into a memory of
/// a few MiB.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) policy: Option<String>,
    pub(super) route: Option<String>,
    pub(super) model: Option<String>,
    pub(super) request: Option<RequestInput>,
    pub(super) answer: Option<AnswerInput>,
    pub(super) rollout: Option<RolloutFacts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RequestInput {
    pub(super) candidates: Vec<CandidateInput>,
    pub(super) rules: Option<Vec<Arc<str>>>,
    pub(super) has_review: Option<bool>,
    pub(super) streaming: bool,
    pub(super) attempts: Vec<Attempt>,
    pub(super) tags: BTreeMap<Arc<str>, String>,
    pub(super) body_bytes: Option<u64>,
    pub(super) body: Option<Arc<str>>,
    /// Who is calling, for the share of a rollout that it falls into.
    pub(super) key: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidateInput {
    pub(super) model: Arc<str>,
    #[serde(default)]
    pub(super) breaker: BreakerState,
    #[serde(default = "yes")]
    pub(super) healthy: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerInput {
    pub(super) model: Arc<str>,
    #[serde(default)]
    pub(super) release: Option<Arc<str>>,
    #[serde(default)]
    pub(super) step: u32,
    #[serde(default)]
    pub(super) steps_left: u32,
    pub(super) confidence: Option<f64>,
    pub(super) label: Option<String>,
    #[serde(default)]
    pub(super) scores: Vec<Score>,
    #[serde(default)]
    pub(super) token_logprobs: Vec<f64>,
    pub(super) finish_reason: Option<FinishReason>,
    #[serde(default)]
    pub(super) latency_ms: u32,
    #[serde(default)]
    pub(super) delivered: bool,
    pub(super) body_bytes: Option<u64>,
    pub(super) body: Option<Arc<str>>,
}

impl Question {
    /// Holds every list, name and text against its bound.
    ///
    /// # Errors
    ///
    /// The answer that names the first field that is too large, or that makes
    /// the question's texts too large together.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let mut texts = Texts::default();
        texts.add("policy", self.policy.as_deref(), NAME_BYTES_MAX)?;
        texts.add("route", self.route.as_deref(), NAME_BYTES_MAX)?;
        texts.add("model", self.model.as_deref(), NAME_BYTES_MAX)?;
        if let Some(request) = &self.request {
            request.check(&mut texts)?;
        }
        if let Some(answer) = &self.answer {
            answer.check(&mut texts)?;
        }
        self.rollout
            .as_ref()
            .map_or(Ok(()), |rollout| check_rollout(rollout, &mut texts))
    }
}

impl RequestInput {
    fn check(&self, texts: &mut Texts) -> Result<(), ApiError> {
        let rules = self.rules.as_deref().unwrap_or_default();
        few("request.candidates", self.candidates.len(), LIST_MAX)?;
        few("request.rules", rules.len(), LIST_MAX)?;
        few("request.tags", self.tags.len(), LIST_MAX)?;
        few("request.attempts", self.attempts.len(), LIST_MAX)?;

        let models = self.candidates.iter().map(|candidate| &*candidate.model);
        texts.add("request.candidates.model", models, NAME_BYTES_MAX)?;
        texts.add(
            "request.rules",
            rules.iter().map(|name| &**name),
            NAME_BYTES_MAX,
        )?;
        let models = self.attempts.iter().map(|attempt| &*attempt.model);
        texts.add("request.attempts.model", models, NAME_BYTES_MAX)?;
        texts.add(
            "request.tags",
            self.tags.keys().map(|name| &**name),
            NAME_BYTES_MAX,
        )?;
        texts.add(
            "request.tags",
            self.tags.values().map(String::as_str),
            TEXT_BYTES_MAX,
        )?;
        texts.add("request.key", self.key.as_deref(), NAME_BYTES_MAX)?;
        short("request.body", self.body.as_deref(), BODY_BYTES_MAX)
    }
}

impl AnswerInput {
    fn check(&self, texts: &mut Texts) -> Result<(), ApiError> {
        few("answer.scores", self.scores.len(), SCORES_MAX)?;
        few(
            "answer.token_logprobs",
            self.token_logprobs.len(),
            TOKEN_LOGPROBS_MAX,
        )?;

        texts.add("answer.model", [&*self.model], NAME_BYTES_MAX)?;
        texts.add("answer.release", self.release.as_deref(), NAME_BYTES_MAX)?;
        texts.add("answer.label", self.label.as_deref(), TEXT_BYTES_MAX)?;
        let labels = self.scores.iter().map(|score| &*score.label);
        texts.add("answer.scores.label", labels, TEXT_BYTES_MAX)?;
        short("answer.body", self.body.as_deref(), BODY_BYTES_MAX)
    }
}

fn check_rollout(rollout: &RolloutFacts, texts: &mut Texts) -> Result<(), ApiError> {
    let ready = &rollout.ready_releases;
    few("rollout.ready_releases", ready.len(), LIST_MAX)?;
    texts.add(
        "rollout.ready_releases",
        ready.iter().map(|name| &**name),
        NAME_BYTES_MAX,
    )?;
    texts.add("rollout.model", [&*rollout.model], NAME_BYTES_MAX)?;
    texts.add("rollout.candidate", [&*rollout.candidate], NAME_BYTES_MAX)?;
    texts.add("rollout.stable", [&*rollout.stable], NAME_BYTES_MAX)
}

/// What the names and texts of one question come to so far.
#[derive(Default)]
struct Texts {
    bytes: usize,
}

impl Texts {
    /// Holds each of `texts` against `bytes_max`, and all so far against
    /// [`TEXTS_BYTES_MAX`].
    fn add<'a>(
        &mut self,
        field: &'static str,
        texts: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
        bytes_max: usize,
    ) -> Result<(), ApiError> {
        let texts = texts.into_iter();
        short(field, texts.clone(), bytes_max)?;
        self.bytes += texts.map(str::len).sum::<usize>();
        if self.bytes <= TEXTS_BYTES_MAX {
            return Ok(());
        }
        Err(wrong(
            field,
            format!(
                "{} bytes in all names and texts up to here, at most {TEXTS_BYTES_MAX} are taken \
                 of one question, bodies aside",
                self.bytes
            ),
        ))
    }
}

fn few(field: &'static str, count: usize, max: usize) -> Result<(), ApiError> {
    if count <= max {
        return Ok(());
    }
    Err(wrong(
        field,
        format!("{count} items, at most {max} are taken"),
    ))
}

fn short<'a>(
    field: &'static str,
    texts: impl IntoIterator<Item = &'a str>,
    bytes_max: usize,
) -> Result<(), ApiError> {
    match texts.into_iter().map(str::len).max() {
        Some(bytes) if bytes > bytes_max => Err(wrong(
            field,
            format!("{bytes} bytes in one text, at most {bytes_max} are taken"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_a_bound_of_their_own() {
        let question = |part: &str, bytes: usize| -> Question {
            let body = "b".repeat(bytes);
            let facts = format!(r#"{{"{part}": {{"model": "m", "body": "{body}"}}}}"#);
            serde_json::from_str(&facts.replace(r#""request": {"model": "m", "#, r#""request": {"#))
                .unwrap()
        };
        for part in ["request", "answer"] {
            assert!(question(part, BODY_BYTES_MAX).check().is_ok());
            let error = question(part, BODY_BYTES_MAX + 1).check().unwrap_err();
            assert!(
                format!("{error:?}").contains(&format!("{part}.body")),
                "{error:?}"
            );
        }
    }

    #[test]
    fn texts_have_a_bound_together() {
        let scores = |last: usize| -> Question {
            // 15 KiB, a byte for `m`, and the last label.
            let labels = std::iter::repeat_n(TEXT_BYTES_MAX, 15).chain([last]);
            let scores: Vec<_> = labels
                .map(|bytes| serde_json::json!({"label": "l".repeat(bytes), "value": 0.5}))
                .collect();
            let body = "b".repeat(BODY_BYTES_MAX);
            serde_json::from_value(serde_json::json!({
                "answer": {"model": "m", "scores": scores, "body": body}
            }))
            .unwrap()
        };
        assert!(scores(TEXT_BYTES_MAX - 1).check().is_ok());
        let error = format!("{:?}", scores(TEXT_BYTES_MAX).check().unwrap_err());
        assert!(error.contains("answer.scores.label"), "{error}");
        assert!(error.contains("at most 16384"), "{error}");
    }

    #[test]
    fn texts_of_all_parts_count() {
        let tags: BTreeMap<_, _> = (0..15)
            .map(|tag| (format!("t{tag}"), "v".repeat(1_000)))
            .collect();
        let question: Question = serde_json::from_value(serde_json::json!({
            "request": {"tags": tags},
            "answer": {"model": "m", "label": "l".repeat(TEXT_BYTES_MAX)},
            "rollout": {
                "model": "m", "candidate": "c", "stable": "s", "stage": "canary",
                "share_percent": 1, "next_share_percent": null, "age_ms": 0, "step_age_ms": 0,
                "ready_releases": ["r".repeat(NAME_BYTES_MAX), "r".repeat(NAME_BYTES_MAX)],
            },
        }))
        .unwrap();
        let error = format!("{:?}", question.check().unwrap_err());
        assert!(error.contains("rollout.ready_releases"), "{error}");
    }
}
