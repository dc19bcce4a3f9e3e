//! How good a model's answers were, once their labels are known.
//!
//! [`Confusion`] counts answers of two kinds and gives rates with their exact
//! counts, so that [`super::compare`] can hold them against another release's;
//! [`classes`] does so for many kinds, [`ranking`] judges scores by their order
//! (ROC AUC), and [`reliability`] by their value (calibration error, Brier).
//! [`super::estimated`] gives the same figures without labels.
//!
//! Sources: the definitions of scikit-learn, whose figures the tests hold these
//! against; standard errors by the delta method (for F1 as Takahashi et al.,
//! 2022), for AUC by DeLong et al. (1988).
//!
//! Always holds: a figure without evidence is None, or a proportion without
//! trials; it is never NaN, and never 0 or 1 for want of data.

pub mod classes;
pub mod ranking;
pub mod reliability;

use super::interval::{Interval, rate, two_sided_normal, wilson};
use crate::metric::Proportion;
use serde::{Deserialize, Serialize};

/// A figure in `[0, 1]` with its precision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// How many observations it comes from.
    pub samples: u64,
}

impl Score {
    /// The normal interval at confidence `1 - alpha`, within `[0, 1]`. At a
    /// value of 0 or 1 the standard error is 0, and so is the interval's
    /// width: for a rate, [`wilson`] knows better.
    pub fn interval(self, alpha: f64) -> Interval {
        let half = two_sided_normal(alpha) * self.standard_error;
        Interval {
            low: self.value - half,
            high: self.value + half,
        }
        .clipped(0.0, 1.0)
    }
}

/// A rate as a score. None without trials.
pub fn score(observed: Proportion) -> Option<Score> {
    (observed.trials > 0).then(|| {
        let p = rate(observed);
        Score {
            value: p,
            standard_error: (p * (1.0 - p) / observed.trials as f64).sqrt(),
            samples: observed.trials,
        }
    })
}

/// Answers of two kinds, against their labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// Rightly called positive.
    pub true_positives: u64,
    /// Wrongly called positive.
    pub false_positives: u64,
    /// Wrongly called negative.
    pub false_negatives: u64,
    /// Rightly called negative.
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts one answer.
    pub fn add(&mut self, predicted: bool, actual: bool) {
        let cell = match (predicted, actual) {
            (true, true) => &mut self.true_positives,
            (true, false) => &mut self.false_positives,
            (false, true) => &mut self.false_negatives,
            (false, false) => &mut self.true_negatives,
        };
        *cell = cell.saturating_add(1);
    }

    /// The sum of two, as of two windows or two shards.
    pub fn merged(self, other: Confusion) -> Confusion {
        Confusion {
            true_positives: self.true_positives.saturating_add(other.true_positives),
            false_positives: self.false_positives.saturating_add(other.false_positives),
            false_negatives: self.false_negatives.saturating_add(other.false_negatives),
            true_negatives: self.true_negatives.saturating_add(other.true_negatives),
        }
    }

    /// Labelled answers.
    pub fn total(self) -> u64 {
        self.true_positives
            .saturating_add(self.false_positives)
            .saturating_add(self.false_negatives)
            .saturating_add(self.true_negatives)
    }

    /// Right among all.
    pub fn accuracy(self) -> Proportion {
        Proportion {
            events: self.true_positives.saturating_add(self.true_negatives),
            trials: self.total(),
        }
    }

    /// Right among those called positive.
    pub fn precision(self) -> Proportion {
        Proportion {
            events: self.true_positives,
            trials: self.true_positives.saturating_add(self.false_positives),
        }
    }

    /// Found among the positive: sensitivity.
    pub fn recall(self) -> Proportion {
        Proportion {
            events: self.true_positives,
            trials: self.true_positives.saturating_add(self.false_negatives),
        }
    }

    /// Found among the negative.
    pub fn specificity(self) -> Proportion {
        Proportion {
            events: self.true_negatives,
            trials: self.true_negatives.saturating_add(self.false_positives),
        }
    }

    /// The answers that F1 is about, and how many of them are right: it is
    /// `2 q / (1 + q)` of that rate `q` (the Jaccard index).
    fn relevant(self) -> Proportion {
        let found = self.true_positives;
        Proportion {
            events: found,
            trials: found
                .saturating_add(self.false_positives)
                .saturating_add(self.false_negatives),
        }
    }

    /// The harmonic mean of precision and recall. None when nothing is or was
    /// called positive.
    pub fn f1(self) -> Option<Score> {
        score(self.relevant()).map(|q| Score {
            value: f1_of(q.value),
            standard_error: q.standard_error * 2.0 / ((1.0 + q.value) * (1.0 + q.value)),
            samples: q.samples,
        })
    }

    /// The interval of [`Confusion::f1`] at confidence `1 - alpha`: Wilson's for
    /// the rate beneath it, carried over. None as for it.
    pub fn f1_interval(self, alpha: f64) -> Option<Interval> {
        wilson(self.relevant(), alpha).map(|q| Interval {
            low: f1_of(q.low),
            high: f1_of(q.high),
        })
    }
}

fn f1_of(q: f64) -> f64 {
    2.0 * q / (1.0 + q)
}

#[cfg(test)]
mod tests;
