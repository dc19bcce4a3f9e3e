//! From what a guest returned to the vocabulary of `backstop-core`.
//!
//! Only the form changes here, and text is made safe to show; whether the
//! decision may be applied is checked on the result.

use crate::bindings::{fallback, lifecycle, rollback, threshold, types};
use crate::record::Output;
use backstop_core::fault::FailureClasses;
use backstop_core::input::RequestFacts;
use backstop_core::plan::{Action, CallStep, Plan, PlanOptions, RaceStep, Step};
use backstop_core::rollout::{Assessment, Directive};
use backstop_core::text::{REASON_BYTES_MAX, sanitize};
use backstop_core::verdict::{Outcome, Verdict};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a guest's decision function returns.
pub(crate) type Returned<T> = Result<T, types::Abstention>;

fn reason(text: String) -> String {
    sanitize(text, REASON_BYTES_MAX)
}

/// The reason of an abstention.
pub(crate) fn abstention(abstention: types::Abstention) -> String {
    reason(abstention.reason)
}

/// Names are taken from `request` where it has them, which it nearly always
/// does: records are kept by the thousand, and a name that they share is not
/// allocated, and later freed, for each.
pub(crate) fn plan(plan: fallback::Plan, options: PlanOptions, request: &RequestFacts) -> Output {
    let steps = plan.steps.into_iter().map(|step| Step {
        action: action(step.action, request),
        reason: reason(step.reason),
    });
    Output::Plan(Arc::new(Plan {
        steps: steps.collect(),
        options,
    }))
}

fn action(action: fallback::Action, request: &RequestFacts) -> Action {
    match action {
        fallback::Action::Call(step) => Action::Call(call(step, request)),
        fallback::Action::Race(race) => Action::Race(RaceStep {
            calls: race
                .calls
                .into_iter()
                .map(|step| call(step, request))
                .collect(),
            stagger_ms: race.stagger_ms,
        }),
        fallback::Action::Rules(rules) => Action::Rules(known(rules, request.rules.iter())),
        fallback::Action::Review(step) => Action::Review {
            note: reason(step.note),
        },
        fallback::Action::Refuse(refusal) => Action::Refuse {
            status: refusal.status,
            message: reason(refusal.message),
        },
    }
}

/// `name` as the one of `names` that equals it, else as its own.
pub(crate) fn known<'a>(name: String, mut names: impl Iterator<Item = &'a Arc<str>>) -> Arc<str> {
    match names.find(|known| ***known == *name) {
        Some(known) => known.clone(),
        None => name.into(),
    }
}

/// The name of a model of `request`, as [`known`].
pub(crate) fn known_model(name: String, request: &RequestFacts) -> Arc<str> {
    known(name, request.candidates.iter().map(|known| &known.model))
}

fn call(step: fallback::CallStep, request: &RequestFacts) -> CallStep {
    CallStep {
        model: known_model(step.model, request),
        timeout_ms: step.timeout_ms,
        first_token_ms: step.first_token_ms,
        retries: step.retries,
        move_on: failure_classes(step.move_on),
    }
}

pub(crate) fn failure_classes(set: types::FailureClasses) -> FailureClasses {
    // One bit for each class, in the order of the contract; the test below
    // holds the two orders together.
    FailureClasses::from_bits(set.as_array()[0] as u16)
}

pub(crate) fn verdict(verdict: threshold::Verdict) -> Output {
    Output::Verdict(Verdict {
        outcome: match verdict.outcome {
            threshold::Outcome::Accept => Outcome::Accept,
            threshold::Outcome::Escalate => Outcome::Escalate,
            threshold::Outcome::Review => Outcome::Review,
        },
        reason: reason(verdict.reason),
        confidence: verdict.confidence,
        line: verdict.line,
    })
}

pub(crate) fn assessment(assessment: rollback::Assessment) -> Output {
    Output::Assessment(Assessment {
        directive: match assessment.directive {
            rollback::Directive::Hold => Directive::Hold,
            rollback::Directive::Advance => Directive::Advance,
            rollback::Directive::Promote => Directive::Promote,
            rollback::Directive::RollBack(release) => Directive::RollBack(release),
            rollback::Directive::Pause => Directive::Pause,
        },
        reason: reason(assessment.reason),
    })
}

/// Who a policy says it is. See `lifecycle.description` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name that its author gave it.
    pub name: String,
    /// Version, as its author counts.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of the settings; empty when anything goes.
    pub settings_schema: String,
    /// What it wants to be granted.
    pub wants: Vec<Want>,
}

/// One capability that a policy would like to be granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// To read metrics of this name or pattern.
    Metrics(String),
    /// To call models of this name or pattern.
    Models(String),
    /// To keep state.
    State,
    /// To raise incidents.
    Incident,
    /// To read bodies.
    Bodies,
}

impl std::fmt::Display for Want {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Want::Metrics(pattern) => write!(f, "metrics `{pattern}`"),
            Want::Models(pattern) => write!(f, "models `{pattern}`"),
            Want::State => f.write_str("state"),
            Want::Incident => f.write_str("incident"),
            Want::Bodies => f.write_str("bodies"),
        }
    }
}

/// Longest schema of settings, in bytes; see the contract.
const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Most wants; see the contract.
const WANTS_MAX: usize = 64;
/// Longest name or version; see the contract.
const NAME_BYTES_MAX: usize = 64;

/// Checks and takes over what `describe` returned.
///
/// # Errors
///
/// A text that names the field that is out of range.
pub(crate) fn description(description: lifecycle::Description) -> Result<Description, String> {
    let name = description.name;
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        let name = sanitize(name, NAME_BYTES_MAX);
        return Err(format!(
            "`name` is `{name}`, must be 1 to {NAME_BYTES_MAX} characters of a-z, 0-9 and -"
        ));
    }
    if description.version.is_empty() || description.version.len() > NAME_BYTES_MAX {
        return Err(format!(
            "`version` must have 1 to {NAME_BYTES_MAX} characters"
        ));
    }
    if description.settings_schema.len() > SCHEMA_BYTES_MAX {
        let bytes = description.settings_schema.len();
        return Err(format!(
            "`settings-schema` has {bytes} bytes, at most {SCHEMA_BYTES_MAX} are allowed"
        ));
    }
    if description.wants.len() > WANTS_MAX {
        return Err(format!(
            "{} `wants`, at most {WANTS_MAX} are allowed",
            description.wants.len()
        ));
    }
    let wants = description.wants.into_iter().map(|want| match want {
        lifecycle::Want::Metrics(pattern) => Want::Metrics(reason(pattern)),
        lifecycle::Want::Models(pattern) => Want::Models(reason(pattern)),
        lifecycle::Want::State => Want::State,
        lifecycle::Want::Incident => Want::Incident,
        lifecycle::Want::Bodies => Want::Bodies,
    });
    Ok(Description {
        name,
        version: sanitize(description.version, NAME_BYTES_MAX),
        summary: reason(description.summary),
        settings_schema: description.settings_schema,
        wants: wants.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstop_core::fault::FailureClass;

    #[test]
    fn the_flags_of_the_contract_are_in_the_order_of_the_classes() {
        let flags = [
            types::FailureClasses::CLIENT_FAULT,
            types::FailureClasses::AUTH,
            types::FailureClasses::RATE_LIMIT,
            types::FailureClasses::OVERLOAD,
            types::FailureClasses::SERVER_ERROR,
            types::FailureClasses::CONNECTION,
            types::FailureClasses::TIMEOUT_CONNECT,
            types::FailureClasses::TIMEOUT_FIRST_TOKEN,
            types::FailureClasses::TIMEOUT_IDLE,
            types::FailureClasses::TIMEOUT_TOTAL,
            types::FailureClasses::CUT_STREAM,
            types::FailureClasses::MALFORMED,
            types::FailureClasses::CONTEXT_LENGTH,
            types::FailureClasses::CONTENT_POLICY,
        ];
        for (flag, class) in flags.into_iter().zip(FailureClass::ALL) {
            assert_eq!(failure_classes(flag), FailureClasses::NONE.with(class));
        }
    }
}
