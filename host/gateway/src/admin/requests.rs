//! The newest requests, each with what was tried for it.

use super::error::ApiError;
use super::{AdminState, page};
use crate::telemetry::RequestOutcome;
use crate::trail::RequestRecord;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// At most so many; 50 without it, never more than 200.
    limit: Option<u32>,
    /// Only those to this route; `-` for those that found none.
    route: Option<String>,
    /// Only those that ended so, for example `failed`.
    outcome: Option<String>,
}

/// The newest requests.
#[derive(Serialize, ToSchema)]
pub(super) struct RequestList {
    #[schema(value_type = Vec<RequestRecord>)]
    data: Vec<Arc<RequestRecord>>,
    /// Records that newer ones have pushed out.
    dropped: u64,
}

/// `GET /admin/v1/requests`: the newest requests that have ended.
#[utoipa::path(get, path = "/requests", tag = "requests", summary = "Lists the newest requests with their attempts",
    params(ListQuery),
    responses((status = 200, body = inline(RequestList), description = "Requests that have ended, newest first")))]
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<RequestList>, ApiError> {
    let Query(query) = query?;
    let outcome = query.outcome.as_deref().map(outcome).transpose()?;
    let requests = state.telemetry.requests();
    let data = requests.newest(page(query.limit) as usize, |record| {
        let of_route = (query.route.as_deref()).is_none_or(|route| *record.route == *route);
        of_route && outcome.is_none_or(|outcome| record.outcome == outcome)
    });
    let dropped = requests.dropped();
    Ok(Json(RequestList { data, dropped }))
}

fn outcome(word: &str) -> Result<RequestOutcome, ApiError> {
    let mut known = RequestOutcome::ALL.into_iter();
    known
        .find(|outcome| outcome.as_str() == word)
        .ok_or_else(|| {
            let words = RequestOutcome::ALL.map(RequestOutcome::as_str);
            ApiError::invalid(format!("`outcome` is one of {}", words.join(", ")))
        })
}

/// `GET /admin/v1/requests/{id}`: one request.
#[utoipa::path(get, path = "/requests/{id}", tag = "requests", summary = "Shows a request with its attempts",
    params(("id" = String, Path, description = "As in `x-backstop-request`, or the caller's own `x-request-id`")),
    responses((status = 200, body = RequestRecord, description = "What was tried for it, and what came of it")))]
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<RequestRecord>, ApiError> {
    match state.telemetry.requests().get(&id) {
        Some(record) => Ok(Json((*record).clone())),
        None => Err(ApiError::not_found("request", &id)),
    }
}
