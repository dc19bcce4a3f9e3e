//! Metrics with OpenTelemetry's names for generative AI, in OpenMetrics text.
//!
//! The conventions are in development, and the metric of tokens is about to be
//! replaced by others. So the names are those of one year, which the
//! configuration names (`[telemetry] genai_metrics`): a scraper that renames
//! can do so against a fixed set, and a later set comes beside it rather than
//! instead. Names of attributes are the configuration's
//! (`config::attributes`), written with `_` for `.`, as OpenTelemetry does for
//! Prometheus.

use super::word::Word;
use crate::config::{Attribute, AttributeNames};
use crate::trail::{AttemptEnd, AttemptRecord, RequestRecord};
use prometheus_client::encoding::{EncodeLabelKey, LabelKeyEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Buckets of durations, in seconds: the convention's.
const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// Buckets of token counts: the convention's.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Operation, provider, model, and what the metric adds.
type Labels = [(Label, Word); 4];
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// The name of a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Label(Arc<str>);

impl EncodeLabelKey for Label {
    fn encode(&self, encoder: &mut LabelKeyEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelKey::encode(&&*self.0, encoder)
    }
}

/// Metrics of all attempts.
#[derive(Debug)]
pub(super) struct GenAi {
    operation: Label,
    provider: Label,
    model: Label,
    error: Label,
    token_type: Label,
    duration: Histograms,
    first_chunk: Histograms,
    tokens: Histograms,
}

impl GenAi {
    /// Metrics whose labels are called by `names`.
    pub(super) fn new(names: &AttributeNames) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let label = |attribute| Label(names.label(attribute));
        GenAi {
            operation: label(Attribute::OperationName),
            provider: label(Attribute::ProviderName),
            model: label(Attribute::RequestModel),
            error: label(Attribute::ErrorType),
            token_type: label(Attribute::TokenType),
            duration: Family::new_with_constructor(seconds),
            first_chunk: Family::new_with_constructor(seconds),
            tokens: Family::new_with_constructor(|| Histogram::new(TOKENS)),
        }
    }

    #[rustfmt::skip] // One family a line reads as the table that it is.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("gen_ai_client_operation_duration_seconds", "Time of a call of a model", self.duration.clone());
        registry.register("gen_ai_client_operation_time_to_first_chunk_seconds", "Time from a call of a model to the first content of its stream", self.first_chunk.clone());
        registry.register("gen_ai_client_token_usage", "Tokens of a call of a model", self.tokens.clone());
    }

    /// Counts the attempts of a request that has ended.
    pub(super) fn count(&self, record: &RequestRecord) {
        for attempt in &record.attempts {
            self.attempt(record.operation, attempt);
        }
    }

    fn attempt(&self, operation: &'static str, attempt: &AttemptRecord) {
        let (Some(provider), Some(model)) = (&attempt.provider, &attempt.upstream_model) else {
            return;
        };
        if attempt.end == AttemptEnd::Cancelled {
            return;
        }
        let name = |name: &Arc<str>| Word::Name(name.clone());
        let with = |key: &Label, value| {
            [
                (self.operation.clone(), Word::Fixed(operation)),
                (self.provider.clone(), name(provider)),
                (self.model.clone(), name(model)),
                (key.clone(), Word::Fixed(value)),
            ]
        };
        let error = attempt.failure.map_or("", |class| class.as_str());
        let labels = with(&self.error, error);
        let duration = self.duration.get_or_create(&labels);
        duration.observe(attempt.duration.as_secs_f64());
        drop(duration);
        if let Some(first) = attempt.first_token {
            let first_chunk = self.first_chunk.get_or_create(&labels);
            first_chunk.observe(first.as_secs_f64());
        }
        if let Some(usage) = attempt.usage {
            let count = |kind, tokens: u64| {
                let labels = with(&self.token_type, kind);
                self.tokens.get_or_create(&labels).observe(tokens as f64);
            };
            count("input", usage.prompt_tokens);
            count("output", usage.completion_tokens);
        }
    }
}
