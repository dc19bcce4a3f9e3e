//! Judging answers: the threshold policy, and what goes to review.

use super::{Ask, Run};
use crate::clock::millis;
use crate::gateway::Gateway;
use crate::release::Release;
use crate::store::{NewReview, StoreError};
use crate::upstream::Extracted;
use backstop::record::DecisionId;
use backstop_core::input::{AnswerFacts, Attempt};
use backstop_core::verdict::{Outcome, Verdict};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// An answer that may be judged.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) release: &'a Release,
    pub(super) step: u32,
    pub(super) steps_left: u32,
    pub(super) facts: Extracted,
    pub(super) body: &'a [u8],
    pub(super) latency: Duration,
    /// True when the caller has it already.
    pub(super) delivered: bool,
    /// True when it is the beginning of an answer that goes on.
    pub(super) partial: bool,
    /// From the call to the first token, for streams.
    pub(super) first_token: Option<Duration>,
    /// Its tokens, where they were counted.
    pub(super) tokens: Option<u32>,
}

/// What was made of an answer.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    /// Id of the decision.
    pub(super) decision: DecisionId,
}

/// Asks the route's threshold policy about an answer, and counts what it
/// says. None for routes without one: every answer is accepted.
pub(super) async fn judge(
    gateway: &Gateway,
    ask: &Ask,
    attempts: &[Attempt],
    answer: Candidate<'_>,
) -> Option<Judged> {
    let policy = ask.route.threshold()?;
    let release = answer.release;
    let default = Verdict {
        outcome: Outcome::Accept,
        reason: "default: the answer is delivered as it is".to_owned(),
        confidence: None,
        line: None,
    };
    let request = if attempts.is_empty() {
        ask.facts.clone()
    } else {
        let mut facts = (*ask.facts).clone();
        facts.attempts = attempts.to_vec();
        Arc::new(facts)
    };
    let facts = Arc::new(AnswerFacts {
        model: release.model().clone(),
        release: release.name().clone(),
        step: answer.step,
        steps_left: answer.steps_left,
        confidence: answer.facts.confidence,
        label: answer.facts.label,
        scores: answer.facts.scores,
        token_logprobs: answer.facts.token_logprobs,
        finish_reason: answer.facts.finish_reason,
        latency_ms: millis(answer.latency),
        delivered: answer.delivered,
        partial: answer.partial,
        first_token_ms: answer.first_token.map(millis),
        tokens: answer.tokens,
        body_bytes: answer.body.len() as u64,
        body: if ask.route.shows_bodies() {
            std::str::from_utf8(answer.body).ok().map(Arc::from)
        } else {
            None
        },
    });
    let decision = gateway
        .host()
        .decide_threshold(policy.handle(), request, facts, &default)
        .await;
    policy.metrics().decision(&decision.record);
    let verdict = decision.value;
    ask.route.metrics().verdict(verdict.outcome);
    let now_ms = gateway.clock().now_ms();
    for series in release.series().into_iter().chain([ask.route.series()]) {
        series.verdict(now_ms, verdict.outcome);
    }
    Some(Judged {
        outcome: verdict.outcome,
        reason: verdict.reason,
        decision: decision.record.id,
    })
}

/// What is sent to review.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// For the reviewer.
    pub(super) note: String,
    /// The decision that sends it.
    pub(super) decision: Option<DecisionId>,
    /// The answer in question, and who gave it.
    pub(super) answer: Option<(Bytes, Arc<Release>)>,
    /// Its confidence.
    pub(super) confidence: Option<f64>,
}

/// The review of an item, as the store takes it.
pub(super) fn review(run: &Run, item: Item) -> NewReview {
    let (gateway, ask) = (&run.gateway, &run.ask);
    let (answer, release) = item.answer.unzip();
    NewReview {
        route: ask.route.name().to_string(),
        created_ms: gateway.clock().now_ms(),
        request: ask.body.clone(),
        answer,
        decision: item.decision,
        model: release.as_ref().map(|release| release.model().to_string()),
        release: release.map(|release| release.name().to_string()),
        note: item.note,
        callback: ask.callback.as_deref().map(str::to_owned),
        request_id: Some(run.trail().id()),
        confidence: item.confidence,
    }
}

/// Puts an item into the route's review queue and returns its id. When this
/// returns, the item is on disk.
///
/// # Errors
///
/// As the store; nothing was kept then.
pub(super) async fn send_to_review(run: &Run, item: Item) -> Result<String, StoreError> {
    let (gateway, ask) = (&run.gateway, &run.ask);
    let review = review(run, item);
    let review = gateway.store().add_review(review).await;
    match &review {
        Ok(review) => tracing::debug!(
            route = &**ask.route.name(),
            id = review.id,
            "sent to review"
        ),
        Err(error) => tracing::error!(
            route = &**ask.route.name(),
            error = error as &dyn std::error::Error,
            "failed to send to review"
        ),
    }
    review.map(|review| review.id)
}
