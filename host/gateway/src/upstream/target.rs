//! Targets: one release of a model as the upstream client sees it.
//!
//! A [`Target`] is made once, from [`TargetOptions`], when the configuration
//! is resolved; everything that can be checked or computed before a request is
//! (addresses, headers, the model's name as JSON). Targets of one server share
//! its connections, also across reloads.

use super::client::{Origin, OriginError};
use super::keys::Keys;
use super::simulated::Simulated;
use crate::openai::Api;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::sync::Arc;

/// Longest answer when a target does not say: the largest completions that
/// public models write are far below it, and one answer cannot take the
/// gateway's memory.
pub const ANSWER_BYTES_MAX_DEFAULT: usize = 8 * 1024 * 1024;

/// What the operator says about a release of a model.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// Name of the model, for the operator's log.
    pub model: String,
    /// Name of the release, for the operator's log.
    pub release: String,
    /// Where it is.
    pub endpoint: EndpointOptions,
    /// The keys of a provider that has several, shared by its targets; an
    /// endpoint then has no key of its own.
    pub keys: Option<Arc<Keys>>,
    /// How its answers are read.
    pub reading: ReadingOptions,
    /// Longest answer in bytes; a longer one is malformed. None takes
    /// [`ANSWER_BYTES_MAX_DEFAULT`]. Streams pass and are not bounded by it.
    pub answer_bytes_max: Option<usize>,
}

/// Where a release is, and how it is spoken to.
#[derive(Clone)]
pub enum EndpointOptions {
    /// An OpenAI-compatible server.
    OpenAi {
        /// Up to and including `/v1`; the operation's path is added. A query
        /// is kept behind it.
        base_url: String,
        /// Sent as a bearer token.
        api_key: Option<String>,
        /// Sent with every request; replaces the gateway's own of that name.
        headers: Vec<(String, String)>,
        /// Replaces the request's `model`; none leaves what the caller wrote.
        upstream_model: Option<String>,
        /// Asks for log-probabilities when the caller says nothing of them.
        request_logprobs: bool,
    },
    /// Any model that takes and gives JSON over HTTP.
    Json {
        /// The server.
        base_url: String,
        /// Added to `base_url`; may be empty.
        path: String,
        /// Sent as a bearer token.
        api_key: Option<String>,
        /// Sent with every request; replaces the gateway's own of that name.
        headers: Vec<(String, String)>,
    },
    /// A model that is made up, for demonstrations, drills and tests.
    Simulated {
        /// Shared by all targets of one provider.
        simulated: Arc<Simulated>,
        /// What stands in `model` of its answers; none takes the model's name.
        upstream_model: Option<String>,
    },
}

impl std::fmt::Debug for EndpointOptions {
    /// Leaves out keys and headers: both may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EndpointOptions::OpenAi {
                base_url,
                upstream_model,
                ..
            } => f
                .debug_struct("OpenAi")
                .field("base_url", &without_secrets(base_url))
                .field("upstream_model", upstream_model)
                .finish_non_exhaustive(),
            EndpointOptions::Json { base_url, path, .. } => f
                .debug_struct("Json")
                .field("base_url", &without_secrets(base_url))
                .field("path", &without_secrets(path))
                .finish_non_exhaustive(),
            EndpointOptions::Simulated { upstream_model, .. } => f
                .debug_struct("Simulated")
                .field("upstream_model", upstream_model)
                .finish_non_exhaustive(),
        }
    }
}

/// A URL without what may be secret in it: user, password and query.
fn without_secrets(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(before, _)| before);
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    }
}

/// Where to find things in an answer, as JSON pointers (RFC 6901).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadingOptions {
    /// The answer proper. When it is set and not there, the answer is malformed.
    pub answer_pointer: Option<String>,
    /// A number in `[0, 1]`. For chat it is used when there are no
    /// log-probabilities.
    pub confidence_pointer: Option<String>,
    /// The predicted label: a text, number or boolean.
    pub label_pointer: Option<String>,
    /// An object of label to number, a list of `{label, score|value|confidence}`,
    /// or a list of numbers (labelled by position).
    pub scores_pointer: Option<String>,
}

impl ReadingOptions {
    /// True when something has to be looked up in the parsed document.
    pub(super) fn any(&self) -> bool {
        self.answer_pointer.is_some()
            || self.confidence_pointer.is_some()
            || self.label_pointer.is_some()
            || self.scores_pointer.is_some()
    }
}

/// Why a target cannot be made. The texts name the value, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// `base_url` is no URL of a server.
    #[error("`base_url` `{0}` is not a URL like `http://host:port/path`")]
    BaseUrl(String),
    /// `base_url` holds a user or a password.
    #[error("`base_url` holds credentials; use `api_key` or `headers`")]
    Credentials,
    /// A header's name or value cannot be sent.
    #[error(
        "header `{0}` cannot be sent: its name or value has characters that HTTP does not allow"
    )]
    Header(String),
    /// `api_key` cannot be sent.
    #[error("`api_key` has characters that HTTP does not allow, a line break perhaps")]
    ApiKey,
    /// A JSON pointer does not begin with `/`.
    #[error("JSON pointer `{0}` must be empty or begin with `/`")]
    Pointer(String),
    /// The system's certificates cannot be read.
    #[error("read the system's certificates")]
    Certificates(#[source] std::io::Error),
}

impl From<OriginError> for TargetError {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Url(url) => TargetError::BaseUrl(without_secrets(&url)),
            OriginError::Certificates(source) => TargetError::Certificates(source),
        }
    }
}

/// One release of a model, ready to be called. Made by
/// [`super::Upstream::target`].
#[derive(Debug)]
pub struct Target {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) reading: ReadingOptions,
    pub(super) answer_bytes_max: usize,
}

#[derive(Debug)]
pub(super) enum Endpoint {
    OpenAi {
        server: Server,
        paths: Paths,
        model_json: Option<String>,
        request_logprobs: bool,
    },
    Json(Server),
    Simulated {
        simulated: Arc<Simulated>,
        served_model: String,
    },
}

/// Where on a server each operation of OpenAI's API is, by its number.
pub(super) struct Paths([PathAndQuery; Api::ALL.len()]);

impl Paths {
    pub(super) fn of(&self, api: Api) -> &PathAndQuery {
        &self.0[api as usize]
    }
}

impl std::fmt::Debug for Paths {
    /// Leaves out what may be secret: the query.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(PathAndQuery::path))
            .finish()
    }
}

/// A place on a server, with all that is sent there each time.
pub(super) struct Server {
    /// What all paths are below.
    base: Uri,
    pub(super) origin: Arc<Origin>,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
}

impl std::fmt::Debug for Server {
    /// Leaves out what may be secret: headers and query.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("origin", &self.origin)
            .field("path", &self.path.path())
            .finish_non_exhaustive()
    }
}

impl Target {
    /// `model/release`, for the operator's log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys of a provider that has several.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_deref()
    }

    /// Longest answer, in bytes.
    pub fn answer_bytes_max(&self) -> usize {
        self.answer_bytes_max
    }

    /// `origin` finds the shared connections of a server.
    pub(super) fn new(
        options: TargetOptions,
        origin: impl Fn(&Uri) -> Result<Arc<Origin>, OriginError>,
    ) -> Result<Self, TargetError> {
        let reading = options.reading;
        for pointer in [
            &reading.answer_pointer,
            &reading.confidence_pointer,
            &reading.label_pointer,
            &reading.scores_pointer,
        ]
        .into_iter()
        .flatten()
        {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(TargetError::Pointer(pointer.clone()));
            }
        }
        let name = format!("{}/{}", options.model, options.release);
        let endpoint = match options.endpoint {
            EndpointOptions::OpenAi {
                base_url,
                api_key,
                headers,
                upstream_model,
                request_logprobs,
            } => Endpoint::OpenAi {
                server: server(&base_url, "", api_key, headers, origin)?,
                paths: paths(&base_url)?,
                model_json: upstream_model
                    .map(|model| serde_json::Value::String(model).to_string()),
                request_logprobs,
            },
            EndpointOptions::Json {
                base_url,
                path,
                api_key,
                headers,
            } => Endpoint::Json(server(&base_url, &path, api_key, headers, origin)?),
            EndpointOptions::Simulated {
                simulated,
                upstream_model,
            } => Endpoint::Simulated {
                simulated,
                served_model: upstream_model.unwrap_or(options.model),
            },
        };
        Ok(Target {
            name,
            endpoint,
            keys: options.keys,
            reading,
            answer_bytes_max: options.answer_bytes_max.unwrap_or(ANSWER_BYTES_MAX_DEFAULT),
        })
    }
}

/// `path` below the base URL that `server` is on, whatever is called there.
pub(super) fn beside(server: &Server, path: &str) -> PathAndQuery {
    full_path(&server.base, path).unwrap_or_else(|| server.path.clone())
}

fn base_error(base_url: &str) -> TargetError {
    TargetError::BaseUrl(without_secrets(base_url))
}

/// Where each operation of OpenAI's API is.
fn paths(base_url: &str) -> Result<Paths, TargetError> {
    let uri: Uri = base_url.parse().map_err(|_| base_error(base_url))?;
    let mut paths = Api::ALL.map(|_| PathAndQuery::from_static("/"));
    for api in Api::ALL {
        paths[api as usize] = full_path(&uri, api.path()).ok_or_else(|| base_error(base_url))?;
    }
    Ok(Paths(paths))
}

/// `path` below `base`, with the query of both.
fn full_path(base: &Uri, path: &str) -> Option<PathAndQuery> {
    let base_path = base.path().trim_end_matches('/');
    let slash = if path.is_empty() || path.starts_with('/') {
        ""
    } else {
        "/"
    };
    let mut full = format!("{base_path}{slash}{path}");
    if full.is_empty() {
        full.push('/');
    }
    if let Some(query) = base.query() {
        full.push(if full.contains('?') { '&' } else { '?' });
        full.push_str(query);
    }
    full.parse().ok()
}

fn server(
    base_url: &str,
    path: &str,
    api_key: Option<String>,
    headers: Vec<(String, String)>,
    origin: impl Fn(&Uri) -> Result<Arc<Origin>, OriginError>,
) -> Result<Server, TargetError> {
    let base_error = || base_error(base_url);
    let uri: Uri = base_url.parse().map_err(|_| base_error())?;
    let authority = uri.authority().ok_or_else(base_error)?;
    if authority.as_str().contains('@') {
        return Err(TargetError::Credentials);
    }
    let path = full_path(&uri, path).ok_or_else(base_error)?;
    let mut map = HeaderMap::with_capacity(8);
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| base_error())?;
    map.insert(HOST, host);
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    map.insert(ACCEPT, HeaderValue::from_static("*/*"));
    map.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("backstop/", env!("CARGO_PKG_VERSION"))),
    );
    if let Some(key) = api_key {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| TargetError::ApiKey)?;
        value.set_sensitive(true);
        map.insert(AUTHORIZATION, value);
    }
    for (name, value) in headers {
        let header = HeaderName::try_from(&name).map_err(|_| TargetError::Header(name.clone()))?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| TargetError::Header(name))?;
        value.set_sensitive(true);
        map.insert(header, value);
    }
    Ok(Server {
        base: uri.clone(),
        origin: origin(&uri)?,
        path,
        headers: map,
    })
}
