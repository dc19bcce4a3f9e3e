//! Building what a policy returns: plans, verdicts and assessments.
//!
//! These are the contract's own types, with builders. Ranges are checked by
//! the host (and by the testing kit), never clipped.

use crate::bindings::fallback::exports::backstop::policy::fallback as plan;
use crate::bindings::rollback::exports::backstop::policy::rollback;
use crate::bindings::threshold::exports::backstop::policy::threshold;

pub use plan::{Action, CallStep, Plan, RaceStep, Refusal, ReviewStep, Step};
pub use rollback::{Assessment, Directive};
pub use threshold::{Outcome, Verdict};

use crate::{FailureClasses, Want};

impl Plan {
    /// A plan without a step; it needs 1 to 16.
    ///
    /// ```
    /// use backstop_sdk::{CallStep, Plan};
    ///
    /// let plan = Plan::new()
    ///     .call(CallStep::to("big").timeout_ms(8_000).retries(1), "primary")
    ///     .call("small", "backup")
    ///     .or_rules("sorry", "no model left");
    /// assert_eq!(plan.steps.len(), 3);
    /// ```
    pub const fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Adds any step.
    #[must_use]
    pub fn step(mut self, action: Action, reason: impl Into<String>) -> Self {
        self.steps.push(Step {
            action,
            reason: reason.into(),
        });
        self
    }

    /// Calls a model: a name, or a [`CallStep`] with timeouts and retries.
    #[must_use]
    pub fn call(self, call: impl Into<CallStep>, reason: impl Into<String>) -> Self {
        self.step(Action::Call(call.into()), reason)
    }

    /// Calls 2 to 4 models at once; the first good answer wins, the other
    /// calls are cancelled.
    #[must_use]
    pub fn race<C: Into<CallStep>>(
        self,
        calls: impl IntoIterator<Item = C>,
        reason: impl Into<String>,
    ) -> Self {
        self.hedge(calls, 0, reason)
    }

    /// Calls 2 to 4 models, each `stagger_ms` (up to 60,000) after the one
    /// before it if no good answer has come by then.
    #[must_use]
    pub fn hedge<C: Into<CallStep>>(
        self,
        calls: impl IntoIterator<Item = C>,
        stagger_ms: u32,
        reason: impl Into<String>,
    ) -> Self {
        let calls = calls.into_iter().map(Into::into).collect();
        self.step(Action::Race(RaceStep { calls, stagger_ms }), reason)
    }

    /// Ends the plan with the rules of this name.
    #[must_use]
    pub fn or_rules(self, rules: impl Into<String>, reason: impl Into<String>) -> Self {
        self.step(Action::Rules(rules.into()), reason)
    }

    /// Ends the plan with people; `note` tells them what is in question.
    #[must_use]
    pub fn or_review(self, note: impl Into<String>, reason: impl Into<String>) -> Self {
        self.step(Action::Review(ReviewStep { note: note.into() }), reason)
    }

    /// Ends the plan by declining with an HTTP status (400 to 599) and a
    /// message for the caller.
    #[must_use]
    pub fn or_refuse(
        self,
        status: u16,
        message: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        let message = message.into();
        self.step(Action::Refuse(Refusal { status, message }), reason)
    }

    /// True while there is no step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl CallStep {
    /// A call with the route's timeouts, no retries, that moves on after
    /// [`FailureClasses::MODEL_FAULTS`].
    pub fn to(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            timeout_ms: 0,
            first_token_ms: 0,
            retries: 0,
            move_on: FailureClasses::MODEL_FAULTS,
        }
    }

    /// Milliseconds for the whole attempt, up to 600,000; 0 takes the route's.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u32) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }

    /// Milliseconds until the first token or the response head, up to
    /// 600,000; 0 takes the route's.
    #[must_use]
    pub fn first_token_ms(mut self, first_token_ms: u32) -> Self {
        self.first_token_ms = first_token_ms;
        self
    }

    /// How often the call may be repeated after a failure worth repeating,
    /// 0 to 5.
    #[must_use]
    pub fn retries(mut self, retries: u8) -> Self {
        self.retries = retries;
        self
    }

    /// Failures that go on to the next step; any other ends the plan.
    #[must_use]
    pub fn move_on(mut self, classes: FailureClasses) -> Self {
        self.move_on = classes;
        self
    }
}

impl From<&str> for CallStep {
    fn from(model: &str) -> Self {
        Self::to(model)
    }
}

impl From<&String> for CallStep {
    fn from(model: &String) -> Self {
        Self::to(model.as_str())
    }
}

impl From<String> for CallStep {
    fn from(model: String) -> Self {
        Self::to(model)
    }
}

impl Verdict {
    /// Deliver the answer.
    pub fn accept(reason: impl Into<String>) -> Self {
        Self::of(Outcome::Accept, reason)
    }

    /// Drop the answer and go on to the plan's next step.
    pub fn escalate(reason: impl Into<String>) -> Self {
        Self::of(Outcome::Escalate, reason)
    }

    /// Send request and answer to people.
    pub fn review(reason: impl Into<String>) -> Self {
        Self::of(Outcome::Review, reason)
    }

    fn of(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            reason: reason.into(),
            confidence: None,
            line: None,
        }
    }

    /// The confidence that the verdict rests on, in [0, 1].
    #[must_use]
    pub fn with_confidence(mut self, confidence: f64) -> Self {
        self.confidence = Some(confidence);
        self
    }

    /// The line that the confidence was held against, in [0, 1].
    #[must_use]
    pub fn with_line(mut self, line: f64) -> Self {
        self.line = Some(line);
        self
    }
}

impl Assessment {
    /// Leave the rollout as it is.
    pub fn hold(reason: impl Into<String>) -> Self {
        Self::of(Directive::Hold, reason)
    }

    /// Go to the next share; from the last one this promotes.
    pub fn advance(reason: impl Into<String>) -> Self {
        Self::of(Directive::Advance, reason)
    }

    /// Make the candidate the stable release now.
    pub fn promote(reason: impl Into<String>) -> Self {
        Self::of(Directive::Promote, reason)
    }

    /// Give all traffic back to the stable release.
    pub fn roll_back(reason: impl Into<String>) -> Self {
        Self::of(Directive::RollBack(None), reason)
    }

    /// Give all traffic to this ready release.
    pub fn roll_back_to(release: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::of(Directive::RollBack(Some(release.into())), reason)
    }

    /// Leave the share as it is and ask no more until a person resumes it.
    pub fn pause(reason: impl Into<String>) -> Self {
        Self::of(Directive::Pause, reason)
    }

    fn of(directive: Directive, reason: impl Into<String>) -> Self {
        Self {
            directive,
            reason: reason.into(),
        }
    }
}

impl Want {
    /// To read metrics whose name is `pattern`, or starts with it up to a `*`.
    pub fn metrics(pattern: impl Into<String>) -> Self {
        Self::Metrics(pattern.into())
    }

    /// To call models whose name is `pattern`, or starts with it up to a `*`.
    pub fn models(pattern: impl Into<String>) -> Self {
        Self::Models(pattern.into())
    }
}
