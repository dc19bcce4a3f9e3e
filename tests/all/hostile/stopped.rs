//! Decisions that go wrong: stopped or not applied, classified, and answered
//! with the default.

use super::{decide, options, world};
use backstop::core::verdict::Outcome;
use backstop::record::{Fault, RunOutcome};
use backstop::{DecidedBy, FailureKind, OnFailure};
use backstop_tests::facts;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Checks that the misdeed fails in this way, by the policy's fault, and that
/// the default is decided within twice the deadline.
async fn fails(misdeed: &str, expected: FailureKind, says: &str) {
    let world = world();
    let policy = world.activate(options(misdeed)).await;
    let begun = Instant::now();
    let decision = world.ask(&policy).await;
    let took = begun.elapsed();
    match &decision.record.outcome {
        RunOutcome::Failed {
            kind,
            fault: Fault::Policy,
            detail,
            ..
        } => {
            assert_eq!(*kind, expected, "{misdeed}: {detail}");
            assert!(
                detail.contains(says),
                "{misdeed}: `{detail}` does not say `{says}`"
            );
        }
        other => panic!("{misdeed}: {other:?}"),
    }
    assert_eq!(decision.record.decided_by, DecidedBy::Default, "{misdeed}");
    assert_eq!(decision.value, facts::default_plan(), "{misdeed}");
    assert!(
        took < Duration::from_millis(200),
        "{misdeed} was stopped after {took:?}, its limit is 100 ms"
    );
}

#[tokio::test]
async fn a_guest_that_loops_is_stopped() {
    fails("loop", FailureKind::Deadline, "limits.").await;
}

#[tokio::test]
async fn a_guest_that_loops_is_stopped_by_time_when_it_has_fuel() {
    let world = world();
    let mut options = options("loop");
    options.limits.fuel = u64::MAX / 2;
    let begun = Instant::now();
    let decision = decide(&world, options).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    let RunOutcome::Failed {
        kind: FailureKind::Deadline,
        detail,
        ..
    } = &decision.record.outcome
    else {
        panic!("{:?}", decision.record.outcome)
    };
    assert!(detail.contains("deadline of 100 ms"), "{detail}");
}

#[tokio::test]
async fn a_guest_that_grows_is_stopped() {
    fails("grow", FailureKind::Memory, "limits.memory_bytes").await;
}

#[tokio::test]
async fn a_guest_that_recurses_is_stopped() {
    fails("recurse", FailureKind::Trap, "").await;
}

#[tokio::test]
async fn a_guest_that_panics_is_stopped() {
    fails("trap", FailureKind::Trap, "unreachable").await;
}

#[tokio::test]
async fn a_guest_that_panics_with_ten_megabytes_runs_out_of_memory() {
    fails(
        "panic-with-10-mb",
        FailureKind::Memory,
        "limits.memory_bytes",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_floods_the_log_is_stopped_by_its_host_calls() {
    fails("flood-log", FailureKind::Deadline, "limits.host_calls").await;
}

#[tokio::test]
async fn a_guest_that_loops_through_host_calls_is_stopped() {
    fails(
        "loop-in-host-calls",
        FailureKind::Deadline,
        "limits.host_calls",
    )
    .await;
}

#[tokio::test]
async fn a_plan_with_an_unknown_model_is_not_applied() {
    fails(
        "unknown-model",
        FailureKind::InvalidOutput,
        "`gpt-imaginary`",
    )
    .await;
}

#[tokio::test]
async fn a_plan_without_steps_is_not_applied() {
    fails("no-steps", FailureKind::InvalidOutput, "no steps").await;
}

#[tokio::test]
async fn a_plan_of_ten_thousand_steps_is_not_applied() {
    fails(
        "ten-thousand-steps",
        FailureKind::InvalidOutput,
        "10000 steps",
    )
    .await;
}

#[tokio::test]
async fn a_plan_with_a_timeout_of_weeks_is_not_applied() {
    fails("huge-timeout", FailureKind::InvalidOutput, "timeout-ms").await;
}

#[tokio::test]
async fn a_string_of_invalid_utf8_is_not_applied() {
    fails("invalid-utf-8", FailureKind::InvalidOutput, "utf-8").await;
}

#[tokio::test]
async fn a_reason_of_megabytes_is_cut() {
    let decision = decide(&world(), options("megabytes-of-reason")).await;
    let RunOutcome::Answered = decision.record.outcome else {
        panic!("{:?}", decision.record.outcome)
    };
    assert_eq!(decision.value.steps[0].reason.len(), 1_024);
}

#[tokio::test]
async fn log_lines_are_cut_and_cannot_be_forged() {
    let world = world();
    for misdeed in ["long-log", "escape-log"] {
        let decision = decide(&world, options(misdeed)).await;
        let [backstop::record::HostCall::Log { message, .. }] = &decision.record.calls[..] else {
            panic!("{:?}", decision.record.calls)
        };
        assert!(message.len() <= 1_024);
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
}

#[tokio::test]
async fn verdicts_with_numbers_that_are_no_probability_are_not_applied() {
    for misdeed in ["not-a-number", "above-one"] {
        let world = world();
        let policy = world.activate(options(misdeed)).await;
        let decision = world.judge(&policy).await;
        let RunOutcome::Failed {
            kind: FailureKind::InvalidOutput,
            ..
        } = decision.record.outcome
        else {
            panic!("{misdeed}: {:?}", decision.record.outcome)
        };
        assert_eq!(
            decision.value.outcome,
            Outcome::Escalate,
            "the default of this question"
        );
    }
}

#[tokio::test]
async fn a_rollback_to_an_unknown_release_is_not_applied() {
    let world = world();
    let mut options = options("unknown-release");
    options.on_failure.invalid_output = OnFailure::Closed;
    let policy = world.activate(options).await;
    let rollout = Arc::new(facts::rollout());
    let decision = world
        .host
        .decide_rollback(&policy, rollout, &facts::default_assessment())
        .await;
    assert_eq!(decision.record.decided_by, DecidedBy::Closed);
    assert_eq!(
        decision.value.directive,
        backstop::core::rollout::Directive::Pause
    );
}

#[tokio::test]
async fn a_wait_for_a_model_ends_with_the_deadline() {
    let world = world();
    let begun = Instant::now();
    let decision = decide(&world, options("wait-for-model")).await;
    // Loading takes its time; the wait itself is in the record.
    assert!(
        decision.record.cost.host_ns < 200_000_000,
        "{:?}",
        decision.record.cost
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    match &decision.record.outcome {
        RunOutcome::Abstained { reason } => assert!(reason.contains("Deadline"), "{reason}"),
        RunOutcome::Failed {
            kind: FailureKind::Deadline,
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}
