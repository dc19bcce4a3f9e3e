//! Guests that never serve: their activation fails, and what served before goes
//! on.

use super::{options, world};
use backstop::record::RunOutcome;
use backstop::{ActivationErrorKind, FailureKind};
use backstop_tests::guest::HOSTILE;
use serde_json::json;
use std::time::{Duration, Instant};

/// Checks that the activation fails in this step and the former revision
/// serves on.
async fn refused(misdeed: &str, expected_step: &str, expected_kind: FailureKind) {
    let world = world();
    world.activate(options("none")).await;
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
    let decision = world.ask(&policy).await;
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
