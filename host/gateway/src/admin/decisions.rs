//! The newest decisions.

use super::error::ApiError;
use super::openapi::DecisionList;
use super::{AdminState, page};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use backstop::record::{Input, Output, RunOutcome};
use backstop::{DecisionId, DecisionPoint, DecisionRecord};
use backstop_core::plan::Action;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// At most so many; 50 without it, never more than 200.
    limit: Option<u32>,
    /// Only those of this policy.
    policy: Option<String>,
    /// Only those about this route, or about this model's rollout.
    route: Option<String>,
    /// `fallback`, `threshold` or `rollback`.
    #[param(value_type = Option<String>)]
    point: Option<DecisionPoint>,
}

/// `GET /admin/v1/decisions`: a line for each of the newest, newest first.
#[utoipa::path(get, path = "/decisions", tag = "decisions", summary = "Lists the newest decisions",
    params(ListQuery),
    responses((status = 200, body = inline(DecisionList), description = "A line for each, newest first")))]
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let limit = page(query.limit) as usize;
    let records = state.host.records();
    let unfiltered = query.policy.is_none() && query.route.is_none() && query.point.is_none();
    // What the filter drops must not shorten the page; the ring is bounded.
    let newest = records.newest(if unfiltered { limit } else { usize::MAX });
    let data: Vec<_> = newest
        .iter()
        .filter(|record| query.wants(record))
        .take(limit)
        .map(|record| summary(record))
        .collect();
    Ok(Json(json!({"data": data, "dropped": records.dropped()})))
}

impl ListQuery {
    fn wants(&self, record: &DecisionRecord) -> bool {
        let of_policy = self
            .policy
            .as_deref()
            .is_none_or(|policy| *record.revision.policy == *policy);
        let of_route = self
            .route
            .as_deref()
            .is_none_or(|route| subject(&record.input).1 == route);
        of_policy && of_route && self.point.is_none_or(|point| record.input.point() == point)
    }
}

/// `GET /admin/v1/decisions/{id}`: the whole record and, when the request has
/// ended that it was made for, its attempts.
#[utoipa::path(get, path = "/decisions/{id}", tag = "decisions", summary = "Shows the record of a decision",
    params(("id" = String, Path, description = "16 hexadecimal digits")),
    responses((status = 200, body = serde_json::Value, description = "Everything that went into it and came out of it; `request` and `attempts` of the request that it was made for, once that has ended")))]
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let parsed: DecisionId = id
        .parse()
        .map_err(|_| ApiError::invalid("a decision's id is 16 hexadecimal digits"))?;
    match state.host.records().get(parsed) {
        Some(record) => {
            let mut whole = json!(*record);
            let requests = state.telemetry.requests();
            let about = requests.newest(1, |request| request.is_about(parsed)).pop();
            if let (Some(whole), Some(request)) = (whole.as_object_mut(), about) {
                whole.insert("request".to_owned(), json!(request.id));
                whole.insert("attempts".to_owned(), json!(request.attempts));
            }
            Ok(Json(whole))
        }
        None => Err(ApiError::not_found("decision", &id)),
    }
}

/// What a list shows of a record.
fn summary(record: &DecisionRecord) -> Value {
    let (kind, name) = subject(&record.input);
    let (applied, reason) = told(&record.applied);
    let failure = match &record.outcome {
        RunOutcome::Failed { kind, detail, .. } => Some(json!({"kind": kind, "detail": detail})),
        _ => None,
    };
    json!({
        "id": record.id,
        "at_ms": record.moment.now_ms,
        "point": record.input.point(),
        "policy": record.revision.policy,
        "revision": record.revision.number,
        kind: name,
        "decided_by": record.decided_by,
        "applied": applied,
        "reason": reason,
        "failure": failure,
        "fuel": record.cost.fuel,
        "guest_ns": record.cost.guest_ns,
        "host_ns": record.cost.host_ns,
    })
}

/// What a decision is about: a route, or a model for rollouts.
fn subject(input: &Input) -> (&'static str, &str) {
    match input {
        Input::Fallback(request) | Input::Threshold(request, _) => ("route", &request.route),
        Input::Rollback(rollout) => ("model", &rollout.model),
    }
}

/// What was applied, in a few words, and why.
fn told(output: &Output) -> (String, String) {
    match output {
        Output::Plan(plan) => {
            let steps: Vec<_> = plan.steps.iter().map(|step| word(&step.action)).collect();
            let reason = plan.steps.first().map(|step| step.reason.clone());
            (steps.join(" → "), reason.unwrap_or_default())
        }
        Output::Verdict(verdict) => (verdict.outcome.as_str().to_owned(), verdict.reason.clone()),
        Output::Assessment(assessment) => (
            assessment.directive.as_str().to_owned(),
            assessment.reason.clone(),
        ),
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Call(call) => call.model.to_string(),
        Action::Race(race) => {
            let models: Vec<_> = race.calls.iter().map(|call| &*call.model).collect();
            format!("race({})", models.join(", "))
        }
        Action::Rules(rules) => format!("rules({rules})"),
        Action::Review { .. } => "review".to_owned(),
        Action::Refuse { status, .. } => format!("refuse({status})"),
    }
}
