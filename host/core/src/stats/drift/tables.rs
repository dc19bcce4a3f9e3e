//! Counts: categories, rates, missing values.
//!
//! [`chi_squared`] is the contingency test of two rows (scipy's
//! `chi2_contingency(correction=False)`), which knows that the reference is a
//! sample too; Evidently's goodness-of-fit takes the reference's shares for the
//! truth and alarms too often when the sides are of like size. [`two_rates`] is
//! the pooled z-test, or Fisher's exact test where a cell expects too few.
//!
//! Always holds: p-values are in `[0, 1]`; a comparison of nothing is None.

use super::Reading;
use crate::metric::Proportion;
use crate::stats::{BinPair, DRIFT_SAMPLES_MIN};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use statrs::function::erf::erfc;
use statrs::function::factorial::ln_binomial;

/// Values that a cell must expect for the approximations by χ² and z; the usual
/// condition.
pub const EXPECTED_MIN: f64 = 5.0;
/// Probabilities that differ by less are equal for Fisher's test; R's.
const FISHER_ROOM: f64 = 1.0 + 1e-7;

/// The result of [`chi_squared`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contingency {
    /// Pearson's statistic, without Yates' correction.
    pub statistic: f64,
    /// Degrees of freedom: cells that are not empty, less one.
    pub freedom: u64,
    /// Chance of a statistic at least this large.
    pub p: f64,
}

/// Whether both sides come from one distribution over categories. Cells that are
/// empty on both sides are left out; None when a side is empty.
pub fn chi_squared(cells: &[BinPair]) -> Option<Contingency> {
    let (references, currents) = totals(cells);
    if references == 0 || currents == 0 {
        return None;
    }
    let share = currents as f64 / (references as f64 + currents as f64);
    let mut statistic = 0.0;
    let mut freedom = 0u64;
    for cell in cells
        .iter()
        .filter(|cell| cell.reference + cell.current > 0)
    {
        let both = (cell.reference + cell.current) as f64;
        let (expected, other) = (both * share, both * (1.0 - share));
        let off = (cell.current as f64 - expected).powi(2);
        statistic += off / expected + off / other;
        freedom += 1;
    }
    freedom -= 1;
    let p = match ChiSquared::new(freedom as f64) {
        Ok(chi_squared) => chi_squared.sf(statistic),
        Err(_) => 1.0, // one category alone
    };
    Some(Contingency {
        statistic,
        freedom,
        p,
    })
}

/// [`chi_squared`] with a verdict. Categories of which a side expects fewer than
/// [`EXPECTED_MIN`] count as one. Where even together they are too rare for χ²,
/// their share is judged by [`two_rates`] and the others by χ², and the smaller
/// p-value counts twice (Bonferroni). Two categories are judged as rates.
pub fn categories(cells: &[BinPair]) -> Reading {
    let (references, currents) = totals(cells);
    let nothing = Reading::not_enough(references, currents);
    if references.min(currents) < DRIFT_SAMPLES_MIN {
        return nothing;
    }
    let share = references.min(currents) as f64 / (references + currents) as f64;
    let is_rare = |cell: &BinPair| (both(cell) as f64 * share) < EXPECTED_MIN;
    let filled = cells.iter().filter(|cell| both(cell) > 0);
    let (rare, mut kept): (Vec<BinPair>, Vec<BinPair>) = filled.partition(|cell| is_rare(cell));
    let (reference, current) = totals(&rare);
    let together = BinPair { reference, current };
    let rates_of = |events: BinPair| {
        let rate = |events, trials| Proportion { events, trials };
        two_rates(
            rate(events.reference, references),
            rate(events.current, currents),
        )
    };
    let apart = both(&together) > 0 && is_rare(&together);
    if both(&together) > 0 && !apart {
        kept.push(together);
    }
    let p_of_rare = if apart {
        rates_of(together).map(|rates| rates.p)
    } else {
        None
    };
    let (statistic, p) = match &kept[..] {
        [one, _] if !apart => match rates_of(*one) {
            Some(rates) => (rates.z * rates.z, rates.p),
            None => return nothing,
        },
        kept => match chi_squared(kept) {
            Some(test) => (test.statistic, test.p),
            None => return nothing,
        },
    };
    let p = match p_of_rare {
        Some(p_of_rare) => (2.0 * p.min(p_of_rare)).min(1.0),
        None => p,
    };
    nothing.by_p(statistic, p)
}

fn both(cell: &BinPair) -> u64 {
    cell.reference + cell.current
}

/// The result of [`two_rates`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Current rate minus the reference's.
    pub effect: f64,
    /// The pooled z; 0 when all or none are events.
    pub z: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// Whether `p` is Fisher's.
    pub exact: bool,
}

/// Whether two rates are one; None without trials on a side. Events above the
/// trials count as the trials.
pub fn two_rates(reference: Proportion, current: Proportion) -> Option<Rates> {
    let (n, m) = (reference.trials, current.trials);
    if n == 0 || m == 0 {
        return None;
    }
    let (a, b) = (reference.events.min(n), current.events.min(m));
    let (rate_a, rate_b) = (a as f64 / n as f64, b as f64 / m as f64);
    let trials = n as f64 + m as f64;
    let pooled = (a as f64 + b as f64) / trials;
    let error = (pooled * (1.0 - pooled) * (1.0 / n as f64 + 1.0 / m as f64)).sqrt();
    let effect = rate_b - rate_a;
    let z = if error > 0.0 { effect / error } else { 0.0 };
    let expected = n.min(m) as f64 * pooled.min(1.0 - pooled);
    let exact = expected < EXPECTED_MIN;
    let p = if exact {
        fisher(a, n, b, m)
    } else {
        erfc(z.abs() / std::f64::consts::SQRT_2)
    };
    Some(Rates {
        effect,
        z,
        p,
        exact,
    })
}

/// Fisher's exact test, two-sided: the chance of all tables with these margins
/// that are no likelier than this one.
pub fn fisher(a: u64, n: u64, b: u64, m: u64) -> f64 {
    let events = a + b;
    let log_chance =
        |x: u64| ln_binomial(n, x) + ln_binomial(m, events - x) - ln_binomial(n + m, events);
    let here = log_chance(a) + FISHER_ROOM.ln();
    let possible = events.saturating_sub(m)..=events.min(n);
    let chances = possible.map(log_chance).filter(|chance| *chance <= here);
    chances.map(f64::exp).sum::<f64>().min(1.0)
}

/// Whether values are missing as often as in the reference: events are missing
/// values, trials all. The statistic is the difference of the rates.
pub fn missing(reference: Proportion, current: Proportion) -> Reading {
    let nothing = Reading::not_enough(reference.trials, current.trials);
    if reference.trials.min(current.trials) < DRIFT_SAMPLES_MIN {
        return nothing;
    }
    match two_rates(reference, current) {
        Some(rates) => nothing.by_p(rates.effect, rates.p),
        None => nothing,
    }
}

fn totals(cells: &[BinPair]) -> (u64, u64) {
    cells.iter().fold((0, 0), |(r, c), cell| {
        (r + cell.reference, c + cell.current)
    })
}
