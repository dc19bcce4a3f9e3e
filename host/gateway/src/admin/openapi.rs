//! The OpenAPI document of the admin plane, and the shapes in it.
//!
//! What the gateway itself defines is described by the types that are sent.
//! Types of the policy host know nothing of HTTP; where a reply holds them, a
//! view here names the members that a client may rely on, or says no more than
//! that it is an object.

#![expect(
    dead_code,
    reason = "the views are never made: they only describe what is sent"
)]

use super::{Check, RolloutCommand, RolloutStatus};
use crate::store::{
    BaselineHead, IncidentState, MessageState, Order, Resolution, ReviewStatus, RolloutEvent,
};
use axum::Extension;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, OpenApi, Ref, RefOr, Response as Described, ResponseBuilder, SecurityRequirement,
};
use utoipa::{Modify, ToSchema};

/// Paths that are open to all.
const OPEN: [&str; 3] = ["/", "/livez", "/readyz"];

/// The document as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Document(Bytes);

impl Document {
    /// The document of these paths.
    pub(super) fn new(mut paths: OpenApi) -> Self {
        Finish.modify(&mut paths);
        Document(Value::to_string(&serde_json::json!(paths)).into())
    }
}

/// `GET /admin/v1/openapi.json`.
#[utoipa::path(get, path = "/openapi.json", tag = "configuration", summary = "Returns this document",
    responses((status = 200, body = serde_json::Value, description = "OpenAPI 3.1")))]
pub(super) async fn document(Extension(document): Extension<Document>) -> Response {
    ([(CONTENT_TYPE, "application/json")], document.0).into_response()
}

/// What the document says about the plane as a whole.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Backstop admin plane",
        description = "What operators see and do. Errors of all paths have one shape."
    ),
    components(schemas(
        Failed,
        Order,
        ReviewStatus,
        MessageState,
        IncidentState,
        RolloutCommand
    ))
)]
pub(super) struct Head;

/// Adds what holds for every operation: its error, and the token.
struct Finish;

impl Modify for Finish {
    fn modify(&self, document: &mut OpenApi) {
        let failed = ResponseBuilder::new()
            .description("What went wrong")
            .content(
                "application/json",
                Content::new(Some(Ref::from_schema_name("Failed"))),
            )
            .build();
        let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        if let Some(components) = &mut document.components {
            components.add_security_scheme("token", token);
        }
        for (path, item) in &mut document.paths.paths {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                let error: RefOr<Described> = RefOr::T(failed.clone());
                let responses = &mut operation.responses.responses;
                responses.insert("default".to_owned(), error);
                if !OPEN.contains(&path.as_str()) {
                    let none: [String; 0] = [];
                    operation.security = Some(vec![SecurityRequirement::new("token", none)]);
                }
            }
        }
    }
}

/// The reply to a request that failed.
#[derive(ToSchema)]
struct Failed {
    error: Failure,
}

/// What went wrong. Some errors have further members, for example the
/// `problems` of settings.
#[derive(ToSchema)]
struct Failure {
    /// For people.
    message: String,
    /// For programs, for example `not_found`.
    code: String,
}

/// A list.
#[derive(ToSchema)]
pub(super) struct Listed<T: ToSchema> {
    data: Vec<T>,
}

/// How a policy is doing.
#[derive(ToSchema)]
pub(super) struct PolicyView {
    name: String,
    /// The revision that serves.
    #[schema(value_type = Object)]
    serving: (),
    /// Numbers of all revisions that can be gone back to, oldest first.
    ready: Vec<u64>,
    /// Decisions that were asked of it since the start.
    decisions: u64,
    /// Instances that the serving revision made for decisions.
    instances: u64,
    /// Those in which it had no opinion.
    abstentions: u64,
    /// Pairs of a kind and how many decisions failed so.
    failures: Vec<Value>,
    /// True while it is not asked, because it failed too often.
    suspended: bool,
    last_failure: Option<String>,
    last_activation_error: Option<String>,
}

/// The activations of a policy, of earlier processes too.
#[derive(ToSchema)]
pub(super) struct History {
    policy: String,
    /// Number of the revision that serves.
    serving: Option<u64>,
    /// Numbers of all revisions that can be gone back to, oldest first.
    ready: Option<Vec<u64>>,
    data: Vec<Value>,
}

/// A revision that serves now, or that passed the check.
#[derive(ToSchema)]
pub(super) struct Activated {
    #[schema(value_type = Object)]
    revision: (),
    /// False when the store did not take the note about it.
    history_kept: Option<bool>,
    /// True when it was only checked.
    checked: Option<bool>,
}

/// The newest decisions.
#[derive(ToSchema)]
pub(super) struct DecisionList {
    data: Vec<DecisionLine>,
    /// Records that newer ones have pushed out.
    dropped: u64,
}

/// A line about a decision.
#[derive(ToSchema)]
struct DecisionLine {
    /// 16 hexadecimal digits.
    id: String,
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
    /// `fallback`, `threshold` or `rollback`.
    point: String,
    policy: String,
    revision: u64,
    /// What it is about, unless that is a model's rollout.
    route: Option<String>,
    /// The model whose rollout it is about.
    model: Option<String>,
    decided_by: String,
    applied: String,
    reason: String,
    #[schema(value_type = Option<Object>)]
    failure: Option<()>,
    fuel: u64,
    guest_ns: u64,
    host_ns: u64,
}

/// Rollouts, and what happened to them lately.
#[derive(ToSchema)]
pub(super) struct RolloutList {
    data: Vec<RolloutStatus>,
    events: Vec<RolloutEvent>,
}

/// Reviews without their bodies.
#[derive(ToSchema)]
pub(super) struct ReviewList {
    data: Vec<ReviewView>,
    /// True when there may be another page.
    has_more: bool,
}

/// Labelled answers of a route.
#[derive(ToSchema)]
pub(super) struct AnswerList {
    data: Vec<AnswerView>,
    /// True when there may be another page.
    has_more: bool,
    /// What `after` of the next page is.
    next: Option<String>,
}

/// An answer and the truth about it.
#[derive(ToSchema)]
pub(super) struct AnswerView {
    request: String,
    /// Milliseconds since the Unix epoch.
    arrived_ms: u64,
    route: String,
    model: String,
    release: String,
    confidence: Option<f64>,
    /// What it predicted.
    label: Option<String>,
    /// What would have been right, where it is known.
    truth: Option<String>,
    /// Whether it was right.
    correct: Option<bool>,
    /// False for one that was escalated, and no caller saw.
    delivered: bool,
    /// Tags by which evidence is told apart.
    segments: Value,
}

/// Series of evidence.
#[derive(ToSchema)]
pub(super) struct SeriesList {
    data: Vec<SeriesView>,
    /// True when there may be another page.
    has_more: bool,
    /// How many series there are in all.
    series: usize,
    /// How often a series was asked for that did not fit.
    overflowed: u64,
    /// Records that the series refused: no finite number, or of another kind.
    refused: u64,
}

/// A series of evidence.
#[derive(ToSchema)]
pub(super) struct SeriesView {
    /// With its segment: `accuracy{tier=gold}`.
    metric: String,
    /// `rate`, `value`, `category` or `labelled`.
    kind: String,
    /// What it is of: `route`, or `model` with or without `release`, or nothing
    /// of it, which is the process.
    subject: Value,
}

/// What is known of a metric in a window.
#[derive(ToSchema)]
pub(super) struct ReadingView {
    metric: String,
    /// As that of a series, or `computed`.
    kind: String,
    subject: Value,
    /// Seconds.
    window_s: u32,
    /// The moment that it ends, in milliseconds since the Unix epoch.
    at_ms: u64,
    /// `samples`, `value`, `standard_error`, `age_ms`; not of categories. With 0
    /// samples the others mean nothing.
    #[schema(required = false)]
    measure: Value,
    /// `events`, `trials` and Wilson's interval at 95 %, of a rate.
    #[schema(required = false)]
    rate: Value,
    /// `samples`, `mean`, `stddev` and quantiles, of a value.
    #[schema(required = false)]
    value: Value,
    /// Categories, the most frequent first.
    #[schema(required = false)]
    shares: Value,
    /// Drift from the time before the window, of values and categories.
    #[schema(required = false)]
    drift: Value,
    /// Other distances over the same bins, by name; null without samples.
    #[schema(required = false)]
    distances: Value,
    /// The line of confidence, of `labelled`, where `error_max` is given.
    #[schema(required = false)]
    line: Value,
    /// The comparison with another model or release, where one is named.
    #[schema(required = false)]
    comparison: Value,
    /// What the baseline says, where one is named: `comparison`, `drift`,
    /// `limits` and the `place` among them.
    #[schema(required = false)]
    baseline: Value,
}

/// All versions of all baselines.
#[derive(ToSchema)]
pub(super) struct BaselineList {
    data: Vec<BaselineHead>,
    /// Never true: their number is bounded.
    has_more: bool,
}

/// A version of a baseline.
#[derive(ToSchema)]
pub(super) struct BaselineView {
    name: String,
    version: u32,
    in_use: bool,
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
    by: String,
    source: String,
    note: String,
    /// By metric: `reference`, and `limits` where there are any.
    metrics: Value,
}

/// The messages of the outbox.
#[derive(ToSchema)]
pub(super) struct MessageList {
    data: Vec<MessageView>,
    /// True when there may be another page.
    has_more: bool,
}

/// A message to another system.
#[derive(ToSchema)]
pub(super) struct MessageView {
    /// What its receiver gets as `webhook-id`, at each attempt.
    id: String,
    /// `message`.
    object: String,
    /// How it is sent: `callbacks`.
    channel: String,
    /// What it is about: the id of a review, for example.
    about: String,
    url: String,
    state: MessageState,
    /// Attempts that were begun.
    attempts: u32,
    /// Milliseconds since the Unix epoch.
    created_ms: u64,
    /// When the next attempt is due, while it is pending.
    due_ms: Option<u64>,
    /// When it was delivered or given up.
    ended_ms: Option<u64>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// What is sent; not in lists, and not once it was delivered.
    #[schema(required = false)]
    body: Option<Value>,
}

/// A review.
#[derive(ToSchema)]
pub(super) struct ReviewView {
    id: String,
    /// `review`.
    object: String,
    status: ReviewStatus,
    route: String,
    /// Milliseconds since the Unix epoch.
    created_ms: u64,
    /// The decision that sent it here.
    decision: Option<String>,
    model: Option<String>,
    release: Option<String>,
    note: String,
    resolution: Option<Resolution>,
    resolved_ms: Option<u64>,
    /// The request's body; not in lists.
    #[schema(required = false)]
    request: Option<Value>,
    /// The answer's body; not in lists.
    #[schema(required = false)]
    answer: Option<Value>,
}

/// Incidents.
#[derive(ToSchema)]
pub(super) struct IncidentList {
    data: Vec<IncidentView>,
    /// Reports that found the queue to the store full.
    dropped: u64,
}

/// A problem that was reported.
#[derive(ToSchema)]
pub(super) struct IncidentView {
    id: u64,
    policy: String,
    key: String,
    /// `info`, `warning`, `error` or `critical`.
    severity: String,
    title: String,
    detail: String,
    state: IncidentState,
    opened_ms: u64,
    last_seen_ms: u64,
    count: u64,
    closed_ms: Option<u64>,
    closed_by: Option<String>,
}

/// Whether callers may be sent here.
#[derive(ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Without access, the details are left out.
    checks: Vec<Check>,
}
