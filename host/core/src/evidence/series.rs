//! One series: what is counted of one metric for one subject.
//!
//! What a series of each kind holds is in [`counts`](super::counts) (rates),
//! [`numbers`](super::numbers) (values), [`categories`](super::categories) and
//! [`labelled`](super::labelled); this is the door to all four.

use super::categories::Category;
use super::counts::Rate;
use super::labelled::{LABELLED_BINS, Labelled, LabelledBin};
use super::numbers::Value;
use super::tap::Counting;
use super::{Subject, SubjectRef};
use crate::metric::{Estimate, Moments, Proportion};
use crate::sketch::{self, Dense, Key};
use crate::stats::BinPair;
use crate::window::Span;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest magnitude of a value: the squares of such values can be added up
/// without becoming infinite, and nothing that is measured comes near it.
pub const VALUE_MAX: f64 = 1e100;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    /// Something happens or does not.
    Rate,
    /// A number.
    Value,
    /// One of a few names.
    Category,
    /// An answer's confidence, and whether the answer was right.
    Labelled,
}

impl MetricKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Rate => "rate",
            MetricKind::Value => "value",
            MetricKind::Category => "category",
            MetricKind::Labelled => "labelled",
        }
    }
}

/// A series of any kind. Made by [`super::Evidence`]; recording through a
/// handle that was kept costs one uncontended lock and no lookup.
///
/// What is recorded belongs to the moment `at_ms`, which may lie before
/// `now_ms`: a label is evidence about the time of its answer. A moment that
/// lies in the future is now.
#[derive(Debug)]
pub struct Series {
    pub(super) metric: Arc<str>,
    pub(super) subject: Subject,
    pub(super) body: Body,
    /// Values that were no number, of another kind, or from too long ago.
    refused: AtomicU64,
    /// Who counts what is recorded a second time; seldom anybody.
    pub(super) taps: RwLock<Vec<Arc<Counting>>>,
}

#[derive(Debug)]
pub(super) enum Body {
    Rate(Mutex<Rate>),
    Value(Mutex<Value>),
    Category(Mutex<Category>),
    Labelled(Mutex<Labelled>),
    /// Beyond the cap on series: nothing is kept.
    Detached(MetricKind),
}

impl Body {
    fn new(kind: MetricKind) -> Body {
        match kind {
            MetricKind::Rate => Body::Rate(Mutex::default()),
            MetricKind::Value => Body::Value(Mutex::default()),
            MetricKind::Category => Body::Category(Mutex::default()),
            MetricKind::Labelled => Body::Labelled(Mutex::default()),
        }
    }
}

/// Totals of a series since it was made, and quantiles of late.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSummary {
    /// Name of the metric, with its segment where it has one.
    pub metric: Arc<str>,
    /// What it is of.
    pub subject: Subject,
    /// The numbers.
    pub numbers: SummaryNumbers,
}

/// The numbers of a [`SeriesSummary`].
#[derive(Debug, Clone, PartialEq)]
pub enum SummaryNumbers {
    /// Of a rate, and of labelled answers (right of all): the counts since the
    /// series was made.
    Rate(Proportion),
    /// Of a value.
    Value {
        /// Values since the series was made.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Quantile and value over the last [`super::SUMMARY_WINDOW_S`] seconds;
        /// empty without values.
        quantiles: Vec<(f64, f64)>,
    },
    /// Of categories: names and how often they were seen of late, the most
    /// frequent first.
    Category(Vec<(Arc<str>, u64)>),
}

impl Series {
    pub(super) fn new(metric: Arc<str>, subject: Subject, kind: MetricKind) -> Series {
        Series::with(metric, subject, Body::new(kind))
    }

    pub(super) fn detached(metric: Arc<str>, subject: Subject, kind: MetricKind) -> Series {
        Series::with(metric, subject, Body::Detached(kind))
    }

    pub(super) fn with(metric: Arc<str>, subject: Subject, body: Body) -> Series {
        Series {
            metric,
            subject,
            body,
            refused: AtomicU64::new(0),
            taps: RwLock::default(),
        }
    }

    /// Name of the metric, with its segment where it has one.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// What it is of.
    pub fn subject(&self) -> SubjectRef<'_> {
        self.subject.as_ref()
    }

    /// What kind of metric it is.
    pub fn kind(&self) -> MetricKind {
        match &self.body {
            Body::Rate(_) => MetricKind::Rate,
            Body::Value(_) => MetricKind::Value,
            Body::Category(_) => MetricKind::Category,
            Body::Labelled(_) => MetricKind::Labelled,
            Body::Detached(kind) => *kind,
        }
    }

    /// False when the store was full and nothing is kept.
    pub fn is_kept(&self) -> bool {
        !matches!(self.body, Body::Detached(_))
    }

    /// How many records were refused: no finite number, of another kind, or of
    /// a moment that no window reaches.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts one trial of now, and an event when it happened. True when it was
    /// kept; a series of another kind refuses it and counts that.
    pub fn record_rate(&self, now_ms: u64, event: bool) -> bool {
        self.record_rate_at(now_ms, now_ms, event)
    }

    /// [`Series::record_rate`] of the moment `at_ms`.
    pub fn record_rate_at(&self, now_ms: u64, at_ms: u64, event: bool) -> bool {
        let kept = match &self.body {
            Body::Rate(rate) => self.kept(rate.lock().record(now_ms, at_ms, event)),
            _ => self.refuse(),
        };
        if kept {
            self.taps.read().iter().for_each(|tap| tap.rate(event));
        }
        kept
    }

    /// Counts one value of now. True when it was kept; what is no number or
    /// larger than [`VALUE_MAX`], and everything on a series of another kind,
    /// is refused and counted.
    pub fn record_value(&self, now_ms: u64, number: f64) -> bool {
        self.record_value_at(now_ms, now_ms, number)
    }

    /// [`Series::record_value`] of the moment `at_ms`.
    pub fn record_value_at(&self, now_ms: u64, at_ms: u64, number: f64) -> bool {
        let Body::Value(value) = &self.body else {
            return self.refuse();
        };
        // Written so that it also refuses NaN.
        if !(-VALUE_MAX..=VALUE_MAX).contains(&number) {
            return self.refuse();
        }
        let key = sketch::key(number); // the dear part, outside of the lock
        let kept = self.kept(value.lock().record(now_ms, at_ms, number, key));
        if kept {
            self.taps.read().iter().for_each(|tap| tap.value(number));
        }
        kept
    }

    /// Counts one category; [`super::OTHER`] where the series knows too many
    /// names already. True when it was kept.
    pub fn record_category(&self, now_ms: u64, at_ms: u64, name: &str) -> bool {
        match &self.body {
            Body::Category(category) => self.kept(category.lock().record(now_ms, at_ms, name)),
            _ => self.refuse(),
        }
    }

    /// Counts one labelled answer with its confidence in `[0, 1]`. True when it
    /// was kept; another confidence is refused and counted.
    pub fn record_labelled(&self, now_ms: u64, at_ms: u64, confidence: f64, right: bool) -> bool {
        match &self.body {
            Body::Labelled(labelled) if (0.0..=1.0).contains(&confidence) => {
                self.kept(labelled.lock().record(now_ms, at_ms, confidence, right))
            }
            _ => self.refuse(),
        }
    }

    fn kept(&self, kept: bool) -> bool {
        kept || self.refuse()
    }

    #[cold]
    fn refuse(&self) -> bool {
        if self.is_kept() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    pub(super) fn rate(&self, span: Span, now_ms: u64) -> Proportion {
        match &self.body {
            Body::Rate(rate) => rate.lock().within(span, now_ms),
            _ => Proportion::default(),
        }
    }

    pub(super) fn mean(&self, span: Span, now_ms: u64) -> Moments {
        match &self.body {
            Body::Value(value) => value.lock().moments(span, now_ms),
            _ => Moments::default(),
        }
    }

    pub(super) fn quantile(&self, span: Span, now_ms: u64, q: f64) -> Estimate {
        let Body::Value(value) = &self.body else {
            return Estimate::default();
        };
        value
            .lock()
            .with_sketches(span, now_ms, |past, head| Estimate {
                samples: past.total() + head.total(),
                value: sketch::quantile(past, head, q).unwrap_or(0.0),
            })
    }

    /// The values of a span, by bins of the sketch.
    pub(super) fn sketch(&self, span: Span, now_ms: u64) -> Dense {
        match &self.body {
            Body::Value(value) => value.lock().sketch(span, now_ms),
            _ => Dense::default(),
        }
    }

    pub(super) fn shares(&self, span: Span, now_ms: u64) -> Vec<(Arc<str>, u64)> {
        match &self.body {
            Body::Category(category) => category.lock().shares(span, now_ms),
            _ => Vec::new(),
        }
    }

    pub(super) fn labelled(&self, span: Span, now_ms: u64) -> [LabelledBin; LABELLED_BINS] {
        match &self.body {
            Body::Labelled(labelled) => labelled.lock().within(span, now_ms),
            _ => [LabelledBin::default(); LABELLED_BINS],
        }
    }

    /// Counts of the current and the reference span by bins of the sketch, whose
    /// keys stand for the values.
    pub(super) fn bin_pairs(
        &self,
        current: Span,
        reference: Span,
        now_ms: u64,
    ) -> Vec<(f64, BinPair)> {
        let Body::Value(value) = &self.body else {
            return Vec::new();
        };
        let mut value = value.lock();
        let (current, reference) = (
            value.sketch(current, now_ms),
            value.sketch(reference, now_ms),
        );
        let widen = |(key, n): (Key, u32)| (key, u64::from(n));
        paired(current.bins().map(widen), reference.bins().map(widen))
    }

    /// As [`Series::bin_pairs`], of categories; one pair for each.
    pub(super) fn category_pairs(
        &self,
        current: Span,
        reference: Span,
        now_ms: u64,
    ) -> Vec<BinPair> {
        match &self.body {
            Body::Category(category) => category.lock().bin_pairs(current, reference, now_ms),
            _ => Vec::new(),
        }
    }

    /// When the newest of what it holds happened.
    pub(super) fn newest_ms(&self) -> Option<u64> {
        match &self.body {
            Body::Rate(rate) => rate.lock().window.newest_ms(),
            Body::Value(value) => value.lock().window.newest_ms(),
            Body::Category(category) => category.lock().window.newest_ms(),
            Body::Labelled(labelled) => labelled.lock().window.newest_ms(),
            Body::Detached(_) => None,
        }
    }

    /// True when no window could find anything in it.
    pub(super) fn is_spent(&self, now_ms: u64) -> bool {
        match &self.body {
            Body::Rate(rate) => rate.lock().window.is_spent(now_ms),
            Body::Value(value) => value.lock().window.is_spent(now_ms),
            Body::Category(category) => category.lock().window.is_spent(now_ms),
            Body::Labelled(labelled) => labelled.lock().window.is_spent(now_ms),
            Body::Detached(_) => true,
        }
    }

    pub(super) fn summary(&self, span: Span, now_ms: u64, quantiles: &[f64]) -> SeriesSummary {
        let numbers = match &self.body {
            Body::Rate(rate) => SummaryNumbers::Rate(rate.lock().total),
            Body::Value(value) => {
                let mut value = value.lock();
                let quantiles = value.with_sketches(span, now_ms, |past, head| {
                    quantiles
                        .iter()
                        .filter_map(|q| Some((*q, sketch::quantile(past, head, *q)?)))
                        .collect()
                });
                SummaryNumbers::Value {
                    count: value.count,
                    sum: value.sum,
                    quantiles,
                }
            }
            Body::Category(category) => {
                SummaryNumbers::Category(category.lock().shares(span, now_ms))
            }
            Body::Labelled(labelled) => SummaryNumbers::Rate(labelled.lock().total),
            Body::Detached(_) => SummaryNumbers::Rate(Proportion::default()),
        };
        SeriesSummary {
            metric: self.metric.clone(),
            subject: self.subject.clone(),
            numbers,
        }
    }
}

/// Bins of the two sides, by key, in order; a key stands for its values.
pub(super) fn paired(
    current: impl Iterator<Item = (Key, u64)>,
    reference: impl Iterator<Item = (Key, u64)>,
) -> Vec<(f64, BinPair)> {
    let mut cells: BTreeMap<Key, BinPair> = BTreeMap::new();
    let none = BinPair {
        reference: 0,
        current: 0,
    };
    for (key, n) in current {
        cells.entry(key).or_insert(none).current += n;
    }
    for (key, n) in reference {
        cells.entry(key).or_insert(none).reference += n;
    }
    cells
        .into_iter()
        .map(|(key, cell)| (f64::from(key), cell))
        .collect()
}
