//! The outbox: what is told to other systems, and what they did not take.

use super::error::ApiError;
use super::openapi::{MessageList, MessageView};
use super::{AdminState, now_ms, page};
use crate::store::{Message, MessageFilter, MessageState};
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
    /// Only those in this state; `dead` are the dead letters.
    state: Option<MessageState>,
    /// At most so many; 50 without it, never more than 200.
    limit: Option<u32>,
    /// The last id of the previous page.
    after: Option<String>,
}

/// `GET /admin/v1/outbox`, newest first. Bodies are left out: see [`one`].
#[utoipa::path(get, path = "/outbox", tag = "outbox", summary = "Lists messages to other systems",
    params(ListQuery),
    responses((status = 200, body = inline(MessageList), description = "Newest first, without bodies")))]
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let limit = page(query.limit);
    let messages = state
        .store
        .messages(MessageFilter {
            state: query.state,
            after: query.after,
            limit,
        })
        .await?;
    let has_more = messages.len() == limit as usize;
    let data: Vec<_> = messages.iter().map(head).collect();
    Ok(Json(json!({"data": data, "has_more": has_more})))
}

/// `GET /admin/v1/outbox/{id}`, with its body unless it was delivered.
#[utoipa::path(get, path = "/outbox/{id}", tag = "outbox", summary = "Shows a message with its body",
    params(("id" = String, Path)),
    responses((status = 200, body = MessageView, description = "The message")))]
pub(super) async fn one(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match state.store.message(&id).await? {
        Some(message) => Ok(Json(show(&message))),
        None => Err(ApiError::not_found("message", &id)),
    }
}

/// `POST /admin/v1/outbox/{id}/retry`: sends a dead letter again, with as many
/// attempts as a new message has. Others stay as they are.
#[utoipa::path(post, path = "/outbox/{id}/retry", tag = "outbox", summary = "Sends a dead letter again",
    params(("id" = String, Path)),
    responses((status = 200, body = MessageView, description = "The message, due now if it was dead")))]
pub(super) async fn retry(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let message = state.store.revive_message(&id, now_ms()).await?;
    state.control.message_added();
    tracing::info!(
        message = id,
        state = message.state.as_str(),
        "message sent again"
    );
    Ok(Json(show(&message)))
}

/// A message without its body.
fn head(message: &Message) -> Value {
    let sent = &message.message;
    json!({
        "id": message.id,
        "object": "message",
        "channel": sent.channel,
        "about": sent.about,
        "url": sent.url,
        "state": message.state,
        "attempts": message.attempts,
        "created_ms": sent.created_ms,
        "due_ms": message.due_ms,
        "ended_ms": message.ended_ms,
        "last_error": message.last_error,
    })
}

fn show(message: &Message) -> Value {
    let mut shown = head(message);
    shown["body"] = serde_json::from_slice(&message.message.body).unwrap_or_default();
    shown
}
