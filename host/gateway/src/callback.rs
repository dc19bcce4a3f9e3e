//! Callbacks: callers that are told of the resolution of their review.
//!
//! A caller says where it is to be told ([`asked`]), which the configuration
//! has to allow; the review keeps it. When a person resolves the review,
//! [`announcement`] makes the event that goes into the outbox in the same
//! transaction. What the event says is what `GET /v1/reviews/{id}` says at
//! that moment.

use crate::config::{AllowedUrl, Callbacks, RouteKind, callback_origin, callback_url};
use crate::http::reviews::{Shown, shown};
use crate::openai::ApiError;
use crate::outbox::Channel;
use crate::plant::{Plant, Route};
use crate::store::{NewMessage, Review};
use backstop::DecisionId;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};

/// The header by which a caller asks to be called back.
pub(crate) const HEADER: &str = "x-backstop-callback-url";
/// The channel of callbacks in the outbox.
pub(crate) const CHANNEL: &str = "callbacks";
/// The type of the event about a review that was resolved.
const REVIEW_RESOLVED: &str = "review.resolved";
/// Longest address.
const URL_BYTES_MAX: usize = 2_048;

/// Where the caller of a request to `route` wants to be called back; none
/// where it does not ask for it.
///
/// # Errors
///
/// An error for the caller, when that is no place for callbacks or not one
/// that the configuration allows.
pub(crate) fn asked(
    plant: &Plant,
    route: &Route,
    headers: &HeaderMap,
) -> Result<Option<Box<str>>, ApiError> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    let invalid = |why: &str| {
        let message = format!(
            "header `{HEADER}` {why}; it is an `https` URL that {} allows",
            key(route)
        );
        refusal(message, "invalid_callback_url")
    };
    if given.next().is_some() {
        return Err(invalid("is there twice"));
    }
    let text = value.to_str().map_err(|_| invalid("is no URL"))?;
    if text.len() > URL_BYTES_MAX {
        let why = format!("is longer than {URL_BYTES_MAX} bytes");
        return Err(invalid(&why));
    }
    let url = callback_url(text).map_err(invalid)?;
    let allowed = match &route.spec().callback_allow {
        Some(own) => own,
        None => &plant.config().callbacks.allow,
    };
    if !allowed.iter().any(|allowed| allowed.allows(&url)) {
        let message = format!(
            "header `{HEADER}` is a place that {} does not allow; an operator can add it there",
            key(route)
        );
        return Err(refusal(message, "callback_not_allowed"));
    }
    Ok(Some(text.into()))
}

/// The key of the configuration that allows callbacks of `route`.
fn key(route: &Route) -> String {
    match &route.spec().callback_allow {
        Some(_) => format!("`routes.{}.callback_allow`", route.name()),
        None => "`callbacks.allow`".to_owned(),
    }
}

fn refusal(message: String, code: &'static str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, message)
        .param(HEADER)
        .code(code)
}

/// The channel of callbacks; none where nobody may be called back. Whatever a
/// route allows, it allows.
pub(crate) fn channel<'r>(
    callbacks: &Callbacks,
    routes: impl Iterator<Item = &'r [AllowedUrl]>,
) -> Option<Channel> {
    let mut allow = callbacks.allow.clone();
    allow.extend(routes.flatten().cloned());
    (!allow.is_empty()).then(|| Channel {
        keys: callbacks.keys.clone(),
        allow,
        attempts_max: callbacks.attempts,
        timeout: callbacks.timeout,
        backoff: callbacks.backoff,
        backoff_max: callbacks.backoff_max,
    })
}

/// An event, in the shape that the Standard Webhooks specification suggests.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    /// When it happened.
    timestamp: String,
    data: Resolved<'a>,
}

/// A review as its caller sees it, and which request it was.
#[derive(Serialize)]
struct Resolved<'a> {
    #[serde(flatten)]
    review: Shown<'a>,
    route: &'a str,
    decision: Option<DecisionId>,
}

/// The message about `review`, which has just been resolved; none where its
/// caller did not ask for one. `kind` is what its route speaks.
pub(crate) fn announcement(review: &Review, kind: RouteKind) -> Option<NewMessage> {
    let url = review.item.callback.as_deref()?;
    let at_ms = review.resolved_ms.unwrap_or(review.item.created_ms);
    // Beyond the year 9999 there is no such text.
    let at = UNIX_EPOCH + Duration::from_millis(at_ms.min(LAST_MS));
    let event = Event {
        r#type: REVIEW_RESOLVED,
        timestamp: humantime::format_rfc3339_millis(at).to_string(),
        data: Resolved {
            review: shown(review, kind),
            route: &review.item.route,
            decision: review.item.decision,
        },
    };
    Some(NewMessage {
        channel: CHANNEL.to_owned(),
        receiver: callback_url(url)
            .map(|url| callback_origin(&url))
            .unwrap_or_default(),
        url: url.to_owned(),
        about: review.id.clone(),
        body: crate::http::respond::to_json(&event),
        created_ms: at_ms,
    })
}

/// The last millisecond of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;
