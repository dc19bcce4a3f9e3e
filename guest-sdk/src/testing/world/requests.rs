//! `requests`, scripted.

use super::{WORLD, raw};
use raw::requests::{Attempt, BodyError, Candidate};

/// A scripted request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) route: String,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) rules: Vec<String>,
    pub(crate) has_review: bool,
    pub(crate) streaming: bool,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) time_left_ms: Option<u32>,
    pub(crate) loads: Vec<(String, Load)>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

/// How a scripted model is just now.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Calls under way.
    pub in_flight: u32,
    /// How many may be under way at once.
    pub limit: Option<u32>,
    /// Requests that wait for a place.
    pub queued: u32,
    /// Milliseconds until its breaker may let a call pass.
    pub retry_in_ms: Option<u32>,
    /// Tokens of its context window.
    pub context_tokens: Option<u32>,
}

impl Request {
    fn load(&self, model: &str) -> Load {
        let found = self.loads.iter().find(|(name, _)| name == model);
        found.map(|(_, load)| load.clone()).unwrap_or_default()
    }
    pub(crate) fn time_left_ms(&self) -> Option<u32> {
        self.time_left_ms
    }
    pub(crate) fn in_flight(&self, model: &str) -> u32 {
        self.load(model).in_flight
    }
    pub(crate) fn limit(&self, model: &str) -> Option<u32> {
        self.load(model).limit
    }
    pub(crate) fn queued(&self, model: &str) -> u32 {
        self.load(model).queued
    }
    pub(crate) fn retry_in_ms(&self, model: &str) -> Option<u32> {
        self.load(model).retry_in_ms
    }
    pub(crate) fn context_tokens(&self, model: &str) -> Option<u32> {
        self.load(model).context_tokens
    }
    pub(crate) fn route(&self) -> String {
        self.route.clone()
    }
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        self.candidates.clone()
    }
    pub(crate) fn rules(&self) -> Vec<String> {
        self.rules.clone()
    }
    pub(crate) fn has_review(&self) -> bool {
        self.has_review
    }
    pub(crate) fn streaming(&self) -> bool {
        self.streaming
    }
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.clone()
    }
    pub(crate) fn tag(&self, name: &str) -> Option<String> {
        let tag = self.tags.iter().find(|(key, _)| key == name)?;
        Some(tag.1.clone())
    }
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.len() as u64)
    }
    pub(crate) fn body(&self, bytes_max: u32) -> Result<String, BodyError> {
        if !WORLD.with_borrow(|world| world.grants.bodies) {
            return Err(BodyError::Denied);
        }
        super::head(self.body.as_deref(), bytes_max)
    }
}
