//! Policies: list, activate, roll back, history.

use super::error::ApiError;
use super::openapi::{Activated, History, Listed, PolicyView};
use super::{AdminState, now_ms, page};
use crate::chain::chain;
use crate::config::ComponentSource;
use crate::gateway::last_revision;
use crate::store::Activation;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use backstop::{
    ActivationRequest, FailurePolicy, Grants, Isolation, Limits, PolicyOptions, RevertPolicy,
    RevisionInfo,
};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Who is noted for an activation whose request names nobody.
const NOBODY: &str = "admin";

/// `GET /admin/v1/policies`.
#[utoipa::path(get, path = "/policies", tag = "policies", summary = "Lists the policies",
    responses((status = 200, body = inline(Listed<PolicyView>), description = "How each is doing, and the revision that serves")))]
pub(super) async fn list(State(state): State<AdminState>) -> Json<Value> {
    Json(json!({"data": state.host.policies()}))
}

/// `GET /admin/v1/policies/{name}`.
#[utoipa::path(get, path = "/policies/{name}", tag = "policies", summary = "Shows a policy",
    params(("name" = String, Path)),
    responses((status = 200, body = inline(PolicyView), description = "How it is doing, and the revision that serves")))]
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    state
        .host
        .policies()
        .into_iter()
        .find(|policy| *policy.name == *name)
        .map(|policy| Json(json!(policy)))
        .ok_or_else(|| ApiError::not_found("policy", &name))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// At most so many; 50 without it, never more than 200.
    limit: Option<u32>,
}

/// `GET /admin/v1/policies/{name}/history`: activations, newest first, of
/// earlier processes too. Numbers of revisions go on over restarts; `ready` are
/// those that this process can go back to.
#[utoipa::path(get, path = "/policies/{name}/history", tag = "policies", summary = "Lists the activations of a policy",
    params(("name" = String, Path), HistoryQuery),
    responses((status = 200, body = inline(History), description = "Newest first")))]
pub(super) async fn history(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let activations = state.store.activations(&name, page(query.limit)).await?;
    let policies = state.host.policies();
    let policy = policies.iter().find(|policy| *policy.name == *name);
    if policy.is_none() && activations.is_empty() {
        return Err(ApiError::not_found("policy", &name));
    }
    Ok(Json(json!({
        "policy": name,
        "serving": policy.map(|policy| policy.serving.number),
        "ready": policy.map(|policy| &policy.ready),
        "data": activations,
    })))
}

/// A request to activate, as JSON. Options that are left out stay as they are
/// in the revision that serves, or take their defaults for a new policy.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ActivateRequest {
    /// A component file on the gateway's machine.
    #[schema(value_type = Option<String>)]
    path: Option<PathBuf>,
    /// A shipped policy.
    builtin: Option<String>,
    /// Checked by the policy itself.
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
    /// As `[policies.NAME.grants]` of the configuration.
    #[schema(value_type = Option<Object>)]
    grants: Option<Grants>,
    /// As `[policies.NAME.limits]` of the configuration.
    #[schema(value_type = Option<Object>)]
    limits: Option<Limits>,
    /// As `[policies.NAME.on_failure]` of the configuration.
    #[schema(value_type = Option<Object>)]
    on_failure: Option<FailurePolicy>,
    /// As `[policies.NAME.revert]` of the configuration.
    #[schema(value_type = Option<Object>)]
    revert: Option<RevertPolicy>,
    /// `fresh`, `reset` or `warm`.
    #[schema(value_type = Option<String>)]
    isolation: Option<Isolation>,
    /// Who asks.
    by: Option<String>,
    /// Go through all steps but the swap.
    check: bool,
}

impl ActivateRequest {
    fn options(&mut self, serving: Option<PolicyOptions>) -> PolicyOptions {
        let base = serving.unwrap_or_default();
        PolicyOptions {
            settings: self.settings.take().unwrap_or(base.settings),
            grants: self.grants.take().unwrap_or(base.grants),
            limits: self.limits.unwrap_or(base.limits),
            on_failure: self.on_failure.unwrap_or(base.on_failure),
            revert: self.revert.unwrap_or(base.revert),
            isolation: self.isolation.unwrap_or(base.isolation),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ActivateQuery {
    /// For `application/wasm`: the JSON form's options, as JSON.
    options: Option<String>,
}

/// `POST /admin/v1/policies/{name}/activate`.
///
/// The body is a component (`application/wasm`; options as JSON in the query
/// `options`), or JSON that says where to find one.
#[utoipa::path(post, path = "/policies/{name}/activate", tag = "policies", summary = "Activates a revision of a policy",
    params(("name" = String, Path), ActivateQuery),
    request_body(content((ActivateRequest = "application/json"), (Vec<u8> = "application/wasm"))),
    responses((status = 200, body = inline(Activated), description = "The revision that serves now, or that passed the check")))]
pub(super) async fn activate(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    query: Result<Query<ActivateQuery>, QueryRejection>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let Ok(_upload) = state.uploads.try_acquire() else {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many activations at once; try again",
        ));
    };
    let body = read_body(request, &state).await?;
    let (component, source, mut asked) = component(&state, &headers, query, body).await?;
    let serving = state
        .host
        .policy(&name)
        .map(|policy| policy.serving().options);
    let request = ActivationRequest {
        options: asked.options(serving),
        points: state.control.points(&name),
        number_before: last_revision(&*state.store, &name).await,
    };
    if asked.check {
        let revision = state.host.check(&name, component, request).await?;
        return Ok(Json(json!({"checked": true, "revision": revision})));
    }
    let revision = state.host.activate(&name, component, request).await?;
    let by = asked.by.as_deref().unwrap_or(NOBODY);
    let noted = note(&state, &revision, by, &source).await;
    Ok(Json(json!({"revision": revision, "history_kept": noted})))
}

async fn read_body(request: axum::extract::Request, state: &AdminState) -> Result<Bytes, ApiError> {
    use axum::extract::FromRequest;
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection: BytesRejection| {
            let message = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                format!(
                    "the component is larger than {} bytes (`sandbox.component_bytes_max`)",
                    state.component_bytes_max
                )
            } else {
                rejection.body_text()
            };
            ApiError::new(rejection.status(), "invalid_request", message)
        })
}

async fn component(
    state: &AdminState,
    headers: &HeaderMap,
    query: ActivateQuery,
    body: Bytes,
) -> Result<(Arc<[u8]>, String, ActivateRequest), ApiError> {
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or_else(String::new, |value| value.trim().to_ascii_lowercase());
    match media_type.as_str() {
        "application/wasm" => {
            let asked = match &query.options {
                Some(options) => parse(options.as_bytes())?,
                None => ActivateRequest::default(),
            };
            if asked.path.is_some() || asked.builtin.is_some() {
                return Err(ApiError::invalid(
                    "the body is the component; `path` and `builtin` are for JSON bodies",
                ));
            }
            Ok((Arc::from(&body[..]), "upload".to_owned(), asked))
        }
        "application/json" => {
            let asked = parse(&body)?;
            let source = match (&asked.path, &asked.builtin) {
                (Some(path), None) => ComponentSource::File(path.clone()),
                (None, Some(name)) => ComponentSource::Builtin(name.as_str().into()),
                _ => {
                    return Err(ApiError::invalid(
                        "give one of `path` and `builtin`, or send the component \
                         itself as `application/wasm`",
                    ));
                }
            };
            let component = state
                .control
                .load_component(&source, state.component_bytes_max)
                .await?;
            Ok((component, source.to_string(), asked))
        }
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send a component as `application/wasm`, or JSON as `application/json`",
        )),
    }
}

fn parse(json: &[u8]) -> Result<ActivateRequest, ApiError> {
    serde_json::from_slice(json)
        .map_err(|error| ApiError::invalid(format!("activation request: {error}")))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RollBackRequest {
    /// Number of the revision; the one before without it.
    to: Option<u64>,
    /// Who asks.
    by: Option<String>,
}

/// `POST /admin/v1/policies/{name}/rollback`, with an optional body
/// `{"to": N, "by": "…"}`.
#[utoipa::path(post, path = "/policies/{name}/rollback", tag = "policies", summary = "Goes back to an earlier revision",
    params(("name" = String, Path)), request_body = Option<RollBackRequest>,
    responses((status = 200, body = inline(Activated), description = "The revision that serves now")))]
pub(super) async fn roll_back(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let asked: RollBackRequest = if body.is_empty() {
        RollBackRequest::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| ApiError::invalid(format!("roll-back request: {error}")))?
    };
    let points = state.control.points(&name);
    let revision = state.host.roll_back_where_asked(&name, asked.to, &points)?;
    let by = asked.by.as_deref().unwrap_or(NOBODY);
    let noted = note(&state, &revision, by, "roll-back").await;
    Ok(Json(json!({"revision": revision, "history_kept": noted})))
}

/// Keeps an activation. The swap has happened and counts, whatever becomes of
/// the note about it; the reply says so.
async fn note(state: &AdminState, revision: &RevisionInfo, by: &str, source: &str) -> bool {
    let activation = Activation::of(revision, now_ms(), by, source);
    match state.store.add_activation(activation).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(
                policy = &*revision.policy,
                revision = revision.number,
                error = chain(&error),
                "activation not kept in the history"
            );
            false
        }
    }
}

/// JSON bodies of other parts of the API, with this API's error.
pub(super) type JsonBody<T> = Result<Json<T>, JsonRejection>;
