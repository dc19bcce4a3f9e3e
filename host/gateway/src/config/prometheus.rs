//! `[prometheus]`: an existing Prometheus whose numbers policies may read.

use super::Name;
use super::check::below;
use super::mistake::MistakeKind;
use super::provider;
use super::schema::{Default, HEADERS_MAX, Key, Kind, Schema};
use super::secret::Secret;
use super::section::{Resolver, Section};
use http::Uri;
use http::header::HeaderName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most queries.
const QUERIES_MAX: usize = 64;
/// Seconds between two questions, from and to.
const EVERY_S: (u64, u64) = (1, 3_600);

/// Where it is, and what it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Prometheus {
    /// Its address, without `/api/v1`.
    pub url: Uri,
    /// Sent as `Authorization: Bearer`.
    pub bearer_token: Option<Secret>,
    /// Sent with every question.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Between two questions of one query.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// PromQL by name; policies read `prom:NAME`.
    pub queries: BTreeMap<Name, Arc<str>>,
}

/// `[prometheus]`.
pub(super) static PROMETHEUS: Schema = Schema {
    name: "prometheus",
    about: "A Prometheus, or what speaks its API, whose numbers policies read as `prom:NAME`: see \
            `docs/infrastructure.md`.",
    keys: &[
        Key {
            name: "url",
            kind: Kind::Environment,
            default: Default::Required,
            about: "Its address, such as `http://127.0.0.1:9090`; `/api/v1/query` is appended.",
        },
        Key {
            name: "bearer_token",
            kind: Kind::Secret,
            default: Default::Words("none"),
            about: "Sent as `Authorization: Bearer`.",
        },
        Key {
            name: "headers",
            kind: Kind::Secrets(HEADERS_MAX),
            default: Default::Words("none"),
            about: "Headers sent with every question, such as the tenant's `X-Scope-OrgID`.",
        },
        Key {
            name: "every_s",
            kind: Kind::Integer(EVERY_S.0, EVERY_S.1),
            default: Default::Integer(15),
            about: "Seconds between two questions.",
        },
        Key {
            name: "timeout_ms",
            kind: Kind::Integer(100, 60_000),
            default: Default::Integer(5_000),
            about: "Milliseconds that an answer may take.",
        },
        Key {
            name: "queries",
            kind: Kind::Pairs(QUERIES_MAX),
            default: Default::Required,
            about: "PromQL by name. Each must give one number: a scalar, or a vector of one sample.",
        },
    ],
};

/// Resolves `[prometheus]`; none without it.
pub(super) fn resolve(cx: &mut Resolver<'_>, section: &Section<'_>) -> Option<Arc<Prometheus>> {
    if !section.is_present() {
        return None;
    }
    let url = provider::resolve_base_url(cx, section, "url");
    let bearer_token = cx.secret(section, "bearer_token");
    let headers = provider::resolve_headers(cx, section);
    let mut queries = BTreeMap::new();
    for (name, query) in section.pairs("queries") {
        let path = below(&section.key_path("queries"), name.text);
        if query.text.trim().is_empty() {
            let message = format!("`{path}` is empty, must be PromQL");
            cx.mistakes
                .add(MistakeKind::Invalid, query.place, path, message);
        } else {
            queries.insert(Name::from(name.text), query.text.trim().into());
        }
    }
    Some(Arc::new(Prometheus {
        url: url?,
        bearer_token,
        headers,
        every: Duration::from_secs(section.integer("every_s")),
        timeout: section.millis("timeout_ms"),
        queries,
    }))
}
