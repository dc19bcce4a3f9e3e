//! A candidate held against a baseline: better, equivalent, worse, or not
//! enough data.
//!
//! [`compare_means`] and [`compare_rates`] are what a rollout asks after every
//! request. They ask for any difference and answer from an asymptotic
//! confidence sequence ([`super::sequence`]), so that looking a thousand times
//! raises no more false alarms than looking once. [`compare_rates_by`] and
//! [`compare_means_by`] ask other questions ([`Question`]) and answer by other
//! methods; [`super::paired`] does so where both saw the same requests.
//!
//! Sources: the two one-sided tests of Schuirmann (1987) for equivalence; the
//! intervals are those of [`super::sequence`] and [`super::interval`].
//!
//! Always holds: too little evidence is [`ComparisonVerdict::NotEnoughData`],
//! never a good sign; every number in a result is finite.

use super::interval::{self, Interval, rate};
use super::sequence::{
    Alternative, Evidence, evidence, one_sided_sequence_width, rate_sequence, sequence_width,
};
use crate::metric::{
    Comparison, ComparisonOptions, ComparisonVerdict, Direction, Moments, Proportion,
};
use serde::{Deserialize, Serialize};

/// Fewest samples on each side, whatever the caller asks for: with one there is
/// no spread.
pub const COMPARED_SAMPLES_MIN: u64 = 2;

/// What is asked about candidate and baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Is there a difference? `Better` or `Worse` is said wrongly with chance
    /// `alpha`, both together; the interval has confidence `1 - alpha`.
    #[default]
    Difference,
    /// Is the difference smaller than the margin, both ways? `Equivalent`,
    /// `Better` and `Worse` are each said wrongly with chance `alpha`; the
    /// interval has confidence `1 - 2 alpha`.
    Equivalence,
    /// Is the candidate worse by less than the margin? As
    /// [`Question::Equivalence`], but `Equivalent` says only that: how much
    /// better the candidate may be is left open.
    NonInferiority,
}

/// How a question about two rates is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateMethod {
    /// Asymptotic confidence sequence: look as often as you like.
    #[default]
    Sequence,
    /// Exact confidence sequences of both sides: as often as you like, and
    /// right from the first request on, for about half again the width. Gives
    /// all questions the same interval.
    ExactSequence,
    /// Newcombe's interval: one look, at a sample size planned before.
    Newcombe,
    /// The textbook interval: one look; needs five events and five non-events
    /// on each side.
    Wald,
}

/// How a question about two means is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeanMethod {
    /// Asymptotic confidence sequence: look as often as you like.
    #[default]
    Sequence,
    /// Welch's t interval: one look, at a sample size planned before.
    Welch,
}

/// Compares two means.
///
/// A variance is taken as at least what one more value as far off as the whole
/// effect would make it: a handful of equal values on both sides does not
/// prove that values never vary. With real spread this changes nothing.
pub fn compare_means(
    candidate: Moments,
    baseline: Moments,
    options: &ComparisonOptions,
) -> Comparison {
    let (question, method) = (Question::Difference, MeanMethod::Sequence);
    compare_means_by(candidate, baseline, options, question, method)
}

/// [`compare_means`] with another question or method.
pub fn compare_means_by(
    candidate: Moments,
    baseline: Moments,
    options: &ComparisonOptions,
    question: Question,
    method: MeanMethod,
) -> Comparison {
    let effect = candidate.mean - baseline.mean;
    let sides = Sides {
        effect,
        candidate: candidate.samples,
        baseline: baseline.samples,
        bound: f64::MAX,
    };
    sides.judge(options, question, || match method {
        MeanMethod::Sequence => {
            let squared_error = means_squared_error(candidate, baseline);
            sides.sequence(squared_error, question, options.alpha)
        }
        MeanMethod::Welch => interval::welch(
            (candidate, mean_variance(candidate, effect)),
            (baseline, mean_variance(baseline, effect)),
            question.two_sided_alpha(options.alpha),
        ),
    })
}

fn mean_variance(side: Moments, effect: f64) -> f64 {
    (side.stddev * side.stddev).max(effect * effect / side.samples as f64)
}

fn means_squared_error(candidate: Moments, baseline: Moments) -> f64 {
    let effect = candidate.mean - baseline.mean;
    let of = |side: Moments| (mean_variance(side, effect), side.samples as f64);
    squared_error(of(candidate), of(baseline))
}

/// The squared standard error of a difference, from each side's variance and
/// size: the larger of what both sides' own variances make of it, and what
/// their common one does.
///
/// Of few requests that went well by chance both the mean and the variance are
/// low, and their own variance alone would take them for a better model. With
/// one request in ten to a candidate that fails in 5 % as its baseline does,
/// that was wrongly called `Better` in 7 of 100 rollouts (of latencies with a
/// long tail, in 12). The other side knows how much these things vary. Of sides
/// of the same size both figures are the same.
fn squared_error((variance_a, a): (f64, f64), (variance_b, b): (f64, f64)) -> f64 {
    let own = variance_a / a + variance_b / b;
    let shares = (a / (a + b), b / (a + b));
    let common = (shares.0 * variance_a + shares.1 * variance_b) * (1.0 / a + 1.0 / b);
    own.max(common)
}

/// Compares two rates.
///
/// The effect is the plain difference. The variance comes from counts with half
/// an event and half a non-event added, so that a side on which nothing has
/// happened yet is not taken for one on which nothing can happen.
pub fn compare_rates(
    candidate: Proportion,
    baseline: Proportion,
    options: &ComparisonOptions,
) -> Comparison {
    let (question, method) = (Question::Difference, RateMethod::Sequence);
    compare_rates_by(candidate, baseline, options, question, method)
}

/// [`compare_rates`] with another question or method.
pub fn compare_rates_by(
    candidate: Proportion,
    baseline: Proportion,
    options: &ComparisonOptions,
    question: Question,
    method: RateMethod,
) -> Comparison {
    let sides = Sides {
        effect: rate(candidate) - rate(baseline),
        candidate: candidate.trials,
        baseline: baseline.trials,
        bound: 1.0,
    };
    let alpha = question.two_sided_alpha(options.alpha);
    sides.judge(options, question, || match method {
        RateMethod::Sequence => {
            let squared_error = rates_squared_error(candidate, baseline);
            sides.sequence(squared_error, question, options.alpha)
        }
        RateMethod::ExactSequence => {
            // The difference is outside only when one of the rates is.
            let candidate = rate_sequence(candidate, options.alpha / 2.0)?;
            let baseline = rate_sequence(baseline, options.alpha / 2.0)?;
            Some(Interval {
                low: candidate.low - baseline.high,
                high: candidate.high - baseline.low,
            })
        }
        RateMethod::Newcombe => Some(interval::newcombe(candidate, baseline, alpha)),
        RateMethod::Wald => interval::wald(candidate, baseline, alpha),
    })
}

fn rate_variance(side: Proportion) -> f64 {
    let p = (side.events.min(side.trials) as f64 + 0.5) / (side.trials as f64 + 1.0);
    p * (1.0 - p)
}

fn rates_squared_error(candidate: Proportion, baseline: Proportion) -> f64 {
    let of = |side: Proportion| (rate_variance(side), side.trials as f64);
    squared_error(of(candidate), of(baseline))
}

/// The evidence, valid at every look, that two rates differ; candidate against
/// baseline, for the sequence that [`compare_rates`] uses at `alpha`. None with
/// fewer than [`COMPARED_SAMPLES_MIN`] trials on a side.
pub fn rates_evidence(
    candidate: Proportion,
    baseline: Proportion,
    alpha: f64,
    alternative: Alternative,
) -> Option<Evidence> {
    if candidate.trials.min(baseline.trials) < COMPARED_SAMPLES_MIN {
        return None;
    }
    let squared_error = rates_squared_error(candidate, baseline);
    let errors = (rate(candidate) - rate(baseline)) / squared_error.sqrt();
    let samples = candidate.trials.saturating_add(baseline.trials);
    evidence(errors, samples, alpha, alternative)
}

/// The same for two means. Also None when nothing varies and nothing differs.
pub fn means_evidence(
    candidate: Moments,
    baseline: Moments,
    alpha: f64,
    alternative: Alternative,
) -> Option<Evidence> {
    if candidate.samples.min(baseline.samples) < COMPARED_SAMPLES_MIN {
        return None;
    }
    let effect = candidate.mean - baseline.mean;
    let squared_error = means_squared_error(candidate, baseline);
    let samples = candidate.samples.saturating_add(baseline.samples);
    evidence(effect / squared_error.sqrt(), samples, alpha, alternative)
}

impl Question {
    /// Of an interval whose ends are each wrong with half of this.
    pub(super) fn two_sided_alpha(self, alpha: f64) -> f64 {
        match self {
            Question::Difference => alpha,
            Question::Equivalence | Question::NonInferiority => 2.0 * alpha,
        }
    }
}

/// An effect and how many samples it comes from.
#[derive(Clone, Copy)]
pub(super) struct Sides {
    pub(super) effect: f64,
    pub(super) candidate: u64,
    pub(super) baseline: u64,
    /// No effect can be larger.
    pub(super) bound: f64,
}

impl Sides {
    /// The interval of an asymptotic confidence sequence.
    fn sequence(self, squared_error: f64, question: Question, alpha: f64) -> Option<Interval> {
        let samples = self.candidate.saturating_add(self.baseline);
        Some(sequence(
            self.effect,
            samples,
            squared_error,
            question,
            alpha,
        ))
    }

    /// The verdict. `interval` is called with enough samples to have one; None
    /// and ends that are not finite are not enough data.
    pub(super) fn judge(
        self,
        options: &ComparisonOptions,
        question: Question,
        interval: impl FnOnce() -> Option<Interval>,
    ) -> Comparison {
        let fewest = self.candidate.min(self.baseline);
        let mut comparison = Comparison {
            verdict: ComparisonVerdict::NotEnoughData,
            effect: if fewest == 0 { 0.0 } else { self.effect },
            low: -self.bound,
            high: self.bound,
            candidate_samples: self.candidate,
            baseline_samples: self.baseline,
        };
        if fewest < COMPARED_SAMPLES_MIN {
            return comparison;
        }
        let Some(Interval { low, high }) = interval() else {
            if !self.effect.is_finite() {
                comparison.effect = 0.0;
            }
            return comparison;
        };
        if !low.is_finite() || !high.is_finite() {
            comparison.effect = 0.0;
            return comparison;
        }
        comparison.low = low.max(-self.bound);
        comparison.high = high.min(self.bound);
        if fewest >= u64::from(options.samples_min) {
            comparison.verdict = verdict(self.effect, low, high, options, question);
        }
        comparison
    }
}

/// The interval of an asymptotic confidence sequence about `effect`.
pub(super) fn sequence(
    effect: f64,
    samples: u64,
    squared_error: f64,
    question: Question,
    alpha: f64,
) -> Interval {
    let width = match question {
        Question::Difference => sequence_width(samples, alpha),
        Question::Equivalence | Question::NonInferiority => {
            one_sided_sequence_width(samples, alpha)
        }
    };
    let half = width * squared_error.sqrt();
    Interval {
        low: effect - half,
        high: effect + half,
    }
}

/// `Better` and `Worse` need an interval that excludes no difference at all;
/// `Worse` also needs an effect above the margin. `Equivalent` needs the whole
/// interval within the margin (its bad end, when only that is asked for), and
/// yields to `Better`, not to `Worse`: what is worse by less than anybody minds
/// is equivalent.
fn verdict(
    effect: f64,
    low: f64,
    high: f64,
    options: &ComparisonOptions,
    question: Question,
) -> ComparisonVerdict {
    // Turned so that more is worse.
    let (effect, low, high) = match options.direction {
        Direction::LowerIsBetter => (effect, low, high),
        Direction::HigherIsBetter => (-effect, -high, -low),
    };
    let no_better = low > -options.margin || question == Question::NonInferiority;
    if high < 0.0 {
        ComparisonVerdict::Better
    } else if no_better && high < options.margin {
        ComparisonVerdict::Equivalent
    } else if low > 0.0 && effect > options.margin {
        ComparisonVerdict::Worse
    } else {
        ComparisonVerdict::NotEnoughData
    }
}

#[cfg(test)]
pub(super) mod tests;
