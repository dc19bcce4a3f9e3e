//! What is asked: one request on its way through the gateway.

use crate::clock::millis;
use crate::config::FactSource;
use crate::features::Counting;
use crate::plant::Route;
use crate::release::caller_hash;
use crate::trail;
use crate::upstream::{Path, TraceHeaders};
use backstop_core::input::RequestFacts;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The header by which a caller says who it is, for sticky splits.
pub(crate) const KEY_HEADER: &str = "x-backstop-key";
/// Headers by which callers say how long they wait, and how many seconds their
/// unit has: our own, and those of OpenAI's Python and Node clients.
const TIMEOUT_HEADERS: [(&str, f64); 3] = [
    ("x-backstop-timeout-ms", 0.001),
    ("x-stainless-read-timeout", 1.0),
    ("x-stainless-timeout", 1.0),
];
/// Longest key that is hashed whole; more would only cost time.
const KEY_BYTES_MAX: usize = 1_024;
/// Longest tag that a policy is told.
const TAG_BYTES_MAX: usize = 1_024;

/// Who is calling, as far as the split of a model's traffic needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallerKey {
    /// Nothing is split, so nobody asked.
    Nobody,
    /// The caller said so.
    Given(Box<str>),
    /// The caller did not say: this request is split on its own.
    Random(u32),
}

impl CallerKey {
    /// The hash by which the split of `model` assigns this caller; none for
    /// callers that nobody asked, who stay with the stable release.
    pub(crate) fn hash(&self, model: &str) -> Option<u32> {
        match self {
            CallerKey::Nobody => None,
            CallerKey::Given(key) => Some(caller_hash(model, key)),
            CallerKey::Random(hash) => Some(*hash),
        }
    }
}

/// One request to a route.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) route: Arc<Route>,
    /// The caller's body, untouched.
    pub(crate) body: Bytes,
    pub(crate) path: Path,
    pub(crate) streaming: bool,
    /// Whether a stream is to end with a chunk of token counts.
    pub(crate) include_usage: bool,
    pub(crate) key: CallerKey,
    /// Who is calling, for taking turns; callers that do not say are one.
    pub(crate) caller: u64,
    /// How long it may take until its answer begins to reach the caller.
    pub(crate) deadline: Duration,
    /// What policies are told, before any attempt.
    pub(crate) facts: Arc<RequestFacts>,
    pub(crate) arrived: Instant,
    /// Where the caller wants to be told of a review.
    pub(crate) callback: Option<Box<str>>,
    /// The caller's own id of the request.
    pub(crate) caller_id: Option<Box<str>>,
    /// What the caller says about its trace.
    pub(crate) trace: Option<TraceHeaders>,
}

/// What a surface read of a request.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) body: Bytes,
    pub(crate) path: Path,
    pub(crate) streaming: bool,
    pub(crate) include_usage: bool,
    pub(crate) arrived: Instant,
    pub(crate) callback: Option<Box<str>>,
}

impl Ask {
    /// The request `heard` to `route`, with the facts that its policies see.
    /// What is watched of it is counted.
    pub(crate) fn new(
        route: Arc<Route>,
        headers: &HeaderMap,
        heard: Heard,
        counting: &Counting<'_>,
    ) -> Self {
        let clock = counting.clock;
        let body = Body::of(&route, &heard.body);
        counting.request(&route, headers, body.0.as_ref());
        let key = if route.splits() {
            caller(&route, headers, &heard.body, &body)
        } else {
            CallerKey::Nobody
        };
        let now_ms = clock.at_ms(heard.arrived);
        let deadline = deadline(&route, headers);
        let spec = route.spec();
        let facts = Arc::new(RequestFacts {
            route: spec.name.clone(),
            candidates: route
                .models()
                .iter()
                .map(|model| model.candidate(&key, now_ms))
                .collect(),
            rules: route.rule_names().clone(),
            has_review: spec.review,
            streaming: heard.streaming,
            attempts: Vec::new(),
            time_left_ms: Some(millis(deadline.saturating_sub(heard.arrived.elapsed()))),
            tags: spec
                .tags
                .iter()
                .filter_map(|(name, source)| Some((name.clone(), body.find(source, headers)?)))
                .collect(),
            body_bytes: heard.body.len() as u64,
            body: if route.shows_bodies() {
                std::str::from_utf8(&heard.body).ok().map(Arc::from)
            } else {
                None
            },
        });
        Ask {
            route,
            body: heard.body,
            path: heard.path,
            streaming: heard.streaming,
            include_usage: heard.include_usage,
            key,
            caller: who(headers),
            facts,
            arrived: heard.arrived,
            deadline,
            callback: heard.callback,
            caller_id: trail::caller_id(headers),
            trace: trail::trace_of_caller(headers),
        }
    }
}

/// A number for who is calling: by the key, else by the credentials that it
/// gives. Never shown or kept.
fn who(headers: &HeaderMap) -> u64 {
    let said = headers
        .get(KEY_HEADER)
        .or_else(|| headers.get(http::header::AUTHORIZATION));
    let Some(said) = said else { return 0 };
    let mut hasher = DefaultHasher::new();
    hasher.write(said.as_bytes());
    hasher.finish()
}

/// How long the caller waits: no longer than the route lets it.
fn deadline(route: &Route, headers: &HeaderMap) -> Duration {
    let longest = route.spec().deadline;
    let asked = TIMEOUT_HEADERS.iter().find_map(|(name, unit)| {
        let text = headers.get(*name)?.to_str().ok()?;
        let number: f64 = text.trim().parse().ok()?;
        let asked = Duration::try_from_secs_f64(number * unit).ok()?;
        (!asked.is_zero()).then_some(asked)
    });
    asked.map_or(longest, |asked| asked.min(longest))
}

/// The body as a document, parsed only for routes that take facts from it.
struct Body(Option<Value>);

impl Body {
    fn of(route: &Route, body: &[u8]) -> Self {
        let spec = route.spec();
        let wanted = spec
            .tags
            .iter()
            .map(|(_, source)| source)
            .chain(&spec.sticky)
            .any(|source| matches!(source, FactSource::Body(_)))
            || route.features().needs_request_body();
        Body(if wanted {
            serde_json::from_slice(body).ok()
        } else {
            None
        })
    }

    fn find(&self, source: &FactSource, headers: &HeaderMap) -> Option<String> {
        let mut found = match source {
            FactSource::Header(name) => headers.get(name)?.to_str().ok()?.to_owned(),
            FactSource::Body(pointer) => match self.0.as_ref()?.pointer(pointer)? {
                Value::Null => return None,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        };
        found.truncate(backstop_core::text::cut(&found, TAG_BYTES_MAX).len());
        Some(found)
    }
}

/// Who is calling: the header, else the route's own source, else the body's
/// `user`, else nobody in particular.
fn caller(route: &Route, headers: &HeaderMap, body: &[u8], document: &Body) -> CallerKey {
    let given = headers
        .get(KEY_HEADER)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
        .or_else(|| document.find(route.spec().sticky.as_ref()?, headers))
        .or_else(|| user(body))
        .filter(|key| !key.is_empty());
    match given {
        Some(mut key) => {
            key.truncate(backstop_core::text::cut(&key, KEY_BYTES_MAX).len());
            CallerKey::Given(key.into())
        }
        None => CallerKey::Random(fastrand::u32(..)),
    }
}

/// The text in the body's field `user`, as OpenAI's callers give it.
fn user(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        user: Value,
    }
    match serde_json::from_slice::<Head>(body).ok()?.user {
        Value::String(user) => Some(user),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_where_the_body_names_one() {
        for (body, expected) in [
            (
                r#"{"messages":[{"role":"user"}],"user":"jack"}"#,
                Some("jack"),
            ),
            (r#"{"user":{"id":7}}"#, None),
            (r#"{"user":null}"#, None),
            (r#"{"messages":[]}"#, None),
            ("[1]", None),
            ("7", None),
        ] {
            assert_eq!(user(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn the_same_key_is_always_hashed_to_the_same_place() {
        let key = CallerKey::Given("jack".into());
        assert_eq!(key.hash("fractional-flag"), Some(0x9fe8_43e0));
        assert_eq!(CallerKey::Nobody.hash("m"), None);
    }
}
