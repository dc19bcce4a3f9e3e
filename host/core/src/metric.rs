//! The vocabulary of evidence: what is asked about metrics, and the answers.
//!
//! The words and the meaning of every field are those of `wit/metrics.wit`.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The standard names of metrics. A host may know more.
pub mod name {
    /// Rate: failed attempts that count against the model / attempts.
    pub const ERROR_RATE: &str = "error-rate";
    /// Rate: answers judged `escalate` / answers judged.
    pub const ESCALATION_RATE: &str = "escalation-rate";
    /// Rate: answers judged `review` / answers judged.
    pub const REVIEW_RATE: &str = "review-rate";
    /// Rate: labels that agree with the answer / labels.
    pub const ACCURACY: &str = "accuracy";
    /// Value: milliseconds until the complete answer.
    pub const LATENCY_MS: &str = "latency-ms";
    /// Value: milliseconds until the first token of a stream.
    pub const FIRST_TOKEN_MS: &str = "first-token-ms";
    /// Value: confidence in `[0, 1]`.
    pub const CONFIDENCE: &str = "confidence";

    /// Rate: answers that were the route's positive label and are right /
    /// answers that were it.
    pub const PRECISION: &str = "precision";
    /// Rate: answers that were the positive label and are right / labels that
    /// are it.
    pub const RECALL: &str = "recall";
    /// Labelled answers by their confidence.
    pub const LABELLED: &str = "labelled";
    /// Computed: harmonic mean of precision and recall.
    pub const F1: &str = "f1";
    /// Computed: area under the curve of confidence against being right.
    pub const AUC: &str = "auc";
    /// Computed: mean square of confidence less being right.
    pub const BRIER: &str = "brier";
    /// Computed: expected calibration error over ten bins of equal width.
    pub const CALIBRATION_ERROR: &str = "calibration-error";
    /// Computed: accuracy that confidences of answers without labels promise.
    pub const ESTIMATED_ACCURACY: &str = "estimated-accuracy";

    /// Those that every subject has.
    pub const ALL: [&str; 7] = [
        ERROR_RATE,
        ESCALATION_RATE,
        REVIEW_RATE,
        ACCURACY,
        LATENCY_MS,
        FIRST_TOKEN_MS,
        CONFIDENCE,
    ];
}

/// The name of a metric without its segment: `accuracy` of
/// `accuracy{tier=gold}`. A segment is what stands between the first `{` and a
/// `}` at the end; a name without is its own base.
pub fn base(metric: &str) -> &str {
    match metric.split_once('{') {
        Some((base, rest)) if rest.ends_with('}') => base,
        _ => metric,
    }
}

/// The segment of a metric's name: `tier=gold` of `accuracy{tier=gold}`.
pub fn segment(metric: &str) -> Option<&str> {
    metric.split_once('{')?.1.strip_suffix('}')
}

/// What a metric is read for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The route of the decision.
    Route,
    /// A model, over all its releases.
    Model(Arc<str>),
    /// One release of a model.
    Release {
        /// Name of the model.
        model: Arc<str>,
        /// Name of the release.
        release: Arc<str>,
    },
}

/// Exact counts of a rate; `events <= trials`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proportion {
    /// How often it happened.
    pub events: u64,
    /// How often it could have happened; 0 is no evidence.
    pub trials: u64,
}

/// Count, mean and spread of a value.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Number of values; with 0 the others mean nothing.
    pub samples: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); 0 with fewer than two samples.
    pub stddev: f64,
}

/// A quantile of a value.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// Number of values; with 0 `value` means nothing.
    pub samples: u64,
    /// The quantile, within 1 % (DDSketch).
    pub value: f64,
}

/// Which way a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// As with errors and latency.
    LowerIsBetter,
    /// As with confidence and accuracy.
    HigherIsBetter,
}

/// How two subjects are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ComparisonOptions {
    /// Which way is good.
    pub direction: Direction,
    /// Chance of a false alarm over the life of the comparison, in `(0, 0.5]`.
    pub alpha: f64,
    /// Smallest difference that matters, in the metric's unit; at least 0.
    pub margin: f64,
    /// Fewest samples on each side before there is any verdict.
    pub samples_min: u32,
}

/// Outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComparisonVerdict {
    /// Better by more than chance explains.
    Better,
    /// Any difference is smaller than the margin.
    Equivalent,
    /// Worse by more than chance and the margin explain.
    Worse,
    /// The evidence does not decide yet.
    NotEnoughData,
}

/// A comparison with the numbers behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The outcome.
    pub verdict: ComparisonVerdict,
    /// Candidate minus baseline.
    pub effect: f64,
    /// Lower end of the confidence sequence for the effect.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples of the candidate.
    pub candidate_samples: u64,
    /// Samples of the baseline.
    pub baseline_samples: u64,
}

/// Outcome of a drift query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftVerdict {
    /// No more difference than chance explains.
    Stable,
    /// The distribution has changed.
    Drifted,
    /// Too few values on one side.
    NotEnoughData,
}

/// Drift of a value's distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DriftReading {
    /// The outcome.
    pub verdict: DriftVerdict,
    /// Population stability index over the reference's deciles, in nats.
    pub psi: f64,
    /// The value above which it counts as drift.
    pub critical: f64,
    /// Values in the current window.
    pub current_samples: u64,
    /// Values in the reference window.
    pub reference_samples: u64,
}

/// One name of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The category; `(other)` for what the series does not tell apart.
    pub category: String,
    /// How often it was seen.
    pub count: u64,
}

/// A number with its sampling error.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Measurement {
    /// What it was computed from; with 0 the others mean nothing.
    pub samples: u64,
    /// The number.
    pub value: f64,
    /// Its standard error; 0 where none is known.
    pub standard_error: f64,
    /// Milliseconds since the newest sample.
    pub age_ms: u64,
}

/// A line of confidence that labelled answers support.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Accept answers whose confidence is at or above it.
    pub confidence: f64,
    /// Share of the labelled answers that it accepts.
    pub coverage: f64,
    /// Labelled answers that it accepts.
    pub accepted: u64,
    /// How many of those were wrong.
    pub wrong: u64,
    /// Upper bound of the share that is wrong.
    pub bound: f64,
}

/// What labelled answers say about where the line may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineReading {
    /// The lowest line that can be promised.
    Line(Line),
    /// There are labels enough, and they promise no line.
    Infeasible,
    /// Too few labelled answers for any line, however good; holds how many.
    NotEnoughData(u64),
}

/// How an objective stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveState {
    /// Its budget lasts.
    Met,
    /// It burns too fast, not yet for long enough to alert.
    Pending,
    /// It burns too fast.
    Firing,
    /// Too few events in its windows to say.
    NoEvidence,
}

/// How an objective stands, and how fast its budget burns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveStatus {
    /// The worst of its alerts.
    pub state: ObjectiveState,
    /// How bad that is; none while none fires.
    pub severity: Option<Severity>,
    /// How many times faster than allowed the budget burns over the long window
    /// of the worst alert; 0 without evidence.
    pub burn_rate: f64,
    /// Events that count in that window.
    pub samples: u64,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Something degrades; safeguards hold.
    Warning,
    /// A part of the service fails its users.
    Error,
    /// Users are harmed now.
    Critical,
}

/// Why a query about metrics was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsError {
    /// The policy has no grant for the metric.
    #[error("no grant for metric `{0}`")]
    Denied(String),
    /// No such metric, or not of this kind.
    #[error("unknown metric `{0}`")]
    Unknown(String),
    /// An argument is out of range.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// The decision's deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
    /// The source does not answer.
    #[error("metrics are unavailable: {0}")]
    Unavailable(String),
}
