//! Thousands of streams at once from providers that fail at random: nobody
//! hangs, nothing cut is presented as whole, each request leaves one record,
//! and memory goes back to where it was: that of a gateway that has served a
//! little, and what the documented bounds let it keep.
//!
//! The gateway is a [`process`] of its own, so that its memory can be told from
//! that of callers and providers.

mod process;

pub(crate) use process::{GatewayOptions, gateway};

use crate::kit::Fallible;
use crate::report::Report;
use anyhow::{Context, bail};
use backstop_tests::faulty::words::{delta, end, error, event, finish, head, response};
use backstop_tests::faulty::{Beat, Faulty, Script};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use process::Process;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How many, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds of load.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
    /// Streams at once.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    streams: u32,
}

/// Within which an answer has to begin.
const DEADLINE: Duration = Duration::from_secs(12);
/// A stream that passes at once may take so much longer until its end.
const PASSES_FOR: Duration = Duration::from_secs(10);
/// What a busy machine may add.
const GRACE: Duration = Duration::from_secs(5);
/// Words of an answer.
const WORDS: usize = 10;
/// Of so many callers one hangs up in the middle.
const HANGS_UP: u64 = 20;
/// How long the gateway rests before its memory is looked at: connections
/// beyond the stock go after 5 s, and the allocator needs about a second more.
const REST: Duration = Duration::from_secs(15);
/// Streams at once, and for how long, after which a gateway is warm: code is
/// read in, every thread has its caches, and the first lists have their room.
const WARM: (u32, Duration) = (32, Duration::from_secs(4));
/// What may be kept beside: the newest records of requests (16 MiB), and 32 idle
/// connections to each of the two providers (26 KiB each).
const KEPT_KIB: f64 = (16 << 10) as f64 + 2.0 * 32.0 * 26.0;
/// What fragments, and lists that have grown, may add to the warm gateway.
const RETURN_MAX: f64 = 1.3;

const CONFIG: &str = r#"
server.listen = "127.0.0.1:0"
server.admin = "127.0.0.1:0"
[models.one]
provider = "one"
breaker = { initial_state = "disabled" }
[models.two]
provider = "two"
[rules.sorry]
text = "sorry"
[routes.held]
kind = "chat"
models = ["one", "two"]
deadline_ms = 12000
timeout_ms = 8000
first_token_ms = 2000
idle_ms = 2000
[routes.passing]
kind = "chat"
models = ["one", "two"]
deadline_ms = 12000
timeout_ms = 8000
first_token_ms = 2000
idle_ms = 2000
stream = { hold = "none", total_ms = 9000 }
[routes.restarting]
kind = "chat"
models = ["one", "two"]
rules = ["sorry"]
deadline_ms = 12000
timeout_ms = 8000
first_token_ms = 2000
idle_ms = 2000
stream = { hold = "begin", hold_tokens = 3, total_ms = 9000, after_cut = "restart", restart_text = "|again|" }
"#;

/// An answer whose last word says how many there are, ill in one of three
/// cases.
fn script() -> Script {
    let gap = || Beat::Wait(Duration::from_millis(fastrand::u64(100..500)));
    let word = |text: &str| event(&delta(&json!({ "content": text }), None));
    let mut script = vec![head()];
    for number in 1..WORDS {
        script.push(word(&format!("{number} ")));
        script.push(gap());
    }
    script.push(word(&format!("of {WORDS}.")));
    let middle = fastrand::usize(2..script.len() - 1);
    match fastrand::u32(..30) {
        0 => script.splice(middle.., [Beat::Close]).for_each(drop),
        1 => script.splice(middle.., [Beat::Reset]).for_each(drop),
        2 => script.splice(middle.., [Beat::Hang]).for_each(drop),
        3 => script.splice(middle.., [end()]).for_each(drop),
        4 => return error("503 Service Unavailable", "", "overloaded"),
        5 => return error("429 Too Many Requests", "", "rate_limit_exceeded"),
        6 => return vec![Beat::Hang],
        7 => return vec![Beat::Reset],
        8 => return vec![response("200 OK", "", "<html>no</html>")],
        9 => {
            script.insert(middle, event("{\"choices\":[{"));
            script.extend([finish(), event("[DONE]"), end()]);
        }
        10 => script.extend([finish(), end()]),
        _ => script.extend([finish(), event("[DONE]"), end()]),
    }
    script
}

/// What callers saw.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    whole: AtomicU64,
    errors: AtomicU64,
    hung_up: AtomicU64,
    wrong: parking_lot::Mutex<Vec<String>>,
    took_max_us: AtomicU64,
}

/// Asks again and again until `until`.
async fn caller(address: SocketAddr, number: u64, until: Instant, seen: Arc<Seen>) {
    let route = ["held", "passing", "restarting"][number as usize % 3];
    let mut turn = number;
    while Instant::now() < until {
        turn += 7;
        seen.requests.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let hangs_up = turn.is_multiple_of(HANGS_UP);
        // What passes at once may go on; what is held has all of it in time.
        let longest = match route {
            "held" => DEADLINE + GRACE,
            _ => DEADLINE + PASSES_FOR + GRACE,
        };
        let asked = tokio::time::timeout(longest, ask(address, route, hangs_up)).await;
        let took = begun.elapsed();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        seen.took_max_us.fetch_max(micros, Ordering::Relaxed);
        let wrong = match asked {
            Err(_) => Some(format!("{route}: nothing after {took:?}")),
            Ok(Err(error)) => Some(format!("{route}: {error:#}")),
            Ok(Ok(End::Whole)) => {
                seen.whole.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(Ok(End::Error)) => {
                seen.errors.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(Ok(End::HungUp)) => {
                seen.hung_up.fetch_add(1, Ordering::Relaxed);
                None
            }
        };
        if let Some(wrong) = wrong {
            seen.wrong.lock().push(wrong);
        }
    }
}

enum End {
    Whole,
    Error,
    HungUp,
}

/// One stream, read to its end.
async fn ask(address: SocketAddr, route: &str, hangs_up: bool) -> Fallible<End> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let body =
        json!({"model": route, "stream": true, "messages": [{"role": "user", "content": "?"}]});
    let request = Request::post("/v1/chat/completions")
        .header("host", "localhost")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            text.extend_from_slice(&data);
        }
        if hangs_up {
            driving.abort();
            return Ok(End::HungUp);
        }
    }
    drop(sender);
    let text = String::from_utf8(text)?;
    if status != StatusCode::OK {
        let error: Value = serde_json::from_str(&text)?;
        if error["error"]["code"].is_null() {
            bail!("{status} without an error: {text}");
        }
        return Ok(End::Error);
    }
    judge(&text)
}

/// Holds a stream's text against what it says of itself.
fn judge(events: &str) -> Fallible<End> {
    let (mut said, mut done, mut failed) = (String::new(), false, false);
    for data in events
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
    {
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let event: Value = serde_json::from_str(data).context("an event that nobody can read")?;
        failed |= event.get("error").is_some();
        said.push_str(
            event["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or(""),
        );
    }
    if done == failed {
        bail!("done: {done}, failed: {failed}: {said}");
    }
    if failed {
        return Ok(End::Error);
    }
    // After a restart the last answer counts.
    let last = said.rsplit("|again|").next().unwrap_or_default();
    let whole: String = (1..WORDS).map(|number| format!("{number} ")).collect();
    if last != format!("{whole}of {WORDS}.") && last != "sorry" {
        bail!("presented as whole: {said}");
    }
    Ok(End::Whole)
}

/// Runs it.
pub(crate) async fn run(options: Options) -> Fallible<Report> {
    let folder = tempfile::TempDir::new()?;
    let providers = [
        Faulty::start(|_, _| script()).await?,
        Faulty::start(|_, _| script()).await?,
    ];
    let mut config = CONFIG.to_owned();
    for (name, provider) in ["one", "two"].iter().zip(&providers) {
        config.push_str(&format!(
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\n",
            provider.url()
        ));
    }
    let path = folder.path().join("backstop.toml");
    std::fs::write(&path, config)?;
    let process = Process::start(&path)?;
    let seen = Arc::new(Seen::default());
    let round = async |span: Duration, streams: u32| -> Fallible<f64> {
        let until = Instant::now() + span;
        let callers: Vec<_> = (0..streams)
            .map(|number| {
                let seen = seen.clone();
                tokio::spawn(caller(process.address, number.into(), until, seen))
            })
            .collect();
        let mut peak = 0.0_f64;
        while callers.iter().any(|caller| !caller.is_finished()) {
            peak = peak.max(process.resident_kib()?);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Ok(peak)
    };
    let rested = async || -> Fallible<f64> {
        tokio::time::sleep(REST).await;
        process.resident_kib()
    };
    let fresh = process.resident_kib()?;
    round(WARM.1, WARM.0).await?;
    let warm = rested().await?;
    let first = Duration::from_secs(options.seconds.div_ceil(4));
    round(first, options.streams).await?;
    let between = rested().await?;
    let begun = Instant::now();
    let peak = round(Duration::from_secs(options.seconds), options.streams).await?;
    let took = begun.elapsed();
    let after = rested().await?;
    let counted = process.stop()?;

    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let requests = count(&seen.requests);
    let mut report = Report::default();
    let row = [
        requests as f64,
        count(&seen.whole) as f64,
        count(&seen.errors) as f64,
        count(&seen.hung_up) as f64,
        count(&seen.took_max_us) as f64 / 1e6,
    ];
    report.table(
        "streams",
        ["requests", "whole", "errors", "hung up", "longest s"],
        vec![(
            format!("{} for {:.0} s", options.streams, took.as_secs_f64()),
            row,
        )],
    );
    let row = [fresh, warm, between, peak, after].map(|kib| kib / 1024.0);
    report.table(
        "the gateway's memory, MiB",
        ["fresh", "warm", "first round", "peak", "after"],
        vec![("resident".to_owned(), row)],
    );
    let wrong = std::mem::take(&mut *seen.wrong.lock());
    report.all(
        "no hang, and nothing cut is presented as whole",
        usize::try_from(requests)?,
        &wrong,
    );
    let (ended, written) = (counted["requests"], counted["records"]);
    report.check(
        "each request has one record",
        ended == requests && written == requests,
        format!("{requests} asked, {ended} counted, {written} recorded"),
    );
    let bound = warm * RETURN_MAX + KEPT_KIB;
    report.check(
        "memory goes back to where it was",
        after <= bound,
        format!(
            "{:.1} MiB, at most {:.1}: {RETURN_MAX} times a warm gateway, and {:.1} MiB of records and connections",
            after / 1024.0,
            bound / 1024.0,
            KEPT_KIB / 1024.0
        ),
    );
    Ok(report)
}
