//! Bringing the rollouts into line with a configuration.
//!
//! First, and without waiting: whatever the configuration takes from a
//! candidate. Then, in line with the other changes of the rollout: where it
//! stands is read, and what the configuration gives is written
//! ([`settle`]). What fails of that is tried again on every tick.

use super::change::{by_host, call_off, flush, put_in_force, show, take, to_its_end, write};
use super::history::{self, Last};
use super::{LastWord, Moving, Standing, State, tick};
use crate::config;
use crate::gateway::Gateway;
use crate::release::Model;
use backstop_core::rollout::{
    Command, Decider, Rollout, RolloutConfig, RolloutPlan, TakeUp, take_up,
};
use std::sync::Arc;

/// Why the host calls a rollout off, or changes its limits.
const CHANGED: &str = "the configuration changed";

/// Brings the rollouts into line with the plant that has just been put in
/// place. Goes on to its end when the caller goes away.
pub(crate) async fn reconcile(gateway: &Gateway) {
    let own = gateway.clone();
    to_its_end(gateway, async move { all(&own).await }).await;
}

async fn all(gateway: &Gateway) {
    let rollouts = &gateway.shared().rollouts;
    let _one = rollouts.reconciling.lock().await;
    let plant = gateway.plant();
    let mut settling = Vec::new();
    for model in plant.models() {
        match &model.spec().rollout {
            None => settling.extend(let_go(gateway, model)),
            Some(spec) => settling.push(want(gateway, model, spec)),
        }
    }
    let settled = settling.iter().map(|moving| settle(gateway, moving));
    futures_util::future::join_all(settled).await;
    // What is gone stays until the store knows that it is.
    rollouts.by_model.lock().retain(|name, moving| {
        let wanted = plant
            .model(name)
            .is_some_and(|model| model.spec().rollout.is_some());
        let is_writing = moving.writing.try_lock().is_err();
        wanted || is_writing || !moving.state.lock().unwritten.is_empty()
    });
}

/// The rollout of a model whose configuration has one, as far as it can be in
/// force at once.
fn want(gateway: &Gateway, model: &Model, spec: &config::Rollout) -> Arc<Moving> {
    let plan = plan(model, spec);
    let moving = {
        let mut by_model = gateway.shared().rollouts.by_model.lock();
        let known = by_model
            .entry(model.name().clone())
            .or_insert_with(|| Arc::new(Moving::new(plan.clone())));
        known.clone()
    };
    let other = {
        let mut state = moving.state.lock();
        (state.plan, state.wanted) = (plan, true);
        show(gateway, &state);
        state.current().is_none()
    };
    if other {
        // One that has ended or waits refuses: there is nothing to call off.
        let _ = take(gateway, &moving, call_off(CHANGED));
    }
    tick::keep_ticking(gateway, &moving, spec.tick);
    moving
}

/// Calls off the rollout of a model whose configuration has none any more.
fn let_go(gateway: &Gateway, model: &Model) -> Option<Arc<Moving>> {
    let known = gateway.shared().rollouts.of(model.name());
    if let Some(known) = &known {
        known.state.lock().wanted = false;
        let order = call_off("the configuration no longer has this rollout");
        // One that has ended refuses, and there is nothing to call off.
        let _ = take(gateway, known, order);
    }
    if let Some(stable) = model.release(&model.spec().stable.name) {
        model.set_traffic(stable.clone(), None);
    }
    known
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

/// Makes the rollout what the configuration asks for, and the store's record
/// of it what is in force, as far as the store lets it.
pub(super) async fn settle(gateway: &Gateway, moving: &Moving) {
    let Some(_turn) = moving.turn().await else {
        return;
    };
    if !flush(gateway, moving).await {
        return;
    }
    let plan = {
        let state = moving.state.lock();
        if !state.wanted {
            return;
        }
        state.plan.clone()
    };
    let last = match known(gateway, moving).await {
        Ok(last) => last,
        Err(why) => return wait(gateway, moving, why),
    };
    match take_up(last.as_ref(), &plan) {
        TakeUp::Keep => {}
        TakeUp::Limits => {
            let order = by_host(Command::Limits(plan.config), CHANGED);
            if let Err(refused) = take(gateway, moving, order) {
                tracing::debug!(model = &*moving.model, %refused, "the limits stay as they are");
            }
            flush(gateway, moving).await;
        }
        TakeUp::Begin => {
            // One that has ended refuses, and there is nothing to call off.
            let _ = take(gateway, moving, call_off(CHANGED));
            if !flush(gateway, moving).await {
                return;
            }
            let last = moving.state.lock().rollout().cloned();
            let reason = "the configuration asks for it";
            if let Err(why) = begin(gateway, moving, last.as_ref(), Decider::Host, reason).await {
                wait(gateway, moving, why);
            }
        }
    }
}

/// The last rollout: in force, or read and put in force. The caller has the
/// turn.
async fn known(gateway: &Gateway, moving: &Moving) -> Result<Option<Rollout>, String> {
    if let Some(rollout) = moving.state.lock().rollout() {
        return Ok(Some(rollout.clone()));
    }
    match history::last(gateway.shared(), &moving.model).await {
        Ok(None) => Ok(None),
        Ok(Some((rollout, newest))) => {
            adopt(gateway, &mut moving.state.lock(), (rollout.clone(), newest));
            Ok(Some(rollout))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Goes on where the store says that the rollout stood. One that is not what
/// the configuration asks for gets no traffic by that.
fn adopt(gateway: &Gateway, state: &mut State, (rollout, newest): Last) {
    let other = take_up(Some(&rollout), &state.plan) == TakeUp::Begin;
    state.last = (!other).then(|| LastWord::of(&newest));
    state.standing = Standing::At(rollout);
    if !other {
        show(gateway, state);
    }
}

/// Begins what the configuration asks for. The caller has the turn, and `last`
/// has ended.
pub(super) async fn begin(
    gateway: &Gateway,
    moving: &Moving,
    last: Option<&Rollout>,
    by: Decider,
    reason: &str,
) -> Result<(), String> {
    let plan = moving.state.lock().plan.clone();
    let now_ms = gateway.clock().now_ms();
    let (rollout, event) =
        Rollout::begin(plan, last, by, reason, now_ms).map_err(|error| error.to_string())?;
    write(gateway.shared(), &moving.model, &event)
        .await
        .map_err(|error| format!("write that the rollout begins: {error}"))?;
    let other = {
        let mut state = moving.state.lock();
        state.last = Some(LastWord::of(&event));
        let other = !state.wanted || take_up(Some(&rollout), &state.plan) == TakeUp::Begin;
        if other {
            state.standing = Standing::At(rollout);
        } else {
            put_in_force(gateway, &mut state, rollout, &event);
        }
        other
    };
    if other {
        // A reload came between. It has begun, but not in force; what the
        // configuration asks for now follows on the next tick.
        let _ = take(gateway, moving, call_off(CHANGED));
        flush(gateway, moving).await;
    }
    Ok(())
}

/// Gives the candidate nothing, because of `why`.
fn wait(gateway: &Gateway, moving: &Moving, why: String) {
    let mut state = moving.state.lock();
    let told = matches!(&state.standing, Standing::Waiting { why: before } if *before == why);
    if !told {
        tracing::error!(
            model = &*moving.model,
            why,
            "the rollout waits, and its candidate gets nothing"
        );
    }
    state.standing = Standing::Waiting { why };
    show(gateway, &state);
}
