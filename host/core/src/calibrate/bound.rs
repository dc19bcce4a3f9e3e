//! Upper bounds on a rate from counts, and the p-values they come from.
//!
//! A p-value here is the chance to see so few errors, or fewer, if the rate
//! were `rate`; a bound is the smallest rate whose p-value is no more than
//! `delta`. Sources: Clopper and Pearson (1934); Hoeffding (1963); the
//! Hoeffding–Bentkus p-value of Bates et al. (arXiv 2101.02703), as in the
//! reference code of Learn Then Test.
//!
//! Always holds: results are in `[0, 1]`, bounds err upwards by at most the last
//! bit, and more errors or fewer trials never lower a bound.

use crate::stats::binomial::binomial_cdf;
use serde::{Deserialize, Serialize};
use std::f64::consts::E;

/// Which bound holds a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Exact for right and wrong, and the tightest: Clopper–Pearson.
    #[default]
    ClopperPearson,
    /// Hoeffding–Bentkus; holds for graded losses as well, and is wider. For
    /// comparing with tools that use it.
    HoeffdingBentkus,
    /// Hoeffding; the widest, and the easiest to check by hand.
    Hoeffding,
}

impl Bound {
    /// Chance of at most `errors` in `trials` at this `rate`, or more than it.
    /// 1 without trials.
    pub fn p_value(self, errors: u64, trials: u64, rate: f64) -> f64 {
        if trials == 0 || errors >= trials || rate <= 0.0 {
            return 1.0;
        }
        if rate >= 1.0 {
            return 0.0;
        }
        match self {
            Bound::ClopperPearson => binomial_cdf(errors, trials, rate),
            Bound::HoeffdingBentkus => hoeffding_bentkus_p(errors, trials, rate),
            Bound::Hoeffding => {
                let below = (rate - errors as f64 / trials as f64).max(0.0);
                (-2.0 * trials as f64 * below * below).exp()
            }
        }
    }

    /// The rate that is exceeded with a chance of at most `delta`; 1 without
    /// trials.
    pub fn upper(self, errors: u64, trials: u64, delta: f64) -> f64 {
        match self {
            Bound::ClopperPearson => clopper_pearson_upper(errors, trials, delta),
            Bound::HoeffdingBentkus => invert(errors, trials, delta, self),
            Bound::Hoeffding => hoeffding_upper(errors, trials, delta),
        }
    }

    /// Fewest trials in which `errors` still prove, at `delta`, a rate of at
    /// most `rate`. None when more than 2^53 are needed.
    pub fn trials_min(self, errors: u64, rate: f64, delta: f64) -> Option<u64> {
        const MOST: u64 = 1 << 53;
        let proves = |trials| self.p_value(errors, trials, rate) <= delta;
        let mut high = errors + 1;
        while !proves(high) {
            high = high.checked_mul(2).filter(|&trials| trials <= MOST)?;
        }
        let mut low = errors;
        // Invariant: `low` proves nothing, `high` does.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if proves(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }
}

/// The one-sided upper bound of Clopper and Pearson at confidence
/// `1 - delta`: the `1 - delta` quantile of Beta(`errors` + 1, `trials` -
/// `errors`). 1 when every trial is an error, or there is none.
pub fn clopper_pearson_upper(errors: u64, trials: u64, delta: f64) -> f64 {
    invert(errors, trials, delta, Bound::ClopperPearson)
}

/// Hoeffding's upper bound at confidence `1 - delta`, at most 1.
pub fn hoeffding_upper(errors: u64, trials: u64, delta: f64) -> f64 {
    if trials == 0 {
        return 1.0;
    }
    let n = trials as f64;
    (errors.min(trials) as f64 / n + (-delta.ln() / (2.0 * n)).sqrt()).clamp(0.0, 1.0)
}

/// The Hoeffding–Bentkus p-value of the hypothesis that the rate is above
/// `rate`: the smaller of Hoeffding's with the relative entropy, and e times the
/// binomial tail. At most 1.
pub fn hoeffding_bentkus_p(errors: u64, trials: u64, rate: f64) -> f64 {
    let n = trials as f64;
    let found = (errors as f64 / n).min(rate);
    let hoeffding = (-n * relative_entropy(found, rate)).exp();
    let bentkus = E * binomial_cdf(errors, trials, rate);
    hoeffding.min(bentkus).clamp(0.0, 1.0)
}

/// h1(a, b) = a ln(a/b) + (1-a) ln((1-a)/(1-b)).
fn relative_entropy(a: f64, b: f64) -> f64 {
    let part = |x: f64, y: f64| if x > 0.0 { x * (x / y).ln() } else { 0.0 };
    part(a, b) + part(1.0 - a, 1.0 - b)
}

/// The smallest rate whose p-value is at most `delta`, by bisection; the upper
/// end of what is left when no number lies between.
fn invert(errors: u64, trials: u64, delta: f64, bound: Bound) -> f64 {
    if errors >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (errors as f64 / trials as f64, 1.0);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return high;
        }
        if bound.p_value(errors, trials, middle) <= delta {
            high = middle;
        } else {
            low = middle;
        }
    }
}
