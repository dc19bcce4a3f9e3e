//! `POST /v1/feedback`: what callers find out about answers later.
//!
//! One piece of feedback is answered by itself; `{"feedback": [...]}` with a
//! result for each position. What is meant by it is the business of
//! [`crate::feedback`].

use super::{Served, read_body, respond};
use crate::feedback::{self, End, Given, Wrong};
use crate::gateway::Gateway;
use crate::openai::ApiError;
use backstop_core::text::sanitize;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

/// Most pieces of one request.
const BULK_MAX: usize = 1_000;
/// Longest part of a value that an error shows.
const SHOWN_BYTES_MAX: usize = 128;
/// Most mistakes that one error lists.
const MISTAKES_MAX: usize = 16;

/// Serves one request.
///
/// # Errors
///
/// An answer that says what is wrong with it.
pub(super) async fn serve(gateway: &Gateway, request: Request<Incoming>) -> Served {
    let plant = gateway.plant();
    let body = read_body(&plant, request.into_body()).await?;
    let body: Value = serde_json::from_slice(&body).map_err(|e| super::invalid_json(&e))?;
    match body.get("feedback") {
        None => one(gateway, &body).await,
        Some(Value::Array(items)) if (1..=BULK_MAX).contains(&items.len()) => {
            let stray = body.as_object().and_then(|object| {
                let mut others = object.keys().filter(|name| *name != "feedback");
                others.next()
            });
            match stray {
                None => many(gateway, items).await,
                Some(name) => {
                    let field = sanitize(name.clone(), SHOWN_BYTES_MAX);
                    let rule = "stands beside `feedback`; it belongs into its items".to_owned();
                    Err(invalid(&[Wrong { field, rule }]).into())
                }
            }
        }
        Some(_) => {
            let field = "feedback".to_owned();
            let rule = format!("must be a list of 1 to {BULK_MAX}");
            Err(invalid(&[Wrong { field, rule }]).into())
        }
    }
}

async fn one(gateway: &Gateway, body: &Value) -> Served {
    let given = Given::read(body).map_err(|mistakes| {
        gateway.telemetry().feedback().refused("-", "invalid");
        invalid(&mistakes)
    })?;
    let id = given.id.clone();
    let mut ends = take(gateway, vec![given]).await?;
    let end = ends.pop().unwrap_or(End::Unknown { outcome: None });
    let shown = shown(&id, end)?;
    Ok(respond::json(StatusCode::OK, &shown))
}

async fn many(gateway: &Gateway, items: &[Value]) -> Served {
    let read: Vec<_> = items.iter().map(Given::read).collect();
    let given = read.iter().filter_map(|given| given.as_ref().ok());
    let mut ends = take(gateway, given.cloned().collect()).await?.into_iter();
    let results = read.iter().zip(items).map(|(read, item)| {
        let (id, end) = match read {
            Ok(given) => (
                given.id.clone(),
                ends.next().unwrap_or(End::Unknown { outcome: None }),
            ),
            Err(mistakes) => {
                gateway.telemetry().feedback().refused("-", "invalid");
                let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
                (id.to_owned(), End::Wrong(mistakes.clone()))
            }
        };
        shown(&id, end).unwrap_or_else(|error| refused(&id, &error))
    });
    let data: Vec<Value> = results.collect();
    Ok(respond::json(
        StatusCode::OK,
        &json!({"object": "list", "data": data}),
    ))
}

async fn take(gateway: &Gateway, given: Vec<Given>) -> Result<Vec<End>, ApiError> {
    feedback::take(gateway, given).await.map_err(|_| {
        let message = "feedback cannot be kept now; send the same again, which counts once";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("feedback_unavailable")
    })
}

/// What became of feedback that was kept.
///
/// # Errors
///
/// Why it was not.
fn shown(id: &str, end: End) -> Result<Value, ApiError> {
    let id = sanitize(id.to_owned(), SHOWN_BYTES_MAX);
    let error = |status, code, message: String| {
        let error = ApiError::new(status, message);
        Err(error.code(code).param("id"))
    };
    match end {
        End::Kept {
            answer,
            taken,
            unchanged,
        } => Ok(json!({
            "object": "feedback",
            "id": id,
            "status": if taken.is_empty() { "unchanged" } else { "taken" },
            "request": answer.request,
            "route": answer.route,
            "model": answer.model,
            "release": answer.release,
            "taken": taken,
            "unchanged": unchanged,
        })),
        End::Wrong(mistakes) => Err(invalid(&mistakes)),
        End::Unknown { outcome: None } => error(
            StatusCode::NOT_FOUND,
            "feedback_unknown",
            format!("no answer with the id `{id}`"),
        ),
        End::Unknown {
            outcome: Some(outcome),
        } => error(
            StatusCode::NOT_FOUND,
            "feedback_unknown",
            format!("request `{id}` got no answer of a model that is remembered: `{outcome}`"),
        ),
        End::Expired => error(
            StatusCode::GONE,
            "feedback_expired",
            format!("the answer `{id}` is older than those that are remembered"),
        ),
        End::NotTaken { route } => error(
            StatusCode::NOT_FOUND,
            "feedback_not_taken",
            format!(
                "route `{route}` takes no feedback; `[routes.{route}.feedback]` in the \
                 configuration makes it"
            ),
        ),
        End::Contradicts { stands, .. } => {
            let value = sanitize(stands.value.to_string(), SHOWN_BYTES_MAX);
            let kind = stands.kind;
            let message = format!(
                "`{kind}` of the answer `{id}` was given before as {value}, which stands; nothing \
                 of this was taken"
            );
            let error = ApiError::new(StatusCode::CONFLICT, message);
            Err(error.code("feedback_contradicts").param(kind))
        }
    }
}

/// An error as one of several results.
fn refused(id: &str, error: &ApiError) -> Value {
    json!({
        "object": "feedback",
        "id": sanitize(id.to_owned(), SHOWN_BYTES_MAX),
        "status": "refused",
        "error": {
            "message": error.message,
            "type": error.kind,
            "param": error.param,
            "code": error.code,
        },
    })
}

fn invalid(mistakes: &[Wrong]) -> ApiError {
    let listed = mistakes.iter().take(MISTAKES_MAX);
    let listed: Vec<_> = listed
        .map(|Wrong { field, rule }| format!("`{field}` {rule}"))
        .collect();
    let mut message = listed.join("; ");
    if mistakes.len() > MISTAKES_MAX {
        message.push_str("; and more");
    }
    let error = ApiError::new(StatusCode::BAD_REQUEST, message).code("invalid_feedback");
    match mistakes.first() {
        Some(first) => error.param(first.field.clone()),
        None => error,
    }
}
