//! Confidence sequences and e-values: intervals and evidence that stay valid
//! however often, and whenever, somebody looks.
//!
//! Two kinds. The asymptotic ones ([`sequence_width`],
//! [`one_sided_sequence_width`], [`evidence`]) hold for means and differences,
//! from sample sizes at which a normal approximation does; their tuning is
//! GrowthBook's. The exact ones for rates ([`rate_sequence`],
//! [`rate_log_e_value`]) hold from the first trial on. [`super::compare`] makes
//! verdicts of them, [`super::interval`] has what one planned look gives.
//!
//! Sources: Waudby-Smith et al., arXiv 2103.06476 (asymptotic); Howard et al.,
//! arXiv 1810.08240, the beta-binomial mixture, in the tuning of the package
//! `confseq` (exact).
//!
//! An e-value is evidence against the hypothesis in a form that may be
//! multiplied over independent looks and be stopped at any time: under the
//! hypothesis it reaches `1 / alpha` at any time with chance at most `alpha`.
//! A p-value from here is valid at every look; the smallest one seen so far is,
//! too.

use super::interval::{Interval, rate};
use crate::metric::Proportion;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::beta::ln_beta;

/// The sample size, both sides together, at which the confidence sequence is
/// tightest. GrowthBook's default; a canary decides at about this size.
pub const SAMPLES_TUNED: f64 = 5_000.0;
/// The chance of a false alarm for which e-values of rates are tuned.
const ALPHA_TUNED: f64 = 0.05;
/// Least weight of the mixture, in trials; `confseq`'s.
const CONCENTRATION_MIN: f64 = 1e-3;
/// Halvings that find an end of [`rate_sequence`], to 10⁻¹⁵.
const HALVINGS: usize = 50;

/// What differs under the alternative to "no difference".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alternative {
    /// There is a difference.
    TwoSided,
    /// The candidate's is greater.
    Greater,
    /// The candidate's is less.
    Less,
}

/// Evidence against "no difference", valid at every look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Natural logarithm of the e-value: 0 says nothing, `ln 20` is what 5 %
    /// ask for. Finite.
    pub log_e_value: f64,
    /// The smallest `alpha` at which the sequence excludes "no difference",
    /// in `[0, 1]`.
    pub p_value: f64,
}

/// `2 ln(1/alpha) + ln(1 + 2 ln(1/alpha))`: by this the tuned sample size is
/// divided (equation 24 of 2103.06476, `best_rho` of confseq).
fn tuning(alpha: f64) -> f64 {
    let log = -2.0 * alpha.ln();
    log + log.ln_1p()
}

/// Standard errors by which the two-sided confidence sequence reaches to each
/// side of an estimate from `samples` values, at `1 - alpha`.
///
/// Valid at all sample sizes at once; wider than a fixed-size interval by a
/// factor of 3.4 at 100 samples and 1.6 at 5,000 (alpha 0.05).
pub fn sequence_width(samples: u64, alpha: f64) -> f64 {
    let n = samples as f64;
    let rho_squared = tuning(alpha) / SAMPLES_TUNED;
    let v = n * rho_squared + 1.0;
    (2.0 * v * (v.sqrt() / alpha).ln() / (n * rho_squared)).sqrt()
}

/// The same to one side: an upper bound alone, or a lower bound alone, holds at
/// all sample sizes at once with chance `1 - alpha`.
pub fn one_sided_sequence_width(samples: u64, alpha: f64) -> f64 {
    let n = samples as f64;
    let rho_squared = tuning(2.0 * alpha) / SAMPLES_TUNED;
    let v = n * rho_squared + 1.0;
    (2.0 * v * (v.sqrt() / (2.0 * alpha)).ln_1p() / (n * rho_squared)).sqrt()
}

/// The evidence in an effect of `errors` standard errors (signed) from
/// `samples` values, for sequences tuned to `alpha`. None without samples or
/// when the arguments are not finite.
///
/// Two-sided, the p-value is `1 / e`. One-sided, it is the inverse of
/// [`one_sided_sequence_width`], a little above `1 / e`, as that bound is a
/// little wider than the mixture it bounds.
pub fn evidence(
    errors: f64,
    samples: u64,
    alpha: f64,
    alternative: Alternative,
) -> Option<Evidence> {
    let tuned = match alternative {
        Alternative::TwoSided => alpha,
        Alternative::Greater | Alternative::Less => 2.0 * alpha,
    };
    let allowed = tuned > 0.0 && tuned <= 1.0;
    if samples == 0 || !errors.is_finite() || !allowed {
        return None;
    }
    let n_rho_squared = samples as f64 * tuning(tuned) / SAMPLES_TUNED;
    let v = n_rho_squared + 1.0;
    let towards = match alternative {
        Alternative::Less => -errors,
        _ => errors,
    };
    // Standard errors, drawn together by the mixture.
    let x = towards * (n_rho_squared / v).sqrt();
    let two_sided = (x * x - v.ln()) / 2.0;
    let (log_e_value, p_value) = match alternative {
        Alternative::TwoSided => (two_sided, (-two_sided).exp()),
        Alternative::Greater | Alternative::Less => {
            let log_e = two_sided + std::f64::consts::LN_2 + Normal::standard().cdf(x).ln();
            let p = match x > 0.0 {
                true => v.sqrt() / (2.0 * (x * x / 2.0).exp_m1()),
                false => 1.0,
            };
            (log_e, p)
        }
    };
    Some(Evidence {
        log_e_value: log_e_value.clamp(-f64::MAX, f64::MAX),
        p_value: p_value.min(1.0),
    })
}

/// Trials that the mixture's beta distribution weighs as much as, for sequences
/// tightest at `samples` trials. confseq's `r` over the variance `g·h`: there
/// the tuned variance is `samples·g·h`, so the rate cancels.
fn concentration(samples: f64, alpha: f64) -> f64 {
    (samples / tuning(alpha) - 1.0).max(CONCENTRATION_MIN)
}

/// Logarithm of the mixture's likelihood over that of `rate`, for `events` in
/// `trials`.
fn log_mixture(events: f64, trials: f64, rate: f64, concentration: f64) -> f64 {
    let (a, b) = (rate * concentration, (1.0 - rate) * concentration);
    ln_beta(a + events, b + trials - events)
        - ln_beta(a, b)
        - events * rate.ln()
        - (trials - events) * (-rate).ln_1p()
}

/// Logarithm of the e-value against "the rate is `rate`", exact at every number
/// of trials. Under a rate of 0 or 1 a single exception is proof:
/// [`f64::MAX`]. None without trials or when `rate` is not in `[0, 1]`.
pub fn rate_log_e_value(observed: Proportion, rate: f64) -> Option<f64> {
    if observed.trials == 0 || !(0.0..=1.0).contains(&rate) {
        return None;
    }
    let events = observed.events.min(observed.trials);
    if rate <= 0.0 || rate >= 1.0 {
        let exceptions = match rate <= 0.0 {
            true => events,
            false => observed.trials - events,
        };
        return Some(if exceptions > 0 { f64::MAX } else { 0.0 });
    }
    let concentration = concentration(SAMPLES_TUNED, ALPHA_TUNED);
    let log_e = log_mixture(events as f64, observed.trials as f64, rate, concentration);
    Some(log_e.min(f64::MAX))
}

/// The exact confidence sequence of a rate: with chance `1 - alpha` it covers
/// the rate after every trial from the first on. Tightest at
/// [`SAMPLES_TUNED`] trials. None without trials or when `alpha` is not in
/// `(0, 1)`.
pub fn rate_sequence(observed: Proportion, alpha: f64) -> Option<Interval> {
    rate_sequence_tuned(observed, alpha, SAMPLES_TUNED)
}

/// [`rate_sequence`], tightest at `samples` trials.
pub fn rate_sequence_tuned(observed: Proportion, alpha: f64, samples: f64) -> Option<Interval> {
    if observed.trials == 0 || alpha.is_nan() || alpha <= 0.0 || alpha >= 1.0 {
        return None;
    }
    let (events, trials) = (
        observed.events.min(observed.trials) as f64,
        observed.trials as f64,
    );
    let concentration = concentration(samples, ALPHA_TUNED);
    let excluded = |rate: f64| log_mixture(events, trials, rate, concentration) >= -alpha.ln();
    // `outside` is excluded, `inside` is not.
    let end = |mut outside: f64, mut inside: f64| {
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(outside, inside);
            if middle <= outside.min(inside) || middle >= outside.max(inside) {
                break;
            }
            match excluded(middle) {
                true => outside = middle,
                false => inside = middle,
            }
        }
        // The side that errs towards covering.
        outside
    };
    let p = rate(observed);
    Some(Interval {
        low: if p > 0.0 { end(0.0, p) } else { 0.0 },
        high: if p < 1.0 { end(1.0, p) } else { 1.0 },
    })
}

#[cfg(test)]
mod tests;
