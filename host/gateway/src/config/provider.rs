//! `[providers.NAME]`: who runs the models, and how they are reached.

use super::Name;
use super::check::{below, shown};
use super::mistake::MistakeKind;
use super::schema::{Default, HEADERS_MAX, Key, Kind, NAME_BYTES_MAX, Schema};
use super::secret::Secret;
use super::section::{Resolver, Section};
use super::simulated::{self, Simulated};
use super::source::Place;
use crate::upstream::KEYS_MAX;
use http::{HeaderName, Uri};
use std::time::Duration;

/// Somebody who runs models.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: Name,
    /// What it speaks.
    pub kind: ProviderKind,
}

/// What a provider speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum ProviderKind {
    /// OpenAI's chat completions over HTTP.
    Openai(HttpProvider),
    /// Any JSON over HTTP.
    Json(HttpProvider),
    /// Nothing: answers are made up inside the gateway.
    Simulated(Simulated),
}

impl ProviderKind {
    /// The word in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            ProviderKind::Openai(_) => "openai",
            ProviderKind::Json(_) => "json",
            ProviderKind::Simulated(_) => "simulated",
        }
    }
}

/// How an HTTP provider is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProvider {
    /// `http` or `https`, host, and a path without a slash at the end (of an
    /// empty path `Uri` makes `/`); neither query nor user name. See
    /// [`HttpProvider::uri`].
    pub base_url: Uri,
    /// Headers sent with every call, a single key among them.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Several keys in the order in which they are used, else none.
    pub keys: Vec<Secret>,
    /// The header of a key: see `api_key_header`.
    pub key_header: HeaderName,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

impl HttpProvider {
    /// The address of `path`, which is empty or begins with a slash.
    ///
    /// # Errors
    ///
    /// When `path` is neither.
    pub fn uri(&self, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        let base = self.base_url.to_string();
        let base = base.strip_suffix('/').unwrap_or(&base);
        format!("{base}{path}").parse()
    }
}

/// The key that decides what else a provider has.
pub(super) const KIND: Key = Key {
    name: "kind",
    kind: Kind::Choice(&["openai", "json", "simulated"]),
    default: Default::Required,
    about: "What the provider speaks.",
};

const BASE_URL: Key = Key {
    name: "base_url",
    kind: Kind::Environment,
    default: Default::Required,
    about: "`http` or `https` URL that paths are appended to, such as `https://api.openai.com/v1`.",
};

const API_KEY: Key = Key {
    name: "api_key",
    kind: Kind::Secret,
    default: Default::Words("no credentials are sent"),
    about: "The provider's key, best as a reference such as `${OPENAI_API_KEY}`.",
};

const API_KEYS: Key = Key {
    name: "api_keys",
    kind: Kind::SecretList(KEYS_MAX),
    default: Default::Words("`api_key`"),
    about: "Several keys in the order in which they are used: one whose rate is limited rests, and \
            one that is refused is out for ten minutes, while the next serves the same call.",
};

const API_KEY_HEADER: Key = Key {
    name: "api_key_header",
    kind: Kind::Text(NAME_BYTES_MAX),
    default: Default::Text("authorization"),
    about: "Header of the key: `authorization` carries `Bearer KEY`, any other the key alone.",
};

const HEADERS: Key = Key {
    name: "headers",
    kind: Kind::Secrets(HEADERS_MAX),
    default: Default::Words("none"),
    about: "Headers sent with every call, in addition.",
};

const CONNECT_MS: Key = Key {
    name: "connect_ms",
    kind: Kind::Integer(1, 60_000),
    default: Default::Integer(2_000),
    about: "Milliseconds until a connection must stand.",
};

/// What every server is described with.
const SERVER_KEYS: [Key; 7] = [
    KIND,
    BASE_URL,
    API_KEY,
    API_KEYS,
    API_KEY_HEADER,
    HEADERS,
    CONNECT_MS,
];

/// `[providers.NAME]` of kind `openai`.
pub(super) static OPENAI: Schema = Schema {
    name: "providers.NAME (kind = \"openai\")",
    about: "A server with OpenAI's chat completions.",
    keys: &SERVER_KEYS,
};

/// `[providers.NAME]` of kind `json`.
pub(super) static JSON: Schema = Schema {
    name: "providers.NAME (kind = \"json\")",
    about: "A server that answers JSON with JSON.",
    keys: &SERVER_KEYS,
};

/// Headers that belong to the gateway's own transport.
const RESERVED_HEADERS: [&str; 7] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Resolves a provider; none after a mistake.
pub(super) fn resolve(
    cx: &mut Resolver<'_>,
    name: Name,
    section: &Section<'_>,
) -> Option<Provider> {
    let kind = match section.text("kind").text {
        "simulated" => ProviderKind::Simulated(simulated::resolve(section)),
        "json" => ProviderKind::Json(resolve_http(cx, section)?),
        "openai" => ProviderKind::Openai(resolve_http(cx, section)?),
        _ => return None,
    };
    Some(Provider { name, kind })
}

fn resolve_http(cx: &mut Resolver<'_>, section: &Section<'_>) -> Option<HttpProvider> {
    let base_url = resolve_base_url(cx, section, "base_url");
    let mut headers = Vec::new();
    let at = |key: &str| Spot {
        place: section.place_of(key),
        path: section.key_path(key),
    };
    let key_header = section.text("api_key_header").text;
    let key_header = header_name(cx, key_header, &at("api_key_header"));
    let keys = resolve_keys(cx, section);
    let key = cx.secret(section, "api_key");
    if let (Some(key), Some(name)) = (key, key_header.clone()) {
        let value = if name == http::header::AUTHORIZATION {
            format!("Bearer {}", key.expose())
        } else {
            key.expose().to_owned()
        };
        headers.extend(header(cx, name, value, &at("api_key")));
    }
    add_headers(cx, section, &mut headers);
    let key_header = key_header?;
    if !keys.is_empty() && headers.iter().any(|(name, _)| *name == key_header) {
        let message = format!("header `{key_header}` is set twice, by `api_keys` and another key");
        cx.note(MistakeKind::Conflict, section, "api_keys", message);
    }
    Some(HttpProvider {
        base_url: base_url?,
        headers,
        keys,
        key_header,
        connect_timeout: section.millis("connect_ms"),
    })
}

/// The keys under `api_keys`.
fn resolve_keys(cx: &mut Resolver<'_>, section: &Section<'_>) -> Vec<Secret> {
    let mut keys = Vec::new();
    let texts = section.texts_if_set("api_keys").unwrap_or_default();
    for (position, text) in texts.into_iter().enumerate() {
        let path = format!("{}[{position}]", section.key_path("api_keys"));
        let place = text.place;
        let Some(key) = cx.expanded(text, &path) else {
            continue;
        };
        // What a header may hold, whichever it is.
        let spot = Spot { place, path };
        let checked = header(cx, http::header::AUTHORIZATION, key, &spot);
        let Some((_, key)) = checked else { continue };
        if keys.contains(&key) {
            let message = format!("`{}` is the same key as one before it", spot.path);
            cx.mistakes
                .add(MistakeKind::Duplicate, spot.place, spot.path, message);
            continue;
        }
        keys.push(key);
    }
    keys
}

/// The headers under the key `headers`.
pub(super) fn resolve_headers(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
) -> Vec<(HeaderName, Secret)> {
    let mut headers = Vec::new();
    add_headers(cx, section, &mut headers);
    headers
}

fn add_headers(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    headers: &mut Vec<(HeaderName, Secret)>,
) {
    for (name, value) in section.pairs("headers") {
        let path = below(&section.key_path("headers"), name.text);
        let place = name.place;
        let spot = Spot { place, path };
        let value = cx.expanded(value, &spot.path);
        let name = header_name(cx, name.text, &spot);
        if let (Some(name), Some(value)) = (name, value) {
            if headers.iter().any(|(known, _)| *known == name) {
                let message =
                    format!("header `{name}` is set twice, by `api_key` or by another spelling");
                cx.mistakes
                    .add(MistakeKind::Conflict, place, spot.path, message);
                continue;
            }
            headers.extend(header(cx, name, value, &spot));
        }
    }
}

/// Where a header is set.
struct Spot {
    place: Place,
    path: String,
}

fn header_name(cx: &mut Resolver<'_>, name: &str, spot: &Spot) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    let usable = parsed.filter(|name| !RESERVED_HEADERS.contains(&name.as_str()));
    if usable.is_none() && !name.is_empty() {
        let message = format!("`{}` may not be set as a header", shown(name));
        cx.mistakes
            .add(MistakeKind::Invalid, spot.place, &spot.path, message);
    }
    usable
}

fn header(
    cx: &mut Resolver<'_>,
    name: HeaderName,
    value: String,
    spot: &Spot,
) -> Option<(HeaderName, Secret)> {
    if http::HeaderValue::from_str(&value).is_err() {
        let message = format!("`{}` holds characters that no header may hold", spot.path);
        cx.mistakes
            .add(MistakeKind::Invalid, spot.place, &spot.path, message);
        return None;
    }
    Some((name, Secret::new(value)))
}

/// The address under `key`.
pub(super) fn resolve_base_url(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    key: &str,
) -> Option<Uri> {
    let path = section.key_path(key);
    let text = section
        .text_if_set(key)
        .filter(|text| !text.text.is_empty())?;
    if text.text.contains('@') {
        cx.mistakes.hide(text.place);
    }
    let url = cx.expanded(text, &path)?;
    // The text is not repeated: it may hold credentials.
    let mut refuse = |why: &str| {
        let message = format!("`{path}` {why}; a URL looks like `https://api.openai.com/v1`");
        cx.note(MistakeKind::Invalid, section, key, message);
        None
    };
    let Ok(uri) = url.trim_end_matches('/').parse::<Uri>() else {
        return refuse("is no URL");
    };
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    match uri.authority() {
        Some(_) if !has_scheme => refuse("begins with neither `http://` nor `https://`"),
        None => refuse("begins with neither `http://` nor `https://`"),
        Some(authority) if authority.as_str().contains('@') => {
            refuse("holds a user name, for which there is `headers`")
        }
        Some(_) if uri.query().is_some() => refuse("holds a query"),
        Some(_) => Some(uri),
    }
}
