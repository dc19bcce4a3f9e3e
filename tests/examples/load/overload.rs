//! Four times as many requests as a model can answer: how many are answered,
//! how fast, and what the others are told, without a limit and with one that
//! follows the model.

use crate::kit::{Connection, Fallible, Inside, quantile_us, question};
use crate::report::Report;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long, and how much.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds of overload, for each route.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=120))]
    seconds: u64,
    /// Calls that the model works on at once; the others wait in line at it.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    capacity: u32,
    /// Milliseconds of each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(10..=1_000))]
    service_ms: u64,
    /// How many times its capacity is asked.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=10))]
    times: u32,
}

/// How long callers wait; the model without a limit keeps most of them waiting.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds at the beginning of an overload that are not looked at: the limit
/// finds its place.
const SETTLES: Duration = Duration::from_secs(3);

const CONFIG: &str = r#"
[models.open]
provider = "p"
limit = { kind = "none" }
[models.limited]
provider = "p"
limit = { kind = "adaptive", tolerance = 1.05, queue = 100, queue_ms = 5 }
[routes.open]
kind = "chat"
models = ["open"]
retry = { retries = 0 }
deadline_ms = 10000
[routes.limited]
kind = "chat"
models = ["limited"]
retry = { retries = 0 }
deadline_ms = 10000
"#;

const ANSWER: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;

/// A model that works on `capacity` calls at once, each for `service`.
async fn model(capacity: u32, service: Duration) -> Fallible<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let workers = Arc::new(Semaphore::new(capacity as usize));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let workers = workers.clone();
            tokio::spawn(async move {
                let answer = service_fn(|request: Request<Incoming>| {
                    let workers = workers.clone();
                    async move {
                        request.into_body().collect().await?;
                        let worker = workers.acquire().await;
                        tokio::time::sleep(service).await;
                        drop(worker);
                        let body = Full::new(Bytes::from_static(ANSWER.as_bytes()));
                        Ok::<_, hyper::Error>(Response::new(body))
                    }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    Ok(address)
}

/// One answer as its caller saw it.
struct Seen {
    began: Duration,
    took: Duration,
    status: StatusCode,
    says_when: bool,
}

/// Connections that nobody uses just now.
type Idle = Arc<Mutex<Vec<Connection>>>;

async fn ask(address: SocketAddr, idle: Idle, question: Bytes) -> Fallible<(StatusCode, bool)> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut connection = match kept {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let response = connection.ask_any(&question).await?;
    idle.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(connection);
    Ok((
        response.status(),
        response.headers().contains_key("retry-after"),
    ))
}

/// Asks `rate` times a second for `span`, whether or not answers come.
async fn pour(address: SocketAddr, question: &Bytes, rate: f64, span: Duration) -> Vec<Seen> {
    let idle = Idle::default();
    let begun = Instant::now();
    let mut asked = Vec::new();
    while begun.elapsed() < span {
        let due = begun.elapsed().as_secs_f64() * rate;
        while (asked.len() as f64) < due {
            let (idle, question) = (idle.clone(), question.clone());
            asked.push(tokio::spawn(async move {
                let began = begun.elapsed();
                let answer = tokio::time::timeout(PATIENCE, ask(address, idle, question)).await;
                let (status, says_when) = match answer {
                    Ok(Ok(answer)) => answer,
                    _ => (StatusCode::REQUEST_TIMEOUT, false),
                };
                Seen {
                    began,
                    took: begun.elapsed() - began,
                    status,
                    says_when,
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut seen = Vec::with_capacity(asked.len());
    for asked in asked {
        seen.extend(asked.await);
    }
    seen
}

/// One after the other, for a while; how long each took.
async fn at_rest(address: SocketAddr, question: &Bytes) -> Fallible<Vec<Duration>> {
    let mut connection = Connection::open(address).await?;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let begun = Instant::now();
        connection.ask(question).await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// Runs it. Checked: with the limit, goodput is 90 % of the capacity, answers
/// take at most twice as long as at rest, and whoever gets none is told when
/// to come again.
pub(crate) async fn run(options: Options, inside: &Inside) -> Fallible<Report> {
    let service = Duration::from_millis(options.service_ms);
    let upstream = model(options.capacity, service).await?;
    let provider =
        format!("providers.p = {{ kind = \"openai\", base_url = \"http://{upstream}/v1\" }}\n");
    let gateway = inside.launch(&(provider + CONFIG), &[]).await?;
    let address = gateway.running.data;
    let capacity = f64::from(options.capacity) / service.as_secs_f64();
    let span = Duration::from_secs(options.seconds);
    let mut report = Report::default();
    let mut rows = Vec::new();
    for route in ["open", "limited"] {
        let question = question(route);
        let mut rest = at_rest(address, &question).await?;
        let rest_p99 = quantile_us(&mut rest, 0.99);
        let rate = capacity * f64::from(options.times);
        let seen = pour(address, &question, rate, span).await;
        let settled: Vec<&Seen> = seen.iter().filter(|seen| seen.began >= SETTLES).collect();
        let mut good: Vec<Duration> = settled
            .iter()
            .filter(|seen| seen.status == StatusCode::OK)
            .map(|seen| seen.took)
            .collect();
        let goodput = good.len() as f64 / (span - SETTLES).as_secs_f64();
        let p50 = quantile_us(&mut good, 0.5);
        let p99 = quantile_us(&mut good, 0.99);
        rows.push((
            route.to_owned(),
            [
                goodput,
                goodput / capacity,
                p50 / 1e3,
                p99 / 1e3,
                rest_p99 / 1e3,
                p99 / rest_p99,
            ],
        ));
        if route == "limited" {
            report.check(
                "goodput",
                goodput >= 0.9 * capacity,
                format!("{goodput:.0} of {capacity:.0} requests/s, at least 90 %"),
            );
            report.check(
                "p99 of what is answered",
                p99 <= 2.0 * rest_p99,
                format!("{:.2} times that at rest, at most 2", p99 / rest_p99),
            );
            let told = [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::TOO_MANY_REQUESTS,
            ];
            let wrong: Vec<String> = seen
                .iter()
                .filter(|seen| seen.status != StatusCode::OK)
                .filter(|seen| !told.contains(&seen.status) || !seen.says_when)
                .map(|seen| format!("{} after {:?}", seen.status, seen.took))
                .collect();
            report.all("everybody is answered or told when", seen.len(), &wrong);
        }
        // What the first route left in line at the model is not the next one's.
        tokio::time::sleep(PATIENCE).await;
    }
    gateway.running.stop().await;
    report.table(
        "overload",
        [
            "good/s",
            "of capacity",
            "p50 ms",
            "p99 ms",
            "rest p99 ms",
            "ratio",
        ],
        rows,
    );
    Ok(report)
}
