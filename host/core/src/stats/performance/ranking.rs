//! Scores judged by their order: the area under the ROC curve.
//!
//! The area is the chance that a positive scores above a negative, equal scores
//! counting half (Mann and Whitney). From values it is exact, with DeLong's
//! standard error; from counts in bins it is known up to the pairs that share a
//! bin.
//!
//! Source: DeLong et al. (1988) in the mid-rank form of Sun and Xu (2014).

use super::Score;
use crate::metric::Proportion;
use serde::{Deserialize, Serialize};

/// How well scores separate positives from negatives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Auc {
    /// The area and its standard error; samples are both kinds together.
    pub score: Score,
    /// Positives.
    pub positives: u64,
    /// Negatives.
    pub negatives: u64,
}

/// The area from scores and whether each is positive, in any order. None
/// without a positive or without a negative, or with a score that is NaN.
///
/// With fewer than two of a kind the standard error leaves that kind's part
/// out; with perfect separation it is 0.
pub fn auc(scored: &[(f64, bool)]) -> Option<Auc> {
    let placements = Placements::of(scored)?;
    let (positives, negatives) = (placements.of_positives.len(), placements.of_negatives.len());
    let value = mean(&placements.of_positives);
    let squared_error = part(&placements.of_positives) + part(&placements.of_negatives);
    Some(Auc {
        score: Score {
            value,
            standard_error: squared_error.sqrt(),
            samples: (positives + negatives) as u64,
        },
        positives: positives as u64,
        negatives: negatives as u64,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample variance over the number; 0 with fewer than two.
fn part(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .sum();
    squares / (n - 1.0) / n
}

/// Of each score, the share of the other kind that it is on the right side of.
pub(in crate::stats) struct Placements {
    pub(in crate::stats) of_positives: Vec<f64>,
    of_negatives: Vec<f64>,
}

impl Placements {
    pub(in crate::stats) fn of(scored: &[(f64, bool)]) -> Option<Placements> {
        let positives = scored.iter().filter(|(_, positive)| *positive).count();
        let negatives = scored.len() - positives;
        if positives == 0 || negatives == 0 || scored.iter().any(|(score, _)| score.is_nan()) {
            return None;
        }
        let mut sorted = scored.to_vec();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let (p, n) = (positives as f64, negatives as f64);
        let mut placements = Placements {
            of_positives: Vec::with_capacity(positives),
            of_negatives: Vec::with_capacity(negatives),
        };
        let (mut positives_below, mut negatives_below) = (0.0, 0.0);
        for equal in sorted.chunk_by(|a, b| a.0 >= b.0) {
            let here = equal.iter().filter(|(_, positive)| *positive).count();
            let (here, others) = (here as f64, (equal.len() - here) as f64);
            for (_, positive) in equal {
                match positive {
                    true => placements
                        .of_positives
                        .push((negatives_below + others / 2.0) / n),
                    false => {
                        let above = p - positives_below - here / 2.0;
                        placements.of_negatives.push(above / p);
                    }
                }
            }
            positives_below += here;
            negatives_below += others;
        }
        Some(placements)
    }
}

/// The area from counts, and how far the exact one may be away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BinnedAuc {
    /// The area, pairs within one bin counting half.
    pub value: f64,
    /// The exact area is at most this far away, either way.
    pub error_max: f64,
    /// Positives.
    pub positives: u64,
    /// Negatives.
    pub negatives: u64,
}

/// The area from bins in ascending order of score, each with its positives
/// (events) among its scores (trials). None without a positive or without a
/// negative.
pub fn binned_auc(bins: &[Proportion]) -> Option<BinnedAuc> {
    let (mut ordered, mut shared) = (0.0, 0.0); // pairs
    let (mut positives, mut negatives) = (0u64, 0u64);
    for bin in bins {
        let here = bin.events.min(bin.trials);
        let others = bin.trials - here;
        ordered += here as f64 * negatives as f64;
        shared += here as f64 * others as f64;
        positives = positives.saturating_add(here);
        negatives = negatives.saturating_add(others);
    }
    let pairs = positives as f64 * negatives as f64;
    (pairs > 0.0).then(|| BinnedAuc {
        value: (ordered + shared / 2.0) / pairs,
        error_max: shared / 2.0 / pairs,
        positives,
        negatives,
    })
}
