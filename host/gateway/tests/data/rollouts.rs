//! Rollouts: who is served by which release, and policies that move them.

use crate::kit::{Model, Running, Says, until};
use backstop_gateway::admin::{Control, ControlError, RolloutCommand, RolloutPhase};
use serde_json::json;
use std::net::SocketAddr;

pub(crate) fn rollout(stable: SocketAddr, candidate: SocketAddr, more: &str) -> String {
    format!(
        r#"
        [providers.a]
        kind = "json"
        base_url = "http://{stable}"
        [providers.b]
        kind = "json"
        base_url = "http://{candidate}"
        [models.fraud]
        provider = "a"
        stable = "v1"
        [[models.fraud.releases]]
        name = "v1"
        [[models.fraud.releases]]
        name = "v2"
        provider = "b"
        [models.fraud.rollout]
        candidate = "v2"
        steps = [50]
        dwell_s = 1
        tick_ms = 50
        {more}
        [rules.manual]
        json = {{ label = "manual" }}
        [routes.score]
        kind = "json"
        models = ["fraud"]
        rules = ["manual"]
        retry = {{ retries = 0 }}
        "#
    )
}

pub(crate) const CANARY: &str = r#"policy = "canary"
[policies.canary]
component = "builtin:canary-rollback"
grants = { metrics = ["*"], incident = true }
settings = { guardrails = ["error-rate"], error_rate_max = 0.5, limit_samples_min = 5, dwell_s = 0 }
"#;

pub(crate) async fn release(gateway: &Running, key: &str) -> String {
    let answer = gateway
        .post_with("/v1/predict/score", &[("x-backstop-key", key)], "{}")
        .await;
    answer
        .header("x-backstop-release")
        .unwrap_or("none")
        .to_owned()
}

#[tokio::test]
async fn a_caller_stays_with_its_release_and_a_share_of_them_is_moved() {
    let model = Model::start(Says::Json(json!({}))).await;
    let gateway = Running::start(&rollout(model.addr, model.addr, "")).await;
    let mut moved = 0;
    for caller in 0..100 {
        let key = format!("caller-{caller}");
        let first = release(&gateway, &key).await;
        assert_eq!(release(&gateway, &key).await, first, "{key}");
        moved += i32::from(first == "v2");
    }
    assert!((30..=70).contains(&moved), "{moved} of 100 at 50 %");

    // The field `user` is as good as the header.
    let by_user = gateway
        .post("/v1/predict/score", json!({"user": "caller-1"}))
        .await;
    let expected = release(&gateway, "caller-1").await;
    assert_eq!(by_user.header("x-backstop-release"), Some(&*expected));
}

#[tokio::test]
async fn a_bad_candidate_is_rolled_back_by_policy_and_stays_so_after_a_restart() {
    let stable = Model::start(Says::Json(json!({}))).await;
    let candidate = Model::start(Says::Status(500, None)).await;
    let text = rollout(stable.addr, candidate.addr, CANARY);
    let gateway = Running::start(&text).await;
    until("the policy rolls back", async || {
        gateway.post("/v1/predict/score", json!({})).await;
        gateway.gateway.rollouts()[0].phase == RolloutPhase::RolledBack
    })
    .await;
    let state = gateway.gateway.rollouts().remove(0);
    assert_eq!(state.last_directive.as_deref(), Some("roll-back"));
    assert!(state.last_decision.is_some());
    for caller in 0..20 {
        assert_eq!(release(&gateway, &caller.to_string()).await, "v1");
    }

    let (dir, _) = gateway.stop().await;
    let gateway = Running::start_in(&text, dir).await;
    assert_eq!(
        gateway.gateway.rollouts()[0].phase,
        RolloutPhase::RolledBack
    );
    for caller in 0..20 {
        assert_eq!(release(&gateway, &caller.to_string()).await, "v1");
    }
}

#[tokio::test]
async fn a_good_candidate_is_promoted_no_sooner_than_its_dwell() {
    let model = Model::start(Says::Json(json!({}))).await;
    let more = CANARY.replace(
        "error_rate_max = 0.5",
        "samples_min = 10, error_rate_margin = 1.0",
    );
    let gateway = Running::start(&rollout(model.addr, model.addr, &more)).await;
    let begun = std::time::Instant::now();
    until("the policy promotes", async || {
        gateway.post("/v1/predict/score", json!({})).await;
        gateway.gateway.rollouts()[0].phase == RolloutPhase::Promoted
    })
    .await;
    assert!(begun.elapsed().as_millis() >= 950);
    assert_eq!(release(&gateway, "anybody").await, "v2");
    assert_eq!(gateway.gateway.models()[0].stable, "v2");
}

#[tokio::test]
async fn people_pause_resume_promote_and_call_off() {
    let model = Model::start(Says::Json(json!({}))).await;
    let gateway = Running::start(&rollout(model.addr, model.addr, "")).await;
    let command = async |command| {
        gateway
            .gateway
            .command_rollout("fraud", command, Some("ann".to_owned()))
            .await
    };
    assert_eq!(
        command(RolloutCommand::Pause).await.unwrap().phase,
        RolloutPhase::Paused
    );
    assert_eq!(
        command(RolloutCommand::Resume).await.unwrap().phase,
        RolloutPhase::Running
    );
    assert!(matches!(
        command(RolloutCommand::Resume).await,
        Err(ControlError::Conflict(_))
    ));
    assert_eq!(
        command(RolloutCommand::Abort).await.unwrap().phase,
        RolloutPhase::RolledBack
    );
    assert!(matches!(
        command(RolloutCommand::Promote).await,
        Err(ControlError::Conflict(_))
    ));
    assert_eq!(release(&gateway, "anybody").await, "v1");
    let missing = gateway
        .gateway
        .command_rollout("nobody", RolloutCommand::Pause, None)
        .await;
    assert!(matches!(missing, Err(ControlError::NotFound { .. })));
    let events = gateway
        .store
        .rollout_events(Some("fraud"), 10)
        .await
        .unwrap();
    assert_eq!(events.len(), 4, "began, paused, resumed, aborted");
}
