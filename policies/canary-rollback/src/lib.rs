//! The policy `canary-rollback`: should this candidate release stay?
//!
//! [`settings`] holds what operators write, [`assess`] the assessment over
//! plain facts, `text` the numbers for people. This file gathers the facts
//! through the SDK: one absolute reading for each hard limit, one comparison
//! with the stable release for each guardrail.
//!
//! Always true: the candidate advances only when every guardrail was answered
//! with *better* or *equivalent* from enough samples; whatever is missing
//! holds and at last pauses the rollout; nothing in here panics.

pub mod assess;
#[cfg(test)]
mod bench_tests;
#[cfg(test)]
mod property_tests;
pub mod settings;
mod text;

use assess::{Facts, Guard, Limit, LimitReading};
use backstop_sdk::metrics::{self, ComparisonOptions, Direction, Subject};
use backstop_sdk::{
    Abstain, Assessment, Context, Directive, Policy, Problems, Rollback, Rollout, Want, export,
    incident,
};
use settings::{Guardrail, Settings};

/// The quantile that `latency_p95_ms_max` is held against.
const LATENCY_QUANTILE: f64 = 0.95;

/// The longest window that the contract allows, in seconds.
const WINDOW_S_MAX: u64 = 86_400;

/// The policy, configured.
#[derive(Debug)]
pub struct CanaryRollback {
    settings: Settings,
}

impl Policy for CanaryRollback {
    type Settings = Settings;

    fn wants() -> Vec<Want> {
        vec![
            Want::metrics(metrics::ERROR_RATE),
            Want::metrics(metrics::LATENCY_MS),
            Want::metrics(metrics::CONFIDENCE),
            Want::Incident,
        ]
    }

    fn configure(settings: Settings) -> Result<Self, Problems> {
        settings.check().map(|()| Self { settings })
    }
}

impl Rollback for CanaryRollback {
    fn assess(&self, _: &Context, rollout: &Rollout) -> Result<Assessment, Abstain> {
        let (model, candidate) = (rollout.model(), rollout.candidate());
        let window_s = self.window_s(rollout.age_ms());
        let limits = self.limits(&model, &candidate, window_s);
        let mut facts = Facts {
            step_age_ms: rollout.step_age_ms(),
            limits,
            guards: Vec::new(),
        };
        if !assess::limit_decides(&self.settings, &facts.limits) {
            facts.guards = self.guards(&model, &candidate, &rollout.stable(), window_s);
        }
        let mut assessment = assess::assess(&self.settings, &facts);
        if self.settings.incident && matches!(assessment.directive, Directive::RollBack(_)) {
            self.raise(&model, &candidate, &facts, &mut assessment);
        }
        Ok(assessment)
    }
}

impl CanaryRollback {
    /// Both releases are read over the same time, which begins with the
    /// rollout: what the stable release did before would be compared with
    /// another hour of the day.
    fn window_s(&self, age_ms: u64) -> u32 {
        let age_s = age_ms.div_ceil(1_000).clamp(1, WINDOW_S_MAX);
        self.settings
            .window_s
            .min(u32::try_from(age_s).unwrap_or(u32::MAX))
    }

    fn limits(&self, model: &str, candidate: &str, window_s: u32) -> Vec<LimitReading> {
        let settings = &self.settings;
        let subject = || Subject::release(model, candidate);
        let mut readings = Vec::new();
        if let Some(line) = settings.error_rate_max {
            let reading = metrics::rate(metrics::ERROR_RATE, subject(), window_s);
            readings.push(LimitReading {
                limit: Limit::ErrorRate,
                line,
                reading: reading
                    .map(|rate| (rate.rate().unwrap_or(0.0), rate.trials))
                    .map_err(|error| Abstain::from(error).reason),
            });
        }
        if let Some(line) = settings.latency_p95_ms_max {
            let reading =
                metrics::quantile(metrics::LATENCY_MS, subject(), window_s, LATENCY_QUANTILE);
            readings.push(LimitReading {
                limit: Limit::LatencyP95,
                line: line.into(),
                reading: reading
                    .map(|quantile| (quantile.value, quantile.samples))
                    .map_err(|error| Abstain::from(error).reason),
            });
        }
        if let Some(line) = settings.confidence_min {
            let reading = metrics::mean(metrics::CONFIDENCE, subject(), window_s);
            readings.push(LimitReading {
                limit: Limit::Confidence,
                line,
                reading: reading
                    .map(|mean| (mean.mean, mean.samples))
                    .map_err(|error| Abstain::from(error).reason),
            });
        }
        readings
    }

    fn guards(&self, model: &str, candidate: &str, stable: &str, window_s: u32) -> Vec<Guard> {
        let settings = &self.settings;
        let guardrails = &settings.guardrails;
        guardrails
            .iter()
            .map(|&guardrail| {
                let options = ComparisonOptions {
                    direction: match guardrail {
                        Guardrail::ErrorRate | Guardrail::LatencyMs => Direction::LowerIsBetter,
                        Guardrail::Confidence => Direction::HigherIsBetter,
                    },
                    alpha: settings.alpha_each(),
                    margin: settings.margin(guardrail),
                    samples_min: settings.samples_min,
                };
                let comparison = metrics::compare(
                    guardrail.metric(),
                    Subject::release(model, candidate),
                    Subject::release(model, stable),
                    window_s,
                    options,
                );
                Guard {
                    guardrail,
                    comparison: comparison.map_err(|error| Abstain::from(error).reason),
                }
            })
            .collect()
    }

    /// Opens an incident with the numbers. That the candidate goes back does
    /// not depend on it: where it cannot be opened, the reason says so.
    fn raise(&self, model: &str, candidate: &str, facts: &Facts, assessment: &mut Assessment) {
        let raised = incident::raise(
            &text::incident_key(model, candidate),
            self.settings.severity.into(),
            &text::incident_title(model, candidate),
            &text::incident_detail(&assessment.reason, facts, &self.settings),
        );
        if let Err(error) = raised {
            assessment.reason.push_str("; ");
            assessment.reason.push_str(&Abstain::from(error).reason);
        }
    }
}

export!(CanaryRollback: rollback);
