//! What is to be expected of answers whose probabilities are known: the sums
//! behind every estimate. The parent module says what they mean.

use super::EstimatedMetric;
use serde::{Deserialize, Serialize};

/// Expected counts of a confusion table. Adds up over windows and shards.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ExpectedConfusion {
    /// Expected to be rightly called positive.
    pub true_positives: f64,
    /// Wrongly.
    pub false_positives: f64,
    /// Expected to be wrongly called negative.
    pub false_negatives: f64,
    /// Rightly.
    pub true_negatives: f64,
}

impl ExpectedConfusion {
    /// Counts an answer that is positive with `probability`; what is not in
    /// `[0, 1]` is not counted.
    pub fn add(&mut self, probability: f64, predicted: bool) {
        if !(0.0..=1.0).contains(&probability) {
            return;
        }
        let (positive, negative) = match predicted {
            true => (&mut self.true_positives, &mut self.false_positives),
            false => (&mut self.false_negatives, &mut self.true_negatives),
        };
        *positive += probability;
        *negative += 1.0 - probability;
    }

    /// A metric of these counts. None when it is undefined, and for
    /// [`EstimatedMetric::Auc`], which needs the order ([`expected_auc`]).
    pub fn metric(&self, metric: EstimatedMetric) -> Option<f64> {
        let (found, wrong) = (self.true_positives, self.false_positives);
        let (missed, rest) = (self.false_negatives, self.true_negatives);
        let (part, whole) = match metric {
            EstimatedMetric::Accuracy => (found + rest, found + wrong + missed + rest),
            EstimatedMetric::Precision => (found, found + wrong),
            EstimatedMetric::Recall => (found, found + missed),
            EstimatedMetric::F1 => (2.0 * found, 2.0 * found + wrong + missed),
            EstimatedMetric::Auc => return None,
        };
        (whole > 0.0).then(|| part / whole)
    }
}

/// The expected area under the ROC curve, of scores that order the answers and
/// the probability that each is positive. Equal scores count half. None when
/// nothing is expected to be positive, or nothing negative, or with a NaN.
pub fn expected_auc(rows: &[(f64, f64)]) -> Option<f64> {
    if rows
        .iter()
        .any(|(score, p)| score.is_nan() || !(0.0..=1.0).contains(p))
    {
        return None;
    }
    let mut sorted = rows.to_vec();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut pairs, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 >= b.0) {
        let here: f64 = equal.iter().map(|(_, p)| p).sum();
        let others = equal.len() as f64 - here;
        pairs += here * (negatives + others / 2.0);
        positives += here;
        negatives += others;
    }
    let all = positives * negatives;
    (all > 0.0).then(|| pairs / all)
}
