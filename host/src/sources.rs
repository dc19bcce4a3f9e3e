//! What an embedder supplies: metrics, model calls, a place for incidents.
//!
//! The host asks through these traits and records what it was told. The
//! answers `unavailable` of [`NoMetrics`], [`NoModels`] and [`NoIncidents`]
//! are honest defaults for hosts that have nothing to offer.

use backstop_core::evidence::{Evidence, SubjectRef};
use backstop_core::fault::FailureClass;
use backstop_core::input::AnswerFacts;
pub use backstop_core::metric::Severity;
use backstop_core::metric::{
    Comparison, ComparisonOptions, DriftReading, Estimate, LineReading, Measurement, MetricsError,
    Moments, ObjectiveStatus, Proportion, Share, Subject,
};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future, as the object-safe traits of this module return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One question about a metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricQuery<'a> {
    /// The metric's name.
    pub metric: &'a str,
    /// What it is read for. [`Subject::Route`] means `route`.
    pub subject: &'a Subject,
    /// The route of the decision; none at the decision point `rollback`.
    pub route: Option<&'a str>,
    /// Seconds that the window reaches back from `now_ms`, 1 to 86,400.
    pub window_s: u32,
    /// The decision's moment, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl<'a> MetricQuery<'a> {
    /// `subject` with the route of the decision where it means that.
    ///
    /// # Errors
    ///
    /// `Invalid` where it means that and there is no route.
    pub fn about<'b>(&self, subject: &'b Subject) -> Result<SubjectRef<'b>, MetricsError>
    where
        'a: 'b,
    {
        SubjectRef::of(subject, self.route).ok_or_else(|| {
            MetricsError::Invalid("this decision is not about a route; name a model".to_owned())
        })
    }

    /// That there is no such metric, or not of the kind that is asked.
    pub fn unknown(&self) -> MetricsError {
        MetricsError::Unknown(self.metric.to_owned())
    }
}

/// Where policies' metrics come from. Answers from memory and at once: it is
/// called on the thread that decides.
///
/// A source implements the questions that its metrics answer; all others are
/// answered [`MetricsError::Unknown`], as for a metric that is not there.
#[expect(
    unused_variables,
    reason = "the names are for those who implement the methods"
)]
pub trait MetricsSource: Send + Sync + 'static {
    /// Exact counts of a rate.
    ///
    /// # Errors
    ///
    /// [`MetricsError`], which the policy is told as it is.
    fn rate(&self, query: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        Err(query.unknown())
    }

    /// Mean and spread of a value.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`].
    fn mean(&self, query: MetricQuery<'_>) -> Result<Moments, MetricsError> {
        Err(query.unknown())
    }

    /// A quantile of a value; `q` from 0 to 1.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`].
    fn quantile(&self, query: MetricQuery<'_>, q: f64) -> Result<Estimate, MetricsError> {
        Err(query.unknown())
    }

    /// Compares `query.subject` (the candidate) with `baseline`.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`].
    fn compare(
        &self,
        query: MetricQuery<'_>,
        baseline: &Subject,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        Err(query.unknown())
    }

    /// Drift of a value: the window against `reference_s` seconds before it.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`].
    fn drift(
        &self,
        query: MetricQuery<'_>,
        reference_s: u32,
    ) -> Result<DriftReading, MetricsError> {
        Err(query.unknown())
    }

    /// How often each category was seen, the most frequent first.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`].
    fn shares(&self, query: MetricQuery<'_>) -> Result<Vec<Share>, MetricsError> {
        Err(query.unknown())
    }

    /// A metric as a number with its error.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`].
    fn measure(&self, query: MetricQuery<'_>) -> Result<Measurement, MetricsError> {
        Err(query.unknown())
    }

    /// Drift from the baseline of this name.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`]; `Unknown` with the baseline's name when
    /// there is none of this metric.
    fn drift_from(
        &self,
        query: MetricQuery<'_>,
        baseline: &str,
    ) -> Result<DriftReading, MetricsError> {
        Err(MetricsError::Unknown(baseline.to_owned()))
    }

    /// Compares with the baseline of this name.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::drift_from`].
    fn compare_with(
        &self,
        query: MetricQuery<'_>,
        baseline: &str,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        Err(MetricsError::Unknown(baseline.to_owned()))
    }

    /// The lowest line of confidence that the labelled answers promise;
    /// `error_max` and `delta` are above 0 and below 1.
    ///
    /// # Errors
    ///
    /// As for [`MetricsSource::rate`].
    fn find_line(
        &self,
        query: MetricQuery<'_>,
        error_max: f64,
        delta: f64,
    ) -> Result<LineReading, MetricsError> {
        Err(query.unknown())
    }

    /// How the objective of this name stands at `now_ms`.
    ///
    /// # Errors
    ///
    /// `Unknown` with its name when there is none.
    fn objective(&self, name: &str, now_ms: u64) -> Result<ObjectiveStatus, MetricsError> {
        Err(MetricsError::Unknown(name.to_owned()))
    }
}

/// One call of a model by a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall {
    /// Name of the model, within the policy's grant.
    pub model: String,
    /// The request body: the text of a JSON value.
    pub body: String,
    /// How long the caller may take.
    pub timeout: Duration,
}

/// A model's answer to a policy's call.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelAnswer {
    /// The answer; `facts.body` holds the body.
    pub facts: AnswerFacts,
    /// What the call cost, in millionths of the operator's currency.
    pub cost_micros: u64,
}

/// Why a policy's model call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelError {
    /// No grant for this model.
    #[error("no grant for model `{0}`")]
    Denied(String),
    /// An argument is out of range.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// The deadline, or the call's timeout, has passed.
    #[error("the deadline has passed")]
    Deadline,
    /// The grant's budget does not cover the call.
    #[error("the budget of {0} is used up")]
    OverBudget(BudgetKind),
    /// The model was called and failed.
    #[error("the model failed: {0}")]
    Failed(FailureClass),
    /// The model cannot be called now.
    #[error("the model is unavailable: {0}")]
    Unavailable(String),
}

/// Which part of a [`ModelBudget`](crate::ModelBudget).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetKind {
    /// Number of calls.
    Calls,
    /// Time.
    Time,
    /// Cost.
    Cost,
}

impl std::fmt::Display for BudgetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BudgetKind::Calls => "calls",
            BudgetKind::Time => "time",
            BudgetKind::Cost => "cost",
        })
    }
}

/// Calls models for policies. Must not run policies for such a call.
pub trait ModelCaller: Send + Sync + 'static {
    /// What a call of `model` with this body may cost, in millionths of the
    /// operator's currency. It is reserved before the call is made; an answer
    /// that cost more all the same is charged whole.
    fn cost_micros_max(&self, model: &str, body: &str) -> u64 {
        let _ = (model, body);
        0
    }

    /// Makes the call. The host drops the future at the deadline.
    ///
    /// The error is [`ModelError::Failed`], [`ModelError::Unavailable`] or
    /// [`ModelError::Deadline`]; the others are the host's own.
    fn call(&self, call: ModelCall) -> BoxFuture<'_, Result<ModelAnswer, ModelError>>;
}

/// An incident, raised by a policy or by the host about a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentReport {
    /// Name of the policy.
    pub policy: String,
    /// Identifies the problem within the policy.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The evidence.
    pub detail: String,
}

/// Takes incidents.
pub trait IncidentSink: Send + Sync + 'static {
    /// Opens the incident or adds to the open one with the same policy and
    /// key; true when it was new. Called on the thread that decides: hand
    /// slow work to somebody else.
    ///
    /// # Errors
    ///
    /// A text for the policy when the incident cannot be taken.
    fn raise(&self, report: IncidentReport) -> Result<bool, String>;
}

/// The store of `backstop-core` answers whatever was recorded in it, on the
/// clock of the host ([`HostBuilder::clock`](crate::HostBuilder::clock)).
impl MetricsSource for Evidence {
    fn rate(&self, query: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        let subject = query.about(query.subject)?;
        self.rate(query.metric, subject, query.window_s, query.now_ms)
    }

    fn mean(&self, query: MetricQuery<'_>) -> Result<Moments, MetricsError> {
        let subject = query.about(query.subject)?;
        self.mean(query.metric, subject, query.window_s, query.now_ms)
    }

    fn quantile(&self, query: MetricQuery<'_>, q: f64) -> Result<Estimate, MetricsError> {
        let subject = query.about(query.subject)?;
        self.quantile(query.metric, subject, query.window_s, q, query.now_ms)
    }

    fn compare(
        &self,
        query: MetricQuery<'_>,
        baseline: &Subject,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        let (candidate, baseline) = (query.about(query.subject)?, query.about(baseline)?);
        let MetricQuery {
            metric,
            window_s,
            now_ms,
            ..
        } = query;
        self.compare(metric, candidate, baseline, window_s, &options, now_ms)
    }

    fn drift(
        &self,
        query: MetricQuery<'_>,
        reference_s: u32,
    ) -> Result<DriftReading, MetricsError> {
        let subject = query.about(query.subject)?;
        let MetricQuery {
            metric,
            window_s,
            now_ms,
            ..
        } = query;
        self.drift(metric, subject, window_s, reference_s, now_ms)
    }

    fn shares(&self, query: MetricQuery<'_>) -> Result<Vec<Share>, MetricsError> {
        let subject = query.about(query.subject)?;
        self.shares(query.metric, subject, query.window_s, query.now_ms)
    }

    fn measure(&self, query: MetricQuery<'_>) -> Result<Measurement, MetricsError> {
        let subject = query.about(query.subject)?;
        self.measure(query.metric, subject, query.window_s, query.now_ms)
    }

    fn find_line(
        &self,
        query: MetricQuery<'_>,
        error_max: f64,
        delta: f64,
    ) -> Result<LineReading, MetricsError> {
        let subject = query.about(query.subject)?;
        let MetricQuery {
            metric,
            window_s,
            now_ms,
            ..
        } = query;
        self.find_line(metric, subject, window_s, error_max, delta, now_ms)
    }
}

/// No metrics: every query is answered `unavailable`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;

fn no_metrics<T>() -> Result<T, MetricsError> {
    Err(MetricsError::Unavailable(
        "this host has no metrics".to_owned(),
    ))
}

impl MetricsSource for NoMetrics {
    fn rate(&self, _: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        no_metrics()
    }
    fn mean(&self, _: MetricQuery<'_>) -> Result<Moments, MetricsError> {
        no_metrics()
    }
    fn quantile(&self, _: MetricQuery<'_>, _: f64) -> Result<Estimate, MetricsError> {
        no_metrics()
    }
    fn compare(
        &self,
        _: MetricQuery<'_>,
        _: &Subject,
        _: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        no_metrics()
    }
    fn drift(&self, _: MetricQuery<'_>, _: u32) -> Result<DriftReading, MetricsError> {
        no_metrics()
    }
    fn shares(&self, _: MetricQuery<'_>) -> Result<Vec<Share>, MetricsError> {
        no_metrics()
    }
    fn measure(&self, _: MetricQuery<'_>) -> Result<Measurement, MetricsError> {
        no_metrics()
    }
    fn drift_from(&self, _: MetricQuery<'_>, _: &str) -> Result<DriftReading, MetricsError> {
        no_metrics()
    }
    fn compare_with(
        &self,
        _: MetricQuery<'_>,
        _: &str,
        _: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        no_metrics()
    }
    fn find_line(&self, _: MetricQuery<'_>, _: f64, _: f64) -> Result<LineReading, MetricsError> {
        no_metrics()
    }
    fn objective(&self, _: &str, _: u64) -> Result<ObjectiveStatus, MetricsError> {
        no_metrics()
    }
}

/// No models: every call is answered `unavailable`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoModels;

impl ModelCaller for NoModels {
    fn call(&self, _: ModelCall) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(async {
            Err(ModelError::Unavailable(
                "this host has no models".to_owned(),
            ))
        })
    }
}

/// No place for incidents but the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIncidents;

impl IncidentSink for NoIncidents {
    fn raise(&self, report: IncidentReport) -> Result<bool, String> {
        tracing::warn!(
            policy = report.policy,
            key = report.key,
            severity = ?report.severity,
            title = report.title,
            "incident"
        );
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstop_core::evidence::EvidenceOptions;

    fn query(subject: &Subject) -> MetricQuery<'_> {
        MetricQuery {
            metric: "error-rate",
            subject,
            route: None,
            window_s: 60,
            now_ms: 0,
        }
    }

    #[test]
    fn what_a_source_does_not_implement_is_unknown() {
        struct Nothing;
        impl MetricsSource for Nothing {}
        let unknown = MetricsError::Unknown("error-rate".to_owned());
        let found = Nothing.drift(query(&Subject::Route), 60);
        assert_eq!(found.unwrap_err(), unknown);
    }

    #[test]
    fn a_question_about_no_route_names_a_model() {
        let evidence: &dyn MetricsSource = &Evidence::new(EvidenceOptions::default());
        let found = evidence.rate(query(&Subject::Model("m".into())));
        assert_eq!(found.unwrap(), Proportion::default());
        let refused = evidence.rate(query(&Subject::Route)).unwrap_err();
        assert!(matches!(refused, MetricsError::Invalid(text) if text.contains("name a model")));
    }
}
