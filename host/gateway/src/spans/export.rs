//! The way of spans to the collector: counted, and sent.

use super::{EXPORT_TIMEOUT, SpansError};
use crate::config::Otlp;
use crate::outgoing::Outgoing;
use crate::telemetry::Telemetry;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// Largest reply of a collector that is read; they are a few bytes.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// One line in the log for so many batches that were lost, and one for the
/// first.
const LOST_LOG_EVERY: u64 = 100;

/// Counts what becomes of spans.
#[derive(Debug)]
pub(super) struct Counting<E> {
    pub(super) exporter: E,
    /// Spans that are not yet exported.
    pub(super) waiting: Arc<AtomicU64>,
    pub(super) telemetry: Arc<Telemetry>,
    /// Batches that were lost.
    pub(super) lost: AtomicU64,
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let exported = self.exporter.export(batch).await;
        let spans = self.telemetry.spans();
        match &exported {
            Ok(()) => spans.exported.inc_by(count),
            Err(error) => {
                let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
                if lost == 1 || lost.is_multiple_of(LOST_LOG_EVERY) {
                    tracing::warn!(%error, batches = lost, "spans were not exported");
                }
                spans.dropped.inc_by(count)
            }
        };
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The exporter's way to the network: ours, on the gateway's runtime, while
/// the exporter's own thread waits.
#[derive(Debug)]
pub(super) struct Http {
    runtime: Handle,
    client: Arc<Outgoing>,
}

impl Http {
    pub(super) fn new(otlp: &Otlp) -> Result<Self, SpansError> {
        let client = Outgoing::default();
        if otlp.endpoint.scheme_str() == Some("https") {
            client.trust().map_err(SpansError::Certificates)?;
        }
        Ok(Http {
            runtime: Handle::current(),
            client: Arc::new(client),
        })
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = async move {
            let reply = client.send(request.map(Full::new)).await?;
            let (head, body) = reply.into_parts();
            let body = Limited::new(body, REPLY_BYTES_MAX).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(head, body.to_bytes()))
        };
        let timed = async { tokio::time::timeout(EXPORT_TIMEOUT, sending).await };
        self.runtime.spawn(timed).await??
    }
}
