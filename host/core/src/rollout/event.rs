//! The log of a rollout: who changed it, when, why, and how.
//!
//! Events are facts: a rollout is what its events say, and replaying them
//! gives the same rollout, whatever its configuration has become since.

use super::RolloutConfig;
use super::machine::RolloutPlan;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Decider {
    /// A rollback policy. Bound by the rollout's limits.
    Policy {
        /// Its name.
        name: Arc<str>,
        /// Digest of the revision that decided.
        revision: Arc<str>,
    },
    /// A person. May do before its time what a policy may not.
    Person {
        /// Who, as far as the host knows.
        name: Arc<str>,
    },
    /// The host itself, as when the configuration changed. Bound by the limits.
    Host,
}

impl Decider {
    /// True for a person.
    pub fn is_person(&self) -> bool {
        matches!(self, Decider::Person { .. })
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutEvent {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who.
    pub by: Decider,
    /// Why; cut and made safe to show.
    pub reason: String,
    /// What.
    pub change: RolloutChange,
}

/// What can happen to a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum RolloutChange {
    /// It began.
    Began {
        /// With this.
        plan: RolloutPlan,
    },
    /// The candidate's share became this.
    Advanced {
        /// Percent.
        share_percent: u32,
    },
    /// The candidate is the stable release now.
    Promoted,
    /// The traffic went to another release than the candidate.
    RolledBack {
        /// Which.
        to: Arc<str>,
    },
    /// No policy is asked until a person resumes.
    Paused,
    /// It goes on.
    Resumed,
    /// It was called off: nothing is said about the candidate.
    Aborted,
    /// It goes on where it stands, under other limits.
    LimitsChanged {
        /// These.
        config: RolloutConfig,
    },
}

impl RolloutChange {
    /// The name for people: that of the directive that leads to it, where
    /// there is one.
    pub fn as_str(&self) -> &'static str {
        match self {
            RolloutChange::Began { .. } => "began",
            RolloutChange::Advanced { .. } => "advance",
            RolloutChange::Promoted => "promote",
            RolloutChange::RolledBack { .. } => "roll-back",
            RolloutChange::Paused => "pause",
            RolloutChange::Resumed => "resume",
            RolloutChange::Aborted => "abort",
            RolloutChange::LimitsChanged { .. } => "limits",
        }
    }
}

/// Why events are no rollout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// There is no event.
    #[error("rollout has no events")]
    Empty,
    /// The first event is not that it began.
    #[error("rollout's first event is not that it began")]
    NotBegun,
    /// An event cannot follow those before it.
    #[error("rollout's event {0} cannot follow those before it")]
    OutOfPlace(usize),
}
