//! Spans arrive at a collector over OTLP.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, chat};
use backstop_gateway::telemetry::Snapshot;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A collector on a real socket.
#[derive(Clone, Default)]
struct Collector {
    messages: Arc<Mutex<Vec<(String, HeaderMap, ExportTraceServiceRequest)>>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start() -> (Collector, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let collector = Collector::default();
        let serving = collector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let collector = serving.clone();
                let service = service_fn(move |request| collector.clone().take(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (collector, addr)
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.bytes.lock().extend_from_slice(&body);
        let message = ExportTraceServiceRequest::decode(body).unwrap();
        let path = head.uri.path().to_owned();
        self.messages.lock().push((path, head.headers, message));
        let reply = ExportTraceServiceResponse::default().encode_to_vec();
        Ok(Response::new(Full::new(reply.into())))
    }

    /// All spans, in the order of their starts.
    fn spans(&self) -> Vec<Span> {
        let messages = self.messages.lock();
        let resources = messages.iter().flat_map(|(_, _, m)| &m.resource_spans);
        let mut spans: Vec<Span> = resources
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| scope.spans.clone())
            .collect();
        spans.sort_by_key(|span| (span.start_time_unix_nano, span.kind));
        spans
    }
}

fn find(attributes: &[KeyValue], key: &str) -> Option<any_value::Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.clone()
}

fn text(span: &Span, key: &str) -> Option<String> {
    match find(&span.attributes, key)? {
        any_value::Value::StringValue(text) => Some(text),
        any_value::Value::ArrayValue(array) => {
            let values = array
                .values
                .into_iter()
                .filter_map(|AnyValue { value }| value);
            Some(format!("{:?}", values.collect::<Vec<_>>()))
        }
        other => panic!("{key} is {other:?}"),
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    match find(&span.attributes, key)? {
        any_value::Value::IntValue(number) => Some(number),
        other => panic!("{key} is {other:?}"),
    }
}

/// The configuration of two models whose spans go to `collector`.
fn exported(primary: &Model, backup: &Model, collector: SocketAddr, more: &str) -> String {
    format!(
        "{}\n[telemetry.otlp]\nendpoint = \"http://{collector}\"\nservice_name = \"gw\"\n{more}",
        two(primary.addr, backup.addr, "")
    )
    .replace(
        "kind = \"openai\"",
        "kind = \"openai\"\napi_key = \"sk-verysecret\"",
    )
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_request_and_its_attempts_are_spans_below_those_of_the_caller() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let (collector, addr) = Collector::start().await;
    let text_of = exported(&primary, &backup, addr, "headers = { x-tenant = \"t1\" }");
    let gateway = Running::start(&text_of).await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "v=1")];
    let answer = gateway
        .post_with(
            "/v1/chat/completions",
            &headers,
            chat("chat", false).to_string(),
        )
        .await;
    let telemetry = gateway.gateway.telemetry().clone();
    gateway.stop().await;

    let spans = collector.spans();
    let [request, failed, good] = &spans[..] else {
        panic!("{spans:#?}");
    };
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!((request.name.as_str(), request.kind), ("chat chat", 2));
    assert_eq!(
        text(request, "backstop.outcome").as_deref(),
        Some("answered")
    );
    assert_eq!(text(request, "backstop.model").as_deref(), Some("backup"));
    let id = answer.header("x-backstop-request");
    assert_eq!(text(request, "backstop.request").as_deref(), id);
    assert!(
        request
            .status
            .as_ref()
            .is_none_or(|status| status.code == 0)
    );

    assert_eq!(failed.parent_span_id, request.span_id);
    assert_eq!((failed.name.as_str(), failed.kind), ("chat large", 3));
    assert_eq!(text(failed, "error.type").as_deref(), Some("server-error"));
    assert_eq!(number(failed, "http.response.status_code"), Some(500));
    assert_eq!(text(failed, "gen_ai.provider.name").as_deref(), Some("a"));
    assert_eq!(failed.status.as_ref().map(|status| status.code), Some(2));

    assert_eq!(good.parent_span_id, request.span_id);
    assert_ne!(good.span_id, failed.span_id);
    assert_eq!(text(good, "gen_ai.request.model").as_deref(), Some("small"));
    let served = text(good, "gen_ai.response.model");
    assert_eq!(served.as_deref(), Some("upstream-name"));
    assert_eq!(number(good, "gen_ai.usage.input_tokens"), Some(1));
    assert_eq!(number(good, "backstop.step"), Some(1));
    let reasons = text(good, "gen_ai.response.finish_reasons").unwrap();
    assert!(reasons.contains("stop"), "{reasons}");

    // Models go on below the attempt, not below the request.
    let expected = format!("00-{TRACE}-{}-01", hex(&good.span_id));
    assert_eq!(backup.heard_header("traceparent"), Some(expected));
    assert_eq!(backup.heard_header("tracestate").as_deref(), Some("v=1"));

    let (path, headers, message) = collector.messages.lock()[0].clone();
    assert_eq!(path, "/v1/traces");
    assert_eq!(headers["x-tenant"], "t1");
    let resource = message.resource_spans[0].resource.clone().unwrap();
    let name = find(&resource.attributes, "service.name");
    assert_eq!(name, Some(any_value::Value::StringValue("gw".to_owned())));
    let bytes = String::from_utf8_lossy(&collector.bytes.lock()).into_owned();
    assert!(bytes.contains("backup"));
    for secret in ["hello", "from backup", "sk-verysecret"] {
        assert!(!bytes.contains(secret), "`{secret}` is in a span");
    }
    let shown = telemetry.encode(&Snapshot::default()).unwrap();
    assert!(
        shown.contains("backstop_spans_exported_total 3\n"),
        "{shown}"
    );
    assert!(
        shown.contains("backstop_spans_dropped_total 0\n"),
        "{shown}"
    );
}

#[tokio::test]
async fn attributes_are_called_as_the_configuration_says() {
    let primary = Model::start(Says::Text("from primary")).await;
    let (collector, addr) = Collector::start().await;
    let more = r#"
        [telemetry.attributes]
        "gen_ai.provider.name" = "gen_ai.system"
        "gen_ai.usage.input_tokens" = "gen_ai.usage.prompt_tokens"
        "backstop.model" = "gateway.model"
        "gen_ai.token.type" = "token-kind"
        "#;
    let gateway = Running::start(&exported(&primary, &primary, addr, more)).await;
    gateway.chat("chat").await;
    let telemetry = gateway.gateway.telemetry().clone();
    gateway.stop().await;
    let spans = collector.spans();
    let [request, attempt] = &spans[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(text(attempt, "gen_ai.system").as_deref(), Some("a"));
    assert_eq!(number(attempt, "gen_ai.usage.prompt_tokens"), Some(1));
    assert_eq!(number(attempt, "gen_ai.usage.output_tokens"), Some(1));
    for span in [request, attempt] {
        assert_eq!(text(span, "gateway.model").as_deref(), Some("primary"));
        for gone in [
            "gen_ai.provider.name",
            "gen_ai.usage.input_tokens",
            "backstop.model",
        ] {
            assert_eq!(find(&span.attributes, gone), None, "{gone}");
        }
    }
    let shown = telemetry.encode(&Snapshot::default()).unwrap();
    let tokens = "gen_ai_client_token_usage_count{gen_ai_operation_name=\"chat\",\
                  gen_ai_system=\"a\",gen_ai_request_model=\"large\",token_kind=\"input\"} 1";
    assert!(shown.contains(tokens), "{shown}");
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported_and_still_goes_on_to_models() {
    let primary = Model::start(Says::Text("from primary")).await;
    let (collector, addr) = Collector::start().await;
    let text = exported(&primary, &primary, addr, "sample_ratio = 0.0");
    let gateway = Running::start(&text).await;
    assert_eq!(gateway.chat("chat").await.status, StatusCode::OK);
    let heard = primary.heard_header("traceparent").unwrap();
    assert!(heard.ends_with("-00"), "{heard}");
    gateway.stop().await;
    assert_eq!(collector.spans(), []);

    // Without a collector, a caller's trace passes as it is.
    let gateway = Running::start(&two(primary.addr, primary.addr, "")).await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers = [("traceparent", parent.as_str())];
    let body = chat("chat", false).to_string();
    gateway
        .post_with("/v1/chat/completions", &headers, body)
        .await;
    assert_eq!(primary.heard_header("traceparent"), Some(parent));
    gateway.chat("chat").await;
    assert_eq!(primary.heard_header("traceparent"), None);
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_spans_and_nothing_else() {
    let primary = Model::start(Says::Text("from primary")).await;
    let nowhere = Model::refusing().await;
    let text = exported(&primary, &primary, nowhere, "");
    let gateway = Running::start(&text).await;
    assert_eq!(gateway.chat("chat").await.status, StatusCode::OK);
    let telemetry = gateway.gateway.telemetry().clone();
    gateway.stop().await;
    let shown = telemetry.encode(&Snapshot::default()).unwrap();
    assert!(
        shown.contains("backstop_spans_dropped_total 2\n"),
        "{shown}"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_stream_that_is_cut_is_an_error_in_its_spans() {
    let primary = Model::start(Says::CutStream(&["a", "b"])).await;
    let (collector, addr) = Collector::start().await;
    let more = "[routes.chat.stream]\nhold = \"none\"";
    let gateway = Running::start(&exported(&primary, &primary, addr, more)).await;
    gateway.chat_stream("chat").await;
    let telemetry = gateway.gateway.telemetry().clone();
    gateway.stop().await;
    let spans = collector.spans();
    let [request, attempt] = &spans[..] else {
        panic!("{spans:#?}");
    };
    for span in [request, attempt] {
        let error = text(span, "error.type");
        assert_eq!(error.as_deref(), Some("cut-stream"));
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
        let first = find(&span.attributes, "gen_ai.response.time_to_first_chunk");
        assert!(
            matches!(first, Some(any_value::Value::DoubleValue(seconds)) if seconds > 0.0),
            "{first:?}"
        );
    }
    assert_eq!(text(request, "backstop.outcome").as_deref(), Some("cut"));
    let shown = telemetry.encode(&Snapshot::default()).unwrap();
    let first_chunk = "gen_ai_client_operation_time_to_first_chunk_seconds_count{";
    assert!(shown.contains(first_chunk), "{shown}");
}
