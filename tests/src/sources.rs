//! Scripted sources: metrics, models and incidents for a host under test.

use backstop::core::input::AnswerFacts;
use backstop::core::metric::{
    Comparison, ComparisonOptions, DriftReading, DriftVerdict, LineReading, Measurement,
    MetricsError, ObjectiveState, ObjectiveStatus, Proportion, Severity, Share,
};
use backstop::core::stats;
use backstop::{
    BoxFuture, IncidentReport, IncidentSink, MetricQuery, MetricsSource, ModelAnswer, ModelCall,
    ModelCaller, ModelError,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Metrics of which every rate is the same.
#[derive(Debug, Default)]
pub struct Rates {
    /// Events of 1,000 trials.
    pub per_mille: AtomicU64,
}

impl MetricsSource for Rates {
    fn rate(&self, _: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        Ok(Proportion {
            events: self.per_mille.load(Ordering::Relaxed),
            trials: 1_000,
        })
    }

    fn shares(&self, _: MetricQuery<'_>) -> Result<Vec<Share>, MetricsError> {
        Ok(vec![Share {
            category: "fraud".to_owned(),
            count: 3,
        }])
    }

    fn measure(&self, query: MetricQuery<'_>) -> Result<Measurement, MetricsError> {
        let value = if query.metric == "latency-nan" {
            f64::NAN
        } else {
            0.25
        };
        Ok(Measurement {
            samples: 400,
            value,
            standard_error: (0.25 * 0.75 / 400.0f64).sqrt(),
            age_ms: 1_000,
        })
    }

    fn drift_from(&self, _: MetricQuery<'_>, baseline: &str) -> Result<DriftReading, MetricsError> {
        if baseline != "spring" {
            return Err(MetricsError::Unknown(baseline.to_owned()));
        }
        Ok(DriftReading {
            verdict: DriftVerdict::Drifted,
            psi: 0.4,
            critical: 0.1,
            current_samples: 200,
            reference_samples: 200,
        })
    }

    fn compare_with(
        &self,
        _: MetricQuery<'_>,
        _: &str,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        let side = |events| Proportion {
            events,
            trials: 1_000,
        };
        Ok(stats::compare_rates(side(300), side(100), &options))
    }

    fn find_line(&self, _: MetricQuery<'_>, _: f64, _: f64) -> Result<LineReading, MetricsError> {
        Ok(LineReading::NotEnoughData(7))
    }

    fn objective(&self, _: &str, _: u64) -> Result<ObjectiveStatus, MetricsError> {
        Ok(ObjectiveStatus {
            state: ObjectiveState::Firing,
            severity: Some(Severity::Critical),
            burn_rate: 20.0,
            samples: 5_000,
        })
    }
}

/// Models `quick` (answers at once, costs 10) and `slow` (takes an hour).
#[derive(Debug, Default)]
pub struct Models {
    /// Calls that were made.
    pub calls: AtomicU64,
}

impl ModelCaller for Models {
    fn cost_micros_max(&self, _: &str, _: &str) -> u64 {
        10
    }

    fn call(&self, call: ModelCall) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if call.model == "slow" {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
            }
            let facts = AnswerFacts {
                model: call.model.as_str().into(),
                ..crate::facts::answer(Some(0.9))
            };
            Ok(ModelAnswer {
                facts,
                cost_micros: 10,
            })
        })
    }
}

/// Keeps incidents.
#[derive(Debug, Default)]
pub struct Incidents {
    /// What was raised.
    pub raised: Mutex<Vec<IncidentReport>>,
}

impl IncidentSink for Incidents {
    fn raise(&self, report: IncidentReport) -> Result<bool, String> {
        self.raised
            .lock()
            .map_err(|error| error.to_string())?
            .push(report);
        Ok(true)
    }
}
