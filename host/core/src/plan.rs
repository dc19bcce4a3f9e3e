//! Plans: what a fallback policy returns, and the checks that it passes.
//!
//! A plan is data. The words and ranges are those of `wit/fallback.wit`; the
//! host executes a plan only after [`Plan::check`] has passed.

use crate::fault::{FailureClass, FailureClasses};
use crate::input::RequestFacts;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most steps of a plan. More than any route has models, rules and reviews.
pub const STEPS_MAX: usize = 16;
/// Longest timeout of one attempt: ten minutes, the longest that the public
/// model APIs themselves allow.
pub const TIMEOUT_MS_MAX: u32 = 600_000;
/// Most retries of one step. More would multiply load in an outage.
pub const RETRIES_MAX: u8 = 5;
/// Most models in one race: each one costs.
pub const RACERS_MAX: usize = 4;
/// Longest stagger of a race.
pub const STAGGER_MS_MAX: u32 = 60_000;
/// Most tokens that a beginning of a stream has.
pub const HOLD_TOKENS_MAX: u32 = 4_096;
/// Longest time that a beginning of a stream takes from its first token.
pub const HOLD_MS_MAX: u32 = 600_000;
/// Most rules about repetitions that a plan has: one for each class.
pub const RETRY_RULES_MAX: usize = FailureClass::ALL.len();

/// One call of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStep {
    /// Name of a model of the route.
    pub model: Arc<str>,
    /// Milliseconds for the attempt; 0 takes the route's.
    pub timeout_ms: u32,
    /// Milliseconds until the first token or the response head; 0 takes the route's.
    pub first_token_ms: u32,
    /// How often the call may be repeated.
    pub retries: u8,
    /// Failures that go on to the next step.
    pub move_on: FailureClasses,
}

/// Several calls for one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaceStep {
    /// 2 to 4 calls of different models.
    pub calls: Vec<CallStep>,
    /// Milliseconds before each further call; 0 is a race, more a hedge.
    pub stagger_ms: u32,
}

/// What one step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Call a model.
    Call(CallStep),
    /// Race or hedge several models.
    Race(RaceStep),
    /// Answer with the rules of this name. Ends the plan.
    Rules(Arc<str>),
    /// Send to review. Ends the plan.
    Review {
        /// For the reviewer.
        note: String,
    },
    /// Decline. Ends the plan.
    Refuse {
        /// HTTP status for the caller, 400 to 599.
        status: u16,
        /// For the caller.
        message: String,
    },
}

impl Action {
    /// True for actions after which no step follows.
    pub fn ends_plan(&self) -> bool {
        matches!(
            self,
            Action::Rules(_) | Action::Review { .. } | Action::Refuse { .. }
        )
    }
}

/// One step, and why it stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// How much of a stream is held back before its caller sees any of it. What is
/// held can still be replaced by another answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Only what comes before its first content.
    None,
    /// Its beginning, up to whichever comes first.
    Begin {
        /// So many tokens, 1 to 4,096.
        tokens: u32,
        /// So many milliseconds from the first token, 1 to 600,000.
        ms: u32,
    },
    /// The whole answer.
    Whole,
}

/// What follows when a stream is cut that its caller has begun to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterCut {
    /// An error in band.
    Error,
    /// The answer of the plan's next step, from its beginning, after a text
    /// that says so.
    Restart,
}

/// What a policy asks for besides its steps. What it does not ask for is as the
/// route has it, and the route's limits hold for what it does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanOptions {
    /// How much of a stream is held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// What follows a cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_cut: Option<AfterCut>,
    /// How often calls are repeated after failures of some classes; the last
    /// rule that names a class holds. At most one for each class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<(FailureClasses, u8)>,
}

impl PlanOptions {
    /// How often a call may be repeated after a failure of `class`, where the
    /// policy said so.
    pub fn retries_after(&self, class: FailureClass) -> Option<u8> {
        let mut rules = self.retries.iter().rev();
        let (_, retries) = rules.find(|(classes, _)| classes.contains(class))?;
        Some(*retries)
    }

    /// True when nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.hold.is_none() && self.after_cut.is_none() && self.retries.is_empty()
    }
}

/// An ordered list of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// 1 to 16 steps.
    pub steps: Vec<Step>,
    /// What is asked for besides.
    #[serde(default, skip_serializing_if = "PlanOptions::is_empty")]
    pub options: PlanOptions,
}

/// Why a plan cannot be executed. Steps are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no step.
    #[error("plan has no steps")]
    Empty,
    /// There are too many steps.
    #[error("plan has {0} steps, at most {STEPS_MAX} are allowed")]
    TooLong(usize),
    /// A step follows one that ends the plan.
    #[error("plan: step {0} comes after a step that ends the plan")]
    AfterEnd(usize),
    /// The route has no such model.
    #[error("plan: step {step} calls model `{model}`, which the route does not have")]
    UnknownModel {
        /// Which step.
        step: usize,
        /// The name.
        model: String,
    },
    /// The route has no such rules.
    #[error("plan: step {step} uses rules `{rules}`, which the route does not have")]
    UnknownRules {
        /// Which step.
        step: usize,
        /// The name.
        rules: String,
    },
    /// The route has no review queue.
    #[error("plan: step {0} sends to review, but the route has no review queue")]
    NoReview(usize),
    /// A value is outside its range.
    #[error("plan: step {step}: `{field}` is {value}, must be {range}")]
    OutOfRange {
        /// Which step.
        step: usize,
        /// Which field, in the contract's words.
        field: &'static str,
        /// What it held.
        value: u64,
        /// What would be right.
        range: &'static str,
    },
    /// Two calls of one race are for the same model.
    #[error("plan: step {step} races model `{model}` against itself")]
    RaceWithItself {
        /// Which step.
        step: usize,
        /// The name.
        model: String,
    },
}

impl From<Vec<Step>> for Plan {
    /// A plan that asks for nothing besides.
    fn from(steps: Vec<Step>) -> Self {
        Plan {
            steps,
            options: PlanOptions::default(),
        }
    }
}

impl Plan {
    /// Checks that the plan can be executed for `request`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it. The plan must then not be
    /// applied, not even in part.
    pub fn check(&self, request: &RequestFacts) -> Result<(), PlanError> {
        if self.steps.is_empty() {
            return Err(PlanError::Empty);
        }
        if self.steps.len() > STEPS_MAX {
            return Err(PlanError::TooLong(self.steps.len()));
        }
        let mut ended = false;
        for (index, step) in self.steps.iter().enumerate() {
            if ended {
                return Err(PlanError::AfterEnd(index));
            }
            ended = step.action.ends_plan();
            check_action(index, &step.action, request)?;
        }
        Ok(())
    }
}

fn check_action(step: usize, action: &Action, request: &RequestFacts) -> Result<(), PlanError> {
    match action {
        Action::Call(call) => check_call(step, call, request),
        Action::Race(race) => {
            in_range(
                step,
                "calls",
                race.calls.len() as u64,
                2,
                RACERS_MAX as u64,
                "2 to 4",
            )?;
            in_range(
                step,
                "stagger-ms",
                race.stagger_ms.into(),
                0,
                STAGGER_MS_MAX.into(),
                "at most 60,000",
            )?;
            for (index, call) in race.calls.iter().enumerate() {
                check_call(step, call, request)?;
                if race.calls[..index]
                    .iter()
                    .any(|other| other.model == call.model)
                {
                    return Err(PlanError::RaceWithItself {
                        step,
                        model: call.model.to_string(),
                    });
                }
            }
            Ok(())
        }
        Action::Rules(rules) => {
            if request.rules.iter().any(|known| **known == **rules) {
                Ok(())
            } else {
                Err(PlanError::UnknownRules {
                    step,
                    rules: rules.to_string(),
                })
            }
        }
        Action::Review { .. } if !request.has_review => Err(PlanError::NoReview(step)),
        Action::Review { .. } => Ok(()),
        Action::Refuse { status, .. } => {
            in_range(step, "status", (*status).into(), 400, 599, "400 to 599")
        }
    }
}

fn check_call(step: usize, call: &CallStep, request: &RequestFacts) -> Result<(), PlanError> {
    if !request
        .candidates
        .iter()
        .any(|known| *known.model == *call.model)
    {
        return Err(PlanError::UnknownModel {
            step,
            model: call.model.to_string(),
        });
    }
    let timeouts = "at most 600,000";
    in_range(
        step,
        "timeout-ms",
        call.timeout_ms.into(),
        0,
        TIMEOUT_MS_MAX.into(),
        timeouts,
    )?;
    in_range(
        step,
        "first-token-ms",
        call.first_token_ms.into(),
        0,
        TIMEOUT_MS_MAX.into(),
        timeouts,
    )?;
    in_range(
        step,
        "retries",
        call.retries.into(),
        0,
        RETRIES_MAX.into(),
        "at most 5",
    )
}

fn in_range(
    step: usize,
    field: &'static str,
    value: u64,
    min: u64,
    max: u64,
    range: &'static str,
) -> Result<(), PlanError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(PlanError::OutOfRange {
            step,
            field,
            value,
            range,
        })
    }
}
