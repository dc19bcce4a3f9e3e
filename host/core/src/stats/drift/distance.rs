//! Two binned distributions.
//!
//! The bins are the caller's ([`bins`](crate::stats::bins)), the base is in the
//! name. Always holds: a side without values makes every distance NaN, as there
//! is no distribution; else distances are finite and not negative, those of
//! Hellinger, total variation, largest difference and base 2 at most 1.

use crate::stats::BinPair;

/// The shares of both sides, bin by bin.
fn shares(bins: &[BinPair]) -> impl Iterator<Item = (f64, f64)> + Clone {
    let sum = |side: fn(&BinPair) -> u64| bins.iter().map(side).sum::<u64>() as f64;
    let (references, currents) = (sum(|bin| bin.reference), sum(|bin| bin.current));
    bins.iter().map(move |bin| {
        (
            bin.reference as f64 / references,
            bin.current as f64 / currents,
        )
    })
}

/// `p · ln(p / q)`, 0 for no share.
fn relative_entropy(p: f64, q: f64) -> f64 {
    if p > 0.0 { p * (p / q).ln() } else { p * 0.0 }
}

/// Jensen-Shannon distance (the root of the divergence) with natural logarithms:
/// at most √ln 2 = 0.8326.
pub fn jensen_shannon_e(bins: &[BinPair]) -> f64 {
    let sum: f64 = shares(bins)
        .map(|(r, c)| {
            let middle = (r + c) / 2.0;
            relative_entropy(r, middle) + relative_entropy(c, middle)
        })
        .sum();
    not_negative(sum / 2.0).sqrt()
}

/// Jensen-Shannon distance with logarithms of base 2: at most 1.
pub fn jensen_shannon_2(bins: &[BinPair]) -> f64 {
    jensen_shannon_e(bins) / std::f64::consts::LN_2.sqrt()
}

/// Hellinger distance.
pub fn hellinger(bins: &[BinPair]) -> f64 {
    let squares = shares(bins).map(|(r, c)| (r.sqrt() - c.sqrt()).powi(2));
    (squares.sum::<f64>() / 2.0).sqrt()
}

/// Total variation: the share that would have to move.
pub fn total_variation(bins: &[BinPair]) -> f64 {
    shares(bins).map(|(r, c)| (r - c).abs()).sum::<f64>() / 2.0
}

/// The largest difference of one share (L∞).
pub fn largest_difference(bins: &[BinPair]) -> f64 {
    let differences = shares(bins).map(|(r, c)| (r - c).abs());
    differences.fold(0.0, |most, difference| {
        // A NaN stays.
        if difference <= most { most } else { difference }
    })
}

/// Population stability index with empty shares filled as Evidently does: with
/// 0.0001, or a millionth of the side's smallest share where that is no more
/// than 0.0001; bins that are empty on both sides too. [`psi`](crate::stats::psi) is the one to alarm by.
pub fn psi_filled(bins: &[BinPair]) -> f64 {
    let filled = filled(bins);
    filled.map(|(r, c)| (r - c) * (r / c).ln()).sum()
}

/// Kullback-Leibler divergence of the reference from the current values, natural
/// logarithm, empty shares filled as in [`psi_filled`] and all then made to sum
/// to 1 again. Evidently's.
pub fn kullback_leibler_filled(bins: &[BinPair]) -> f64 {
    let (references, currents) =
        filled(bins).fold((0.0, 0.0), |(sum_r, sum_c), (r, c)| (sum_r + r, sum_c + c));
    let normal = filled(bins).map(|(r, c)| (r / references, c / currents));
    normal.map(|(r, c)| relative_entropy(r, c)).sum()
}

fn filled(bins: &[BinPair]) -> impl Iterator<Item = (f64, f64)> {
    const FILLING: f64 = 0.000_1;
    let shares = shares(bins);
    let filling = |share: fn((f64, f64)) -> f64| {
        let present = shares.clone().map(share).filter(|share| *share > 0.0);
        let least = present.fold(f64::INFINITY, f64::min);
        if least <= FILLING {
            least / 1e6
        } else {
            FILLING
        }
    };
    let (of_r, of_c) = (filling(|both| both.0), filling(|both| both.1));
    let fill = |share: f64, filling: f64| if share == 0.0 { filling } else { share };
    shares.map(move |(r, c)| (fill(r, of_r), fill(c, of_c)))
}

/// What rounding makes of 0; a NaN stays.
fn not_negative(value: f64) -> f64 {
    if value < 0.0 { 0.0 } else { value }
}
