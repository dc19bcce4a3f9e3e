//! One attempt to deliver a message: a signed POST, and what its answer means.
//!
//! Any 2xx says that the receiver has it. 410 says that it wants no more, and
//! ends the matter at once, as the Standard Webhooks specification asks; so
//! does a receiver that is no longer allowed. Everything else is tried again.
//! A URL may hold what only its receiver is to know, so it is not logged; its
//! origin is.

use super::signature::signatures;
use super::{Channel, Inner};
use crate::clock::system_now_ms;
use crate::config::callback_url;
use crate::outgoing::Outgoing;
use crate::store::{AttemptEnd, Message};
use crate::upstream::retry_after::retry_after;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Largest answer that is read to its end, so that its connection can be used
/// again; and how long its end is waited for.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// The word for an attempt in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The receiver has the message.
    Delivered,
    /// It answered with another status than 2xx.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// It was not reached, or the exchange broke.
    Unreachable,
    /// The configuration does not let it be sent.
    NotAllowed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Refused => "refused",
            Outcome::Timeout => "timeout",
            Outcome::Unreachable => "unreachable",
            Outcome::NotAllowed => "not-allowed",
        }
    }
}

/// Why an attempt failed.
struct Failure {
    outcome: Outcome,
    error: String,
    /// Trying again would be no use, or is not wanted.
    for_good: bool,
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(outcome: Outcome, error: impl Into<String>) -> Self {
        Failure {
            outcome,
            error: error.into(),
            for_good: outcome == Outcome::NotAllowed,
            retry_after: None,
        }
    }
}

/// Makes the attempt that has begun, and tells the store how it ended.
pub(super) async fn attempt(inner: Arc<Inner>, message: Message) {
    let name = message.message.channel.clone();
    let channel = inner.channels.load().get(name.as_str()).cloned();
    let sent = match &channel {
        Some(channel) => send(&inner.client, channel, &message).await,
        None => {
            let error = format!("channel `{name}` is not configured");
            Err(Failure::new(Outcome::NotAllowed, error))
        }
    };
    let outcome = match &sent {
        Ok(()) => Outcome::Delivered,
        Err(failure) => failure.outcome,
    };
    inner.telemetry.outbox().attempt(&name, outcome.as_str());
    let end = match sent {
        Ok(()) => AttemptEnd::Delivered,
        Err(failure) => after(channel.as_ref(), &message, failure),
    };
    tell(&message, &end);
    if matches!(end, AttemptEnd::Dead { .. }) {
        inner.telemetry.outbox().dead(&name);
    }
    let noted = inner
        .store
        .end_attempt(&message.id, message.attempts, end, system_now_ms());
    if let Err(error) = noted.await {
        tracing::error!(
            message = message.id,
            error = &error as &dyn std::error::Error,
            "failed to note the end of an attempt; the message is sent again after its lease"
        );
    }
}

/// What becomes of a message after an attempt that failed.
fn after(channel: Option<&Channel>, message: &Message, failure: Failure) -> AttemptEnd {
    let error = failure.error;
    match channel {
        Some(channel) if !failure.for_good && message.attempts < channel.attempts_max => {
            let wait = channel.wait(message.attempts, failure.retry_after, fastrand::f64());
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            AttemptEnd::Again {
                due_ms: system_now_ms().saturating_add(wait_ms),
                error,
            }
        }
        _ => AttemptEnd::Dead { error },
    }
}

fn tell(message: &Message, end: &AttemptEnd) {
    let attempt = message.attempts;
    let id = message.id.as_str();
    let inner = &message.message;
    let (channel, about, receiver) = (&*inner.channel, &*inner.about, &*inner.receiver);
    match end {
        AttemptEnd::Delivered => {
            tracing::info!(
                message = id,
                channel,
                about,
                receiver,
                attempt,
                "message delivered"
            );
        }
        AttemptEnd::Again { error, .. } => tracing::warn!(
            message = id,
            channel,
            about,
            receiver,
            attempt,
            error,
            "message not delivered; it is sent again"
        ),
        AttemptEnd::Dead { error } => tracing::error!(
            message = id,
            channel,
            about,
            receiver,
            attempt,
            error,
            "message not delivered; it is a dead letter"
        ),
    }
}

async fn send(client: &Outgoing, channel: &Channel, message: &Message) -> Result<(), Failure> {
    let url = callback_url(&message.message.url)
        .ok()
        .filter(|url| channel.allow.iter().any(|allowed| allowed.allows(url)))
        .ok_or_else(|| {
            let error = "its URL is not, or no longer, one that the configuration allows";
            Failure::new(Outcome::NotAllowed, error)
        })?;
    let request = request(channel, message, url)?;
    let response = match timeout(channel.timeout, client.send(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(Failure::new(Outcome::Unreachable, error)),
        Err(_) => {
            let error = format!("no answer within {:?}", channel.timeout);
            return Err(Failure::new(Outcome::Timeout, error));
        }
    };
    let (head, body) = response.into_parts();
    let _ = timeout(ANSWER_WAIT, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
    if head.status.is_success() {
        return Ok(());
    }
    let error = format!("status {}", head.status.as_u16());
    Err(Failure {
        for_good: head.status == StatusCode::GONE,
        retry_after: retry_after(&head.headers, SystemTime::now()),
        ..Failure::new(Outcome::Refused, error)
    })
}

fn request(
    channel: &Channel,
    message: &Message,
    url: Uri,
) -> Result<Request<Full<Bytes>>, Failure> {
    let body = message.message.body.clone();
    // Of this attempt: receivers refuse old ones.
    let timestamp_s = system_now_ms() / 1_000;
    let mut request = Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("backstop/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &message.id)
        .header("webhook-timestamp", timestamp_s);
    if !channel.keys.is_empty() {
        let signatures = signatures(&channel.keys, &message.id, timestamp_s, &body);
        request = request.header("webhook-signature", signatures);
    }
    request
        .body(Full::new(body))
        .map_err(|error| Failure::new(Outcome::NotAllowed, error.to_string()))
}
