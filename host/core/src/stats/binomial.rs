//! The binomial distribution, for counts however large.
//!
//! The tail is summed. The incomplete beta function of statrs 0.19.1 ends its
//! continued fraction after 140 terms, too early for the rows that a history
//! may have: of 10 million trials at one half it says that 0.365 have at most 5
//! million successes. All terms of a tail are positive, and the first one is
//! Loader's (2000), so nothing cancels.
//!
//! [`crate::calibrate::bound`] makes bounds of it, [`super::paired`] McNemar's
//! test. Always holds: results are in `[0, 1]`.

use std::f64::consts::PI;

/// Chance of at most `k` of `n` at rate `p`.
///
/// Sums the tail that is the smaller one, from its largest term outwards, until
/// terms no longer count: some eight standard deviations, so a few thousand
/// terms for millions of trials.
pub fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n || p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let q = 1.0 - p;
    let (trials, at) = (n as f64, k as f64);
    if at < trials * p {
        let (mut term, mut sum, mut i) = (1.0, 1.0, at);
        while i > 0.0 && term > sum * f64::EPSILON / 8.0 {
            term *= i / (trials - i + 1.0) * (q / p);
            sum += term;
            i -= 1.0;
        }
        (binomial_pmf(k, n, p) * sum).min(1.0)
    } else {
        let (mut term, mut sum, mut i) = (1.0, 1.0, at + 1.0);
        while i < trials && term > sum * f64::EPSILON / 8.0 {
            term *= (trials - i) / (i + 1.0) * (p / q);
            sum += term;
            i += 1.0;
        }
        (1.0 - binomial_pmf(k + 1, n, p) * sum).clamp(0.0, 1.0)
    }
}

/// Chance of exactly `k` of `n` at rate `p`, after Loader, "Fast and accurate
/// computation of binomial probabilities" (2000).
pub fn binomial_pmf(k: u64, n: u64, p: f64) -> f64 {
    let (x, m, q) = (k as f64, n as f64, 1.0 - p);
    if k == 0 {
        return (m * (-p).ln_1p()).exp();
    }
    if k == n {
        return (m * p.ln()).exp();
    }
    let rest = m - x;
    let exponent = stirling_error(m)
        - stirling_error(x)
        - stirling_error(rest)
        - deviance(x, m * p)
        - deviance(rest, m * q);
    (m / (2.0 * PI * x * rest)).sqrt() * exponent.exp()
}

/// ln(x!) less Stirling's formula for it, for whole `x` from 1.
fn stirling_error(x: f64) -> f64 {
    if x < 16.0 {
        // ln of a whole number below 2^53, so exact but for the logarithm.
        let mut factorial = 1.0;
        let mut i = 2.0;
        while i <= x {
            factorial *= i;
            i += 1.0;
        }
        return f64::ln(factorial) - (x + 0.5) * x.ln() + x - 0.5 * (2.0 * PI).ln();
    }
    let s = 1.0 / (x * x);
    (1.0 / 12.0 - s * (1.0 / 360.0 - s * (1.0 / 1260.0 - s * (1.0 / 1680.0 - s * (1.0 / 1188.0)))))
        / x
}

/// x ln(x/mean) + mean - x, without cancelling where both are close.
fn deviance(x: f64, mean: f64) -> f64 {
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - difference;
    }
    let v = difference / (x + mean);
    let mut sum = difference * v;
    let mut power = 2.0 * x * v;
    let mut j = 1.0;
    loop {
        power *= v * v;
        let next = sum + power / (2.0 * j + 1.0);
        if next.total_cmp(&sum).is_eq() {
            return sum;
        }
        sum = next;
        j += 1.0;
    }
}
