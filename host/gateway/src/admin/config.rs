//! The configuration: what was applied, what was refused, reload.

use super::AdminState;
use super::error::ApiError;
use crate::reload::ConfigStatus;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

/// `GET /admin/v1/config`.
#[utoipa::path(get, path = "/config", tag = "configuration", summary = "Shows what became of the configuration",
    responses((status = 200, body = ConfigStatus, description = "What serves, and why the last reload was refused")))]
pub(super) async fn status(State(state): State<AdminState>) -> Json<Value> {
    Json(json!(*state.reloader.status()))
}

/// `POST /admin/v1/reload`: reads the configuration again and answers when it
/// was applied or refused. Requests that arrive while one runs share the next.
#[utoipa::path(post, path = "/reload", tag = "configuration", summary = "Reads the configuration again",
    responses((status = 200, body = ConfigStatus, description = "It was applied")))]
pub(super) async fn reload(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    match state.reloader.reload().await {
        Ok(status) if status.synchronized => Ok(Json(json!(*status))),
        Ok(status) => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "config_refused",
            format!(
                "the configuration was refused; the last good one still serves\n{}",
                status.mistakes.join("\n")
            ),
        )
        .with("mistakes", json!(status.mistakes))),
        Err(error) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            error.to_string(),
        )),
    }
}
