//! What policies' questions are answered from: the store of evidence, the
//! baselines that it is held against, and the objectives that watch it.

use crate::baselines::Baselines;
use crate::objectives::Objectives;
use backstop::{MetricQuery, MetricsSource};
use backstop_core::evidence::Evidence;
use backstop_core::metric::{
    Comparison, ComparisonOptions, DriftReading, Estimate, LineReading, Measurement, MetricsError,
    Moments, ObjectiveStatus, Proportion, Share, Subject,
};
use std::sync::Arc;

/// Answers from memory.
pub(crate) struct Source {
    store: Arc<Evidence>,
    baselines: Arc<Baselines>,
    objectives: Arc<Objectives>,
}

impl Source {
    pub(crate) fn new(
        store: Arc<Evidence>,
        baselines: Arc<Baselines>,
        objectives: Arc<Objectives>,
    ) -> Self {
        Source {
            store,
            baselines,
            objectives,
        }
    }

    fn recorded(&self) -> &dyn MetricsSource {
        &*self.store
    }
}

/// That there is no such baseline, or none of the metric.
fn no_baseline(name: &str) -> MetricsError {
    MetricsError::Unknown(name.to_owned())
}

impl MetricsSource for Source {
    fn rate(&self, query: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        self.recorded().rate(query)
    }

    fn mean(&self, query: MetricQuery<'_>) -> Result<Moments, MetricsError> {
        self.recorded().mean(query)
    }

    fn quantile(&self, query: MetricQuery<'_>, q: f64) -> Result<Estimate, MetricsError> {
        self.recorded().quantile(query, q)
    }

    fn compare(
        &self,
        query: MetricQuery<'_>,
        baseline: &Subject,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        self.recorded().compare(query, baseline, options)
    }

    fn drift(
        &self,
        query: MetricQuery<'_>,
        reference_s: u32,
    ) -> Result<DriftReading, MetricsError> {
        self.recorded().drift(query, reference_s)
    }

    fn shares(&self, query: MetricQuery<'_>) -> Result<Vec<Share>, MetricsError> {
        self.recorded().shares(query)
    }

    fn measure(&self, query: MetricQuery<'_>) -> Result<Measurement, MetricsError> {
        self.recorded().measure(query)
    }

    fn drift_from(
        &self,
        query: MetricQuery<'_>,
        baseline: &str,
    ) -> Result<DriftReading, MetricsError> {
        let subject = query.about(query.subject)?;
        let (metric, window_s, now_ms) = (query.metric, query.window_s, query.now_ms);
        let drift = self.baselines.with(baseline, metric, |held| {
            self.store
                .drift_from(metric, subject, window_s, &held.reference, now_ms)
        });
        drift.unwrap_or_else(|| Err(no_baseline(baseline)))
    }

    fn compare_with(
        &self,
        query: MetricQuery<'_>,
        baseline: &str,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        let subject = query.about(query.subject)?;
        let (metric, window_s, now_ms) = (query.metric, query.window_s, query.now_ms);
        let comparison = self.baselines.with(baseline, metric, |held| {
            let reference = &held.reference;
            self.store
                .compare_with(metric, subject, window_s, reference, &options, now_ms)
        });
        comparison.unwrap_or_else(|| Err(no_baseline(baseline)))
    }

    fn find_line(
        &self,
        query: MetricQuery<'_>,
        error_max: f64,
        delta: f64,
    ) -> Result<LineReading, MetricsError> {
        self.recorded().find_line(query, error_max, delta)
    }

    fn objective(&self, name: &str, _: u64) -> Result<ObjectiveStatus, MetricsError> {
        self.objectives.status(name)
    }
}
