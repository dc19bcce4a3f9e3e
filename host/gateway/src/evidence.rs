//! Evidence: what the request path records, and what policies read of it.
//!
//! The store and the statistics are `backstop-core`'s. This module resolves
//! series once, when routes and releases are built ([`Standard`]), and says what
//! is recorded when. The host's queries go to the store itself. Recording is a
//! short lock for each number.

use backstop_core::evidence::{self, EvidenceOptions, Series, SubjectRef};
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

    /// Counts a label: whether it agrees with what was answered on `route`,
    /// and by which model and release where that is known.
    pub fn label(
        &self,
        now_ms: u64,
        route: &str,
        answered_by: Option<(&str, Option<&str>)>,
        agrees: bool,
    ) {
        let release = answered_by.and_then(|(model, release)| {
            release.map(|release| SubjectRef::Release { model, release })
        });
        let model = answered_by.map(|(model, _)| SubjectRef::Model(model));
        for subject in [Some(SubjectRef::Route(route)), model, release]
            .into_iter()
            .flatten()
        {
            if let Ok(series) = self.store.rate_series(name::ACCURACY, subject) {
                series.record_rate(now_ms, agrees);
            }
        }
    }
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
