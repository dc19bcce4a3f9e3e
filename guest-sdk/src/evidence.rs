//! Import `evidence`: distributions, measurements, named baselines and
//! objectives, under the grants for metrics.
//!
//! A metric's name may carry a segment, as in `accuracy{tier=gold}`; see
//! `wit/evidence.wit` for the names that a host knows. As in
//! [`metrics`](crate::metrics), no evidence is an answer of its own.

use crate::backend::evidence as backend;
use crate::metrics::{Comparison, ComparisonOptions, DriftReading, MetricsError, Subject};

pub use crate::bindings::base::backstop::policy::evidence::{
    Line, LineReading, Measurement, ObjectiveState, ObjectiveStatus, Share,
};

/// Labelled answers by their confidence; measured, the share that was right.
pub const LABELLED: &str = "labelled";
/// Computed: accuracy, estimated without labels.
pub const ESTIMATED_ACCURACY: &str = "estimated-accuracy";

/// Categories over the last `window_s` seconds (1 to 86,400), the most frequent
/// first.
///
/// # Errors
/// As [`metrics::rate`](crate::metrics::rate).
pub fn shares(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
) -> Result<Vec<Share>, MetricsError> {
    backend::shares(metric, subject, window_s)
}

/// A metric as a number with its standard error.
///
/// # Errors
/// As [`metrics::rate`](crate::metrics::rate).
pub fn measure(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
) -> Result<Measurement, MetricsError> {
    backend::measure(metric, subject, window_s)
}

/// Drift of the last `window_s` seconds from the baseline of this name.
///
/// # Errors
/// As [`metrics::rate`](crate::metrics::rate); `Unknown` with the baseline's
/// name when there is none, or none of this metric.
pub fn drift_from(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    baseline: &str,
) -> Result<DriftReading, MetricsError> {
    backend::drift_from(metric, subject, window_s, baseline)
}

/// Compares the last `window_s` seconds with the baseline of this name.
///
/// # Errors
/// As [`drift_from`].
pub fn compare_with(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    baseline: &str,
    options: ComparisonOptions,
) -> Result<Comparison, MetricsError> {
    backend::compare_with(metric, subject, window_s, baseline, options)
}

/// The lowest line of confidence at which at most `error_max` of the accepted
/// answers are wrong, with probability `1 - delta`, from the labelled answers of
/// the last `window_s` seconds. Promised for one look; see `wit/evidence.wit`.
///
/// # Errors
/// As [`metrics::rate`](crate::metrics::rate).
pub fn find_line(
    subject: Subject<'_>,
    window_s: u32,
    error_max: f64,
    delta: f64,
) -> Result<LineReading, MetricsError> {
    backend::find_line(subject, window_s, error_max, delta)
}

/// How the objective of this name stands; the grant is that of the metric
/// `objective:NAME`.
///
/// # Errors
/// As [`metrics::rate`](crate::metrics::rate).
pub fn objective(name: &str) -> Result<ObjectiveStatus, MetricsError> {
    backend::objective(name)
}

impl Measurement {
    /// The number; none without a sample.
    pub fn value(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.value)
    }

    /// The number, if it was computed from at least `samples_min` samples, of
    /// which the newest is at most `age_ms_max` old.
    pub fn value_of(&self, samples_min: u64, age_ms_max: u64) -> Option<f64> {
        self.value()
            .filter(|_| self.samples >= samples_min && self.age_ms <= age_ms_max)
    }

    /// The end of its interval that lies `errors` standard errors below it;
    /// none without a sample.
    pub fn at_least(&self, errors: f64) -> Option<f64> {
        self.value()
            .map(|value| value - errors * self.standard_error)
    }
}
