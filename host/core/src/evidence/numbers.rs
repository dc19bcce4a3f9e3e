//! Values: count, mean, spread, and a sketch for quantiles and drift.

use crate::metric::Moments;
use crate::sketch::{self, Dense, Key, Sparse};
use crate::window::{Span, Tally, Window};
use serde::{Deserialize, Serialize};

/// Windows of one series whose merged sketch is kept until the tick ends:
/// policies ask for the same few windows at every decision.
const MERGED_KEPT_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Value {
    pub(super) window: Window<Numbers>,
    pub(super) count: u64,
    pub(super) sum: f64,
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

/// Count, mean and sum of squared deviations (Welford), which stay exact where
/// a sum of squares would lose all digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Spread {
    pub(super) fn add(&mut self, value: f64) {
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

    pub(super) fn moments(self) -> Moments {
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
pub(super) struct Numbers {
    spread: Spread,
    sketch: Dense,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ClosedNumbers {
    spread: Spread,
    sketch: Sparse,
}

impl Tally for Numbers {
    type Closed = ClosedNumbers;

    fn is_empty(&self) -> bool {
        self.spread.count == 0
    }

    fn close(&mut self) -> ClosedNumbers {
        let closed = self.copy();
        self.sketch.clear();
        self.spread = Spread::default();
        closed
    }

    fn copy(&self) -> ClosedNumbers {
        ClosedNumbers {
            spread: self.spread,
            sketch: self.sketch.to_sparse(),
        }
    }

    fn merge(into: &mut ClosedNumbers, other: ClosedNumbers) {
        into.spread.merge(other.spread);
        into.sketch = sketch::merge(&into.sketch, &other.sketch);
    }
}

impl Value {
    /// As it was kept.
    pub(super) fn restored(window: Window<Numbers>, count: u64, sum: f64) -> Value {
        Value {
            window,
            count,
            sum,
            merged: Vec::new(),
        }
    }

    /// Counts a value of the moment `at_ms`, of which `key` is the bin; false
    /// when that is too long ago.
    pub(super) fn record(&mut self, now_ms: u64, at_ms: u64, number: f64, key: Key) -> bool {
        if self.window.is_past(now_ms, at_ms) {
            let mut spread = Spread::default();
            spread.add(number);
            let closed = ClosedNumbers {
                spread,
                sketch: [(key, 1)].into(),
            };
            if !self.window.add_past(at_ms, closed) {
                return false;
            }
            self.merged.clear();
        } else {
            let numbers = self.window.present(now_ms);
            numbers.spread.add(number);
            numbers.sketch.add_key(key, 1);
        }
        self.count += 1;
        self.sum += number;
        true
    }

    pub(super) fn moments(&self, span: Span, now_ms: u64) -> Moments {
        let (closed, head) = self.window.within(span, now_ms);
        let spreads = closed
            .map(|numbers| numbers.spread)
            .chain(head.map(|numbers| numbers.spread));
        pooled(spreads).moments()
    }

    /// All values of a span as one sketch.
    pub(super) fn sketch(&mut self, span: Span, now_ms: u64) -> Dense {
        self.with_sketches(span, now_ms, |past, head| {
            let mut sketch = past.clone();
            sketch.add_dense(head);
            sketch
        })
    }

    /// Calls `body` with the sketch of the closed buckets in `span` and with
    /// that of the present tick. The former is merged once for each tick.
    pub(super) fn with_sketches<R>(
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
