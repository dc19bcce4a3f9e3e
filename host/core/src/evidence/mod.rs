//! The store of evidence: everything that `metrics` queries are answered from.
//!
//! A series is one metric of one subject (a route, a model, a release of a
//! model, the process). Whoever records resolves a series once
//! ([`Evidence::rate_series`] and its like) and keeps the handle; queries go by
//! name. The meaning of queries is that of `wit/metrics.wit` and
//! `wit/evidence.wit`. A part of a metric's evidence, such as that of one tier
//! of callers, is a series of its own under the metric's name with a
//! *segment*, `accuracy{tier=gold}` (see [`metric::base`]).
//!
//! What is kept of a series is in `series` and the modules that it names, what
//! is answered in `query`, `computed`, `line` and `reference`, what outlives a
//! restart in `snapshot`, what is kept by a name to compare with in [`baseline`].
//! Who keeps counts for longer than windows reach has a [`Tap`].
//!
//! Always holds: a metric has one kind in all its segments; a metric that is known and has no
//! series for the subject is no evidence (0 samples) and no error; the number
//! of metrics and series is bounded, and what was turned away is counted.

pub mod baseline;
mod categories;
mod computed;
mod counts;
mod labelled;
mod line;
mod numbers;
mod query;
mod reference;
mod series;
mod snapshot;
mod tap;
#[cfg(test)]
mod tests;

pub use categories::{CATEGORIES_MAX, CATEGORY_BYTES_MAX, OTHER};
pub use computed::ESTIMATE_LABELS_MIN;
pub use labelled::{LABELLED_BINS, LabelledBin};
pub use query::check_comparison;
pub use reference::Reference;
pub use series::{MetricKind, Series, SeriesSummary, SummaryNumbers, VALUE_MAX};
pub use snapshot::KeptSeries;
pub use tap::{Tap, TapOf};

use crate::metric;
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
    /// The host itself: processor, memory and the like.
    Process,
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
    /// The host itself.
    Process,
}

impl Subject {
    /// By borrowed names.
    pub fn as_ref(&self) -> SubjectRef<'_> {
        match self {
            Subject::Route(route) => SubjectRef::Route(route),
            Subject::Model(model) => SubjectRef::Model(model),
            Subject::Release { model, release } => SubjectRef::Release { model, release },
            Subject::Process => SubjectRef::Process,
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
            SubjectRef::Process => Subject::Process,
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
    /// There is no such metric.
    #[error("metric `{0}` is not known")]
    Unknown(String),
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
    /// By the metric's name without a segment.
    known: RwLock<HashMap<Arc<str>, Known>>,
    hasher: DefaultHashBuilder,
    shards: [RwLock<HashMap<Key, Arc<Series>>>; SHARDS],
    series: AtomicUsize,
    overflowed: AtomicU64,
}

/// What is known of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    kind: MetricKind,
    /// It is the process's, whatever subject is asked for.
    of_process: bool,
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
        let kinds = [
            (name::ERROR_RATE, MetricKind::Rate),
            (name::ESCALATION_RATE, MetricKind::Rate),
            (name::REVIEW_RATE, MetricKind::Rate),
            (name::ACCURACY, MetricKind::Rate),
            (name::LATENCY_MS, MetricKind::Value),
            (name::FIRST_TOKEN_MS, MetricKind::Value),
            (name::CONFIDENCE, MetricKind::Value),
        ];
        let known = kinds.map(|(name, kind)| {
            let of_process = false;
            (Arc::from(name), Known { kind, of_process })
        });
        Evidence {
            options,
            known: RwLock::new(known.into_iter().collect()),
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
        self.know(metric, kind, false)
    }

    /// As [`Evidence::declare`], for a metric of the process: whatever subject
    /// is asked for, [`SubjectRef::Process`] answers.
    ///
    /// # Errors
    ///
    /// As [`Evidence::declare`].
    pub fn declare_of_process(&self, metric: &str, kind: MetricKind) -> Result<(), SeriesError> {
        self.know(metric, kind, true)
    }

    fn know(&self, metric: &str, kind: MetricKind, of_process: bool) -> Result<(), SeriesError> {
        let base = metric::base(metric);
        let mut known = self.known.write();
        let count = known.len();
        match known.get_mut(base) {
            Some(old) if old.kind == kind => {
                // A series that was kept is known before whose it is.
                old.of_process |= of_process;
                Ok(())
            }
            Some(_) => Err(SeriesError::OtherKind(base.to_string())),
            None if count >= METRICS_MAX => Err(SeriesError::TooManyMetrics(base.to_string())),
            None => {
                known.insert(base.into(), Known { kind, of_process });
                Ok(())
            }
        }
    }

    /// The kind of a metric; none when it is not known.
    pub fn kind(&self, metric: &str) -> Option<MetricKind> {
        self.known(metric).map(|known| known.kind)
    }

    fn known(&self, metric: &str) -> Option<Known> {
        self.known.read().get(metric::base(metric)).copied()
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

    /// The series of a category, as [`Evidence::rate_series`].
    ///
    /// # Errors
    ///
    /// As [`Evidence::declare`].
    pub fn category_series(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
    ) -> Result<Arc<Series>, SeriesError> {
        self.series_of(metric, subject, MetricKind::Category)
    }

    /// The series of labelled answers, as [`Evidence::rate_series`].
    ///
    /// # Errors
    ///
    /// As [`Evidence::declare`].
    pub fn labelled_series(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
    ) -> Result<Arc<Series>, SeriesError> {
        self.series_of(metric, subject, MetricKind::Labelled)
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
        if !self.takes_one_more() {
            return Ok(Arc::new(Series::detached(metric, owned, kind)));
        }
        let series = Arc::new(Series::new(metric, owned, kind));
        shard.insert(key, series.clone());
        Ok(series)
    }

    /// Takes a place for a series; false, and counted, when none is left.
    fn takes_one_more(&self) -> bool {
        let taken = self
            .series
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < self.options.series_max).then_some(n + 1)
            });
        if taken.is_err() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Takes a series as it is; false when there is one already, or no place.
    fn adopt(&self, series: Series) -> bool {
        let key = Key {
            metric: series.metric.clone(),
            subject: series.subject.clone(),
        };
        let mut shard = self.shard(&key.as_ref()).write();
        if shard.contains_key(&key.as_ref()) || !self.takes_one_more() {
            return false;
        }
        shard.insert(key, Arc::new(series));
        true
    }

    /// All series, in no order. Holds a lock only while a sixteenth of them is
    /// listed.
    fn all(&self) -> impl Iterator<Item = Arc<Series>> + '_ {
        self.shards
            .iter()
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
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

    /// Totals of every series since it was made, with quantiles of the last
    /// [`SUMMARY_WINDOW_S`] seconds, for an exporter. In no order. Holds a lock
    /// only while a sixteenth of the series is listed.
    pub fn summaries(&self, now_ms: u64) -> impl Iterator<Item = SeriesSummary> + '_ {
        let span = Span::last_s(SUMMARY_WINDOW_S);
        self.all()
            .map(move |series| series.summary(span, now_ms, &SUMMARY_QUANTILES))
    }

    /// Metric and subject of every series, in no order.
    pub fn names(&self) -> impl Iterator<Item = (Arc<str>, Subject)> + '_ {
        self.all()
            .map(|series| (series.metric.clone(), series.subject.clone()))
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
