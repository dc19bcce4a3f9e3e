//! Baselines: what metrics were like when all was well.
//!
//! A [`Baseline`] holds a [`Reference`] for each metric, and for numbers the
//! [`Limits`] between which they moved from chunk to chunk. It is taken from a
//! window of the store ([`Evidence::baseline`]) or built from rows of a file ([`Builder`]). Names and versions are the
//! gateway's to keep.
//!
//! Source of the limits: NannyML, mean ± 3 standard deviations (of a
//! population, ddof 0) over the chunks of the reference, ten chunks, at least
//! six for limits at all.
//!
//! Always holds: memory is bounded, however long the file; a metric has one
//! kind.

use super::numbers::Spread;
use super::query::last_s;
use super::{
    CATEGORIES_MAX, CATEGORY_BYTES_MAX, Evidence, LABELLED_BINS, MetricKind, OTHER, Reference,
    SubjectRef, VALUE_MAX,
};
use crate::metric::{MetricsError, Proportion, Share};
use crate::sketch;
use crate::window::Span;
use serde::{Deserialize, Serialize};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// Most metrics of a baseline.
pub const BASELINE_METRICS_MAX: usize = 64;
/// Chunks that a window is cut into.
pub const CHUNKS: u32 = 10;
/// Fewest chunks with evidence that limits are made of.
pub const CHUNKS_MIN: usize = 6;
/// How many standard deviations the limits are away from the mean.
pub const LIMITS_SIGMAS: f64 = 3.0;

/// A set of references.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// By the metric's name.
    pub metrics: BTreeMap<String, Held>,
}

impl Baseline {
    /// What is wrong with a baseline that somebody else made; empty when nothing
    /// is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.metrics.is_empty() || self.metrics.len() > BASELINE_METRICS_MAX {
            mistakes.push(format!(
                "{} metrics, where 1 to {BASELINE_METRICS_MAX} are possible",
                self.metrics.len()
            ));
        }
        for (metric, held) in &self.metrics {
            let mut wrong = |what: &str| mistakes.push(format!("metric `{metric}`: {what}"));
            if held.reference.samples() == 0 {
                wrong("no samples");
            }
            match &held.reference {
                Reference::Rate { counts } if counts.events > counts.trials => {
                    wrong("`events` are more than `trials`");
                }
                Reference::Value { moments, bins } => {
                    let finite = moments.mean.is_finite() && moments.stddev.is_finite();
                    if !finite || moments.stddev < 0.0 {
                        wrong("`mean` and `stddev` must be finite, `stddev` at least 0");
                    }
                    let counted = bins.iter().map(|(_, n)| n).sum::<u64>();
                    if !bins.is_empty() && counted != moments.samples {
                        wrong("`bins` do not add up to `samples`");
                    }
                }
                Reference::Category { shares } if shares.len() > CATEGORIES_MAX => {
                    wrong(&format!("more than {CATEGORIES_MAX} categories"));
                }
                Reference::Labelled { bins } if bins.len() != LABELLED_BINS => {
                    wrong(&format!("labelled answers have {LABELLED_BINS} bins"));
                }
                _ => {}
            }
            if held.limits.is_some_and(|limits| {
                limits
                    .low
                    .partial_cmp(&limits.high)
                    .is_none_or(Ordering::is_gt)
            }) {
                wrong("`low` is not below `high`");
            }
        }
        mistakes
    }
}

/// What one metric is held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// What it was like as a whole.
    pub reference: Reference,
    /// Between what it moved; none for categories, and where there were too few
    /// chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Between what a number moved from chunk to chunk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A chunk below is unusual.
    pub low: f64,
    /// A chunk above is unusual.
    pub high: f64,
    /// How many chunks say so.
    pub chunks: u32,
}

impl Limits {
    /// Of the values of chunks; none with fewer than [`CHUNKS_MIN`]. Those of a
    /// rate are kept within 0 and 1.
    pub fn of(chunks: &[f64], is_rate: bool) -> Option<Limits> {
        if chunks.len() < CHUNKS_MIN {
            return None;
        }
        let n = chunks.len() as f64;
        let mean = chunks.iter().sum::<f64>() / n;
        let squares = chunks.iter().map(|chunk| (chunk - mean) * (chunk - mean));
        let off = LIMITS_SIGMAS * (squares.sum::<f64>() / n).sqrt();
        let (low, high) = (mean - off, mean + off);
        let (low, high) = if is_rate {
            (low.max(0.0), high.min(1.0))
        } else {
            (low, high)
        };
        Some(Limits {
            low,
            high,
            chunks: chunks.len() as u32,
        })
    }

    /// Where `value` is.
    pub fn place(&self, value: f64) -> Place {
        if value < self.low {
            Place::Below
        } else if value > self.high {
            Place::Above
        } else {
            Place::Within
        }
    }
}

/// Where a number is among its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Below the lower one.
    Below,
    /// Between them, or on one.
    Within,
    /// Above the upper one.
    Above,
}

/// A row that does not fit what came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// The metric was of another kind before.
    #[error("metric `{0}` has rows of two kinds")]
    TwoKinds(String),
    /// There are too many metrics.
    #[error("metric `{0}` is one more than the {BASELINE_METRICS_MAX} that a baseline may have")]
    TooManyMetrics(String),
}

/// A baseline in the making, row by row.
#[derive(Debug, Default)]
pub struct Builder {
    metrics: BTreeMap<String, Seen>,
}

#[derive(Debug)]
enum Seen {
    Rate(Proportion, Chunks),
    Value(BTreeMap<sketch::Key, u64>, Spread, Chunks),
    Category(BTreeMap<String, u64>),
}

impl Builder {
    fn seen(&mut self, metric: &str, new: fn() -> Seen) -> Result<&mut Seen, BaselineError> {
        if !self.metrics.contains_key(metric) && self.metrics.len() >= BASELINE_METRICS_MAX {
            return Err(BaselineError::TooManyMetrics(metric.to_owned()));
        }
        Ok(self.metrics.entry(metric.to_owned()).or_insert_with(new))
    }

    /// Adds an event of a rate.
    ///
    /// # Errors
    ///
    /// The metric is of another kind, or one too many. Nothing is added.
    pub fn rate(&mut self, metric: &str, event: bool) -> Result<(), BaselineError> {
        let new = || Seen::Rate(Proportion::default(), Chunks::default());
        let Seen::Rate(counts, chunks) = self.seen(metric, new)? else {
            return Err(BaselineError::TwoKinds(metric.to_owned()));
        };
        counts.trials += 1;
        counts.events += u64::from(event);
        chunks.add(f64::from(u8::from(event)));
        Ok(())
    }

    /// Adds a value. One that the store would refuse, above [`VALUE_MAX`] either
    /// way or no number, is left out.
    ///
    /// # Errors
    ///
    /// As for [`Builder::rate`].
    pub fn value(&mut self, metric: &str, value: f64) -> Result<(), BaselineError> {
        let new = || Seen::Value(BTreeMap::new(), Spread::default(), Chunks::default());
        let Seen::Value(bins, spread, chunks) = self.seen(metric, new)? else {
            return Err(BaselineError::TwoKinds(metric.to_owned()));
        };
        if value.abs() <= VALUE_MAX {
            *bins.entry(sketch::key(value)).or_default() += 1;
            spread.add(value);
            chunks.add(value);
        }
        Ok(())
    }

    /// Adds one of a category. Those beyond the engine's own bound are `(other)`
    /// here as there.
    ///
    /// # Errors
    ///
    /// As for [`Builder::rate`].
    pub fn category(&mut self, metric: &str, category: &str) -> Result<(), BaselineError> {
        let new = || Seen::Category(BTreeMap::new());
        let Seen::Category(counts) = self.seen(metric, new)? else {
            return Err(BaselineError::TwoKinds(metric.to_owned()));
        };
        let fits = !category.is_empty() && category.len() <= CATEGORY_BYTES_MAX;
        let is_known = counts.contains_key(category);
        // One place is for the others.
        let has_room = counts.len() < CATEGORIES_MAX - 1 || is_known;
        let name = if fits && has_room { category } else { OTHER };
        *counts.entry(name.to_owned()).or_default() += 1;
        Ok(())
    }

    /// What the rows were like. Metrics without a row that counts are left out.
    pub fn build(self) -> Baseline {
        let held = |seen| match seen {
            Seen::Rate(counts, chunks) => Held {
                reference: Reference::Rate { counts },
                limits: Limits::of(&chunks.means(), true),
            },
            Seen::Value(bins, spread, chunks) => Held {
                reference: Reference::Value {
                    moments: spread.moments(),
                    bins: bins.into_iter().collect(),
                },
                limits: Limits::of(&chunks.means(), false),
            },
            Seen::Category(counts) => {
                let share = |(category, count)| Share { category, count };
                let mut shares: Vec<Share> = counts.into_iter().map(share).collect();
                shares.sort_by_key(|share| Reverse(share.count));
                Held {
                    reference: Reference::Category { shares },
                    limits: None,
                }
            }
        };
        let metrics = self.metrics.into_iter();
        let metrics = metrics.map(|(metric, seen)| (metric, held(seen)));
        Baseline {
            metrics: metrics
                .filter(|(_, held)| held.reference.samples() > 0)
                .collect(),
        }
    }
}

impl Evidence {
    /// What the metrics of `subject` were like over the last `window_s` seconds:
    /// `metrics`, or all that it has where none are named. Those without
    /// evidence are left out. Limits are those of ten equal parts of the window.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is not known, or is computed; `Invalid` for a
    /// window outside 1 to 86,400 s, or more metrics than a baseline may have.
    pub fn baseline(
        &self,
        subject: SubjectRef<'_>,
        metrics: &[String],
        window_s: u32,
        now_ms: u64,
    ) -> Result<Baseline, MetricsError> {
        last_s("window-s", window_s)?;
        let all;
        let metrics = if metrics.is_empty() {
            all = self.metrics_of(subject);
            &all
        } else {
            metrics
        };
        if metrics.len() > BASELINE_METRICS_MAX {
            return Err(MetricsError::Invalid(format!(
                "{} metrics, where a baseline has at most {BASELINE_METRICS_MAX}: name those that \
                 matter",
                metrics.len()
            )));
        }
        let mut baseline = Baseline::default();
        for metric in metrics {
            if let Some(reference) = self.reference(metric, subject, window_s, now_ms)? {
                let limits = self.limits(metric, subject, window_s, now_ms);
                let held = Held { reference, limits };
                baseline.metrics.insert(metric.clone(), held);
            }
        }
        Ok(baseline)
    }

    /// The names of all metrics that `subject` has series of, in order.
    pub fn metrics_of(&self, subject: SubjectRef<'_>) -> Vec<String> {
        let mut metrics: Vec<String> = self
            .all()
            .filter(|series| series.subject() == subject)
            .map(|series| series.metric().to_owned())
            .collect();
        metrics.sort();
        metrics
    }

    fn limits(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Option<Limits> {
        let kind = self.kind(metric)?;
        let series = self.asked(metric, subject, kind).ok()??;
        let window_ms = u64::from(window_s) * 1_000;
        let chunk = |at: u32| {
            let from = |at: u32| window_ms * u64::from(at) / u64::from(CHUNKS);
            let span = Span {
                older_ms: from(at + 1),
                newer_ms: from(at),
            };
            match kind {
                MetricKind::Rate => {
                    let counts = series.rate(span, now_ms);
                    (counts.trials > 0).then(|| counts.events as f64 / counts.trials as f64)
                }
                MetricKind::Value => {
                    let moments = series.mean(span, now_ms);
                    (moments.samples > 0).then_some(moments.mean)
                }
                MetricKind::Category | MetricKind::Labelled => None,
            }
        };
        let chunks: Vec<f64> = (0..CHUNKS).filter_map(chunk).collect();
        Limits::of(&chunks, kind == MetricKind::Rate)
    }
}

/// Sums of rows in chunks of one size: when there are twice as many as wanted,
/// they are joined in pairs. So a file that is not known to end is cut into ten
/// to twenty chunks.
#[derive(Debug, Default)]
struct Chunks {
    full: Vec<f64>,
    /// Rows of a full one; 0 before the first row.
    size: u64,
    sum: f64,
    rows: u64,
}

impl Chunks {
    fn add(&mut self, value: f64) {
        self.size = self.size.max(1);
        self.sum += value;
        self.rows += 1;
        if self.rows < self.size {
            return;
        }
        self.full.push(self.sum);
        (self.sum, self.rows) = (0.0, 0);
        if self.full.len() == 2 * CHUNKS as usize {
            self.full = self.full.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.size *= 2;
        }
    }

    /// Of the full ones; rows after the last of them are left out.
    fn means(&self) -> Vec<f64> {
        let size = self.size as f64;
        self.full.iter().map(|sum| sum / size).collect()
    }
}

#[cfg(test)]
mod tests;
