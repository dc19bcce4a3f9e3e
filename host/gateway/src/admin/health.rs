//! Probes and metrics.

use super::error::ApiError;
use super::openapi::Readiness;
use super::{AdminState, Check, guard};
use crate::chain::chain;
use crate::store::Store;
use crate::telemetry::{CONTENT_TYPE, Snapshot};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE as CONTENT_TYPE_HEADER};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a scrape or a probe waits for the store, which waits for locks of
/// other processes itself.
const STORE_WAIT: Duration = Duration::from_millis(500);

/// How long an answer of the store to a probe holds. Seeing that the store
/// works takes a durable write, which must not be had for every probe that
/// somebody without access sends; a store that breaks is noticed within this.
pub const STORE_CHECK_HOLDS: Duration = Duration::from_secs(2);

/// Whether the store works, asked at most once in [`STORE_CHECK_HOLDS`].
#[derive(Default)]
pub(super) struct StoreHealth {
    /// Held while the store is asked: probes that come meanwhile share the
    /// answer.
    last: Mutex<Option<(Instant, Check)>>,
}

impl StoreHealth {
    async fn check(&self, store: &dyn Store) -> Check {
        let mut last = self.last.lock().await;
        if let Some((at, check)) = &*last
            && at.elapsed() < STORE_CHECK_HOLDS
        {
            return check.clone();
        }
        let asked = Instant::now();
        let check = store_check(store).await;
        *last = Some((asked, check.clone()));
        check
    }
}

/// `GET /livez`: the process answers.
#[utoipa::path(get, path = "/livez", tag = "probes", summary = "Answers while the process does",
    responses((status = 200, body = String, description = "It does")))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 when callers may be sent here, else 503 with what is
/// missing. The checks' details are for those with access only.
#[utoipa::path(get, path = "/readyz", tag = "probes", summary = "Says whether callers may be sent here",
    responses(
        (status = 200, body = Readiness, description = "They may"),
        (status = 503, body = Readiness, description = "They may not"),
    ))]
pub(super) async fn ready(
    State(state): State<AdminState>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let mut checks = vec![
        config_check(&state),
        state.store_health.check(&*state.store).await,
    ];
    checks.extend(state.control.readiness());
    let ready = checks.iter().all(|check| check.ok);
    let access = guard::has_access(&state, &headers, &uri);
    let checks: Vec<_> = checks
        .into_iter()
        .map(|check| {
            if access {
                json!(check)
            } else {
                json!({"name": check.name, "ok": check.ok})
            }
        })
        .collect();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [(CACHE_CONTROL, "no-store")],
        Json(json!({"ready": ready, "checks": checks})),
    )
        .into_response()
}

/// A refused reload is no reason to take the gateway out of service: the last
/// good configuration serves. One must have been applied, though.
fn config_check(state: &AdminState) -> Check {
    let status = state.reloader.status();
    let (ok, detail) = match (&status.applied, status.synchronized) {
        (None, _) => (false, "no configuration was applied yet".to_owned()),
        (Some(_), true) => (true, "the configuration on disk serves".to_owned()),
        (Some(_), false) => (
            true,
            "the configuration on disk was refused; the last good one serves".to_owned(),
        ),
    };
    Check {
        name: "config",
        ok,
        detail,
    }
}

async fn store_check(store: &dyn Store) -> Check {
    let (ok, detail) = match tokio::time::timeout(STORE_WAIT, store.check()).await {
        Ok(Ok(())) => (true, "takes reviews".to_owned()),
        Ok(Err(error)) => (false, chain(&error)),
        Err(_) => (false, format!("did not answer within {STORE_WAIT:?}")),
    };
    Check {
        name: "store",
        ok,
        detail,
    }
}

/// `GET /metrics`.
#[utoipa::path(get, path = "/metrics", tag = "probes", summary = "Returns the metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "OpenMetrics text")))]
pub(super) async fn metrics(State(state): State<AdminState>) -> Result<Response, ApiError> {
    let snapshot = snapshot(&state).await;
    let text = state.telemetry.encode(&snapshot).map_err(|_| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics_failed",
            "encode the metrics",
        )
    })?;
    Ok(([(CONTENT_TYPE_HEADER, CONTENT_TYPE)], text).into_response())
}

async fn snapshot(state: &AdminState) -> Snapshot {
    let mut snapshot = Snapshot {
        records_dropped: state.host.records().dropped(),
        incidents_dropped: state.incidents.dropped(),
        ..Snapshot::default()
    };
    for model in state.control.models() {
        for release in model.releases {
            let state = release.breaker.state;
            for key in release.keys {
                let provider = release.provider.clone();
                let key = (provider, key.position, key.state);
                snapshot.provider_keys.push(key);
            }
            let names = (model.name.clone(), release.name);
            let load = (names.0.clone(), names.1.clone(), release.load);
            snapshot.loads.push(load);
            snapshot.breakers.push((names.0, names.1, state));
        }
    }
    for rollout in state.control.rollouts() {
        let share = (rollout.model, rollout.share_percent);
        snapshot.rollout_shares.push(share);
    }
    snapshot.objectives = state.control.objectives();
    for policy in state.host.policies() {
        let name = policy.name.to_string();
        snapshot
            .policy_revisions
            .push((name.clone(), policy.serving.number));
        snapshot.policies_suspended.push((name, policy.suspended));
    }
    // Metrics matter most when something is broken: a store that does not
    // answer leaves its last figures and takes nothing else away.
    let store = async {
        let pending = state.store.reviews_pending().await.ok();
        let open = state.store.incidents_open().await.ok();
        let messages = state.store.message_counts().await.ok();
        (pending, open, messages)
    };
    if let Ok((pending, open, messages)) = tokio::time::timeout(STORE_WAIT, store).await {
        snapshot.reviews_pending = pending;
        snapshot.incidents_open = open;
        snapshot.messages = messages;
    }
    snapshot
}
