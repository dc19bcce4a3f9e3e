//! Baselines: take one from a window, bring one along, look, choose a version.

use super::AdminState;
use super::error::ApiError;
use super::evidence::{Of, shown};
use super::openapi::{BaselineList, BaselineView};
use super::policies::JsonBody;
use crate::baselines::mistakes;
use crate::config::is_name;
use crate::store::{BaselineHead, KeptBaseline, NewBaseline};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use backstop_core::evidence::baseline::Baseline;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

/// A window of evidence.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// Of a route.
    route: Option<String>,
    /// Of a model.
    model: Option<String>,
    /// Of a release of the model.
    release: Option<String>,
    /// Seconds that it reaches back, 1 to 86,400.
    window_s: u32,
    /// These metrics; all that there are without it.
    #[serde(default)]
    metrics: Vec<String>,
}

/// Where a new version comes from: `take` or `baseline`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    /// From a window of evidence.
    take: Option<Window>,
    /// As it is: `{"metrics": {"accuracy": {"reference": {"kind": "rate", …}}}}`.
    #[schema(value_type = Option<Object>)]
    baseline: Option<Baseline>,
    /// Where `baseline` comes from, for people.
    #[serde(default)]
    source: String,
    /// Who makes it.
    #[serde(default)]
    by: String,
    /// What else there is to say.
    #[serde(default)]
    note: String,
}

/// `GET /admin/v1/baselines`, all versions without what they hold.
#[utoipa::path(get, path = "/baselines", tag = "evidence", summary = "Lists baselines",
    responses((status = 200, body = inline(BaselineList), description = "The newest version of each first")))]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let heads = state.baselines.list().await?;
    Ok(Json(json!({ "data": heads, "has_more": false })))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OneQuery {
    /// This version; the one in use without it.
    version: Option<u32>,
}

/// `GET /admin/v1/baselines/{name}`.
#[utoipa::path(get, path = "/baselines/{name}", tag = "evidence", summary = "Shows a baseline with what it holds",
    params(("name" = String, Path), OneQuery),
    responses((status = 200, body = BaselineView, description = "The version")))]
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let found = state.baselines.find(&name, query.version).await?;
    let KeptBaseline { head, baseline } =
        found.ok_or_else(|| ApiError::not_found("baseline", &name))?;
    let mut told = json!(head);
    told["metrics"] = json!(baseline.metrics);
    Ok(Json(told))
}

/// `POST /admin/v1/baselines/{name}`: makes a new version and puts it to use.
#[utoipa::path(post, path = "/baselines/{name}", tag = "evidence", summary = "Makes a new version of a baseline",
    params(("name" = String, Path)), request_body = Made,
    responses((status = 200, body = BaselineHead, description = "The version, in use from now on")))]
pub(super) async fn make(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    body: JsonBody<Made>,
) -> Result<Json<Value>, ApiError> {
    let Json(made) = body?;
    if !is_name(&name) {
        return Err(ApiError::invalid(
            "a baseline's name has 1 to 64 letters, digits, `-`, `_` or `.`",
        ));
    }
    let now_ms = state.clock.now_ms();
    let store = state.evidence.store();
    let (baseline, source) = match (made.take, made.baseline) {
        (Some(window), None) => {
            let of = Of::new(window.route, window.model, window.release);
            let subject = of.subject()?;
            let taken = store.baseline(subject, &window.metrics, window.window_s, now_ms)?;
            if taken.metrics.is_empty() {
                return Err(ApiError::invalid(format!(
                    "there is no evidence of {} in the last {} s",
                    shown(subject),
                    window.window_s
                )));
            }
            let source = format!("the last {} s of {}", window.window_s, shown(subject));
            (taken, source)
        }
        (None, Some(baseline)) => {
            let mistakes = mistakes(&baseline, store);
            if !mistakes.is_empty() {
                return Err(
                    ApiError::invalid(mistakes.join("; ")).with("mistakes", json!(mistakes))
                );
            }
            (baseline, made.source)
        }
        _ => return Err(ApiError::invalid("give either `take` or `baseline`")),
    };
    let head = state
        .baselines
        .add(NewBaseline {
            name,
            at_ms: now_ms,
            by: made.by,
            source,
            note: made.note,
            baseline,
        })
        .await?;
    tracing::info!(
        baseline = head.name,
        version = head.version,
        source = head.source,
        "baseline made and put to use"
    );
    Ok(Json(json!(head)))
}

/// Which version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Use {
    /// This one.
    version: u32,
}

/// `POST /admin/v1/baselines/{name}/use`: puts another version to use.
#[utoipa::path(post, path = "/baselines/{name}/use", tag = "evidence", summary = "Puts a version of a baseline to use",
    params(("name" = String, Path)), request_body = Use,
    responses((status = 200, body = BaselineHead, description = "The version")))]
pub(super) async fn put_to_use(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    body: JsonBody<Use>,
) -> Result<Json<Value>, ApiError> {
    let Json(wanted) = body?;
    let head = state.baselines.put_to_use(&name, wanted.version).await?;
    tracing::info!(
        baseline = name,
        version = head.version,
        "baseline put to use"
    );
    Ok(Json(json!(head)))
}

/// `POST /admin/v1/baselines/{name}/remove`: forgets all its versions.
#[utoipa::path(post, path = "/baselines/{name}/remove", tag = "evidence", summary = "Removes a baseline",
    params(("name" = String, Path)),
    responses((status = 200, description = "It is gone")))]
pub(super) async fn remove(
    State(state): State<AdminState>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    state.baselines.remove(&name).await?;
    tracing::info!(baseline = name, "baseline removed");
    Ok(Json(json!({"name": name, "removed": true})))
}
