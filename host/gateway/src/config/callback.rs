//! `[callbacks]`: who may be called back about reviews, and how.
//!
//! Callers say where (`callback` beside this folder); the lists here say where they may.
//! An [`AllowedUrl`] is an origin and the beginning of a path, and the same
//! rules hold for it and for what is held against it (`callback_url`): so
//! nothing that is spelt otherwise slips past the comparison.

use super::check::shown;
use super::mistake::MistakeKind;
use super::schema::{Default, Key, Kind, Schema, TEXT_BYTES_MAX, TIMEOUT_MS_MAX};
use super::section::{Resolver, Section, Text};
use crate::outbox::SigningKey;
use http::Uri;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Most places of one list: each is compared with in a request that names one.
const ALLOWED_MAX: usize = 64;

/// How callers are called back.
#[derive(Debug, Clone, PartialEq)]
pub struct Callbacks {
    /// Where callers of routes without a list of their own may be called back.
    pub allow: Vec<AllowedUrl>,
    /// What callbacks are signed with, each adding a signature. None only where
    /// no list allows anything.
    pub keys: Vec<SigningKey>,
    /// Attempts to deliver one callback.
    pub attempts: u32,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// Before the second attempt; each further wait is twice the one before.
    pub backoff: Duration,
    /// What a wait never exceeds, unless the receiver asks for it.
    pub backoff_max: Duration,
}

/// `[callbacks]`.
pub(super) static CALLBACKS: Schema = Schema {
    name: "callbacks",
    about: "Callers that are told of the resolution of their review, where they ask for it with \
            the header `x-backstop-callback-url`. What they are sent, and how its signature is \
            verified, is in `docs/callbacks.md`.",
    keys: &[
        Key {
            name: "allow",
            kind: Kind::Texts(0, ALLOWED_MAX),
            default: Default::Words("nobody is called back"),
            about: "Where callers may be called back: an origin and the beginning of a path, such \
                    as `https://app.example/hooks`, which allows `/hooks` and what is below it. \
                    `http` is for loopback only.",
        },
        Key {
            name: "secret",
            kind: Kind::Secret,
            default: Default::Words("required where callbacks are allowed"),
            about: "What callbacks are signed with, as the Standard Webhooks specification has it: \
                    `whsec_` and 24 to 64 bytes in base64, best as a reference such as \
                    `${BACKSTOP_CALLBACK_SECRET}`.",
        },
        Key {
            name: "former_secret",
            kind: Kind::Secret,
            default: Default::Words("none"),
            about: "The secret before: callbacks are signed with it too, until every receiver has \
                    the new one.",
        },
        Key {
            name: "attempts",
            kind: Kind::Integer(1, 100),
            default: Default::Integer(16),
            about: "Attempts to deliver a callback before it is a dead letter; with the other \
                    defaults they go on for about a day.",
        },
        Key {
            name: "timeout_ms",
            kind: Kind::Integer(1, TIMEOUT_MS_MAX),
            default: Default::Integer(10_000),
            about: "Milliseconds of one attempt.",
        },
        Key {
            name: "backoff_ms",
            kind: Kind::Integer(1, BACKOFF_MS_MAX),
            default: Default::Integer(5_000),
            about: "Milliseconds before the second attempt; each further wait is twice the one \
                    before, a fifth more or less. A receiver's `Retry-After` makes it longer.",
        },
        Key {
            name: "backoff_ms_max",
            kind: Kind::Integer(1, BACKOFF_MS_MAX),
            default: Default::Integer(21_600_000),
            about: "Milliseconds that a wait does not exceed.",
        },
    ],
};

/// Longest wait between two attempts: a day.
const BACKOFF_MS_MAX: u64 = 86_400_000;

/// `callback_allow` of a route.
pub(super) const ROUTE_KEY: Key = Key {
    name: "callback_allow",
    kind: Kind::Texts(0, ALLOWED_MAX),
    default: Default::Words("`callbacks.allow`"),
    about: "Where callers of this route may be called back about reviews, instead.",
};

/// Resolves `[callbacks]`.
pub(super) fn resolve(cx: &mut Resolver<'_>, section: &Section<'_>) -> Callbacks {
    let allow = section.texts("allow");
    let allow = resolve_allowed(cx, allow, &section.key_path("allow"));
    let keys: Vec<_> = ["secret", "former_secret"]
        .into_iter()
        .filter_map(|key| resolve_key(cx, section, key))
        .collect();
    if section.node("secret").is_none() {
        if !allow.is_empty() {
            require_secret(cx, section.place_of("allow"), &section.key_path("allow"));
        } else if section.node("former_secret").is_some() {
            let message = "`callbacks.former_secret` is set without `callbacks.secret`";
            cx.note(MistakeKind::Conflict, section, "former_secret", message);
        }
    }
    Callbacks {
        allow,
        keys,
        attempts: section.integer("attempts"),
        timeout: section.millis("timeout_ms"),
        backoff: section.millis("backoff_ms"),
        backoff_max: section.millis("backoff_ms_max"),
    }
}

/// Resolves the list of a route; none where it has none of its own.
pub(super) fn resolve_route(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    has_secret: bool,
) -> Option<Vec<AllowedUrl>> {
    let texts = section.texts_if_set(ROUTE_KEY.name)?;
    let path = section.key_path(ROUTE_KEY.name);
    let allowed = resolve_allowed(cx, texts, &path);
    if !allowed.is_empty() && !has_secret {
        require_secret(cx, section.place_of(ROUTE_KEY.name), &path);
    }
    Some(allowed)
}

fn require_secret(cx: &mut Resolver<'_>, place: super::source::Place, path: &str) {
    let message = format!(
        "`{path}` allows callbacks, which are signed; set `callbacks.secret`, best as a reference \
         such as `${{BACKSTOP_CALLBACK_SECRET}}`"
    );
    cx.mistakes
        .add(MistakeKind::MissingKey, place, path, message);
}

fn resolve_key(cx: &mut Resolver<'_>, section: &Section<'_>, key: &str) -> Option<SigningKey> {
    let secret = cx.secret(section, key)?;
    let parsed = SigningKey::parse(secret.expose());
    if parsed.is_none() {
        // The text is not repeated.
        let message = format!(
            "`{}` is no secret of the Standard Webhooks specification: `whsec_` and 24 to 64 bytes \
             in base64, as `echo whsec_$(openssl rand -base64 32)` makes one",
            section.key_path(key)
        );
        cx.note(MistakeKind::Invalid, section, key, message);
    }
    parsed
}

fn resolve_allowed(cx: &mut Resolver<'_>, texts: Vec<Text<'_>>, path: &str) -> Vec<AllowedUrl> {
    let mut allowed = Vec::new();
    for (position, text) in texts.into_iter().enumerate() {
        // The check has spoken about an empty text.
        if text.text.is_empty() || text.text.len() > TEXT_BYTES_MAX {
            continue;
        }
        match AllowedUrl::parse(text.text) {
            Ok(url) => allowed.push(url),
            Err(why) => {
                let path = format!("{path}[{position}]");
                let shown = if text.text.contains('@') {
                    cx.mistakes.hide(text.place);
                    String::new()
                } else {
                    format!("is `{}`, which ", shown(text.text))
                };
                let message = format!(
                    "`{path}` {shown}{why}; it is an origin and the beginning of a path, such as \
                     `https://app.example/hooks`"
                );
                cx.mistakes
                    .add(MistakeKind::Invalid, text.place, path, message);
            }
        }
    }
    allowed
}

/// An origin and the beginning of a path.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedUrl {
    /// As [`origin`] writes it.
    origin: String,
    /// Without a slash at the end; of the root nothing is left.
    path: String,
}

impl fmt::Debug for AllowedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/", self.origin, self.path)
    }
}

impl AllowedUrl {
    /// Reads `text`.
    ///
    /// # Errors
    ///
    /// What is wrong with it: the end of a sentence about it.
    pub fn parse(text: &str) -> Result<AllowedUrl, &'static str> {
        let url = callback_url(text)?;
        if url.query().is_some() {
            return Err("holds a query");
        }
        Ok(AllowedUrl {
            origin: origin(&url),
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// True when `url`, of the kind that [`AllowedUrl::parse`] takes, is at this origin and
    /// at this path or below it.
    pub fn allows(&self, url: &Uri) -> bool {
        let below = url.path().strip_prefix(self.path.as_str());
        origin(url) == self.origin
            && below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }
}

/// Scheme, host in lower case, and the port unless it is the scheme's own.
pub(crate) fn origin(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    match (scheme, url.port_u16()) {
        ("https", Some(443)) | ("http", Some(80)) | (_, None) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    }
}

/// Reads the address of a receiver: `https`, or `http` on loopback, without a
/// user name, and with a path that every server reads in the same way.
///
/// # Errors
///
/// What is wrong with it: the end of a sentence about it.
pub(crate) fn callback_url(text: &str) -> Result<Uri, &'static str> {
    if text.contains('#') {
        return Err("holds a fragment");
    }
    let url: Uri = text.parse().map_err(|_| "is no URL")?;
    let authority = url.authority().ok_or("is no whole URL")?;
    if authority.as_str().contains('@') {
        return Err("holds a user name");
    }
    let host = authority.host();
    match url.scheme_str() {
        _ if host.is_empty() => return Err("names no host"),
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        Some("http") => return Err("uses `http` beyond loopback"),
        _ => return Err("begins with neither `https://` nor `http://`"),
    }
    let path = url.path().to_ascii_lowercase();
    // Some servers read these as slashes.
    if path.contains('\\') || path.contains("%2f") || path.contains("%5c") {
        return Err("holds an escaped slash");
    }
    if path
        .split('/')
        .any(|part| matches!(&*part.replace("%2e", "."), "." | ".."))
    {
        return Err("holds a `.` or `..` in its path");
    }
    Ok(url)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_an_origin_and_what_is_below_a_path() {
        for (allowed, url, expected) in [
            (
                "https://app.example/hooks",
                "https://app.example/hooks",
                true,
            ),
            (
                "https://app.example/hooks",
                "https://app.example/hooks/",
                true,
            ),
            (
                "https://app.example/hooks/",
                "https://app.example/hooks",
                true,
            ),
            (
                "https://app.example/hooks",
                "https://APP.example:443/hooks/a?b=/../c",
                true,
            ),
            ("https://app.example", "https://app.example/any", true),
            (
                "https://app.example:8443",
                "https://app.example:8443/",
                true,
            ),
            ("http://127.0.0.1:80", "http://127.0.0.1/a", true),
            ("http://[::1]:9/a", "http://[::1]:9/a", true),
            (
                "https://app.example/hooks",
                "https://app.example/hooksy",
                false,
            ),
            (
                "https://app.example/hooks",
                "https://app.example/Hooks",
                false,
            ),
            ("https://app.example/hooks", "https://app.example/", false),
            ("https://app.example", "https://app.example.evil/", false),
            ("https://app.example", "https://app.example:8443/", false),
            ("https://app.example", "https://evil/app.example", false),
            ("http://localhost", "https://localhost/", false),
        ] {
            let list = AllowedUrl::parse(allowed).unwrap();
            let url = callback_url(url).unwrap();
            assert_eq!(list.allows(&url), expected, "{allowed} {url}");
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_refused() {
        for (url, why) in [
            ("http://app.example/", "beyond loopback"),
            ("http://127.0.0.1.evil/", "beyond loopback"),
            ("http://localhost.evil/", "beyond loopback"),
            ("http://10.0.0.1/", "beyond loopback"),
            ("ftp://app.example/", "neither"),
            ("https://me:pw@app.example/", "user name"),
            ("https://app.example@evil/", "user name"),
            ("https://app.example/a/../b", "`..`"),
            ("https://app.example/a/%2E%2e/b", "`..`"),
            ("https://app.example/a/.%2e", "`..`"),
            ("https://app.example/a%2f..%2fb", "escaped slash"),
            ("https://app.example/a#b", "fragment"),
            ("/hooks", "whole URL"),
            ("app.example", "neither"),
            ("https://", "no URL"),
            ("", "no URL"),
            ("https://app.example/ a", "no URL"),
        ] {
            let refused = callback_url(url).unwrap_err();
            assert!(refused.contains(why), "{url}: {refused}");
        }
        assert!(AllowedUrl::parse("https://app.example/?a").is_err());
    }
}
