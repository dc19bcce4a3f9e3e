//! The ticks of a rollout: what is unsettled is tried again, and the rollback
//! policy is asked.

use super::change::{change, to_its_end};
use super::reconcile::settle;
use super::{LastWord, Moving};
use crate::gateway::{Gateway, Shared};
use backstop::record::DecisionPoint;
use backstop_core::evidence::SubjectRef;
use backstop_core::input::{BreakerState, RolloutFacts};
use backstop_core::metric::name;
use backstop_core::rollout::{Assessment, Decider, Directive, Order};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Starts the ticks anew: their interval may have changed. The tick that is
/// cut by that loses no change, for those run in tasks of their own.
pub(super) fn keep_ticking(gateway: &Gateway, moving: &Arc<Moving>, tick: Duration) {
    let shared: Weak<Shared> = Arc::downgrade(gateway.shared());
    let ticking: Weak<Moving> = Arc::downgrade(moving);
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(tick).await;
            // Without the gateway or the rollout there is nothing to do.
            let (Some(shared), Some(moving)) = (shared.upgrade(), ticking.upgrade()) else {
                return;
            };
            let gateway = Gateway::from(shared);
            if moving.state.lock().is_unsettled() {
                let own = (gateway.clone(), moving.clone());
                to_its_end(&gateway, async move { settle(&own.0, &own.1).await }).await;
            }
            assess(&gateway, &moving).await;
        }
    });
    if let Some(before) = moving.ticks.lock().replace(task.abort_handle()) {
        before.abort();
    }
}

/// Asks the rollback policy about the rollout, and does what it says as far as
/// the rollout's limits allow.
async fn assess(gateway: &Gateway, moving: &Arc<Moving>) {
    let plant = gateway.plant();
    let shared = gateway.shared();
    let Some(policy) = plant
        .model(&moving.model)
        .and_then(|model| model.spec().rollout.as_ref()?.policy.as_ref())
        .and_then(|policy| shared.asked(policy, DecisionPoint::Rollback).ok())
    else {
        return;
    };
    let now_ms = shared.clock.now_ms();
    let (facts, version) = {
        let state = moving.state.lock();
        let Some(rollout) = state.current().filter(|rollout| rollout.is_assessed()) else {
            return;
        };
        let ready = ready(gateway, &moving.model, now_ms);
        (rollout.facts(&ready, now_ms), rollout.version())
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
    if let Err(refused) = change(gateway, moving, order).await {
        tracing::debug!(model = &*moving.model, %refused, "the rollout stays as it is");
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

/// Releases of `model` that could serve at once, newest (last in the
/// configuration) first.
pub(super) fn ready(gateway: &Gateway, model: &str, now_ms: u64) -> Vec<Arc<str>> {
    let plant = gateway.plant();
    let releases = plant.model(model).map_or(&[][..], |model| model.releases());
    releases
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
