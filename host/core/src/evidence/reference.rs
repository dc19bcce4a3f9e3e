//! References: what a metric was like, to hold it against later.
//!
//! A reference is taken from a window of the store, or made from figures that
//! somebody else measured (a file, a release's benchmark). A named and
//! versioned set of them is a baseline, which is the gateway's to keep.
//!
//! Always holds: a reference of one kind is never held against a metric of
//! another; that is `Invalid` and says so.

use super::labelled::LabelledBin;
use super::numbers::Spread;
use super::query::{check_comparison, last_s};
use super::series::paired;
use super::{Evidence, MetricKind, SubjectRef};
use crate::metric::{
    Comparison, ComparisonOptions, DriftReading, MetricsError, Moments, Proportion, Share,
};
use crate::sketch;
use crate::stats::{self, BinPair};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one metric was like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Reference {
    /// Of a rate.
    Rate {
        /// The counts.
        counts: Proportion,
    },
    /// Of a value.
    Value {
        /// Count, mean and spread.
        moments: Moments,
        /// How many values fell into each bin of the sketch, in order; empty
        /// where only the moments are known, and drift cannot be told.
        bins: Vec<(sketch::Key, u64)>,
    },
    /// Of categories.
    Category {
        /// Names and counts.
        shares: Vec<Share>,
    },
    /// Of labelled answers.
    Labelled {
        /// By fiftieths of the scale of confidence.
        bins: Vec<LabelledBin>,
    },
}

impl Reference {
    /// A reference of values that are known one by one, such as those of a
    /// file. What is not finite is left out.
    pub fn of_values(values: impl IntoIterator<Item = f64>) -> Reference {
        let mut bins: BTreeMap<sketch::Key, u64> = BTreeMap::new();
        let mut spread = Spread::default();
        for value in values.into_iter().filter(|value| value.is_finite()) {
            *bins.entry(sketch::key(value)).or_default() += 1;
            spread.add(value);
        }
        Reference::Value {
            moments: spread.moments(),
            bins: bins.into_iter().collect(),
        }
    }

    /// The kind of metric that it can be held against.
    pub fn kind(&self) -> MetricKind {
        match self {
            Reference::Rate { .. } => MetricKind::Rate,
            Reference::Value { .. } => MetricKind::Value,
            Reference::Category { .. } => MetricKind::Category,
            Reference::Labelled { .. } => MetricKind::Labelled,
        }
    }

    /// From how many records it was made.
    pub fn samples(&self) -> u64 {
        match self {
            Reference::Rate { counts } => counts.trials,
            Reference::Value { moments, .. } => moments.samples,
            Reference::Category { shares } => shares.iter().map(|share| share.count).sum(),
            Reference::Labelled { bins } => bins.iter().map(|bin| bin.answers).sum(),
        }
    }
}

impl Evidence {
    /// What a metric was like over the last `window_s` seconds; none without
    /// any evidence.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is not known; `Invalid` for a window outside
    /// 1 to 86,400 s.
    pub fn reference(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Option<Reference>, MetricsError> {
        let reference = match self.kind(metric) {
            None => return Err(MetricsError::Unknown(metric.to_string())),
            Some(MetricKind::Rate) => Reference::Rate {
                counts: self.rate(metric, subject, window_s, now_ms)?,
            },
            Some(MetricKind::Value) => Reference::Value {
                moments: self.mean(metric, subject, window_s, now_ms)?,
                bins: self.value_bins(metric, subject, window_s, now_ms)?,
            },
            Some(MetricKind::Category) => Reference::Category {
                shares: self.shares(metric, subject, window_s, now_ms)?,
            },
            Some(MetricKind::Labelled) => Reference::Labelled {
                bins: self.labelled(metric, subject, window_s, now_ms)?.to_vec(),
            },
        };
        Ok((reference.samples() > 0).then_some(reference))
    }

    /// Drift of the last `window_s` seconds from a reference.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is neither value nor category; `Invalid` for
    /// a window outside 1 to 86,400 s, and for a reference of another kind or
    /// without a distribution.
    pub fn drift_from(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        reference: &Reference,
        now_ms: u64,
    ) -> Result<DriftReading, MetricsError> {
        let bins = match (self.kind(metric), reference) {
            (Some(MetricKind::Value), Reference::Value { bins, .. }) if !bins.is_empty() => {
                let current = self.value_bins(metric, subject, window_s, now_ms)?;
                let cells = paired(current.into_iter(), bins.iter().copied());
                stats::decile_bins(&cells)
            }
            (Some(MetricKind::Category), Reference::Category { shares }) => {
                let current = self.shares(metric, subject, window_s, now_ms)?;
                category_pairs(&current, shares)
            }
            (Some(MetricKind::Value), Reference::Value { .. }) => {
                return Err(MetricsError::Invalid(format!(
                    "the reference of `{metric}` has no distribution, only its moments"
                )));
            }
            (kind, reference) => return Err(mismatch(metric, kind, reference)),
        };
        Ok(stats::drift(&bins))
    }

    /// Compares the last `window_s` seconds of a rate, or of the mean of a
    /// value, with a reference, which stands for a sample of its own size.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is neither rate nor value; `Invalid` for a
    /// window outside 1 to 86,400 s, options outside their ranges, and a
    /// reference of another kind.
    pub fn compare_with(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        reference: &Reference,
        options: &ComparisonOptions,
        now_ms: u64,
    ) -> Result<Comparison, MetricsError> {
        check_comparison(options)?;
        match (self.kind(metric), reference) {
            (Some(MetricKind::Rate), Reference::Rate { counts }) => {
                let rate = self.rate(metric, subject, window_s, now_ms)?;
                Ok(stats::compare_rates(rate, *counts, options))
            }
            (Some(MetricKind::Value), Reference::Value { moments, .. }) => {
                let mean = self.mean(metric, subject, window_s, now_ms)?;
                Ok(stats::compare_means(mean, *moments, options))
            }
            (kind, reference) => Err(mismatch(metric, kind, reference)),
        }
    }

    fn value_bins(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Vec<(sketch::Key, u64)>, MetricsError> {
        let span = last_s("window-s", window_s)?;
        let series = self.asked(metric, subject, MetricKind::Value)?;
        let bins = series.map(|series| series.sketch(span, now_ms));
        let widen = |(key, n): (sketch::Key, u32)| (key, u64::from(n));
        Ok(bins.map_or_else(Vec::new, |bins| bins.bins().map(widen).collect()))
    }
}

fn category_pairs(current: &[Share], reference: &[Share]) -> Vec<BinPair> {
    let mut pairs: BTreeMap<&str, BinPair> = BTreeMap::new();
    let none = BinPair {
        reference: 0,
        current: 0,
    };
    for share in current {
        pairs.entry(&share.category).or_insert(none).current += share.count;
    }
    for share in reference {
        pairs.entry(&share.category).or_insert(none).reference += share.count;
    }
    pairs.into_values().collect()
}

fn mismatch(metric: &str, kind: Option<MetricKind>, reference: &Reference) -> MetricsError {
    let Some(kind) = kind else {
        return MetricsError::Unknown(metric.to_string());
    };
    MetricsError::Invalid(format!(
        "`{metric}` is of kind {}, its reference of kind {}, which cannot be held against it so",
        kind.as_str(),
        reference.kind().as_str()
    ))
}
