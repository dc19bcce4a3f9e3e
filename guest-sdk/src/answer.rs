//! A model's answer, as `threshold` judges it and `models` returns it.

use crate::backend::answers as backend;

pub use crate::bindings::base::backstop::policy::answers::{FinishReason, Score};

use crate::BodyError;

/// One answer of one model.
///
/// Facts are cheap; the body crosses into the policy only when it is asked
/// for. In native tests an answer comes from `testing::answer`.
#[derive(Debug)]
#[repr(transparent)]
pub struct Answer(pub(crate) backend::Answer);

impl Answer {
    /// Name of the model that answered.
    pub fn model(&self) -> String {
        self.0.model()
    }

    /// Name of the release that answered.
    pub fn release(&self) -> String {
        self.0.release()
    }

    /// Position, from 0, of the plan's step that produced the answer.
    pub fn step(&self) -> u32 {
        self.0.step()
    }

    /// How many steps of the plan come after this one. With 0, escalating
    /// ends at the route's last resort.
    pub fn steps_left(&self) -> u32 {
        self.0.steps_left()
    }

    /// Confidence in [0, 1], where there is one.
    pub fn confidence(&self) -> Option<f64> {
        self.0.confidence()
    }

    /// The predicted label, where the model gives one.
    pub fn label(&self) -> Option<String> {
        self.0.label()
    }

    /// Scores per label, highest first, at most 256; often empty.
    pub fn scores(&self) -> Vec<Score> {
        self.0.scores()
    }

    /// Natural log-probabilities of the answer's tokens, at most 4,096; empty
    /// when the provider returned none.
    pub fn token_logprobs(&self) -> Vec<f64> {
        self.0.token_logprobs()
    }

    /// Why the model stopped; none for models that do not say.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.0.finish_reason()
    }

    /// Milliseconds from the call to the complete answer.
    pub fn latency_ms(&self) -> u32 {
        self.0.latency_ms()
    }

    /// True when the caller already has the answer (a stream that passed):
    /// the verdict is recorded, review is possible, escalation is not.
    pub fn delivered(&self) -> bool {
        self.0.delivered()
    }

    /// True when this is the beginning of a stream that nobody has seen yet
    /// and that goes on.
    pub fn partial(&self) -> bool {
        self.0.partial()
    }

    /// Milliseconds from the call to the first token; none where the answer
    /// was no stream.
    pub fn first_token_ms(&self) -> Option<u32> {
        self.0.first_token_ms()
    }

    /// Tokens of the answer so far; none where nobody counted.
    pub fn tokens(&self) -> Option<u32> {
        self.0.tokens()
    }

    /// Size of the body in bytes.
    pub fn body_bytes(&self) -> u64 {
        self.0.body_bytes()
    }

    /// The first `bytes_max` bytes of the body, cut at a character boundary.
    ///
    /// # Errors
    /// `Denied` without the grant `bodies` (answers to the policy's own calls
    /// need none), `Unavailable` when the body is not text or not kept.
    pub fn body(&self, bytes_max: u32) -> Result<String, BodyError> {
        self.0.body(bytes_max)
    }
}
