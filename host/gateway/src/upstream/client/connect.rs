//! Making connections: names, TCP, TLS.
//!
//! The certificates of the system are read when the first target with `https`
//! is made, so that a gateway without one neither reads nor keeps them.

use super::Origin;
use super::exchange::{Connection, ExchangeError, Io};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use tower::ServiceExt;

/// Why a server cannot be connected to, known before the first attempt.
#[derive(Debug)]
pub(in crate::upstream) enum OriginError {
    /// Not `http` or `https`, or without a host.
    Url(String),
    /// The system's certificates cannot be read.
    Certificates(io::Error),
}

/// All servers that are in use, so that targets share their connections.
#[derive(Default)]
pub(in crate::upstream) struct Origins {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    origins: HashMap<String, Weak<Origin>>,
    tls: Option<HttpsConnector<HttpConnector>>,
}

/// TCP, or TLS over it.
#[derive(Clone)]
pub(in crate::upstream) enum Connector {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
}

impl Origins {
    /// The server of `uri`, the same one for each caller as long as one of
    /// them keeps it.
    pub(in crate::upstream) fn get(&self, uri: &Uri) -> Result<Arc<Origin>, OriginError> {
        let url_error = || OriginError::Url(uri.to_string());
        let scheme = uri.scheme_str().ok_or_else(url_error)?;
        let authority = uri.authority().ok_or_else(url_error)?;
        let base = format!("{scheme}://{}/", authority.as_str().to_ascii_lowercase());
        let mut known = self.known.lock();
        if let Some(origin) = known.origins.get(&base).and_then(Weak::upgrade) {
            return Ok(origin);
        }
        let connector = match scheme {
            "http" => Connector::Plain(http_connector()),
            "https" => Connector::Tls(known.tls().map_err(OriginError::Certificates)?),
            _ => return Err(url_error()),
        };
        let base_uri: Uri = base.parse().map_err(|_| url_error())?;
        let origin = Arc::new(Origin::new(connector, base_uri));
        known.origins.retain(|_, origin| origin.strong_count() > 0);
        known.origins.insert(base, Arc::downgrade(&origin));
        Ok(origin)
    }
}

impl Known {
    fn tls(&mut self) -> io::Result<HttpsConnector<HttpConnector>> {
        if let Some(tls) = &self.tls {
            return Ok(tls.clone());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_only()
            .enable_http1()
            .wrap_connector(http_connector());
        self.tls = Some(tls.clone());
        Ok(tls)
    }
}

fn http_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // A request is one write; waiting for more to send only delays it.
    connector.set_nodelay(true);
    connector.enforce_http(false);
    connector
}

impl Connector {
    /// A new connection. Takes as long as it takes: the caller has the clock.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<Connection, ExchangeError> {
        let io: Io = match self {
            Connector::Plain(connector) => connector
                .clone()
                .oneshot(uri.clone())
                .await
                .map(MaybeHttpsStream::Http)
                .map_err(|error| ExchangeError::Connect(Box::new(error)))?,
            Connector::Tls(connector) => connector
                .clone()
                .oneshot(uri.clone())
                .await
                .map_err(ExchangeError::Connect)?,
        };
        Connection::handshake(io).await
    }
}

impl Origin {
    /// A new connection to this server.
    pub(super) async fn connect(&self) -> Result<Connection, ExchangeError> {
        self.connector.connect(&self.uri).await
    }
}
