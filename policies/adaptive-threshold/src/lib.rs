//! The policy `adaptive-threshold`: accept by confidence, against a line that
//! moves with evidence.
//!
//! [`settings`] holds what operators write, [`judge`] the judgement over plain
//! facts, `text` the numbers in the reasons. This file gathers the evidence
//! through the SDK, and only for answers between the calibrated line and the
//! ceiling, where it can matter.
//!
//! Always true: no evidence and no lack of it takes the line below the
//! calibrated one; a query that fails is no evidence; nothing in here panics.

#[cfg(test)]
mod bench_tests;
pub mod judge;
#[cfg(test)]
mod property_tests;
pub mod settings;
mod text;

use backstop_sdk::evidence::{self, LineReading, ObjectiveStatus};
use backstop_sdk::metrics::{self, DriftReading, Subject};
use backstop_sdk::{
    Abstain, Answer, Context, Policy, Problems, Request, Standing, Threshold, Verdict, Want, export,
};
use judge::{Evidence, Facts, Labels};
use settings::Settings;

/// The policy, configured.
#[derive(Debug)]
pub struct AdaptiveThreshold {
    settings: Settings,
}

impl Policy for AdaptiveThreshold {
    type Settings = Settings;

    fn wants() -> Vec<Want> {
        vec![
            Want::metrics(evidence::LABELLED),
            Want::metrics(metrics::CONFIDENCE),
            Want::metrics(evidence::ESTIMATED_ACCURACY),
            Want::metrics("objective:*"),
        ]
    }

    fn configure(settings: Settings) -> Result<Self, Problems> {
        settings.check().map(|()| Self { settings })
    }
}

impl Threshold for AdaptiveThreshold {
    fn judge(&self, _: &Context, request: &Request, answer: &Answer) -> Result<Verdict, Abstain> {
        let facts = Facts {
            confidence: answer.confidence(),
            standing: Standing::of(request, answer),
        };
        let evidence = if judge::evidence_matters(&self.settings, &facts) {
            self.evidence(&answer.model())
        } else {
            Evidence::default()
        };
        Ok(judge::judge(&self.settings, &facts, &evidence))
    }
}

impl AdaptiveThreshold {
    /// What the host knows about the model.
    fn evidence(&self, model: &str) -> Evidence {
        let settings = &self.settings;
        let labels = self.labels(model);
        if settings.tighten_by <= 0.0 {
            return Evidence {
                labels,
                ..Evidence::default()
            };
        }
        let estimate = || {
            let subject = Subject::Model(model);
            evidence::measure(evidence::ESTIMATED_ACCURACY, subject, settings.window_s).ok()
        };
        Evidence {
            labels,
            drift: self.drift(model),
            objective: self.objective(),
            estimate: settings.estimate.then(estimate).flatten(),
        }
    }

    /// The line that labels promise, once there are enough of them.
    fn labels(&self, model: &str) -> Labels {
        let settings = &self.settings;
        let subject = || Subject::Model(model);
        let count = evidence::measure(evidence::LABELLED, subject(), settings.window_s)
            .map_or(0, |measured| measured.samples);
        if count < u64::from(settings.labels_min) {
            return Labels::Unknown;
        }
        let found = evidence::find_line(
            subject(),
            settings.window_s,
            settings.error_max,
            settings.delta,
        );
        match found {
            Ok(LineReading::Line(line)) => Labels::Promise(line),
            Ok(LineReading::Infeasible) => Labels::Infeasible(count),
            Ok(LineReading::NotEnoughData(_)) | Err(_) => Labels::Unknown,
        }
    }

    fn drift(&self, model: &str) -> Option<DriftReading> {
        let settings = &self.settings;
        let (metric, subject) = (metrics::CONFIDENCE, Subject::Model(model));
        let reading = match &settings.baseline {
            Some(baseline) => evidence::drift_from(metric, subject, settings.window_s, baseline),
            None => metrics::drift(metric, subject, settings.window_s, settings.reference_s),
        };
        reading.ok()
    }

    fn objective(&self) -> Option<ObjectiveStatus> {
        evidence::objective(self.settings.objective.as_deref()?).ok()
    }
}

export!(AdaptiveThreshold: threshold);
