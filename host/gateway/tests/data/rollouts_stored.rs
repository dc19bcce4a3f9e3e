//! Rollouts and a store that fails: traffic and record never disagree in the
//! candidate's favour.

#![expect(clippy::float_cmp, reason = "shares are whole numbers of percent")]

use crate::faulty::{Fault, Faulty};
use crate::kit::{Model, Running, Says, until};
use crate::rollouts::{CANARY, release, rollout};
use backstop_gateway::admin::{Control, ControlError, RolloutCommand, RolloutPhase, RolloutStatus};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A rollout of a good candidate at 50 %, moved by hand, and its store.
struct Stage {
    store: Arc<Faulty>,
    gateway: Running,
    text: String,
}

impl Stage {
    async fn start() -> Stage {
        Stage::start_with(Fault::None).await
    }

    async fn start_with(reads: Fault) -> Stage {
        let model = Model::start(Says::Json(json!({}))).await;
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let store = Faulty::open(dir.path());
        store.reads(reads);
        let text = rollout(model.addr, model.addr, "");
        let gateway = Running::start_on(store.clone(), &text, dir).await;
        Stage {
            store,
            gateway,
            text,
        }
    }

    /// A new gateway over the same store.
    async fn restart(self) -> Stage {
        let (dir, _) = self.gateway.stop().await;
        let gateway = Running::start_on(self.store.clone(), &self.text, dir).await;
        Stage { gateway, ..self }
    }

    async fn say(&self, command: RolloutCommand) -> Result<RolloutStatus, ControlError> {
        let by = Some("ann".to_owned());
        self.gateway
            .gateway
            .command_rollout("fraud", command, by)
            .await
    }

    fn status(&self) -> RolloutStatus {
        self.gateway.gateway.rollouts().remove(0)
    }

    /// The candidate's share as callers feel it, in percent.
    fn share(&self) -> f64 {
        let model = self.gateway.gateway.models().remove(0);
        model.releases[1].share_percent
    }
}

#[tokio::test]
async fn what_takes_from_a_candidate_is_in_force_without_the_store() {
    for fault in [Fault::Fails, Fault::Hangs] {
        let stage = Stage::start().await;
        assert_eq!(stage.share(), 50.0);
        stage.store.writes(fault);
        let abort = stage.say(RolloutCommand::Abort);
        let watch = async {
            until("the traffic is back", async || stage.share() == 0.0).await;
            assert_eq!(stage.store.rollout("fraud").await, ["began"], "{fault:?}");
        };
        let (said, ()) = tokio::join!(abort, watch);
        let said = said.unwrap();
        assert_eq!(said.phase, RolloutPhase::RolledBack);
        assert!(said.problem.unwrap().starts_with("changes in force"));
        // Written as soon as the store takes it, so that a restart agrees.
        stage.store.writes(Fault::None);
        until("the record agrees", async || {
            stage.store.rollout("fraud").await == ["began", "aborted"]
        })
        .await;
        until("the problem is gone", async || {
            stage.status().problem.is_none()
        })
        .await;
        let stage = stage.restart().await;
        assert_eq!(stage.status().phase, RolloutPhase::RolledBack);
        assert_eq!(release(&stage.gateway, "anybody").await, "v1");
    }
}

#[tokio::test]
async fn what_gives_a_candidate_more_is_in_the_store_first() {
    let stage = Stage::start().await;
    stage.store.writes(Fault::Fails);
    let refused = stage.say(RolloutCommand::Promote).await;
    assert!(matches!(refused, Err(ControlError::Unavailable(_))));
    assert_eq!(stage.share(), 50.0);

    stage.store.writes(Fault::Hangs);
    let began = Instant::now();
    let refused = stage.say(RolloutCommand::Promote).await;
    assert!(matches!(refused, Err(ControlError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_secs(4), "waits bounded");
    assert_eq!(stage.share(), 50.0);
    // It goes on to its end although nobody waits for it.
    stage.store.writes(Fault::None);
    until("the promotion is in force", async || stage.share() == 100.0).await;
    assert_eq!(stage.store.rollout("fraud").await, ["began", "promoted"]);
    assert_eq!(stage.restart().await.share(), 100.0);
}

#[tokio::test]
async fn a_change_whose_caller_goes_away_runs_to_its_end() {
    let stage = Stage::start().await;
    stage.store.writes(Fault::Hangs);
    let asked = stage.store.asked();
    {
        let mut promote = Box::pin(stage.say(RolloutCommand::Promote));
        until("it is being written", async || {
            tokio::select! {
                biased;
                _ = &mut promote => panic!("it waits for the store"),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            stage.store.asked() > asked
        })
        .await;
    }
    stage.store.writes(Fault::None);
    until("the promotion is in force", async || stage.share() == 100.0).await;
    assert_eq!(stage.store.rollout("fraud").await, ["began", "promoted"]);
}

#[tokio::test]
async fn a_promotion_that_hangs_is_overtaken_by_an_abort() {
    let stage = Stage::start().await;
    stage.store.writes(Fault::Hangs);
    let promote = stage.say(RolloutCommand::Promote);
    let abort = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stage.say(RolloutCommand::Abort).await
    };
    let free = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(stage.share(), 0.0, "in force at once");
        stage.store.writes(Fault::None);
    };
    let (promoted, aborted, ()) = tokio::join!(promote, abort, free);
    assert!(matches!(promoted, Err(ControlError::Conflict(_))));
    assert_eq!(aborted.unwrap().phase, RolloutPhase::RolledBack);
    assert_eq!(stage.share(), 0.0);
}

#[tokio::test]
async fn a_history_that_cannot_be_read_gives_the_candidate_nothing() {
    for fault in [Fault::Garbage, Fault::Fails, Fault::Hangs] {
        let stage = Stage::start().await;
        stage.store.reads(fault);
        let stage = stage.restart().await;
        let status = stage.status();
        assert_eq!(status.phase, RolloutPhase::Waiting, "{fault:?}");
        let problem = status.problem.unwrap();
        assert!(
            problem.starts_with("the candidate gets nothing"),
            "{problem}"
        );
        assert_eq!((status.share_percent, stage.share()), (0.0, 0.0));
        assert_eq!(release(&stage.gateway, "anybody").await, "v1");
        let refused = stage.say(RolloutCommand::Promote).await;
        assert!(matches!(refused, Err(ControlError::Conflict(_))));
        // It is read as soon as it can be, and nothing begins anew.
        stage.store.reads(Fault::None);
        until("it is read", async || stage.share() == 50.0).await;
        assert_eq!(stage.store.rollout("fraud").await, ["began"], "{fault:?}");
        assert_eq!(stage.status().phase, RolloutPhase::Running);
    }
}

#[tokio::test]
async fn a_person_begins_a_rollout_anew_whose_history_is_lost() {
    let stage = Stage::start().await;
    stage.say(RolloutCommand::Abort).await.unwrap();
    stage.store.reads(Fault::Garbage);
    let stage = stage.restart().await;
    assert_eq!(stage.share(), 0.0);
    let resumed = stage.say(RolloutCommand::Resume).await.unwrap();
    assert_eq!(resumed.phase, RolloutPhase::Running);
    assert_eq!(stage.share(), 50.0);
    assert_eq!(
        stage.store.rollout("fraud").await,
        ["began", "aborted", "began"]
    );
}

#[tokio::test]
async fn a_rollout_begins_when_the_store_has_taken_that_it_does() {
    let stage = Stage::start_with(Fault::Fails).await;
    assert_eq!(stage.share(), 0.0);
    stage.store.writes(Fault::Fails);
    stage.store.reads(Fault::None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.status().phase, RolloutPhase::Waiting);
    assert_eq!(stage.share(), 0.0);
    stage.store.writes(Fault::None);
    until("it begins", async || stage.share() == 50.0).await;
    assert_eq!(stage.store.rollout("fraud").await, ["began"]);
}

#[tokio::test]
async fn other_limits_apply_where_a_rollout_stands_and_restart_nothing() {
    let stable = Model::start(Says::Json(json!({}))).await;
    let candidate = Model::start(Says::Status(500, None)).await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let store = Faulty::open(dir.path());
    let with = |limits: &str, more: &str| {
        rollout(stable.addr, candidate.addr, more)
            .replace("steps = [50]\n        dwell_s = 1", limits)
    };
    let text = with("steps = [50]\ndwell_s = 1", "");
    let gateway = Running::start_on(store.clone(), &text, dir).await;
    gateway
        .reload(&with("steps = [20, 80]\ndwell_s = 2", ""))
        .await;
    let state = gateway.gateway.rollouts().remove(0);
    assert_eq!(
        (state.share_percent, state.next_share_percent),
        (50.0, Some(80.0))
    );
    assert_eq!(store.rollout("fraud").await, ["began", "limits-changed"]);

    gateway
        .reload(&with("steps = [20, 80]\ndwell_s = 2", CANARY))
        .await;
    until("the policy rolls back", async || {
        gateway.post("/v1/predict/score", json!({})).await;
        gateway.gateway.rollouts()[0].phase == RolloutPhase::RolledBack
    })
    .await;
    let ended = ["began", "limits-changed", "rolled-back"];
    for limits in ["steps = [1]\ndwell_s = 3", "steps = [50]\ndwell_s = 1"] {
        gateway.reload(&with(limits, "")).await;
        let state = gateway.gateway.rollouts().remove(0);
        assert_eq!(state.phase, RolloutPhase::RolledBack);
        assert_eq!(state.share_percent, 0.0);
        for caller in 0..20 {
            assert_eq!(release(&gateway, &caller.to_string()).await, "v1");
        }
        assert_eq!(store.rollout("fraud").await, ended);
    }
    // Nor does a restart with other limits.
    let (dir, _) = gateway.stop().await;
    let text = with("steps = [7]\ndwell_s = 9", "");
    let gateway = Running::start_on(store.clone(), &text, dir).await;
    assert_eq!(
        gateway.gateway.rollouts()[0].phase,
        RolloutPhase::RolledBack
    );
    assert_eq!(release(&gateway, "anybody").await, "v1");
    assert_eq!(store.rollout("fraud").await, ended);
}

#[tokio::test]
async fn a_reload_in_the_middle_of_which_its_caller_goes_away_ends_what_it_began() {
    let stage = Stage::start().await;
    stage.store.writes(Fault::Hangs);
    let other = stage.text.replace("steps = [50]", "steps = [60]");
    let other = other.replace("candidate = \"v2\"", "candidate = \"v3\"");
    let other = other.replace(
        "[models.fraud.rollout]",
        "[[models.fraud.releases]]\nname = \"v3\"\nprovider = \"b\"\n[models.fraud.rollout]",
    );
    let reload = tokio::time::timeout(Duration::from_millis(100), stage.gateway.reload(&other));
    assert!(reload.await.is_err(), "it waits for the store");
    assert_eq!(stage.share(), 0.0, "v2 is no candidate any more");
    stage.store.writes(Fault::None);
    until("v3 begins", async || stage.status().share_percent == 60.0).await;
    assert_eq!(stage.status().candidate, "v3");
    assert_eq!(
        stage.store.rollout("fraud").await,
        ["began", "aborted", "began"]
    );
}
