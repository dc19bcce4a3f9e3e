//! Two samples of values: Kolmogorov-Smirnov and Wasserstein-1.
//!
//! [`ks`] counts lattice paths for its p-value (the upper tail itself, so that
//! small p-values keep their digits) while that is cheap, as scipy's
//! `ks_2samp(method="exact")`; beyond, it takes the distribution of one sample
//! of `nm/(n+m)` values, as `method="asymp"`: Pelz and Good's series near the
//! middle, Smirnov's sum in the tail (Simard and L'Ecuyer 2011). As in scipy,
//! ties are not accounted for, which makes p too large, never too small.
//!
//! Always holds: values that are not finite are left out; None when a side has
//! none left.

use std::f64::consts::PI;

/// Most lattice points that are counted for an exact p-value; some milliseconds.
pub const KS_EXACT_MAX: usize = 1_000_000;
/// Most terms of Smirnov's sum; beyond, its limit with a correction of the first
/// order is as good.
const SMIRNOV_TERMS_MAX: f64 = 100_000.0;
/// From this `n · d²` on, the two tails of the statistic no longer meet.
const TAIL: f64 = 2.2;
/// As Evidently: values that hardly vary are taken to vary by this much.
const SIGMA_MIN: f64 = 0.001;

/// The result of [`ks`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ks {
    /// Largest distance of the two empirical distributions, in `[0, 1]`.
    pub d: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// Whether `p` is exact for samples without ties.
    pub exact: bool,
}

/// The two-sample Kolmogorov-Smirnov test, two-sided.
pub fn ks(reference: &[f64], current: &[f64]) -> Option<Ks> {
    let (r, c) = (sorted(reference)?, sorted(current)?);
    let (n, m) = (r.len(), c.len());
    let shared = gcd(n, m);
    // In units of 1/lcm, so that nothing is rounded.
    let (step_r, step_c) = ((m / shared) as u64, (n / shared) as u64);
    let mut largest = 0u64;
    for_each_step(&r, &c, |_, _, upto_r, upto_c| {
        largest = largest.max((upto_r as u64 * step_r).abs_diff(upto_c as u64 * step_c));
    });
    let d = largest as f64 / (n as u64 * step_r) as f64;
    let exact = n.saturating_mul(m) <= KS_EXACT_MAX;
    let p = if exact {
        paths_that_reach(largest, (n, step_r), (m, step_c))
    } else {
        let (n, m) = (n as f64, m as f64);
        kolmogorov_tail((n * m / (n + m)).round(), d)
    };
    Some(Ks { d, p, exact })
}

/// Share of the paths from (0, 0) to (n, m) that somewhere reach the distance.
/// Each point holds the share among the paths that lead to it.
fn paths_that_reach(largest: u64, (n, step_n): (usize, u64), (m, step_m): (usize, u64)) -> f64 {
    let mut row = vec![0.0f64; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            let reached = (i as u64 * step_n).abs_diff(j as u64 * step_m) >= largest;
            row[j] = match (reached, i, j) {
                (true, ..) => 1.0,
                (false, 0, 0) => 0.0,
                (false, 0, _) => row[j - 1],
                (false, _, 0) => row[0],
                _ => (i as f64 * row[j] + j as f64 * row[j - 1]) / (i + j) as f64,
            };
        }
    }
    row[m].clamp(0.0, 1.0)
}

/// P(D ≥ d) for one sample of `n` against its distribution.
fn kolmogorov_tail(n: f64, d: f64) -> f64 {
    let scaled = n * d * d;
    let tail = if d <= 0.0 {
        1.0
    } else if d >= 1.0 {
        0.0
    } else if scaled >= TAIL {
        2.0 * smirnov_tail(n, d)
    } else {
        1.0 - pelz_good(n, scaled.sqrt())
    };
    tail.clamp(0.0, 1.0)
}

/// P(D⁺ ≥ d), Smirnov 1944.
fn smirnov_tail(n: f64, d: f64) -> f64 {
    if n > SMIRNOV_TERMS_MAX {
        return (-(6.0 * n * d + 1.0).powi(2) / (18.0 * n)).exp();
    }
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    let mut j = 0.0;
    while j <= n * (1.0 - d) {
        let rest = 1.0 - d - j / n;
        // The last term may be (0)^0.
        let log_rest = if j < n && rest > 0.0 {
            (n - j) * rest.ln()
        } else {
            0.0
        };
        if rest > 0.0 || j >= n {
            sum += (log_choose + (j - 1.0) * (d + j / n).ln() + log_rest).exp();
        }
        log_choose += ((n - j) / (j + 1.0)).ln();
        j += 1.0;
    }
    d * sum
}

/// P(D ≤ z/√n) by the series of Pelz and Good 1976, to terms of n^(-3/2).
fn pelz_good(n: f64, z: f64) -> f64 {
    let z2 = z * z;
    let (z4, pi2) = (z2 * z2, PI * PI);
    let (z6, pi4) = (z4 * z2, pi2 * pi2);
    let q = (-pi2 / (8.0 * z2)).exp();
    if q <= 0.0 {
        return 0.0;
    }
    let terms = (16.0 * z / PI).ceil().max(1.0) as i32;
    let mut sums = [0.0f64; 4];
    let mut extra = [0.0f64; 2];
    for k in 1..=terms {
        let odd = f64::from(2 * k - 1).powi(2);
        let weight = q.powf(odd);
        sums[0] += weight;
        sums[1] += weight * (pi2 / 4.0 * odd - z2);
        sums[2] += weight
            * (6.0 * z6
                + 2.0 * z4
                + (2.0 * z4 - 5.0 * z2) * pi2 / 4.0 * odd
                + pi4 * (1.0 - 2.0 * z2) / 16.0 * odd * odd);
        sums[3] += weight
            * (-30.0 * z6 - 90.0 * z4 * z4
                + pi2 * (135.0 * z4 - 96.0 * z6) / 4.0 * odd
                + pi4 * (212.0 * z4 - 60.0 * z2) / 16.0 * odd * odd
                + pi4 * pi2 * (5.0 - 30.0 * z2) / 64.0 * odd.powi(3));
        let square = f64::from(k * k);
        let weight = (-pi2 * square / (2.0 * z2)).exp();
        extra[0] += square * weight;
        extra[1] += (3.0 * z2 - pi2 * square) * square * weight;
    }
    let root = (2.0 * PI).sqrt();
    let k0 = sums[0] * root / z;
    let k1 = sums[1] * root / (6.0 * z4);
    let k2 = sums[2] * root / (72.0 * z6 * z) - extra[0] * pi2 * root / (36.0 * z2 * z);
    let k3 = sums[3] * root / (6480.0 * z6 * z4) + extra[1] * pi2 * root / (216.0 * z6);
    k0 + k1 / n.sqrt() + k2 / n + k3 / (n * n.sqrt())
}

/// The Wasserstein-1 distance, in the unit of the values: the area between the
/// two empirical distributions.
pub fn wasserstein(reference: &[f64], current: &[f64]) -> Option<f64> {
    let (r, c) = (sorted(reference)?, sorted(current)?);
    let (n, m) = (r.len() as f64, c.len() as f64);
    let mut area = 0.0;
    for_each_step(&r, &c, |from, to, upto_r, upto_c| {
        area += (upto_r as f64 / n - upto_c as f64 / m).abs() * (to - from);
    });
    Some(area)
}

/// [`wasserstein`] over the standard deviation of the reference (ddof 0), which
/// counts as at least 0.001. Evidently's "normed" distance.
pub fn wasserstein_sigma(reference: &[f64], current: &[f64]) -> Option<f64> {
    let area = wasserstein(reference, current)?;
    let finite = || reference.iter().filter(|value| value.is_finite());
    let n = finite().count() as f64;
    let mean = finite().sum::<f64>() / n;
    let squares: f64 = finite().map(|value| (value - mean).powi(2)).sum();
    Some(area / (squares / n).sqrt().max(SIGMA_MIN))
}

/// Walks over the different values of two sorted samples in order: the value,
/// the next one (the value itself at the end), and how many of each side are
/// up to and with the value.
fn for_each_step(r: &[f64], c: &[f64], mut step: impl FnMut(f64, f64, usize, usize)) {
    let (mut i, mut j) = (0, 0);
    let next = |i: usize, j: usize| match (r.get(i), c.get(j)) {
        (Some(a), Some(b)) => Some(a.min(*b)),
        (Some(a), None) => Some(*a),
        (None, b) => b.copied(),
    };
    while let Some(value) = next(i, j) {
        while r.get(i).is_some_and(|at| *at <= value) {
            i += 1;
        }
        while c.get(j).is_some_and(|at| *at <= value) {
            j += 1;
        }
        step(value, next(i, j).unwrap_or(value), i, j);
    }
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let mut values: Vec<f64> = finite.collect();
    values.sort_unstable_by(f64::total_cmp);
    (!values.is_empty()).then_some(values)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
