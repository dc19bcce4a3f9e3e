//! What a request and its attempts leave behind.

use super::{ATTEMPTS_MAX, Arrival, TraceContext};
use crate::telemetry::RequestOutcome;
use crate::upstream::Usage;
use backstop::record::DecisionId;
use backstop_core::fault::FailureClass;
use backstop_core::input::FinishReason;
use backstop_core::limit::Priority;
use backstop_core::plan_run::CallId;
use backstop_core::verdict::Outcome;
use serde::{Serialize, Serializer};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Identifies a request: unique within one gateway and increasing, across
/// restarts too. Written as 16 hexadecimal digits, for 64-bit numbers do not
/// survive every JSON reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything about one request that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RequestRecord {
    /// Identifies it; 16 hexadecimal digits.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// The caller's own id of it, from `x-request-id`.
    #[schema(value_type = Option<String>)]
    pub caller_id: Option<Box<str>>,
    /// The trace that its spans are in; none where no spans are exported.
    #[serde(rename = "trace_id")]
    #[schema(value_type = Option<String>)]
    pub trace: Option<TraceContext>,
    /// The route; `-` for a request that found none.
    #[schema(value_type = String)]
    pub route: Arc<str>,
    /// What was asked for, for example `chat`; empty where no route was found.
    pub operation: &'static str,
    /// Whether the caller asked for a stream.
    pub streaming: bool,
    /// How much it mattered where a model could not serve all: `critical`,
    /// `normal` or `sheddable`.
    #[serde(serialize_with = "priority_word")]
    #[schema(value_type = String)]
    pub priority: Priority,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub arrived_ms: u64,
    /// How it ended, as it was counted.
    #[serde(serialize_with = "word")]
    #[schema(value_type = String)]
    pub outcome: RequestOutcome,
    /// The status that the caller was told; none when the caller was gone.
    pub status: Option<u16>,
    /// The decision that made the plan; none where no policy did.
    #[schema(value_type = Option<String>)]
    pub decision: Option<DecisionId>,
    /// The last release whose answer the caller got something of.
    pub served_by: Option<ServedStep>,
    /// From its arrival to the end of its answer, in milliseconds.
    #[serde(rename = "total_ms", serialize_with = "ms")]
    #[schema(value_type = f64)]
    pub took: Duration,
    /// From its arrival to the first token of the delivered stream, in
    /// milliseconds.
    #[serde(rename = "first_token_ms", serialize_with = "ms_if_any")]
    #[schema(value_type = Option<f64>)]
    pub first_token: Option<Duration>,
    /// What was tried, in the order of their starts.
    pub attempts: Vec<AttemptRecord>,
    /// Races that went one by one because there was no budget for more.
    pub hedges_refused: u32,
    /// Attempts beyond those that are listed.
    pub attempts_left_out: u32,
}

/// Who served a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServedStep {
    /// Position of the plan's step, from 0.
    pub step: u32,
    /// The model.
    #[schema(value_type = String)]
    pub model: Arc<str>,
    /// Its release.
    #[schema(value_type = String)]
    pub release: Arc<str>,
}

/// One call of a model, or one that could not be made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, ToSchema)]
pub struct AttemptRecord {
    /// Position of the plan's step, from 0.
    pub step: u32,
    /// Position in a race, from 0.
    pub racer: u32,
    /// 0 for the first attempt, then the number of the repetition.
    pub retry: u32,
    /// Why it was made.
    pub why: Why,
    /// The model.
    #[schema(value_type = String)]
    pub model: Arc<str>,
    /// The release that was called; none when none was.
    #[schema(value_type = Option<String>)]
    pub release: Option<Arc<str>>,
    /// Who runs it, by its name in the configuration.
    #[schema(value_type = Option<String>)]
    pub provider: Option<Arc<str>>,
    /// What the provider is asked for.
    #[schema(value_type = Option<String>)]
    pub upstream_model: Option<Arc<str>>,
    /// Identifies its span; 0 where no spans are exported.
    #[serde(skip)]
    pub span: u64,
    /// The wait before it, in milliseconds.
    #[serde(rename = "waited_ms", serialize_with = "ms")]
    #[schema(value_type = f64)]
    pub waited: Duration,
    /// From the arrival of the request to its start, in milliseconds.
    #[serde(rename = "start_ms", serialize_with = "ms")]
    #[schema(value_type = f64)]
    pub start: Duration,
    /// From its start to the first token, in milliseconds; only for streams.
    #[serde(rename = "first_token_ms", serialize_with = "ms_if_any")]
    #[schema(value_type = Option<f64>)]
    pub first_token: Option<Duration>,
    /// From its start to its end, in milliseconds.
    #[serde(rename = "duration_ms", serialize_with = "ms")]
    #[schema(value_type = f64)]
    pub duration: Duration,
    /// Events of its stream that could not be read and were left out.
    pub events_malformed: u64,
    /// How it ended.
    pub end: AttemptEnd,
    /// The class of its failure.
    #[schema(value_type = Option<String>)]
    pub failure: Option<FailureClass>,
    /// Why the model was not called: `down`, `breaker`, `retry-budget` and so
    /// on.
    pub not_called: Option<&'static str>,
    /// The upstream's status, where a response head came.
    pub status: Option<u16>,
    /// What the threshold policy made of the answer.
    #[schema(value_type = Option<String>)]
    pub judged: Option<Outcome>,
    /// The decision that did.
    #[schema(value_type = Option<String>)]
    pub decision: Option<DecisionId>,
    /// Why the model stopped.
    #[schema(value_type = Option<String>)]
    pub finish_reason: Option<FinishReason>,
    /// The model's name in the provider's words.
    #[schema(value_type = Option<String>)]
    pub served_model: Option<Box<str>>,
    /// Token counts.
    #[schema(value_type = Option<Object>)]
    pub usage: Option<Usage>,
}

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The plan says so.
    #[default]
    Plan,
    /// The attempt before it failed, and is repeated.
    Retry,
    /// The other calls of a race took too long.
    Hedge,
    /// A stream broke off after its caller had begun to see it.
    Rescue,
    /// No model could be called, and this one fails least.
    LeastBad,
}

impl Why {
    /// The name in records, metrics and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Plan => "plan",
            Why::Retry => "retry",
            Why::Hedge => "hedge",
            Why::Rescue => "rescue",
            Why::LeastBad => "least-bad",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptEnd {
    /// With a whole answer.
    Answered,
    /// With a failure.
    Failed,
    /// It was given up: another answer was taken, this one was not good
    /// enough, or the caller went away.
    #[default]
    Cancelled,
    /// It was not made, because the model could not be called.
    NotCalled,
}

impl AttemptEnd {
    /// The name in records and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptEnd::Answered => "answered",
            AttemptEnd::Failed => "failed",
            AttemptEnd::Cancelled => "cancelled",
            AttemptEnd::NotCalled => "not-called",
        }
    }
}

impl RequestRecord {
    /// The beginning of a record; a request of which nothing more is heard was
    /// cancelled.
    pub(super) fn new(
        id: RequestId,
        arrived_ms: u64,
        trace: Option<TraceContext>,
        arrival: Arrival,
    ) -> Self {
        RequestRecord {
            id,
            caller_id: arrival.caller_id,
            trace,
            route: arrival.route,
            operation: arrival.operation,
            streaming: arrival.streaming,
            priority: arrival.priority,
            arrived_ms,
            outcome: RequestOutcome::Cancelled,
            status: None,
            decision: None,
            served_by: None,
            took: Duration::ZERO,
            first_token: None,
            attempts: Vec::new(),
            hedges_refused: 0,
            attempts_left_out: 0,
        }
    }

    pub(super) fn add(&mut self, attempt: AttemptRecord) {
        if self.attempts.is_empty() {
            // Most requests take one: room for four would be most of a record.
            self.attempts.reserve_exact(1);
        }
        if self.attempts.len() < ATTEMPTS_MAX {
            self.attempts.push(attempt);
        } else {
            self.attempts_left_out += 1;
        }
    }

    /// The record with its attempts in order; they came in that of their ends.
    pub(super) fn finished(mut self) -> Self {
        self.attempts.sort_by_key(|attempt| attempt.start);
        self
    }

    /// True when `decision` was made for this request.
    pub fn is_about(&self, decision: DecisionId) -> bool {
        let mut judgements = self.attempts.iter().map(|attempt| attempt.decision);
        self.decision == Some(decision) || judgements.any(|known| known == Some(decision))
    }

    /// About how many bytes it takes up.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>()
            + self.attempts.capacity() * size_of::<AttemptRecord>()
            + self.caller_id.as_ref().map_or(0, |id| id.len())
    }
}

impl AttemptRecord {
    pub(super) fn new(id: CallId, why: Why, model: Arc<str>) -> Self {
        AttemptRecord {
            step: id.step,
            racer: id.racer,
            retry: id.retry,
            why,
            model,
            ..AttemptRecord::default()
        }
    }
}

fn word<S: Serializer>(outcome: &RequestOutcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.as_str())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference to the field"
)]
fn priority_word<S: Serializer>(priority: &Priority, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(priority.as_str())
}

/// Milliseconds to the microsecond.
fn ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_micros() as f64 / 1_000.0)
}

#[expect(
    clippy::ref_option,
    reason = "serde calls it with a reference to the field"
)]
fn ms_if_any<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => ms(duration, serializer),
        None => serializer.serialize_none(),
    }
}
