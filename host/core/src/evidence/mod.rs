//! The store of evidence: everything that `metrics` queries are answered from.
//!
//! A series is one metric of one subject (a route, a model, a release of a
//! model). Whoever records resolves a series once ([`Evidence::rate_series`],
//! [`Evidence::value_series`]) and keeps the handle; queries go by name. The
//! meaning of queries is that of `wit/metrics.wit`.
//!
//! Always holds: a metric has one kind; a metric that is known and has no
//! series for the subject is no evidence (0 samples) and no error; the number
//! of metrics and series is bounded, and what was turned away is counted.

mod series;
#[cfg(test)]
mod tests;

pub use series::{MetricKind, Series, SeriesSummary, SummaryNumbers, VALUE_MAX};

use crate::metric::{
    self, Comparison, ComparisonOptions, DriftReading, Estimate, MetricsError, Moments, Proportion,
};
use crate::stats;
use crate::window::Span;
use hashbrown::{DefaultHashBuilder, Equivalent, HashMap};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Longest window of a query: a day.
pub const WINDOW_S_MAX: u32 = 86_400;
/// Window of the quantiles in summaries: long enough to be calm between two
/// scrapes, short enough to show an outage.
pub const SUMMARY_WINDOW_S: u32 = 600;
/// The quantiles in summaries.
pub const SUMMARY_QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];
/// Most metrics. Names come from configuration and feedback, not from traffic.
pub const METRICS_MAX: usize = 256;
/// Locks over which series are spread.
const SHARDS: usize = 16;

/// What a series is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A route.
    Route(Arc<str>),
    /// A model, over all its releases.
    Model(Arc<str>),
    /// One release of a model.
    Release {
        /// Name of the model.
        model: Arc<str>,
        /// Name of the release.
        release: Arc<str>,
    },
}

/// A [`Subject`] by borrowed names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectRef<'a> {
    /// A route.
    Route(&'a str),
    /// A model, over all its releases.
    Model(&'a str),
    /// One release of a model.
    Release {
        /// Name of the model.
        model: &'a str,
        /// Name of the release.
        release: &'a str,
    },
}

impl Subject {
    /// By borrowed names.
    pub fn as_ref(&self) -> SubjectRef<'_> {
        match self {
            Subject::Route(route) => SubjectRef::Route(route),
            Subject::Model(model) => SubjectRef::Model(model),
            Subject::Release { model, release } => SubjectRef::Release { model, release },
        }
    }
}

impl<'a> SubjectRef<'a> {
    /// What a policy means by `subject` in a decision on `route`. None for the
    /// route of a decision that has none.
    pub fn of(subject: &'a metric::Subject, route: Option<&'a str>) -> Option<SubjectRef<'a>> {
        match subject {
            metric::Subject::Route => route.map(SubjectRef::Route),
            metric::Subject::Model(model) => Some(SubjectRef::Model(model)),
            metric::Subject::Release { model, release } => {
                Some(SubjectRef::Release { model, release })
            }
        }
    }

    fn to_owned(self) -> Subject {
        match self {
            SubjectRef::Route(route) => Subject::Route(route.into()),
            SubjectRef::Model(model) => Subject::Model(model.into()),
            SubjectRef::Release { model, release } => Subject::Release {
                model: model.into(),
                release: release.into(),
            },
        }
    }
}

/// Limits of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceOptions {
    /// Most series. A rate takes up to 6 KiB; a value up to 20 KiB and 8 bytes
    /// for each bin in use of each bucket, 100 KiB for a busy latency.
    pub series_max: usize,
}

impl Default for EvidenceOptions {
    /// 10,000 series: 40 models of 10 releases with all standard metrics, three
    /// times over.
    fn default() -> Self {
        EvidenceOptions { series_max: 10_000 }
    }
}

/// Why there is no series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// The metric is of the other kind.
    #[error("metric `{0}` is of the other kind")]
    OtherKind(String),
    /// There are too many metrics.
    #[error("metric `{0}` is one more than the {METRICS_MAX} that are allowed")]
    TooManyMetrics(String),
}

/// What a store has turned away, and how full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EvidenceLoad {
    /// Series that are kept.
    pub series: usize,
    /// How often a series was asked for that did not fit.
    pub overflowed: u64,
    /// Records refused by the series that are kept: no finite number, or of
    /// the other kind.
    pub refused: u64,
}

/// The store.
#[derive(Debug)]
pub struct Evidence {
    options: EvidenceOptions,
    kinds: RwLock<HashMap<Arc<str>, MetricKind>>,
    hasher: DefaultHashBuilder,
    shards: [RwLock<HashMap<Key, Arc<Series>>>; SHARDS],
    series: AtomicUsize,
    overflowed: AtomicU64,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    metric: Arc<str>,
    subject: Subject,
}

#[derive(PartialEq, Eq, Hash)]
struct KeyRef<'a> {
    metric: &'a str,
    subject: SubjectRef<'a>,
}

impl Key {
    fn as_ref(&self) -> KeyRef<'_> {
        KeyRef {
            metric: &self.metric,
            subject: self.subject.as_ref(),
        }
    }
}

impl Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.as_ref()
    }
}

impl Evidence {
    /// An empty store that knows the standard metrics.
    pub fn new(options: EvidenceOptions) -> Evidence {
        use metric::name;
        let rates = [
            name::ERROR_RATE,
            name::ESCALATION_RATE,
            name::REVIEW_RATE,
            name::ACCURACY,
        ];
        let values = [name::LATENCY_MS, name::FIRST_TOKEN_MS, name::CONFIDENCE];
        let rates = rates.map(|name| (Arc::from(name), MetricKind::Rate));
        let values = values.map(|name| (Arc::from(name), MetricKind::Value));
        Evidence {
            options,
            kinds: RwLock::new(rates.into_iter().chain(values).collect()),
            hasher: DefaultHashBuilder::default(),
            shards: std::array::from_fn(|_| RwLock::default()),
            series: AtomicUsize::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// Makes a metric known, so that asking for it before it was recorded is
    /// no evidence rather than a mistake.
    ///
    /// # Errors
    ///
    /// When it is known as of the other kind, or there are too many metrics.
    pub fn declare(&self, metric: &str, kind: MetricKind) -> Result<(), SeriesError> {
        let mut kinds = self.kinds.write();
        match kinds.get(metric) {
            Some(known) if *known == kind => Ok(()),
            Some(_) => Err(SeriesError::OtherKind(metric.to_string())),
            None if kinds.len() >= METRICS_MAX => {
                Err(SeriesError::TooManyMetrics(metric.to_string()))
            }
            None => {
                kinds.insert(metric.into(), kind);
                Ok(())
            }
        }
    }

    /// The kind of a metric; none when it is not known.
    pub fn kind(&self, metric: &str) -> Option<MetricKind> {
        self.kinds.read().get(metric).copied()
    }

    /// The series of a rate, made and declared where it is not there. Keep the
    /// handle. When the store is full the handle keeps nothing
    /// ([`Series::is_kept`]), and that is counted.
    ///
    /// # Errors
    ///
    /// As [`Evidence::declare`].
    pub fn rate_series(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
    ) -> Result<Arc<Series>, SeriesError> {
        self.series_of(metric, subject, MetricKind::Rate)
    }

    /// The series of a value, as [`Evidence::rate_series`].
    ///
    /// # Errors
    ///
    /// As [`Evidence::declare`].
    pub fn value_series(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
    ) -> Result<Arc<Series>, SeriesError> {
        self.series_of(metric, subject, MetricKind::Value)
    }

    fn series_of(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        kind: MetricKind,
    ) -> Result<Arc<Series>, SeriesError> {
        if let Some(series) = self.find(metric, subject)
            && series.kind() == kind
        {
            return Ok(series);
        }
        self.declare(metric, kind)?;
        let metric: Arc<str> = metric.into();
        let owned = subject.to_owned();
        let key = Key {
            metric: metric.clone(),
            subject: owned.clone(),
        };
        let mut shard = self.shard(&key.as_ref()).write();
        if let Some(series) = shard.get(&key.as_ref()) {
            return Ok(series.clone());
        }
        let taken = self
            .series
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < self.options.series_max).then_some(n + 1)
            });
        if taken.is_err() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::new(Series::detached(metric, owned, kind)));
        }
        let series = Arc::new(Series::new(metric, owned, kind));
        shard.insert(key, series.clone());
        Ok(series)
    }

    fn shard(&self, key: &KeyRef<'_>) -> &RwLock<HashMap<Key, Arc<Series>>> {
        // Not the bits that the maps inside use.
        let hash = self.hasher.hash_one(key) >> 32;
        &self.shards[hash as usize % SHARDS]
    }

    fn find(&self, metric: &str, subject: SubjectRef<'_>) -> Option<Arc<Series>> {
        let key = KeyRef { metric, subject };
        self.shard(&key).read().get(&key).cloned()
    }

    /// The series to answer from; none when there is none yet.
    fn asked(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        kind: MetricKind,
    ) -> Result<Option<Arc<Series>>, MetricsError> {
        let series = self.find(metric, subject);
        let known = match &series {
            Some(series) => Some(series.kind()),
            None => self.kind(metric),
        };
        if known == Some(kind) {
            Ok(series)
        } else {
            Err(MetricsError::Unknown(metric.to_string()))
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
            None => Err(MetricsError::Unknown(metric.to_string())),
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

    /// Drift of a value: the last `window_s` seconds against the `reference_s`
    /// seconds before them. Values are told apart as far as the sketch does,
    /// which is to 2 %.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is no value; `Invalid` for a window or a
    /// reference outside 1 to 86,400 s.
    pub fn drift(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        reference_s: u32,
        now_ms: u64,
    ) -> Result<DriftReading, MetricsError> {
        let current = last_s("window-s", window_s)?;
        let reference = Span {
            older_ms: current.older_ms + last_s("reference-s", reference_s)?.older_ms,
            newer_ms: current.older_ms,
        };
        let series = self.asked(metric, subject, MetricKind::Value)?;
        let cells = series.map_or_else(Vec::new, |series| {
            series.bin_pairs(current, reference, now_ms)
        });
        Ok(stats::drift(&stats::decile_bins(&cells)))
    }

    /// Totals of every series since it was made, with quantiles of the last
    /// [`SUMMARY_WINDOW_S`] seconds, for an exporter. In no order. Holds a lock
    /// only while a sixteenth of the series is listed.
    pub fn summaries(&self, now_ms: u64) -> impl Iterator<Item = SeriesSummary> + '_ {
        let span = Span::last_s(SUMMARY_WINDOW_S);
        self.shards
            .iter()
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
            .map(move |series| series.summary(span, now_ms, &SUMMARY_QUANTILES))
    }

    /// How full the store is and what it has turned away.
    pub fn load(&self) -> EvidenceLoad {
        let refused = |shard: &RwLock<HashMap<Key, Arc<Series>>>| -> u64 {
            shard.read().values().map(|series| series.refused()).sum()
        };
        EvidenceLoad {
            series: self.series.load(Ordering::Relaxed),
            overflowed: self.overflowed.load(Ordering::Relaxed),
            refused: self.shards.iter().map(refused).sum(),
        }
    }

    /// Drops the series that nobody holds a handle to and no window could find
    /// anything in, and says how many. To be called now and then: releases and
    /// routes come and go.
    pub fn sweep(&self, now_ms: u64) -> usize {
        let mut dropped = 0;
        for shard in &self.shards {
            shard.write().retain(|_, series| {
                let keep = Arc::strong_count(series) > 1 || !series.is_spent(now_ms);
                dropped += usize::from(!keep);
                keep
            });
        }
        self.series.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }
}

fn last_s(field: &str, window_s: u32) -> Result<Span, MetricsError> {
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
