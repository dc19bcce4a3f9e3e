//! Guests that misbehave: stopped, classified, and answered with a decision.
//!
//! The guest is `tests/guests/hostile`, whose settings say what it does. Each
//! module below holds the host to one part of its promise.

mod besides;
mod consequences;
mod denied;
mod evidence;
mod refused;
mod room;
mod stopped;

use backstop::core::plan::Plan;
use backstop::core::verdict::Verdict;
use backstop::{
    Decision, Grants, Host, Limits, ModelBudget, PolicyHandle, PolicyOptions, RevertPolicy,
};
use backstop_tests::facts;
use backstop_tests::guest::HOSTILE;
use backstop_tests::sources::{Incidents, Models, Rates};
use serde_json::json;
use std::sync::Arc;

/// A host, and what it reaches.
struct World {
    host: Host,
    models: Arc<Models>,
    incidents: Arc<Incidents>,
}

impl World {
    async fn activate(&self, options: PolicyOptions) -> PolicyHandle {
        let activation = self.host.activate("hostile", HOSTILE, options);
        activation.await.unwrap();
        self.host.policy("hostile").unwrap()
    }

    /// Asks for a plan.
    async fn ask(&self, policy: &PolicyHandle) -> Decision<Arc<Plan>> {
        let request = Arc::new(facts::request());
        let default = facts::default_plan();
        self.host.decide_fallback(policy, request, &default).await
    }

    /// Asks for a verdict.
    async fn judge(&self, policy: &PolicyHandle) -> Decision<Verdict> {
        let (request, answer) = (facts::request(), facts::answer(Some(0.9)));
        let default = facts::default_verdict();
        let (request, answer) = (Arc::new(request), Arc::new(answer));
        let decision = self
            .host
            .decide_threshold(policy, request, answer, &default);
        decision.await
    }
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
            metrics: vec![
                "error-rate".to_owned(),
                "latency*".to_owned(),
                "labelled".to_owned(),
                "objective:answers".to_owned(),
            ],
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

async fn decide(world: &World, options: PolicyOptions) -> Decision<Arc<Plan>> {
    let policy = world.activate(options).await;
    world.ask(&policy).await
}
