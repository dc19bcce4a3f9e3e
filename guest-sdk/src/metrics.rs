//! Import `metrics`: live metrics, aggregated by the host.
//!
//! Every query is a question to be answered from memory in about a
//! microsecond; no series crosses the border. A policy gets what it names in
//! [`Policy::wants`](crate::Policy::wants), as far as the operator grants it.
//! No evidence is an answer of its own, 0 samples, and never a good sign: the
//! helpers here return `None` for it.

use crate::Abstain;
use crate::backend::metrics as backend;

pub use crate::bindings::base::backstop::policy::metrics::{
    Comparison, ComparisonOptions, ComparisonVerdict, Direction, DriftReading, DriftVerdict,
    Estimate, MetricsError, Moments, Proportion, ReleaseId, Subject,
};

/// Rate: failed attempts that count against the model, of attempts.
pub const ERROR_RATE: &str = "error-rate";
/// Rate: answers judged `escalate`, of answers judged.
pub const ESCALATION_RATE: &str = "escalation-rate";
/// Rate: answers judged `review`, of answers judged.
pub const REVIEW_RATE: &str = "review-rate";
/// Rate: resolved reviews and labels that agree with the answer, of all such.
pub const ACCURACY: &str = "accuracy";
/// Value: milliseconds to the complete answer.
pub const LATENCY_MS: &str = "latency-ms";
/// Value: milliseconds to the first token of a stream.
pub const FIRST_TOKEN_MS: &str = "first-token-ms";
/// Value: confidence of the answers that have one.
pub const CONFIDENCE: &str = "confidence";

/// Counts of a rate over the last `window_s` seconds (1 to 86,400).
///
/// # Errors
/// Not granted, unknown, an argument out of range, the deadline, or the
/// source does not answer; with `?` an abstention that names the metric.
pub fn rate(metric: &str, subject: Subject<'_>, window_s: u32) -> Result<Proportion, MetricsError> {
    backend::rate(metric, subject, window_s)
}

/// Mean and spread of a value over the last `window_s` seconds.
///
/// # Errors
/// As [`rate`].
pub fn mean(metric: &str, subject: Subject<'_>, window_s: u32) -> Result<Moments, MetricsError> {
    backend::mean(metric, subject, window_s)
}

/// The `q` quantile (0 to 1) of a value over the last `window_s` seconds,
/// within 1 % of the true one.
///
/// # Errors
/// As [`rate`].
pub fn quantile(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    q: f64,
) -> Result<Estimate, MetricsError> {
    backend::quantile(metric, subject, window_s, q)
}

/// Compares a rate or a mean of two subjects over the last `window_s`
/// seconds. The verdict stays valid however often it is asked for.
///
/// # Errors
/// As [`rate`].
pub fn compare(
    metric: &str,
    candidate: Subject<'_>,
    baseline: Subject<'_>,
    window_s: u32,
    options: ComparisonOptions,
) -> Result<Comparison, MetricsError> {
    backend::compare(metric, candidate, baseline, window_s, options)
}

/// Drift of a value: the last `window_s` seconds against the `reference_s`
/// seconds before them.
///
/// # Errors
/// As [`rate`].
pub fn drift(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    reference_s: u32,
) -> Result<DriftReading, MetricsError> {
    backend::drift(metric, subject, window_s, reference_s)
}

impl<'a> Subject<'a> {
    /// One release of a model.
    pub fn release(model: &'a str, release: &'a str) -> Self {
        Self::Release(ReleaseId { model, release })
    }
}

impl Proportion {
    /// Events per trial, 0 to 1; none without a trial.
    pub fn rate(&self) -> Option<f64> {
        (self.trials > 0).then(|| self.events as f64 / self.trials as f64)
    }

    /// True when there is evidence, and the rate is above `limit`.
    pub fn above(&self, limit: f64) -> bool {
        self.rate().is_some_and(|rate| rate > limit)
    }

    /// The rate, if there were at least `trials_min` trials.
    pub fn rate_of_at_least(&self, trials_min: u64) -> Option<f64> {
        self.rate().filter(|_| self.trials >= trials_min)
    }
}

impl Moments {
    /// The mean; none without a value.
    pub fn mean(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.mean)
    }

    /// The mean, if there were at least `samples_min` values.
    pub fn mean_of_at_least(&self, samples_min: u64) -> Option<f64> {
        self.mean().filter(|_| self.samples >= samples_min)
    }
}

impl Estimate {
    /// The quantile; none without a value.
    pub fn value(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.value)
    }

    /// True when there is evidence, and the quantile is above `limit`.
    pub fn above(&self, limit: f64) -> bool {
        self.value().is_some_and(|value| value > limit)
    }

    /// The quantile, if there were at least `samples_min` values.
    pub fn value_of_at_least(&self, samples_min: u64) -> Option<f64> {
        self.value().filter(|_| self.samples >= samples_min)
    }
}

impl ComparisonOptions {
    /// Chance of a false alarm when nothing else is said: one comparison in
    /// twenty, over its whole life.
    pub const ALPHA_USUAL: f64 = 0.05;

    /// For a metric that should be low (errors, latency): no margin, usual
    /// alpha, a verdict from `samples_min` samples on each side.
    pub fn lower_is_better(samples_min: u32) -> Self {
        Self {
            direction: Direction::LowerIsBetter,
            alpha: Self::ALPHA_USUAL,
            margin: 0.0,
            samples_min,
        }
    }

    /// For a metric that should be high (confidence, accuracy); else as
    /// [`lower_is_better`](Self::lower_is_better).
    pub fn higher_is_better(samples_min: u32) -> Self {
        Self {
            direction: Direction::HigherIsBetter,
            ..Self::lower_is_better(samples_min)
        }
    }

    /// Sets the smallest difference that matters, in the metric's unit.
    #[must_use]
    pub fn with_margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the chance of a false alarm: above 0, at most 0.5.
    #[must_use]
    pub fn with_alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }
}

impl From<MetricsError> for Abstain {
    fn from(error: MetricsError) -> Self {
        match error {
            MetricsError::Denied(name) => quoted("metric `", &name, "` is not granted"),
            MetricsError::Unknown(name) => quoted("metric `", &name, "` is not known"),
            MetricsError::Invalid(what) => quoted("metric query is invalid: ", &what, ""),
            MetricsError::Deadline => Self::because("metric query ran past the deadline"),
            MetricsError::Unavailable(why) => quoted("metric is not available: ", &why, ""),
        }
    }
}

/// Joins without the formatting machinery, which costs a small policy some
/// kilobytes.
pub(crate) fn quoted(before: &str, name: &str, after: &str) -> Abstain {
    let mut reason = String::from(before);
    reason.push_str(name);
    reason.push_str(after);
    Abstain { reason }
}
