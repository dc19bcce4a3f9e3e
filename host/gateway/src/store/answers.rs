//! Answers that are remembered for feedback, as the store keeps them, and what
//! has been said about them.
//!
//! Answers come in batches, after their callers have them; they go when they
//! are too old or too many. Always holds: of one answer one thing is said of
//! each kind, and the first stands; what is said in one [`NewFeedback`] is
//! kept whole or not at all; what has been said goes with its answer.

use crate::trail::RequestId;
use backstop::DecisionId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// An answer of a model that was given to a caller.
#[derive(Debug, Clone, PartialEq)]
pub struct RememberedAnswer {
    /// The request that it answers.
    pub request: RequestId,
    /// The caller's own id of the request.
    pub caller_id: Option<Box<str>>,
    /// The decision that made the request's plan.
    pub decision: Option<DecisionId>,
    /// The route.
    pub route: Arc<str>,
    /// The model that answered.
    pub model: Arc<str>,
    /// Its release.
    pub release: Arc<str>,
    /// When the request arrived, in milliseconds since the Unix epoch.
    pub arrived_ms: u64,
    /// Confidence in `[0, 1]`, where there is one.
    pub confidence: Option<f64>,
    /// The label that was predicted, where there is one.
    pub label: Option<String>,
    /// Tags by which its evidence is told apart, with their values.
    pub segments: Vec<Segment>,
    /// Answers of the request that were judged not good enough before it: the
    /// truth is the truth about them, too.
    pub passed_over: Vec<PassedOver>,
}

/// An answer that its caller never saw, because a policy escalated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The model that answered.
    pub model: Arc<str>,
    /// Its release.
    pub release: Arc<str>,
    /// Confidence in `[0, 1]`.
    pub confidence: f64,
    /// The label that was predicted.
    pub label: String,
}

/// A tag of a request by which evidence is told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Name of the tag.
    pub tag: Arc<str>,
    /// Its value.
    pub value: Arc<str>,
}

/// An answer that was looked for.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundAnswer {
    /// It is remembered.
    Remembered(Box<RememberedAnswer>),
    /// It is not, and its id is older than answers that were removed already.
    Removed,
    /// There is no such answer, or none that can be told from one.
    Unknown,
}

/// An answer with what was said about it.
pub type LabelledAnswer = (RememberedAnswer, Vec<Fact>);

/// How many answers of a route are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerLimits {
    /// The route.
    pub route: Arc<str>,
    /// Answers to requests that arrived before this go, in milliseconds since
    /// the Unix epoch.
    pub oldest_ms: u64,
    /// More than so many go, the oldest first.
    pub answers_max: u64,
}

/// One thing that is said about an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What it is about: `label`, `correct`, `answer`, `rating`, or
    /// `outcome:NAME`.
    pub kind: String,
    /// What is said.
    pub value: Value,
}

/// Everything that is said about an answer at once.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFeedback {
    /// The request that was answered.
    pub request: RequestId,
    /// At most one of each kind.
    pub facts: Vec<Fact>,
    /// Who says it.
    pub by: Option<String>,
}

/// What became of a [`NewFeedback`].
#[derive(Debug, Clone, PartialEq)]
pub enum FeedbackEnd {
    /// It is kept.
    Kept {
        /// For each fact, in their order, whether it is new; else the very same
        /// had been said before.
        is_new: Vec<bool>,
    },
    /// Something else was said before, which stands. Nothing was kept.
    Contradicts(Fact),
    /// The answer is not remembered any more. Nothing was kept.
    Gone,
}

/// One series of evidence as the store keeps it: its key and what is in it,
/// both the gateway's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvidence {
    /// Which series.
    pub key: String,
    /// What is in it.
    pub series: Vec<u8>,
}
