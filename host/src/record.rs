//! Decision records: everything that went into and came out of a decision.
//!
//! A record is enough to replay the decision bit for bit (see
//! [`Host::replayer`](crate::Host::replayer)). The host keeps the newest in a bounded ring
//! ([`Records`]); whoever wants to keep more drains them from there.

use crate::convert;
use crate::sources::{IncidentReport, ModelError};
use backstop_core::input::{AnswerFacts, RequestFacts, RolloutFacts};
use backstop_core::metric::{
    Comparison, ComparisonOptions, DriftReading, Estimate, MetricsError, Moments, Proportion,
    Subject,
};
use backstop_core::plan::Plan;
use backstop_core::rollout::Assessment;
use backstop_core::verdict::Verdict;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// One call of a host function, with its arguments and its result.
///
/// Reading the decision's own input (route, candidates, confidence …) is not
/// listed: it is answered from [`DecisionRecord::input`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "fields are the arguments and results of the WIT functions named"
)]
pub enum HostCall {
    /// `metrics.rate`
    Rate {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        result: Result<Proportion, MetricsError>,
    },
    /// `metrics.mean`
    Mean {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        result: Result<Moments, MetricsError>,
    },
    /// `metrics.quantile`
    Quantile {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        q: f64,
        result: Result<Estimate, MetricsError>,
    },
    /// `metrics.compare`
    Compare {
        metric: Cow<'static, str>,
        candidate: Subject,
        baseline: Subject,
        window_s: u32,
        options: ComparisonOptions,
        result: Result<Comparison, MetricsError>,
    },
    /// `metrics.drift`
    Drift {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        reference_s: u32,
        result: Result<DriftReading, MetricsError>,
    },
    /// One call of `models.call` or `models.call-many`.
    Model {
        model: String,
        body: String,
        timeout_ms: u32,
        result: Result<Box<RecordedAnswer>, ModelError>,
    },
    /// `models.budget-left`
    BudgetLeft {
        calls: u32,
        time_ms: u32,
        cost_micros: u64,
    },
    /// `state.get`
    StateGet {
        key: String,
        result: Result<Option<Vec<u8>>, StateError>,
    },
    /// `state.set`
    StateSet {
        key: String,
        value: Vec<u8>,
        ttl_s: u32,
        result: Result<(), StateError>,
    },
    /// `state.remove`
    StateRemove {
        key: String,
        result: Result<bool, StateError>,
    },
    /// `state.add`
    StateAdd {
        key: String,
        delta: i64,
        ttl_s: u32,
        result: Result<i64, StateError>,
    },
    /// `log.write`; lines that were dropped are not listed.
    Log { level: LogLevel, message: String },
    /// `incident.raise`
    Incident {
        report: IncidentReport,
        result: Result<bool, IncidentError>,
    },
    /// `request.body` or `answer.body`.
    Body {
        bytes_max: u32,
        result: Option<String>,
    },
}

impl HostCall {
    /// About how many bytes the call takes up in a record.
    pub(crate) fn weight(&self) -> usize {
        let text = match self {
            HostCall::Rate { metric, .. }
            | HostCall::Mean { metric, .. }
            | HostCall::Quantile { metric, .. }
            | HostCall::Compare { metric, .. }
            | HostCall::Drift { metric, .. } => 2 * metric.len(),
            HostCall::Model {
                model,
                body,
                result,
                ..
            } => {
                let answer = result.as_ref().map_or(0, |answer| answer.body.len());
                model.len() + body.len() + answer
            }
            HostCall::BudgetLeft { .. } => 0,
            HostCall::StateGet { key, result } => {
                let value = result
                    .as_ref()
                    .ok()
                    .and_then(Option::as_ref)
                    .map_or(0, Vec::len);
                key.len() + value
            }
            HostCall::StateSet { key, value, .. } => key.len() + value.len(),
            HostCall::StateRemove { key, .. } | HostCall::StateAdd { key, .. } => key.len(),
            HostCall::Log { message, .. } => message.len(),
            HostCall::Incident { report, .. } => {
                report.key.len() + report.title.len() + report.detail.len()
            }
            HostCall::Body { result, .. } => result.as_ref().map_or(0, String::len),
        };
        text + size_of::<HostCall>()
    }
}

/// A model's answer with its body, as a record keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedAnswer {
    /// The answer.
    pub facts: AnswerFacts,
    /// Its body.
    pub body: String,
    /// What it cost.
    pub cost_micros: u64,
}

/// Why an operation on a policy's state was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateError {
    /// All keys are taken.
    #[error("all keys are taken")]
    Full,
    /// The key or the value is empty or too large.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// The value is not a number, or would leave its range.
    #[error("not a number, or out of its range")]
    NotANumber,
    /// The decision's deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
}

/// Why an incident was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentError {
    /// A field is empty or too large.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// Too many in one decision.
    #[error("too many incidents in one decision")]
    OverBudget,
    /// The decision's deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
    /// The host cannot take it.
    #[error("incidents are unavailable: {0}")]
    Unavailable(String),
}

/// Importance of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Details for the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// How a failed decision failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The guest trapped.
    Trap,
    /// Over its deadline or its fuel.
    Deadline,
    /// Over its memory.
    Memory,
    /// What it returned may not be applied.
    InvalidOutput,
    /// The host could not run it.
    Load,
}

impl FailureKind {
    /// The name in metrics, in records and in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Deadline => "deadline",
            FailureKind::Memory => "memory",
            FailureKind::InvalidOutput => "invalid-output",
            FailureKind::Load => "load",
        }
    }
}

/// Who is to blame for a failed decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The policy.
    Policy,
    /// The host, or the machine that it runs on.
    Host,
}

/// The bound on its length that a run was over. All but the clock stop a run
/// at the same place every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// Wall time.
    Clock,
    /// Fuel.
    Fuel,
    /// The number of host calls.
    HostCalls,
}

/// How a policy's run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// It returned a decision, and the decision passed its checks.
    Answered,
    /// It has no opinion.
    Abstained {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed {
        /// How.
        kind: FailureKind,
        /// Whose fault it was.
        fault: Fault,
        /// For [`FailureKind::Deadline`], which bound it was over; none for
        /// other kinds, and in records of versions that did not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Over>,
        /// For people.
        detail: String,
    },
    /// It was not asked, because it failed too often.
    Suspended,
}

/// Which decision was applied in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecidedBy {
    /// The policy's.
    Policy,
    /// The previous revision's, because this one failed.
    Previous,
    /// The default that came with the question.
    Default,
    /// The closed one: refuse, review, pause.
    Closed,
}

/// What a run cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Fuel used.
    pub fuel: u64,
    /// Nanoseconds in guest code, instantiation included.
    pub guest_ns: u64,
    /// Nanoseconds in host calls.
    pub host_ns: u64,
    /// Largest total of linear memory, in bytes.
    pub memory_bytes: u64,
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

/// The newest decision records, in a bounded ring.
#[derive(Debug)]
pub struct Records {
    ring: Mutex<Ring>,
    records_max: usize,
    bytes_max: usize,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    /// Each with its weight, so that a record that leaves need not be read
    /// again: by then it is in no cache.
    records: VecDeque<(usize, Arc<DecisionRecord>)>,
    /// Weight of all of them.
    bytes: usize,
}

impl DecisionRecord {
    /// About how many bytes it takes up: everything in it whose size somebody
    /// else chooses.
    fn weight(&self) -> usize {
        let previous = self
            .previous
            .as_ref()
            .map_or(0, |previous| previous.weight());
        let detail = match &self.outcome {
            RunOutcome::Abstained { reason } => reason.len(),
            RunOutcome::Failed { detail, .. } => detail.len(),
            RunOutcome::Answered | RunOutcome::Suspended => 0,
        };
        let calls = self.calls.iter().map(HostCall::weight).sum::<usize>();
        size_of::<Self>() + self.input.weight() + calls + detail + self.applied.weight() + previous
    }
}

impl Input {
    fn weight(&self) -> usize {
        match self {
            Input::Fallback(request) => request_weight(request),
            Input::Threshold(request, answer) => request_weight(request) + answer_weight(answer),
            Input::Rollback(rollout) => {
                size_of::<RolloutFacts>() + size_of_val(&*rollout.ready_releases)
            }
        }
    }
}

fn request_weight(request: &RequestFacts) -> usize {
    let tags = request
        .tags
        .iter()
        .map(|(name, tag)| name.len() + tag.len());
    size_of::<RequestFacts>()
        + size_of_val(&*request.candidates)
        + size_of_val(&*request.attempts)
        + tags.sum::<usize>()
}

fn answer_weight(answer: &AnswerFacts) -> usize {
    let scores = answer.scores.iter().map(|score| score.label.len());
    size_of::<AnswerFacts>()
        + answer.label.as_ref().map_or(0, String::len)
        + size_of_val(&*answer.scores)
        + scores.sum::<usize>()
        + size_of_val(&*answer.token_logprobs)
}

impl Output {
    fn weight(&self) -> usize {
        match self {
            Output::Plan(plan) => {
                let reasons = plan.steps.iter().map(|step| step.reason.len());
                size_of_val(&*plan.steps) + reasons.sum::<usize>()
            }
            Output::Verdict(verdict) => verdict.reason.len(),
            Output::Assessment(assessment) => assessment.reason.len(),
        }
    }
}

impl Records {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        let records = VecDeque::with_capacity(records_max.min(65_536));
        Records {
            ring: Mutex::new(Ring { records, bytes: 0 }),
            records_max: records_max.max(1),
            bytes_max,
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn push(&self, record: Arc<DecisionRecord>) {
        let weight = record.weight();
        // Dropped when the lock is free again.
        let mut oldest = Vec::new();
        {
            let mut ring = self.ring.lock();
            while ring.records.len() >= self.records_max || ring.bytes + weight > self.bytes_max {
                let Some((weight, record)) = ring.records.pop_front() else {
                    break;
                };
                ring.bytes -= weight;
                oldest.push(record);
            }
            ring.bytes += weight;
            ring.records.push_back((weight, record));
        }
        if !oldest.is_empty() {
            self.dropped
                .fetch_add(oldest.len() as u64, Ordering::Relaxed);
        }
    }

    /// The newest `count` records, newest first.
    pub fn newest(&self, count: usize) -> Vec<Arc<DecisionRecord>> {
        self.ring
            .lock()
            .records
            .iter()
            .rev()
            .take(count)
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// The record with this id, while it is in the ring.
    pub fn get(&self, id: DecisionId) -> Option<Arc<DecisionRecord>> {
        self.ring
            .lock()
            .records
            .iter()
            .rev()
            .find(|(_, record)| record.id == id)
            .map(|(_, record)| record.clone())
    }

    /// Takes all records out, oldest first.
    pub fn drain(&self) -> Vec<Arc<DecisionRecord>> {
        {
            let mut ring = self.ring.lock();
            ring.bytes = 0;
            ring.records.drain(..).map(|(_, record)| record).collect()
        }
    }

    /// How many records are in the ring.
    pub fn len(&self) -> usize {
        self.ring.lock().records.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records were pushed out by newer ones since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
