//! The rollout that a `rollback` decision is about.

use crate::backend::rollouts as backend;

pub use crate::bindings::base::backstop::policy::rollouts::Stage;

/// The moving of a model's traffic from its stable release to a candidate.
///
/// In native tests a rollout comes from `testing::rollout`.
#[derive(Debug)]
#[repr(transparent)]
pub struct Rollout(pub(crate) backend::Rollout);

impl Rollout {
    /// Model whose releases are being changed.
    pub fn model(&self) -> String {
        self.0.model()
    }

    /// Release that is being tried.
    pub fn candidate(&self) -> String {
        self.0.candidate()
    }

    /// Release that served before and serves the rest.
    pub fn stable(&self) -> String {
        self.0.stable()
    }

    /// Where the rollout stands.
    pub fn stage(&self) -> Stage {
        self.0.stage()
    }

    /// The candidate's share of traffic, in percent, 0 to 100.
    pub fn share_percent(&self) -> u32 {
        self.0.share_percent()
    }

    /// The share after an advance; none when the next advance promotes.
    pub fn next_share_percent(&self) -> Option<u32> {
        self.0.next_share_percent()
    }

    /// Milliseconds since the rollout began.
    pub fn age_ms(&self) -> u64 {
        self.0.age_ms()
    }

    /// Milliseconds since the present share was set.
    pub fn step_age_ms(&self) -> u64 {
        self.0.step_age_ms()
    }

    /// Releases that could serve at once, newest first; at most 16.
    pub fn ready_releases(&self) -> Vec<String> {
        self.0.ready_releases()
    }
}
