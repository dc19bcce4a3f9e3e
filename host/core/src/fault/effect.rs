//! What a failure leads to: the one table from classes to effects.
//!
//! Everything that treats failures of one class differently from those of
//! another asks this table: breakers, repetitions, plans, and what the caller
//! is told. What makes a failure one of a class is the business of whoever
//! made the call.

use super::{FailureClass, FailureClasses};

/// What a failure does to the breaker of the release that was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBreaker {
    /// It counts as failed.
    Counts,
    /// It counts as failed, and the breaker opens at once: waiting or trying
    /// again mends nothing, an operator does.
    Opens,
    /// It counts as failed; where the provider says when to come back, the
    /// breaker opens until then.
    OpensUntil,
    /// Nothing: the release is not to blame.
    Ignored,
}

/// When a plan goes on to its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovesOn {
    /// Where the step says so, as plans usually do.
    Usually,
    /// As usually, but only to models with a larger context window, and never
    /// to the same model.
    ToLarger,
    /// Where the step says so and the route allows it.
    WhereAllowed,
    /// Where the step says so, which plans usually do not: another model would
    /// fail the same way.
    Seldom,
}

/// What a failure of one class leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// What it does to the breaker.
    pub breaker: OnBreaker,
    /// Whether the same call is worth repeating: whatever was wrong may have
    /// passed, and the attempt has not cost all of its time.
    pub repeats: bool,
    /// When the plan goes on.
    pub moves_on: MovesOn,
    /// Whether the model may have acted on the request, as far as the class
    /// alone tells.
    pub may_have_acted: bool,
    /// The caller's HTTP status when the plan ends with it.
    pub status: u16,
    /// Whether the caller is told in the provider's own words and status,
    /// where there are any.
    pub relayed: bool,
}

const MODEL: Effect = Effect {
    breaker: OnBreaker::Counts,
    repeats: false,
    moves_on: MovesOn::Usually,
    may_have_acted: true,
    status: 502,
    relayed: false,
};

const REQUEST: Effect = Effect {
    breaker: OnBreaker::Ignored,
    repeats: false,
    moves_on: MovesOn::Seldom,
    may_have_acted: false,
    status: 400,
    relayed: true,
};

const LATE: Effect = Effect {
    status: 504,
    ..MODEL
};

impl FailureClass {
    /// What a failure of this class leads to.
    pub const fn effect(self) -> Effect {
        match self {
            FailureClass::ClientFault => REQUEST,
            FailureClass::Auth => Effect {
                breaker: OnBreaker::Opens,
                may_have_acted: false,
                ..MODEL
            },
            FailureClass::RateLimit => Effect {
                breaker: OnBreaker::OpensUntil,
                repeats: true,
                may_have_acted: false,
                status: 429,
                ..MODEL
            },
            FailureClass::Overload => Effect {
                breaker: OnBreaker::OpensUntil,
                repeats: true,
                may_have_acted: false,
                status: 503,
                ..MODEL
            },
            FailureClass::ServerError | FailureClass::Connection => Effect {
                repeats: true,
                ..MODEL
            },
            FailureClass::TimeoutConnect => Effect {
                repeats: true,
                may_have_acted: false,
                ..LATE
            },
            FailureClass::TimeoutFirstToken
            | FailureClass::TimeoutIdle
            | FailureClass::TimeoutTotal => LATE,
            FailureClass::CutStream | FailureClass::Malformed => MODEL,
            FailureClass::ContextLength => Effect {
                moves_on: MovesOn::ToLarger,
                ..REQUEST
            },
            FailureClass::ContentPolicy => Effect {
                moves_on: MovesOn::WhereAllowed,
                ..REQUEST
            },
        }
    }
}

impl FailureClasses {
    /// The usual set for going on to another model: everything that is the
    /// model's or the provider's doing, and a full context. A client's fault
    /// would be the same elsewhere, and a refusal of content is not routed
    /// round.
    pub const MODEL_FAULTS: FailureClasses = {
        let mut set = FailureClasses::NONE;
        let mut at = 0;
        while at < FailureClass::ALL.len() {
            let class = FailureClass::ALL[at];
            if matches!(
                class.effect().moves_on,
                MovesOn::Usually | MovesOn::ToLarger
            ) {
                set = set.with(class);
            }
            at += 1;
        }
        set
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass as F;

    /// The classes of which `holds` is true.
    fn those(holds: impl Fn(Effect) -> bool) -> Vec<FailureClass> {
        let all = FailureClass::ALL.into_iter();
        all.filter(|class| holds(class.effect())).collect()
    }

    #[test]
    fn whose_fault_it_is_decides_what_counts() {
        assert_eq!(
            those(|effect| effect.breaker == OnBreaker::Ignored),
            [F::ClientFault, F::ContextLength, F::ContentPolicy]
        );
        assert_eq!(
            those(|effect| effect.breaker == OnBreaker::Opens),
            [F::Auth]
        );
        assert_eq!(
            those(|effect| effect.relayed),
            those(|effect| effect.breaker == OnBreaker::Ignored),
            "what is the request's fault is told in the provider's words"
        );
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        assert_eq!(
            those(|effect| effect.repeats),
            [
                F::RateLimit,
                F::Overload,
                F::ServerError,
                F::Connection,
                F::TimeoutConnect
            ]
        );
        assert_eq!(
            those(|effect| effect.repeats && effect.may_have_acted),
            [F::ServerError, F::Connection]
        );
    }

    #[test]
    fn statuses_say_whose_turn_it_is() {
        for class in FailureClass::ALL {
            let effect = class.effect();
            let request = effect.breaker == OnBreaker::Ignored;
            assert_eq!(request, effect.status == 400, "{class}");
            assert!((400..600).contains(&effect.status), "{class}");
        }
    }
}
