//! `[models.NAME]`: logical models, their releases and their rollouts.

use super::Name;
use super::provider::Provider;
use backstop_core::breaker::BreakerConfig;
use std::sync::Arc;
use std::time::Duration;

/// A logical model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name in the configuration.
    pub name: Name,
    /// Its releases in the order of the configuration; at least one.
    pub releases: Vec<Arc<Release>>,
    /// The release that serves whatever no rollout takes; one of `releases`.
    pub stable: Arc<Release>,
    /// The moving of traffic to another release.
    pub rollout: Option<Rollout>,
    /// Settings of the breaker of each release.
    pub breaker: BreakerConfig,
    /// Longest time of one attempt, where shorter than the route's.
    pub timeout: Option<Duration>,
}

impl Model {
    /// The release of this name.
    pub fn release(&self, name: &str) -> Option<&Arc<Release>> {
        self.releases.iter().find(|release| *release.name == *name)
    }
}

/// One versioned deployable unit of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Its name, unique within the model.
    pub name: Name,
    /// Where its calls go.
    pub target: Arc<Target>,
}

/// Where calls of a release go, and how its answers are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of the model.
    pub model: Name,
    /// Name of the release.
    pub release: Name,
    /// Who runs it.
    pub provider: Arc<Provider>,
    /// What the provider calls the model.
    pub upstream_model: Name,
    /// What is appended to the provider's base URL for calls of JSON models:
    /// empty, or a path with a leading slash.
    pub path: Arc<str>,
    /// Where to find what in an answer.
    pub pointers: Pointers,
}

/// JSON pointers (RFC 6901) into an answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointers {
    /// The answer itself; none means the whole body.
    pub answer: Option<Arc<str>>,
    /// A number from 0 to 1.
    pub confidence: Option<Arc<str>>,
    /// The predicted label.
    pub label: Option<Arc<str>>,
    /// An object of label to score.
    pub scores: Option<Arc<str>>,
}

/// The moving of a model's traffic from its stable release to a candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// The release that is tried; one of the model's, not the stable one.
    pub candidate: Arc<Release>,
    /// Its shares in percent, ascending, each from 1 to 99; at least one. What
    /// comes after the last one is promotion.
    pub steps: Vec<u32>,
    /// Shortest time at a share before the next.
    pub dwell: Duration,
    /// How often the rollout is assessed.
    pub tick: Duration,
    /// The policy that assesses it; without one only a person moves it.
    pub policy: Option<Name>,
}
