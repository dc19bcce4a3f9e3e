//! How much a gateway adds: the same requests straight to a model, and through
//! a gateway without and with policies on every one, in alternation.

use crate::kit::{Connection, Fallible, Inside, Model, quantile_us, question};
use crate::report::Report;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long and how wide.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds of each round.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=30))]
    seconds: u64,
    /// Connections of the second half; the first has one.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
}

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

/// One connection's requests until `end`; their durations.
async fn caller(address: SocketAddr, question: Bytes, end: Instant) -> Fallible<Vec<Duration>> {
    let mut connection = Connection::open(address).await?;
    let mut took = Vec::with_capacity(1 << 16);
    while Instant::now() < end {
        let begun = Instant::now();
        connection.ask(&question).await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// Requests per second, and p50 and p99 in microseconds.
async fn load(
    address: SocketAddr,
    question: &Bytes,
    connections: u16,
    span: Duration,
) -> Fallible<[f64; 3]> {
    let end = Instant::now() + span;
    let callers: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(caller(address, question.clone(), end)))
        .collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await??);
    }
    let rate = took.len() as f64 / span.as_secs_f64();
    let p50 = quantile_us(&mut took, 0.5);
    Ok([rate, p50, quantile_us(&mut took, 0.99)])
}

/// Runs it; nothing is checked but that every request is answered.
pub(crate) async fn run(options: Options, inside: &Inside) -> Fallible<Report> {
    let upstream = Model::Answers.serve().await?;
    let provider =
        format!("providers.p = {{ kind = \"openai\", base_url = \"http://{upstream}/v1\" }}\n");
    let gateway = inside.launch(&(provider + CONFIG), &[]).await?;
    let span = Duration::from_secs(options.seconds);
    let address = gateway.running.data;
    let (chat, plain) = (question("chat"), question("plain"));
    let warm_up = span.min(Duration::from_secs(1));
    load(address, &chat, options.connections, warm_up).await?;
    let mut rows = Vec::new();
    for connections in [1, options.connections] {
        for round in 1..=2 {
            for (name, address, question) in [
                ("the model itself", upstream, &chat),
                ("no policies", address, &plain),
                ("two policies", address, &chat),
            ] {
                let figures = load(address, question, connections, span).await?;
                rows.push((format!("{name} ({connections}, {round})"), figures));
            }
        }
    }
    gateway.running.stop().await;
    let mut report = Report::default();
    report.table("through", ["requests/s", "p50 µs", "p99 µs"], rows);
    Ok(report)
}
