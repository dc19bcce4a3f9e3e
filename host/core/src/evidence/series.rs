//! One series: what is counted of one metric for one subject.

use super::{Subject, SubjectRef};
use crate::metric::{Estimate, Moments, Proportion};
use crate::sketch::{self, Dense, Sparse};
use crate::stats::BinPair;
use crate::window::{Span, Tally, Window};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Windows of one series whose merged sketch is kept until the tick ends:
/// policies ask for the same few windows at every decision.
const MERGED_KEPT_MAX: usize = 4;

/// Largest magnitude of a value: the squares of such values can be added up
/// without becoming infinite, and nothing that is measured comes near it.
pub const VALUE_MAX: f64 = 1e100;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Something happens or does not.
    Rate,
    /// A number.
    Value,
}

/// A series of either kind. Made by [`super::Evidence`]; recording through a
/// handle that was kept costs one uncontended lock and no lookup.
#[derive(Debug)]
pub struct Series {
    pub(super) metric: Arc<str>,
    pub(super) subject: Subject,
    body: Body,
    /// Values that were no number, or of the other kind.
    refused: AtomicU64,
}

#[derive(Debug)]
enum Body {
    Rate(Mutex<Rate>),
    Value(Mutex<Value>),
    /// Beyond the cap on series: nothing is kept.
    Detached(MetricKind),
}

#[derive(Debug, Default)]
struct Rate {
    window: Window<Counts>,
    total: Proportion,
}

#[derive(Debug, Default)]
struct Value {
    window: Window<Numbers>,
    count: u64,
    sum: f64,
    merged: Vec<Merged>,
}

/// The closed buckets of a span as one sketch, good until the head's tick ends.
#[derive(Debug)]
struct Merged {
    span: Span,
    head_tick: u64,
    /// The tick that was asked in: a window's far end moves with it.
    asked_tick: u64,
    sketch: Dense,
}

/// Events and trials of one tick or bucket.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    events: u32,
    trials: u32,
}

impl Tally for Counts {
    type Closed = Counts;

    fn is_empty(&self) -> bool {
        self.trials == 0
    }

    fn close(&mut self) -> Counts {
        std::mem::take(self)
    }

    fn merge(into: &mut Counts, other: Counts) {
        into.events = into.events.saturating_add(other.events);
        into.trials = into.trials.saturating_add(other.trials);
    }
}

/// Count, mean and sum of squared deviations (Welford), which stay exact where
/// a sum of squares would lose all digits.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let off = value - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (value - self.mean);
    }

    fn merge(&mut self, other: Spread) {
        if other.count == 0 {
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let off = other.mean - self.mean;
        self.count += other.count;
        self.mean += off * (b / (a + b));
        self.squares += other.squares + off * off * (a * b / (a + b));
    }

    fn moments(self) -> Moments {
        let variance = match self.count {
            0 | 1 => 0.0,
            n => (self.squares / (n - 1) as f64).max(0.0),
        };
        Moments {
            samples: self.count,
            mean: if self.count == 0 { 0.0 } else { self.mean },
            stddev: variance.sqrt(),
        }
    }
}

#[derive(Debug, Default)]
struct Numbers {
    spread: Spread,
    sketch: Dense,
}

#[derive(Debug)]
struct ClosedNumbers {
    spread: Spread,
    sketch: Sparse,
}

impl Tally for Numbers {
    type Closed = ClosedNumbers;

    fn is_empty(&self) -> bool {
        self.spread.count == 0
    }

    fn close(&mut self) -> ClosedNumbers {
        let sketch = self.sketch.to_sparse();
        self.sketch.clear();
        ClosedNumbers {
            spread: std::mem::take(&mut self.spread),
            sketch,
        }
    }

    fn merge(into: &mut ClosedNumbers, other: ClosedNumbers) {
        into.spread.merge(other.spread);
        into.sketch = sketch::merge(&into.sketch, &other.sketch);
    }
}

/// Totals of a series since it was made, and quantiles of late.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSummary {
    /// Name of the metric.
    pub metric: Arc<str>,
    /// What it is of.
    pub subject: Subject,
    /// The numbers.
    pub numbers: SummaryNumbers,
}

/// The numbers of a [`SeriesSummary`].
#[derive(Debug, Clone, PartialEq)]
pub enum SummaryNumbers {
    /// Of a rate: the counts since the series was made.
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
}

impl Series {
    pub(super) fn new(metric: Arc<str>, subject: Subject, kind: MetricKind) -> Series {
        let body = match kind {
            MetricKind::Rate => Body::Rate(Mutex::default()),
            MetricKind::Value => Body::Value(Mutex::default()),
        };
        Series {
            metric,
            subject,
            body,
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn detached(metric: Arc<str>, subject: Subject, kind: MetricKind) -> Series {
        Series {
            metric,
            subject,
            body: Body::Detached(kind),
            refused: AtomicU64::new(0),
        }
    }

    /// Name of the metric.
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
            Body::Detached(kind) => *kind,
        }
    }

    /// False when the store was full and nothing is kept.
    pub fn is_kept(&self) -> bool {
        !matches!(self.body, Body::Detached(_))
    }

    /// How many records were refused: no finite number, or of the other kind.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts one trial, and an event when it happened. True when it was
    /// kept; a series of values refuses it and counts that.
    pub fn record_rate(&self, now_ms: u64, event: bool) -> bool {
        let Body::Rate(rate) = &self.body else {
            return self.refuse();
        };
        let mut rate = rate.lock();
        let counts = rate.window.present(now_ms);
        counts.trials = counts.trials.saturating_add(1);
        counts.events = counts.events.saturating_add(event.into());
        rate.total.trials += 1;
        rate.total.events += u64::from(event);
        true
    }

    /// Counts one value. True when it was kept; what is no number or larger
    /// than [`VALUE_MAX`], and everything on a series of rates, is refused and
    /// counted.
    pub fn record_value(&self, now_ms: u64, number: f64) -> bool {
        let Body::Value(value) = &self.body else {
            return self.refuse();
        };
        // Written so that it also refuses NaN.
        if !(-VALUE_MAX..=VALUE_MAX).contains(&number) {
            return self.refuse();
        }
        let key = sketch::key(number); // the dear part, outside of the lock
        let mut value = value.lock();
        let numbers = value.window.present(now_ms);
        numbers.spread.add(number);
        numbers.sketch.add_key(key, 1);
        value.count += 1;
        value.sum += number;
        true
    }

    #[cold]
    fn refuse(&self) -> bool {
        if self.is_kept() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    pub(super) fn rate(&self, span: Span, now_ms: u64) -> Proportion {
        let Body::Rate(rate) = &self.body else {
            return Proportion::default();
        };
        let rate = rate.lock();
        let (closed, head) = rate.window.within(span, now_ms);
        closed
            .chain(head)
            .fold(Proportion::default(), |sum, counts| Proportion {
                events: sum.events + u64::from(counts.events),
                trials: sum.trials + u64::from(counts.trials),
            })
    }

    pub(super) fn mean(&self, span: Span, now_ms: u64) -> Moments {
        let Body::Value(value) = &self.body else {
            return Moments::default();
        };
        let value = value.lock();
        let (closed, head) = value.window.within(span, now_ms);
        let spreads = closed
            .map(|numbers| numbers.spread)
            .chain(head.map(|numbers| numbers.spread));
        pooled(spreads).moments()
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
        let mut sketch_of = |span| {
            value.with_sketches(span, now_ms, |past, head| {
                let mut sketch = past.clone();
                sketch.add_dense(head);
                sketch
            })
        };
        let (current, reference) = (sketch_of(current), sketch_of(reference));
        let mut cells: Vec<(sketch::Key, BinPair)> = current
            .bins()
            .map(|(key, n)| {
                (
                    key,
                    BinPair {
                        reference: 0,
                        current: n.into(),
                    },
                )
            })
            .chain(reference.bins().map(|(key, n)| {
                (
                    key,
                    BinPair {
                        reference: n.into(),
                        current: 0,
                    },
                )
            }))
            .collect();
        cells.sort_unstable_by_key(|(key, _)| *key);
        cells.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1.reference += later.1.reference;
                first.1.current += later.1.current;
            }
            same
        });
        cells
            .into_iter()
            .map(|(key, cell)| (f64::from(key), cell))
            .collect()
    }

    /// True when no window could find anything in it.
    pub(super) fn is_spent(&self, now_ms: u64) -> bool {
        match &self.body {
            Body::Rate(rate) => rate.lock().window.is_spent(now_ms),
            Body::Value(value) => value.lock().window.is_spent(now_ms),
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
            Body::Detached(_) => SummaryNumbers::Rate(Proportion::default()),
        };
        SeriesSummary {
            metric: self.metric.clone(),
            subject: self.subject.clone(),
            numbers,
        }
    }
}

impl Value {
    /// Calls `body` with the sketch of the closed buckets in `span` and with
    /// that of the present tick. The former is merged once for each tick.
    fn with_sketches<R>(
        &mut self,
        span: Span,
        now_ms: u64,
        body: impl FnOnce(&Dense, &Dense) -> R,
    ) -> R {
        let head_tick = self.window.head_tick();
        let asked_tick = now_ms / crate::window::TICK_MS;
        let kept = self.merged.iter().position(|merged| merged.span == span);
        let at = match kept {
            Some(at) => at,
            None => {
                if self.merged.len() == MERGED_KEPT_MAX {
                    self.merged.remove(0);
                }
                self.merged.push(Merged {
                    span,
                    head_tick: u64::MAX,
                    asked_tick: u64::MAX,
                    sketch: Dense::default(),
                });
                self.merged.len() - 1
            }
        };
        let (closed, head) = self.window.within(span, now_ms);
        let merged = &mut self.merged[at];
        if (merged.head_tick, merged.asked_tick) != (head_tick, asked_tick) {
            merged.head_tick = head_tick;
            merged.asked_tick = asked_tick;
            merged.sketch.clear();
            for numbers in closed {
                merged.sketch.add_sparse(&numbers.sketch);
            }
        }
        let empty = Dense::default();
        body(
            &merged.sketch,
            head.map_or(&empty, |numbers| &numbers.sketch),
        )
    }
}

/// All spreads as one. Two passes, so that there is one division and not one
/// for each of a hundred buckets.
fn pooled(spreads: impl Iterator<Item = Spread> + Clone) -> Spread {
    let mut sum = 0.0;
    let mut pooled = Spread::default();
    for spread in spreads.clone() {
        pooled.count += spread.count;
        sum += spread.mean * spread.count as f64;
    }
    if pooled.count == 0 {
        return pooled;
    }
    pooled.mean = sum / pooled.count as f64;
    for spread in spreads {
        let off = spread.mean - pooled.mean;
        pooled.squares += spread.squares + off * off * spread.count as f64;
    }
    pooled
}
