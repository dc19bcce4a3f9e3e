//! The checks that a host makes before it applies a decision, and a short way
//! to write a plan in an assertion.

use crate::{Action, Assessment, CallStep, Directive, Plan, Request, Rollout, Verdict};

/// Most steps of a plan.
const STEPS_MAX: usize = 16;
/// Longest timeout of one attempt.
const TIMEOUT_MS_MAX: u32 = 600_000;
/// Most retries of one step.
const RETRIES_MAX: u8 = 5;
/// Longest stagger of a race.
const STAGGER_MS_MAX: u32 = 60_000;

/// Checks a plan as a host does before it executes it.
///
/// # Errors
/// Says which step is wrong and how.
pub fn check_plan(plan: &Plan, request: &Request) -> Result<(), String> {
    let steps = plan.steps.len();
    if !(1..=STEPS_MAX).contains(&steps) {
        return Err(format!("plan has {steps} steps, must be 1 to {STEPS_MAX}"));
    }
    let models: Vec<String> = request
        .candidates()
        .into_iter()
        .map(|candidate| candidate.model)
        .collect();
    for (index, step) in plan.steps.iter().enumerate() {
        let last = index + 1 == steps;
        let ends = !matches!(step.action, Action::Call(_) | Action::Race(_));
        if ends && !last {
            return Err(format!("step {index} ends the plan, but steps follow"));
        }
        check_action(&step.action, &models, request)
            .map_err(|why| format!("step {index}: {why}"))?;
    }
    Ok(())
}

fn check_action(action: &Action, models: &[String], request: &Request) -> Result<(), String> {
    match action {
        Action::Call(call) => check_call(call, models),
        Action::Race(race) => {
            if !(2..=4).contains(&race.calls.len()) {
                return Err(format!("races {} calls, must be 2 to 4", race.calls.len()));
            }
            if race.stagger_ms > STAGGER_MS_MAX {
                return Err(format!("`stagger-ms` is above {STAGGER_MS_MAX}"));
            }
            for (index, call) in race.calls.iter().enumerate() {
                check_call(call, models)?;
                if race.calls[..index]
                    .iter()
                    .any(|other| other.model == call.model)
                {
                    return Err(format!("races model `{}` against itself", call.model));
                }
            }
            Ok(())
        }
        Action::Rules(rules) if !request.rules().contains(rules) => {
            Err(format!("the route has no rules `{rules}`"))
        }
        Action::Review(_) if !request.has_review() => Err("the route has no review queue".into()),
        Action::Refuse(refusal) if !(400..=599).contains(&refusal.status) => Err(format!(
            "`status` is {}, must be 400 to 599",
            refusal.status
        )),
        Action::Rules(_) | Action::Review(_) | Action::Refuse(_) => Ok(()),
    }
}

fn check_call(call: &CallStep, models: &[String]) -> Result<(), String> {
    if !models.contains(&call.model) {
        return Err(format!("the route has no model `{}`", call.model));
    }
    for (field, value) in [
        ("timeout-ms", call.timeout_ms),
        ("first-token-ms", call.first_token_ms),
    ] {
        if value > TIMEOUT_MS_MAX {
            return Err(format!(
                "`{field}` is {value}, must be at most {TIMEOUT_MS_MAX}"
            ));
        }
    }
    if call.retries > RETRIES_MAX {
        return Err(format!(
            "`retries` is {}, must be at most {RETRIES_MAX}",
            call.retries
        ));
    }
    Ok(())
}

/// Checks a verdict as a host does before it applies it.
///
/// # Errors
/// Says which value is outside [0, 1].
pub fn check_verdict(verdict: &Verdict) -> Result<(), String> {
    for (field, value) in [("confidence", verdict.confidence), ("line", verdict.line)] {
        if let Some(value) = value
            && !(0.0..=1.0).contains(&value)
        {
            return Err(format!("`{field}` is {value}, must be 0 to 1"));
        }
    }
    Ok(())
}

/// Checks an assessment as a host does before it applies it.
///
/// # Errors
/// Names the release that is not ready.
pub fn check_assessment(assessment: &Assessment, rollout: &Rollout) -> Result<(), String> {
    match &assessment.directive {
        Directive::RollBack(Some(release)) if !rollout.ready_releases().contains(release) => {
            Err(format!("release `{release}` is not ready"))
        }
        _ => Ok(()),
    }
}

/// A plan in one line, without the reasons: `big, race(a b), rules(sorry)`.
///
/// ```
/// use backstop_sdk::{Plan, testing::outline};
///
/// let plan = Plan::new().call("big", "first").or_review("unsure", "last");
/// assert_eq!(outline(&plan), "big, review");
/// ```
pub fn outline(plan: &Plan) -> String {
    let steps: Vec<String> = plan
        .steps
        .iter()
        .map(|step| match &step.action {
            Action::Call(call) => call.model.clone(),
            Action::Race(race) => {
                let models: Vec<_> = race.calls.iter().map(|call| call.model.as_str()).collect();
                let word = if race.stagger_ms == 0 {
                    "race"
                } else {
                    "hedge"
                };
                format!("{word}({})", models.join(" "))
            }
            Action::Rules(rules) => format!("rules({rules})"),
            Action::Review(_) => "review".to_owned(),
            Action::Refuse(refusal) => format!("refuse({})", refusal.status),
        })
        .collect();
    steps.join(", ")
}
