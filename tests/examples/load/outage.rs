//! A model is out for a minute, with the breaker's own times: how often it is
//! asked meanwhile, what callers get, and when it has its traffic back.

use crate::kit::{Connection, Fallible, Inside, quantile_us, question};
use crate::report::Report;
use backstop_tests::faulty::words::{error, good};
use backstop_tests::faulty::{Faulty, Heard};
use bytes::Bytes;
use http::StatusCode;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long, and how much.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds of the outage.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(15..=600))]
    seconds: u64,
    /// Callers, each of whom asks twenty times a second.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
    callers: u32,
}

/// Traffic before the outage, and at most after it.
const BEFORE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(20);
/// Between two questions of one caller.
const PAUSE: Duration = Duration::from_millis(50);
/// A model's default open interval is 5 s with a fifth of jitter, growing to
/// 10 s: no two trials are closer, and none is later.
const APART_MIN: Duration = Duration::from_secs(4);
const BACK_MAX: Duration = Duration::from_secs(11);
/// What is looked at apart, at the beginning and after the end.
const UNDER_WAY: Duration = Duration::from_secs(1);

const PRIMARY: &str = "one two three";
const BACKUP: &str = "eins zwei drei";

/// One answer as its caller saw it, and when.
struct Seen {
    at: Duration,
    took: Duration,
    status: StatusCode,
    by: Option<bool>,
}

async fn call(
    address: SocketAddr,
    question: Bytes,
    began: Instant,
    over: Arc<AtomicBool>,
) -> Fallible<Vec<Seen>> {
    let mut connection = Connection::open(address).await?;
    let mut seen = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let at = began.elapsed();
        let answer = connection.ask_any(&question).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        let by = match (text.contains(PRIMARY), text.contains(BACKUP)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        };
        seen.push(Seen {
            at,
            took: began.elapsed() - at,
            status: answer.status(),
            by,
        });
        tokio::time::sleep(PAUSE).await;
    }
    Ok(seen)
}

/// Requests during the outage until the breaker opened, and the trials after
/// it, as times since the outage began. It opened where the first pause of an
/// open interval is.
fn trials(heard: &[Heard], outage: Duration) -> (Vec<Duration>, Vec<Duration>) {
    let mut during: Vec<Duration> = heard
        .iter()
        .filter_map(|heard| heard.at.checked_sub(BEFORE))
        .filter(|at| *at < outage)
        .collect();
    let pause = during
        .windows(2)
        .position(|two| two[1] - two[0] >= APART_MIN);
    let trials = during.split_off(pause.map_or(during.len(), |last| last + 1));
    (during, trials)
}

/// Runs it. Checked: everybody gets a whole answer, the model is asked once
/// per half-open period, and has its traffic back within seconds.
pub(crate) async fn run(options: Options, inside: &Inside) -> Fallible<Report> {
    let outage = Duration::from_secs(options.seconds);
    let began = Instant::now();
    let out = move || (BEFORE..BEFORE + outage).contains(&began.elapsed());
    let primary = Faulty::start(move |_, stream| match out() {
        true => error("503 Service Unavailable", "", "overloaded"),
        false => good(PRIMARY, stream),
    })
    .await?;
    let backup = Faulty::start(|_, stream| good(BACKUP, stream)).await?;
    let config = format!(
        "[providers]\np = {{ kind = \"openai\", base_url = \"{}\" }}\n\
         b = {{ kind = \"openai\", base_url = \"{}\" }}\n\
         [models]\nprimary = {{ provider = \"p\" }}\nbackup = {{ provider = \"b\" }}\n\
         [routes.chat]\nkind = \"chat\"\nmodels = [\"primary\", \"backup\"]\n",
        primary.url(),
        backup.url()
    );
    let gateway = inside.launch(&config, &[]).await?;
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..options.callers)
        .map(|_| {
            let question = question("chat");
            tokio::spawn(call(gateway.running.data, question, began, over.clone()))
        })
        .collect();
    tokio::time::sleep((BEFORE + outage + AFTER).saturating_sub(began.elapsed())).await;
    over.store(true, Ordering::Relaxed);
    let mut seen = Vec::new();
    for caller in callers {
        seen.extend(caller.await??);
    }
    gateway.running.stop().await;

    let mut report = Report::default();
    let wrong: Vec<String> = seen
        .iter()
        .filter(|seen| seen.status != StatusCode::OK || seen.by.is_none())
        .map(|seen| format!("{} at {:?}", seen.status, seen.at))
        .collect();
    report.all("whole answers of one model", seen.len(), &wrong);

    let (opening, trials) = trials(&primary.heard(), outage);
    let closest = trials.windows(2).map(|two| two[1] - two[0]).min();
    let closest = closest.unwrap_or_default();
    report.check(
        "one trial per half-open period",
        trials.len() >= 2 && closest >= APART_MIN,
        format!(
            "{} trials, at least {closest:.1?} apart, after {} calls in {:.1?} by which it opened",
            trials.len(),
            opening.len(),
            opening.last().copied().unwrap_or_default()
        ),
    );

    let end = BEFORE + outage;
    let back = seen
        .iter()
        .filter(|seen| seen.at > end && seen.by == Some(true))
        .map(|seen| seen.at - end)
        .min();
    report.check(
        "traffic is back",
        back.is_some_and(|back| back <= BACK_MAX),
        match back {
            Some(back) => format!("{back:.1?} after the outage, at most {BACK_MAX:?}"),
            None => "not within the run".to_owned(),
        },
    );
    let settled = end + back.unwrap_or(AFTER) + UNDER_WAY;
    let elsewhere = seen
        .iter()
        .filter(|seen| seen.at > settled && seen.by != Some(true));
    let late: Vec<String> = elsewhere.map(|seen| format!("{:?}", seen.at)).collect();
    report.all("all of it, a second later", seen.len(), &late);

    let spans = [
        ("before", Duration::ZERO..BEFORE),
        ("its first second", BEFORE..BEFORE + UNDER_WAY),
        ("the rest of it", BEFORE + UNDER_WAY..end),
        ("after", end..end + AFTER),
    ];
    let rows = spans.map(|(name, span)| {
        let within = || seen.iter().filter(|seen| span.contains(&seen.at));
        let mut took: Vec<Duration> = within().map(|seen| seen.took).collect();
        let primary = within().filter(|seen| seen.by == Some(true)).count();
        let share = primary as f64 / took.len().max(1) as f64;
        let p50 = quantile_us(&mut took, 0.5) / 1e3;
        let p99 = quantile_us(&mut took, 0.99) / 1e3;
        (name.to_owned(), [took.len() as f64, share, p50, p99])
    });
    report.table(
        "outage",
        ["requests", "by primary", "p50 ms", "p99 ms"],
        rows.into(),
    );
    Ok(report)
}
