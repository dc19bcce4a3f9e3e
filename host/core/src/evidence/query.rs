//! What the store answers: counts, moments, quantiles, shares, comparisons,
//! drift. Nothing in here records.
//!
//! Always holds: a metric that is known and has no series for the subject is no
//! evidence and no error; windows are 1 to 86,400 s.

use super::labelled::{LABELLED_BINS, LabelledBin};
use super::{Evidence, MetricKind, Series, SubjectRef, WINDOW_S_MAX};
use crate::metric::{
    Comparison, ComparisonOptions, DriftReading, Estimate, Measurement, MetricsError, Moments,
    Proportion, Share,
};
use crate::stats::{self, BinPair};
use crate::window::Span;
use std::sync::Arc;

impl Evidence {
    /// The series to answer from; none when there is none yet.
    pub(super) fn asked(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        kind: MetricKind,
    ) -> Result<Option<Arc<Series>>, MetricsError> {
        // A series that is there tells its kind without another lock.
        if let Some(series) = self.find(metric, subject)
            && series.kind() == kind
        {
            return Ok(Some(series));
        }
        match self.known(metric) {
            Some(known) if known.kind == kind && known.of_process => {
                Ok(self.find(metric, SubjectRef::Process))
            }
            Some(known) if known.kind == kind => Ok(None),
            _ => Err(MetricsError::Unknown(metric.to_string())),
        }
    }

    /// Counts of a rate over the last `window_s` seconds.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is no rate; `Invalid` for a window outside
    /// 1 to 86,400 s.
    pub fn rate(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Proportion, MetricsError> {
        let span = last_s("window-s", window_s)?;
        let series = self.asked(metric, subject, MetricKind::Rate)?;
        Ok(series.map_or_else(Proportion::default, |series| series.rate(span, now_ms)))
    }

    /// Mean and spread of a value over the last `window_s` seconds.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is no value; `Invalid` for a window outside
    /// 1 to 86,400 s.
    pub fn mean(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Moments, MetricsError> {
        let span = last_s("window-s", window_s)?;
        let series = self.asked(metric, subject, MetricKind::Value)?;
        Ok(series.map_or_else(Moments::default, |series| series.mean(span, now_ms)))
    }

    /// The `q` quantile of a value over the last `window_s` seconds.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is no value; `Invalid` for a window outside
    /// 1 to 86,400 s or a `q` outside 0 to 1.
    pub fn quantile(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        q: f64,
        now_ms: u64,
    ) -> Result<Estimate, MetricsError> {
        let span = last_s("window-s", window_s)?;
        if !(0.0..=1.0).contains(&q) {
            return Err(MetricsError::Invalid(format!("`q` is {q}, must be 0 to 1")));
        }
        let series = self.asked(metric, subject, MetricKind::Value)?;
        Ok(series.map_or_else(Estimate::default, |series| series.quantile(span, now_ms, q)))
    }

    /// Compares a rate, or the mean of a value, of two subjects over the last
    /// `window_s` seconds; see [`stats`]. It is valid however often it is asked
    /// as long as the window reaches back to the beginning of what is compared.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is not known; `Invalid` for a window outside
    /// 1 to 86,400 s or options outside their ranges.
    pub fn compare(
        &self,
        metric: &str,
        candidate: SubjectRef<'_>,
        baseline: SubjectRef<'_>,
        window_s: u32,
        options: &ComparisonOptions,
        now_ms: u64,
    ) -> Result<Comparison, MetricsError> {
        last_s("window-s", window_s)?;
        check_comparison(options)?;
        match self.kind(metric) {
            None | Some(MetricKind::Category | MetricKind::Labelled) => {
                Err(MetricsError::Unknown(metric.to_string()))
            }
            Some(MetricKind::Rate) => Ok(stats::compare_rates(
                self.rate(metric, candidate, window_s, now_ms)?,
                self.rate(metric, baseline, window_s, now_ms)?,
                options,
            )),
            Some(MetricKind::Value) => Ok(stats::compare_means(
                self.mean(metric, candidate, window_s, now_ms)?,
                self.mean(metric, baseline, window_s, now_ms)?,
                options,
            )),
        }
    }

    /// Drift of a value or of categories: the last `window_s` seconds against
    /// the `reference_s` seconds before them. Values are told apart as far as
    /// the sketch does, which is to 2 %; of categories each is a bin.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is neither; `Invalid` for a window or a
    /// reference outside 1 to 86,400 s.
    pub fn drift(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        reference_s: u32,
        now_ms: u64,
    ) -> Result<DriftReading, MetricsError> {
        let bins = self.drift_bins(metric, subject, window_s, reference_s, now_ms)?;
        Ok(stats::drift(&bins))
    }

    /// What [`Evidence::drift`] judges: how many of both windows fall into each
    /// category, or into each tenth of the reference; for other distances of the
    /// same bins ([`stats::drift::distance`]).
    ///
    /// # Errors
    ///
    /// As for [`Evidence::drift`].
    pub fn drift_bins(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        reference_s: u32,
        now_ms: u64,
    ) -> Result<Vec<BinPair>, MetricsError> {
        let current = last_s("window-s", window_s)?;
        let reference = Span {
            older_ms: current.older_ms + last_s("reference-s", reference_s)?.older_ms,
            newer_ms: current.older_ms,
        };
        let kind = match self.kind(metric) {
            Some(MetricKind::Category) => MetricKind::Category,
            _ => MetricKind::Value,
        };
        let series = self.asked(metric, subject, kind)?;
        let bins = series.map_or_else(Vec::new, |series| match kind {
            MetricKind::Category => series.category_pairs(current, reference, now_ms),
            _ => stats::decile_bins(&series.bin_pairs(current, reference, now_ms)),
        });
        Ok(bins)
    }

    /// Categories over the last `window_s` seconds, the most frequent first.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is no category; `Invalid` for a window
    /// outside 1 to 86,400 s.
    pub fn shares(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Vec<Share>, MetricsError> {
        let span = last_s("window-s", window_s)?;
        let series = self.asked(metric, subject, MetricKind::Category)?;
        let shares = series.map_or_else(Vec::new, |series| series.shares(span, now_ms));
        let share = |(category, count): (Arc<str>, u64)| Share {
            category: category.to_string(),
            count,
        };
        Ok(shares.into_iter().map(share).collect())
    }

    /// A rate, or the mean of a value, as a number with its standard error:
    /// `√(p(1 − p)/n)` and `s/√n`. Of labelled answers the accuracy. `f1`,
    /// `auc`, `brier`, `calibration-error` and `estimated-accuracy` are computed
    /// from others.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is not known, or is a category; `Invalid`
    /// for a window outside 1 to 86,400 s.
    pub fn measure(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Measurement, MetricsError> {
        let Some(kind) = self.kind(metric) else {
            return self.computed(metric, subject, window_s, now_ms);
        };
        let series = self.asked(metric, subject, kind)?;
        let newest_ms = series.and_then(|series| series.newest_ms());
        let age_ms = newest_ms.map_or(0, |newest_ms| now_ms.saturating_sub(newest_ms));
        let of_counts = |counts: Proportion| {
            let n = counts.trials.max(1) as f64;
            let p = counts.events as f64 / n;
            (counts.trials, p, (p * (1.0 - p) / n).sqrt())
        };
        let (samples, value, standard_error) = match kind {
            MetricKind::Rate => of_counts(self.rate(metric, subject, window_s, now_ms)?),
            MetricKind::Value => {
                let mean = self.mean(metric, subject, window_s, now_ms)?;
                let error = mean.stddev / (mean.samples.max(1) as f64).sqrt();
                (mean.samples, mean.mean, error)
            }
            MetricKind::Labelled => {
                let bins = self.labelled(metric, subject, window_s, now_ms)?;
                of_counts(Proportion {
                    events: bins.iter().map(|bin| bin.right).sum(),
                    trials: bins.iter().map(|bin| bin.answers).sum(),
                })
            }
            MetricKind::Category => return Err(MetricsError::Unknown(metric.to_string())),
        };
        Ok(Measurement {
            samples,
            value,
            standard_error,
            age_ms,
        })
    }

    /// Labelled answers over the last `window_s` seconds by fiftieths of the
    /// scale of confidence.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is not of labelled answers; `Invalid` for a
    /// window outside 1 to 86,400 s.
    pub fn labelled(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<[LabelledBin; LABELLED_BINS], MetricsError> {
        let span = last_s("window-s", window_s)?;
        let series = self.asked(metric, subject, MetricKind::Labelled)?;
        Ok(
            series.map_or([LabelledBin::default(); LABELLED_BINS], |series| {
                series.labelled(span, now_ms)
            }),
        )
    }
}

pub(super) fn last_s(field: &str, window_s: u32) -> Result<Span, MetricsError> {
    if (1..=WINDOW_S_MAX).contains(&window_s) {
        Ok(Span::last_s(window_s))
    } else {
        Err(MetricsError::Invalid(format!(
            "`{field}` is {window_s}, must be 1 to 86,400"
        )))
    }
}

/// Checks what a policy asks a comparison for.
///
/// # Errors
///
/// `Invalid`, naming the first option that is out of range.
pub fn check_comparison(options: &ComparisonOptions) -> Result<(), MetricsError> {
    let ComparisonOptions { alpha, margin, .. } = *options;
    if !(alpha > 0.0 && alpha <= 0.5) {
        return Err(MetricsError::Invalid(format!(
            "`alpha` is {alpha}, must be above 0 and at most 0.5"
        )));
    }
    if !(margin >= 0.0 && margin.is_finite()) {
        return Err(MetricsError::Invalid(format!(
            "`margin` is {margin}, must be at least 0"
        )));
    }
    Ok(())
}
