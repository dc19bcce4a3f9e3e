//! Incidents: list and close.

use super::error::ApiError;
use super::openapi::{IncidentList, IncidentView};
use super::policies::JsonBody;
use super::{AdminState, page};
use crate::store::IncidentState;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those of this state.
    state: Option<IncidentState>,
    /// At most so many; 50 without it, never more than 200.
    limit: Option<u32>,
}

/// `GET /admin/v1/incidents`, newest first.
#[utoipa::path(get, path = "/incidents", tag = "incidents", summary = "Lists the incidents",
    params(ListQuery),
    responses((status = 200, body = inline(IncidentList), description = "Newest first")))]
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

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CloseRequest {
    /// Who asks.
    by: Option<String>,
}

/// `POST /admin/v1/incidents/{id}/close`, with an optional body
/// `{"by": "…"}`. The next report of the problem opens a new incident.
#[utoipa::path(post, path = "/incidents/{id}/close", tag = "incidents", summary = "Closes an incident",
    params(("id" = u64, Path)), request_body = Option<CloseRequest>,
    responses((status = 200, body = IncidentView, description = "The incident, closed")))]
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
