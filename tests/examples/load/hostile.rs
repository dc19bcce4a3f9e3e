//! Hostile policies are asked beside a well-behaved one.
//!
//! The route `good` is asked at a steady rate throughout. For every misdeed,
//! rounds in which nothing else happens alternate with rounds in which the
//! route `bad`, whose policy does the misdeed, is asked as well, so that noise
//! of the machine falls on both; what is printed are medians of rounds.

use crate::kit::{Connection, Fallible, Gateway, Inside, Model, median, quantile_us, question};
use crate::report::Report;
use anyhow::Context;
use backstop::record::{DecisionRecord, FailureKind, RunOutcome};
use backstop_tests::guest::HOSTILE;
use bytes::Bytes;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of each misdeed, each once undisturbed and once disturbed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Milliseconds of each half of a round.
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(200..=60_000))]
    round_ms: u64,
    /// Requests a second to the good policy's route.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(8..=20_000))]
    rate: u32,
    /// Requests a second to the hostile policy's route.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..=1_000))]
    hostile_rate: u32,
    /// Deadline of the hostile policy in milliseconds; 20 is the gateway's
    /// default for policies that call no models.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=1_000))]
    deadline_ms: u32,
}

/// Misdeeds of `tests/guests/hostile`, and how each must end; none where the
/// guest may be told in time that its deadline has passed, and abstain.
const MISDEEDS: [(&str, Option<FailureKind>); 11] = [
    ("loop", Some(FailureKind::Deadline)),
    ("loop-in-host-calls", Some(FailureKind::Deadline)),
    ("wait-for-model", None),
    ("grow", Some(FailureKind::Memory)),
    ("recurse", Some(FailureKind::Trap)),
    ("trap", Some(FailureKind::Trap)),
    ("panic-with-10-mb", Some(FailureKind::Memory)),
    ("flood-log", Some(FailureKind::Deadline)),
    ("not-a-number", Some(FailureKind::InvalidOutput)),
    ("unknown-model", Some(FailureKind::InvalidOutput)),
    ("ten-thousand-steps", Some(FailureKind::InvalidOutput)),
];

/// Connections to the good route, and to the hostile one.
const CONNECTIONS: u32 = 8;
const HOSTILE_CONNECTIONS: u32 = 4;
/// No decision takes longer than so many times its limit, but for what the
/// machine itself stood still ([`Stalls`]).
const LIMIT_TIMES: f64 = 2.0;
/// How long the threads that look for stalls sleep.
const PROBE: Duration = Duration::from_millis(1);
/// Between two halves of a round, for what was stopped to end.
const PAUSE: Duration = Duration::from_millis(50);

/// Fuel is plenty, so that it is time which stops a loop: that disturbs most.
/// The silent model has no breaker, so that the guest waits for it every time.
const CONFIG: &str = r#"
sandbox.records_max = 200000
[models.m]
provider = "p"
[models.slow]
provider = "silent"
breaker = { initial_state = "disabled" }
[policies.good]
component = "builtin:layered-fallback"
grants = { metrics = ["error-rate", "latency-ms"] }
[policies.bad]
component = "hostile.wasm"
grants = { metrics = ["error-rate"], models = ["slow"], state = true }
revert = { failures = 0 }
[routes.good]
kind = "chat"
models = ["m"]
fallback = "good"
[routes.bad]
kind = "chat"
models = ["m"]
fallback = "bad"
threshold = "bad"
"#;

/// Looks how long the machine lets a thread wait that wants to run: what else
/// runs on it must not count against the sandbox.
struct Stalls {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Duration>>,
}

impl Stalls {
    /// Begins to look, on as many threads as there are cores.
    fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let probe = |stop: Arc<AtomicBool>| {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(PROBE);
                longest = longest.max(begun.elapsed().saturating_sub(PROBE));
            }
            longest
        };
        let threads = (0..cores).map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || probe(stop))
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }

    /// The longest stall since it began.
    fn longest(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let stalls = self.threads.into_iter().map(std::thread::JoinHandle::join);
        stalls.flatten().max().unwrap_or_default()
    }
}

/// What half a round showed.
struct Half {
    /// The longest stall of the machine.
    stall: Duration,
    /// Decisions and requests of the good policy.
    decisions: Vec<Duration>,
    requests: Vec<Duration>,
    /// Decisions of the hostile one that did what they were told to.
    hostile: Vec<Duration>,
    /// What should not have happened.
    wrong: Vec<String>,
}

/// Runs it.
pub(crate) async fn run(options: Options, inside: &Inside) -> Fallible<Report> {
    let (upstream, silent) = (Model::Answers.serve().await?, Model::Silent.serve().await?);
    let config = format!(
        "providers.p = {{ kind = \"openai\", base_url = \"http://{upstream}/v1\" }}\n\
         providers.silent = {{ kind = \"json\", base_url = \"http://{silent}\" }}\n\
         {CONFIG}[policies.bad.limits]\nfuel = 1000000000000\ndeadline_ms = {}\n",
        options.deadline_ms,
    );
    let files = [("hostile.wasm", HOSTILE)];
    let gateway = inside.launch(&config, &files).await?;
    let mut admin = Connection::open(gateway.running.admin).await?;
    let (mut wrong, mut over) = (Vec::new(), Vec::new());
    let (mut hostile_rows, mut decision_rows, mut request_rows) =
        (Vec::new(), Vec::new(), Vec::new());
    let mut asked = 0;
    half(&gateway, &options, None).await?;
    for (misdeed, expected) in MISDEEDS {
        let body = json!({
            "path": gateway.path("hostile.wasm"),
            "settings": { "misdeed": misdeed },
        });
        admin.operate("bad", "activate", &body).await?;
        let (mut quiet, mut disturbed) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            quiet.push(half(&gateway, &options, None).await?);
            disturbed.push(half(&gateway, &options, Some(expected)).await?);
        }
        let limit = Duration::from_millis(options.deadline_ms.into());
        let (mut hostile, mut stall) = (Vec::new(), Duration::ZERO);
        for half in quiet.iter_mut().chain(&mut disturbed) {
            let allowed = limit.mul_f64(LIMIT_TIMES) + half.stall;
            let long = half.hostile.iter().filter(|took| **took > allowed);
            over.extend(long.map(|took| format!("{misdeed} took {took:.1?}")));
            stall = stall.max(half.stall);
            hostile.append(&mut half.hostile);
            let told = half.wrong.drain(..);
            wrong.extend(told.map(|wrong| format!("{misdeed}: {wrong}")));
        }
        asked += hostile.len();
        if hostile.is_empty() {
            wrong.push(format!("{misdeed}: was never asked"));
        }
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        let p50_ms = quantile_us(&mut hostile, 0.5) / 1e3;
        let max_ms = ms(hostile.last().copied().unwrap_or_default());
        let of_limit = max_ms / ms(limit);
        let figures = [hostile.len() as f64, p50_ms, max_ms, of_limit, ms(stall)];
        hostile_rows.push((misdeed.to_owned(), figures));
        let figures = beside(&mut quiet, &mut disturbed, |half| &mut half.decisions);
        decision_rows.push((misdeed.to_owned(), figures));
        let figures = beside(&mut quiet, &mut disturbed, |half| &mut half.requests);
        request_rows.push((misdeed.to_owned(), figures));
    }
    let mut report = Report::default();
    let columns = ["number", "p50 ms", "max ms", "of limit", "stall ms"];
    report.table("hostile decisions", columns, hostile_rows);
    let columns = ["p50 µs", "p50 beside", "p99 µs", "p99 beside", "p99 ratio"];
    report.table("good decisions beside", columns, decision_rows);
    report.table("good requests beside", columns, request_rows);
    let dropped = gateway.running.gateway.host().records().dropped();
    report.check(
        "no record was missed",
        dropped == 0,
        format!("{dropped} lost"),
    );
    report.all(
        "every hostile decision ended within twice its limit",
        asked,
        &over,
    );
    report.all(
        "no request failed, every misdeed ended as it must",
        asked,
        &wrong,
    );
    gateway.running.stop().await;
    Ok(report)
}

/// p50 undisturbed and disturbed, p99 undisturbed and disturbed, and their
/// ratio; medians of the rounds.
fn beside(
    quiet: &mut [Half],
    disturbed: &mut [Half],
    took: fn(&mut Half) -> &mut Vec<Duration>,
) -> [f64; 5] {
    let of = |halves: &mut [Half], q: f64| {
        let each = halves.iter_mut().map(|half| quantile_us(took(half), q));
        median(&mut each.collect::<Vec<_>>())
    };
    let (p50, p50_disturbed) = (of(quiet, 0.5), of(disturbed, 0.5));
    let (p99, p99_disturbed) = (of(quiet, 0.99), of(disturbed, 0.99));
    [p50, p50_disturbed, p99, p99_disturbed, p99_disturbed / p99]
}

/// Half a round: the good route alone or, with how its decisions must end, the
/// hostile one beside it.
async fn half(
    gateway: &Gateway,
    options: &Options,
    hostile: Option<Option<FailureKind>>,
) -> Fallible<Half> {
    let span = Duration::from_millis(options.round_ms);
    let address = gateway.running.data;
    let stalls = Stalls::watch();
    let good = ask(address, "good", options.rate, CONNECTIONS, span);
    let bad = match hostile {
        Some(_) => ask(
            address,
            "bad",
            options.hostile_rate,
            HOSTILE_CONNECTIONS,
            span,
        ),
        None => Vec::new(),
    };
    let mut half = Half {
        stall: Duration::ZERO,
        decisions: Vec::new(),
        requests: Vec::new(),
        hostile: Vec::new(),
        wrong: Vec::new(),
    };
    for caller in good {
        match caller.await? {
            Ok(took) => half.requests.extend(took),
            Err(error) => half.wrong.push(format!("the good route: {error:#}")),
        }
    }
    for caller in bad {
        if let Err(error) = caller.await? {
            half.wrong.push(format!("the hostile route: {error:#}"));
        }
    }
    tokio::time::sleep(PAUSE).await;
    half.stall = stalls.longest();
    let limit = Duration::from_millis(options.deadline_ms.into());
    for record in gateway.running.gateway.host().records().drain() {
        let took = Duration::from_nanos(record.cost.guest_ns + record.cost.host_ns);
        if &*record.revision.policy == "good" {
            half.decisions.push(took);
        } else if let Some(expected) = hostile {
            match judge(&record, expected, took >= limit) {
                Ok(true) => half.hostile.push(took),
                Ok(false) => {}
                Err(what) => half.wrong.push(what),
            }
        }
    }
    Ok(half)
}

/// Whether a decision of the hostile policy did its misdeed, or only the half
/// of the request that it has nothing against.
/// `late` misdeeds may be ended by their deadline before they get far enough.
fn judge(
    record: &DecisionRecord,
    expected: Option<FailureKind>,
    late: bool,
) -> Result<bool, String> {
    match &record.outcome {
        RunOutcome::Failed {
            kind: FailureKind::Deadline,
            ..
        } if late => Ok(true),
        RunOutcome::Failed { kind, detail, .. }
            if *kind != expected.unwrap_or(FailureKind::Deadline) =>
        {
            Err(format!("ended as {}: {detail}", kind.as_str()))
        }
        RunOutcome::Failed { .. } => Ok(true),
        RunOutcome::Suspended => Err("was not asked, but suspended".to_owned()),
        RunOutcome::Abstained { .. } | RunOutcome::Answered => {
            let point = record.input.point();
            Ok(expected.is_none() && point == backstop::record::DecisionPoint::Fallback)
        }
    }
}

/// Asks a route at a steady rate over some connections, for `span`. What each
/// task returns is how long its requests took from the moment when they were
/// due: a slow answer must not make the next request wait unnoticed.
fn ask(
    address: SocketAddr,
    route: &str,
    rate: u32,
    connections: u32,
    span: Duration,
) -> Vec<JoinHandle<Fallible<Vec<Duration>>>> {
    let question = Arc::new(question(route));
    let gap = Duration::from_secs(1) * connections / rate;
    let begin = Instant::now();
    (0..connections)
        .map(|number| {
            let first = begin + gap * number / connections;
            tokio::spawn(steadily(
                address,
                question.clone(),
                first,
                gap,
                begin + span,
            ))
        })
        .collect()
}

async fn steadily(
    address: SocketAddr,
    question: Arc<Bytes>,
    first: Instant,
    gap: Duration,
    end: Instant,
) -> Fallible<Vec<Duration>> {
    let mut connection = Connection::open(address).await.context("connect")?;
    let mut took = Vec::new();
    let mut due = first;
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        connection.ask(&question).await?;
        took.push(due.elapsed());
        due += gap;
    }
    Ok(took)
}
