//! What is asked of a history, and the answer.

use super::bound::Bound;
use super::curve::{Curve, Point};
use super::{conformal, fixed_sequence, sgr};
use serde::{Deserialize, Serialize};

/// How the threshold is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Tests at most [`super::STEPS_MAX`] thresholds in a fixed order.
    #[default]
    FixedSequence,
    /// Selection with guaranteed risk: a binary search.
    Sgr,
    /// Conformal risk control: the share of all answers that are delivered
    /// wrong, in expectation.
    Conformal,
}

/// How far above the threshold that was found the line is set.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Margin {
    /// On it.
    None,
    /// At the next distinct score (or cell) above, unless the bound would no
    /// longer hold there for want of rows.
    #[default]
    NextScore,
    /// So much above, up to 1.
    Amount(f64),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// The largest share of accepted answers that may be wrong, in `(0, 1)`. For
    /// [`Method::Conformal`]: of all answers.
    pub error_max: f64,
    /// The largest chance, over histories, that the answer breaks its promise;
    /// in `(0, 0.5]`. [`Method::Conformal`] has none.
    pub delta: f64,
    /// How to look.
    pub method: Method,
    /// What bounds the error. [`Method::Conformal`] has its own.
    pub bound: Bound,
    /// What is added.
    pub margin: Margin,
}

/// A question that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum QuestionError {
    /// The error asked for.
    #[error("the largest error is {0}, must be between 0 and 1, such as 0.03")]
    ErrorMax(f64),
    /// The chance asked for.
    #[error("delta is {0}, must be above 0 and at most 0.5, such as 0.05")]
    Delta(f64),
    /// The margin asked for.
    #[error("the margin is {0}, must be from 0 to 1")]
    Margin(f64),
}

impl Question {
    /// All that is wrong with the question.
    pub fn mistakes(&self) -> Vec<QuestionError> {
        let mut mistakes = Vec::new();
        if !(self.error_max > 0.0 && self.error_max < 1.0) {
            mistakes.push(QuestionError::ErrorMax(self.error_max));
        }
        if !(self.delta > 0.0 && self.delta <= 0.5) {
            mistakes.push(QuestionError::Delta(self.delta));
        }
        if let Margin::Amount(amount) = self.margin
            && !(0.0..=1.0).contains(&amount)
        {
            mistakes.push(QuestionError::Margin(amount));
        }
        mistakes
    }
}

/// A threshold that was held against the question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tested {
    /// The threshold.
    pub threshold: f64,
    /// Answers that it accepts.
    pub accepted: u64,
    /// Of these, wrong.
    pub wrong: u64,
    /// The bound on the error, at `1 - delta`.
    pub bound: f64,
    /// The chance of error that was spent here; 0 where there is none to spend.
    pub delta: f64,
}

/// The line after the margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Settled {
    /// Accept from here on.
    pub accept_at: f64,
    /// Answers of the history that it accepts.
    pub accepted: u64,
    /// Of these, wrong.
    pub wrong: u64,
    /// The bound of these counts alone; 1 when nothing is accepted.
    pub bound: f64,
}

/// A threshold that keeps the promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The lowest threshold that passed.
    pub found: Tested,
    /// The line to use, after the margin. It keeps the promise as long as
    /// answers above a higher line are no worse.
    pub line: Settled,
    /// Share of the history at or above the line.
    pub coverage: f64,
    /// How many thresholds were tested.
    pub tests: usize,
    /// The first threshold that failed, where one did.
    pub failed_first: Option<Tested>,
    /// All that passed, from high to low: the promise holds for all of them at
    /// once.
    #[serde(skip)]
    pub passed: Vec<Tested>,
}

/// Why there is no threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Why {
    /// Even without a single error the history would prove nothing.
    TooFewRows {
        /// Fewest rows, all of them right, that would.
        needed: u64,
    },
    /// No tested threshold passed.
    NonePassed {
        /// The first that failed.
        failed_first: Tested,
        /// The one with the lowest bound.
        best: Tested,
        /// How many were tested.
        tests: usize,
    },
}

/// No threshold keeps the promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Infeasible {
    /// Rows of the history.
    pub rows: u64,
    /// Of these, wrong.
    pub wrong: u64,
    /// Why.
    #[serde(flatten)]
    pub why: Why,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// There is a threshold.
    Found(Choice),
    /// There is none.
    Infeasible(Infeasible),
}

impl Answer {
    /// The choice, where there is one.
    pub fn found(&self) -> Option<&Choice> {
        match self {
            Answer::Found(choice) => Some(choice),
            Answer::Infeasible(_) => None,
        }
    }
}

/// Looks for the lowest threshold that keeps the promise.
pub fn choose(curve: &Curve, question: &Question) -> Answer {
    let outcome = match question.method {
        Method::FixedSequence => fixed_sequence::test(curve, question),
        Method::Sgr => sgr::test(curve, question),
        Method::Conformal => conformal::test(curve, question),
    };
    let infeasible = |why| {
        Answer::Infeasible(Infeasible {
            rows: curve.rows(),
            wrong: curve.wrong(),
            why,
        })
    };
    let trail = match outcome {
        Ok(trail) => trail,
        Err(needed) => return infeasible(Why::TooFewRows { needed }),
    };
    if let Some(found) = trail.passed.last().copied() {
        let line = settle(curve, question, &found);
        return Answer::Found(Choice {
            found,
            coverage: curve.coverage(&curve.at(line.accept_at)),
            line,
            tests: trail.tests,
            failed_first: trail.failed_first,
            passed: trail.passed,
        });
    }
    match (trail.failed_first, trail.best) {
        (Some(failed_first), Some(best)) => infeasible(Why::NonePassed {
            failed_first,
            best,
            tests: trail.tests,
        }),
        // Nothing was tested: there are no rows.
        _ => infeasible(Why::TooFewRows { needed: 1 }),
    }
}

/// What a method did; `Err` of one is the fewest rows it needs.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) passed: Vec<Tested>,
    pub(super) failed_first: Option<Tested>,
    best: Option<Tested>,
    tests: usize,
}

impl Trail {
    /// Notes a test and says whether it passed.
    pub(super) fn note(&mut self, tested: Tested, passed: bool) -> bool {
        self.tests += 1;
        if passed {
            self.passed.push(tested);
        } else {
            self.failed_first.get_or_insert(tested);
            let lowest = self.best.map_or(f64::INFINITY, |best| best.bound);
            if tested.bound < lowest {
                self.best = Some(tested);
            }
        }
        passed
    }
}

/// `point` with its bound at `delta`.
pub(super) fn tested(point: &Point, bound: Bound, delta: f64) -> Tested {
    Tested {
        threshold: point.threshold,
        accepted: point.accepted,
        wrong: point.wrong,
        bound: bound.upper(point.wrong, point.accepted, delta),
        delta,
    }
}

/// The line for a threshold that passed.
pub(super) fn settle(curve: &Curve, question: &Question, found: &Tested) -> Settled {
    let on_it = Settled {
        accept_at: found.threshold,
        accepted: found.accepted,
        wrong: found.wrong,
        bound: found.bound,
    };
    let at = |threshold: f64| {
        let point = curve.at(threshold);
        let bound = match question.method {
            Method::Conformal => conformal::bound(point.wrong, curve.rows()),
            _ => question
                .bound
                .upper(point.wrong, point.accepted, found.delta),
        };
        Settled {
            accept_at: threshold,
            accepted: point.accepted,
            wrong: point.wrong,
            bound,
        }
    };
    match question.margin {
        Margin::None => on_it,
        Margin::Amount(amount) => at((found.threshold + amount).min(1.0)),
        Margin::NextScore => {
            let above = curve
                .points()
                .partition_point(|point| point.threshold > found.threshold);
            let Some(next) = above.checked_sub(1) else {
                return on_it;
            };
            let moved = at(curve.points()[next].threshold);
            if moved.bound <= question.error_max {
                moved
            } else {
                on_it
            }
        }
    }
}

/// What people do by hand: the lowest threshold at which no more of the
/// accepted answers of the history were wrong than is wanted. It promises
/// nothing.
pub fn naive(curve: &Curve, error_max: f64) -> Option<Point> {
    curve
        .points()
        .iter()
        .rev()
        .find(|point| point.error() <= error_max)
        .copied()
}
