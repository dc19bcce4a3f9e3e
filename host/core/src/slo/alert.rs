//! The states of one alert: quiet, pending, firing, resolved, and two kinds of
//! not knowing.
//!
//! [`super::Slo`] steps one for each pair of windows. What is burning is
//! pending until it has lasted (`for`), then it fires; when it no longer burns
//! it is resolved, for a while, and quiet again.
//!
//! Always holds: only a measurement ends an alert. Silence does not: an alert
//! that fires goes on firing, and says that it is blind.

use super::BurnReading;
use serde::{Deserialize, Serialize};

/// How long a resolved alert is shown as such, so that whoever looks every few
/// minutes sees it.
pub const RESOLVED_SHOWN_MS: u64 = 15 * 60_000;

/// Where an alert stands. Times are those at which it got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum AlertState {
    /// Nothing has happened, so nothing is known.
    #[default]
    NoEvidence,
    /// Too little has happened.
    NotEnoughData,
    /// The budget is not being burnt.
    Quiet,
    /// It is, not yet for long enough.
    Pending {
        /// Since when.
        since_ms: u64,
    },
    /// It is.
    Firing {
        /// Since when.
        since_ms: u64,
        /// Since when there is nothing to tell whether it still is.
        blind_since_ms: Option<u64>,
    },
    /// It no longer is.
    Resolved {
        /// Since when.
        since_ms: u64,
        /// When it had begun to fire.
        fired_ms: u64,
    },
}

impl AlertState {
    /// Orders states by what a reader should see first. Not knowing comes before
    /// knowing that all is well.
    pub fn rank(&self) -> u8 {
        match self {
            AlertState::Quiet => 0,
            AlertState::Resolved { .. } => 1,
            AlertState::NotEnoughData => 2,
            AlertState::NoEvidence => 3,
            AlertState::Pending { .. } => 4,
            AlertState::Firing { .. } => 5,
        }
    }

    /// Somebody is to be told.
    pub fn fires(&self) -> bool {
        matches!(self, AlertState::Firing { .. })
    }
}

/// One alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Alert {
    state: AlertState,
}

impl Alert {
    /// Where it stands.
    pub fn state(&self) -> AlertState {
        self.state
    }

    /// Moves on by one reading; `for_ms` is how long it has to burn.
    pub(super) fn step(&mut self, now_ms: u64, for_ms: u64, reading: &BurnReading) -> AlertState {
        use AlertState::{Firing, NoEvidence, NotEnoughData, Pending, Quiet, Resolved};
        let unknown = match reading {
            BurnReading::NoEvidence => Some(NoEvidence),
            BurnReading::NotEnoughData { .. } => Some(NotEnoughData),
            BurnReading::Measured { .. } => None,
        };
        let burning = matches!(reading, BurnReading::Measured { burning: true, .. });
        self.state = match (self.state, unknown) {
            (
                Firing {
                    since_ms,
                    blind_since_ms,
                },
                Some(_),
            ) => Firing {
                since_ms,
                blind_since_ms: Some(blind_since_ms.unwrap_or(now_ms)),
            },
            (_, Some(unknown)) => unknown,
            (Firing { since_ms, .. }, None) if burning => Firing {
                since_ms,
                blind_since_ms: None,
            },
            (Firing { since_ms, .. }, None) => Resolved {
                since_ms: now_ms,
                fired_ms: since_ms,
            },
            (Pending { since_ms }, None) if burning => lasting(since_ms, now_ms, for_ms),
            (_, None) if burning => lasting(now_ms, now_ms, for_ms),
            (Resolved { since_ms, fired_ms }, None)
                if now_ms.saturating_sub(since_ms) < RESOLVED_SHOWN_MS =>
            {
                Resolved { since_ms, fired_ms }
            }
            (_, None) => Quiet,
        };
        self.state
    }
}

/// What has burnt since `since_ms`.
fn lasting(since_ms: u64, now_ms: u64, for_ms: u64) -> AlertState {
    match now_ms.saturating_sub(since_ms) >= for_ms {
        true => AlertState::Firing {
            since_ms: now_ms,
            blind_since_ms: None,
        },
        false => AlertState::Pending { since_ms },
    }
}
