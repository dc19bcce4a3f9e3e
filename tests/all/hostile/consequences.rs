//! What follows from failed decisions: who decides instead, and when a policy
//! is taken back.

use super::{decide, options, world};
use backstop::core::plan::Action;
use backstop::record::RunOutcome;
use backstop::{
    DecidedBy, FailureKind, FailurePolicy, Host, OnFailure, PolicyHandle, RevertPolicy,
};
use backstop_tests::facts;
use backstop_tests::guest::HOSTILE;
use backstop_tests::sources::{Models, Rates};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test]
async fn the_failure_policy_is_per_kind() {
    let world = world();
    let mut options = options("trap");
    options.on_failure = FailurePolicy {
        trap: OnFailure::Closed,
        ..FailurePolicy::default()
    };
    let decision = decide(&world, options).await;
    assert_eq!(decision.record.decided_by, DecidedBy::Closed);
    assert!(matches!(
        decision.value.steps[0].action,
        Action::Refuse { status: 503, .. }
    ));
}

#[tokio::test]
async fn the_previous_revision_decides_where_it_is_asked_to() {
    let world = world();
    world.activate(options("none")).await;
    let mut options = options("trap");
    options.on_failure.trap = OnFailure::Previous;
    let decision = decide(&world, options).await;
    assert_eq!(decision.record.decided_by, DecidedBy::Previous);
    assert_eq!(
        decision.value.steps.len(),
        2,
        "the plan of the good revision"
    );
    let previous = decision.record.previous.as_ref().unwrap();
    assert_eq!(
        (decision.record.revision.number, previous.revision.number),
        (2, 1)
    );
}

#[tokio::test]
async fn a_policy_that_keeps_failing_is_taken_back_and_an_incident_opens() {
    let world = world();
    world.activate(options("none")).await;
    let mut options = options("trap");
    options.revert = RevertPolicy {
        failures: 3,
        suspend_ms: 60_000,
    };
    let policy = world.activate(options).await;
    let mut by = Vec::new();
    for _ in 0..5 {
        let decision = world.ask(&policy).await;
        by.push((decision.record.revision.number, decision.record.decided_by));
    }
    let failed = (2, DecidedBy::Default);
    let good = (1, DecidedBy::Policy);
    assert_eq!(by, [failed, failed, failed, good, good]);
    let raised = world.incidents.raised.lock().unwrap();
    assert_eq!(raised.len(), 1);
    assert!(
        raised[0].title.contains("revision 2 was taken back to 1"),
        "{}",
        raised[0].title
    );
}

#[tokio::test]
async fn questions_from_outside_neither_take_a_policy_back_nor_clear_its_failures() {
    // At the beginning of time the guest behaves.
    let now_ms = Arc::new(AtomicU64::new(1));
    let clock = now_ms.clone();
    let host = Host::builder()
        .metrics(Arc::new(Rates::default()))
        .models(Arc::new(Models::default()))
        .clock(move || clock.load(Ordering::Relaxed))
        .build()
        .unwrap();
    let mut options = options("trap");
    options.revert = RevertPolicy {
        failures: 2,
        suspend_ms: 60_000,
    };
    host.activate("hostile", HOSTILE, options).await.unwrap();
    let live = host.policy("hostile").unwrap();
    let outside = live.without_consequences();
    let ask = async |policy: &PolicyHandle| {
        let request = Arc::new(facts::request());
        let default = facts::default_plan();
        let decision = host.decide_fallback(policy, request, &default).await;
        decision.record.decided_by
    };
    for _ in 0..5 {
        assert_eq!(ask(&outside).await, DecidedBy::Default);
    }
    let status = &host.policies()[0];
    assert!(!status.suspended);
    assert_eq!(status.decisions, 5);
    assert_eq!(status.failures[0], (FailureKind::Trap, 5));
    assert_eq!(host.records().len(), 5);

    assert_eq!(ask(&live).await, DecidedBy::Default);
    now_ms.store(0, Ordering::Relaxed);
    assert_eq!(ask(&outside).await, DecidedBy::Policy);
    now_ms.store(1, Ordering::Relaxed);
    assert_eq!(ask(&live).await, DecidedBy::Default);
    assert!(host.policies()[0].suspended, "its second failure in a row");
}

#[tokio::test]
async fn a_policy_without_an_earlier_revision_is_suspended_and_tried_again() {
    let world = world();
    let mut options = options("trap");
    options.revert = RevertPolicy {
        failures: 2,
        suspend_ms: 300,
    };
    let policy = world.activate(options).await;
    let decide = || async {
        let decision = world.ask(&policy).await;
        decision.record.outcome.clone()
    };
    for _ in 0..2 {
        assert!(matches!(decide().await, RunOutcome::Failed { .. }));
    }
    assert_eq!(decide().await, RunOutcome::Suspended);
    assert!(world.host.policies()[0].suspended);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert!(matches!(decide().await, RunOutcome::Failed { .. }));
}
