//! Comparison of two models that were asked the same requests, as with shadow
//! traffic.
//!
//! Pairs on which both are right or both are wrong say nothing about the
//! difference, so what counts are the discordant ones: the more the models
//! agree, the fewer requests this needs beside [`super::compare`], which holds
//! two independent samples against each other.
//!
//! Sources: McNemar (1947), exact and mid-p as Fagerland et al. (2013); the
//! difference `d = (b - c) / n` with variance `((b + c) - (b - c)² / n) / n²`.
//!
//! Always holds: without discordant pairs nothing is worse and nothing better,
//! and few pairs are `NotEnoughData`, not equivalent.

use super::binomial::{binomial_cdf, binomial_pmf};
use super::compare::{Question, Sides, sequence};
use super::interval::{Interval, two_sided_normal};
use super::sequence::rate_log_e_value;
use crate::metric::{Comparison, ComparisonOptions, Proportion};
use serde::{Deserialize, Serialize};

/// Requests that both models answered, by who had the event (an error, a
/// correct answer: whatever is counted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pairs {
    /// Both had it.
    pub both: u64,
    /// Only the candidate had it: `b`.
    pub candidate_only: u64,
    /// Only the baseline had it: `c`.
    pub baseline_only: u64,
    /// Neither had it.
    pub neither: u64,
}

impl Pairs {
    /// Counts one pair.
    pub fn add(&mut self, candidate: bool, baseline: bool) {
        let cell = match (candidate, baseline) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.candidate_only,
            (false, true) => &mut self.baseline_only,
            (false, false) => &mut self.neither,
        };
        *cell = cell.saturating_add(1);
    }

    /// All pairs.
    pub fn total(self) -> u64 {
        self.both
            .saturating_add(self.candidate_only)
            .saturating_add(self.baseline_only)
            .saturating_add(self.neither)
    }

    /// The candidate's rate minus the baseline's, and the square of its
    /// standard error. None without pairs.
    pub fn difference(self) -> Option<(f64, f64)> {
        let n = self.total();
        (n > 0).then(|| {
            let (b, c) = (self.candidate_only as f64, self.baseline_only as f64);
            difference(b, c, n as f64)
        })
    }
}

fn difference(b: f64, c: f64, n: f64) -> (f64, f64) {
    let squared_error = ((b + c) - (b - c) * (b - c) / n) / (n * n);
    ((b - c) / n, squared_error.max(0.0))
}

/// How a question about pairs is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairedMethod {
    /// Asymptotic confidence sequence: look as often as you like.
    #[default]
    Sequence,
    /// Normal interval: one look, at a number of pairs planned before.
    FixedHorizon,
}

/// Compares the rates of two models over the same requests. Samples are pairs,
/// on both sides.
///
/// The effect is the plain difference. The variance comes from counts with half
/// a discordant pair added each way, so that models which have agreed so far
/// are not taken for ones that always will.
pub fn compare_pairs(
    pairs: Pairs,
    options: &ComparisonOptions,
    question: Question,
    method: PairedMethod,
) -> Comparison {
    let total = pairs.total();
    let (b, c) = (pairs.candidate_only as f64, pairs.baseline_only as f64);
    let effect = pairs.difference().map_or(0.0, |(effect, _)| effect);
    let sides = Sides {
        effect,
        candidate: total,
        baseline: total,
        bound: 1.0,
    };
    sides.judge(options, question, || {
        let (_, squared_error) = difference(b + 0.5, c + 0.5, total as f64 + 1.0);
        Some(match method {
            PairedMethod::Sequence => {
                sequence(effect, total, squared_error, question, options.alpha)
            }
            PairedMethod::FixedHorizon => {
                let z = two_sided_normal(question.two_sided_alpha(options.alpha));
                let half = z * squared_error.sqrt();
                Interval {
                    low: effect - half,
                    high: effect + half,
                }
            }
        })
    })
}

/// McNemar's test of "both rates are the same", by one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mcnemar {
    /// Two-sided p-value of the exact test.
    pub exact: f64,
    /// The same with half the chance of what was seen, which keeps closer to
    /// the nominal level.
    pub mid_p: f64,
}

/// McNemar's test. None without discordant pairs.
pub fn mcnemar(pairs: Pairs) -> Option<Mcnemar> {
    let fewer = pairs.candidate_only.min(pairs.baseline_only);
    let discordant = pairs.candidate_only.saturating_add(pairs.baseline_only);
    if discordant == 0 {
        return None;
    }
    let tail = binomial_cdf(fewer, discordant, 0.5);
    let point = binomial_pmf(fewer, discordant, 0.5);
    Some(Mcnemar {
        exact: (2.0 * tail).min(1.0),
        mid_p: (2.0 * tail - point).min(1.0),
    })
}

/// Logarithm of the e-value against "both rates are the same", exact and valid
/// at every look: McNemar's test for those who keep looking. None without
/// discordant pairs.
pub fn paired_log_e_value(pairs: Pairs) -> Option<f64> {
    let observed = Proportion {
        events: pairs.candidate_only,
        trials: pairs.candidate_only.saturating_add(pairs.baseline_only),
    };
    rate_log_e_value(observed, 0.5)
}

#[cfg(test)]
mod tests;
