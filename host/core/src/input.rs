//! What a policy is told: the inputs of the three decision points.
//!
//! Plain data, filled in by whoever asks for a decision, kept in the decision
//! record as it was. The words are those of `wit/requests.wit`,
//! `wit/answers.wit` and `wit/rollback.wit`.

use crate::fault::FailureClass;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// State of a circuit breaker (resilience4j's states).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Calls pass; failures are counted.
    #[default]
    Closed,
    /// Calls are refused until the open interval has passed.
    Open,
    /// A few trial calls pass.
    HalfOpen,
    /// An operator holds the breaker open.
    ForcedOpen,
    /// An operator switched the breaker off.
    Disabled,
    /// Calls pass and are counted; the breaker never opens.
    MetricsOnly,
}

impl BreakerState {
    /// The name in the contract, in metrics and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half-open",
            BreakerState::ForcedOpen => "forced-open",
            BreakerState::Disabled => "disabled",
            BreakerState::MetricsOnly => "metrics-only",
        }
    }
}

/// A model that the route may use, and how it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Name of the model.
    pub model: Arc<str>,
    /// State of its breaker when the decision began.
    pub breaker: BreakerState,
    /// False when a probe or an operator says that it is down.
    pub healthy: bool,
    /// Calls under way on this host.
    #[serde(default)]
    pub in_flight: u32,
    /// How many may be under way at once; none without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Requests that wait for a place.
    #[serde(default)]
    pub queued: u32,
    /// Milliseconds until its breaker may let a call pass, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u32>,
    /// Tokens of its context window, where the operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
}

impl Default for Candidate {
    /// A model without a name that can be called.
    fn default() -> Self {
        Candidate {
            model: Arc::default(),
            breaker: BreakerState::Closed,
            healthy: true,
            in_flight: 0,
            limit: None,
            queued: 0,
            retry_in_ms: None,
            context_tokens: None,
        }
    }
}

/// One earlier attempt at the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Model that was called.
    pub model: Arc<str>,
    /// Why it failed; none when its answer was judged not good enough.
    pub failure: Option<FailureClass>,
    /// Milliseconds that it took.
    pub latency_ms: u32,
}

/// A request to a route, as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RequestFacts {
    /// Name of the route.
    pub route: Arc<str>,
    /// The route's models, in the order of its configuration.
    pub candidates: Vec<Candidate>,
    /// Names of the route's rules answers.
    pub rules: Arc<[Arc<str>]>,
    /// True when the route has a review queue that takes items.
    pub has_review: bool,
    /// True when the caller asked for a stream.
    pub streaming: bool,
    /// Attempts made so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// Milliseconds until the caller's deadline, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_left_ms: Option<u32>,
    /// Facts that the route's configuration exposes, by name.
    pub tags: Vec<(Arc<str>, String)>,
    /// Size of the body in bytes.
    pub body_bytes: u64,
    /// The body, for policies with a grant for bodies. Not part of the record:
    /// what a policy read of it is in the record's host calls.
    #[serde(skip)]
    pub body: Option<Arc<str>>,
}

/// Why a model stopped, in OpenAI's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// It ran into a token limit.
    Length,
    /// It asked for a tool.
    ToolCalls,
    /// The provider's filter stopped it.
    ContentFilter,
    /// Another reason.
    Other,
}

/// The score of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The label.
    pub label: String,
    /// Its score, finite.
    pub value: f64,
}

/// An answer of a model, as a policy sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct AnswerFacts {
    /// Name of the model that answered.
    pub model: Arc<str>,
    /// Name of the release that answered.
    pub release: Arc<str>,
    /// Position of the plan's step, from 0.
    pub step: u32,
    /// Steps of the plan that come after it.
    pub steps_left: u32,
    /// Confidence in `[0, 1]`, where there is one.
    pub confidence: Option<f64>,
    /// The predicted label.
    pub label: Option<String>,
    /// Scores per label, highest first.
    pub scores: Vec<Score>,
    /// Natural log-probabilities of the answer's tokens.
    pub token_logprobs: Vec<f64>,
    /// Why the model stopped.
    pub finish_reason: Option<FinishReason>,
    /// Milliseconds until the complete answer.
    pub latency_ms: u32,
    /// True when the caller already has it.
    pub delivered: bool,
    /// True when it is the beginning of an answer that is still being written
    /// and that nobody has seen.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
    /// Milliseconds until the first token, for streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u32>,
    /// Tokens of the answer so far, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Size of the body in bytes.
    pub body_bytes: u64,
    /// The body, under the same terms as [`RequestFacts::body`].
    #[serde(skip)]
    pub body: Option<Arc<str>>,
}

/// A rollout in progress, as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutFacts {
    /// Model whose releases are being changed.
    pub model: Arc<str>,
    /// Release that is being tried.
    pub candidate: Arc<str>,
    /// Release that serves the rest.
    pub stable: Arc<str>,
    /// Where the rollout stands.
    pub stage: RolloutStage,
    /// The candidate's share, in percent, 0 to 100.
    pub share_percent: u32,
    /// The share after an advance; none when it would promote.
    pub next_share_percent: Option<u32>,
    /// Milliseconds since the rollout began.
    pub age_ms: u64,
    /// Milliseconds since the present share was set.
    pub step_age_ms: u64,
    /// Releases that could serve at once, newest first.
    pub ready_releases: Vec<Arc<str>>,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Stage of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStage {
    /// The candidate sees copies of requests.
    Shadow,
    /// The candidate serves a share.
    Canary,
}
