//! The admin plane: what operators see and do.
//!
//! [`router`] makes the axum router; [`AdminState`] is what it works on. In
//! reading order: [`control`] (what is needed of the running gateway), `guard`
//! (who may), `error`, then one file for each part of the API.
//!
//! | path | |
//! |---|---|
//! | `GET /` | dashboard |
//! | `GET /livez`, `/readyz` | probes; open to all |
//! | `GET /metrics` | OpenMetrics |
//! | `GET /admin/v1/policies`, `…/{name}`, `…/{name}/history` | policies |
//! | `POST /admin/v1/policies/{name}/activate`, `…/rollback` | change one |
//! | `GET /admin/v1/decisions`, `…/{id}` | newest decisions |
//! | `GET /admin/v1/requests`, `…/{id}` | newest requests with their attempts |
//! | `GET /admin/v1/models`, `/admin/v1/rollouts` | releases and rollouts |
//! | `POST /admin/v1/models/{model}/health` | says whether a model is up |
//! | `POST /admin/v1/models/{model}/releases/{release}/breaker` | forces a breaker |
//! | `POST /admin/v1/rollouts/{model}/{command}` | `pause`, `resume`, `abort`, `promote` |
//! | `GET /admin/v1/objectives`, `…/{name}` | what is promised, and whether it is kept |
//! | `GET /admin/v1/reviews`, `…/{id}`; `POST …/{id}/resolve` | review queue |
//! | `GET /admin/v1/outbox`, `…/{id}`; `POST …/{id}/retry` | messages to others, dead letters |
//! | `GET /admin/v1/incidents`; `POST …/{id}/close` | incidents |
//! | `GET /admin/v1/evidence`, `…/read` | series, and all that is known of a metric in a window |
//! | `GET /admin/v1/answers` | labelled answers of a route |
//! | `GET /admin/v1/baselines`, `…/{name}`; `POST …/{name}`, `…/use`, `…/remove` | what evidence is held against |
//! | `GET /admin/v1/config`; `POST /admin/v1/reload` | configuration |
//! | `GET /admin/v1/openapi.json` | all of this for machines |
//!
//! Lists are `{"data": […]}`, errors `{"error": {"message", "code", …}}`.
//! Bodies and pages are bounded.

mod answers;
mod baselines;
mod config;
pub mod control;
mod dashboard;
mod decisions;
mod error;
mod evidence;
mod guard;
mod health;
mod incidents;
mod models;
mod objectives;
mod openapi;
mod outbox;
mod policies;
mod requests;
mod reviews;

pub use control::{
    BreakerStatus, Check, Control, ControlError, KeyStatus, LoadStatus, ModelStatus, ReleaseStatus,
    RolloutCommand, RolloutPhase, RolloutStatus,
};
pub use health::STORE_CHECK_HOLDS;

use crate::baselines::Baselines;
use crate::clock::Clock;
use crate::config::Secret;
use crate::evidence::Evidence;
use crate::reload::Reloader;
use crate::store::{Incidents, PAGE_MAX, Store};
use crate::telemetry::Telemetry;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::{Extension, Router};
use backstop::Host;
use error::ApiError;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Largest body of a request that carries no component: a resolution with a
/// corrected answer in it.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Items of a list whose request names no limit.
const PAGE_DEFAULT: u32 = 50;
/// Uploads of components that are held in memory at once. The host compiles
/// one at a time anyway.
const UPLOADS_MAX: usize = 4;

/// What the admin plane works on. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    host: Host,
    control: Arc<dyn Control>,
    store: Arc<dyn Store>,
    incidents: Incidents,
    telemetry: Arc<Telemetry>,
    evidence: Arc<Evidence>,
    baselines: Arc<Baselines>,
    clock: Clock,
    reloader: Reloader,
    token: Option<Secret>,
    component_bytes_max: usize,
    uploads: Arc<Semaphore>,
    store_health: Arc<health::StoreHealth>,
}

/// What an [`AdminState`] is made of.
pub struct AdminParts {
    /// The policy host.
    pub host: Host,
    /// The running gateway.
    pub control: Arc<dyn Control>,
    /// Reviews, incidents, histories.
    pub store: Arc<dyn Store>,
    /// The host's incident sink.
    pub incidents: Incidents,
    /// The metrics.
    pub telemetry: Arc<Telemetry>,
    /// The evidence that policies read.
    pub evidence: Arc<Evidence>,
    /// What it is held against.
    pub baselines: Arc<Baselines>,
    /// The clock of the evidence.
    pub clock: Clock,
    /// Reloads the configuration.
    pub reloader: Reloader,
    /// The token that is asked for. Without one the listener must be on
    /// loopback; the configuration sees to that.
    pub token: Option<Secret>,
    /// Largest component that is accepted, in bytes.
    pub component_bytes_max: usize,
}

impl AdminState {
    /// Puts the state together.
    pub fn new(parts: AdminParts) -> AdminState {
        AdminState {
            host: parts.host,
            control: parts.control,
            store: parts.store,
            incidents: parts.incidents,
            telemetry: parts.telemetry,
            evidence: parts.evidence,
            baselines: parts.baselines,
            clock: parts.clock,
            reloader: parts.reloader,
            token: parts.token,
            component_bytes_max: parts.component_bytes_max,
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            store_health: Arc::default(),
        }
    }
}

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// The router of the admin plane. A route is made of the very words that stand
/// in the OpenAPI document, so that neither lacks what the other has.
pub fn router(state: AdminState) -> Router {
    let activate = OpenApiRouter::new()
        .routes(routes!(policies::activate))
        .layer(DefaultBodyLimit::max(state.component_bytes_max));
    let api = OpenApiRouter::new()
        .routes(routes!(policies::list))
        .routes(routes!(policies::one))
        .routes(routes!(policies::history))
        .merge(activate)
        .routes(routes!(policies::roll_back))
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::one))
        .routes(routes!(requests::list))
        .routes(routes!(requests::one))
        .routes(routes!(models::list))
        .routes(routes!(models::breaker))
        .routes(routes!(models::health))
        .routes(routes!(models::rollouts))
        .routes(routes!(models::command))
        .routes(routes!(objectives::list))
        .routes(routes!(objectives::one))
        .routes(routes!(reviews::list))
        .routes(routes!(reviews::one))
        .routes(routes!(reviews::resolve))
        .routes(routes!(outbox::list))
        .routes(routes!(outbox::one))
        .routes(routes!(outbox::retry))
        .routes(routes!(answers::list))
        .routes(routes!(evidence::list))
        .routes(routes!(evidence::read))
        .routes(routes!(baselines::list))
        .routes(routes!(baselines::one, baselines::make))
        .routes(routes!(baselines::put_to_use))
        .routes(routes!(baselines::remove))
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::close))
        .routes(routes!(config::status))
        .routes(routes!(config::reload))
        .routes(routes!(openapi::document));
    let (guarded, mut document) = OpenApiRouter::with_openapi(openapi::Head::openapi())
        .nest("/admin/v1", api)
        .routes(routes!(health::metrics))
        .split_for_parts();
    let (open, more) = OpenApiRouter::new()
        .routes(routes!(dashboard::page))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .split_for_parts();
    document.merge(more);
    let guarded = guarded
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            state.clone(),
            guard::require_access,
        ));
    open.merge(guarded)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(openapi::Document::new(document)))
        .with_state(state)
}

async fn not_found(uri: http::Uri) -> ApiError {
    ApiError::not_found("path", uri.path())
}

async fn method_not_allowed(method: http::Method) -> ApiError {
    ApiError::new(
        http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{method} is not for this path"),
    )
}

/// How many items a list returns: `limit`, 50 without one, never more than
/// [`PAGE_MAX`].
fn page(limit: Option<u32>) -> u32 {
    limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests;
