//! Rollouts: the moving of traffic from a model's stable release to another.
//!
//! For now a configured rollout is known but not moved: the stable release
//! keeps all the traffic.

use crate::gateway::Gateway;
use crate::plant::Plant;
use backstop_core::input::RolloutFacts;

/// The rollouts of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {}

/// Brings the rollouts into line with a plant that has just been put in place.
pub(crate) async fn reconcile(_gateway: &Gateway, plant: &Plant) {
    for model in plant.models() {
        if model.spec().rollout.is_some() {
            tracing::debug!(model = &**model.name(), "rollout is configured");
        }
    }
}

impl Gateway {
    /// The rollout of `model`, as a policy sees it; none when none runs.
    pub(crate) fn rollout_facts(&self, model: &str) -> Option<RolloutFacts> {
        let plant = self.plant();
        let model = plant.model(model)?;
        let _ = model.spec().rollout.as_ref()?;
        None
    }
}
