//! Incidents: list and close.

use super::error::ApiError;
use super::policies::JsonBody;
use super::{AdminState, page};
use crate::store::IncidentState;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    state: Option<IncidentState>,
    limit: Option<u32>,
}

/// `GET /admin/v1/incidents`, newest first.
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let incidents = state
        .store
        .incidents(query.state, page(query.limit))
        .await?;
    Ok(Json(json!({
        "data": incidents,
        "dropped": state.incidents.dropped(),
    })))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct CloseRequest {
    by: Option<String>,
}

/// `POST /admin/v1/incidents/{id}/close`, with an optional body
/// `{"by": "…"}`. The next report of the problem opens a new incident.
pub(super) async fn close(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let number: u64 = id
        .parse()
        .map_err(|_| ApiError::not_found("incident", &id))?;
    let asked: JsonBody<CloseRequest> = if body.is_empty() {
        Ok(Json(CloseRequest::default()))
    } else {
        Json::from_bytes(&body)
    };
    let Json(asked) = asked?;
    Ok(Json(json!(state.incidents.close(number, asked.by).await?)))
}
