//! The thresholds of least expected cost.
//!
//! An answer at or above `accept_at` costs something when it is wrong; one below
//! that but at or above `review_below` is escalated, which costs something, and
//! something more when the next model is wrong as well; one below both is
//! reviewed. Where nothing is known about the next model, escalating and
//! reviewing cost the same for every answer, so one of the two is never chosen.
//!
//! The interval is the empirical Bernstein bound of Maurer and Pontil (2009),
//! with its `delta` divided among all pairs of thresholds that were weighed: it
//! holds for the pair that was chosen although it was chosen for being cheap.

use super::choice::Tested;
use super::curve::{Curve, Point};
use super::fixed_sequence::STEPS_MAX;
use serde::Serialize;

/// What things cost, in any one unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Costs {
    /// A wrong answer that is delivered.
    pub wrong: f64,
    /// Asking the next model.
    pub escalation: f64,
    /// Asking a person, who is taken to be right.
    pub review: f64,
}

/// A cost that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the cost of {what} is {cost}, must be a number from 0 on, and below 1e12")]
pub struct CostsError {
    /// Of what.
    pub what: &'static str,
    /// The cost.
    pub cost: f64,
}

impl Costs {
    /// All that is wrong with the costs.
    pub fn mistakes(&self) -> Vec<CostsError> {
        [
            ("a wrong answer", self.wrong),
            ("an escalation", self.escalation),
            ("a review", self.review),
        ]
        .into_iter()
        .filter(|(_, cost)| !(0.0..1e12).contains(cost))
        .map(|(what, cost)| CostsError { what, cost })
        .collect()
    }

    /// The most that one answer can cost.
    fn most(&self) -> f64 {
        self.wrong
            .max(self.escalation + self.wrong)
            .max(self.review)
    }
}

/// An expected cost for each answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Money {
    /// The mean over the history.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The cheapest thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Priced {
    /// Accept from here on.
    pub accept_at: f64,
    /// Review below this; with 0 nothing is reviewed, with `accept_at` nothing
    /// is escalated.
    pub review_below: f64,
    /// Shares of the history.
    pub accepted: f64,
    /// As above.
    pub escalated: f64,
    /// As above.
    pub reviewed: f64,
    /// What an answer costs.
    pub cost: Money,
    /// What it would cost to accept all of them.
    pub accepting_all: f64,
    /// To escalate all of them.
    pub escalating_all: f64,
    /// To review all of them.
    pub reviewing_all: f64,
    /// How many pairs of thresholds were weighed.
    pub pairs: usize,
}

/// The cheapest thresholds of the history. With `allowed`, `accept_at` is one of
/// these, which keep a promise; else any of [`STEPS_MAX`] steps of coverage. None
/// when there are no rows, or nothing is allowed.
pub fn cheapest(
    curve: &Curve,
    costs: &Costs,
    allowed: Option<&[Tested]>,
    delta: f64,
) -> Option<Priced> {
    let grid: Vec<Point> = curve
        .steps(1, STEPS_MAX)
        .into_iter()
        .map(|index| curve.points()[index])
        .collect();
    let accepts: Vec<Point> = match allowed {
        Some(tested) => tested
            .iter()
            .map(|tested| curve.at(tested.threshold))
            .collect(),
        None => grid.clone(),
    };
    let weigh = Weigh { curve, costs };
    let mut pairs = 0;
    let mut best: Option<(f64, Point, Point)> = None;
    for accept in &accepts {
        // Nothing in between, or down to a step, the last of which is the end.
        let bands = grid.iter().filter(|to| to.threshold < accept.threshold);
        for to in std::iter::once(accept).chain(bands) {
            pairs += 1;
            let mean = weigh.moments(accept, to).0;
            // Of equals the first, which accepts least.
            if best.is_none_or(|(least, ..)| mean < least) {
                best = Some((mean, *accept, *to));
            }
        }
    }
    let (mean, accept, to) = best?;
    let (_, variance) = weigh.moments(&accept, &to);
    let reach = bernstein(
        curve.rows(),
        variance,
        costs.most(),
        delta / (2 * pairs) as f64,
    );
    let share = |rows: u64| rows as f64 / curve.rows() as f64;
    let all = curve.points().last()?;
    let nothing = curve.at(f64::INFINITY);
    Some(Priced {
        accept_at: accept.threshold,
        review_below: if to.accepted == curve.rows() {
            0.0
        } else {
            to.threshold
        },
        accepted: share(accept.accepted),
        escalated: share(to.accepted - accept.accepted),
        reviewed: share(curve.rows() - to.accepted),
        cost: Money {
            mean,
            low: (mean - reach).max(0.0),
            high: (mean + reach).min(costs.most()),
        },
        accepting_all: weigh.moments(all, all).0,
        escalating_all: weigh.moments(&nothing, all).0,
        reviewing_all: weigh.moments(&nothing, &nothing).0,
        pairs,
    })
}

struct Weigh<'a> {
    curve: &'a Curve,
    costs: &'a Costs,
}

impl Weigh<'_> {
    /// Mean and variance of the cost when answers down to `accept` are accepted
    /// and from there down to `to` escalated.
    fn moments(&self, accept: &Point, to: &Point) -> (f64, f64) {
        let Costs {
            wrong,
            escalation,
            review,
        } = *self.costs;
        let next_wrong = to.next_wrong - accept.next_wrong;
        let escalated = to.accepted - accept.accepted;
        let parts = [
            (accept.wrong, wrong),
            (escalated - next_wrong, escalation),
            (next_wrong, escalation + wrong),
            (self.curve.rows() - to.accepted, review),
        ];
        let n = self.curve.rows() as f64;
        let mean = parts
            .iter()
            .map(|(rows, cost)| *rows as f64 * cost)
            .sum::<f64>()
            / n;
        let square = parts
            .iter()
            .map(|(rows, cost)| *rows as f64 * cost * cost)
            .sum::<f64>()
            / n;
        (mean, (square - mean * mean).max(0.0))
    }
}

/// How far a mean of `n` values between 0 and `most` is from the truth, at
/// `1 - delta` on one side.
fn bernstein(n: u64, variance: f64, most: f64, delta: f64) -> f64 {
    if n < 2 {
        return most;
    }
    let n = n as f64;
    let log = (2.0 / delta).ln();
    // The bound is in the sample's variance, which has n - 1 below.
    let variance = variance * n / (n - 1.0);
    (2.0 * variance * log / n).sqrt() + 7.0 * most * log / (3.0 * (n - 1.0))
}
