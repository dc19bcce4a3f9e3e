//! What is asked in tests: a request, an answer, a rollout.

use backstop::core::input::{
    AnswerFacts, BreakerState, Candidate, FinishReason, RequestFacts, RolloutFacts, RolloutStage,
};
use backstop::core::plan::{Action, Plan, Step};
use backstop::core::rollout::{Assessment, Directive};
use backstop::core::verdict::{Outcome, Verdict};
use std::sync::Arc;

/// A request to the route `chat` with the models `primary` and `backup`.
pub fn request() -> RequestFacts {
    let candidate = |model: &str| Candidate {
        model: model.into(),
        breaker: BreakerState::Closed,
        healthy: true,
        ..Candidate::default()
    };
    RequestFacts {
        route: "chat".into(),
        candidates: vec![candidate("primary"), candidate("backup")],
        rules: Arc::new(["sorry".into()]),
        has_review: true,
        streaming: false,
        attempts: Vec::new(),
        tags: Vec::new(),
        body_bytes: 11,
        body: Some("a question?".into()),
        ..RequestFacts::default()
    }
}

/// An answer of `primary` with this confidence.
pub fn answer(confidence: Option<f64>) -> AnswerFacts {
    AnswerFacts {
        model: "primary".into(),
        release: "r1".into(),
        step: 0,
        steps_left: 1,
        confidence,
        label: None,
        scores: Vec::new(),
        token_logprobs: Vec::new(),
        finish_reason: Some(FinishReason::Stop),
        latency_ms: 120,
        delivered: false,
        body_bytes: 9,
        body: Some("an answer".into()),
        ..AnswerFacts::default()
    }
}

/// A rollout of `primary` from `r1` to `r2` at 5 %.
pub fn rollout() -> RolloutFacts {
    RolloutFacts {
        model: "primary".into(),
        candidate: "r2".into(),
        stable: "r1".into(),
        stage: RolloutStage::Canary,
        share_percent: 5,
        next_share_percent: Some(25),
        age_ms: 60_000,
        step_age_ms: 60_000,
        ready_releases: vec!["r1".into()],
    }
}

/// The plan that is used when a policy does not decide.
pub fn default_plan() -> Arc<Plan> {
    Arc::new(Plan::from(vec![Step {
        action: Action::Rules("sorry".into()),
        reason: "default".to_owned(),
    }]))
}

/// The verdict that is used when a policy does not decide.
pub fn default_verdict() -> Verdict {
    Verdict {
        outcome: Outcome::Escalate,
        reason: "default".to_owned(),
        confidence: None,
        line: None,
    }
}

/// The assessment that is used when a policy does not decide.
pub fn default_assessment() -> Assessment {
    Assessment {
        directive: Directive::Hold,
        reason: "default".to_owned(),
    }
}
