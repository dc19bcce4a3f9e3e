//! Labelled answers: the history that thresholds are calibrated on.

use super::error::ApiError;
use super::openapi::AnswerList;
use super::{AdminState, page};
use crate::feedback::truth;
use crate::store::{Fact, RememberedAnswer};
use crate::trail::RequestId;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Of this route.
    route: String,
    /// At most so many requests; 50 without it, never more than 200.
    limit: Option<u32>,
    /// `next` of the previous page.
    after: Option<String>,
}

/// `GET /admin/v1/answers`: those of which somebody said whether they were
/// right, newest first. Of one request there may be several: answers that were
/// escalated come with the one that was delivered, where the truth is known.
#[utoipa::path(get, path = "/answers", tag = "evidence", summary = "Lists labelled answers",
    params(ListQuery),
    responses((status = 200, body = inline(AnswerList), description = "Newest first")))]
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let before = match &query.after {
        None => None,
        Some(id) => Some(
            u64::from_str_radix(id, 16)
                .map(RequestId)
                .map_err(|_| ApiError::invalid("`after` is no `next` of a page"))?,
        ),
    };
    let limit = page(query.limit);
    let found = state
        .store
        .labelled_answers(&query.route, before, limit)
        .await?;
    let has_more = found.len() == limit as usize;
    let next = found.last().map(|(answer, _)| answer.request.to_string());
    let data: Vec<Value> = found
        .iter()
        .flat_map(|(answer, facts)| rows(answer, facts))
        .collect();
    Ok(Json(
        json!({"data": data, "has_more": has_more, "next": next}),
    ))
}

/// The answers of one request.
fn rows(answer: &RememberedAnswer, facts: &[Fact]) -> Vec<Value> {
    let (right, truth) = truth(answer, facts);
    let segments: Map<String, Value> = answer
        .segments
        .iter()
        .map(|segment| (segment.tag.to_string(), json!(&*segment.value)))
        .collect();
    let row = |model: &str, release: &str, confidence, label, correct, delivered| {
        json!({
            "request": answer.request.to_string(),
            "arrived_ms": answer.arrived_ms,
            "route": &*answer.route,
            "model": model,
            "release": release,
            "confidence": confidence,
            "label": label,
            "truth": truth,
            "correct": correct,
            "delivered": delivered,
            "segments": segments,
        })
    };
    let mut rows = vec![row(
        &answer.model,
        &answer.release,
        answer.confidence,
        answer.label.as_deref(),
        right,
        true,
    )];
    if let Some(truth) = &truth {
        rows.extend(answer.passed_over.iter().map(|one| {
            let right = Some(one.label == *truth);
            let label = Some(&*one.label);
            row(
                &one.model,
                &one.release,
                Some(one.confidence),
                label,
                right,
                false,
            )
        }));
    }
    rows
}
