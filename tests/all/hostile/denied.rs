//! What the host's functions refuse a guest, and that it goes on with an error.

use super::{World, decide, options, world};
use backstop::record::RunOutcome;
use backstop::{ModelBudget, PolicyOptions};
use serde_json::json;

/// The reason with which the guest abstained: what a host function told it.
async fn abstains(world: &World, options: PolicyOptions) -> String {
    match decide(world, options).await.record.outcome.clone() {
        RunOutcome::Abstained { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn model_calls_end_with_their_budget() {
    let world = world();
    let reason = abstains(&world, options("call-model-too-often")).await;
    assert!(
        reason.contains("[Ok(()), Ok(()), Err(") && reason.contains("Calls"),
        "{reason}"
    );
    assert_eq!(calls(&world), 2);
}

#[tokio::test]
async fn model_calls_end_with_their_cost() {
    let world = world();
    let mut options = options("call-model-too-often");
    options.grants.model_budget = ModelBudget {
        calls: 9,
        time_ms: 1_000,
        cost_micros: 15,
    };
    let reason = abstains(&world, options).await;
    assert!(reason.contains("Cost"), "{reason}");
    assert_eq!(calls(&world), 1);
}

#[tokio::test]
async fn a_model_that_is_not_granted_is_not_called() {
    let world = world();
    let reason = abstains(&world, options("call-other-model")).await;
    assert!(reason.contains("Denied"), "{reason}");
    assert_eq!(calls(&world), 0);
}

#[tokio::test]
async fn a_metric_that_is_not_granted_is_not_read() {
    let reason = abstains(&world(), options("read-other-metric")).await;
    assert!(reason.contains("Denied"), "{reason}");
}

#[tokio::test]
async fn arguments_out_of_range_are_errors_for_the_guest() {
    assert_eq!(
        abstains(&world(), options("bad-metric-arguments")).await,
        "(true, true, true)"
    );
}

#[tokio::test]
async fn state_is_bounded_and_kept_between_decisions() {
    let world = world();
    assert!(
        abstains(&world, options("large-state"))
            .await
            .contains("Invalid")
    );
    assert_eq!(abstains(&world, options("count")).await, "Ok(1)");
    // Another revision of the same policy goes on counting.
    let mut next = options("count");
    next.settings["number"] = json!(1);
    assert_eq!(abstains(&world, next).await, "Ok(2)");
}

#[tokio::test]
async fn bodies_need_a_grant() {
    let world = world();
    for (granted, says) in [(false, "Denied"), (true, "an answer")] {
        let mut options = options("read-body");
        options.grants.bodies = granted;
        let policy = world.activate(options).await;
        let decision = world.judge(&policy).await;
        let RunOutcome::Abstained { reason } = &decision.record.outcome else {
            panic!("{:?}", decision.record.outcome)
        };
        assert!(reason.contains(says), "{reason}");
    }
}

/// How often a model was called.
fn calls(world: &World) -> u64 {
    world
        .models
        .calls
        .load(std::sync::atomic::Ordering::Relaxed)
}
