//! The HTTP client for everything that is no model: receivers of messages,
//! collectors of spans, Prometheus.
//!
//! Always holds: one idle connection is kept to each; the system's certificates
//! are read when they are first needed, or by [`Outgoing::trust`].

use crate::chain::chain;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::io;
use std::sync::{Arc, OnceLock};

/// Idle connections that are kept to one host.
const IDLE_MAX: usize = 1;

type Plain = Client<HttpConnector, Full<Bytes>>;
type Tls = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client with its connections.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    plain: OnceLock<Plain>,
    tls: OnceLock<Tls>,
}

impl Outgoing {
    /// Sends a request and returns the head of its answer. Bounds nothing: who
    /// calls bounds time and body.
    ///
    /// # Errors
    ///
    /// In words, with all causes.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let sent = if request.uri().scheme_str() == Some("https") {
            let tls = self
                .tls()
                .map_err(|error| format!("read the system's certificates: {}", chain(&error)))?;
            tls.request(request).await
        } else {
            let plain = self.plain.get_or_init(|| builder().build_http());
            plain.request(request).await
        };
        sent.map_err(|error| chain(&error))
    }

    /// Reads the system's certificates now.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub(crate) fn trust(&self) -> io::Result<()> {
        self.tls().map(|_| ())
    }

    fn tls(&self) -> io::Result<&Tls> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_only()
            .enable_http1()
            .build();
        Ok(self.tls.get_or_init(|| builder().build(connector)))
    }
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(IDLE_MAX);
    builder
}
