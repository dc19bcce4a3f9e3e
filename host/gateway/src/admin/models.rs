//! Models, their releases and their rollouts.

use super::error::ApiError;
use super::openapi::{Listed, RolloutList};
use super::policies::JsonBody;
use super::{AdminState, ModelStatus, RolloutCommand, RolloutStatus};
use axum::Json;
use axum::extract::{Path, State};
use backstop_core::input::BreakerState;
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakerRequest {
    /// `closed`, `open`, `half-open`, `forced-open`, `disabled` or
    /// `metrics-only`.
    #[schema(value_type = String)]
    state: BreakerState,
    /// With `open`: for so many milliseconds rather than the configured ones.
    for_ms: Option<u64>,
    /// Who asks.
    by: Option<String>,
}

/// `POST /admin/v1/models/{model}/releases/{release}/breaker`. What is forced
/// lasts until somebody says otherwise, or the release is configured anew.
#[utoipa::path(post, path = "/models/{model}/releases/{release}/breaker", tag = "models", summary = "Puts a release's breaker into a state",
    params(("model" = String, Path), ("release" = String, Path)),
    request_body = BreakerRequest,
    responses((status = 200, body = ModelStatus, description = "The model now")))]
pub(super) async fn breaker(
    State(state): State<AdminState>,
    Path((model, release)): Path<(String, String)>,
    body: JsonBody<BreakerRequest>,
) -> Result<Json<Value>, ApiError> {
    let Json(asked) = body?;
    let status = (state.control).set_breaker(&model, &release, asked.state, asked.for_ms)?;
    tracing::info!(
        model,
        release,
        state = asked.state.as_str(),
        by = asked.by,
        "breaker forced"
    );
    Ok(Json(json!(status)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthRequest {
    /// Whether steps may call the model.
    healthy: bool,
    /// Who asks.
    by: Option<String>,
}

/// `POST /admin/v1/models/{model}/health`.
#[utoipa::path(post, path = "/models/{model}/health", tag = "models", summary = "Says whether a model is up",
    params(("model" = String, Path)),
    request_body = HealthRequest,
    responses((status = 200, body = ModelStatus, description = "The model now")))]
pub(super) async fn health(
    State(state): State<AdminState>,
    Path(model): Path<String>,
    body: JsonBody<HealthRequest>,
) -> Result<Json<Value>, ApiError> {
    let Json(asked) = body?;
    let status = state.control.set_healthy(&model, asked.healthy)?;
    tracing::info!(
        model,
        healthy = asked.healthy,
        by = asked.by,
        "model marked"
    );
    Ok(Json(json!(status)))
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
