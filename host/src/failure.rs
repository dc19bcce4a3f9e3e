//! What a failed policy decides: the one place that turns a failure into a
//! decision.
//!
//! The failure policy of the revision names, for each kind of failure, one of
//! three ways: the default that came with the question, the previous revision,
//! or the closed decision. Whatever is chosen, there is a decision.

use crate::options::{FailurePolicy, OnFailure};
use crate::record::{DecidedBy, DecisionPoint, FailureKind, Output, RunOutcome};
use backstop_core::plan::{Action, Plan, Step};
use backstop_core::rollout::{Assessment, Directive};
use backstop_core::verdict::{Outcome, Verdict};
use std::sync::Arc;

/// What is to be done when a run has ended so; none when it answered.
/// `suspended_for` is the kind of failure that a suspended policy has had.
pub(crate) fn response(
    outcome: &RunOutcome,
    suspended_for: Option<FailureKind>,
    policy: &FailurePolicy,
) -> Option<OnFailure> {
    match outcome {
        RunOutcome::Answered => None,
        RunOutcome::Abstained { .. } => Some(OnFailure::Default),
        // As if it had failed once more. There is no previous revision to ask,
        // or it would serve.
        RunOutcome::Suspended => Some(
            match of(suspended_for.unwrap_or(FailureKind::Load), policy) {
                OnFailure::Closed => OnFailure::Closed,
                OnFailure::Default | OnFailure::Previous => OnFailure::Default,
            },
        ),
        RunOutcome::Failed { kind, .. } => Some(of(*kind, policy)),
    }
}

fn of(kind: FailureKind, policy: &FailurePolicy) -> OnFailure {
    match kind {
        FailureKind::Trap => policy.trap,
        FailureKind::Deadline => policy.deadline,
        FailureKind::Memory => policy.memory,
        FailureKind::InvalidOutput => policy.invalid_output,
        FailureKind::Load => policy.load,
    }
}

/// The decision that takes no risk: refuse the request, send the answer to
/// people, pause the rollout.
pub(crate) fn closed(point: DecisionPoint) -> Output {
    let reason = "the policy failed and is set to fail closed".to_owned();
    match point {
        DecisionPoint::Fallback => Output::Plan(Arc::new(Plan::from(vec![Step {
            action: Action::Refuse {
                status: 503,
                message: "the request cannot be served safely at the moment".to_owned(),
            },
            reason,
        }]))),
        DecisionPoint::Threshold => Output::Verdict(Verdict {
            outcome: Outcome::Review,
            reason,
            confidence: None,
            line: None,
        }),
        DecisionPoint::Rollback => Output::Assessment(Assessment {
            directive: Directive::Pause,
            reason,
        }),
    }
}

/// The decision for a run that did not answer, where no previous revision did.
pub(crate) fn decision(
    response: OnFailure,
    point: DecisionPoint,
    default: Output,
) -> (Output, DecidedBy) {
    match response {
        OnFailure::Default | OnFailure::Previous => (default, DecidedBy::Default),
        OnFailure::Closed => (closed(point), DecidedBy::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Fault;

    fn failed(kind: FailureKind) -> RunOutcome {
        RunOutcome::Failed {
            kind,
            fault: Fault::Policy,
            over: None,
            detail: String::new(),
        }
    }

    #[test]
    fn every_kind_of_failure_has_its_own_response() {
        let policy = FailurePolicy {
            trap: OnFailure::Closed,
            deadline: OnFailure::Previous,
            memory: OnFailure::Default,
            invalid_output: OnFailure::Closed,
            load: OnFailure::Previous,
        };
        assert_eq!(
            response(&failed(FailureKind::Trap), None, &policy),
            Some(OnFailure::Closed)
        );
        assert_eq!(
            response(&failed(FailureKind::Deadline), None, &policy),
            Some(OnFailure::Previous)
        );
        assert_eq!(
            response(&failed(FailureKind::Memory), None, &policy),
            Some(OnFailure::Default)
        );
        assert_eq!(
            response(&failed(FailureKind::InvalidOutput), None, &policy),
            Some(OnFailure::Closed)
        );
        assert_eq!(
            response(&failed(FailureKind::Load), None, &policy),
            Some(OnFailure::Previous)
        );
    }

    #[test]
    fn an_abstention_is_no_failure() {
        let closed = FailurePolicy {
            trap: OnFailure::Closed,
            ..FailurePolicy::default()
        };
        let abstained = RunOutcome::Abstained {
            reason: String::new(),
        };
        assert_eq!(
            response(&abstained, None, &closed),
            Some(OnFailure::Default)
        );
        assert_eq!(response(&RunOutcome::Answered, None, &closed), None);
    }

    #[test]
    fn a_suspended_policy_is_answered_for_as_its_failures_were() {
        let closed = FailurePolicy {
            trap: OnFailure::Closed,
            memory: OnFailure::Previous,
            ..FailurePolicy::default()
        };
        let response = |kind| response(&RunOutcome::Suspended, Some(kind), &closed);
        assert_eq!(response(FailureKind::Trap), Some(OnFailure::Closed));
        assert_eq!(response(FailureKind::Memory), Some(OnFailure::Default));
        assert_eq!(response(FailureKind::Deadline), Some(OnFailure::Default));
    }

    #[test]
    fn closed_decisions_take_no_risk() {
        assert!(
            matches!(closed(DecisionPoint::Fallback), Output::Plan(plan) if matches!(plan.steps[..], [Step { action: Action::Refuse { status: 503, .. }, .. }]))
        );
        assert!(
            matches!(closed(DecisionPoint::Threshold), Output::Verdict(v) if v.outcome == Outcome::Review)
        );
        assert!(
            matches!(closed(DecisionPoint::Rollback), Output::Assessment(a) if a.directive == Directive::Pause)
        );
    }
}
