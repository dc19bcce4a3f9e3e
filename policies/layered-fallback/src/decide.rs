//! The decision over plain facts: which models, in which order, and how the
//! plan ends.
//!
//! Each model is judged by itself (`Standing`); the plan is then the models
//! that are fine in the operator's order, the troubled ones from least to most
//! bad, and the end. Missing evidence leaves a model where the operator put
//! it: it is neither praised nor blamed.

use crate::settings::{MODELS_MAX, Settings, Troubled};
use crate::text::{self, Reason};
use backstop_sdk::metrics::{Estimate, Proportion};
use backstop_sdk::{BreakerState, CallStep, Candidate, Plan};

/// HTTP status of the refusal when nothing at all is left to try.
const NOTHING_LEFT_STATUS: u16 = 503;

/// What is known about something measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence<T> {
    /// The host's answer; its count may be 0.
    Known(T),
    /// The host did not answer; says why.
    Missing(String),
    /// Does not matter for this decision.
    NotAsked,
}

/// One model of the route.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// Its name.
    pub model: String,
    /// State of its breaker.
    pub breaker: BreakerState,
    /// False when a probe or an operator says that it is down.
    pub healthy: bool,
    /// Failed calls of calls in the window.
    pub errors: Evidence<Proportion>,
    /// 95th percentile of the latency in the window, in milliseconds.
    pub latency: Evidence<Estimate>,
}

/// How the plan ends when no model answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With the rules of this name.
    Rules(String),
    /// With people.
    Review,
    /// With the route's last resort.
    None,
}

/// Where a model stands.
#[derive(Debug)]
enum Standing {
    /// It keeps its place.
    Fine(Reason),
    /// It works, but worse than the lines allow; holds its error rate.
    Troubled(f64, Reason),
    /// A call would not reach it; `last_hope` orders those that may be tried
    /// when nothing else is left, and an operator's word is final.
    Down {
        why: &'static str,
        last_hope: Option<u8>,
    },
}

/// The candidates in the order of `wanted`, or in their own where that is
/// empty or names none of them.
pub fn in_order(wanted: &[String], candidates: Vec<Candidate>) -> Vec<Candidate> {
    if !candidates
        .iter()
        .any(|candidate| wanted.contains(&candidate.model))
    {
        return candidates;
    }
    let mut rest: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
    wanted
        .iter()
        .filter_map(|name| {
            rest.iter_mut()
                .find(|slot| slot.as_ref().is_some_and(|found| found.model == *name))
                .and_then(Option::take)
        })
        .collect()
}

/// Makes the plan. `models` are in the order in which they are wanted; `seed`
/// chooses the requests that knock at an open breaker.
pub fn decide(settings: &Settings, seed: u64, models: Vec<ModelFacts>, exit: Exit) -> Plan {
    let knocks = seed % 100 < u64::from(settings.knock_percent);
    let mut plan = Plan {
        steps: Vec::with_capacity(models.len().min(MODELS_MAX) + 1),
    };
    let mut troubled: Vec<(f64, String, Reason)> = Vec::new();
    let mut down: Vec<(Option<u8>, String, &'static str)> = Vec::new();
    for facts in models {
        match standing(settings, knocks, &facts) {
            Standing::Fine(reason) => {
                if plan.steps.len() < MODELS_MAX {
                    plan = plan.call(call(settings, facts.model), reason);
                }
            }
            Standing::Troubled(rate, reason) => {
                // Least bad first; among equals the operator's order holds.
                // There are a few at most, and a sort would make a quarter of
                // the component's code.
                let worse = troubled.iter().position(|(other, ..)| *other > rate);
                let place = worse.unwrap_or(troubled.len());
                troubled.insert(place, (rate, facts.model, reason));
            }
            Standing::Down { why, last_hope } => down.push((last_hope, facts.model, why)),
        }
    }
    let must = exit == Exit::None;
    plan = add_troubled(settings, plan, troubled, must);
    if plan.is_empty() && (settings.try_least_bad || must) {
        plan = add_last_hope(settings, plan, &down);
    }
    end(plan, exit, &down)
}

/// Adds the troubled models, which come least bad first. `must`: there is
/// nothing else to end with.
fn add_troubled(
    settings: &Settings,
    mut plan: Plan,
    troubled: Vec<(f64, String, Reason)>,
    must: bool,
) -> Plan {
    let tried = match (plan.is_empty(), settings.troubled) {
        (true, _) if !settings.try_least_bad && !must => 0,
        (true, Troubled::Skip) => 1,
        (false, Troubled::Skip) => 0,
        (_, Troubled::Demote) => MODELS_MAX.saturating_sub(plan.steps.len()),
    };
    for (_, model, reason) in troubled.into_iter().take(tried) {
        plan = plan.call(call(settings, model), reason);
    }
    plan
}

/// Adds the one model that is down and least hopeless, if any may be tried.
fn add_last_hope(
    settings: &Settings,
    plan: Plan,
    down: &[(Option<u8>, String, &'static str)],
) -> Plan {
    let least_bad = down
        .iter()
        .filter_map(|(hope, model, why)| hope.map(|hope| (hope, model, why)))
        .min_by_key(|(hope, ..)| *hope);
    match least_bad {
        Some((_, model, why)) => plan.call(
            call(settings, model.clone()),
            [why, ", but no other model is left"].concat(),
        ),
        None => plan,
    }
}

/// Ends the plan, and names the models that were left out.
fn end(mut plan: Plan, exit: Exit, down: &[(Option<u8>, String, &'static str)]) -> Plan {
    let left_out = text::left_out(down.iter().map(|(_, model, why)| (model.as_str(), *why)));
    match exit {
        Exit::Rules(rules) => plan.or_rules(rules, ["no model answered", &left_out].concat()),
        Exit::Review => {
            let reason = ["no model answered", &left_out].concat();
            plan.or_review(reason.clone(), reason)
        }
        Exit::None => match plan.steps.last_mut() {
            Some(last) => {
                last.reason.push_str(&left_out);
                plan
            }
            None => plan.or_refuse(
                NOTHING_LEFT_STATUS,
                "no model is available",
                ["no model may be called", &left_out].concat(),
            ),
        },
    }
}

fn standing(settings: &Settings, knocks: bool, facts: &ModelFacts) -> Standing {
    if facts.breaker == BreakerState::ForcedOpen {
        return Standing::Down {
            why: "breaker is held open by an operator",
            last_hope: None,
        };
    }
    if !facts.healthy {
        return Standing::Down {
            why: "health probe or operator says down",
            // A probe may be wrong; an open breaker has seen real calls fail.
            last_hope: Some(if facts.breaker.lets_pass() { 0 } else { 2 }),
        };
    }
    match facts.breaker {
        BreakerState::Open if knocks => {
            Standing::Fine("breaker is open: asked whether a trial call may pass".into())
        }
        BreakerState::Open => Standing::Down {
            why: "breaker is open",
            last_hope: Some(1),
        },
        BreakerState::HalfOpen => {
            Standing::Fine("breaker is half-open: keeps its place for trial calls".into())
        }
        _ => measured(settings, facts),
    }
}

/// Judges a model whose calls pass by how they went.
fn measured(settings: &Settings, facts: &ModelFacts) -> Standing {
    let errors = match &facts.errors {
        Evidence::Known(errors) => errors,
        Evidence::Missing(why) => return Standing::Fine(text::no_evidence(why)),
        Evidence::NotAsked => return Standing::Fine(text::no_evidence("not asked")),
    };
    let rate = errors.rate().unwrap_or(0.0);
    let enough = u64::from(settings.trials_min);
    if errors.trials >= enough && rate > settings.error_rate_max {
        let reason = text::errors_above(errors, settings.window_s, settings.error_rate_max);
        return Standing::Troubled(rate, reason);
    }
    if let (Some(line), Evidence::Known(latency)) = (settings.latency_p95_ms_max, &facts.latency)
        && latency.samples >= enough
        && latency.value > f64::from(line)
    {
        let reason = text::latency_above(latency, settings.window_s, line);
        return Standing::Troubled(rate, reason);
    }
    Standing::Fine(text::errors(errors, settings.window_s, enough))
}

fn call(settings: &Settings, model: String) -> CallStep {
    CallStep::to(model)
        .retries(settings.retries)
        .timeout_ms(settings.timeout_ms)
        .first_token_ms(settings.first_token_ms)
}
