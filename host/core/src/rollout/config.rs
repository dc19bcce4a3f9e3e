//! The limits of a rollout, which hold whatever a policy says.

use serde::{Deserialize, Serialize};

/// Most canary steps. More would not be told apart by any evidence.
pub const STEPS_MAX: usize = 32;

/// How a rollout goes forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Begin with copies of requests, before any caller is served.
    pub shadow: bool,
    /// The candidate's shares in percent: 1 to 32 of them, ascending, from 1 to
    /// 99. What comes after the last one is promotion.
    pub steps: Vec<u32>,
    /// Shortest time at a share, in milliseconds, before a policy may advance.
    pub dwell_ms_min: u64,
    /// A policy advances and promotes only with evidence about the candidate.
    pub evidence_required: bool,
    /// Milliseconds for which a person's resuming stands against a policy that
    /// would pause or roll back again; 0 is until the share changes.
    pub pin_ms: u64,
}

impl Default for RolloutConfig {
    /// 5, 25 and 50 percent, five minutes each, evidence required, and a
    /// person's word stands until the share changes.
    fn default() -> Self {
        RolloutConfig {
            shadow: false,
            steps: vec![5, 25, 50],
            dwell_ms_min: 300_000,
            evidence_required: true,
            pin_ms: 0,
        }
    }
}

/// Why the steps are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutConfigError {
    /// Too few or too many.
    #[error("`steps` has {0} entries, must have 1 to {STEPS_MAX}")]
    Count(usize),
    /// A share that is none.
    #[error("`steps` has {0} percent, must be 1 to 99")]
    OutOfRange(u32),
    /// A share that is not above the one before.
    #[error("`steps` goes from {0} to {1} percent, must ascend")]
    NotAscending(u32, u32),
}

impl RolloutConfig {
    /// Checks the steps.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with them.
    pub fn check(&self) -> Result<(), RolloutConfigError> {
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            return Err(RolloutConfigError::Count(self.steps.len()));
        }
        if let Some(share) = self.steps.iter().find(|share| !(1..=99).contains(*share)) {
            return Err(RolloutConfigError::OutOfRange(*share));
        }
        match self.steps.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => Err(RolloutConfigError::NotAscending(pair[0], pair[1])),
            None => Ok(()),
        }
    }
}
