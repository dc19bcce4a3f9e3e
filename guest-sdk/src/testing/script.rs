//! Scripted inputs: a request, an answer, a rollout.

use super::world::{self, requests::Load};
use crate::{
    Answer, Attempt, BreakerState, Candidate, FailureClass, FinishReason, Request, Rollout, Score,
    Stage,
};

/// Begins a request to `route`, without models, rules, review queue or body.
///
/// ```
/// use backstop_sdk::testing::request;
///
/// let request = request("chat").model("big").model("small").rules("sorry").build();
/// assert_eq!(request.candidates().len(), 2);
/// ```
pub fn request(route: &str) -> RequestScript {
    RequestScript(world::requests::Request {
        route: route.to_owned(),
        ..Default::default()
    })
}

/// Begins an answer of `model`, release `1`, first and last step of its plan,
/// after 100 ms, without confidence, label or body.
pub fn answer(model: &str) -> AnswerScript {
    AnswerScript(world::answers::Answer {
        model: model.to_owned(),
        release: "1".to_owned(),
        latency_ms: 100,
        ..Default::default()
    })
}

/// Begins a rollout of `model` from `stable` to `candidate`: a canary at 10 %
/// that goes on to 50 %, ten minutes old, five at this share, with both
/// releases ready.
pub fn rollout(model: &str, stable: &str, candidate: &str) -> RolloutScript {
    RolloutScript(world::rollouts::Rollout {
        model: model.to_owned(),
        candidate: candidate.to_owned(),
        stable: stable.to_owned(),
        stage: Stage::Canary,
        share_percent: 10,
        next_share_percent: Some(50),
        age_ms: 600_000,
        step_age_ms: 300_000,
        ready_releases: vec![candidate.to_owned(), stable.to_owned()],
    })
}

/// A request being written.
#[derive(Debug, Clone)]
#[must_use]
pub struct RequestScript(world::requests::Request);

impl RequestScript {
    /// A healthy model with a closed breaker.
    pub fn model(self, model: &str) -> Self {
        self.candidate(model, true, BreakerState::Closed)
    }

    /// A model that a health probe or an operator says is down.
    pub fn model_down(self, model: &str) -> Self {
        self.candidate(model, false, BreakerState::Closed)
    }

    /// A healthy model whose breaker is in this state.
    pub fn model_with_breaker(self, model: &str, breaker: BreakerState) -> Self {
        self.candidate(model, true, breaker)
    }

    fn candidate(mut self, model: &str, healthy: bool, breaker: BreakerState) -> Self {
        self.0.candidates.push(Candidate {
            model: model.to_owned(),
            breaker,
            healthy,
        });
        self
    }

    /// Rules that can answer.
    pub fn rules(mut self, rules: &str) -> Self {
        self.0.rules.push(rules.to_owned());
        self
    }

    /// A review queue that takes items.
    pub fn review(mut self) -> Self {
        self.0.has_review = true;
        self
    }

    /// The caller asked for a stream.
    pub fn streaming(mut self) -> Self {
        self.0.streaming = true;
        self
    }

    /// An earlier attempt that took 100 ms; without a failure it answered and
    /// was judged not good enough.
    pub fn attempt(mut self, model: &str, failure: Option<FailureClass>) -> Self {
        self.0.attempts.push(Attempt {
            model: model.to_owned(),
            failure,
            latency_ms: 100,
        });
        self
    }

    /// Milliseconds until the caller's deadline.
    pub fn time_left_ms(mut self, ms: u32) -> Self {
        self.0.time_left_ms = Some(ms);
        self
    }

    /// How the model of this name is just now.
    pub fn load(mut self, model: &str, load: Load) -> Self {
        self.0.loads.push((model.to_owned(), load));
        self
    }

    /// A fact that the route exposes.
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.0.tags.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The body; handed over only to policies that want bodies.
    pub fn body(mut self, body: &str) -> Self {
        self.0.body = Some(body.to_owned());
        self
    }

    /// The request.
    #[must_use]
    pub fn build(&self) -> Request {
        Request(self.0.clone())
    }
}

/// An answer being written.
#[derive(Debug, Clone)]
#[must_use]
pub struct AnswerScript(pub(crate) world::answers::Answer);

impl AnswerScript {
    /// The release that answered.
    pub fn release(mut self, release: &str) -> Self {
        self.0.release = release.to_owned();
        self
    }

    /// The step of the plan, from 0, and how many come after it.
    pub fn step(mut self, step: u32, steps_left: u32) -> Self {
        self.0.step = step;
        self.0.steps_left = steps_left;
        self
    }

    /// Confidence in [0, 1].
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.0.confidence = Some(confidence);
        self
    }

    /// The predicted label.
    pub fn label(mut self, label: &str) -> Self {
        self.0.label = Some(label.to_owned());
        self
    }

    /// The score of a label; keep them highest first, as the host does.
    pub fn score(mut self, label: &str, value: f64) -> Self {
        self.0.scores.push(Score {
            label: label.to_owned(),
            value,
        });
        self
    }

    /// Natural log-probabilities of the tokens.
    pub fn token_logprobs(mut self, logprobs: &[f64]) -> Self {
        self.0.token_logprobs = logprobs.to_vec();
        self
    }

    /// Why the model stopped.
    pub fn finish_reason(mut self, reason: FinishReason) -> Self {
        self.0.finish_reason = Some(reason);
        self
    }

    /// Milliseconds from the call to the complete answer.
    pub fn latency_ms(mut self, latency_ms: u32) -> Self {
        self.0.latency_ms = latency_ms;
        self
    }

    /// The caller already has the answer.
    pub fn delivered(mut self) -> Self {
        self.0.delivered = true;
        self
    }

    /// It is the beginning of a stream that goes on and that nobody has seen.
    pub fn partial(mut self) -> Self {
        self.0.partial = true;
        self
    }

    /// It was a stream: milliseconds to its first token, and its tokens so far.
    pub fn streamed(mut self, first_token_ms: u32, tokens: u32) -> Self {
        self.0.first_token_ms = Some(first_token_ms);
        self.0.tokens = Some(tokens);
        self
    }

    /// The body; of an answer to judge it is handed over only to policies
    /// that want bodies.
    pub fn body(mut self, body: &str) -> Self {
        self.0.body = Some(body.to_owned());
        self
    }

    /// The answer.
    #[must_use]
    pub fn build(&self) -> Answer {
        Answer(self.0.clone())
    }
}

/// A rollout being written.
#[derive(Debug, Clone)]
#[must_use]
pub struct RolloutScript(world::rollouts::Rollout);

impl RolloutScript {
    /// Callers do not see the candidate yet: stage `shadow`, share 0.
    pub fn shadow(mut self) -> Self {
        self.0.stage = Stage::Shadow;
        self.0.share_percent = 0;
        self
    }

    /// The candidate's share now and after an advance; none when the next
    /// advance promotes.
    pub fn share(mut self, percent: u32, next_percent: Option<u32>) -> Self {
        self.0.share_percent = percent;
        self.0.next_share_percent = next_percent;
        self
    }

    /// Milliseconds since the rollout began and since the share was set.
    pub fn age_ms(mut self, age_ms: u64, step_age_ms: u64) -> Self {
        self.0.age_ms = age_ms;
        self.0.step_age_ms = step_age_ms;
        self
    }

    /// Releases that could serve at once, newest first.
    pub fn ready_releases(mut self, releases: &[&str]) -> Self {
        self.0.ready_releases = releases.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// The rollout.
    #[must_use]
    pub fn build(&self) -> Rollout {
        Rollout(self.0.clone())
    }
}

impl From<RequestScript> for Request {
    fn from(script: RequestScript) -> Self {
        Self(script.0)
    }
}

impl From<&RequestScript> for Request {
    fn from(script: &RequestScript) -> Self {
        script.build()
    }
}

impl From<AnswerScript> for Answer {
    fn from(script: AnswerScript) -> Self {
        Self(script.0)
    }
}

impl From<&AnswerScript> for Answer {
    fn from(script: &AnswerScript) -> Self {
        script.build()
    }
}

impl From<RolloutScript> for Rollout {
    fn from(script: RolloutScript) -> Self {
        Self(script.0)
    }
}

impl From<&RolloutScript> for Rollout {
    fn from(script: &RolloutScript) -> Self {
        script.build()
    }
}
