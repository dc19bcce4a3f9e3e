//! Rollouts: what a rollback policy returns with its checks, and the state
//! machine that a directive moves ([`Rollout`]).
//!
//! The words are those of `wit/rollback.wit`.

mod config;
mod event;
mod machine;
mod take_up;
#[cfg(test)]
mod tests;

pub use config::{RolloutConfig, RolloutConfigError, STEPS_MAX};
pub use event::{Decider, ReplayError, RolloutChange, RolloutEvent};
pub use machine::{
    BeginError, Command, Order, RELEASES_READY_MAX, Refused, Rollout, RolloutPlan, RolloutStatus,
};
pub use take_up::{TakeUp, take_up};

use crate::input::RolloutFacts;
use serde::{Deserialize, Serialize};

/// What to do with a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Directive {
    /// Leave it as it is.
    Hold,
    /// Go to the next share; from the last one this promotes.
    Advance,
    /// Make the candidate the stable release now.
    Promote,
    /// Give the traffic back to the stable release, or to the ready release
    /// of this name.
    RollBack(Option<String>),
    /// Ask no more until a person resumes.
    Pause,
}

impl Directive {
    /// The name in the contract, in metrics and in records.
    pub fn as_str(&self) -> &'static str {
        match self {
            Directive::Hold => "hold",
            Directive::Advance => "advance",
            Directive::Promote => "promote",
            Directive::RollBack(_) => "roll-back",
            Directive::Pause => "pause",
        }
    }
}

/// The assessment of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// What to do.
    pub directive: Directive,
    /// Why.
    pub reason: String,
}

/// Why an assessment cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssessmentError {
    /// The release to go back to is not ready.
    #[error("roll back: release `{0}` is not ready")]
    NotReady(String),
}

impl Assessment {
    /// Checks what a policy returned for `rollout`.
    ///
    /// # Errors
    ///
    /// When it names a release that is not ready.
    pub fn check(&self, rollout: &RolloutFacts) -> Result<(), AssessmentError> {
        if let Directive::RollBack(Some(release)) = &self.directive
            && !rollout
                .ready_releases
                .iter()
                .any(|ready| **ready == **release)
        {
            return Err(AssessmentError::NotReady(release.clone()));
        }
        Ok(())
    }
}
