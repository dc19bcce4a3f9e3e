//! Scores judged by their value: does 0.8 come true in eight of ten?
//!
//! The expected calibration error is the mean distance of score and truth over
//! bins; which bins is part of its name, since on the same scores the two kinds
//! give different figures. [`super::super::calibration`] lowers it.
//!
//! Sources: Naeini et al. (2015); equal-width bins are closed to the right as
//! in scikit-learn's `calibration_curve`, bins of equal counts are NannyML's;
//! Brier (1950).
//!
//! Always holds: a figure does not depend on the order of its rows.

use super::Score;
use serde::{Deserialize, Serialize};

/// How scores are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binning {
    /// The same width each, over `[0, 1]`.
    EqualWidth(u32),
    /// The same number of scores each, up to one. With fewer than two scores to
    /// a bin there are fewer bins. Equal scores that fall on both sides of an
    /// edge take their common truth along.
    EqualCount(u32),
}

/// Bins of either kind when nobody says.
pub const BINS_DEFAULT: u32 = 10;

/// The expected calibration error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationError {
    /// The error, in `[0, 1]`. Perfectly calibrated scores have one above 0,
    /// too, by chance, of the order of `√(bins / samples) / 3`.
    pub value: f64,
    /// Bins with scores in them.
    pub bins: u32,
    /// Scores.
    pub samples: u64,
}

/// The expected calibration error of scores in `[0, 1]` with what came true.
/// None without scores, with none or more than 10,000 bins, or when a score is
/// out of range or NaN.
pub fn expected_calibration_error(
    scored: &[(f64, bool)],
    binning: Binning,
) -> Option<CalibrationError> {
    let (Binning::EqualWidth(bins) | Binning::EqualCount(bins)) = binning;
    let bins_allowed = (1..=10_000).contains(&bins);
    if scored.is_empty() || !bins_allowed || !in_range(scored) {
        return None;
    }
    let mut sorted = scored.to_vec();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let gaps = match binning {
        Binning::EqualWidth(_) => equal_width(&sorted, bins),
        Binning::EqualCount(_) => equal_count(&sorted, bins as usize),
    };
    Some(CalibrationError {
        value: gaps.iter().map(|gap| gap.abs()).sum::<f64>() / scored.len() as f64,
        bins: gaps.len() as u32,
        samples: scored.len() as u64,
    })
}

fn in_range(scored: &[(f64, bool)]) -> bool {
    scored.iter().all(|(score, _)| (0.0..=1.0).contains(score))
}

/// Of each bin with scores: their sum less how many came true.
fn equal_width(sorted: &[(f64, bool)], bins: u32) -> Vec<f64> {
    let bin = |score: f64| {
        // The product may be off by a rounding; the edges decide.
        let near = (score * f64::from(bins)).ceil().max(1.0) - 1.0;
        let edge = |at: f64| at / f64::from(bins);
        match near {
            near if near > 0.0 && score <= edge(near) => near - 1.0,
            near if score > edge(near + 1.0) => near + 1.0,
            near => near,
        }
    };
    sorted
        .chunk_by(|a, b| bin(a.0) >= bin(b.0))
        .map(|rows| {
            rows.iter()
                .map(|(score, came_true)| score - f64::from(*came_true))
                .sum()
        })
        .collect()
}

fn equal_count(sorted: &[(f64, bool)], bins: usize) -> Vec<f64> {
    let bins = bins.min(sorted.len() / 2).max(1);
    let mut gaps = vec![0.0; bins];
    // Bin `i` begins at row `i · n / bins`.
    let mut at = 0;
    for equal in sorted.chunk_by(|a, b| a.0 >= b.0) {
        let came_true = equal.iter().filter(|(_, came_true)| *came_true).count();
        let gap = equal[0].0 - came_true as f64 / equal.len() as f64;
        for row in at..at + equal.len() {
            gaps[((row + 1) * bins - 1) / sorted.len()] += gap;
        }
        at += equal.len();
    }
    gaps
}

/// The mean square of score less truth; smaller is better. None with fewer than
/// two scores, or when one is out of `[0, 1]` or NaN.
pub fn brier(scored: &[(f64, bool)]) -> Option<Score> {
    if scored.len() < 2 || !in_range(scored) {
        return None;
    }
    let square = |(score, came_true): &(f64, bool)| {
        let off = score - f64::from(*came_true);
        off * off
    };
    let n = scored.len() as f64;
    let value = scored.iter().map(square).sum::<f64>() / n;
    let spread: f64 = scored
        .iter()
        .map(|row| (square(row) - value) * (square(row) - value))
        .sum();
    Some(Score {
        value,
        standard_error: (spread / (n - 1.0) / n).sqrt(),
        samples: scored.len() as u64,
    })
}
