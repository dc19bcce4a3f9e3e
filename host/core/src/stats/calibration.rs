//! Scores made into probabilities: isotonic regression, and only where it helps.
//!
//! A model's confidence of 0.9 may come true in seven of ten. [`Isotonic`] is
//! the step-like curve, never falling, that is closest to what came true;
//! [`Calibrator::fit`] takes it when it lowers the calibration error
//! ([`super::performance::reliability`]) on rows that it has not seen, and
//! leaves the scores alone otherwise. [`super::estimated`] relies on it.
//!
//! Sources: pool adjacent violators (Ayer et al., 1955); the curve between and
//! outside of its knots is that of scikit-learn's `IsotonicRegression` with
//! `out_of_bounds="clip"`; when to use it is NannyML's `needs_calibration`.
//! That draws ten random tenths; here the tenths are every tenth row of either
//! kind, so that the same history gives the same curve.
//!
//! Always holds: a curve has at least one knot, its scores ascend, its values
//! do not fall, and all are finite; also one that was read back.

use super::performance::ranking::auc;
use super::performance::reliability::{Binning, expected_calibration_error};
use serde::{Deserialize, Serialize};

/// Parts into which rows are divided to see whether the curve helps.
const FOLDS: usize = 10;
/// Bins of equal counts in which it is seen.
const BINS: u32 = 10;
/// Scores that separate better than this are left alone: between such two heaps
/// there is nothing to learn from.
const AUC_MAX: f64 = 0.999;
/// Fewest rows for a curve: two to each bin of each part.
pub const ROWS_MIN: usize = 200;

/// An observation of the curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Where.
    pub score: f64,
    /// What came of it: 0 or 1, or a share.
    pub outcome: f64,
    /// How much it counts; at most 0 is not at all.
    pub weight: f64,
}

/// A curve that does not fall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Knots")]
pub struct Isotonic {
    scores: Vec<f64>,
    values: Vec<f64>,
}

/// As read back.
#[derive(Deserialize)]
struct Knots {
    scores: Vec<f64>,
    values: Vec<f64>,
}

impl TryFrom<Knots> for Isotonic {
    type Error = &'static str;

    fn try_from(Knots { scores, values }: Knots) -> Result<Isotonic, Self::Error> {
        let finite = scores
            .iter()
            .chain(&values)
            .all(|number| number.is_finite());
        if scores.is_empty() || scores.len() != values.len() || !finite {
            return Err("a curve has as many finite values as scores, at least one");
        }
        if !scores.is_sorted_by(|a, b| a < b) || !values.is_sorted() {
            return Err("the scores of a curve ascend and its values do not fall");
        }
        Ok(Isotonic { scores, values })
    }
}

/// Equal or pooled observations.
struct Block {
    value: f64,
    weight: f64,
    /// Distinct scores in it.
    len: usize,
}

impl Isotonic {
    /// The closest curve, in the sense of weighted squares. None without a point
    /// that counts, or with a number that is not finite.
    pub fn fit(points: &[Point]) -> Option<Isotonic> {
        let finite = |point: &Point| {
            point.score.is_finite() && point.outcome.is_finite() && point.weight.is_finite()
        };
        if !points.iter().all(finite) {
            return None;
        }
        let mut points: Vec<Point> = points.iter().copied().filter(|p| p.weight > 0.0).collect();
        points.sort_by(|a, b| a.score.total_cmp(&b.score));
        let mut scores = Vec::new();
        let mut blocks: Vec<Block> = Vec::new();
        for equal in points.chunk_by(|a, b| a.score >= b.score) {
            scores.push(equal[0].score);
            let weight: f64 = equal.iter().map(|point| point.weight).sum();
            let sum: f64 = equal.iter().map(|point| point.weight * point.outcome).sum();
            let mut block = Block {
                value: sum / weight,
                weight,
                len: 1,
            };
            // Pool with those before while they are not lower.
            while let Some(before) = blocks.pop_if(|before| before.value >= block.value) {
                let weight = before.weight + block.weight;
                let sum = before.value * before.weight + block.value * block.weight;
                block = Block {
                    value: sum / weight,
                    weight,
                    len: before.len + block.len,
                };
            }
            blocks.push(block);
        }
        // A block is flat from its first score to its last.
        let (mut knots, mut values, mut at) = (Vec::new(), Vec::new(), 0);
        for block in blocks {
            let (first, last) = (scores[at], scores[at + block.len - 1]);
            knots.push(first);
            values.push(block.value);
            if block.len > 1 {
                knots.push(last);
                values.push(block.value);
            }
            at += block.len;
        }
        (!knots.is_empty()).then_some(Isotonic {
            scores: knots,
            values,
        })
    }

    /// The curve at `score`: linear between knots, flat outside of them. A NaN
    /// is taken for the lowest score, which is the careful reading of a
    /// confidence.
    pub fn apply(&self, score: f64) -> f64 {
        let above = self.scores.partition_point(|knot| *knot <= score);
        let Some(last) = above.checked_sub(1) else {
            return self.values[0];
        };
        if above == self.scores.len() {
            return self.values[last];
        }
        let share = (score - self.scores[last]) / (self.scores[above] - self.scores[last]);
        self.values[last] + share * (self.values[above] - self.values[last])
    }

    /// How many knots it has; at most twice the distinct scores it was made of.
    pub fn knots(&self) -> usize {
        self.scores.len()
    }
}

/// What makes a probability of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calibrator {
    /// The score is the probability.
    Raw,
    /// The curve's value is.
    Isotonic(Isotonic),
}

/// A calibrator, and why this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What to use.
    pub calibrator: Calibrator,
    /// The calibration error of the scores themselves; None when it was not
    /// looked for: few rows, one kind only, or scores that separate the kinds.
    pub error_before: Option<f64>,
    /// That of the curve, on rows that it was not made of.
    pub error_after: Option<f64>,
    /// Rows of the history.
    pub rows: u64,
}

impl Calibrator {
    /// The probability of a score.
    pub fn apply(&self, score: f64) -> f64 {
        match self {
            Calibrator::Raw => score,
            Calibrator::Isotonic(curve) => curve.apply(score),
        }
    }

    /// Learns from scores in `[0, 1]` with what came true; the curve is taken
    /// when it lowers the calibration error in ten parts, each seen by a curve
    /// of the other nine. None when a score is out of range or NaN.
    pub fn fit(scored: &[(f64, bool)]) -> Option<Calibration> {
        if scored.iter().any(|(score, _)| !(0.0..=1.0).contains(score)) {
            return None;
        }
        let raw = Calibration {
            calibrator: Calibrator::Raw,
            error_before: None,
            error_after: None,
            rows: scored.len() as u64,
        };
        let separable = auc(scored).is_none_or(|auc| auc.score.value > AUC_MAX);
        if scored.len() < ROWS_MIN || separable {
            return Some(raw);
        }
        let error = |scored: &[(f64, bool)]| {
            expected_calibration_error(scored, Binning::EqualCount(BINS)).map(|error| error.value)
        };
        let (before, after) = (error(scored)?, error(&unseen(scored)?)?);
        let calibrator = match after < before {
            true => Calibrator::Isotonic(curve(scored.iter())?),
            false => Calibrator::Raw,
        };
        Some(Calibration {
            calibrator,
            error_before: Some(before),
            error_after: Some(after),
            ..raw
        })
    }
}

fn curve<'a>(scored: impl Iterator<Item = &'a (f64, bool)>) -> Option<Isotonic> {
    let points: Vec<Point> = scored
        .map(|(score, came_true)| Point {
            score: *score,
            outcome: f64::from(*came_true),
            weight: 1.0,
        })
        .collect();
    Isotonic::fit(&points)
}

/// Every row with the probability that the curve of the other parts gives it.
fn unseen(scored: &[(f64, bool)]) -> Option<Vec<(f64, bool)>> {
    let mut seen = [0usize; 2]; // of either kind
    let folds: Vec<usize> = scored
        .iter()
        .map(|(_, came_true)| {
            let of_kind = &mut seen[usize::from(*came_true)];
            *of_kind += 1;
            *of_kind % FOLDS
        })
        .collect();
    let mut probabilities = scored.to_vec();
    for fold in 0..FOLDS {
        let others = scored.iter().zip(&folds).filter(|(_, of)| **of != fold);
        let curve = curve(others.map(|(row, _)| row))?;
        for (row, of) in probabilities.iter_mut().zip(&folds) {
            if *of == fold {
                row.0 = curve.apply(row.0);
            }
        }
    }
    Some(probabilities)
}

#[cfg(test)]
mod tests;
