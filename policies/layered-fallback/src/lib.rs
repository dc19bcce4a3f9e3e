//! The policy `layered-fallback`: primary → backup → rules → review.
//!
//! [`settings`] holds what operators write, [`decide`] the decision over plain
//! facts, `text` the reasons. This file only gathers the facts through the
//! SDK, with as few questions as the decision needs: one for the candidates,
//! one for each model whose calls pass (two with a latency line), and one or
//! two for the end of the plan.
//!
//! Always true: the plan has 1 to 16 steps, no metric that fails to answer
//! keeps a plan from being made, and nothing in here panics.

#[cfg(test)]
mod bench_tests;
pub mod decide;
#[cfg(test)]
mod property_tests;
pub mod settings;
mod text;

use backstop_sdk::metrics::{self, MetricsError, Subject};
use backstop_sdk::{
    Abstain, BreakerState, Candidate, Context, Fallback, Plan, Policy, Problems, Request, Want,
    export,
};
use decide::{Evidence, Exit, ModelFacts};
use settings::Settings;

/// The quantile that `latency_p95_ms_max` is held against.
const LATENCY_QUANTILE: f64 = 0.95;

/// The policy, configured.
#[derive(Debug)]
pub struct LayeredFallback {
    settings: Settings,
}

impl Policy for LayeredFallback {
    type Settings = Settings;

    fn wants() -> Vec<Want> {
        vec![
            Want::metrics(metrics::ERROR_RATE),
            Want::metrics(metrics::LATENCY_MS),
        ]
    }

    fn configure(settings: Settings) -> Result<Self, Problems> {
        settings.check().map(|()| Self { settings })
    }
}

impl Fallback for LayeredFallback {
    fn decide(&self, ctx: &Context, request: &Request) -> Result<Plan, Abstain> {
        let settings = &self.settings;
        let mut clock_ran_out = false;
        let models = decide::in_order(&settings.models, request.candidates())
            .into_iter()
            .map(|candidate| self.facts(candidate, &mut clock_ran_out))
            .collect();
        let exit = self.exit(request);
        Ok(decide::decide(settings, ctx.seed, models, exit))
    }
}

impl LayeredFallback {
    /// Asks what the decision needs to know about one model. After a query
    /// that ran past the deadline no further one is made.
    fn facts(&self, candidate: Candidate, clock_ran_out: &mut bool) -> ModelFacts {
        let mut facts = ModelFacts {
            model: candidate.model,
            breaker: candidate.breaker,
            healthy: candidate.healthy,
            errors: Evidence::NotAsked,
            latency: Evidence::NotAsked,
        };
        if !facts.is_measured() || *clock_ran_out {
            return facts;
        }
        let subject = || Subject::Model(&facts.model);
        let window_s = self.settings.window_s;
        let errors = evidence(
            metrics::rate(metrics::ERROR_RATE, subject(), window_s),
            clock_ran_out,
        );
        let latency = match self.settings.latency_p95_ms_max {
            Some(_) if !*clock_ran_out => evidence(
                metrics::quantile(metrics::LATENCY_MS, subject(), window_s, LATENCY_QUANTILE),
                clock_ran_out,
            ),
            _ => Evidence::NotAsked,
        };
        facts.errors = errors;
        facts.latency = latency;
        facts
    }

    /// How the plan ends when no model answers.
    fn exit(&self, request: &Request) -> Exit {
        match self.settings.rules.as_deref() {
            // No rules, said by the operator.
            Some("") => {}
            Some(name) => {
                if request.rules().iter().any(|known| known == name) {
                    return Exit::Rules(name.to_owned());
                }
            }
            None => {
                if let Some(first) = request.rules().into_iter().next() {
                    return Exit::Rules(first);
                }
            }
        }
        if self.settings.review && request.has_review() {
            Exit::Review
        } else {
            Exit::None
        }
    }
}

fn evidence<T>(answer: Result<T, MetricsError>, clock_ran_out: &mut bool) -> Evidence<T> {
    match answer {
        Ok(value) => Evidence::Known(value),
        Err(error) => {
            *clock_ran_out |= matches!(error, MetricsError::Deadline);
            Evidence::Missing(Abstain::from(error).reason)
        }
    }
}

impl ModelFacts {
    /// True for models whose place depends on how their calls went: calls
    /// pass, and more than a few trials of them.
    fn is_measured(&self) -> bool {
        self.healthy
            && matches!(
                self.breaker,
                BreakerState::Closed | BreakerState::Disabled | BreakerState::MetricsOnly
            )
    }
}

export!(LayeredFallback: fallback);
