//! When no model of a plan can be called: what the route does about it.
//!
//! Asked when a plan has ended without one call because breakers, limits or
//! operators refused all of them, and nothing else answered. Always holds: a
//! route waits once and no longer than it may; the least bad model is called
//! for one request at a time, so that an outage is not hammered through an
//! open breaker.

use super::Run;
use super::walk::{self, End, LastFailure};
use crate::config::Unavailable;
use crate::release::{Model, NotNow};
use backstop_core::breaker::Refused;
use backstop_core::input::BreakerState;
use backstop_core::plan::{Action, Plan, Step};
use std::sync::Arc;
use std::time::Duration;

/// The end of the request, whose plan came to `end` without a call.
pub(super) async fn instead(run: &Run, plan: Arc<Plan>, end: End) -> End {
    let End::Failed(LastFailure::NotNow(reason)) = &end else {
        return end;
    };
    if run.calls() > 0 {
        return end;
    }
    let (reason, spec) = (*reason, run.ask.route.spec());
    let soonest = soonest(run, &plan);
    match spec.when_unavailable {
        Unavailable::Wait(longest) => {
            let wait = soonest.or(reason.retry_in());
            let left = run.ask.deadline.saturating_sub(run.ask.arrived.elapsed());
            if let Some(wait) = wait.filter(|wait| *wait <= longest && *wait < left) {
                // A breaker lets calls pass strictly after its wait.
                tokio::time::sleep(wait + Duration::from_millis(2)).await;
                return walk::walk(run, plan).await;
            }
        }
        Unavailable::LeastBad => {
            if let Some(plan) = least_bad(run, &plan)
                && let Some(_turn) = run.ask.route.least_bad()
            {
                return walk::walk_regardless(run, Arc::new(plan)).await;
            }
        }
        Unavailable::Fail => {}
    }
    // The caller comes again when the first of them may be back, not the last.
    match (reason, soonest) {
        (NotNow::Breaker(refused), Some(wait)) => {
            let retry_in_ms = u64::try_from(wait.as_millis()).ok();
            let refused = Refused {
                retry_in_ms,
                ..refused
            };
            End::Failed(LastFailure::NotNow(NotNow::Breaker(refused)))
        }
        _ => end,
    }
}

fn models<'a>(run: &'a Run, plan: &'a Plan) -> impl Iterator<Item = (&'a Step, &'a Arc<Model>)> {
    plan.steps.iter().filter_map(|step| match &step.action {
        Action::Call(call) => Some((step, run.ask.route.model(&call.model)?)),
        _ => None,
    })
}

/// When the first of the plan's models may be called again.
fn soonest(run: &Run, plan: &Plan) -> Option<Duration> {
    let now_ms = run.gateway.clock().now_ms();
    models(run, plan)
        .filter_map(|(_, model)| model.candidate(&run.ask.key, now_ms).retry_in_ms)
        .min()
        .map(|ms| Duration::from_millis(ms.into()))
}

/// A plan that calls the one model that fails least, of those that no operator
/// says are down.
fn least_bad(run: &Run, plan: &Plan) -> Option<Plan> {
    let now_ms = run.gateway.clock().now_ms();
    let rate = |model: &Model| {
        let traffic = model.traffic();
        let metrics = traffic.stable.breaker().metrics(now_ms);
        metrics.failure_rate.unwrap_or(0.0)
    };
    models(run, plan)
        .filter(|(_, model)| {
            let breaker = model.candidate(&run.ask.key, now_ms).breaker;
            model.healthy() && breaker != BreakerState::ForcedOpen
        })
        .min_by(|(_, one), (_, other)| rate(one).total_cmp(&rate(other)))
        .map(|(step, _)| Plan {
            steps: vec![step.clone()],
            options: plan.options.clone(),
        })
}
