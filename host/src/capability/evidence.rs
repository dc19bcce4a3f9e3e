//! `evidence`: shares, measurements, baselines and objectives, within the grant
//! for metrics.

use super::metrics::{
    Answer, NO_COMPARISON, NO_DRIFT, check_options, comparison_to, drift_to, error_to, metric_from,
    options_from, recordable,
};
use super::{covered, replayed};
use crate::bindings::evidence as wit;
use crate::bindings::metrics::{Comparison, ComparisonOptions, DriftReading, Subject};
use crate::bindings::types;
use crate::record::HostCall;
use crate::run_state::RunState;
use backstop_core::metric::{
    LineReading, Measurement, MetricsError, ObjectiveState, ObjectiveStatus, Severity, Share,
};
use wasmtime::Result;

/// The metric that lines are read from.
const LABELLED: &str = "labelled";
/// Most categories that cross the border.
const SHARES_MAX: usize = 64;

const NO_STATUS: ObjectiveStatus = ObjectiveStatus {
    state: ObjectiveState::NoEvidence,
    severity: None,
    burn_rate: 0.0,
    samples: 0,
};

impl wit::Host for RunState {
    fn shares(
        &mut self,
        metric: String,
        subject: Subject,
        window_s: u32,
    ) -> Result<Answer<Vec<wit::Share>>> {
        self.enter("evidence.shares")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let replayed =
            replayed!(self, "evidence.shares", HostCall::Shares { result, .. } => result);
        let result = self.answered(replayed, Vec::new(), |run| {
            let query = run.query(&metric, &subject, window_s)?;
            let mut shares = run.services.metrics.shares(query)?;
            shares.truncate(SHARES_MAX);
            Ok(shares)
        });
        let share = |share: &Share| wit::Share {
            category: share.category.clone(),
            count: share.count,
        };
        let answer = match &result {
            Ok(shares) => Ok(shares.iter().map(share).collect()),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Shares {
            metric,
            subject,
            window_s,
            result,
        })?;
        Ok(answer)
    }

    fn measure(
        &mut self,
        metric: String,
        subject: Subject,
        window_s: u32,
    ) -> Result<Answer<wit::Measurement>> {
        self.enter("evidence.measure")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let replayed =
            replayed!(self, "evidence.measure", HostCall::Measure { result, .. } => result);
        let result = self.answered(replayed, Measurement::default(), |run| {
            let query = run.query(&metric, &subject, window_s)?;
            run.services.metrics.measure(query).and_then(finite)
        });
        let answer = match &result {
            Ok(measured) => Ok(wit::Measurement {
                samples: measured.samples,
                value: measured.value,
                standard_error: measured.standard_error,
                age_ms: measured.age_ms,
            }),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Measure {
            metric,
            subject,
            window_s,
            result,
        })?;
        Ok(answer)
    }

    fn drift_from(
        &mut self,
        metric: String,
        subject: Subject,
        window_s: u32,
        baseline: String,
    ) -> Result<Answer<DriftReading>> {
        self.enter("evidence.drift-from")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let replayed =
            replayed!(self, "evidence.drift-from", HostCall::DriftFrom { result, .. } => result);
        let result = self.answered(replayed, NO_DRIFT, |run| {
            let query = run.query(&metric, &subject, window_s)?;
            run.services.metrics.drift_from(query, &baseline)
        });
        let answer = match &result {
            Ok(reading) => Ok(drift_to(reading)),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::DriftFrom {
            metric,
            subject,
            window_s,
            baseline,
            result,
        })?;
        Ok(answer)
    }

    fn compare_with(
        &mut self,
        metric: String,
        subject: Subject,
        window_s: u32,
        baseline: String,
        options: ComparisonOptions,
    ) -> Result<Answer<Comparison>> {
        self.enter("evidence.compare-with")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let options = options_from(options);
        let replayed = replayed!(self, "evidence.compare-with", HostCall::CompareWith { result, .. } => result);
        let replayed = replayed.or_else(|| check_options(&options).err().map(Err));
        let result = self.answered(replayed, NO_COMPARISON, |run| {
            let query = run.query(&metric, &subject, window_s)?;
            run.services.metrics.compare_with(query, &baseline, options)
        });
        let answer = match &result {
            Ok(comparison) => Ok(comparison_to(comparison)),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::CompareWith {
            metric,
            subject,
            window_s,
            baseline,
            options,
            result,
        })?;
        Ok(answer)
    }

    fn find_line(
        &mut self,
        subject: Subject,
        window_s: u32,
        error_max: f64,
        delta: f64,
    ) -> Result<Answer<wit::LineReading>> {
        self.enter("evidence.find-line")?;
        let subject = self.subject_from(subject);
        let (error_max, delta) = (recordable(error_max), recordable(delta));
        let replayed =
            replayed!(self, "evidence.find-line", HostCall::Line { result, .. } => result);
        let replayed = replayed.or_else(|| {
            let wrong = [("error-max", error_max), ("delta", delta)]
                .into_iter()
                .find(|(_, share)| !(*share > 0.0 && *share < 1.0));
            wrong.map(|(name, share)| {
                Err(MetricsError::Invalid(format!(
                    "`{name}` is {share}, must be above 0 and below 1"
                )))
            })
        });
        let nothing = LineReading::NotEnoughData(0);
        let result = self.answered(replayed, nothing, |run| {
            let query = run.query(LABELLED, &subject, window_s)?;
            run.services.metrics.find_line(query, error_max, delta)
        });
        let answer = match &result {
            Ok(reading) => Ok(line_to(reading)),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Line {
            subject,
            window_s,
            error_max,
            delta,
            result,
        })?;
        Ok(answer)
    }

    fn objective(&mut self, name: String) -> Result<Answer<wit::ObjectiveStatus>> {
        self.enter("evidence.objective")?;
        let replayed =
            replayed!(self, "evidence.objective", HostCall::Objective { result, .. } => result);
        let result = self.answered(replayed, NO_STATUS, |run| {
            let metric = format!("objective:{name}");
            if !covered(&run.grants.metrics, &metric) {
                return Err(MetricsError::Denied(metric));
            }
            if run.time_left().is_none() {
                return Err(MetricsError::Deadline);
            }
            run.services.metrics.objective(&name, run.now_ms)
        });
        let answer = match &result {
            Ok(status) => Ok(status_to(status)),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Objective { name, result })?;
        Ok(answer)
    }
}

/// Records hold JSON, which has no NaN, and no policy should meet one.
fn finite(measured: Measurement) -> std::result::Result<Measurement, MetricsError> {
    if measured.value.is_finite() && measured.standard_error.is_finite() {
        Ok(measured)
    } else {
        Err(MetricsError::Unavailable(
            "the number is not finite".to_owned(),
        ))
    }
}

fn line_to(reading: &LineReading) -> wit::LineReading {
    match reading {
        LineReading::Line(line) => wit::LineReading::Line(wit::Line {
            confidence: line.confidence,
            coverage: line.coverage,
            accepted: line.accepted,
            wrong: line.wrong,
            bound: line.bound,
        }),
        LineReading::Infeasible => wit::LineReading::Infeasible,
        LineReading::NotEnoughData(labels) => wit::LineReading::NotEnoughData(*labels),
    }
}

fn status_to(status: &ObjectiveStatus) -> wit::ObjectiveStatus {
    wit::ObjectiveStatus {
        state: match status.state {
            ObjectiveState::Met => wit::ObjectiveState::Met,
            ObjectiveState::Pending => wit::ObjectiveState::Pending,
            ObjectiveState::Firing => wit::ObjectiveState::Firing,
            ObjectiveState::NoEvidence => wit::ObjectiveState::NoEvidence,
        },
        severity: status.severity.map(|severity| match severity {
            Severity::Info => types::Severity::Info,
            Severity::Warning => types::Severity::Warning,
            Severity::Error => types::Severity::Error,
            Severity::Critical => types::Severity::Critical,
        }),
        burn_rate: status.burn_rate,
        samples: status.samples,
    }
}
