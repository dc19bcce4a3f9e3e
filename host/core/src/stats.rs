//! Statistical verdicts from counts, moments and scores.
//!
//! In reading order: [`compare`] holds a candidate against a baseline and
//! [`paired`] does where both saw the same requests, on [`sequence`], by which
//! looking after every request raises no more false alarms than looking once,
//! and on [`interval`], for one planned look. [`performance`] turns labels into
//! accuracy and its kin, [`calibration`] scores into probabilities, and
//! [`estimated`] those into performance without labels.
//! [`drift()`] holds two distributions against each other with the population
//! stability index and the critical value that chance gives it at the two
//! sample sizes; the module [`drift`](mod@drift) has the other measures, by
//! name, on [`bins`]. [`online`] watches value by value, [`rank`] compares by
//! rank and has the judge of Kayenta, [`argo`] the analysis of Argo Rollouts
//! and a strict one.
//!
//! Always holds: too little evidence is `NotEnoughData` or `None`, never a good
//! sign; every number in a result is finite, so that it survives JSON.

pub mod argo;
pub mod binomial;
pub mod bins;
pub mod calibration;
pub mod compare;
pub mod drift;
pub mod estimated;
pub mod interval;
pub mod online;
pub mod paired;
pub mod performance;
pub mod rank;
pub mod sequence;

pub use compare::{COMPARED_SAMPLES_MIN, compare_means, compare_rates};
pub use sequence::{SAMPLES_TUNED, sequence_width};

use crate::metric::{DriftReading, DriftVerdict};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Fewest values on each side of a drift reading: five for each decile, which
/// is the usual condition for the chi-squared approximation.
pub const DRIFT_SAMPLES_MIN: u64 = 50;
/// Deciles.
pub const DRIFT_BINS: usize = 10;
/// A bin that the reference does not reach counts by itself when it has this
/// many current values; fewer are counted with its neighbour.
const OUTSIDE_MIN: u64 = 5;
/// Share of quiet windows in which drift is not reported.
const DRIFT_QUIET: f64 = 0.95;

/// Counts of the reference and of the current values in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BinPair {
    /// Values of the reference.
    pub reference: u64,
    /// Current values.
    pub current: u64,
}

/// Cuts values at the deciles of the reference (linear between ranks, as numpy
/// and R do by default). `cells` are counts of equal or nearly equal values with
/// a number that stands for them, in ascending order of it. What lies outside of
/// all reference values is a bin of its own when there is enough of it, else
/// part of the outermost decile. Bins without values are left out.
pub fn decile_bins(cells: &[(f64, BinPair)]) -> Vec<BinPair> {
    let Some((min, edges, max)) = deciles(cells) else {
        let current = cells.iter().map(|(_, cell)| cell.current).sum();
        return vec![BinPair {
            reference: 0,
            current,
        }];
    };
    let inner = |at: f64| 1 + edges.iter().filter(|edge| **edge < at).count();
    let (lowest, highest) = (inner(min), inner(max));
    let mut bins = [BinPair::default(); DRIFT_BINS + 2];
    for (at, cell) in cells {
        let bin = match *at {
            at if at < min => 0,
            at if at > max => DRIFT_BINS + 1,
            at => inner(at),
        };
        bins[bin].reference += cell.reference;
        bins[bin].current += cell.current;
    }
    for (outside, neighbour) in [(0, lowest), (DRIFT_BINS + 1, highest)] {
        if bins[outside].current < OUTSIDE_MIN {
            bins[neighbour].current += std::mem::take(&mut bins[outside]).current;
        }
    }
    bins.into_iter()
        .filter(|bin| bin.reference + bin.current > 0)
        .collect()
}

/// The smallest reference value, the nine inner deciles, and the largest. None
/// without reference values.
fn deciles(cells: &[(f64, BinPair)]) -> Option<(f64, [f64; DRIFT_BINS - 1], f64)> {
    let referenced = || cells.iter().filter(|(_, cell)| cell.reference > 0);
    let total: u64 = referenced().map(|(_, cell)| cell.reference).sum();
    let (min, max) = (referenced().next()?.0, referenced().next_back()?.0);
    let mut edges = [max; DRIFT_BINS - 1];
    let mut upto = 0u64; // reference values up to and with the present cell
    let mut decile = 1;
    let mut rest = referenced().peekable();
    while let Some((at, cell)) = rest.next() {
        upto += cell.reference;
        while decile < DRIFT_BINS {
            let rank = (total - 1) as f64 * decile as f64 / DRIFT_BINS as f64;
            let whole = rank.floor();
            if whole >= upto as f64 {
                break;
            }
            // The next rank is the next cell's when this cell ends here.
            let next = match rest.peek() {
                Some((next, _)) if whole + 1.0 >= upto as f64 => *next,
                _ => *at,
            };
            edges[decile - 1] = at + (rank - whole) * (next - at);
            decile += 1;
        }
    }
    Some((min, edges, max))
}

/// The population stability index, natural logarithm: the sum of
/// `(r - c) · ln(r / c)` over the shares of each bin. An empty share counts as
/// half a value, or else one empty bin would make the sum infinite. Bins that
/// are empty on both sides are left out.
pub fn psi(bins: &[BinPair]) -> f64 {
    let sum = |side: fn(&BinPair) -> u64| bins.iter().map(side).sum::<u64>() as f64;
    let (references, currents) = (sum(|bin| bin.reference), sum(|bin| bin.current));
    let share = |count: u64, total: f64| (count as f64).max(0.5) / total;
    bins.iter()
        .filter(|bin| bin.reference + bin.current > 0)
        .map(|bin| {
            let reference = share(bin.reference, references);
            let current = share(bin.current, currents);
            (reference - current) * (reference / current).ln()
        })
        .sum()
}

/// The value that the index of `bins` bins exceeds by chance in 5 % of quiet
/// windows: χ²₀.₉₅ with `bins - 1` degrees of freedom, times `1/N + 1/M`, and a
/// correction of the next order in the counts. The index is not quite a χ²: with
/// some five values in a bin its mean is a tenth larger, and without the
/// correction 10 % of quiet windows of 50 values alarmed.
pub fn psi_critical(bins: usize, reference_samples: u64, current_samples: u64) -> f64 {
    let freedom = bins.saturating_sub(1).max(1) as f64;
    let quantile = match ChiSquared::new(freedom) {
        Ok(chi_squared) => chi_squared.inverse_cdf(DRIFT_QUIET),
        Err(_) => f64::MAX, // no such distribution; freedom is at least 1
    };
    let chance = 1.0 / reference_samples as f64 + 1.0 / current_samples as f64;
    // What the third and fourth moments of shares around 1/bins add to the mean.
    let (n, m) = (reference_samples as f64, current_samples as f64);
    let squares = 1.0 / (n * n) + 1.0 / (m * m);
    let bins = freedom + 1.0;
    let correction = bins * bins / (2.0 * freedom) * squares / chance;
    quantile * chance * (1.0 + correction)
}

/// Says whether the current values are distributed as the reference's. `bins`
/// come from [`decile_bins`].
pub fn drift(bins: &[BinPair]) -> DriftReading {
    let current_samples = bins.iter().map(|bin| bin.current).sum();
    let reference_samples = bins.iter().map(|bin| bin.reference).sum();
    let mut reading = DriftReading {
        verdict: DriftVerdict::NotEnoughData,
        psi: 0.0,
        critical: 0.0,
        current_samples,
        reference_samples,
    };
    if current_samples < DRIFT_SAMPLES_MIN || reference_samples < DRIFT_SAMPLES_MIN {
        return reading;
    }
    reading.psi = psi(bins);
    reading.critical = psi_critical(bins.len(), reference_samples, current_samples);
    reading.verdict = if reading.psi > reading.critical {
        DriftVerdict::Drifted
    } else {
        DriftVerdict::Stable
    };
    reading
}

/// [`drift()`] on values themselves, for those who have them.
pub fn drift_of_values(reference: &[f64], current: &[f64]) -> DriftReading {
    drift(&decile_bins(&bins::by_value(reference, current)))
}

#[cfg(test)]
mod tests;
