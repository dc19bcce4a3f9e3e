//! Comparisons by rank: Mann-Whitney, the Hodges-Lehmann shift, effect size.
//!
//! Written by hand because `statrs` enumerates all arrangements and gets some
//! wrong. [`mann_whitney`] is scipy's `mannwhitneyu` (two-sided, `method="auto"`,
//! with continuity): exact while a side has at most 8 values and none are tied,
//! else normal with ties accounted for. [`shift`] is R's `wilcox.test(conf.int,
//! exact = FALSE)`, on which [`kayenta`]'s judge rests.
//!
//! Always holds: values that are not finite are left out; None when a side has
//! none left; time is n log n, and linear for each step of a search.

pub mod kayenta;

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::erf::erfc;

/// Most values of the smaller side for an exact p-value; scipy's.
pub const EXACT_MAX: usize = 8;
/// Most values of the larger side then: the table has [`EXACT_MAX`] times as many
/// entries.
pub const EXACT_LARGER_MAX: usize = 10_000;
/// Halvings of an interval, after which it is as small as doubles are.
const HALVINGS_MAX: usize = 200;

/// The result of [`mann_whitney`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the first sample is larger, ties counting half.
    pub u: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// Whether `p` is exact.
    pub exact: bool,
}

/// The Mann-Whitney U test of `x` against `y`.
pub fn mann_whitney(x: &[f64], y: &[f64]) -> Option<MannWhitney> {
    let (x, y) = (sorted(x)?, sorted(y)?);
    let (n, m) = (x.len(), y.len());
    let ranked = rank(&x, &y, 0.0);
    let pairs = n as f64 * m as f64;
    let larger = ranked.u.max(pairs - ranked.u);
    let exact = n.min(m) <= EXACT_MAX && n.max(m) <= EXACT_LARGER_MAX && ranked.ties.abs() < 0.5;
    let p = if exact {
        2.0 * upper_tail(n, m, larger)
    } else {
        let off = larger - pairs / 2.0 - 0.5;
        if ranked.sigma > 0.0 {
            erfc(off / ranked.sigma / std::f64::consts::SQRT_2)
        } else {
            1.0
        }
    };
    Some(MannWhitney {
        u: ranked.u,
        p: p.min(1.0),
        exact,
    })
}

/// The common-language effect size: the chance that a value of `x` is larger than
/// one of `y`, ties counting half.
pub fn cles(x: &[f64], y: &[f64]) -> Option<f64> {
    let (x, y) = (sorted(x)?, sorted(y)?);
    Some(rank(&x, &y, 0.0).u / (x.len() as f64 * y.len() as f64))
}

/// P(U ≥ u) without ties. The numbers of arrangements are the coefficients of a
/// Gaussian binomial, made factor by factor: times (1 − q^(m+i)), over (1 − q^i).
/// Intermediate ones may wrap around; what remains is below 2^127 and right.
fn upper_tail(n: usize, m: usize, u: f64) -> f64 {
    let (n, m) = (n.min(m), n.max(m));
    let mut counts = vec![0u128; n * m + 1];
    counts[0] = 1;
    for i in 1..=n {
        for at in (m + i..counts.len()).rev() {
            counts[at] = counts[at].wrapping_sub(counts[at - m - i]);
        }
        for at in i..counts.len() {
            counts[at] = counts[at].wrapping_add(counts[at - i]);
        }
    }
    let all: u128 = counts.iter().sum();
    let from = (u.ceil() as usize).min(counts.len());
    let tail: u128 = counts[from..].iter().sum();
    tail as f64 / all as f64
}

/// The shift between two samples with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The Hodges-Lehmann estimate: the median of all differences `x - y`.
    pub estimate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// By how much `x` is above `y`, with an interval of this confidence (in
/// `(0, 1)`, else None), by the normal approximation with ties and continuity.
/// An end is the extreme difference where there are too few values for the
/// confidence. Where the estimate is any of a stretch of differences it is the
/// middle. None also when all values are one.
pub fn shift(x: &[f64], y: &[f64], confidence: f64) -> Option<Shift> {
    let (x, y) = (sorted(x)?, sorted(y)?);
    let tail = (1.0 - confidence) / 2.0;
    if !(tail > 0.0 && tail < 0.5) {
        return None;
    }
    let (low, high) = (x[0] - y[y.len() - 1], x[x.len() - 1] - y[0]);
    let all_one = low >= 0.0 && high <= 0.0;
    if all_one || !low.is_finite() || !high.is_finite() {
        return None;
    }
    let z = Normal::standard().inverse_cdf(1.0 - tail);
    let half = x.len() as f64 * y.len() as f64 / 2.0;
    let score = |mu: f64| {
        let ranked = rank(&x, &y, mu);
        let off = ranked.u - half;
        if off == 0.0 || ranked.sigma <= 0.0 {
            return 0.0;
        }
        (off - 0.5 * off.signum()) / ranked.sigma
    };
    // The score falls with mu, in steps.
    let end = |quantile: f64| {
        if score(low) <= quantile {
            low
        } else if score(high) >= quantile {
            high
        } else {
            crossing(low, high, |mu| score(mu) > quantile)
        }
    };
    let from = crossing(low.next_down(), high, |mu| rank(&x, &y, mu).u > half);
    let upto = crossing(low, high.next_up(), |mu| rank(&x, &y, mu).u >= half);
    Some(Shift {
        estimate: from + (upto - from) / 2.0,
        low: end(z),
        high: end(-z),
    })
}

/// Where `holds`, true at `low` and false at `high`, stops being true.
fn crossing(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS_MAX {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low + (high - low) / 2.0
}

/// `x - mu` ranked among `y`.
struct Ranked {
    u: f64,
    /// Sum of `t³ - t` over groups of `t` equal values.
    ties: f64,
    /// Standard deviation of `u` without a shift.
    sigma: f64,
}

fn rank(x: &[f64], y: &[f64], mu: f64) -> Ranked {
    let (mut i, mut j) = (0, 0);
    let (mut u, mut ties) = (0.0, 0.0);
    while i < x.len() || j < y.len() {
        let value = match (x.get(i).map(|x| x - mu), y.get(j)) {
            (Some(a), Some(b)) => a.min(*b),
            (Some(a), None) => a,
            (None, Some(b)) => *b,
            (None, None) => break,
        };
        let (from_i, from_j) = (i, j);
        while x.get(i).is_some_and(|x| x - mu <= value) {
            i += 1;
        }
        while y.get(j).is_some_and(|y| *y <= value) {
            j += 1;
        }
        let (of_x, of_y) = ((i - from_i) as f64, (j - from_j) as f64);
        u += of_x * (from_j as f64 + of_y / 2.0);
        let tied = of_x + of_y;
        ties += tied * (tied * tied - 1.0);
    }
    let (n, m) = (x.len() as f64, y.len() as f64);
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    Ranked {
        u,
        ties,
        sigma: variance.max(0.0).sqrt(),
    }
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let mut values: Vec<f64> = finite.collect();
    values.sort_unstable_by(f64::total_cmp);
    (!values.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests;
