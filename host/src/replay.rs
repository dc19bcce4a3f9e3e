//! Replay: runs a recorded decision again and finds the first difference.
//!
//! The guest gets the recorded moment and input, and every host call is
//! answered from the record. The run is the same when the guest makes the
//! same calls in the same order, ends the same way, returns the same value
//! and uses the same fuel. A run that was stopped by its fuel or its host calls
//! is stopped there again. What a record cannot repeat is the wall clock: a run
//! that was stopped by its deadline replays only as far as that.

use crate::record::{DecisionRecord, FailureKind, HostCall, Output, Over, RunOutcome};
use crate::run::Run;
use crate::run_state::HostStop;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Wall time of a replay that ends by itself or by its fuel: far more than any
/// run of a policy takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// The first place at which a replay differs from its record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// A host call differs.
    Call {
        /// Position in the transcript, from 0.
        position: usize,
        /// What the record holds; none when it ends before.
        recorded: Option<Box<HostCall>>,
        /// What the replay did.
        replayed: String,
    },
    /// The record holds calls that the replay did not make.
    MissingCalls {
        /// How many calls the replay made.
        made: usize,
        /// How many the record holds.
        recorded: usize,
    },
    /// The run ended differently.
    Outcome {
        /// In the record.
        recorded: RunOutcome,
        /// In the replay.
        replayed: RunOutcome,
    },
    /// Another value was returned.
    Returned {
        /// In the record.
        recorded: Option<Arc<Output>>,
        /// In the replay.
        replayed: Option<Arc<Output>>,
    },
    /// The same was returned in another number of steps.
    Fuel {
        /// In the record.
        recorded: u64,
        /// In the replay.
        replayed: u64,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Call {
                position,
                recorded: Some(recorded),
                replayed,
            } => {
                write!(
                    f,
                    "host call {position}: recorded {recorded:?}, replayed {replayed}"
                )
            }
            Difference::Call {
                position,
                recorded: None,
                replayed,
            } => {
                write!(
                    f,
                    "host call {position}: not in the record, replayed {replayed}"
                )
            }
            Difference::MissingCalls { made, recorded } => {
                write!(
                    f,
                    "the replay made {made} host calls, the record holds {recorded}"
                )
            }
            Difference::Outcome { recorded, replayed } => {
                write!(f, "outcome: recorded {recorded:?}, replayed {replayed:?}")
            }
            Difference::Returned { recorded, replayed } => {
                write!(f, "returned: recorded {recorded:?}, replayed {replayed:?}")
            }
            Difference::Fuel { recorded, replayed } => {
                write!(f, "fuel: recorded {recorded}, replayed {replayed}")
            }
        }
    }
}

/// Where a replay is in its record.
pub(crate) struct ReplayCursor {
    record: Arc<DecisionRecord>,
    position: usize,
    difference: Option<Difference>,
}

impl ReplayCursor {
    pub(crate) fn new(record: Arc<DecisionRecord>) -> Self {
        ReplayCursor {
            record,
            position: 0,
            difference: None,
        }
    }

    /// Name of the policy whose decision is replayed.
    pub(crate) fn policy(&self) -> &Arc<str> {
        &self.record.revision.policy
    }

    /// Wall time for the replay where it may not be the run's own: what did not
    /// end by the clock must not do so on a slower machine.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        (!stopped_by_clock(&self.record.outcome)).then_some(DEADLINE)
    }

    /// The recorded call at this place.
    pub(crate) fn expected(&self) -> Option<&HostCall> {
        self.record.calls.get(self.position)
    }

    /// Notes that the guest called `function` where the record has another
    /// call, or none.
    pub(crate) fn unexpected(&mut self, function: &'static str) -> HostStop {
        self.difference = Some(Difference::Call {
            position: self.position,
            recorded: self.expected().cloned().map(Box::new),
            replayed: function.to_owned(),
        });
        HostStop::Diverged
    }

    /// Compares a call with the record and moves on.
    pub(crate) fn compare(&mut self, call: &HostCall) -> Result<(), HostStop> {
        if self.expected() != Some(call) {
            self.difference = Some(Difference::Call {
                position: self.position,
                recorded: self.expected().cloned().map(Box::new),
                replayed: format!("{call:?}"),
            });
            return Err(HostStop::Diverged);
        }
        self.position += 1;
        Ok(())
    }

    /// The difference that was found on the way.
    pub(crate) fn into_difference(self) -> Option<Difference> {
        self.difference
    }
}

/// Compares a finished replay with its record.
pub(crate) fn compare(
    record: &DecisionRecord,
    cursor: ReplayCursor,
    run: &Run,
) -> Option<Difference> {
    let made = cursor.position;
    if let Some(difference) = cursor.into_difference() {
        return Some(difference);
    }
    if stopped_by_clock(&record.outcome) {
        return None;
    }
    if run.outcome != record.outcome {
        return Some(Difference::Outcome {
            recorded: record.outcome.clone(),
            replayed: run.outcome.clone(),
        });
    }
    if made != record.calls.len() {
        return Some(Difference::MissingCalls {
            made,
            recorded: record.calls.len(),
        });
    }
    if run.returned != record.returned {
        return Some(Difference::Returned {
            recorded: record.returned.clone(),
            replayed: run.returned.clone(),
        });
    }
    if run.cost.fuel != record.cost.fuel {
        return Some(Difference::Fuel {
            recorded: record.cost.fuel,
            replayed: run.cost.fuel,
        });
    }
    None
}

/// True for runs whose end depends on the wall clock or on what else the host
/// had to do. Records that do not tell the clock from other bounds are taken
/// for stopped by it.
fn stopped_by_clock(outcome: &RunOutcome) -> bool {
    match outcome {
        RunOutcome::Failed {
            kind: FailureKind::Deadline,
            over,
            ..
        } => matches!(over, None | Some(Over::Clock)),
        RunOutcome::Failed { kind, .. } => *kind == FailureKind::Load,
        _ => false,
    }
}
