//! Policies: list, activate, roll back, history.

use super::error::ApiError;
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

/// Who is noted for an activation whose request names nobody.
const NOBODY: &str = "admin";

/// `GET /admin/v1/policies`.
pub(super) async fn list(State(state): State<AdminState>) -> Json<Value> {
    Json(json!({"data": state.host.policies()}))
}

/// `GET /admin/v1/policies/{name}`.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    limit: Option<u32>,
}

/// `GET /admin/v1/policies/{name}/history`: activations, newest first, of
/// earlier processes too. Numbers of revisions go on over restarts; `ready` are
/// those that this process can go back to.
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
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ActivateRequest {
    /// A component file on the gateway's machine.
    path: Option<PathBuf>,
    /// A shipped policy.
    builtin: Option<String>,
    settings: Option<Value>,
    grants: Option<Grants>,
    limits: Option<Limits>,
    on_failure: Option<FailurePolicy>,
    revert: Option<RevertPolicy>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActivateQuery {
    /// For `application/wasm`: the JSON form's options, as JSON.
    options: Option<String>,
}

/// `POST /admin/v1/policies/{name}/activate`.
///
/// The body is a component (`application/wasm`; options as JSON in the query
/// `options`), or JSON that says where to find one.
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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RollBackRequest {
    to: Option<u64>,
    by: Option<String>,
}

/// `POST /admin/v1/policies/{name}/rollback`, with an optional body
/// `{"to": N, "by": "…"}`.
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
