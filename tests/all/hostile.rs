//! Guests that misbehave: stopped, classified, and answered with a decision.

use backstop::core::plan::Action;
use backstop::core::verdict::Outcome;
use backstop::record::{Fault, RunOutcome};
use backstop::{
    ActivationErrorKind, DecidedBy, Decision, DecisionRecord, FailureKind, FailurePolicy, Grants,
    Host, HostOptions, Limits, ModelBudget, OnFailure, PolicyHandle, PolicyOptions, RevertPolicy,
};
use backstop_tests::facts;
use backstop_tests::guest::HOSTILE;
use backstop_tests::sources::{Incidents, Models, Rates};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A host, and what it reaches.
struct World {
    host: Host,
    models: Arc<Models>,
    incidents: Arc<Incidents>,
}

fn world() -> World {
    let (models, incidents) = (Arc::new(Models::default()), Arc::new(Incidents::default()));
    let host = Host::builder()
        .metrics(Arc::new(Rates::default()))
        .models(models.clone())
        .incidents(incidents.clone())
        .build()
        .unwrap();
    World {
        host,
        models,
        incidents,
    }
}

/// Options for the guest with this misdeed: all grants that it imports, and
/// limits that a test reaches soon.
fn options(misdeed: &str) -> PolicyOptions {
    PolicyOptions {
        settings: json!({ "misdeed": misdeed }),
        grants: Grants {
            metrics: vec!["error-rate".to_owned(), "latency*".to_owned()],
            models: vec!["quick".to_owned(), "slow".to_owned()],
            model_budget: ModelBudget {
                calls: 2,
                time_ms: 10_000,
                cost_micros: 1_000,
            },
            state: true,
            ..Grants::default()
        },
        limits: Limits {
            deadline_ms: Some(100),
            load_deadline_ms: 300,
            ..Limits::default()
        },
        // Each test looks at one decision.
        revert: RevertPolicy {
            failures: 0,
            ..RevertPolicy::default()
        },
        ..PolicyOptions::default()
    }
}

async fn decide(
    world: &World,
    options: PolicyOptions,
) -> Decision<Arc<backstop::core::plan::Plan>> {
    world
        .host
        .activate("hostile", HOSTILE, options)
        .await
        .unwrap();
    let policy = world.host.policy("hostile").unwrap();
    world
        .host
        .decide_fallback(&policy, Arc::new(facts::request()), &facts::default_plan())
        .await
}

/// Checks that the misdeed fails in this way, by the policy's fault, and that
/// the default is decided within twice the deadline.
async fn fails(misdeed: &str, expected: FailureKind, says: &str) {
    let world = world();
    world
        .host
        .activate("hostile", HOSTILE, options(misdeed))
        .await
        .unwrap();
    let policy = world.host.policy("hostile").unwrap();
    let begun = Instant::now();
    let decision = world
        .host
        .decide_fallback(&policy, Arc::new(facts::request()), &facts::default_plan())
        .await;
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

/// The reason with which the guest abstained: what a host function told it.
async fn abstains(world: &World, options: PolicyOptions) -> String {
    match decide(world, options).await.record.outcome.clone() {
        RunOutcome::Abstained { reason } => reason,
        other => panic!("{other:?}"),
    }
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
        world
            .host
            .activate("hostile", HOSTILE, options(misdeed))
            .await
            .unwrap();
        let policy = world.host.policy("hostile").unwrap();
        let (request, answer) = (
            Arc::new(facts::request()),
            Arc::new(facts::answer(Some(0.9))),
        );
        let decision = world
            .host
            .decide_threshold(&policy, request, answer, &facts::default_verdict())
            .await;
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
    world
        .host
        .activate("hostile", HOSTILE, options)
        .await
        .unwrap();
    let policy = world.host.policy("hostile").unwrap();
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

#[tokio::test]
async fn model_calls_end_with_their_budget() {
    let world = world();
    let reason = abstains(&world, options("call-model-too-often")).await;
    assert!(
        reason.contains("[Ok(()), Ok(()), Err(") && reason.contains("Calls"),
        "{reason}"
    );
    assert_eq!(
        world
            .models
            .calls
            .load(std::sync::atomic::Ordering::Relaxed),
        2
    );
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
    assert_eq!(
        world
            .models
            .calls
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[tokio::test]
async fn a_model_that_is_not_granted_is_not_called() {
    let world = world();
    let reason = abstains(&world, options("call-other-model")).await;
    assert!(reason.contains("Denied"), "{reason}");
    assert_eq!(
        world
            .models
            .calls
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
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
        world
            .host
            .activate("hostile", HOSTILE, options)
            .await
            .unwrap();
        let policy = world.host.policy("hostile").unwrap();
        let (request, answer) = (
            Arc::new(facts::request()),
            Arc::new(facts::answer(Some(0.9))),
        );
        let decision = world
            .host
            .decide_threshold(&policy, request, answer, &facts::default_verdict())
            .await;
        let RunOutcome::Abstained { reason } = &decision.record.outcome else {
            panic!("{:?}", decision.record.outcome)
        };
        assert!(reason.contains(says), "{reason}");
    }
}

/// Checks that the activation fails in this step and the former revision
/// serves on.
async fn refused(misdeed: &str, expected_step: &str, expected_kind: FailureKind) {
    let world = world();
    world
        .host
        .activate("hostile", HOSTILE, options("none"))
        .await
        .unwrap();
    let begun = Instant::now();
    let error = world
        .host
        .activate("hostile", HOSTILE, options(misdeed))
        .await
        .unwrap_err();
    let took = begun.elapsed();
    let ActivationErrorKind::Guest { step, kind, detail } = &error.kind else {
        panic!("{misdeed}: {error}")
    };
    assert_eq!(
        (*step, *kind),
        (expected_step, expected_kind),
        "{misdeed}: {detail}"
    );
    assert_eq!(error.serving, Some(1));
    let policy = world.host.policy("hostile").unwrap();
    let decision = world
        .host
        .decide_fallback(&policy, Arc::new(facts::request()), &facts::default_plan())
        .await;
    assert_eq!(decision.record.outcome, RunOutcome::Answered);
    assert_eq!(decision.record.revision.number, 1);
    let status = &world.host.policies()[0];
    assert!(
        status
            .last_activation_error
            .as_deref()
            .is_some_and(|text| text.contains(expected_step))
    );
    // Compiling is part of this; the guest itself has 300 ms.
    assert!(took < Duration::from_secs(30), "{misdeed} took {took:?}");
}

#[tokio::test]
async fn a_guest_that_loops_in_configure_is_refused() {
    refused("loop-in-configure", "configure", FailureKind::Deadline).await;
}

#[tokio::test]
async fn a_guest_that_traps_in_configure_is_refused() {
    refused("trap-in-configure", "configure", FailureKind::Trap).await;
}

#[tokio::test]
async fn a_guest_that_grows_in_configure_is_refused() {
    refused("grow-in-configure", "configure", FailureKind::Memory).await;
}

#[tokio::test]
async fn a_guest_that_calls_an_import_in_configure_is_refused() {
    refused("import-in-configure", "configure", FailureKind::Trap).await;
}

#[tokio::test]
async fn a_guest_that_traps_in_the_canary_call_is_refused() {
    refused("trap-in-canary", "canary", FailureKind::Trap).await;
}

#[tokio::test]
async fn a_guest_that_loops_in_the_canary_call_is_refused() {
    refused("loop-in-canary", "canary", FailureKind::Deadline).await;
}

#[tokio::test]
async fn settings_of_wrong_types_and_unknown_keys_are_reported_together() {
    let mut options = options("none");
    options.settings = json!({"misdeed": 3, "number": 11, "nubmer": 1});
    let error = world()
        .host
        .activate("hostile", HOSTILE, options)
        .await
        .unwrap_err();
    let ActivationErrorKind::Settings { problems } = &error.kind else {
        panic!("{error}")
    };
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        error.to_string().contains("did you mean `number`?"),
        "{error}"
    );
}

#[tokio::test]
async fn a_policy_can_refuse_its_settings_with_all_mistakes() {
    let error = world()
        .host
        .activate("hostile", HOSTILE, options("refuse-settings"))
        .await
        .unwrap_err();
    let ActivationErrorKind::Settings { problems } = &error.kind else {
        panic!("{error}")
    };
    assert_eq!(
        problems.iter().map(|p| &*p.path).collect::<Vec<_>>(),
        ["/misdeed", "/number"]
    );
}

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
    world
        .host
        .activate("hostile", HOSTILE, options("none"))
        .await
        .unwrap();
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
    world
        .host
        .activate("hostile", HOSTILE, options("none"))
        .await
        .unwrap();
    let mut options = options("trap");
    options.revert = RevertPolicy {
        failures: 3,
        suspend_ms: 60_000,
    };
    world
        .host
        .activate("hostile", HOSTILE, options)
        .await
        .unwrap();
    let policy = world.host.policy("hostile").unwrap();
    let mut by = Vec::new();
    for _ in 0..5 {
        let request = Arc::new(facts::request());
        let decision = world
            .host
            .decide_fallback(&policy, request, &facts::default_plan())
            .await;
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

#[tokio::test]
async fn a_policy_without_an_earlier_revision_is_suspended_and_tried_again() {
    let world = world();
    let mut options = options("trap");
    options.revert = RevertPolicy {
        failures: 2,
        suspend_ms: 300,
    };
    world
        .host
        .activate("hostile", HOSTILE, options)
        .await
        .unwrap();
    let policy = world.host.policy("hostile").unwrap();
    let decide = || async {
        let request = Arc::new(facts::request());
        let decision = world
            .host
            .decide_fallback(&policy, request, &facts::default_plan())
            .await;
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
