//! What a decision asked of the host, with what it was told.
//!
//! Always holds: a call is recorded with its arguments and its result, so that
//! a replay needs nothing but the record.

use crate::sources::{IncidentReport, ModelError};
use backstop_core::input::AnswerFacts;
use backstop_core::metric::{
    Comparison, ComparisonOptions, DriftReading, Estimate, LineReading, Measurement, MetricsError,
    Moments, ObjectiveStatus, Proportion, Share, Subject,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One call of a host function, with its arguments and its result.
///
/// Reading the decision's own input (route, candidates, confidence …) is not
/// listed: it is answered from [`DecisionRecord::input`](super::DecisionRecord::input).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "fields are the arguments and results of the WIT functions named"
)]
pub enum HostCall {
    /// `metrics.rate`
    Rate {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        result: Result<Proportion, MetricsError>,
    },
    /// `metrics.mean`
    Mean {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        result: Result<Moments, MetricsError>,
    },
    /// `metrics.quantile`
    Quantile {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        q: f64,
        result: Result<Estimate, MetricsError>,
    },
    /// `metrics.compare`
    Compare {
        metric: Cow<'static, str>,
        candidate: Subject,
        baseline: Subject,
        window_s: u32,
        options: ComparisonOptions,
        result: Result<Comparison, MetricsError>,
    },
    /// `metrics.drift`
    Drift {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        reference_s: u32,
        result: Result<DriftReading, MetricsError>,
    },
    /// `evidence.shares`
    Shares {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        result: Result<Vec<Share>, MetricsError>,
    },
    /// `evidence.measure`
    Measure {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        result: Result<Measurement, MetricsError>,
    },
    /// `evidence.drift-from`
    DriftFrom {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        baseline: String,
        result: Result<DriftReading, MetricsError>,
    },
    /// `evidence.compare-with`
    CompareWith {
        metric: Cow<'static, str>,
        subject: Subject,
        window_s: u32,
        baseline: String,
        options: ComparisonOptions,
        result: Result<Comparison, MetricsError>,
    },
    /// `evidence.find-line`
    Line {
        subject: Subject,
        window_s: u32,
        error_max: f64,
        delta: f64,
        result: Result<LineReading, MetricsError>,
    },
    /// `evidence.objective`
    Objective {
        name: String,
        result: Result<ObjectiveStatus, MetricsError>,
    },
    /// One call of `models.call` or `models.call-many`.
    Model {
        model: String,
        body: String,
        timeout_ms: u32,
        result: Result<Box<RecordedAnswer>, ModelError>,
    },
    /// `models.budget-left`
    BudgetLeft {
        calls: u32,
        time_ms: u32,
        cost_micros: u64,
    },
    /// `state.get`
    StateGet {
        key: String,
        result: Result<Option<Vec<u8>>, StateError>,
    },
    /// `state.set`
    StateSet {
        key: String,
        value: Vec<u8>,
        ttl_s: u32,
        result: Result<(), StateError>,
    },
    /// `state.remove`
    StateRemove {
        key: String,
        result: Result<bool, StateError>,
    },
    /// `state.add`
    StateAdd {
        key: String,
        delta: i64,
        ttl_s: u32,
        result: Result<i64, StateError>,
    },
    /// `log.write`; lines that were dropped are not listed.
    Log { level: LogLevel, message: String },
    /// `incident.raise`
    Incident {
        report: IncidentReport,
        result: Result<bool, IncidentError>,
    },
    /// `request.body` or `answer.body`.
    Body {
        bytes_max: u32,
        result: Option<String>,
    },
}

impl HostCall {
    /// About how many bytes the call takes up in a record.
    pub(crate) fn weight(&self) -> usize {
        let text = match self {
            HostCall::Rate { metric, .. }
            | HostCall::Mean { metric, .. }
            | HostCall::Quantile { metric, .. }
            | HostCall::Compare { metric, .. }
            | HostCall::Drift { metric, .. } => 2 * metric.len(),
            HostCall::Shares { metric, result, .. } => {
                let shares = result.iter().flatten();
                let names: usize = shares.map(|share| share.category.len()).sum();
                let list = result.as_ref().map_or(0, |shares| size_of_val(&**shares));
                2 * metric.len() + names + list
            }
            HostCall::Measure { metric, .. } => 2 * metric.len(),
            HostCall::DriftFrom {
                metric, baseline, ..
            }
            | HostCall::CompareWith {
                metric, baseline, ..
            } => 2 * (metric.len() + baseline.len()),
            HostCall::Objective { name, .. } => 2 * name.len(),
            HostCall::Model {
                model,
                body,
                result,
                ..
            } => {
                let answer = result.as_ref().map_or(0, |answer| answer.body.len());
                model.len() + body.len() + answer
            }
            HostCall::BudgetLeft { .. } | HostCall::Line { .. } => 0,
            HostCall::StateGet { key, result } => {
                let value = result
                    .as_ref()
                    .ok()
                    .and_then(Option::as_ref)
                    .map_or(0, Vec::len);
                key.len() + value
            }
            HostCall::StateSet { key, value, .. } => key.len() + value.len(),
            HostCall::StateRemove { key, .. } | HostCall::StateAdd { key, .. } => key.len(),
            HostCall::Log { message, .. } => message.len(),
            HostCall::Incident { report, .. } => {
                report.key.len() + report.title.len() + report.detail.len()
            }
            HostCall::Body { result, .. } => result.as_ref().map_or(0, String::len),
        };
        text + size_of::<HostCall>()
    }
}

/// A model's answer with its body, as a record keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedAnswer {
    /// The answer.
    pub facts: AnswerFacts,
    /// Its body.
    pub body: String,
    /// What it cost.
    pub cost_micros: u64,
}

/// Why an operation on a policy's state was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateError {
    /// All keys are taken.
    #[error("all keys are taken")]
    Full,
    /// The key or the value is empty or too large.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// The value is not a number, or would leave its range.
    #[error("not a number, or out of its range")]
    NotANumber,
    /// The decision's deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
}

/// Why an incident was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentError {
    /// A field is empty or too large.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// Too many in one decision.
    #[error("too many incidents in one decision")]
    OverBudget,
    /// The decision's deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
    /// The host cannot take it.
    #[error("incidents are unavailable: {0}")]
    Unavailable(String),
}

/// Importance of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Details for the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}
