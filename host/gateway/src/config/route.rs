//! `[routes.NAME]`: what callers ask for.

use super::Name;
use super::model::Model;
use super::rules::Rules;
use backstop_core::fault::FailureClasses;
use backstop_core::plan::{Action, CallStep, Plan, STEPS_MAX, Step};
use http::HeaderName;
use std::sync::Arc;
use std::time::Duration;

/// A named AI capability.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name: the `model` of a chat request, or the last part of
    /// `/v1/predict/{route}`.
    pub name: Name,
    /// What it speaks.
    pub kind: RouteKind,
    /// Its models in the order of preference.
    pub models: Vec<Arc<Model>>,
    /// Its rules in the order of preference.
    pub rules: Vec<Arc<Rules>>,
    /// Whether requests may be sent to people.
    pub review: bool,
    /// The policy that plans; without one the default plan is executed.
    pub fallback: Option<Name>,
    /// The policy that judges answers; without one all are accepted.
    pub threshold: Option<Name>,
    /// Longest times of one attempt.
    pub timeouts: Timeouts,
    /// How calls are repeated.
    pub retry: Retry,
    /// Facts that policies see, by name.
    pub tags: Vec<(Name, FactSource)>,
    /// What ties a caller to a release; without it, or where it is absent from
    /// a request, each request is split on its own.
    pub sticky: Option<FactSource>,
    /// The plan of a route without a fallback policy, and of one whose policy
    /// failed: the models in order, then the first rules, else review. Passes
    /// [`Plan::check`]; with neither models, rules nor review there is no route.
    pub default_plan: Arc<Plan>,
}

/// What a route speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// OpenAI's chat completions.
    Chat,
    /// Any JSON.
    Json,
}

impl RouteKind {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteKind::Chat => "chat",
            RouteKind::Json => "json",
        }
    }
}

/// Longest times of one attempt; a plan's step may ask for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The attempt as a whole.
    pub total: Duration,
    /// Until the first token of a stream or the head of a response.
    pub first_token: Duration,
    /// Between two pieces of a stream.
    pub idle: Duration,
}

/// How a call is repeated before the plan goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Repetitions of each call of the default plan, 0 to 5. Plans of
    /// policies say their own.
    pub retries: u8,
    /// Wait before the first repetition.
    pub backoff: Duration,
    /// What each further wait is multiplied by, at least 1.
    pub backoff_multiplier: f64,
    /// No wait is longer, unless the provider asked for it.
    pub backoff_max: Duration,
    /// Share of a wait by which it is lengthened or shortened at random, 0 to 1.
    pub backoff_jitter: f64,
    /// A provider that asks for a longer wait (`Retry-After`) is not called
    /// again; the plan goes on.
    pub retry_after_max: Duration,
}

/// Where a fact about a request is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactSource {
    /// In a header.
    Header(HeaderName),
    /// In the JSON body, at this pointer (RFC 6901).
    Body(Arc<str>),
}

/// The plan of a route on its own: see [`Route::default_plan`]. A plan holds
/// 16 steps, so that of more models the first 15 are tried.
pub(super) fn default_plan(
    models: &[Arc<Model>],
    rules: &[Arc<Rules>],
    review: bool,
    retries: u8,
) -> Plan {
    let mut steps: Vec<Step> = models
        .iter()
        .take(STEPS_MAX - 1)
        .enumerate()
        .map(|(index, model)| Step {
            action: Action::Call(CallStep {
                model: model.name.to_string(),
                timeout_ms: 0,
                first_token_ms: 0,
                retries,
                move_on: FailureClasses::MODEL_FAULTS,
            }),
            reason: format!("default plan: model {} of the route", index + 1),
        })
        .collect();
    if let Some(rules) = rules.first() {
        steps.push(Step {
            action: Action::Rules(rules.name.to_string()),
            reason: "default plan: no model answered".into(),
        });
    } else if review {
        steps.push(Step {
            action: Action::Review {
                note: "no model answered".into(),
            },
            reason: "default plan: no model answered".into(),
        });
    }
    Plan { steps }
}
