//! The words between a run and its executor: what to do next, and how it went.

use crate::fault::FailureClass;
use crate::verdict::Outcome;
use serde::{Deserialize, Serialize};

/// Which call: of which step, which of a race, which repetition; all from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallId {
    /// Position of the step.
    pub step: u32,
    /// Position in the race; 0 for a step that is none.
    pub racer: u32,
    /// 0 for the first attempt, then the number of the repetition.
    pub retry: u32,
}

/// One call to make. [`PlanRun::model`](super::PlanRun::model) names the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub id: CallId,
    /// Milliseconds to wait before it.
    pub delay_ms: u64,
    /// Milliseconds for the attempt, from its start; at least 1.
    pub timeout_ms: u64,
    /// Milliseconds until the first token or the response head; at most
    /// `timeout_ms`.
    pub first_token_ms: u64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run goes on with this move"]
pub enum Move {
    /// Make this call and tell how it ended. In a race: besides those under way.
    Call(Call),
    /// Make these calls at once, each after its own delay, and tell how each
    /// ended until told to do something else.
    Race(Vec<Call>),
    /// Calls of the race are still under way: wait for the next to end.
    Wait {
        /// A call whose delay need not be waited out, since no other is left
        /// in flight.
        hurry: Option<CallId>,
    },
    /// Ends the run: deliver this answer and cancel what is under way.
    Deliver(CallId),
    /// Ends the run: answer with the rules of this step.
    Rules {
        /// Position of the step.
        step: u32,
    },
    /// Ends the run: send to review.
    Review {
        /// Position of the step.
        step: u32,
        /// The answer that was judged to need it; none when the plan says so.
        answer: Option<CallId>,
    },
    /// Ends the run: decline as this step says.
    Refuse {
        /// Position of the step.
        step: u32,
    },
    /// Ends the run: tell the caller of this failure, which another model would
    /// not mend or may no longer replace.
    Fail {
        /// The call.
        call: CallId,
        /// Its failure.
        class: FailureClass,
    },
    /// Ends the run: no step is left; use the route's last resort.
    Exhausted(Exhausted),
}

impl Move {
    /// True when the run has ended.
    pub fn is_end(&self) -> bool {
        !matches!(self, Move::Call(_) | Move::Race(_) | Move::Wait { .. })
    }
}

/// Why no step is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exhausted {
    /// The last call failed.
    Failed(FailureClass),
    /// The last answer was judged not good enough.
    Escalated,
    /// The breaker of the last model refused.
    Refused,
    /// There was no time for another call.
    Deadline,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// It answered, and the answer was judged.
    Answered {
        /// The judgement.
        outcome: Outcome,
        /// True when the caller already has the answer: it is then the one
        /// that is delivered, whatever the judgement.
        delivered: bool,
        /// Milliseconds that it took.
        latency_ms: u32,
    },
    /// It failed.
    Failed {
        /// Why.
        class: FailureClass,
        /// What the provider said about when to come back.
        retry_after_ms: Option<u64>,
        /// False when the call must not be repeated, whatever its class: the
        /// model may have acted on it.
        repeatable: bool,
        /// True when the caller has already seen something of the answer: the
        /// failure is then the caller's to know.
        delivered: bool,
        /// Milliseconds that it took.
        latency_ms: u32,
    },
    /// It was not made: the breaker refused, no release could serve, or a
    /// repetition was not allowed. What the attempt before a repetition failed
    /// of then holds.
    Refused,
}
