//! Policies are swapped while callers ask at full speed.
//!
//! Two routes, each with a policy of its own: one is swapped through the admin
//! plane (other settings, and back), the other by replacing its component's
//! file. Whatever a policy decides shows in the model that it calls first, so
//! that every answer and every record tells which revision made it. Swaps come
//! in every other second; in between it is quiet, for comparison.

mod evidence;

use crate::kit::{Connection, Fallible, Gateway, Inside, Model, question};
use crate::report::Report;
use anyhow::{Context, bail};
use backstop_tests::guest::BACKUP_FIRST;
use evidence::{Answer, Evidence, Record, Revision, Swap};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many, how long, how wide.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Swaps.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    swaps: u32,
    /// Seconds of load.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// Connections that ask, one request after the other.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=256))]
    connections: u16,
}

/// The routes, and the policies of the same names.
const ROUTES: [&str; 2] = ["posted", "filed"];
const POSTED: usize = 0;
const FILED: usize = 1;
/// The component file of `filed`.
const FILE: &str = "filed.wasm";
/// The ring is emptied this often, which leaves it almost empty.
const DRAIN_EVERY: Duration = Duration::from_millis(20);
/// A file that was replaced serves within this time, or never will.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two swaps, so that each has requests of its own.
const SWAP_GAP: Duration = Duration::from_millis(20);
/// A run whose swaps take long ends after so many times its span.
const OVERTIME: u32 = 3;
/// A caller whose request failed waits, or it would only measure failures.
const FAILURE_WAIT: Duration = Duration::from_millis(10);

/// The deadlines are far above what a decision takes, so that a machine that
/// has other things to do fails none.
const CONFIG: &str = r#"
sandbox.records_max = 200000
[models.first]
provider = "p"
[models.second]
provider = "p"
[policies.posted]
component = "builtin:layered-fallback"
grants = { metrics = ["error-rate", "latency-ms"] }
limits = { deadline_ms = 5000 }
[policies.filed]
component = "filed.wasm"
grants = { metrics = ["error-rate", "latency-ms"] }
limits = { deadline_ms = 5000 }
[routes.posted]
kind = "chat"
models = ["first", "second"]
fallback = "posted"
[routes.filed]
kind = "chat"
models = ["first", "second"]
fallback = "filed"
"#;

/// Runs it.
pub(crate) async fn run(options: Options, inside: &Inside) -> Fallible<Report> {
    let layered = backstop_policies::component("layered-fallback").context("it is shipped")?;
    let upstream = Model::Answers.serve().await?;
    let provider =
        format!("providers.p = {{ kind = \"openai\", base_url = \"http://{upstream}/v1\" }}\n");
    let gateway = inside
        .launch(&(provider + CONFIG), &[(FILE, layered)])
        .await?;
    let gateway = Arc::new(gateway);
    let stop = Arc::new(AtomicBool::new(false));
    let records = tokio::spawn(collect(gateway.clone(), stop.clone()));
    let begun = Instant::now();
    let callers: Vec<_> = (0..options.connections)
        .map(|number| {
            let route = usize::from(number) % ROUTES.len();
            tokio::spawn(caller(gateway.clone(), route, stop.clone()))
        })
        .collect();
    let mut evidence = Evidence::new(begun);
    let swapped = swap(&gateway, &options, layered, &mut evidence).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let (answers, failures) = caller.await?;
        evidence.answers.extend(answers);
        evidence.failures.extend(failures);
    }
    evidence.records = records.await?;
    evidence.dropped = gateway.running.gateway.host().records().dropped();
    swapped?;
    if let Ok(gateway) = Arc::try_unwrap(gateway) {
        gateway.running.stop().await;
    }
    Ok(evidence.report(options.swaps as usize))
}

/// Asks `route` until `stop`.
async fn caller(
    gateway: Arc<Gateway>,
    route: usize,
    stop: Arc<AtomicBool>,
) -> (Vec<Answer>, Vec<String>) {
    let question = question(ROUTES[route]);
    let (mut answers, mut failures) = (Vec::with_capacity(1 << 16), Vec::new());
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answered = async {
            let open = match connection.take() {
                Some(open) => open,
                None => Connection::open(gateway.running.data).await?,
            };
            let response = connection.insert(open).ask(&question).await?;
            Answer::read(route, begun, &response)
        };
        match answered.await {
            Ok(answer) => answers.push(answer),
            Err(error) => {
                connection = None;
                failures.push(format!("{error:#}"));
                tokio::time::sleep(FAILURE_WAIT).await;
            }
        }
    }
    (answers, failures)
}

/// Empties the ring of records until `stop`, and once more when every caller
/// has its answer.
async fn collect(gateway: Arc<Gateway>, stop: Arc<AtomicBool>) -> Vec<Record> {
    let mut kept = Vec::new();
    let mut drain = || {
        let records = gateway.running.gateway.host().records().drain();
        kept.extend(records.iter().map(|record| Record::read(record)));
    };
    while !stop.load(Ordering::Relaxed) {
        drain();
        tokio::time::sleep(DRAIN_EVERY).await;
    }
    // A record is in the ring before its caller has the answer, and a caller
    // that has not stopped yet waits for one answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drain();
    kept
}

/// Swaps until both the number and the span are reached, or it is overtime.
async fn swap(
    gateway: &Gateway,
    options: &Options,
    layered: &[u8],
    evidence: &mut Evidence,
) -> Fallible<()> {
    for (route, name) in ROUTES.iter().enumerate() {
        let policy = gateway.running.gateway.host().policy(name);
        let serving = policy.context("it was activated")?.serving();
        evidence.revisions.insert(
            (route, serving.number),
            Revision {
                digest: serving.digest.to_string(),
                model: 0,
            },
        );
    }
    let begun = evidence.begun;
    let span = Duration::from_secs(options.seconds);
    let busy_seconds = (options.seconds / 2).max(1) as u32;
    let in_a_second = options.swaps.div_ceil(busy_seconds);
    let mut admin = Connection::open(gateway.running.admin).await?;
    for number in 0..options.swaps {
        let second = Duration::from_secs(1);
        let at = second * (2 * (number / in_a_second) + 1)
            + second * (number % in_a_second) / in_a_second;
        tokio::time::sleep_until((begun + at).into()).await;
        if begun.elapsed() > span * OVERTIME {
            break;
        }
        // The first of three is the operator's other settings, the last one
        // takes them back.
        let done = match number % 3 {
            0 => activate(&mut admin).await?,
            2 => roll_back(&mut admin, evidence).await?,
            _ => replace(gateway, layered, number % 2 == 0).await?,
        };
        let (swap, revision, digest) = done;
        let known = Revision {
            digest,
            model: swap.model,
        };
        evidence.revisions.insert((swap.route, revision), known);
        evidence.swaps.push(swap);
        tokio::time::sleep(SWAP_GAP).await;
    }
    tokio::time::sleep_until((begun + span).into()).await;
    Ok(())
}

/// A swap, and the revision that serves after it with its digest.
type Swapped = (Swap, u64, String);

fn replied(reply: &Value) -> Fallible<(u64, String)> {
    let revision = &reply["revision"];
    match (revision["number"].as_u64(), revision["digest"].as_str()) {
        (Some(number), Some(digest)) => Ok((number, digest.to_owned())),
        _ => bail!("the admin plane replied {reply}"),
    }
}

/// Activates the settings that call the second model first.
async fn activate(admin: &mut Connection) -> Fallible<Swapped> {
    let body = json!({
        "builtin": "layered-fallback",
        "settings": { "models": ["second", "first"] },
    });
    let begun = Instant::now();
    let reply = admin.operate(ROUTES[POSTED], "activate", &body).await?;
    let swap = Swap {
        way: "activate",
        route: POSTED,
        begun,
        done: Instant::now(),
        model: 1,
    };
    let (number, digest) = replied(&reply)?;
    Ok((swap, number, digest))
}

/// Goes back to the revision before.
async fn roll_back(admin: &mut Connection, evidence: &Evidence) -> Fallible<Swapped> {
    let begun = Instant::now();
    let reply = admin
        .operate(ROUTES[POSTED], "rollback", &json!({}))
        .await?;
    let done = Instant::now();
    let (number, digest) = replied(&reply)?;
    let known = evidence.revisions.get(&(POSTED, number));
    let model = known
        .context("went back to a revision that never was")?
        .model;
    if model != 0 {
        bail!("went back to revision {number}, which is not the one before");
    }
    Ok((
        Swap {
            way: "roll back",
            route: POSTED,
            begun,
            done,
            model,
        },
        number,
        digest,
    ))
}

/// Puts the other component in the place of the file and waits until it serves.
async fn replace(gateway: &Gateway, layered: &[u8], first: bool) -> Fallible<Swapped> {
    let policy = gateway.running.gateway.host().policy(ROUTES[FILED]);
    let policy = policy.context("it was activated")?;
    let before = policy.serving().number;
    let begun = Instant::now();
    gateway.replace(FILE, if first { layered } else { BACKUP_FIRST })?;
    loop {
        let serving = policy.serving();
        if serving.number != before {
            let (done, model) = (Instant::now(), usize::from(!first));
            let swap = Swap {
                way: "replace file",
                route: FILED,
                begun,
                done,
                model,
            };
            return Ok((swap, serving.number, serving.digest.to_string()));
        }
        if begun.elapsed() > RELOAD_WAIT_MAX {
            bail!("`{FILE}` was replaced and is not served; see /admin/v1/config");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
