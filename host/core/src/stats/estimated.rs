//! How good a model probably is, while nobody has labelled its answers.
//!
//! Calibrated scores say how often an answer is right, so their sums are the
//! expected counts of a confusion table: CBPE, confidence-based performance
//! estimation. [`Estimator`] learns from labelled history what scores are worth
//! and how much the realised figures vary from chunk to chunk, and then reads
//! the estimate of a window against that. [`classes`] does so for many classes.
//!
//! Source: NannyML's CBPE, whose figures the tests hold these against. Where
//! it depends on the order of rows with equal scores (the area under the ROC
//! curve), this does not; what it calls 0 for want of data is
//! [`EstimateVerdict::NotEnoughData`] here.
//!
//! Know its limit: when the relation of score and truth itself changes (concept
//! drift), the estimate is wrong and does not know it. It sees inputs on which
//! the model is less sure, not a world that has moved on.
//!
//! Always holds: a figure without evidence is None, and no alarm's absence.

pub mod classes;
mod expected;

pub use expected::{ExpectedConfusion, expected_auc};

use super::calibration::{Calibration, Calibrator};
use super::performance::ranking::{Placements, auc};
use super::performance::{Confusion, score};
use crate::metric::Proportion;
use serde::{Deserialize, Serialize};

/// Fewest chunks of history; NannyML warns below this.
pub const CHUNKS_MIN: usize = 6;
/// Fewest rows of a chunk.
pub const CHUNK_ROWS_MIN: usize = 2;
/// Standard deviations from the mean to either threshold, and sampling errors
/// to either end of an estimate's band.
const DEVIATIONS: f64 = 3.0;

/// What is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EstimatedMetric {
    /// Right among all.
    Accuracy,
    /// Right among those called positive.
    Precision,
    /// Found among the positive.
    Recall,
    /// The harmonic mean of both.
    F1,
    /// The area under the ROC curve.
    Auc,
}

impl EstimatedMetric {
    /// All of them.
    pub const ALL: [EstimatedMetric; 5] = [
        EstimatedMetric::Accuracy,
        EstimatedMetric::Precision,
        EstimatedMetric::Recall,
        EstimatedMetric::F1,
        EstimatedMetric::Auc,
    ];
}

/// An answer whose truth is not known: the score of "positive" in `[0, 1]`, and
/// whether it was called so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The model's score.
    pub score: f64,
    /// What was answered.
    pub predicted: bool,
}

/// One whose truth is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledAnswer {
    /// The answer.
    pub answer: Answer,
    /// The truth.
    pub actual: bool,
}

/// Where an estimate stands to what the history makes likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EstimateVerdict {
    /// Between the thresholds.
    Usual,
    /// Below the lower one.
    Below,
    /// Above the upper one: something has changed, too.
    Above,
    /// There is no estimate.
    NotEnoughData,
}

/// An estimate with the numbers behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimated {
    /// What is estimated.
    pub metric: EstimatedMetric,
    /// Where it stands.
    pub verdict: EstimateVerdict,
    /// The estimate; None when it is undefined.
    pub value: Option<f64>,
    /// What chance alone makes of the realised figure at this many rows: one
    /// standard deviation.
    pub sampling_error: Option<f64>,
    /// The estimate less three sampling errors, at least 0.
    pub low: Option<f64>,
    /// The estimate and three sampling errors, at most 1.
    pub high: Option<f64>,
    /// The lower threshold.
    pub threshold_low: f64,
    /// The upper threshold.
    pub threshold_high: f64,
    /// Rows.
    pub samples: u64,
}

/// What history says about one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// Which.
    pub metric: EstimatedMetric,
    /// The mean of the realised metric over chunks less three standard
    /// deviations, at least 0.
    pub threshold_low: f64,
    /// And three more, at most 1.
    pub threshold_high: f64,
    /// Chunks in which the metric was defined.
    pub chunks: u32,
    /// Standard deviation of what one relevant row adds to the metric.
    deviation: f64,
    /// Share of rows that are relevant.
    fraction: f64,
}

impl Expectation {
    /// From the realised metric of each chunk. None with fewer than
    /// [`CHUNKS_MIN`].
    fn of(
        metric: EstimatedMetric,
        realised: &[f64],
        (deviation, fraction): (f64, f64),
    ) -> Option<Expectation> {
        if realised.len() < CHUNKS_MIN {
            return None;
        }
        let n = realised.len() as f64;
        let mean = realised.iter().sum::<f64>() / n;
        let squares: f64 = realised
            .iter()
            .map(|value| (value - mean) * (value - mean))
            .sum();
        let reach = DEVIATIONS * (squares / n).sqrt();
        Some(Expectation {
            metric,
            threshold_low: (mean - reach).clamp(0.0, 1.0),
            threshold_high: (mean + reach).clamp(0.0, 1.0),
            chunks: realised.len() as u32,
            deviation,
            fraction,
        })
    }

    fn read(&self, value: Option<f64>, samples: usize) -> Estimated {
        let relevant = samples as f64 * self.fraction;
        let sampling_error = (relevant > 0.0).then(|| self.deviation / relevant.sqrt());
        let band = |sign: f64| {
            let end = value? + sign * DEVIATIONS * sampling_error?;
            Some(end.clamp(0.0, 1.0))
        };
        Estimated {
            metric: self.metric,
            verdict: match value {
                None => EstimateVerdict::NotEnoughData,
                Some(value) if value < self.threshold_low => EstimateVerdict::Below,
                Some(value) if value > self.threshold_high => EstimateVerdict::Above,
                Some(_) => EstimateVerdict::Usual,
            },
            value,
            sampling_error,
            low: band(-1.0),
            high: band(1.0),
            threshold_low: self.threshold_low,
            threshold_high: self.threshold_high,
            samples: samples as u64,
        }
    }
}

/// Why there is no estimator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EstimateError {
    /// Chunks are too small for a figure of their own.
    #[error("chunks of {0} rows, where at least {CHUNK_ROWS_MIN} are needed")]
    ChunkRows(usize),
    /// The history is too short to tell how much a metric varies.
    #[error(
        "{rows} rows are {chunks} chunks, where at least {CHUNKS_MIN} are needed: \
         take a longer history or smaller chunks"
    )]
    TooShort {
        /// Rows of the history.
        rows: usize,
        /// Chunks that they make.
        chunks: usize,
    },
    /// A score is out of `[0, 1]` or NaN.
    #[error("the score of row {0} is not in [0, 1]")]
    Score(usize),
    /// A row has another number of probabilities than there are classes, or a
    /// class that there is not.
    #[error("row {0} does not fit the classes")]
    Classes(usize),
    /// There are fewer than two classes, or too many.
    #[error("{0} classes are not a number of classes that can be estimated")]
    ClassCount(usize),
}

/// Estimates performance without labels. Serializable, so that it can be kept
/// with the baseline it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimator {
    /// What scores are worth, and what calibration did for them.
    pub calibration: Calibration,
    /// What history says, for each metric that it defines.
    pub expectations: Vec<Expectation>,
    /// Rows of a chunk. Windows of about this size are comparable; smaller ones
    /// vary more than the thresholds know.
    pub chunk_rows: usize,
}

impl Estimator {
    /// Learns from labelled history, in the order in which it happened, cut in
    /// chunks of `chunk_rows`; a last one of less than half of that is left out
    /// of the thresholds. A metric that fewer than [`CHUNKS_MIN`] chunks define
    /// (the recall of what never happens) is not estimated.
    ///
    /// # Errors
    ///
    /// Too little history, or a score that is none.
    pub fn fit(history: &[LabelledAnswer], chunk_rows: usize) -> Result<Estimator, EstimateError> {
        let chunks = chunks(history, chunk_rows)?;
        let scored: Vec<(f64, bool)> = history
            .iter()
            .map(|row| (row.answer.score, row.actual))
            .collect();
        let calibration = Calibrator::fit(&scored).ok_or_else(|| {
            let fine = |(score, _): &(f64, bool)| (0.0..=1.0).contains(score);
            EstimateError::Score(scored.iter().position(|row| !fine(row)).unwrap_or_default())
        })?;
        let expectations = EstimatedMetric::ALL
            .into_iter()
            .filter_map(|metric| {
                let defined: Vec<f64> = chunks
                    .iter()
                    .filter_map(|chunk| realised(metric, chunk))
                    .collect();
                Expectation::of(metric, &defined, deviation(metric, history, &scored)?)
            })
            .collect();
        Ok(Estimator {
            calibration,
            expectations,
            chunk_rows,
        })
    }

    /// Reads a window. Rows whose score is not in `[0, 1]` are left out.
    pub fn estimate(&self, window: &[Answer]) -> Vec<Estimated> {
        let mut expected = ExpectedConfusion::default();
        let mut order = Vec::with_capacity(window.len());
        for answer in window {
            if (0.0..=1.0).contains(&answer.score) {
                let probability = self.calibration.calibrator.apply(answer.score);
                expected.add(probability, answer.predicted);
                order.push((answer.score, probability));
            }
        }
        self.expectations
            .iter()
            .map(|expectation| {
                let value = match expectation.metric {
                    EstimatedMetric::Auc => expected_auc(&order),
                    metric => expected.metric(metric),
                };
                expectation.read(value, order.len())
            })
            .collect()
    }
}

/// The chunks of a history.
fn chunks<Row>(history: &[Row], chunk_rows: usize) -> Result<Vec<&[Row]>, EstimateError> {
    if chunk_rows < CHUNK_ROWS_MIN {
        return Err(EstimateError::ChunkRows(chunk_rows));
    }
    let long_enough = |chunk: &&[Row]| chunk.len() * 2 >= chunk_rows;
    let chunks: Vec<&[Row]> = history.chunks(chunk_rows).filter(long_enough).collect();
    if chunks.len() < CHUNKS_MIN {
        return Err(EstimateError::TooShort {
            rows: history.len(),
            chunks: chunks.len(),
        });
    }
    Ok(chunks)
}

fn confusion(rows: &[LabelledAnswer]) -> Confusion {
    let mut confusion = Confusion::default();
    for row in rows {
        confusion.add(row.answer.predicted, row.actual);
    }
    confusion
}

fn rate(observed: Proportion) -> Option<f64> {
    score(observed).map(|score| score.value)
}

fn realised(metric: EstimatedMetric, rows: &[LabelledAnswer]) -> Option<f64> {
    let confusion = confusion(rows);
    match metric {
        EstimatedMetric::Accuracy => rate(confusion.accuracy()),
        EstimatedMetric::Precision => rate(confusion.precision()),
        EstimatedMetric::Recall => rate(confusion.recall()),
        EstimatedMetric::F1 => confusion.f1().map(|f1| f1.value),
        EstimatedMetric::Auc => {
            let scored: Vec<(f64, bool)> = rows
                .iter()
                .map(|row| (row.answer.score, row.actual))
                .collect();
            auc(&scored).map(|auc| auc.score.value)
        }
    }
}

/// Standard deviation of what a relevant row adds to the metric, and the share
/// of relevant rows. None when there is no relevant row.
fn deviation(
    metric: EstimatedMetric,
    history: &[LabelledAnswer],
    scored: &[(f64, bool)],
) -> Option<(f64, f64)> {
    let confusion = confusion(history);
    let rows = history.len() as f64;
    let of_rate = |relevant: Proportion, factor: f64| {
        let p = rate(relevant)?;
        Some((
            factor * (p * (1.0 - p)).sqrt(),
            relevant.trials as f64 / rows,
        ))
    };
    match metric {
        EstimatedMetric::Accuracy => of_rate(confusion.accuracy(), 1.0),
        EstimatedMetric::Precision => of_rate(confusion.precision(), 1.0),
        EstimatedMetric::Recall => of_rate(confusion.recall(), 1.0),
        EstimatedMetric::F1 => {
            let wrong = confusion.false_positives + confusion.false_negatives;
            let relevant = Proportion {
                events: confusion.true_positives,
                trials: confusion.true_positives + wrong,
            };
            // So that the mean of the rows is F1.
            let halves = confusion.true_positives as f64 + wrong as f64 / 2.0;
            of_rate(relevant, relevant.trials as f64 / halves)
        }
        EstimatedMetric::Auc => {
            let positives = scored.iter().filter(|(_, positive)| *positive).count() as f64;
            // Of the rarer kind, the share of the other that it is beyond.
            let turned: Vec<(f64, bool)> = match positives * 2.0 > rows {
                true => scored
                    .iter()
                    .map(|(score, positive)| (1.0 - score, !positive))
                    .collect(),
                false => scored.to_vec(),
            };
            let placements = Placements::of(&turned)?.of_positives;
            let n = placements.len() as f64;
            let mean = placements.iter().sum::<f64>() / n;
            let squares: f64 = placements.iter().map(|at| (at - mean) * (at - mean)).sum();
            Some(((squares / n).sqrt(), n / rows))
        }
    }
}

#[cfg(test)]
mod tests;
