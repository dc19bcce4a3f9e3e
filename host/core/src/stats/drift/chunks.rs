//! Thresholds from chunks of the reference.
//!
//! A distance between samples is above 0 by chance, and further above the fewer
//! values there are. So its threshold comes from the reference itself, cut into
//! chunks as large as the windows that will be judged: mean + 3 standard
//! deviations (ddof 0) of what the chunks have, as NannyML's
//! `StandardDeviationThreshold`.
//!
//! Unlike there, each chunk is held against the rest of the reference. A chunk
//! that is a tenth of what it is held against is a tenth nearer to it than a
//! window is: 4 to 9 % of quiet windows alarm that way, and 2 to 5 % in ours (W1, ten
//! chunks; `host/bench/DRIFT.md`).
//!
//! Always holds: fewer than [`CHUNKS_MIN`] chunks, chunks below
//! [`CHUNK_ROWS_MIN`] rows, or a window smaller than the chunks, give no verdict.

use super::{Measure, Reading, drifted_if, finite_count};
use crate::metric::DriftVerdict;
use serde::{Deserialize, Serialize};

/// Fewest chunks; NannyML warns below.
pub const CHUNKS_MIN: usize = 6;
/// Fewest rows of a chunk, and so of a window.
pub const CHUNK_ROWS_MIN: u64 = super::DRIFT_SAMPLES_MIN;
/// Standard deviations from the mean to the threshold.
pub const DEVIATIONS: f64 = 3.0;

/// What a statistic is like on chunks of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChunkRule {
    /// Rows of each chunk.
    pub chunk_rows: u64,
    /// How many chunks there were; those without a finite value do not count.
    pub chunks: u64,
    /// Mean of the statistic.
    pub mean: f64,
    /// Its standard deviation, ddof 0.
    pub stddev: f64,
}

impl ChunkRule {
    /// From the statistic's value on each chunk. Values that are not finite are
    /// left out.
    pub fn of(values: &[f64], chunk_rows: u64) -> Self {
        let finite = || values.iter().filter(|value| value.is_finite());
        let chunks = finite().count();
        let n = chunks.max(1) as f64;
        let mean = finite().sum::<f64>() / n;
        let squares: f64 = finite().map(|value| (value - mean).powi(2)).sum();
        Self {
            chunk_rows,
            chunks: chunks as u64,
            mean,
            stddev: (squares / n).sqrt(),
        }
    }

    /// The value above which a statistic is unusual.
    pub fn high(&self) -> f64 {
        self.mean + DEVIATIONS * self.stddev
    }

    /// The value below which it is; of use for rates and means, not for
    /// distances.
    pub fn low(&self) -> f64 {
        self.mean - DEVIATIONS * self.stddev
    }

    /// Whether windows of `rows` rows can be judged.
    pub fn judges(&self, rows: u64) -> bool {
        self.chunks >= CHUNKS_MIN as u64
            && self.chunk_rows >= CHUNK_ROWS_MIN
            && rows >= self.chunk_rows
            && self.high().is_finite()
            && self.low().is_finite()
    }

    /// The verdict on a distance: drift is a value above [`ChunkRule::high`].
    pub fn judge_distance(&self, value: f64, rows: u64) -> DriftVerdict {
        if !self.judges(rows) || !value.is_finite() {
            return DriftVerdict::NotEnoughData;
        }
        drifted_if(value > self.high())
    }

    /// The verdict on a statistic that may leave to both sides.
    pub fn judge_both_sides(&self, value: f64, rows: u64) -> DriftVerdict {
        if !self.judges(rows) || !value.is_finite() {
            return DriftVerdict::NotEnoughData;
        }
        drifted_if(value > self.high() || value < self.low())
    }
}

/// A reference with the rule that its chunks give for one measure.
#[derive(Debug, Clone)]
pub struct ReferenceChunks {
    measure: Measure,
    reference: Vec<f64>,
    rule: ChunkRule,
}

impl ReferenceChunks {
    /// Cuts the reference, in the order it has, into chunks of `chunk_rows` rows
    /// (at least one); what is left over is in no chunk. Values that are not
    /// finite are left out first. Takes one comparison for each chunk.
    pub fn new(measure: Measure, reference: &[f64], chunk_rows: u64) -> Self {
        let finite = reference.iter().copied().filter(|value| value.is_finite());
        let reference: Vec<f64> = finite.collect();
        let rows = usize::try_from(chunk_rows.max(1)).unwrap_or(usize::MAX);
        let starts = (0..reference.len() / rows).map(|chunk| chunk * rows);
        let values: Vec<f64> = starts
            .filter_map(|start| {
                let (before, from) = reference.split_at(start);
                let (chunk, after) = from.split_at(rows);
                measure.of(&[before, after].concat(), chunk)
            })
            .collect();
        Self {
            measure,
            rule: ChunkRule::of(&values, chunk_rows),
            reference,
        }
    }

    /// The rule.
    pub fn rule(&self) -> ChunkRule {
        self.rule
    }

    /// The verdict on a window.
    pub fn read(&self, current: &[f64]) -> Reading {
        let samples = finite_count(current);
        let nothing = Reading::not_enough(self.reference.len() as u64, samples);
        if !self.rule.judges(samples) {
            return nothing;
        }
        let Some(value) = self.measure.of(&self.reference, current) else {
            return nothing;
        };
        Reading {
            verdict: self.rule.judge_distance(value, samples),
            statistic: value,
            threshold: Some(self.rule.high()),
            ..nothing
        }
    }
}
