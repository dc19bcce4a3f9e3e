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
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

impl Request {
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
