//! Spans of requests and their attempts, exported over OTLP.
//!
//! They are made of finished records (`trail`), in this one place: nothing
//! else is instrumented, and where no spans are exported nothing is done. Names
//! are those of OpenTelemetry's conventions for generative AI; what those have
//! no word for is under `backstop.`; the configuration may call each otherwise
//! (`config::attributes`). Queue and batches are the SDK's, on a
//! thread of its own; the HTTP client is hyper's, as everywhere here.
//!
//! Always holds: exporting never waits for room nor for the collector (spans
//! beyond [`SPANS_WAITING_MAX`] are dropped and counted); nothing of bodies,
//! keys and addresses is in a span.

mod export;

use crate::config::{Attribute as A, AttributeNames, Otlp};
use crate::telemetry::{RequestOutcome, Telemetry};
use crate::trail::{AttemptEnd, AttemptRecord, RequestRecord, TraceContext};
use backstop_core::fault::FailureClass;
use backstop_core::input::FinishReason;
use export::{Counting, Http};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, Key, KeyValue, StringValue, Value};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most spans that wait for the collector: a second of a busy gateway, at
/// about 1 KiB each.
pub const SPANS_WAITING_MAX: usize = 16_384;
/// Spans of one message: collectors take 4 MiB, a span is below 1 KiB.
const BATCH_MAX: usize = 1_024;
/// Longest wait for a batch to fill.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How long the collector has for one message.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the gateway waits for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
pub enum SpansError {
    /// The system's certificates cannot be read.
    #[error("read the system's certificates for `telemetry.otlp.endpoint`")]
    Certificates(#[source] std::io::Error),
    /// The exporter cannot be made.
    #[error("set up the exporter to `telemetry.otlp.endpoint`")]
    Exporter(#[source] ExporterBuildError),
}

/// Exports spans. One for each gateway.
pub(crate) struct Spans {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
    names: Names,
    ratio: f64,
    waiting: Arc<AtomicU64>,
    telemetry: Arc<Telemetry>,
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spans").finish_non_exhaustive()
    }
}

impl Spans {
    /// Starts the thread that exports. Must be called within a tokio runtime,
    /// which makes the calls.
    ///
    /// # Errors
    ///
    /// What keeps the exporter from being set up.
    pub(crate) fn start(
        otlp: &Otlp,
        names: &AttributeNames,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, SpansError> {
        let headers = otlp.headers.iter();
        let headers: HashMap<String, String> = headers
            .map(|(name, value)| (name.to_string(), value.expose().to_owned()))
            .collect();
        let exporter = OtlpExporter::builder()
            .with_http()
            .with_http_client(Http::new(otlp)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(otlp.endpoint.to_string())
            .with_timeout(EXPORT_TIMEOUT)
            .with_headers(headers)
            .build()
            .map_err(SpansError::Exporter)?;
        let waiting = Arc::new(AtomicU64::new(0));
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(SPANS_WAITING_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let counting = Counting {
            exporter,
            waiting: waiting.clone(),
            telemetry: telemetry.clone(),
            lost: AtomicU64::new(0),
        };
        let mut processor = BatchSpanProcessor::builder(counting)
            .with_batch_config(config)
            .build();
        let resource = Resource::builder()
            .with_service_name(otlp.service_name.to_string())
            .build();
        processor.set_resource(&resource);
        Ok(Spans {
            processor: Arc::new(processor),
            scope: InstrumentationScope::builder("backstop")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            names: Names(A::ALL.map(|attribute| names.of(attribute).clone().into())),
            ratio: otlp.sample_ratio,
            waiting,
            telemetry,
        })
    }

    /// The share of traces that begin here and are exported, 0 to 1.
    pub(crate) fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Exports a request that has ended, and its attempts.
    pub(crate) fn export(&self, record: &RequestRecord) {
        let Some(context) = record.trace.filter(|context| context.sampled) else {
            return;
        };
        self.end(request_span(&self.names, record, context));
        for attempt in &record.attempts {
            self.end(attempt_span(&self.names, record, context, attempt));
        }
    }

    fn end(&self, span: Draft) {
        // Counted here as well as in the SDK's queue, which drops silently.
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= SPANS_WAITING_MAX as u64 {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.telemetry.spans().dropped.inc();
            return;
        }
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(
                TraceId::from(span.context.trace),
                SpanId::from(span.span),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: span.is_request,
            span_kind: span.kind,
            name: span.name.into(),
            start_time: span.start,
            end_time: span.start + span.took,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Sends what waits, and nothing after it.
    pub(crate) async fn finish(&self) {
        let processor = self.processor.clone();
        let finished =
            tokio::task::spawn_blocking(move || processor.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = finished.await {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// The keys of all attributes, by their position.
struct Names([Key; A::ALL.len()]);

impl Names {
    fn pair(&self, attribute: A, value: impl Into<Value>) -> KeyValue {
        KeyValue::new(self.0[attribute as usize].clone(), value)
    }
}

/// What of a span differs from one to another.
struct Draft {
    context: TraceContext,
    span: u64,
    parent: Option<u64>,
    is_request: bool,
    kind: SpanKind,
    name: String,
    start: SystemTime,
    took: Duration,
    attributes: Vec<KeyValue>,
    status: Status,
}

fn request_span(names: &Names, record: &RequestRecord, context: TraceContext) -> Draft {
    let mut attributes = vec![
        names.pair(A::OperationName, record.operation),
        names.pair(A::RequestModel, record.route.clone()),
        names.pair(A::RequestStream, record.streaming),
        names.pair(A::Request, record.id.to_string()),
        names.pair(A::Route, record.route.clone()),
        names.pair(A::Priority, record.priority.as_str()),
        names.pair(A::Outcome, record.outcome.as_str()),
        names.pair(A::Attempts, record.attempts.len() as i64),
    ];
    if let Some(served) = &record.served_by {
        attributes.extend([
            names.pair(A::Step, i64::from(served.step)),
            names.pair(A::Model, served.model.clone()),
            names.pair(A::Release, served.release.clone()),
        ]);
    }
    if let Some(decision) = record.decision {
        attributes.push(names.pair(A::Decision, decision.to_string()));
    }
    status_and_first(names, &mut attributes, record.status, record.first_token);
    let went_wrong = matches!(record.outcome, RequestOutcome::Failed | RequestOutcome::Cut);
    if went_wrong {
        let last = record.attempts.iter().rev().find_map(|a| a.failure);
        let kind = last.map_or(record.outcome.as_str(), |class| class.as_str());
        attributes.push(names.pair(A::ErrorType, kind));
    }
    Draft {
        context,
        span: context.span,
        parent: context.parent,
        is_request: true,
        kind: SpanKind::Server,
        name: format!("{} {}", record.operation, record.route)
            .trim_start()
            .to_owned(),
        start: UNIX_EPOCH + Duration::from_millis(record.arrived_ms),
        took: record.took,
        attributes,
        status: status(went_wrong.then(|| record.outcome.as_str())),
    }
}

fn attempt_span(
    names: &Names,
    record: &RequestRecord,
    context: TraceContext,
    attempt: &AttemptRecord,
) -> Draft {
    let upstream_model = attempt.upstream_model.as_ref().unwrap_or(&attempt.model);
    let mut attributes = vec![
        names.pair(A::OperationName, record.operation),
        names.pair(A::RequestModel, upstream_model.clone()),
        names.pair(A::RequestStream, record.streaming),
        names.pair(A::Step, i64::from(attempt.step)),
        names.pair(A::Racer, i64::from(attempt.racer)),
        names.pair(A::Retry, i64::from(attempt.retry)),
        names.pair(A::Why, attempt.why.as_str()),
        names.pair(A::End, attempt.end.as_str()),
        names.pair(A::Model, attempt.model.clone()),
        names.pair(A::WaitedMs, attempt.waited.as_secs_f64() * 1e3),
    ];
    let mut add = |key: A, value: Option<Value>| {
        attributes.extend(value.map(|value| names.pair(key, value)));
    };
    let text = |text: &Arc<str>| Value::from(text.clone());
    add(A::ProviderName, attempt.provider.as_ref().map(text));
    add(A::Release, attempt.release.as_ref().map(text));
    let count = |count: u64| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    let usage = attempt.usage;
    add(
        A::InputTokens,
        usage.map(|usage| count(usage.prompt_tokens)),
    );
    add(
        A::OutputTokens,
        usage.map(|usage| count(usage.completion_tokens)),
    );
    let served = attempt.served_model.as_deref();
    add(
        A::ResponseModel,
        served.map(|served| served.to_owned().into()),
    );
    let reasons = attempt.finish_reason.map(|reason| {
        let reason = StringValue::from(finish_reason(reason));
        Value::Array(Array::String(vec![reason]))
    });
    add(A::FinishReasons, reasons);
    add(
        A::Verdict,
        attempt.judged.map(|judged| judged.as_str().into()),
    );
    let decision = attempt.decision;
    add(A::Decision, decision.map(|id| id.to_string().into()));
    add(A::NotCalled, attempt.not_called.map(Value::from));
    add(
        A::ErrorType,
        attempt.failure.map(|class| class.as_str().into()),
    );
    status_and_first(names, &mut attributes, attempt.status, attempt.first_token);
    Draft {
        context,
        span: attempt.span,
        parent: Some(context.span),
        is_request: false,
        kind: match attempt.end {
            AttemptEnd::NotCalled => SpanKind::Internal,
            _ => SpanKind::Client,
        },
        name: format!("{} {upstream_model}", record.operation),
        start: UNIX_EPOCH + Duration::from_millis(record.arrived_ms) + attempt.start,
        took: attempt.duration,
        attributes,
        status: status(attempt.failure.map(FailureClass::as_str)),
    }
}

pub(crate) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other => "other",
    }
}

fn status_and_first(
    names: &Names,
    attributes: &mut Vec<KeyValue>,
    status: Option<u16>,
    first_token: Option<Duration>,
) {
    let status = status.map(|status| (A::StatusCode, i64::from(status).into()));
    let first = first_token.map(|first| {
        let seconds = Value::from(first.as_secs_f64());
        (A::TimeToFirstChunk, seconds)
    });
    let both = status.into_iter().chain(first);
    attributes.extend(both.map(|(key, value): (A, Value)| names.pair(key, value)));
}

/// Where nothing is wrong, a span has no status; the convention leaves `ok` to
/// whoever reads.
fn status(wrong: Option<&'static str>) -> Status {
    wrong.map_or(Status::Unset, Status::error)
}
