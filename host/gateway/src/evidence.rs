//! Evidence: what the request path records, and what policies read of it.
//!
//! The store and the statistics are `backstop-core`'s. This module resolves
//! series once, when routes and releases are built ([`Standard`]), and says what
//! is recorded when. Policies' questions are answered in `source`. Recording is a
//! short lock for each number.

pub(crate) mod kept;
pub(crate) mod source;

use crate::store::Segment;
use backstop_core::evidence::{self, EvidenceOptions, MetricKind, Series, SubjectRef};
use backstop_core::metric::name;
use backstop_core::verdict::Outcome;
use std::sync::Arc;
use std::time::Duration;

/// The gateway's evidence.
#[derive(Debug)]
pub struct Evidence {
    store: Arc<evidence::Evidence>,
}

/// The standard series of one subject: a route, a model or a release.
#[derive(Debug, Clone)]
pub struct Standard {
    error_rate: Option<Arc<Series>>,
    escalation_rate: Option<Arc<Series>>,
    review_rate: Option<Arc<Series>>,
    accuracy: Option<Arc<Series>>,
    latency_ms: Option<Arc<Series>>,
    first_token_ms: Option<Arc<Series>>,
    confidence: Option<Arc<Series>>,
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence::new()
    }
}

impl Evidence {
    /// An empty store.
    pub fn new() -> Self {
        Evidence {
            store: Arc::new(evidence::Evidence::new(EvidenceOptions::default())),
        }
    }

    /// The store itself, for policies' queries, exporters and feedback.
    pub fn store(&self) -> &Arc<evidence::Evidence> {
        &self.store
    }

    /// The standard series of `subject`. Series that do not fit into the store
    /// keep nothing; the store counts that.
    pub fn of(&self, subject: SubjectRef<'_>) -> Standard {
        // A standard metric is always of its own kind, so that no series is
        // ever refused; if one were, it would be missing, not wrong.
        let rate = |metric| self.store.rate_series(metric, subject).ok();
        let value = |metric| self.store.value_series(metric, subject).ok();
        Standard {
            error_rate: rate(name::ERROR_RATE),
            escalation_rate: rate(name::ESCALATION_RATE),
            review_rate: rate(name::REVIEW_RATE),
            accuracy: rate(name::ACCURACY),
            latency_ms: value(name::LATENCY_MS),
            first_token_ms: value(name::FIRST_TOKEN_MS),
            confidence: value(name::CONFIDENCE),
        }
    }

    /// Records into every series that `of` counts into: those of its route,
    /// its model and its release, each whole and by segment. A metric that is
    /// known as of another kind gets nothing.
    pub(crate) fn each(
        &self,
        of: &AnswerOf<'_>,
        metric: &str,
        kind: MetricKind,
        mut record: impl FnMut(&Series),
    ) {
        let model = of.model.map(SubjectRef::Model);
        let release = of.model.zip(of.release);
        let release = release.map(|(model, release)| SubjectRef::Release { model, release });
        let subjects = [of.route.map(SubjectRef::Route), model, release];
        let segments = of.segments.iter();
        let in_segments =
            segments.map(|Segment { tag, value }| format!("{metric}{{{tag}={value}}}"));
        let names: Vec<String> = in_segments.collect();
        for name in std::iter::once(metric).chain(names.iter().map(|name| &**name)) {
            for subject in subjects.iter().flatten() {
                let series = match kind {
                    MetricKind::Rate => self.store.rate_series(name, *subject),
                    MetricKind::Value => self.store.value_series(name, *subject),
                    MetricKind::Category => self.store.category_series(name, *subject),
                    MetricKind::Labelled => self.store.labelled_series(name, *subject),
                };
                if let Ok(series) = series {
                    record(&series);
                }
            }
        }
    }
}

/// Whose evidence an answer is, and of which moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerOf<'a> {
    pub(crate) route: Option<&'a str>,
    pub(crate) model: Option<&'a str>,
    pub(crate) release: Option<&'a str>,
    /// In milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    pub(crate) segments: &'a [Segment],
}

fn rate(series: &Option<Arc<Series>>, now_ms: u64, event: bool) {
    if let Some(series) = series {
        series.record_rate(now_ms, event);
    }
}

fn value(series: &Option<Arc<Series>>, now_ms: u64, number: f64) {
    if let Some(series) = series {
        series.record_value(now_ms, number);
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl Standard {
    /// Counts an attempt that says something about the model.
    pub(crate) fn attempt(&self, now_ms: u64, failed: bool) {
        rate(&self.error_rate, now_ms, failed);
    }

    /// Notes a complete answer.
    pub(crate) fn answer(&self, now_ms: u64, latency: Duration, confidence: Option<f64>) {
        value(&self.latency_ms, now_ms, ms(latency));
        if let Some(confidence) = confidence {
            value(&self.confidence, now_ms, confidence);
        }
    }

    /// Notes the first token of a stream.
    pub(crate) fn first_token(&self, now_ms: u64, took: Duration) {
        value(&self.first_token_ms, now_ms, ms(took));
    }

    /// Counts a verdict.
    pub(crate) fn verdict(&self, now_ms: u64, outcome: Outcome) {
        rate(&self.escalation_rate, now_ms, outcome == Outcome::Escalate);
        rate(&self.review_rate, now_ms, outcome == Outcome::Review);
    }

    /// Counts a label.
    pub fn label(&self, now_ms: u64, agrees: bool) {
        rate(&self.accuracy, now_ms, agrees);
    }
}
