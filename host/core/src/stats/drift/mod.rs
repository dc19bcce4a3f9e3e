//! Whether a distribution has changed, by named measures.
//!
//! - [`samples`]: two samples of values: Kolmogorov-Smirnov and Wasserstein-1;
//! - [`distance`]: two binned distributions: Jensen-Shannon, Hellinger, total
//!   variation, largest difference, Kullback-Leibler, and another PSI;
//! - [`tables`]: counts of categories and rates: χ², z, Fisher, missing values;
//! - [`chunks`]: thresholds from chunks of the reference;
//! - here: the [`Test`]s and [`Measure`]s by name, and one [`Reading`] for all.
//!
//! A **test** has a threshold of its own, since it knows what chance does at the
//! two sample sizes. A **measure** has none: it is larger by chance the fewer
//! values there are, so it is judged by [`chunks`] of the size at hand and never
//! by a fixed number. Both kinds need linear time after one sort.
//!
//! Always holds: too few values are [`DriftVerdict::NotEnoughData`]; values that
//! are not finite are left out and are a matter of [`tables::missing`]; numbers
//! in a reading are finite.

pub mod chunks;
pub mod distance;
pub mod samples;
pub mod tables;

use super::bins::{Edges, by_value};
use super::{BinPair, DRIFT_SAMPLES_MIN};
use crate::metric::DriftVerdict;
use serde::{Deserialize, Serialize};

/// Chance of an alarm in a quiet window, for every test.
pub const ALPHA: f64 = 0.05;

/// A comparison that knows what chance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// PSI over the reference's deciles against its χ² critical value.
    PsiDeciles,
    /// Two-sample Kolmogorov-Smirnov, by its p-value.
    Ks,
    /// χ² contingency of the different values, by its p-value; rare values are
    /// counted together.
    ChiSquaredByValue,
}

/// A distance between distributions, in whose name stand base and bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The Kolmogorov-Smirnov statistic.
    KsD,
    /// Wasserstein-1, in the unit of the values.
    W1,
    /// Wasserstein-1 over the reference's standard deviation.
    W1Sigma,
    /// Jensen-Shannon distance, base 2, Doane's bins of the reference and one
    /// for what lies outside. NannyML's.
    #[serde(rename = "js2-doane")]
    Js2Doane,
    /// Jensen-Shannon distance, base e, Sturges' bins of both sides pooled, or
    /// by value where the reference has at most 20 different ones. Evidently's.
    #[serde(rename = "js-e-sturges-pooled")]
    JsESturgesPooled,
    /// Hellinger distance, bins as for [`Measure::Js2Doane`].
    HellingerDoane,
    /// Population stability index, Sturges' bins of both sides pooled and empty
    /// shares filled as Evidently does.
    PsiSturgesPooled,
}

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 7] = [
        Measure::KsD,
        Measure::W1,
        Measure::W1Sigma,
        Measure::Js2Doane,
        Measure::JsESturgesPooled,
        Measure::HellingerDoane,
        Measure::PsiSturgesPooled,
    ];

    /// The distance of `current` from `reference`; None when a side has no
    /// finite value.
    pub fn of(self, reference: &[f64], current: &[f64]) -> Option<f64> {
        let doane = || Some(Edges::doane(reference)?.pairs(reference, current));
        let pooled = || pooled_bins(reference, current);
        let has_values = |side: &[f64]| side.iter().any(|value| value.is_finite());
        if !has_values(reference) || !has_values(current) {
            return None;
        }
        let value = match self {
            Measure::KsD => samples::ks(reference, current)?.d,
            Measure::W1 => samples::wasserstein(reference, current)?,
            Measure::W1Sigma => samples::wasserstein_sigma(reference, current)?,
            Measure::Js2Doane => distance::jensen_shannon_2(&doane()?),
            Measure::HellingerDoane => distance::hellinger(&doane()?),
            Measure::JsESturgesPooled => distance::jensen_shannon_e(&pooled()?),
            Measure::PsiSturgesPooled => distance::psi_filled(&pooled()?),
        };
        value.is_finite().then_some(value)
    }
}

/// Evidently's bins: Sturges' of both sides, by value where the reference has at
/// most 20 different values. None without finite values.
pub fn pooled_bins(reference: &[f64], current: &[f64]) -> Option<Vec<BinPair>> {
    const VALUES_MAX: usize = 20;
    let cells = by_value(reference, current);
    let different = cells.iter().filter(|(_, cell)| cell.reference > 0).count();
    if different <= VALUES_MAX {
        return (!cells.is_empty()).then(|| cells.into_iter().map(|(_, cell)| cell).collect());
    }
    let both: Vec<f64> = reference.iter().chain(current).copied().collect();
    let mut bins = Edges::sturges(&both)?.pairs(reference, current);
    bins.pop(); // nothing lies outside of both sides' range
    Some(bins)
}

/// What a comparison says, and the numbers behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The outcome.
    pub verdict: DriftVerdict,
    /// The value of the measure or test; 0 when there is not enough data.
    pub statistic: f64,
    /// The value above which the statistic counts as drift, where the verdict
    /// was taken from it; None where it was taken from `p`.
    pub threshold: Option<f64>,
    /// Chance of a statistic at least this large without drift, where known.
    pub p: Option<f64>,
    /// Finite values of the reference.
    pub reference_samples: u64,
    /// Finite current values.
    pub current_samples: u64,
}

impl Reading {
    /// A reading that says nothing.
    fn not_enough(reference_samples: u64, current_samples: u64) -> Self {
        Self {
            verdict: DriftVerdict::NotEnoughData,
            statistic: 0.0,
            threshold: None,
            p: None,
            reference_samples,
            current_samples,
        }
    }

    /// A reading by p-value, [`ALPHA`] or less being drift; says nothing when a
    /// number is not finite.
    fn by_p(self, statistic: f64, p: f64) -> Self {
        if !statistic.is_finite() || !p.is_finite() {
            return self;
        }
        Self {
            verdict: drifted_if(p <= ALPHA),
            statistic,
            p: Some(p),
            ..self
        }
    }
}

fn drifted_if(drifted: bool) -> DriftVerdict {
    match drifted {
        true => DriftVerdict::Drifted,
        false => DriftVerdict::Stable,
    }
}

fn finite_count(values: &[f64]) -> u64 {
    values.iter().filter(|value| value.is_finite()).count() as u64
}

impl Test {
    /// All of them.
    pub const ALL: [Test; 3] = [Test::PsiDeciles, Test::Ks, Test::ChiSquaredByValue];

    /// Compares `current` with `reference`; at least [`DRIFT_SAMPLES_MIN`]
    /// finite values are needed on each side.
    pub fn read(self, reference: &[f64], current: &[f64]) -> Reading {
        let nothing = Reading::not_enough(finite_count(reference), finite_count(current));
        if nothing.reference_samples.min(nothing.current_samples) < DRIFT_SAMPLES_MIN {
            return nothing;
        }
        match self {
            Test::PsiDeciles => {
                let psi = super::drift_of_values(reference, current);
                Reading {
                    verdict: psi.verdict,
                    statistic: psi.psi,
                    threshold: Some(psi.critical),
                    ..nothing
                }
            }
            Test::Ks => match samples::ks(reference, current) {
                Some(ks) => nothing.by_p(ks.d, ks.p),
                None => nothing,
            },
            Test::ChiSquaredByValue => {
                let cells = by_value(reference, current);
                let cells: Vec<BinPair> = cells.into_iter().map(|(_, cell)| cell).collect();
                tables::categories(&cells)
            }
        }
    }
}

#[cfg(test)]
mod tests;
