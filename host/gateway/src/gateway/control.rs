//! The gateway as the admin plane sees it.

use super::Gateway;
use crate::admin::{
    BreakerStatus, Check, Control, ControlError, KeyStatus, LoadStatus, ModelStatus, ReleaseStatus,
    RolloutCommand, RolloutStatus,
};
use crate::callback;
use crate::components;
use crate::config::ComponentSource;
use crate::feedback;
use crate::http::reviews;
use crate::objectives::ObjectiveReport;
use crate::release::Model;
use crate::store::{NewMessage, Review};
use backstop::{BoxFuture, DecisionPoint};
use backstop_core::input::BreakerState;
use std::sync::Arc;

impl Control for Gateway {
    fn readiness(&self) -> Vec<Check> {
        let plant = self.plant();
        let accepting = self.is_ready();
        vec![
            Check {
                name: "accepting",
                ok: accepting,
                detail: match accepting {
                    true => "requests are taken".to_owned(),
                    false => "shutting down".to_owned(),
                },
            },
            // A host exists only when its self-test has passed.
            Check {
                name: "sandbox",
                ok: true,
                detail: "the self-test of the limits has passed".to_owned(),
            },
            Check {
                name: "routes",
                ok: plant.routes().next().is_some(),
                detail: format!("{} served", plant.routes().count()),
            },
        ]
    }

    fn models(&self) -> Vec<ModelStatus> {
        let now_ms = self.clock().now_ms();
        self.plant()
            .models()
            .map(|model| model_status(model, now_ms))
            .collect()
    }

    fn set_breaker(
        &self,
        model: &str,
        release: &str,
        state: BreakerState,
        for_ms: Option<u64>,
    ) -> Result<ModelStatus, ControlError> {
        let model = self.model(model)?;
        let release = model
            .release(release)
            .ok_or_else(|| ControlError::NotFound {
                what: "release",
                name: format!("{release}` of model `{}", model.name()),
            })?;
        let now_ms = self.clock().now_ms();
        match (state, for_ms) {
            (BreakerState::Open, Some(wait_ms)) => release.breaker().open_for(wait_ms, now_ms),
            _ => release.breaker().force(state, now_ms),
        }
        .map_err(|error| {
            let (model, release) = (model.name(), release.name());
            ControlError::Conflict(format!("model `{model}`, release `{release}`: {error}"))
        })?;
        release.tell_events();
        Ok(model_status(&model, now_ms))
    }

    fn set_healthy(&self, model: &str, healthy: bool) -> Result<ModelStatus, ControlError> {
        let model = self.model(model)?;
        model.set_healthy(healthy);
        Ok(model_status(&model, self.clock().now_ms()))
    }

    fn rollouts(&self) -> Vec<RolloutStatus> {
        self.rollout_states()
    }

    fn command_rollout(
        &self,
        model: &str,
        command: RolloutCommand,
        by: Option<String>,
    ) -> BoxFuture<'_, Result<RolloutStatus, ControlError>> {
        let model = model.to_owned();
        Box::pin(async move { self.change_rollout(&model, command, by).await })
    }

    fn objectives(&self) -> Vec<ObjectiveReport> {
        self.shared().objectives.reports()
    }

    fn labelled(&self, review: &Review) {
        feedback::review_resolved(self, review);
    }

    fn announcement(&self, review: &Review) -> Option<NewMessage> {
        callback::announcement(review, reviews::kind(&self.plant(), review))
    }

    fn message_added(&self) {
        self.shared().outbox.wake();
    }

    fn points(&self, policy: &str) -> Vec<DecisionPoint> {
        self.plant().config().points(policy)
    }

    fn load_component(
        &self,
        source: &ComponentSource,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Arc<[u8]>, ControlError>> {
        let source = source.clone();
        Box::pin(async move {
            components::read(&source, bytes_max)
                .await
                .map_err(|error| match error {
                    components::ComponentError::UnknownBuiltin(name) => ControlError::NotFound {
                        what: "shipped policy",
                        name,
                    },
                    components::ComponentError::Read { path, source } => {
                        ControlError::Invalid(format!("read `{}`: {source}", path.display()))
                    }
                    error @ components::ComponentError::TooLarge { .. } => {
                        ControlError::Invalid(error.to_string())
                    }
                })
        })
    }
}

impl Gateway {
    fn model(&self, name: &str) -> Result<Arc<Model>, ControlError> {
        self.plant()
            .model(name)
            .cloned()
            .ok_or_else(|| ControlError::NotFound {
                what: "model",
                name: name.to_owned(),
            })
    }
}

fn model_status(model: &Model, now_ms: u64) -> ModelStatus {
    let traffic = model.traffic();
    let share = |release: &str| -> f64 {
        let canary = traffic.canary.as_ref();
        let canary_share = canary.map_or(0, |canary| canary.share_percent);
        if canary.is_some_and(|canary| **canary.candidate.name() == *release) {
            f64::from(canary_share)
        } else if **traffic.stable.name() == *release {
            f64::from(100 - canary_share)
        } else {
            0.0
        }
    };
    ModelStatus {
        name: model.name().to_string(),
        stable: traffic.stable.name().to_string(),
        healthy: model.healthy(),
        releases: model
            .releases()
            .iter()
            .map(|release| {
                let spec = release.spec();
                ReleaseStatus {
                    name: spec.name.to_string(),
                    provider: spec.target.provider.name.to_string(),
                    upstream_model: Some(spec.target.upstream_model.to_string()),
                    share_percent: share(&spec.name),
                    breaker: BreakerStatus::from(&release.breaker().metrics(now_ms)),
                    load: LoadStatus {
                        in_flight: release.gate().in_flight(),
                        limit: release.gate().limit(),
                        queued: release.gate().queued(),
                    },
                    keys: release
                        .target()
                        .keys()
                        .map(|keys| keys.shown().into_iter().map(KeyStatus::from).collect())
                        .unwrap_or_default(),
                }
            })
            .collect(),
    }
}
