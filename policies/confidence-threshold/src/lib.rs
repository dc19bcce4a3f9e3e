//! The policy `confidence-threshold`: accept, escalate or review an answer by
//! its confidence.
//!
//! [`settings`] holds what operators write, [`judge`] the judgement over plain
//! facts, `text` the numbers in the reasons. This file gathers the facts
//! through the SDK. Metrics are asked only for an answer between the usual
//! line and the stricter one, where the answer to the question matters.
//!
//! Always true: an answer without evidence is treated as the operator said,
//! never as a good one; quality that is not known changes no line; nothing in
//! here panics.

#[cfg(test)]
mod bench_tests;
pub mod judge;
#[cfg(test)]
mod property_tests;
pub mod settings;
mod text;

use backstop_sdk::metrics::{self, DriftVerdict, Subject};
use backstop_sdk::{
    Abstain, Answer, Context, Policy, Problems, Request, Standing, Threshold, Verdict, Want, export,
};
use judge::{Facts, Lines, Quality};
use settings::Settings;

/// The policy, configured.
#[derive(Debug)]
pub struct ConfidenceThreshold {
    settings: Settings,
}

impl Policy for ConfidenceThreshold {
    type Settings = Settings;

    fn wants() -> Vec<Want> {
        vec![
            Want::metrics(metrics::ACCURACY),
            Want::metrics(metrics::CONFIDENCE),
        ]
    }

    fn configure(settings: Settings) -> Result<Self, Problems> {
        settings.check().map(|()| Self { settings })
    }
}

impl Threshold for ConfidenceThreshold {
    fn judge(&self, _: &Context, request: &Request, answer: &Answer) -> Result<Verdict, Abstain> {
        let settings = &self.settings;
        let label = if settings.per_label.is_empty() {
            None
        } else {
            answer.label()
        };
        let lines = Lines::of(settings, label.as_deref());
        let facts = Facts {
            confidence: answer.confidence(),
            finish_reason: answer.finish_reason(),
            pace: if settings.tokens_per_second_min > 0.0 && answer.partial() {
                pace(answer)
            } else {
                None
            },
            standing: Standing::of(request, answer),
        };
        let quality = if judge::quality_matters(settings, &lines, &facts) {
            self.quality(&answer.model())
        } else {
            Quality::Unknown
        };
        Ok(judge::judge(settings, &lines, &facts, &quality))
    }
}

fn pace(answer: &Answer) -> Option<f64> {
    judge::pace(
        answer.tokens()?,
        answer.first_token_ms()?,
        answer.latency_ms(),
    )
}

impl ConfidenceThreshold {
    /// Whether the model is known to be doing worse. A query that fails is no
    /// evidence.
    fn quality(&self, model: &str) -> Quality {
        let settings = &self.settings;
        let subject = || Subject::Model(model);
        if settings.accuracy_min > 0.0
            && let Ok(accuracy) = metrics::rate(metrics::ACCURACY, subject(), settings.window_s)
            && let Some(rate) = accuracy.rate_of_at_least(settings.labels_min.into())
            && rate < settings.accuracy_min
        {
            return Quality::AccuracyLow {
                accuracy,
                line: settings.accuracy_min,
            };
        }
        if settings.tighten_on_drift
            && let Ok(reading) = metrics::drift(
                metrics::CONFIDENCE,
                subject(),
                settings.window_s,
                settings.reference_s,
            )
            && reading.verdict == DriftVerdict::Drifted
        {
            return Quality::Drifted(reading);
        }
        Quality::Unknown
    }
}

export!(ConfidenceThreshold: threshold);
