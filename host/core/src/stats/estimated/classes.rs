//! The estimate for answers of many classes: accuracy.
//!
//! Each class's score is calibrated against all others, and the probabilities
//! of an answer are made to add up to 1 again; the accuracy to expect is the
//! mean probability of what was answered. Source and limits as in the parent
//! module, [`super`].

use super::{EstimateError, Estimated, EstimatedMetric, Expectation, chunks, rate};
use crate::metric::Proportion;
use crate::stats::calibration::{Calibration, Calibrator};
use crate::stats::performance::classes::CLASSES_MAX;
use serde::{Deserialize, Serialize};

/// An answer whose truth is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassAnswer {
    /// The score of each class, in `[0, 1]`.
    pub scores: Vec<f64>,
    /// What was answered, counted from 0.
    pub predicted: usize,
}

/// One whose truth is.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledClassAnswer {
    /// The answer.
    pub answer: ClassAnswer,
    /// The truth, counted from 0.
    pub actual: usize,
}

/// Estimates the accuracy over classes without labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassEstimator {
    /// What each class's score is worth.
    pub calibrations: Vec<Calibration>,
    /// What history says of the accuracy.
    pub expectation: Expectation,
    /// Rows of a chunk, as for [`super::Estimator`].
    pub chunk_rows: usize,
}

impl ClassAnswer {
    fn fits(&self, classes: usize) -> bool {
        self.scores.len() == classes && self.predicted < classes
    }

    fn in_range(&self) -> bool {
        self.scores.iter().all(|score| (0.0..=1.0).contains(score))
    }
}

impl ClassEstimator {
    /// Learns from labelled history, as [`super::Estimator::fit`] does.
    ///
    /// # Errors
    ///
    /// Too little history, or a row that does not fit `classes`, or a score that
    /// is none.
    pub fn fit(
        history: &[LabelledClassAnswer],
        classes: usize,
        chunk_rows: usize,
    ) -> Result<ClassEstimator, EstimateError> {
        if !(2..=CLASSES_MAX).contains(&classes) {
            return Err(EstimateError::ClassCount(classes));
        }
        for (at, row) in history.iter().enumerate() {
            if !row.answer.fits(classes) || row.actual >= classes {
                return Err(EstimateError::Classes(at));
            }
            if !row.answer.in_range() {
                return Err(EstimateError::Score(at));
            }
        }
        let chunks = chunks(history, chunk_rows)?;
        let calibrations = (0..classes)
            .map(|class| {
                let scored: Vec<(f64, bool)> = history
                    .iter()
                    .map(|row| (row.answer.scores[class], row.actual == class))
                    .collect();
                Calibrator::fit(&scored).ok_or(EstimateError::Score(0))
            })
            .collect::<Result<_, _>>()?;
        let too_short = EstimateError::TooShort {
            rows: history.len(),
            chunks: chunks.len(),
        };
        let realised: Vec<f64> = chunks.iter().filter_map(|rows| accuracy(rows)).collect();
        let all = accuracy(history).ok_or(too_short)?;
        let deviation = (all * (1.0 - all)).sqrt();
        let expectation = Expectation::of(EstimatedMetric::Accuracy, &realised, (deviation, 1.0));
        Ok(ClassEstimator {
            calibrations,
            expectation: expectation.ok_or(too_short)?,
            chunk_rows,
        })
    }

    /// Reads a window. Rows that do not fit the classes are left out.
    pub fn estimate(&self, window: &[ClassAnswer]) -> Estimated {
        let classes = self.calibrations.len();
        let (mut expected, mut rows) = (0.0, 0);
        for answer in window {
            if answer.fits(classes) && answer.in_range() {
                expected += self.probability(answer);
                rows += 1;
            }
        }
        let value = (rows > 0).then(|| expected / rows as f64);
        self.expectation.read(value, rows)
    }

    /// Of what was answered. When every class's curve says 0, all are alike.
    fn probability(&self, answer: &ClassAnswer) -> f64 {
        let of = |class: usize| {
            self.calibrations[class]
                .calibrator
                .apply(answer.scores[class])
        };
        let sum: f64 = (0..self.calibrations.len()).map(of).sum();
        match sum > 0.0 {
            true => of(answer.predicted) / sum,
            false => 1.0 / self.calibrations.len() as f64,
        }
    }
}

fn accuracy(rows: &[LabelledClassAnswer]) -> Option<f64> {
    let right = rows
        .iter()
        .filter(|row| row.answer.predicted == row.actual)
        .count();
    rate(Proportion {
        events: right as u64,
        trials: rows.len() as u64,
    })
}
