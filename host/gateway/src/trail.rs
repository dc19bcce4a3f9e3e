//! The trail of a request: what was tried for it, and what came of it.
//!
//! A `Trail` is begun when a request has found its route, gathers one
//! [`AttemptRecord`] for each call while the plan is walked (`execute`), and
//! becomes one [`RequestRecord`] when its last holder lets go of it. So the
//! record is written exactly once, also for a caller that hangs up and for a
//! stream that is cut, and nothing has to remember to write it. An
//! `Attempting` works the same way: dropped without a result, its call was
//! cancelled.
//!
//! Always holds: each request that is counted in `backstop_requests` has one
//! record, with the outcome that was counted; a record holds no body, no
//! header but the caller's own id of the request, and no address.

mod context;
mod record;
mod requests;

pub use context::TraceContext;
pub(crate) use context::{TRACEPARENT, TRACESTATE, of_caller as trace_of_caller};
pub use record::{AttemptEnd, AttemptRecord, RequestId, RequestRecord, ServedStep, Why};
pub use requests::Requests;

use crate::gateway::Gateway;
use crate::release::{NotNow, Release};
use crate::telemetry::RequestOutcome;
use crate::upstream::{Extracted, Failure, TraceHeaders};
use backstop::record::DecisionId;
use backstop_core::limit::Priority;
use backstop_core::plan_run::CallId;
use backstop_core::verdict::Outcome;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest name of an upstream's that is kept of a model: it is the provider's
/// text.
const SERVED_MODEL_BYTES_MAX: usize = 128;

/// The header by which callers name their request.
const CALLER_ID: &str = "x-request-id";
/// Longest id of a caller's that is kept: several UUIDs.
const CALLER_ID_BYTES_MAX: usize = 128;
/// Most attempts that one record lists: each step of the longest plan four
/// times. Later ones are only counted.
pub const ATTEMPTS_MAX: usize = 64;

/// What a request is, as far as is known when it arrives.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Name of the route.
    pub(crate) route: Arc<str>,
    /// What kind of answer is asked for, in OpenTelemetry's words where it has
    /// one; empty for a request that found no route.
    pub(crate) operation: &'static str,
    pub(crate) streaming: bool,
    /// How much the request matters.
    pub(crate) priority: Priority,
    pub(crate) arrived: Instant,
    /// The caller's own id of the request.
    pub(crate) caller_id: Option<Box<str>>,
    /// What the caller says about its trace.
    pub(crate) trace: Option<TraceHeaders>,
}

/// The id that the caller gave the request; none when there is none, or none
/// that can be shown.
pub(crate) fn caller_id(headers: &HeaderMap) -> Option<Box<str>> {
    let id = headers.get(CALLER_ID)?.to_str().ok()?;
    let fits = !id.is_empty() && id.len() <= CALLER_ID_BYTES_MAX;
    fits.then(|| id.into())
}

/// One request on its way to its record.
pub(crate) struct Trail {
    gateway: Gateway,
    id: RequestId,
    arrived: Instant,
    trace: Option<TraceContext>,
    /// Taken when the trail ends.
    record: Mutex<Option<RequestRecord>>,
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Trail {
    /// The trail of a request that arrives.
    pub(crate) fn new(gateway: &Gateway, arrival: Arrival) -> Arc<Trail> {
        let id = gateway.telemetry().requests().next_id();
        let arrived_ms = gateway.clock().at_ms(arrival.arrived);
        let trace = gateway
            .spans()
            .map(|spans| TraceContext::begin(arrival.trace.as_ref(), spans.ratio()));
        Arc::new(Trail {
            gateway: gateway.clone(),
            id,
            arrived: arrival.arrived,
            trace,
            record: Mutex::new(Some(RequestRecord::new(id, arrived_ms, trace, arrival))),
        })
    }

    /// Identifies the request.
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    fn note(&self, note: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = &mut *self.record.lock() {
            note(record);
        }
    }

    /// Notes the decision that made the plan.
    pub(crate) fn decided(&self, decision: Option<DecisionId>) {
        self.note(|record| record.decision = decision);
    }

    /// Notes the status that the caller is told.
    pub(crate) fn told(&self, status: StatusCode) {
        self.note(|record| record.status = Some(status.as_u16()));
    }

    /// Notes how the request ended, and after what time.
    pub(crate) fn ended(&self, outcome: RequestOutcome, took: Duration) {
        self.note(|record| {
            record.outcome = outcome;
            record.took = took;
        });
    }

    /// Notes how long after its arrival the caller got the first token.
    pub(crate) fn first_token(&self, took: Duration) {
        self.note(|record| record.first_token = Some(took));
    }

    /// Notes which release answers.
    pub(crate) fn served(&self, step: u32, release: &Release) {
        let served = ServedStep {
            step,
            model: release.model().clone(),
            release: release.name().clone(),
        };
        self.note(|record| record.served_by = Some(served));
    }

    /// Notes that there was no budget for hedges.
    pub(crate) fn hedges_refused(&self) {
        self.note(|record| record.hedges_refused += 1);
    }

    /// A call that is going to be made, after the wait before it.
    pub(crate) fn attempt(self: &Arc<Self>, id: CallId, why: Why, model: &Arc<str>) -> Attempting {
        Attempting {
            trail: self.clone(),
            assigned: Instant::now(),
            called: None,
            is_known: false,
            record: AttemptRecord {
                span: self.trace.map_or(0, |_| context::span_id()),
                ..AttemptRecord::new(id, why, model.clone())
            },
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if let Some(record) = self.record.get_mut().take() {
            let record = record.finished();
            if let Some(spans) = self.gateway.spans() {
                spans.export(&record);
            }
            let telemetry = self.gateway.telemetry();
            telemetry.ended(&record);
            telemetry.requests().push(Arc::new(record));
        }
    }
}

/// A call under way. Goes into the record when it is dropped: as cancelled,
/// when nothing was said about its end. A call that was never begun leaves
/// nothing.
#[derive(Debug)]
pub(crate) struct Attempting {
    trail: Arc<Trail>,
    assigned: Instant,
    called: Option<Instant>,
    /// True once something is known about its end.
    is_known: bool,
    record: AttemptRecord,
}

impl Attempting {
    /// Notes that the call begins, and whom it goes to.
    pub(crate) fn called(&mut self, release: &Release) {
        let now = Instant::now();
        self.called = Some(now);
        self.record.release = Some(release.name().clone());
        self.record.provider = Some(release.provider_name().clone());
        self.record.upstream_model = Some(release.upstream_model().clone());
        self.record.waited = now.saturating_duration_since(self.assigned);
        self.record.start = now.saturating_duration_since(self.trail.arrived);
    }

    /// The headers that tell the upstream where its call stands in the trace:
    /// below this attempt, or where no spans are exported, below the caller's.
    pub(crate) fn trace_headers(&self, caller: Option<&TraceHeaders>) -> Option<TraceHeaders> {
        match &self.trail.trace {
            Some(trace) => trace.headers(self.record.span, caller),
            None => caller.cloned(),
        }
    }

    /// Notes that the model could not be called.
    pub(crate) fn not_called(mut self, why: NotNow) {
        let now = Instant::now();
        self.record.waited = now.saturating_duration_since(self.assigned);
        self.record.start = now.saturating_duration_since(self.trail.arrived);
        self.record.not_called = Some(why.as_str());
        self.ended(AttemptEnd::NotCalled);
    }

    fn ended(&mut self, end: AttemptEnd) {
        self.is_known = true;
        self.record.end = end;
        self.record.duration = self.called.map(|at| at.elapsed()).unwrap_or_default();
    }

    /// Notes that the call gave a whole answer.
    pub(crate) fn answered(&mut self, status: StatusCode, facts: &Extracted) {
        self.record.status = Some(status.as_u16());
        self.streamed(facts);
    }

    /// Notes that a stream that has begun is whole.
    pub(crate) fn streamed(&mut self, facts: &Extracted) {
        self.record.finish_reason = facts.finish_reason;
        self.record.usage = facts.usage;
        self.record.served_model = facts
            .served_model
            .as_deref()
            .map(|name| backstop_core::text::cut(name, SERVED_MODEL_BYTES_MAX).into());
        self.ended(AttemptEnd::Answered);
    }

    /// Notes events of a stream that could not be read.
    pub(crate) fn left_out(&mut self, events_malformed: u64) {
        self.record.events_malformed = events_malformed;
    }

    /// Notes that a stream has begun, so long after the call.
    pub(crate) fn streams(&mut self, status: StatusCode, first_token: Duration) {
        self.record.status = Some(status.as_u16());
        self.record.first_token = Some(first_token);
    }

    /// Notes that the call failed.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        if let Some(status) = failure.status {
            self.record.status = Some(status.as_u16());
        }
        self.record.failure = Some(failure.class);
        self.ended(AttemptEnd::Failed);
    }

    /// Notes what was made of the answer.
    pub(crate) fn judged(&mut self, outcome: Outcome, decision: DecisionId) {
        self.record.judged = Some(outcome);
        self.record.decision = Some(decision);
    }
}

impl Drop for Attempting {
    fn drop(&mut self) {
        if !self.is_known {
            if self.called.is_none() {
                return;
            }
            self.ended(AttemptEnd::Cancelled);
        }
        let attempt = std::mem::take(&mut self.record);
        self.trail.note(|record| record.add(attempt));
    }
}
