//! The machinery as evidence: this process, and what a Prometheus says.

use crate::kit::{Model, Running, Says, until};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use backstop_core::evidence::SubjectRef;
use backstop_gateway::telemetry::Snapshot;
use parking_lot::Mutex;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What a server answers to every question.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Number(&'static str),
    Empty,
    Several,
    Refuses,
    Nonsense,
    Endless,
    Silent,
}

/// A query, and the token that came with it.
type Heard = (String, Option<String>);

/// A server that speaks Prometheus's API as it likes.
#[derive(Clone)]
struct Server {
    mood: Arc<Mutex<Mood>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

async fn answer(State(server): State<Server>, headers: HeaderMap, body: String) -> Response {
    let token = headers.get("authorization").and_then(|v| v.to_str().ok());
    let mut pairs = form_urlencoded::parse(body.as_bytes());
    let query = pairs.find(|(name, _)| name == "query").unwrap().1;
    let heard = (query.into_owned(), token.map(str::to_owned));
    server.heard.lock().push(heard);
    let sample = |value: &str| json!({"metric": {"a": "b"}, "value": [1_700_000_000.5, value]});
    let vector = |result: serde_json::Value| {
        let data = json!({"resultType": "vector", "result": result});
        json!({"status": "success", "data": data}).to_string()
    };
    let mood = *server.mood.lock();
    match mood {
        Mood::Number(value) => vector(json!([sample(value)])).into_response(),
        Mood::Empty => vector(json!([])).into_response(),
        Mood::Several => vector(json!([sample("1"), sample("2")])).into_response(),
        Mood::Refuses => {
            let body = json!({"status": "error", "errorType": "bad_data", "error": "parse error"});
            (StatusCode::BAD_REQUEST, body.to_string()).into_response()
        }
        Mood::Nonsense => "<html>".into_response(),
        Mood::Endless => "x".repeat(1 << 20).into_response(),
        Mood::Silent => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "late".into_response()
        }
    }
}

async fn serve() -> (Server, SocketAddr) {
    let server = Server {
        mood: Arc::new(Mutex::new(Mood::Number("0.75"))),
        heard: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/prom/api/v1/query", post(answer))
        .with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (server, address)
}

fn config(model: SocketAddr, prometheus: &str) -> String {
    format!(
        r#"
        [providers.a]
        kind = "openai"
        base_url = "http://{model}/v1"
        [models.m]
        provider = "a"
        [models.m.limit]
        max = 10
        [routes.chat]
        kind = "chat"
        models = ["m"]
        {prometheus}
        "#
    )
}

fn asks(address: SocketAddr) -> String {
    format!(
        "[prometheus]\nurl = \"http://{address}/prom/\"\nbearer_token = \"sesame\"\n\
         every_s = 1\ntimeout_ms = 300\n[prometheus.queries]\nload = \"max(load)\"\n"
    )
}

fn counted(gateway: &Running, result: &str) -> u64 {
    let text = gateway
        .gateway
        .telemetry()
        .encode(&Snapshot::default())
        .unwrap();
    let name = format!("backstop_prometheus_queries_total{{query=\"load\",result=\"{result}\"}}");
    let line = text.lines().find(|line| line.starts_with(&name));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_number_of_prometheus_is_evidence_whatever_subject_is_asked_for() {
    let model = Model::start(Says::Json(json!({}))).await;
    let (server, address) = serve().await;
    let gateway = Running::start(&config(model.addr, &asks(address))).await;
    let read = |window_s| {
        let now_ms = gateway.gateway.clock().now_ms();
        let store = gateway.gateway.evidence().store();
        store.measure("prom:load", SubjectRef::Route("chat"), window_s, now_ms)
    };
    // Known before its first number, so that a policy reads silence and no mistake.
    assert!(read(60).is_ok());
    until("a number", async || read(60).unwrap().samples > 0).await;
    assert!((read(60).unwrap().value - 0.75).abs() < 1e-9);
    assert!(read(60).unwrap().age_ms < 2_000);
    let heard = server.heard.lock()[0].clone();
    assert_eq!(
        heard,
        ("max(load)".to_owned(), Some("Bearer sesame".to_owned()))
    );
    let kept = read(60).unwrap().samples;

    for (mood, result) in [
        (Mood::Number("NaN"), "not-finite"),
        (Mood::Empty, "empty"),
        (Mood::Several, "several"),
        (Mood::Refuses, "refused"),
        (Mood::Nonsense, "malformed"),
        (Mood::Endless, "malformed"),
        (Mood::Silent, "timeout"),
    ] {
        let before = counted(&gateway, result);
        *server.mood.lock() = mood;
        until(result, async || counted(&gateway, result) > before).await;
    }
    // What is no number is not evidence; the last one has grown old.
    let old = read(60).unwrap();
    assert!((old.value - 0.75).abs() < 1e-9);
    assert!(old.samples <= kept + 1, "{old:?}");
    assert!(old.age_ms > 4_000, "{old:?}");
    assert_eq!(read(1).unwrap().samples, 0);
    *server.mood.lock() = Mood::Number("0.25");
    until("another number", async || read(2).unwrap().samples > 0).await;

    // A reload without the queries asks no more, with others asks those.
    gateway.reload(&config(model.addr, "")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let heard = server.heard.lock().len();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(server.heard.lock().len(), heard);
    let other = asks(address).replace("max(load)", "min(load)");
    gateway.reload(&config(model.addr, &other)).await;
    until("the other query", async || {
        server.heard.lock().last().unwrap().0 == "min(load)"
    })
    .await;
}

#[tokio::test]
async fn a_prometheus_that_is_down_is_counted_and_stops_nothing() {
    let model = Model::start(Says::Json(json!({}))).await;
    let down = Model::refusing().await;
    let gateway = Running::start(&config(model.addr, &asks(down))).await;
    until("a failure", async || counted(&gateway, "unreachable") > 0).await;
    assert_eq!(gateway.get("/v1/models").await.status, 200);
}

#[tokio::test]
async fn the_process_and_the_load_of_models_are_evidence() {
    let model = Model::start(Says::Hang).await;
    let gateway = Running::start(&config(model.addr, "")).await;
    let read = |metric: &str, of: SubjectRef<'_>| {
        let now_ms = gateway.gateway.clock().now_ms();
        let store = gateway.gateway.evidence().store();
        store.measure(metric, of, 60, now_ms).unwrap()
    };
    // One request that is not answered: a tenth of the limit.
    let (chat, model) = (gateway.chat("chat"), SubjectRef::Model("m"));
    let busy = async { until("saturation", async || read("saturation", model).value > 0.0).await };
    tokio::select! {
        answer = chat => panic!("{}", answer.text),
        () = busy => {}
    }
    let of_release = SubjectRef::Release {
        model: "m",
        release: "default",
    };
    assert!(read("saturation", of_release).value <= 0.1);
    for metric in ["loop-lag-ms", "queue-depth"] {
        assert!(
            read(metric, SubjectRef::Route("chat")).samples > 0,
            "{metric}"
        );
    }
    let text = gateway
        .gateway
        .telemetry()
        .encode(&Snapshot::default())
        .unwrap();
    assert!(text.contains("\nbackstop_loop_lag_seconds "), "{text}");
    if cfg!(target_os = "linux") {
        assert!(read("process-memory-bytes", model).value > 1e6);
        assert!(read("process-cpu", model).value < 1_000.0);
        assert!(text.contains("\nprocess_cpu_seconds_total "));
        let line = text
            .lines()
            .find(|line| line.starts_with("process_resident_memory_bytes "));
        let bytes: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 1e6);
    }
}
