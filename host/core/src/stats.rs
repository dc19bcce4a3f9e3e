//! Statistical verdicts from counts and moments.
//!
//! [`compare_means`] and [`compare_rates`] hold a candidate against a baseline
//! with an asymptotic confidence sequence (Waudby-Smith et al., arXiv
//! 2103.06476, in the two-sided form with the tuning that GrowthBook uses), so
//! that looking after every request raises no more false alarms than looking
//! once. [`drift()`] holds two distributions against each other with the
//! population stability index and the critical value that chance gives it at
//! the two sample sizes.
//!
//! - [`argo`]: the analysis of Argo Rollouts, and a strict one;
//! - [`bins`]: how values are cut before they are compared;
//! - [`drift`](mod@drift): the other measures of drift, by name;
//! - [`online`]: detectors that watch value by value;
//! - [`rank`]: comparisons by rank, and the judge of Kayenta.
//!
//! Always holds: too little evidence is [`ComparisonVerdict::NotEnoughData`] or
//! [`DriftVerdict::NotEnoughData`], never a good sign; every number in a result
//! is finite, so that it survives JSON.

pub mod argo;
pub mod bins;
pub mod drift;
pub mod online;
pub mod rank;

use crate::metric::{
    Comparison, ComparisonOptions, ComparisonVerdict, Direction, DriftReading, DriftVerdict,
    Moments, Proportion,
};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// The sample size, both sides together, at which the confidence sequence is
/// tightest. GrowthBook's default; a canary decides at about this size.
pub const SAMPLES_TUNED: f64 = 5_000.0;
/// Fewest samples on each side, whatever the caller asks for: with one there is
/// no spread.
pub const COMPARED_SAMPLES_MIN: u64 = 2;
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

/// Standard errors by which the two-sided confidence sequence reaches to each
/// side of an estimate from `samples` values, at `1 - alpha`.
///
/// Valid at all sample sizes at once; wider than a fixed-size interval by a
/// factor of 3.4 at 100 samples and 1.6 at 5,000 (alpha 0.05).
pub fn sequence_width(samples: u64, alpha: f64) -> f64 {
    let n = samples as f64;
    let log = -2.0 * alpha.ln();
    let rho_squared = (log + log.ln_1p()) / SAMPLES_TUNED;
    let v = n * rho_squared + 1.0;
    (2.0 * v * (v.sqrt() / alpha).ln() / (n * rho_squared)).sqrt()
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
    let effect = candidate.mean - baseline.mean;
    let squared_error = |side: Moments| {
        let n = side.samples as f64;
        (side.stddev * side.stddev).max(effect * effect / n) / n
    };
    let sides = Sides {
        effect,
        candidate: candidate.samples,
        baseline: baseline.samples,
        bound: f64::MAX,
    };
    judge(
        sides,
        || squared_error(candidate) + squared_error(baseline),
        options,
    )
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
    let rate = |side: Proportion| match side.trials {
        0 => 0.0,
        trials => side.events.min(trials) as f64 / trials as f64,
    };
    let squared_error = |side: Proportion| {
        let n = side.trials as f64;
        let p = (side.events.min(side.trials) as f64 + 0.5) / (n + 1.0);
        p * (1.0 - p) / n
    };
    let sides = Sides {
        effect: rate(candidate) - rate(baseline),
        candidate: candidate.trials,
        baseline: baseline.trials,
        bound: 1.0,
    };
    judge(
        sides,
        || squared_error(candidate) + squared_error(baseline),
        options,
    )
}

struct Sides {
    effect: f64,
    candidate: u64,
    baseline: u64,
    /// No effect can be larger.
    bound: f64,
}

fn judge(
    sides: Sides,
    squared_error: impl FnOnce() -> f64,
    options: &ComparisonOptions,
) -> Comparison {
    let fewest = sides.candidate.min(sides.baseline);
    let mut comparison = Comparison {
        verdict: ComparisonVerdict::NotEnoughData,
        effect: if fewest == 0 { 0.0 } else { sides.effect },
        low: -sides.bound,
        high: sides.bound,
        candidate_samples: sides.candidate,
        baseline_samples: sides.baseline,
    };
    if fewest < COMPARED_SAMPLES_MIN {
        return comparison;
    }
    let samples = sides.candidate.saturating_add(sides.baseline);
    let half = sequence_width(samples, options.alpha) * squared_error().sqrt();
    let (low, high) = (sides.effect - half, sides.effect + half);
    if !low.is_finite() || !high.is_finite() {
        comparison.effect = 0.0;
        return comparison;
    }
    comparison.low = low.max(-sides.bound);
    comparison.high = high.min(sides.bound);
    if fewest >= u64::from(options.samples_min) {
        comparison.verdict = verdict(sides.effect, low, high, options);
    }
    comparison
}

/// `Better` and `Worse` need an interval that excludes no difference at all;
/// `Worse` also needs an effect above the margin. `Equivalent` needs the whole
/// interval within the margin, and yields to `Better`, not to `Worse`: what is
/// worse by less than anybody minds is equivalent.
fn verdict(effect: f64, low: f64, high: f64, options: &ComparisonOptions) -> ComparisonVerdict {
    // Turned so that more is worse.
    let (effect, low, high) = match options.direction {
        Direction::LowerIsBetter => (effect, low, high),
        Direction::HigherIsBetter => (-effect, -high, -low),
    };
    if high < 0.0 {
        ComparisonVerdict::Better
    } else if low > -options.margin && high < options.margin {
        ComparisonVerdict::Equivalent
    } else if low > 0.0 && effect > options.margin {
        ComparisonVerdict::Worse
    } else {
        ComparisonVerdict::NotEnoughData
    }
}

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
