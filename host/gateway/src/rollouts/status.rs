//! Rollouts as the admin plane and policies see them.

use super::change::{ChangeError, change, flush, to_its_end};
use super::reconcile::begin;
use super::{Moving, Standing, State, tick};
use crate::admin::{ControlError, RolloutCommand, RolloutPhase, RolloutStatus as AdminStatus};
use crate::gateway::Gateway;
use backstop_core::input::RolloutFacts;
use backstop_core::rollout::{Command, Decider, Directive, Order, Rollout, RolloutStatus};
use std::sync::Arc;

impl Gateway {
    /// The rollout of `model`, as a policy sees it; none when none runs.
    pub(crate) fn rollout_facts(&self, model: &str) -> Option<RolloutFacts> {
        let moving = self.shared().rollouts.of(model)?;
        let now_ms = self.clock().now_ms();
        let state = moving.state.lock();
        let rollout = state.current().filter(|rollout| !rollout.status().is_end());
        rollout
            .filter(|_| state.wanted)
            .map(|rollout| rollout.facts(&tick::ready(self, model, now_ms), now_ms))
    }

    /// All configured rollouts, by model.
    pub(crate) fn rollout_states(&self) -> Vec<AdminStatus> {
        let by_model = self.shared().rollouts.by_model.lock().clone();
        by_model
            .values()
            .filter_map(|moving| {
                let state = moving.state.lock();
                state.wanted.then(|| status(self, &state))
            })
            .collect()
    }

    /// Does what a person says to the rollout of `model`. One that waits can
    /// only be resumed, which begins it anew.
    pub(crate) async fn change_rollout(
        &self,
        name: &str,
        command: RolloutCommand,
        by: Option<String>,
    ) -> Result<AdminStatus, ControlError> {
        let moving = self.shared().rollouts.of(name);
        let moving = moving.filter(|moving| moving.state.lock().wanted);
        let moving = moving.ok_or_else(|| ControlError::NotFound {
            what: "rollout of model",
            name: name.to_owned(),
        })?;
        let order = Order {
            command: match command {
                RolloutCommand::Pause => Command::Directive(Directive::Pause),
                RolloutCommand::Resume => Command::Resume,
                RolloutCommand::Abort => Command::Abort,
                RolloutCommand::Promote => Command::Directive(Directive::Promote),
            },
            by: Decider::Person {
                name: by.as_deref().unwrap_or("operator").into(),
            },
            reason: format!("{} by hand", command.as_str()),
            version: None,
            evidence: true,
        };
        let waits = moving.state.lock().rollout().is_none();
        let done = if waits && command == RolloutCommand::Resume {
            let own = (self.clone(), moving.clone());
            to_its_end(self, async move { begin_anew(&own.0, &own.1, order).await })
                .await
                .unwrap_or(Err(ChangeError::StillWriting))
        } else {
            change(self, &moving, order).await
        };
        done.map_err(|error| match error {
            ChangeError::Refused(_) | ChangeError::Waiting(_) => {
                ControlError::Conflict(error.to_string())
            }
            ChangeError::NotWritten | ChangeError::Busy | ChangeError::StillWriting => {
                ControlError::Unavailable(error.to_string())
            }
        })?;
        let state = moving.state.lock();
        Ok(status(self, &state))
    }
}

/// Begins a rollout whose history cannot be read, because a person says so.
async fn begin_anew(
    gateway: &Gateway,
    moving: &Arc<Moving>,
    order: Order,
) -> Result<(), ChangeError> {
    let _turn = moving.turn().await.ok_or(ChangeError::Busy)?;
    if moving.state.lock().rollout().is_some() {
        // It was read meanwhile, and the person should see what it says.
        return Err(ChangeError::Busy);
    }
    if !flush(gateway, moving).await {
        return Err(ChangeError::NotWritten);
    }
    begin(gateway, moving, None, order.by, &order.reason)
        .await
        .map_err(|_| ChangeError::NotWritten)
}

fn status(gateway: &Gateway, state: &State) -> AdminStatus {
    let rollout = state.current();
    // What is over and done with, or not known, is shown as what is wanted.
    let plan = rollout.map_or(&state.plan, Rollout::plan);
    let plant = gateway.plant();
    let policy = plant
        .model(&plan.model)
        .and_then(|model| model.spec().rollout.as_ref()?.policy.clone());
    let last = state.last.as_ref();
    AdminStatus {
        model: plan.model.to_string(),
        candidate: plan.candidate.to_string(),
        stable: state.plan.stable.to_string(),
        policy: policy.as_deref().map(str::to_owned),
        phase: rollout.map_or(RolloutPhase::Waiting, phase),
        problem: problem(state),
        share_percent: rollout.map_or(0.0, |rollout| f64::from(rollout.share_percent())),
        next_share_percent: rollout
            .filter(|rollout| !rollout.status().is_end())
            .and_then(Rollout::next_share_percent)
            .map(f64::from),
        began_ms: rollout.map_or(0, Rollout::began_ms),
        step_since_ms: rollout.map_or(0, Rollout::since_ms),
        last_directive: last.map(|last| last.directive.clone()),
        last_reason: last.map(|last| last.reason.clone()),
        last_decision: last.and_then(|last| last.decision),
    }
}

fn phase(rollout: &Rollout) -> RolloutPhase {
    match rollout.status() {
        RolloutStatus::Running => RolloutPhase::Running,
        RolloutStatus::Paused => RolloutPhase::Paused,
        RolloutStatus::Promoted => RolloutPhase::Promoted,
        RolloutStatus::RolledBack { .. } | RolloutStatus::Aborted => RolloutPhase::RolledBack,
    }
}

/// What keeps the rollout from being as it should be, for an operator.
fn problem(state: &State) -> Option<String> {
    if let Standing::Waiting { why } = &state.standing {
        return Some(format!(
            "the candidate gets nothing, and it is tried again on every tick: {why}"
        ));
    }
    match state.unwritten.len() {
        0 if state.current().is_none() => {
            Some("it has not begun yet, and is tried again on every tick".to_owned())
        }
        0 => None,
        count => Some(format!(
            "changes in force that the store has not taken: {count}; tried again on every tick"
        )),
    }
}
