//! Rollouts as they run: assessed on every tick, moved by policies and people.
//!
//! What may happen to a rollout is decided by `backstop-core`'s state machine;
//! this module asks the rollback policy, writes each change to the store,
//! and moves the model's traffic by one pointer. Always holds:
//!
//! - a change that gives a candidate more is in the store before it is in
//!   force; a change that takes from it is in force even when the store fails;
//! - after a restart, or a reload that does not change it, a rollout stands
//!   where it stood, and one that ended stays ended: the next try of a
//!   candidate is another release;
//! - a model has one rollout, and one assessment at a time.

use crate::admin::{ControlError, RolloutCommand, RolloutPhase, RolloutStatus as AdminStatus};
use crate::config;
use crate::gateway::{Gateway, Shared};
use crate::plant::Plant;
use crate::release::Model;
use crate::store::{PAGE_MAX, StoreError};
use backstop::DecisionId;
use backstop::record::DecisionPoint;
use backstop_core::evidence::SubjectRef;
use backstop_core::input::{BreakerState, RolloutFacts};
use backstop_core::metric::name;
use backstop_core::rollout::{
    Assessment, Command, Decider, Directive, Order, Rollout, RolloutChange, RolloutConfig,
    RolloutEvent, RolloutPlan, RolloutStatus,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::AbortHandle;

/// The rollouts of a gateway, by model.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    by_model: Mutex<BTreeMap<Arc<str>, Arc<Moving>>>,
}

/// One rollout and its ticks.
#[derive(Debug)]
struct Moving {
    /// Held while a change is decided and written.
    changing: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    ticks: Mutex<Option<AbortHandle>>,
}

#[derive(Debug, Clone)]
struct State {
    rollout: Rollout,
    began_ms: u64,
    since_ms: u64,
    last: Option<LastWord>,
}

/// What was last said about a rollout.
#[derive(Debug, Clone)]
struct LastWord {
    directive: String,
    reason: String,
    decision: Option<DecisionId>,
}

impl Drop for Moving {
    fn drop(&mut self) {
        if let Some(ticks) = self.ticks.get_mut().take() {
            ticks.abort();
        }
    }
}

impl Moving {
    fn new(rollout: Rollout, events: &[RolloutEvent]) -> Self {
        let moves = |event: &&RolloutEvent| {
            matches!(
                event.change,
                RolloutChange::Began { .. } | RolloutChange::Advanced { .. }
            )
        };
        let began_ms = events.first().map_or(0, |event| event.at_ms);
        Moving {
            changing: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                rollout,
                began_ms,
                since_ms: events
                    .iter()
                    .rfind(moves)
                    .map_or(began_ms, |event| event.at_ms),
                last: events.last().map(|event| LastWord {
                    directive: change_name(&event.change).to_owned(),
                    reason: event.reason.clone(),
                    decision: None,
                }),
            }),
            ticks: Mutex::new(None),
        }
    }
}

/// Brings the rollouts into line with a plant that has just been put in place.
pub(crate) async fn reconcile(gateway: &Gateway, plant: &Plant) {
    let shared = gateway.shared();
    for model in plant.models() {
        let known = shared.rollouts.by_model.lock().get(model.name()).cloned();
        match &model.spec().rollout {
            None => {
                if let Some(known) = known {
                    abandon(
                        shared,
                        &known,
                        "the configuration no longer has this rollout",
                    )
                    .await;
                    shared.rollouts.by_model.lock().remove(model.name());
                }
                if let Some(stable) = model.release(&model.spec().stable.name) {
                    model.set_traffic(stable.clone(), None);
                }
            }
            Some(spec) => {
                let plan = plan(model, spec);
                let moving = match known {
                    Some(known) if same(known.state.lock().rollout.plan(), &plan) => known,
                    known => {
                        if let Some(known) = known {
                            abandon(shared, &known, "the configuration changed").await;
                        }
                        take_up(shared, plan).await
                    }
                };
                show(model, &moving.state.lock().rollout);
                keep_ticking(gateway, model.name(), &moving, spec.tick);
                let mut by_model = shared.rollouts.by_model.lock();
                by_model.insert(model.name().clone(), moving);
            }
        }
    }
    let mut by_model = shared.rollouts.by_model.lock();
    by_model.retain(|name, _| plant.model(name).is_some());
}

/// The rollout that the configuration asks for.
fn plan(model: &Model, spec: &config::Rollout) -> RolloutPlan {
    RolloutPlan {
        model: model.name().clone(),
        candidate: spec.candidate.name.clone(),
        stable: model.spec().stable.name.clone(),
        stable_pinned: false,
        config: RolloutConfig {
            steps: spec.steps.clone(),
            dwell_ms_min: u64::try_from(spec.dwell.as_millis()).unwrap_or(u64::MAX),
            ..RolloutConfig::default()
        },
    }
}

/// True when both are about the same candidate by the same limits.
fn same(a: &RolloutPlan, b: &RolloutPlan) -> bool {
    (&a.model, &a.candidate, &a.stable, &a.config) == (&b.model, &b.candidate, &b.stable, &b.config)
}

/// The rollout of `plan`: where the store says that it stands, else begun now.
async fn take_up(shared: &Shared, plan: RolloutPlan) -> Arc<Moving> {
    let model = plan.model.clone();
    let events = stored(shared, &model).await;
    let previous = Rollout::replay(&events).ok();
    if let Some(rollout) = &previous
        && same(rollout.plan(), &plan)
    {
        return Arc::new(Moving::new(rollout.clone(), &events));
    }
    let mut previous = previous;
    if let Some(rollout) = previous
        .as_mut()
        .filter(|rollout| !rollout.status().is_end())
    {
        let order = Order {
            command: Command::Abort,
            by: Decider::Host,
            reason: "the configuration changed".to_owned(),
            version: None,
            evidence: false,
        };
        if let Ok(Some(event)) = rollout.apply(order, &[], shared.clock.now_ms()) {
            write(shared, &model, &event).await;
        }
    }
    let now_ms = shared.clock.now_ms();
    let reason = "the configuration asks for it";
    let begun = Rollout::begin(
        plan.clone(),
        previous.as_ref(),
        Decider::Host,
        reason,
        now_ms,
    )
    // Only a previous rollout can be in the way of a plan that the
    // configuration has checked.
    .or_else(|_| Rollout::begin(plan, None, Decider::Host, reason, now_ms));
    match begun {
        Ok((rollout, event)) => {
            write(shared, &model, &event).await;
            Arc::new(Moving::new(rollout, &[event]))
        }
        Err(error) => unreachable!("a checked configuration has a rollout that begins: {error}"),
    }
}

/// The events of the last rollout of `model`, oldest first.
async fn stored(shared: &Shared, model: &str) -> Vec<RolloutEvent> {
    let newest = match shared.store.rollout_events(Some(model), PAGE_MAX).await {
        Ok(newest) => newest,
        Err(error) => {
            tracing::error!(
                model,
                error = &error as &dyn std::error::Error,
                "failed to read the rollout's history"
            );
            return Vec::new();
        }
    };
    let mut events = Vec::new();
    for stored in newest {
        let Ok(event) = serde_json::from_value::<RolloutEvent>(stored.event) else {
            tracing::error!(model, id = stored.id, "a rollout event cannot be read");
            return Vec::new();
        };
        let began = matches!(event.change, RolloutChange::Began { .. });
        events.push(event);
        if began {
            break;
        }
    }
    events.reverse();
    events
}

async fn write(shared: &Shared, model: &str, event: &RolloutEvent) -> bool {
    let Ok(value) = serde_json::to_value(event) else {
        return false;
    };
    let written: Result<_, StoreError> = shared
        .store
        .add_rollout_event(model, event.at_ms, value)
        .await;
    match &written {
        Ok(_) => tracing::info!(
            model,
            event = change_name(&event.change),
            reason = event.reason,
            "rollout changed"
        ),
        Err(error) => tracing::error!(
            model,
            event = change_name(&event.change),
            error = error as &dyn std::error::Error,
            "failed to write a rollout's change"
        ),
    }
    written.is_ok()
}

/// Ends a rollout that the configuration no longer asks for.
async fn abandon(shared: &Shared, moving: &Moving, reason: &str) {
    if let Some(ticks) = moving.ticks.lock().take() {
        ticks.abort();
    }
    let _changing = moving.changing.lock().await;
    let mut rollout = moving.state.lock().rollout.clone();
    let order = Order {
        command: Command::Abort,
        by: Decider::Host,
        reason: reason.to_owned(),
        version: None,
        evidence: false,
    };
    if let Ok(Some(event)) = rollout.apply(order, &[], shared.clock.now_ms()) {
        let model = rollout.plan().model.clone();
        write(shared, &model, &event).await;
        moving.state.lock().rollout = rollout;
    }
}

/// Moves the traffic of `model` to where its rollout stands.
fn show(model: &Model, rollout: &Rollout) {
    let Some(stable) = model
        .release(rollout.serving())
        .or_else(|| model.release(&model.spec().stable.name))
    else {
        return;
    };
    let candidate = model
        .release(&rollout.plan().candidate)
        .filter(|_| !rollout.status().is_end())
        .map(|release| (release.clone(), rollout.share_percent()));
    model.set_traffic(stable.clone(), candidate);
}

/// Starts the ticks anew: their interval may have changed.
fn keep_ticking(gateway: &Gateway, model: &Arc<str>, moving: &Arc<Moving>, tick: Duration) {
    let shared: Weak<Shared> = Arc::downgrade(gateway.shared());
    let model = model.clone();
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(tick).await;
            // Without the gateway there is nothing left to assess.
            let Some(shared) = shared.upgrade() else {
                return;
            };
            assess(&Gateway::from(shared), &model).await;
        }
    });
    if let Some(before) = moving.ticks.lock().replace(task.abort_handle()) {
        before.abort();
    }
}

/// Asks the rollback policy about the rollout of `model`, and does what it
/// says as far as the rollout's limits allow.
async fn assess(gateway: &Gateway, name: &str) {
    let plant = gateway.plant();
    let shared = gateway.shared();
    let Some((model, spec)) = plant
        .model(name)
        .and_then(|model| Some((model, model.spec().rollout.as_ref()?)))
    else {
        return;
    };
    let Some(policy) = spec
        .policy
        .as_ref()
        .and_then(|policy| shared.asked(policy, DecisionPoint::Rollback).ok())
    else {
        return;
    };
    let Some(moving) = shared.rollouts.by_model.lock().get(name).cloned() else {
        return;
    };
    let now_ms = shared.clock.now_ms();
    let (facts, version) = {
        let state = moving.state.lock();
        if !state.rollout.is_assessed() {
            return;
        }
        let ready = ready(model, now_ms);
        (state.rollout.facts(&ready, now_ms), state.rollout.version())
    };
    let evidence = has_evidence(shared, &facts, now_ms);
    let default = Assessment {
        directive: Directive::Hold,
        reason: "default: hold".to_owned(),
    };
    let decision = shared
        .host
        .decide_rollback(policy.handle(), Arc::new(facts), &default)
        .await;
    policy.metrics().decision(&decision.record);
    moving.state.lock().last = Some(LastWord {
        directive: decision.value.directive.as_str().to_owned(),
        reason: decision.value.reason.clone(),
        decision: Some(decision.record.id),
    });
    let by = Decider::Policy {
        name: decision.record.revision.policy.clone(),
        revision: decision.record.revision.digest.clone(),
    };
    let order = Order::assessed(decision.value, by, version, evidence);
    if let Err(refused) = change(shared, model, &moving, order).await {
        tracing::debug!(model = name, %refused, "the rollout stays as it is");
    }
}

/// True when the candidate has been called since its share was set.
fn has_evidence(shared: &Shared, facts: &RolloutFacts, now_ms: u64) -> bool {
    let subject = SubjectRef::Release {
        model: &facts.model,
        release: &facts.candidate,
    };
    let window_s = u32::try_from(facts.step_age_ms / 1_000)
        .unwrap_or(u32::MAX)
        .clamp(1, backstop_core::evidence::WINDOW_S_MAX);
    let store = shared.evidence.store();
    store
        .rate(name::ERROR_RATE, subject, window_s, now_ms)
        .is_ok_and(|rate| rate.trials > 0)
}

/// Releases that could serve at once, newest (last in the configuration) first.
fn ready(model: &Model, now_ms: u64) -> Vec<Arc<str>> {
    model
        .releases()
        .iter()
        .rev()
        .filter(|release| {
            !matches!(
                release.breaker().state(now_ms),
                BreakerState::Open | BreakerState::ForcedOpen
            )
        })
        .map(|release| release.name().clone())
        .collect()
}

/// Carries out an order: decided, written, in force.
async fn change(
    shared: &Shared,
    model: &Model,
    moving: &Moving,
    order: Order,
) -> Result<(), ChangeError> {
    let _changing = moving.changing.lock().await;
    let now_ms = shared.clock.now_ms();
    let mut state = moving.state.lock().clone();
    let Some(event) = state.rollout.apply(order, &ready(model, now_ms), now_ms)? else {
        return Ok(());
    };
    let written = write(shared, model.name(), &event).await;
    let gives_more = matches!(
        event.change,
        RolloutChange::Advanced { .. } | RolloutChange::Promoted | RolloutChange::Resumed
    );
    if gives_more && !written {
        return Err(ChangeError::NotWritten);
    }
    if matches!(event.change, RolloutChange::Advanced { .. }) {
        state.since_ms = now_ms;
    }
    if event.by.is_person() {
        state.last = Some(LastWord {
            directive: change_name(&event.change).to_owned(),
            reason: event.reason.clone(),
            decision: None,
        });
    } else {
        state.last = moving.state.lock().last.clone();
    }
    show(model, &state.rollout);
    *moving.state.lock() = state;
    Ok(())
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
enum ChangeError {
    /// The rollout's limits forbid it.
    #[error(transparent)]
    Refused(#[from] backstop_core::rollout::Refused),
    /// It could not be written.
    #[error("the store did not take the change, which must not be lost; see the log")]
    NotWritten,
}

fn change_name(change: &RolloutChange) -> &'static str {
    match change {
        RolloutChange::Began { .. } => "began",
        RolloutChange::Advanced { .. } => "advance",
        RolloutChange::Promoted => "promote",
        RolloutChange::RolledBack { .. } => "roll-back",
        RolloutChange::Paused => "pause",
        RolloutChange::Resumed => "resume",
        RolloutChange::Aborted => "abort",
    }
}

impl Gateway {
    /// The rollout of `model`, as a policy sees it; none when none runs.
    pub(crate) fn rollout_facts(&self, model: &str) -> Option<RolloutFacts> {
        let plant = self.plant();
        let model = plant.model(model)?;
        let moving = self
            .shared()
            .rollouts
            .by_model
            .lock()
            .get(model.name())
            .cloned()?;
        let now_ms = self.clock().now_ms();
        let state = moving.state.lock();
        (!state.rollout.status().is_end())
            .then(|| state.rollout.facts(&ready(model, now_ms), now_ms))
    }

    /// All configured rollouts, by model.
    pub(crate) fn rollout_states(&self) -> Vec<AdminStatus> {
        let plant = self.plant();
        let by_model = self.shared().rollouts.by_model.lock().clone();
        by_model
            .iter()
            .map(|(name, moving)| {
                let policy = plant
                    .model(name)
                    .and_then(|model| model.spec().rollout.as_ref()?.policy.clone());
                status(&moving.state.lock(), policy.as_deref())
            })
            .collect()
    }

    /// Does what a person says to the rollout of `model`.
    pub(crate) async fn change_rollout(
        &self,
        name: &str,
        command: RolloutCommand,
        by: Option<String>,
    ) -> Result<AdminStatus, ControlError> {
        let missing = || ControlError::NotFound {
            what: "rollout of model",
            name: name.to_owned(),
        };
        let plant = self.plant();
        let model = plant.model(name).ok_or_else(missing)?;
        let moving = self.shared().rollouts.by_model.lock().get(name).cloned();
        let moving = moving.ok_or_else(missing)?;
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
        change(self.shared(), model, &moving, order)
            .await
            .map_err(|error| match error {
                ChangeError::Refused(refused) => ControlError::Conflict(refused.to_string()),
                ChangeError::NotWritten => ControlError::Unavailable(error.to_string()),
            })?;
        let policy = model
            .spec()
            .rollout
            .as_ref()
            .and_then(|spec| spec.policy.clone());
        Ok(status(&moving.state.lock(), policy.as_deref()))
    }
}

fn status(state: &State, policy: Option<&str>) -> AdminStatus {
    let rollout = &state.rollout;
    let plan = rollout.plan();
    let percent = |share: u32| f64::from(share);
    AdminStatus {
        model: plan.model.to_string(),
        candidate: plan.candidate.to_string(),
        stable: plan.stable.to_string(),
        policy: policy.map(str::to_owned),
        phase: match rollout.status() {
            RolloutStatus::Running => RolloutPhase::Running,
            RolloutStatus::Paused => RolloutPhase::Paused,
            RolloutStatus::Promoted => RolloutPhase::Promoted,
            RolloutStatus::RolledBack { .. } | RolloutStatus::Aborted => RolloutPhase::RolledBack,
        },
        share_percent: percent(rollout.share_percent()),
        next_share_percent: match rollout.status().is_end() {
            true => None,
            false => rollout.next_share_percent().map(percent),
        },
        began_ms: state.began_ms,
        step_since_ms: state.since_ms,
        last_directive: state.last.as_ref().map(|last| last.directive.clone()),
        last_reason: state.last.as_ref().map(|last| last.reason.clone()),
        last_decision: state.last.as_ref().and_then(|last| last.decision),
    }
}
