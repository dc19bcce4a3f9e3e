//! Decision records: everything that went into and came out of a decision.
//!
//! A record is enough to replay the decision bit for bit (see
//! [`Host::replayer`](crate::Host::replayer)). The host keeps the newest in a bounded ring
//! ([`Records`]); whoever wants to keep more drains them from there.

mod calls;
mod outcome;
mod ring;

pub use calls::{HostCall, IncidentError, LogLevel, RecordedAnswer, StateError};
pub use outcome::{Cost, DecidedBy, FailureKind, Fault, Over, RunOutcome};
pub use ring::Records;

use crate::convert;
use backstop_core::input::{AnswerFacts, RequestFacts, RolloutFacts};
use backstop_core::plan::Plan;
use backstop_core::rollout::Assessment;
use backstop_core::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which decision a policy makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionPoint {
    /// Plans a request.
    Fallback,
    /// Judges an answer.
    Threshold,
    /// Assesses a rollout.
    Rollback,
}

impl DecisionPoint {
    /// All decision points.
    pub const ALL: [DecisionPoint; 3] = [
        DecisionPoint::Fallback,
        DecisionPoint::Threshold,
        DecisionPoint::Rollback,
    ];

    /// The name in the contract, in metrics and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            DecisionPoint::Fallback => "fallback",
            DecisionPoint::Threshold => "threshold",
            DecisionPoint::Rollback => "rollback",
        }
    }
}

impl std::fmt::Display for DecisionPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The moment of a decision: all the time and randomness that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Random bits.
    pub seed: u64,
    /// Microseconds that the guest was told it has.
    pub time_left_us: u64,
}

/// What a policy was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// To plan this request.
    Fallback(Arc<RequestFacts>),
    /// To judge this answer to this request.
    Threshold(Arc<RequestFacts>, Arc<AnswerFacts>),
    /// To assess this rollout.
    Rollback(Arc<RolloutFacts>),
}

impl Input {
    /// The input as records keep it: bodies are large, and what was read of
    /// them is among the host calls.
    pub(crate) fn without_bodies(self) -> Self {
        let request = |facts: Arc<RequestFacts>| match &facts.body {
            None => facts,
            Some(_) => Arc::new(RequestFacts {
                body: None,
                ..(*facts).clone()
            }),
        };
        match self {
            Input::Fallback(facts) => Input::Fallback(request(facts)),
            Input::Threshold(facts, answer) if answer.body.is_some() => {
                let answer = AnswerFacts {
                    body: None,
                    ..(*answer).clone()
                };
                Input::Threshold(request(facts), Arc::new(answer))
            }
            Input::Threshold(facts, answer) => Input::Threshold(request(facts), answer),
            Input::Rollback(rollout) => Input::Rollback(rollout),
        }
    }

    /// `name` as the input spells it, so that a record shares its names with
    /// what was asked; a name that is not in the input is kept on its own.
    pub(crate) fn known(&self, name: String) -> Arc<str> {
        match self {
            Input::Fallback(request) => convert::known_model(name, request),
            Input::Threshold(request, answer) => {
                let models = request.candidates.iter().map(|known| &known.model);
                convert::known(name, models.chain([&answer.model, &answer.release]))
            }
            Input::Rollback(rollout) => convert::known(
                name,
                [&rollout.model, &rollout.candidate, &rollout.stable].into_iter(),
            ),
        }
    }

    /// The decision point that is asked.
    pub fn point(&self) -> DecisionPoint {
        match self {
            Input::Fallback(_) => DecisionPoint::Fallback,
            Input::Threshold(..) => DecisionPoint::Threshold,
            Input::Rollback(_) => DecisionPoint::Rollback,
        }
    }
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// A plan.
    Plan(Arc<Plan>),
    /// A verdict.
    Verdict(Verdict),
    /// An assessment.
    Assessment(Assessment),
}

/// Which revision ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRef {
    /// Name of the policy, as the operator calls it.
    pub policy: Arc<str>,
    /// Number of the revision, increasing for each policy; from 1, or from
    /// [`ActivationRequest::number_before`](crate::ActivationRequest).
    pub number: u64,
    /// SHA-256 over component digest, settings, grants and limits, in hex.
    pub digest: Arc<str>,
}

/// Identifies a decision: unique within one host and increasing, across
/// restarts too. Written as 16 hexadecimal digits, for 64-bit numbers do not
/// survive every JSON reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DecisionId(pub u64);

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for DecisionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(DecisionId)
    }
}

impl Serialize for DecisionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Everything about one decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Identifies the decision.
    pub id: DecisionId,
    /// Which revision ran.
    pub revision: RevisionRef,
    /// When, and with which randomness.
    pub moment: Moment,
    /// What was asked.
    pub input: Input,
    /// Calls of host functions, in order.
    pub calls: Vec<HostCall>,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// What the guest returned, where it returned something applicable.
    pub returned: Option<Arc<Output>>,
    /// Which decision was applied.
    pub decided_by: DecidedBy,
    /// What was applied.
    pub applied: Arc<Output>,
    /// What it cost.
    pub cost: Cost,
    /// For a run whose decision failed over to the previous revision, the
    /// record of that one's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<DecisionRecord>>,
}
