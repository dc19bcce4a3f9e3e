//! `GET /v1/reviews/{id}`: what became of a request that went to a person.
//!
//! Whoever holds the id, which nobody guesses, may ask. While the review waits
//! there is nothing but its status; once it is resolved, `answer` holds what
//! the person found right, in the shape in which the route answers. Callers
//! that asked to be called back are told the same ([`shown`]).

use super::respond::{self, whole_seconds};
use super::{REVIEWS, Served};
use crate::config::RouteKind;
use crate::gateway::Gateway;
use crate::openai::rules::RulesAnswer;
use crate::openai::{Api, ApiError};
use crate::plant::Plant;
use crate::store::{Resolution, Review, ReviewOutcome};
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// When it is worth asking again for a review that waits: people take minutes.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// Longest id that is looked up; ours are far shorter.
const ID_BYTES_MAX: usize = 64;
/// What stands in `model` of an answer that a person wrote.
const BY_A_PERSON: &str = "review";

/// A review as its caller sees it: without the reviewer's name and note.
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    id: &'a str,
    object: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
}

/// The path of the review `id`.
pub(super) fn location(id: &str) -> String {
    format!("{REVIEWS}{id}")
}

/// Serves the state of one review.
///
/// # Errors
///
/// An answer that says that there is none, or that it cannot be read.
pub(super) async fn one(gateway: &Gateway, id: &str) -> Served {
    let review = if id.len() <= ID_BYTES_MAX {
        gateway.store().review(id).await
    } else {
        Ok(None)
    };
    let review = match review {
        Ok(Some(review)) => review,
        Ok(None) => {
            let error = ApiError::new(StatusCode::NOT_FOUND, "no such review");
            return Err(error.code("review_not_found").into());
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "failed to read a review for its caller"
            );
            let error = ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the review queue is unavailable",
            );
            return Err(error.code("review_unavailable").into());
        }
    };
    let shown = shown(&review, kind(&gateway.plant(), &review));
    let mut response = respond::json(StatusCode::OK, &shown);
    if review.resolution.is_none() {
        let wait = HeaderValue::from(whole_seconds(ASK_AGAIN));
        response.headers_mut().insert(RETRY_AFTER, wait);
    }
    Ok(response)
}

/// What the route of `review` speaks. A route that is gone leaves what is there
/// as it is.
pub(crate) fn kind(plant: &Plant, review: &Review) -> RouteKind {
    plant
        .route(&review.item.route)
        .map_or(RouteKind::Json, |route| route.kind())
}

/// `review` as its caller sees it.
pub(crate) fn shown(review: &Review, kind: RouteKind) -> Shown<'_> {
    let resolution = review.resolution.as_ref();
    Shown {
        id: &review.id,
        object: "review",
        status: match resolution {
            None => "pending",
            Some(_) => "resolved",
        },
        outcome: resolution.map(|resolution| resolution.outcome.as_str()),
        label: resolution.and_then(|resolution| resolution.label.as_deref()),
        answer: resolution.and_then(|resolution| answer(review, resolution, kind)),
    }
}

/// What the person found right, as a route of `kind` answers; none where the
/// request is not to be answered, or nobody said what is right.
fn answer(review: &Review, resolution: &Resolution, kind: RouteKind) -> Option<Value> {
    match resolution.outcome {
        ReviewOutcome::Reject => None,
        ReviewOutcome::Agree => {
            let kept = review.item.answer.as_ref()?;
            let whole = serde_json::from_slice(kept).ok();
            match (kind, whole) {
                (RouteKind::Json, Some(whole)) => Some(whole),
                (RouteKind::OpenAi(api), Some(whole)) if is_answer(api, &whole) => Some(whole),
                // Of a stream its text is kept.
                _ => shaped(review, kind, &String::from_utf8_lossy(kept)),
            }
        }
        ReviewOutcome::Corrected => match (&resolution.answer, &resolution.label, kind) {
            (Some(answer), _, RouteKind::Json | RouteKind::OpenAi(Api::Embeddings)) => {
                Some(answer.clone())
            }
            (Some(answer), _, RouteKind::OpenAi(api)) if is_answer(api, answer) => {
                Some(answer.clone())
            }
            (Some(Value::String(text)), ..) => shaped(review, kind, text),
            (Some(answer), ..) => shaped(review, kind, &answer.to_string()),
            (None, Some(label), RouteKind::Json) => Some(json!({"label": label})),
            (None, Some(label), _) => shaped(review, kind, label),
            (None, None, _) => None,
        },
    }
}

/// True when `value` is a whole answer of `api` already.
fn is_answer(api: Api, value: &Value) -> bool {
    let list = match api {
        Api::Chat | Api::Completions => "choices",
        Api::Embeddings => "data",
        Api::Responses => "output",
    };
    value.get(list).is_some_and(Value::is_array)
}

/// `text` as an answer of a route of `kind`.
fn shaped(review: &Review, kind: RouteKind, text: &str) -> Option<Value> {
    let api = match kind {
        RouteKind::Json => return Some(json!({ "answer": text })),
        // A text is no vector.
        RouteKind::OpenAi(Api::Embeddings) => return None,
        RouteKind::OpenAi(api) => api,
    };
    let answer = RulesAnswer {
        api,
        id: &review.id,
        created_s: review.resolved_ms.unwrap_or_default() / 1_000,
        model: BY_A_PERSON,
        text,
    };
    serde_json::from_slice(&answer.to_whole()).ok()
}
