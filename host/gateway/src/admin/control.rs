//! What the admin plane needs of the gateway that runs.
//!
//! The gateway implements [`Control`]; tests implement it with a few fields.
//! Policies are not in it: they come straight from [`backstop::Host`].

use crate::config::ComponentSource;
use crate::objectives::ObjectiveReport;
use crate::store::{NewMessage, Review};
use crate::upstream::KeyState;
use crate::upstream::keys::ShownKey;
use backstop::{BoxFuture, DecisionId, DecisionPoint};
use backstop_core::breaker::BreakerMetrics;
use backstop_core::input::BreakerState;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// One condition of readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// What is checked, for example `sandbox`.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// Why it does not, or what was found.
    pub detail: String,
}

/// A release of a model, and how it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReleaseStatus {
    /// Its name.
    pub name: String,
    /// The provider that runs it.
    pub provider: String,
    /// What the provider calls it.
    pub upstream_model: Option<String>,
    /// Its share of the model's traffic, in per cent.
    pub share_percent: f64,
    /// Its breaker.
    pub breaker: BreakerStatus,
    /// How much it is asked.
    pub load: LoadStatus,
    /// The provider's keys in their order, where it has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyStatus>,
}

/// A key of a provider that has several. It is never shown itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyStatus {
    /// From 0, as in the configuration.
    pub position: usize,
    /// The first digits of its SHA-256.
    pub hash: String,
    /// `ready`, `cooling` (its rate is limited) or `refused`.
    pub state: &'static str,
    /// For how long it is not used.
    pub for_ms: Option<u64>,
}

impl From<ShownKey> for KeyStatus {
    fn from(key: ShownKey) -> Self {
        let left = match key.state {
            KeyState::Usable => None,
            KeyState::Rests(left) | KeyState::Out(left) => Some(left),
        };
        KeyStatus {
            position: key.position,
            hash: key.hash,
            state: key.state.as_str(),
            for_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// How much a release is asked just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct LoadStatus {
    /// Calls under way.
    pub in_flight: u32,
    /// How many may be under way; none without a limit.
    pub limit: Option<u32>,
    /// Calls that wait for a place.
    pub queued: u32,
}

/// State and figures of a breaker.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BreakerStatus {
    /// The state.
    #[schema(value_type = String)]
    pub state: BreakerState,
    /// Share of failed calls in the window, in per cent; none with too few.
    pub failure_rate: Option<f64>,
    /// Share of slow calls in the window, in per cent; none with too few.
    pub slow_call_rate: Option<f64>,
    /// Calls in the window.
    pub calls: u32,
    /// Failed calls in the window.
    pub failed_calls: u32,
    /// Failed calls since the last good one.
    pub consecutive_failures: u32,
    /// Calls that it refused since the start.
    pub refused_calls: u64,
}

impl From<&BreakerMetrics> for BreakerStatus {
    fn from(metrics: &BreakerMetrics) -> Self {
        BreakerStatus {
            state: metrics.state,
            failure_rate: metrics.failure_rate,
            slow_call_rate: metrics.slow_call_rate,
            calls: metrics.buffered_calls,
            failed_calls: metrics.failed_calls,
            consecutive_failures: metrics.consecutive_failures,
            refused_calls: metrics.not_permitted_calls,
        }
    }
}

/// A model and its releases.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// The stable release.
    pub stable: String,
    /// False while an operator, or its probe, says that it is down.
    pub healthy: bool,
    /// All releases, in the order of the configuration.
    pub releases: Vec<ReleaseStatus>,
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutPhase {
    /// The candidate takes a share.
    Running,
    /// Nobody asks the policy until a person resumes.
    Paused,
    /// The candidate became the stable release.
    Promoted,
    /// The traffic went back.
    RolledBack,
    /// Where it stood cannot be read, or that it begins cannot be written: the
    /// candidate gets nothing until it can, or a person resumes, which begins
    /// it anew.
    Waiting,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RolloutStatus {
    /// The model.
    pub model: String,
    /// The release that is tried.
    pub candidate: String,
    /// The release that serves the rest.
    pub stable: String,
    /// The policy that assesses it.
    pub policy: Option<String>,
    /// Where it stands.
    pub phase: RolloutPhase,
    /// What keeps it from being as it should be: why it waits, or that the
    /// store has not taken what is in force.
    pub problem: Option<String>,
    /// The candidate's share, in per cent.
    pub share_percent: f64,
    /// Its share after the next advance; none when that would promote.
    pub next_share_percent: Option<f64>,
    /// When it began, in milliseconds since the Unix epoch; 0 while it waits.
    pub began_ms: u64,
    /// When the present share was set; 0 while it waits.
    pub step_since_ms: u64,
    /// What was last decided about it.
    pub last_directive: Option<String>,
    /// Why.
    pub last_reason: Option<String>,
    /// The decision's record.
    #[schema(value_type = Option<String>)]
    pub last_decision: Option<DecisionId>,
}

/// What a person may do to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutCommand {
    /// Ask the policy no more.
    Pause,
    /// Ask it again.
    Resume,
    /// Give the traffic back to the stable release.
    Abort,
    /// Make the candidate the stable release.
    Promote,
}

impl RolloutCommand {
    /// The name in paths and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            RolloutCommand::Pause => "pause",
            RolloutCommand::Resume => "resume",
            RolloutCommand::Abort => "abort",
            RolloutCommand::Promote => "promote",
        }
    }
}

/// Why the gateway did not do what an operator asked. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("no {what} `{name}`")]
    NotFound {
        /// Model, rollout, builtin …
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It is in a state in which that cannot be done.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// The gateway cannot do it now.
    #[error("{0}")]
    Unavailable(String),
}

/// The gateway, as the admin plane sees it.
pub trait Control: Send + Sync + 'static {
    /// What must hold before callers may be sent here, besides what the admin
    /// plane checks itself (the store, the configuration).
    fn readiness(&self) -> Vec<Check>;

    /// All models.
    fn models(&self) -> Vec<ModelStatus>;

    /// Puts the breaker of a release into `state`; `open` for `for_ms`
    /// milliseconds where that is given.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; nothing was changed.
    fn set_breaker(
        &self,
        model: &str,
        release: &str,
        state: BreakerState,
        for_ms: Option<u64>,
    ) -> Result<ModelStatus, ControlError>;

    /// Says whether a model is up. While it is not, no step calls it.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; nothing was changed.
    fn set_healthy(&self, model: &str, healthy: bool) -> Result<ModelStatus, ControlError>;

    /// All rollouts that are configured.
    fn rollouts(&self) -> Vec<RolloutStatus>;

    /// Does `command` to the rollout of `model`, and keeps in the store that
    /// `by` wanted it.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; nothing was changed.
    fn command_rollout(
        &self,
        model: &str,
        command: RolloutCommand,
        by: Option<String>,
    ) -> BoxFuture<'_, Result<RolloutStatus, ControlError>>;

    /// All objectives, by name.
    fn objectives(&self) -> Vec<ObjectiveReport>;

    /// Counts the label of a review that was just resolved: an event of the
    /// metric `accuracy` for its model and release. Called once for each
    /// review.
    fn labelled(&self, review: &Review);

    /// The message to the caller of a review that was just resolved; none where
    /// it wants none. Called within a transaction of the store, and only by the
    /// call that resolves it.
    fn announcement(&self, review: &Review) -> Option<NewMessage>;

    /// Says that a message was added to the store, or became due.
    fn message_added(&self);

    /// The decision points at which routes and rollouts ask `policy` now.
    fn points(&self, policy: &str) -> Vec<DecisionPoint>;

    /// Reads a component; at most `bytes_max` of it.
    ///
    /// # Errors
    ///
    /// [`ControlError`], with a text that names the file or the builtin.
    fn load_component(
        &self,
        source: &ComponentSource,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Arc<[u8]>, ControlError>>;
}
