//! The review queue: list, look, resolve.

use super::error::ApiError;
use super::openapi::{ReviewList, ReviewView};
use super::policies::JsonBody;
use super::{AdminState, now_ms, page};
use crate::store::{Order, Resolution, Review, ReviewFilter, ReviewOutcome, ReviewStatus};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those of this status.
    status: Option<ReviewStatus>,
    /// Only those of this route.
    route: Option<String>,
    /// At most so many; 50 without it, never more than 200.
    limit: Option<u32>,
    /// The last id of the previous page.
    after: Option<String>,
    /// Pending ones come oldest first without it, others newest first.
    order: Option<Order>,
}

/// `GET /admin/v1/reviews`. Pending ones come oldest first, as a queue is
/// worked off, others newest first; `order` says otherwise. `after` is the
/// last id of the previous page. Bodies are left out: see [`one`].
#[utoipa::path(get, path = "/reviews", tag = "reviews", summary = "Lists the review queue",
    params(ListQuery),
    responses((status = 200, body = inline(ReviewList), description = "Without bodies")))]
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let order = query.order.unwrap_or(match query.status {
        Some(ReviewStatus::Pending) => Order::Oldest,
        _ => Order::Newest,
    });
    let limit = page(query.limit);
    let reviews = state
        .store
        .reviews(ReviewFilter {
            status: query.status,
            route: query.route,
            after: query.after,
            order,
            limit,
        })
        .await?;
    let has_more = reviews.len() == limit as usize;
    let data: Vec<_> = reviews.iter().map(head).collect();
    Ok(Json(json!({"data": data, "has_more": has_more})))
}

/// `GET /admin/v1/reviews/{id}`.
#[utoipa::path(get, path = "/reviews/{id}", tag = "reviews", summary = "Shows a review with its bodies",
    params(("id" = String, Path)),
    responses((status = 200, body = ReviewView, description = "The review")))]
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match state.store.review(&id).await? {
        Some(review) => Ok(Json(show(&review))),
        None => Err(ApiError::not_found("review", &id)),
    }
}

/// `POST /admin/v1/reviews/{id}/resolve`: `{"outcome": "agree" | "corrected" |
/// "reject", "label"?, "answer"?, "by"?, "note"?}`. The very same resolution
/// again is answered as the first was; another one is a conflict. A caller that
/// asked for it is called back.
#[utoipa::path(post, path = "/reviews/{id}/resolve", tag = "reviews", summary = "Resolves a review",
    params(("id" = String, Path)), request_body = Resolution,
    responses((status = 200, body = ReviewView, description = "The review, resolved")))]
pub(super) async fn resolve(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    body: JsonBody<Resolution>,
) -> Result<Json<Value>, ApiError> {
    let Json(resolution) = body?;
    if resolution.outcome == ReviewOutcome::Corrected
        && resolution.label.is_none()
        && resolution.answer.is_none()
    {
        return Err(ApiError::invalid(
            "a corrected review needs the right `label` or `answer`",
        ));
    }
    let control = state.control.clone();
    let announce = Box::new(move |review: &Review| control.announcement(review));
    let resolved = state
        .store
        .resolve_review(&id, resolution, now_ms(), announce)
        .await?;
    // A label counts once, however often the request is repeated.
    if resolved.first {
        state.control.labelled(&resolved.review);
        state.control.message_added();
        tracing::info!(
            review = id,
            route = resolved.review.item.route,
            outcome = resolved
                .review
                .resolution
                .as_ref()
                .map(|resolution| resolution.outcome.as_str()),
            "review resolved"
        );
    }
    Ok(Json(show(&resolved.review)))
}

/// A review without its bodies.
fn head(review: &Review) -> Value {
    let item = &review.item;
    let status = match review.resolution {
        None => ReviewStatus::Pending,
        Some(_) => ReviewStatus::Resolved,
    };
    json!({
        "id": review.id,
        "object": "review",
        "status": status,
        "route": item.route,
        "created_ms": item.created_ms,
        "decision": item.decision,
        "model": item.model,
        "release": item.release,
        "note": item.note,
        "resolution": review.resolution,
        "resolved_ms": review.resolved_ms,
    })
}

/// A review with its bodies: as JSON where they are JSON, else as text.
pub(super) fn show(review: &Review) -> Value {
    let mut shown = head(review);
    shown["request"] = body(&review.item.request);
    shown["answer"] = review
        .item
        .answer
        .as_ref()
        .map_or(Value::Null, |answer| body(answer));
    shown
}

fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
