//! `rollouts`, scripted.

use super::raw::rollouts::Stage;

/// A scripted rollout.
#[derive(Debug, Clone)]
pub(crate) struct Rollout {
    pub(crate) model: String,
    pub(crate) candidate: String,
    pub(crate) stable: String,
    pub(crate) stage: Stage,
    pub(crate) share_percent: u32,
    pub(crate) next_share_percent: Option<u32>,
    pub(crate) age_ms: u64,
    pub(crate) step_age_ms: u64,
    pub(crate) ready_releases: Vec<String>,
}

impl Rollout {
    pub(crate) fn model(&self) -> String {
        self.model.clone()
    }
    pub(crate) fn candidate(&self) -> String {
        self.candidate.clone()
    }
    pub(crate) fn stable(&self) -> String {
        self.stable.clone()
    }
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }
    pub(crate) fn share_percent(&self) -> u32 {
        self.share_percent
    }
    pub(crate) fn next_share_percent(&self) -> Option<u32> {
        self.next_share_percent
    }
    pub(crate) fn age_ms(&self) -> u64 {
        self.age_ms
    }
    pub(crate) fn step_age_ms(&self) -> u64 {
        self.step_age_ms
    }
    pub(crate) fn ready_releases(&self) -> Vec<String> {
        self.ready_releases.clone()
    }
}
