//! The request that a decision is about.

use crate::backend::requests as backend;

pub use crate::bindings::base::backstop::policy::requests::{Attempt, BodyError, Candidate};

use crate::{Abstain, BreakerState};

/// A request to a route.
///
/// Facts are handed over one by one: each call costs well under a
/// microsecond and touches no other system, but a list is copied each time,
/// so ask once and keep it. In native tests a request comes from
/// `testing::request`.
#[derive(Debug)]
#[repr(transparent)]
pub struct Request(pub(crate) backend::Request);

impl Request {
    /// Name of the route that was asked.
    pub fn route(&self) -> String {
        self.0.route()
    }

    /// The route's models in the order of its configuration; never empty for
    /// `fallback`, at most 64.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.0.candidates()
    }

    /// Names of the route's rules answers; may be empty, at most 64.
    pub fn rules(&self) -> Vec<String> {
        self.0.rules()
    }

    /// True when the route has a review queue that takes items.
    pub fn has_review(&self) -> bool {
        self.0.has_review()
    }

    /// True when the caller asked for a stream.
    pub fn streaming(&self) -> bool {
        self.0.streaming()
    }

    /// Attempts made so far, oldest first; empty for the first decision.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.0.attempts()
    }

    /// A fact that the route's configuration exposes (a header, the caller's
    /// segment), by name; none when it is not there.
    pub fn tag(&self, name: &str) -> Option<String> {
        self.0.tag(name)
    }

    /// Milliseconds until the caller's deadline, over all steps of the plan;
    /// none where there is none.
    pub fn time_left_ms(&self) -> Option<u32> {
        self.0.time_left_ms()
    }

    /// Calls of `model` that are under way on this host; 0 for names that are
    /// not among the candidates.
    pub fn in_flight(&self, model: &str) -> u32 {
        self.0.in_flight(model)
    }

    /// How many calls of `model` may be under way at once; none without a
    /// limit.
    pub fn limit(&self, model: &str) -> Option<u32> {
        self.0.limit(model)
    }

    /// Requests that wait for a place at `model`.
    pub fn queued(&self, model: &str) -> u32 {
        self.0.queued(model)
    }

    /// Milliseconds until the breaker of `model` may let a call pass; none
    /// when it does now, or when nobody knows.
    pub fn retry_in_ms(&self, model: &str) -> Option<u32> {
        self.0.retry_in_ms(model)
    }

    /// Tokens that the context window of `model` holds, where the operator
    /// said so.
    pub fn context_tokens(&self, model: &str) -> Option<u32> {
        self.0.context_tokens(model)
    }

    /// Size of the request body in bytes.
    pub fn body_bytes(&self) -> u64 {
        self.0.body_bytes()
    }

    /// The first `bytes_max` bytes of the body, cut at a character boundary.
    ///
    /// # Errors
    /// `Denied` without the grant `bodies`, `Unavailable` when the body is
    /// not text.
    pub fn body(&self, bytes_max: u32) -> Result<String, BodyError> {
        self.0.body(bytes_max)
    }
}

impl Candidate {
    /// True when calls would reach the model: it is healthy and its breaker
    /// lets calls pass.
    pub fn usable(&self) -> bool {
        self.healthy && self.breaker.lets_pass()
    }
}

impl BreakerState {
    /// True when calls pass: in every state but `Open` and `ForcedOpen`. In
    /// `HalfOpen` a few trial calls do.
    pub fn lets_pass(self) -> bool {
        !matches!(self, Self::Open | Self::ForcedOpen)
    }
}

impl From<BodyError> for Abstain {
    fn from(error: BodyError) -> Self {
        Self::because(match error {
            BodyError::Denied => "body is not granted",
            BodyError::Unavailable => "body is not available as text",
        })
    }
}
