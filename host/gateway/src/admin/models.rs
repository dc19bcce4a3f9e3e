//! Models, their releases and their rollouts.

use super::error::ApiError;
use super::openapi::{Listed, RolloutList};
use super::policies::JsonBody;
use super::{AdminState, ModelStatus, RolloutCommand, RolloutStatus};
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Newest events that are shown with the rollouts.
const EVENTS_SHOWN: u32 = 50;

/// `GET /admin/v1/models`.
#[utoipa::path(get, path = "/models", tag = "models", summary = "Lists the models with their releases",
    responses((status = 200, body = inline(Listed<ModelStatus>), description = "By name")))]
pub(super) async fn list(State(state): State<AdminState>) -> Json<Value> {
    Json(json!({"data": state.control.models()}))
}

/// `GET /admin/v1/rollouts`: where they stand, and what happened lately.
#[utoipa::path(get, path = "/rollouts", tag = "models", summary = "Lists the rollouts and what happened lately",
    responses((status = 200, body = inline(RolloutList), description = "By model; events newest first")))]
pub(super) async fn rollouts(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let events = state.store.rollout_events(None, EVENTS_SHOWN).await?;
    let rollouts = state.control.rollouts();
    Ok(Json(json!({"data": rollouts, "events": events})))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CommandRequest {
    /// Who asks.
    by: Option<String>,
}

/// `POST /admin/v1/rollouts/{model}/{command}`, with an optional body
/// `{"by": "…"}`.
#[utoipa::path(post, path = "/rollouts/{model}/{command}", tag = "models", summary = "Commands a rollout",
    params(("model" = String, Path), ("command" = RolloutCommand, Path)),
    request_body = Option<CommandRequest>,
    responses((status = 200, body = RolloutStatus, description = "Where it stands now")))]
pub(super) async fn command(
    State(state): State<AdminState>,
    Path((model, command)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    let command: RolloutCommand = serde_json::from_value(json!(command)).map_err(|_| {
        ApiError::not_found("rollout command", &command)
            .with("commands", json!(["pause", "resume", "abort", "promote"]))
    })?;
    let asked: JsonBody<CommandRequest> = if body.is_empty() {
        Ok(Json(CommandRequest::default()))
    } else {
        Json::from_bytes(&body)
    };
    let Json(asked) = asked?;
    tracing::info!(
        model,
        command = command.as_str(),
        by = asked.by,
        "rollout command"
    );
    let status = state
        .control
        .command_rollout(&model, command, asked.by)
        .await?;
    Ok(Json(json!(status)))
}
