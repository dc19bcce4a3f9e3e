//! What becomes of a model's last rollout when a configuration asks for one.
//!
//! Asked at every start and every reload. Always holds: a candidate that was
//! rolled back or promoted is not tried again, whatever else the configuration
//! says about it by now; the next try is another release.

use super::machine::{Rollout, RolloutPlan, RolloutStatus};

/// What to do with the last rollout, in favour of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeUp {
    /// It is what the plan asks for: it goes on, or stays as it ended.
    Keep,
    /// It goes on from where it stands, under the limits of the plan.
    Limits,
    /// Another one begins; the last one is called off first if it still runs.
    Begin,
}

/// What the plan makes of the model's last rollout, where there was one.
pub fn take_up(last: Option<&Rollout>, plan: &RolloutPlan) -> TakeUp {
    let Some(last) = last else {
        return TakeUp::Begin;
    };
    if last.plan().candidate != plan.candidate {
        return TakeUp::Begin;
    }
    let same_stable = last.plan().stable == plan.stable;
    match last.status() {
        RolloutStatus::Promoted | RolloutStatus::RolledBack { .. } => TakeUp::Keep,
        // Called off, nothing is known of the candidate: against another
        // stable release it is another question.
        RolloutStatus::Aborted | RolloutStatus::Running | RolloutStatus::Paused if !same_stable => {
            TakeUp::Begin
        }
        RolloutStatus::Aborted => TakeUp::Keep,
        RolloutStatus::Running | RolloutStatus::Paused if last.plan().config == plan.config => {
            TakeUp::Keep
        }
        RolloutStatus::Running | RolloutStatus::Paused => TakeUp::Limits,
    }
}
