//! `requests`, `answers`, `rollouts`: the decision's own input.
//!
//! Answered from plain data that is in the record, so these calls are not in
//! the transcript; only reading a body is, because bodies are not in the input.

use super::replayed;
use crate::bindings::{
    AnswerHandle, RequestHandle, RolloutHandle, answers, requests, rollouts, types,
};
use crate::record::HostCall;
use crate::run_state::{Mode, RunState};
use backstop_core::fault::FailureClass;
use backstop_core::input::{BreakerState, Candidate, FinishReason, RolloutStage};
use backstop_core::text::cut;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::Resource;

type BodyResult = std::result::Result<String, requests::BodyError>;

impl types::Host for RunState {}
impl requests::Host for RunState {}
impl answers::Host for RunState {}
impl rollouts::Host for RunState {}

impl requests::HostRequest for RunState {
    fn route(&mut self, _: Resource<RequestHandle>) -> Result<String> {
        self.enter("request.route")?;
        Ok(self.request()?.route.to_string())
    }

    fn candidates(&mut self, _: Resource<RequestHandle>) -> Result<Vec<requests::Candidate>> {
        self.enter("request.candidates")?;
        let candidates = self.request()?.candidates.iter();
        Ok(candidates
            .map(|candidate| requests::Candidate {
                model: shown(&candidate.model),
                breaker: breaker(candidate.breaker),
                healthy: candidate.healthy,
            })
            .collect())
    }

    fn rules(&mut self, _: Resource<RequestHandle>) -> Result<Vec<String>> {
        self.enter("request.rules")?;
        Ok(self
            .request()?
            .rules
            .iter()
            .map(ToString::to_string)
            .collect())
    }

    fn has_review(&mut self, _: Resource<RequestHandle>) -> Result<bool> {
        self.enter("request.has-review")?;
        Ok(self.request()?.has_review)
    }

    fn streaming(&mut self, _: Resource<RequestHandle>) -> Result<bool> {
        self.enter("request.streaming")?;
        Ok(self.request()?.streaming)
    }

    fn attempts(&mut self, _: Resource<RequestHandle>) -> Result<Vec<requests::Attempt>> {
        self.enter("request.attempts")?;
        let attempts = self.request()?.attempts.iter();
        Ok(attempts
            .map(|attempt| requests::Attempt {
                model: shown(&attempt.model),
                failure: attempt.failure.map(failure_class),
                latency_ms: attempt.latency_ms,
            })
            .collect())
    }

    fn tag(&mut self, _: Resource<RequestHandle>, name: String) -> Result<Option<String>> {
        self.enter("request.tag")?;
        let mut tags = self.request()?.tags.iter();
        Ok(tags
            .find(|(known, _)| **known == *name)
            .map(|(_, value)| shown(value)))
    }

    fn time_left_ms(&mut self, _: Resource<RequestHandle>) -> Result<Option<u32>> {
        self.enter("request.time-left-ms")?;
        Ok(self.request()?.time_left_ms)
    }

    fn in_flight(&mut self, _: Resource<RequestHandle>, model: String) -> Result<u32> {
        self.enter("request.in-flight")?;
        Ok(self.candidate(&model)?.map_or(0, |found| found.in_flight))
    }

    fn limit(&mut self, _: Resource<RequestHandle>, model: String) -> Result<Option<u32>> {
        self.enter("request.limit")?;
        Ok(self.candidate(&model)?.and_then(|found| found.limit))
    }

    fn queued(&mut self, _: Resource<RequestHandle>, model: String) -> Result<u32> {
        self.enter("request.queued")?;
        Ok(self.candidate(&model)?.map_or(0, |found| found.queued))
    }

    fn retry_in_ms(&mut self, _: Resource<RequestHandle>, model: String) -> Result<Option<u32>> {
        self.enter("request.retry-in-ms")?;
        Ok(self.candidate(&model)?.and_then(|found| found.retry_in_ms))
    }

    fn context_tokens(&mut self, _: Resource<RequestHandle>, model: String) -> Result<Option<u32>> {
        self.enter("request.context-tokens")?;
        let found = self.candidate(&model)?;
        Ok(found.and_then(|found| found.context_tokens))
    }

    fn body_bytes(&mut self, _: Resource<RequestHandle>) -> Result<u64> {
        self.enter("request.body-bytes")?;
        Ok(self.request()?.body_bytes)
    }

    fn body(&mut self, _: Resource<RequestHandle>, bytes_max: u32) -> Result<BodyResult> {
        self.enter("request.body")?;
        let body = self.request()?.body.clone();
        self.body_of(body, bytes_max, self.grants.bodies)
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> Result<()> {
        Ok(())
    }
}

impl answers::HostAnswer for RunState {
    fn model(&mut self, answer: Resource<AnswerHandle>) -> Result<String> {
        self.enter("answer.model")?;
        Ok(self.answer(answer.rep())?.model.to_string())
    }

    fn release(&mut self, answer: Resource<AnswerHandle>) -> Result<String> {
        self.enter("answer.release")?;
        Ok(self.answer(answer.rep())?.release.to_string())
    }

    fn step(&mut self, answer: Resource<AnswerHandle>) -> Result<u32> {
        self.enter("answer.step")?;
        Ok(self.answer(answer.rep())?.step)
    }

    fn steps_left(&mut self, answer: Resource<AnswerHandle>) -> Result<u32> {
        self.enter("answer.steps-left")?;
        Ok(self.answer(answer.rep())?.steps_left)
    }

    fn confidence(&mut self, answer: Resource<AnswerHandle>) -> Result<Option<f64>> {
        self.enter("answer.confidence")?;
        Ok(self.answer(answer.rep())?.confidence)
    }

    fn label(&mut self, answer: Resource<AnswerHandle>) -> Result<Option<String>> {
        self.enter("answer.label")?;
        Ok(self.answer(answer.rep())?.label.as_deref().map(shown))
    }

    fn scores(&mut self, answer: Resource<AnswerHandle>) -> Result<Vec<answers::Score>> {
        self.enter("answer.scores")?;
        let scores = self.answer(answer.rep())?.scores.iter().take(SCORES_MAX);
        Ok(scores
            .map(|score| answers::Score {
                label: shown(&score.label),
                value: score.value,
            })
            .collect())
    }

    fn token_logprobs(&mut self, answer: Resource<AnswerHandle>) -> Result<Vec<f64>> {
        self.enter("answer.token-logprobs")?;
        let logprobs = &self.answer(answer.rep())?.token_logprobs;
        Ok(logprobs.iter().copied().take(LOGPROBS_MAX).collect())
    }

    fn finish_reason(
        &mut self,
        answer: Resource<AnswerHandle>,
    ) -> Result<Option<answers::FinishReason>> {
        self.enter("answer.finish-reason")?;
        Ok(self
            .answer(answer.rep())?
            .finish_reason
            .map(|reason| match reason {
                FinishReason::Stop => answers::FinishReason::Stop,
                FinishReason::Length => answers::FinishReason::Length,
                FinishReason::ToolCalls => answers::FinishReason::ToolCalls,
                FinishReason::ContentFilter => answers::FinishReason::ContentFilter,
                FinishReason::Other => answers::FinishReason::Other,
            }))
    }

    fn latency_ms(&mut self, answer: Resource<AnswerHandle>) -> Result<u32> {
        self.enter("answer.latency-ms")?;
        Ok(self.answer(answer.rep())?.latency_ms)
    }

    fn delivered(&mut self, answer: Resource<AnswerHandle>) -> Result<bool> {
        self.enter("answer.delivered")?;
        Ok(self.answer(answer.rep())?.delivered)
    }

    fn partial(&mut self, answer: Resource<AnswerHandle>) -> Result<bool> {
        self.enter("answer.partial")?;
        Ok(self.answer(answer.rep())?.partial)
    }

    fn first_token_ms(&mut self, answer: Resource<AnswerHandle>) -> Result<Option<u32>> {
        self.enter("answer.first-token-ms")?;
        Ok(self.answer(answer.rep())?.first_token_ms)
    }

    fn tokens(&mut self, answer: Resource<AnswerHandle>) -> Result<Option<u32>> {
        self.enter("answer.tokens")?;
        Ok(self.answer(answer.rep())?.tokens)
    }

    fn body_bytes(&mut self, answer: Resource<AnswerHandle>) -> Result<u64> {
        self.enter("answer.body-bytes")?;
        Ok(self.answer(answer.rep())?.body_bytes)
    }

    fn body(&mut self, answer: Resource<AnswerHandle>, bytes_max: u32) -> Result<BodyResult> {
        self.enter("answer.body")?;
        // Answers to its own calls are the policy's own.
        let allowed = self.grants.bodies || answer.rep() > 0;
        let body = self.answer(answer.rep())?.body.clone();
        self.body_of(body, bytes_max, allowed)
    }

    fn drop(&mut self, _: Resource<AnswerHandle>) -> Result<()> {
        Ok(())
    }
}

impl RunState {
    /// The candidate of this name.
    fn candidate(&self, model: &str) -> Result<Option<&Candidate>> {
        let mut candidates = self.request()?.candidates.iter();
        Ok(candidates.find(|candidate| &*candidate.model == model))
    }
}

/// Longest name, label or tag that is handed over, in bytes. Names of this host
/// are shorter; labels and tags come from providers and callers, who must not
/// be able to use up a guest's memory.
const TEXT_BYTES_MAX: usize = 1_024;

fn shown(text: &str) -> String {
    cut(text, TEXT_BYTES_MAX).to_owned()
}

/// Most scores that are handed over; see the contract.
const SCORES_MAX: usize = 256;
/// Most log-probabilities that are handed over; see the contract.
const LOGPROBS_MAX: usize = 4_096;

impl RunState {
    fn body_of(
        &mut self,
        body: Option<Arc<str>>,
        bytes_max: u32,
        allowed: bool,
    ) -> Result<BodyResult> {
        if !allowed {
            return Ok(Err(requests::BodyError::Denied));
        }
        let replayed = replayed!(self, "body", HostCall::Body { result, .. } => result);
        let result = match replayed {
            Some(result) => result,
            None if matches!(self.mode, Mode::Canary) => Some(String::new()),
            None => body.map(|body| cut(&body, bytes_max as usize).to_owned()),
        };
        self.settle(HostCall::Body {
            bytes_max,
            result: result.clone(),
        })?;
        Ok(result.ok_or(requests::BodyError::Unavailable))
    }
}

impl rollouts::HostRollout for RunState {
    fn model(&mut self, _: Resource<RolloutHandle>) -> Result<String> {
        self.enter("rollout.model")?;
        Ok(self.rollout()?.model.to_string())
    }

    fn candidate(&mut self, _: Resource<RolloutHandle>) -> Result<String> {
        self.enter("rollout.candidate")?;
        Ok(self.rollout()?.candidate.to_string())
    }

    fn stable(&mut self, _: Resource<RolloutHandle>) -> Result<String> {
        self.enter("rollout.stable")?;
        Ok(self.rollout()?.stable.to_string())
    }

    fn stage(&mut self, _: Resource<RolloutHandle>) -> Result<rollouts::Stage> {
        self.enter("rollout.stage")?;
        Ok(match self.rollout()?.stage {
            RolloutStage::Shadow => rollouts::Stage::Shadow,
            RolloutStage::Canary => rollouts::Stage::Canary,
        })
    }

    fn share_percent(&mut self, _: Resource<RolloutHandle>) -> Result<u32> {
        self.enter("rollout.share-percent")?;
        Ok(self.rollout()?.share_percent)
    }

    fn next_share_percent(&mut self, _: Resource<RolloutHandle>) -> Result<Option<u32>> {
        self.enter("rollout.next-share-percent")?;
        Ok(self.rollout()?.next_share_percent)
    }

    fn age_ms(&mut self, _: Resource<RolloutHandle>) -> Result<u64> {
        self.enter("rollout.age-ms")?;
        Ok(self.rollout()?.age_ms)
    }

    fn step_age_ms(&mut self, _: Resource<RolloutHandle>) -> Result<u64> {
        self.enter("rollout.step-age-ms")?;
        Ok(self.rollout()?.step_age_ms)
    }

    fn ready_releases(&mut self, _: Resource<RolloutHandle>) -> Result<Vec<String>> {
        self.enter("rollout.ready-releases")?;
        Ok(self
            .rollout()?
            .ready_releases
            .iter()
            .map(ToString::to_string)
            .collect())
    }

    fn drop(&mut self, _: Resource<RolloutHandle>) -> Result<()> {
        Ok(())
    }
}

fn breaker(state: BreakerState) -> types::BreakerState {
    match state {
        BreakerState::Closed => types::BreakerState::Closed,
        BreakerState::Open => types::BreakerState::Open,
        BreakerState::HalfOpen => types::BreakerState::HalfOpen,
        BreakerState::ForcedOpen => types::BreakerState::ForcedOpen,
        BreakerState::Disabled => types::BreakerState::Disabled,
        BreakerState::MetricsOnly => types::BreakerState::MetricsOnly,
    }
}

/// The contract's word for a failure class.
pub(super) fn failure_class(class: FailureClass) -> types::FailureClass {
    match class {
        FailureClass::ClientFault => types::FailureClass::ClientFault,
        FailureClass::Auth => types::FailureClass::Auth,
        FailureClass::RateLimit => types::FailureClass::RateLimit,
        FailureClass::Overload => types::FailureClass::Overload,
        FailureClass::ServerError => types::FailureClass::ServerError,
        FailureClass::Connection => types::FailureClass::Connection,
        FailureClass::TimeoutConnect => types::FailureClass::TimeoutConnect,
        FailureClass::TimeoutFirstToken => types::FailureClass::TimeoutFirstToken,
        FailureClass::TimeoutIdle => types::FailureClass::TimeoutIdle,
        FailureClass::TimeoutTotal => types::FailureClass::TimeoutTotal,
        FailureClass::CutStream => types::FailureClass::CutStream,
        FailureClass::Malformed => types::FailureClass::Malformed,
        FailureClass::ContextLength => types::FailureClass::ContextLength,
        FailureClass::ContentPolicy => types::FailureClass::ContentPolicy,
    }
}
