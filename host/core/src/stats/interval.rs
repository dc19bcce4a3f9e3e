//! Intervals of one look: for a rate, and for the difference of two rates or
//! two means.
//!
//! What [`super::sequence`] gives for any number of looks, this gives for one
//! that was planned, which is narrower. [`super::compare`] makes verdicts of
//! both.
//!
//! Sources: Wilson (1927); Newcombe (1998), method 10, the score intervals of
//! both sides combined; Welch (1947) with Satterthwaite's degrees of freedom;
//! Hill (1970) for Student's quantile far out in the degrees of freedom.
//!
//! Always holds: an interval has `low <= high`, and both are finite.

use crate::metric::{Moments, Proportion};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// From where to where, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The same within `low` and `high`.
    pub fn clipped(self, low: f64, high: f64) -> Interval {
        Interval {
            low: self.low.clamp(low, high),
            high: self.high.clamp(low, high),
        }
    }
}

/// Fewest events, and fewest times without one, on each side before the
/// interval of [`Wald`](super::compare::RateMethod::Wald) is believed: the
/// usual condition for a normal approximation.
pub const WALD_COUNT_MIN: u64 = 5;

/// Degrees of freedom from which Student's quantile comes from its expansion,
/// which is then right to ten digits; the incomplete beta function that it
/// otherwise comes from does not converge for very many.
const FREEDOM_MANY: f64 = 200.0;

/// The value that a standard normal one exceeds with chance `alpha / 2`.
/// 0 when `alpha` is 1 or more, infinite when it is 0.
pub(crate) fn two_sided_normal(alpha: f64) -> f64 {
    Normal::standard().inverse_cdf(1.0 - alpha.clamp(0.0, 1.0) / 2.0)
}

/// The same for Student's t.
pub(crate) fn two_sided_student(freedom: f64, alpha: f64) -> f64 {
    if freedom >= FREEDOM_MANY {
        let z = two_sided_normal(alpha);
        let square = z * z;
        let first = z * (square + 1.0) / 4.0;
        let second = z * ((5.0 * square + 16.0) * square + 3.0) / 96.0;
        let third = z * (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0;
        return z + (first + (second + third / freedom) / freedom) / freedom;
    }
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(student) => student.inverse_cdf(1.0 - alpha.clamp(0.0, 1.0) / 2.0),
        Err(_) => f64::INFINITY, // no degrees of freedom, no interval
    }
}

/// Events over trials; 0 without trials, for which the caller looks first.
pub(crate) fn rate(observed: Proportion) -> f64 {
    match observed.trials {
        0 => 0.0,
        trials => observed.events.min(trials) as f64 / trials as f64,
    }
}

/// Wilson's score interval of a rate at confidence `1 - alpha`. None without
/// trials, or when `alpha` is not in `(0, 1)`.
pub fn wilson(observed: Proportion, alpha: f64) -> Option<Interval> {
    (observed.trials > 0 && alpha > 0.0 && alpha < 1.0)
        .then(|| score_interval(observed, two_sided_normal(alpha)))
}

fn score_interval(observed: Proportion, z: f64) -> Interval {
    let n = observed.trials as f64;
    let p = rate(observed);
    let square = z * z;
    let middle = (p + square / (2.0 * n)) / (1.0 + square / n);
    let half = z * (p * (1.0 - p) / n + square / (4.0 * n * n)).sqrt() / (1.0 + square / n);
    // At the ends rounding would leave an interval that misses the rate itself.
    Interval {
        low: (middle - half).clamp(0.0, p),
        high: (middle + half).clamp(p, 1.0),
    }
}

/// Newcombe's interval of candidate minus baseline. Both sides have trials.
pub(crate) fn newcombe(candidate: Proportion, baseline: Proportion, alpha: f64) -> Interval {
    let z = two_sided_normal(alpha);
    let (p, q) = (rate(candidate), rate(baseline));
    let (of_p, of_q) = (score_interval(candidate, z), score_interval(baseline, z));
    Interval {
        low: p - q - (p - of_p.low).hypot(of_q.high - q),
        high: p - q + (of_p.high - p).hypot(q - of_q.low),
    }
}

/// The textbook interval of candidate minus baseline. None with fewer than
/// [`WALD_COUNT_MIN`] events or non-events on a side.
pub(crate) fn wald(candidate: Proportion, baseline: Proportion, alpha: f64) -> Option<Interval> {
    let counted = |side: Proportion| {
        let events = side.events.min(side.trials);
        events.min(side.trials - events) >= WALD_COUNT_MIN
    };
    if !counted(candidate) || !counted(baseline) {
        return None;
    }
    let squared_error = |side: Proportion| rate(side) * (1.0 - rate(side)) / side.trials as f64;
    let effect = rate(candidate) - rate(baseline);
    let half =
        two_sided_normal(alpha) * (squared_error(candidate) + squared_error(baseline)).sqrt();
    Some(Interval {
        low: effect - half,
        high: effect + half,
    })
}

/// Welch's interval of candidate minus baseline from each side's variance (at
/// least two samples each). None when nothing varies at all.
pub(crate) fn welch(
    candidate: (Moments, f64),
    baseline: (Moments, f64),
    alpha: f64,
) -> Option<Interval> {
    let error = |(side, variance): (Moments, f64)| variance / side.samples as f64;
    let (a, b) = (error(candidate), error(baseline));
    let squared = a + b;
    if squared <= 0.0 {
        return None;
    }
    // Shares of the whole, so that nothing overflows.
    let (share_a, share_b) = (a / squared, b / squared);
    let freedom = 1.0
        / (share_a * share_a / (candidate.0.samples - 1) as f64
            + share_b * share_b / (baseline.0.samples - 1) as f64);
    let effect = candidate.0.mean - baseline.0.mean;
    let half = two_sided_student(freedom, alpha) * squared.sqrt();
    Some(Interval {
        low: effect - half,
        high: effect + half,
    })
}
