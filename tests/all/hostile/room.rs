//! Room for instances: policies that wait for models have their share of it,
//! and waiting for room is nobody's fault but the host's.

use super::{World, options};
use backstop::record::{Fault, RunOutcome};
use backstop::{DecisionRecord, FailureKind, Host, HostOptions};
use backstop_tests::facts;
use backstop_tests::guest::HOSTILE;
use backstop_tests::sources::{Incidents, Models, Rates};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;

/// A host with room for one policy that waits and one that does not, and
/// somebody who holds the former for `hold_ms`.
async fn crowded(hold_ms: u32) -> (Arc<World>, JoinHandle<Arc<DecisionRecord>>) {
    let (models, incidents) = (Arc::new(Models::default()), Arc::new(Incidents::default()));
    let host = Host::builder()
        .options(HostOptions {
            instances_max: 2,
            ..HostOptions::default()
        })
        .metrics(Arc::new(Rates::default()))
        .models(models.clone())
        .incidents(incidents.clone())
        .build()
        .unwrap();
    let world = Arc::new(World {
        host,
        models,
        incidents,
    });
    let mut options = options("wait-for-model");
    options.limits.deadline_ms = Some(hold_ms);
    let activated = world.host.activate("holding", HOSTILE, options).await;
    activated.unwrap();
    let holding = tokio::spawn({
        let world = world.clone();
        async move { ask(&world, "holding").await }
    });
    while world.models.calls.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    (world, holding)
}

async fn ask(world: &World, name: &str) -> Arc<DecisionRecord> {
    let policy = world.host.policy(name).unwrap();
    let request = Arc::new(facts::request());
    let default = facts::default_plan();
    let decision = world.host.decide_fallback(&policy, request, &default).await;
    decision.record
}

#[tokio::test]
async fn policies_that_wait_for_models_leave_room_for_those_that_do_not() {
    let (world, holding) = crowded(20_000).await;
    let component = backstop_policies::component("layered-fallback").unwrap();
    let mut metrics = options("none");
    metrics.settings = json!({});
    metrics.limits.deadline_ms = Some(1_000);
    let host = &world.host;
    host.activate("quick", component, metrics).await.unwrap();
    let outcome = &ask(&world, "quick").await.outcome;
    assert!(!matches!(outcome, RunOutcome::Failed { .. }), "{outcome:?}");

    // One more that waits finds none, and that is not its fault.
    let mut options = options("none");
    options.revert.failures = 1;
    host.activate("other", HOSTILE, options).await.unwrap();
    let outcome = &ask(&world, "other").await.outcome;
    let RunOutcome::Failed {
        kind: FailureKind::Load,
        fault: Fault::Host,
        detail,
        ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert!(detail.contains("no instance was free"), "{detail}");
    assert!(host.policies().iter().all(|policy| !policy.suspended));
    holding.abort();
}

#[tokio::test]
async fn waiting_for_room_is_not_the_policys_time() {
    let (world, holding) = crowded(150).await;
    let mut options = options("wait-for-model");
    options.limits.deadline_ms = Some(400);
    let activated = world.host.activate("next", HOSTILE, options);
    // Loading takes longer than the other holds the room, so that one is
    // asked anew.
    activated.await.unwrap();
    holding.await.unwrap();
    let calls = world.models.calls.load(Ordering::Relaxed);
    let holding = tokio::spawn({
        let world = world.clone();
        async move { ask(&world, "holding").await }
    });
    while world.models.calls.load(Ordering::Relaxed) == calls {
        tokio::task::yield_now().await;
    }
    let record = ask(&world, "next").await;
    holding.await.unwrap();
    // It waited for its model until its own deadline, counted from when it
    // had an instance: some 250 ms would be left otherwise.
    assert_eq!(record.moment.time_left_us, 400_000);
    assert!(record.cost.host_ns > 330_000_000, "{:?}", record.cost);
}
