//! From what should be done with an answer to what can be done where it stands.
//!
//! A threshold policy decides by its own evidence that an answer should go on
//! or to people; whether there is a next step, a review queue, or a caller who
//! has the answer already, is the same question for all of them. [`Response`]
//! and [`NothingLeft`] are settings that operators write, [`Standing`] is what
//! there is, and [`Standing::respond`] the verdict.
//!
//! Always true: what is said here is a verdict that a host applies. Review only
//! with a queue, escalation only before delivery.

use crate::{Answer, Request, Verdict, settings};

/// What is done with an answer that is not simply good.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Deliver it.
    Accept,
    /// Go on to the plan's next step; without one, to review.
    Escalate,
    /// Send it to review; without a queue, to the next step.
    Review,
}

/// What is done when there is nowhere to go.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum NothingLeft {
    /// Escalate all the same, which ends at the route's last resort.
    LastResort,
    /// Deliver the answer.
    Accept,
}

/// What can still be done about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Steps of the plan that come after the one that answered.
    pub steps_left: u32,
    /// True when the caller already has the answer.
    pub delivered: bool,
    /// True when the route has a review queue.
    pub has_review: bool,
}

impl Standing {
    /// Where this answer to this request stands.
    pub fn of(request: &Request, answer: &Answer) -> Self {
        Self {
            steps_left: answer.steps_left(),
            delivered: answer.delivered(),
            has_review: request.has_review(),
        }
    }

    /// The verdict nearest to `wanted` that can be carried out.
    ///
    /// What cannot be escalated any more is reviewed, and what cannot be
    /// reviewed goes to the next step. What the caller already has is reviewed
    /// or, without a queue, accepted. With neither a step nor a queue
    /// `nothing_left` holds. The reason is `why`, and what was in the way.
    ///
    /// ```
    /// use backstop_sdk::{NothingLeft, Outcome, Response, Standing};
    ///
    /// let last = Standing { steps_left: 0, delivered: false, has_review: true };
    /// let verdict = last.respond(Response::Escalate, NothingLeft::LastResort, "too short");
    /// assert_eq!(verdict.outcome, Outcome::Review);
    /// assert_eq!(verdict.reason, "too short; no step left");
    /// ```
    pub fn respond(
        self,
        wanted: Response,
        nothing_left: NothingLeft,
        why: impl Into<String>,
    ) -> Verdict {
        let mut why = why.into();
        if wanted == Response::Accept {
            return Verdict::accept(why);
        }
        if self.delivered {
            if self.has_review {
                why.push_str("; already delivered, so people look at it afterwards");
                return Verdict::review(why);
            }
            why.push_str("; already delivered, and there is no review queue");
            return Verdict::accept(why);
        }
        let next_step = self.steps_left > 0;
        match (wanted, next_step, self.has_review) {
            (Response::Review, _, true) => Verdict::review(why),
            (Response::Review, true, false) => {
                why.push_str("; no review queue, so the next step");
                Verdict::escalate(why)
            }
            (_, true, _) => Verdict::escalate(why),
            (_, false, true) => {
                why.push_str("; no step left");
                Verdict::review(why)
            }
            (_, false, false) => {
                why.push_str("; no step left and no review queue");
                match nothing_left {
                    NothingLeft::LastResort => Verdict::escalate(why),
                    NothingLeft::Accept => Verdict::accept(why),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome::{self, Accept, Escalate, Review};

    fn outcome(wanted: Response, steps_left: u32, delivered: bool, has_review: bool) -> Outcome {
        let standing = Standing {
            steps_left,
            delivered,
            has_review,
        };
        standing
            .respond(wanted, NothingLeft::LastResort, "why")
            .outcome
    }

    #[test]
    fn every_standing_has_its_verdict() {
        for (wanted, steps_left, delivered, has_review, expected) in [
            (Response::Accept, 0, false, false, Accept),
            (Response::Accept, 1, true, true, Accept),
            (Response::Escalate, 1, false, true, Escalate),
            (Response::Escalate, 1, false, false, Escalate),
            (Response::Escalate, 0, false, true, Review),
            (Response::Escalate, 0, false, false, Escalate),
            (Response::Review, 1, false, true, Review),
            (Response::Review, 1, false, false, Escalate),
            (Response::Review, 0, false, true, Review),
            (Response::Review, 0, false, false, Escalate),
            (Response::Escalate, 1, true, true, Review),
            (Response::Review, 1, true, true, Review),
            (Response::Escalate, 1, true, false, Accept),
            (Response::Review, 0, true, false, Accept),
        ] {
            let found = outcome(wanted, steps_left, delivered, has_review);
            let place = (wanted, steps_left, delivered, has_review);
            assert_eq!(found, expected, "{place:?}");
        }
        let nowhere = Standing {
            steps_left: 0,
            delivered: false,
            has_review: false,
        };
        let verdict = nowhere.respond(Response::Review, NothingLeft::Accept, "why");
        assert_eq!(verdict.outcome, Accept);
        assert_eq!(verdict.reason, "why; no step left and no review queue");
    }
}
