//! How Kayenta's `NetflixACAJudge-v1.0` classifies one metric, to be held beside
//! our own verdicts.
//!
//! Not a verdict to promote by: "pass" means that nothing was found, and the judge
//! has no minimum sample. Its search for the interval stops within 1e-4 of a root;
//! ours does not stop early. Where both sides are constant it adds noise; ours
//! comes from a seed, so that the same values have the same outcome.
//!
//! Always holds: the classification depends on nothing but the arguments.

use super::{cles, shift, sorted};
use serde::{Deserialize, Serialize};

/// Share of the estimate by which the interval must be away from 0.
pub const TOLERANCE: f64 = 0.25;
/// Confidence of the interval.
pub const CONFIDENCE: f64 = 0.98;
/// Interquartile ranges beyond the quartiles from which a value is an outlier.
pub const OUTLIER_FACTOR: f64 = 3.0;
/// Deviation of the noise, as a share of the constant value.
const NOISE: f64 = 1e-5;

/// Which changes are bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// A rise.
    Increase,
    /// A fall.
    Decrease,
    /// Both.
    #[default]
    Either,
}

/// What is measured beside the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Mean of the canary over mean of the baseline; no number when one is 0.
    #[default]
    MeanRatio,
    /// [`cles`] of the canary.
    Cles,
}

/// The metric's configuration, by default Kayenta's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Options {
    /// Which changes are bad.
    pub direction: Direction,
    /// Whether the metric alone can fail the canary.
    pub critical: bool,
    /// Whether having no data is a failure (of a metric that is not critical).
    pub must_have_data: bool,
    /// Take what is no number for 0 instead of leaving it out.
    pub replace_nan: bool,
    /// Leave outliers out.
    pub remove_outliers: bool,
    /// What is measured beside the interval.
    pub effect: Effect,
    /// Effect below which a rise is allowed; by default 1 for a ratio, 0.5 for
    /// [`Effect::Cles`].
    pub allowed_increase: Option<f64>,
    /// Effect above which a fall is allowed; as above.
    pub allowed_decrease: Option<f64>,
    /// Seed of the noise for constant sides.
    pub seed: u64,
}

/// Kayenta's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classification {
    /// Nothing was found.
    Pass,
    /// The canary is above the baseline.
    High,
    /// The canary is below.
    Low,
    /// A side has no values.
    Nodata,
    /// The same, where that is a failure.
    NodataFailMetric,
}

/// Classifies a metric of the canary (`experiment`) by its baseline (`control`).
pub fn classify(experiment: &[f64], control: &[f64], options: &Options) -> Classification {
    let prepare = |values: &[f64]| -> Vec<f64> {
        let values = values.iter().map(|value| {
            if value.is_nan() && options.replace_nan {
                0.0
            } else {
                *value
            }
        });
        let values = sorted(&values.collect::<Vec<_>>()).unwrap_or_default();
        match options.remove_outliers {
            true => without_outliers(values),
            false => values,
        }
    };
    let (mut experiment, mut control) = (prepare(experiment), prepare(control));
    if experiment.is_empty() || control.is_empty() {
        return match (
            options.replace_nan,
            options.must_have_data,
            options.critical,
        ) {
            (true, ..) => Classification::Pass,
            (false, true, false) => Classification::NodataFailMetric,
            (false, ..) => Classification::Nodata,
        };
    }
    // Sorted, so these are the same multiset.
    if experiment == control {
        return Classification::Pass;
    }
    let constant = |values: &[f64]| values.first() == values.last();
    if constant(&experiment) && constant(&control) {
        if experiment.first() == control.first() {
            return Classification::Pass;
        }
        let mut noise = Noise(options.seed);
        for side in [&mut experiment, &mut control] {
            for value in side.iter_mut() {
                *value += noise.next() * NOISE * value.abs();
            }
        }
    }
    judge(&experiment, &control, options)
}

fn judge(experiment: &[f64], control: &[f64], options: &Options) -> Classification {
    let Some(shift) = shift(experiment, control, CONFIDENCE) else {
        return Classification::Pass;
    };
    let effect = match options.effect {
        Effect::MeanRatio => {
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let (above, below) = (mean(experiment), mean(control));
            if above == 0.0 || below == 0.0 {
                f64::NAN
            } else {
                above / below
            }
        }
        Effect::Cles => cles(experiment, control).unwrap_or(f64::NAN),
    };
    let neutral = match options.effect {
        Effect::MeanRatio => 1.0,
        Effect::Cles => 0.5,
    };
    let far = TOLERANCE * shift.estimate.abs();
    let rises = shift.low > far
        && (effect.is_nan() || effect >= options.allowed_increase.unwrap_or(neutral));
    let falls = shift.high < -far
        && (effect.is_nan() || effect <= options.allowed_decrease.unwrap_or(neutral));
    match options.direction {
        Direction::Increase | Direction::Either if rises => Classification::High,
        Direction::Decrease | Direction::Either if falls => Classification::Low,
        _ => Classification::Pass,
    }
}

/// Sorted values without those beyond the fences: the quartiles and
/// [`OUTLIER_FACTOR`] ranges, or the first and last percentile where those are
/// further out.
fn without_outliers(values: Vec<f64>) -> Vec<f64> {
    if values.is_empty() {
        return values;
    }
    let (q1, q3) = (quantile(&values, 0.25), quantile(&values, 0.75));
    let range = OUTLIER_FACTOR * (q3 - q1);
    let low = quantile(&values, 0.01).min(q1 - range);
    let high = quantile(&values, 0.99).max(q3 + range);
    let kept = values
        .into_iter()
        .filter(|value| (low..=high).contains(value));
    kept.collect()
}

/// Type R-7: linear between ranks.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = q * (sorted.len() - 1) as f64;
    let at = rank.floor() as usize;
    let next = (at + 1).min(sorted.len() - 1);
    sorted[at] + (rank - at as f64) * (sorted[next] - sorted[at])
}

/// Standard normal values from a seed, by SplitMix64 and Box and Muller.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}
