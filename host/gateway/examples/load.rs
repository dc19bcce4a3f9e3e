//! How much a gateway adds: the same requests straight to a model and through
//! a gateway with policies on every one, in alternation and in one process.
//!
//! `cargo run --release -p backstop-gateway --example load [seconds] [connections]`
//!
//! Everything shares this machine's cores, so that only the ratios mean
//! something. Bounded in time and connections.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use backstop_gateway::config::Config;
use backstop_gateway::gateway::{Gateway, GatewayParts};
use backstop_gateway::server::Server;
use backstop_gateway::store::{Incidents, SqliteStore, Store, StoreOptions};
use backstop_gateway::telemetry::Telemetry;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there, how can I help you today?"},"logprobs":{"content":[{"token":"Hello","logprob":-0.01,"bytes":null,"top_logprobs":[]}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
const QUESTION: &str = r#"{"model":"chat","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Hello! What can you do for me?"}]}"#;

const CONFIG: &str = r#"
[policies.layered]
component = "builtin:layered-fallback"
grants = { metrics = ["error-rate", "latency-ms"] }
[policies.confidence]
component = "builtin:confidence-threshold"
grants = { metrics = ["accuracy", "confidence", "escalation-rate", "review-rate"] }
[models.m]
provider = "p"
[routes.chat]
kind = "chat"
models = ["m"]
fallback = "layered"
threshold = "confidence"
[routes.plain]
kind = "chat"
models = ["m"]
"#;

async fn model(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| async move {
                request.into_body().collect().await?;
                let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
                response.headers_mut().insert(
                    "content-type",
                    hyper::header::HeaderValue::from_static("application/json"),
                );
                Ok::<_, hyper::Error>(response)
            });
            let builder = hyper::server::conn::http1::Builder::new();
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// One connection's requests until `end`; their durations.
async fn caller(addr: SocketAddr, question: Bytes, end: Instant) -> Fallible<Vec<Duration>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut took = Vec::with_capacity(1 << 16);
    while Instant::now() < end {
        let begun = Instant::now();
        sender.ready().await?;
        let request = Request::post("/v1/chat/completions")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(question.clone()))?;
        let response = sender.send_request(request).await?;
        if response.status() != 200 {
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        response.into_body().collect().await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// Requests per second, and p50 and p99 in microseconds.
async fn load(
    addr: SocketAddr,
    question: &str,
    connections: usize,
    span: Duration,
) -> Fallible<(f64, f64, f64)> {
    let end = Instant::now() + span;
    let question = Bytes::copy_from_slice(question.as_bytes());
    let callers: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(caller(addr, question.clone(), end)))
        .collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await??);
    }
    took.sort_unstable();
    let at = |q: f64| {
        let index = (took.len() as f64 * q) as usize;
        took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    Ok((took.len() as f64 / span.as_secs_f64(), at(0.5), at(0.99)))
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().map_or(Ok(2), |text| text.parse())?;
    let connections: usize = args.next().map_or(Ok(32), |text| text.parse())?;
    let span = Duration::from_secs(seconds.clamp(1, 30));
    let connections = connections.clamp(1, 256);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let upstream = listener.local_addr()?;
    tokio::spawn(model(listener));

    let data_dir = std::env::temp_dir().join(format!("backstop-load-{}", std::process::id()));
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndata_dir = {data_dir:?}\n\
         [providers.p]\nkind = \"openai\"\nbase_url = \"http://{upstream}/v1\"\n{CONFIG}"
    );
    let config = Config::from_str(&text, "load", Path::new(""), &|_| None)?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&data_dir, StoreOptions::default())?);
    let parts = GatewayParts {
        incidents: Arc::new(Incidents::start(store.clone()).await?),
        store,
        telemetry: Arc::new(Telemetry::new()),
    };
    let gateway = Gateway::start(config, parts).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(Server::new(gateway, listener).run(std::future::pending()));

    let plain = QUESTION.replace("\"chat\"", "\"plain\"");
    load(
        addr,
        QUESTION,
        connections,
        span.min(Duration::from_secs(1)),
    )
    .await?;
    println!(
        "{:<28}{:>12}{:>12}{:>12}",
        "", "requests/s", "p50 µs", "p99 µs"
    );
    for connections in [1, connections] {
        for round in 1..=2 {
            for (name, addr, question) in [
                ("straight to the model", upstream, QUESTION),
                ("gateway, no policies", addr, &*plain),
                ("gateway, two policies", addr, QUESTION),
            ] {
                let (rate, p50, p99) = load(addr, question, connections, span).await?;
                let name = format!("{name} ({connections}, {round})");
                println!("{name:<34}{rate:>10.0}{p50:>12.0}{p99:>12.0}");
            }
        }
    }
    std::fs::remove_dir_all(&data_dir)?;
    Ok(())
}
