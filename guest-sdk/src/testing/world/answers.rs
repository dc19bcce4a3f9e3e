//! `answers`, scripted.

use super::{WORLD, raw};
use raw::answers::{FinishReason, Score};
use raw::requests::BodyError;

/// A scripted answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) model: String,
    pub(crate) release: String,
    pub(crate) step: u32,
    pub(crate) steps_left: u32,
    pub(crate) confidence: Option<f64>,
    pub(crate) label: Option<String>,
    pub(crate) scores: Vec<Score>,
    pub(crate) token_logprobs: Vec<f64>,
    pub(crate) finish_reason: Option<FinishReason>,
    pub(crate) latency_ms: u32,
    pub(crate) delivered: bool,
    pub(crate) partial: bool,
    pub(crate) first_token_ms: Option<u32>,
    pub(crate) tokens: Option<u32>,
    pub(crate) body: Option<String>,
    /// The answer to a call of the policy's own.
    pub(crate) own: bool,
}

impl Answer {
    pub(crate) fn model(&self) -> String {
        self.model.clone()
    }
    pub(crate) fn release(&self) -> String {
        self.release.clone()
    }
    pub(crate) fn step(&self) -> u32 {
        self.step
    }
    pub(crate) fn steps_left(&self) -> u32 {
        self.steps_left
    }
    pub(crate) fn confidence(&self) -> Option<f64> {
        self.confidence
    }
    pub(crate) fn label(&self) -> Option<String> {
        self.label.clone()
    }
    pub(crate) fn scores(&self) -> Vec<Score> {
        self.scores.clone()
    }
    pub(crate) fn token_logprobs(&self) -> Vec<f64> {
        self.token_logprobs.clone()
    }
    pub(crate) fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason
    }
    pub(crate) fn latency_ms(&self) -> u32 {
        self.latency_ms
    }
    pub(crate) fn delivered(&self) -> bool {
        self.delivered
    }
    pub(crate) fn partial(&self) -> bool {
        self.partial
    }
    pub(crate) fn first_token_ms(&self) -> Option<u32> {
        self.first_token_ms
    }
    pub(crate) fn tokens(&self) -> Option<u32> {
        self.tokens
    }
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.len() as u64)
    }
    pub(crate) fn body(&self, bytes_max: u32) -> Result<String, BodyError> {
        if !self.own && !WORLD.with_borrow(|world| world.grants.bodies) {
            return Err(BodyError::Denied);
        }
        super::head(self.body.as_deref(), bytes_max)
    }
}
