//! Objectives: how they stand, with the numbers of every window.

use super::AdminState;
use super::error::ApiError;
use super::openapi::Listed;
use crate::objectives::ObjectiveReport;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

/// `GET /admin/v1/objectives`.
#[utoipa::path(get, path = "/objectives", tag = "objectives", summary = "Lists the objectives with their alerts",
    responses((status = 200, body = inline(Listed<ObjectiveReport>), description = "By name")))]
pub(super) async fn list(State(state): State<AdminState>) -> Json<Value> {
    Json(json!({"data": state.control.objectives()}))
}

/// `GET /admin/v1/objectives/{name}`.
#[utoipa::path(get, path = "/objectives/{name}", tag = "objectives", summary = "Returns an objective",
    params(("name" = String, Path)),
    responses((status = 200, body = ObjectiveReport, description = "How it stands")))]
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut all = state.control.objectives().into_iter();
    match all.find(|report| report.name == name) {
        Some(report) => Ok(Json(json!(report))),
        None => Err(ApiError::not_found("objective", &name)),
    }
}
