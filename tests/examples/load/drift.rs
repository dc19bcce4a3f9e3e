//! A model gets worse: what callers receive, what is escalated, and when
//! somebody is told, on four routes to copies of the same model.
//!
//! The routes have no policy, a fixed line of confidence
//! (`confidence-threshold`), a line that moves (`adaptive-threshold`), and a
//! guard (`drift-guard`). The line is chosen by calibration on a history of the
//! model as it was. Callers know the truth, and tell it of some answers two
//! seconds later. The model drifts silently (as sure as before, and wrong more
//! often) or visibly (less sure, and as wrong as it says).

use crate::kit::{Connection, Fallible, Inside};
use crate::report::Report;
use anyhow::{Context, bail};
use backstop_core::calibrate::{Bound, Margin, Method, Question, Row, Scores, choose};
use backstop_gateway::upstream::Change;
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How it drifts, and how long is looked at.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How the model gets worse.
    #[arg(long, value_enum, default_value_t = Kind::Silent)]
    kind: Kind,
    /// Seconds before the drift, and after it.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u64).range(40..=600))]
    seconds: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// As sure as before, and wrong more often.
    Silent,
    /// Less sure, and as wrong as it says.
    Visible,
}

impl Kind {
    /// What changes in the simulated provider.
    fn change(self) -> Change {
        match self {
            Kind::Silent => Change {
                overconfidence: Some(0.2),
                ..Change::default()
            },
            Kind::Visible => Change {
                confidence: Some(0.72),
                ..Change::default()
            },
        }
    }
}

/// Routes by name, each to a model of its own.
const ROUTES: [&str; 4] = ["none", "fixed", "adaptive", "guard"];
const CALLERS: usize = 4;
/// Between two questions of one caller.
const PAUSE: Duration = Duration::from_millis(20);
/// One of so many answers gets a label, and when.
const LABEL_EVERY: usize = 3;
const LABEL_AFTER: Duration = Duration::from_secs(2);
/// What may be wrong among accepted answers.
const ERROR_MAX: f64 = 0.08;
/// The start is left out: windows fill. What is called "after" is the last part.
const FILLING: Duration = Duration::from_secs(15);
const SETTLED: Duration = Duration::from_secs(20);

/// A generator of numbers in `[0, 1)`.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The line that a history of the model as it is before supports.
fn calibrated() -> Fallible<f64> {
    let (mut draws, mut scores) = (Draws(7), Scores::default());
    for _ in 0..20_000 {
        let score = 0.7 + 0.3 * draws.next();
        scores.add(score, Row::new(draws.next() < score))?;
    }
    let question = Question {
        error_max: ERROR_MAX,
        delta: 0.05,
        method: Method::FixedSequence,
        bound: Bound::ClopperPearson,
        margin: Margin::NextScore,
    };
    match choose(&scores.curve(), &question).found() {
        Some(choice) => Ok(choice.line.accept_at),
        None => bail!("the history supports no line"),
    }
}

fn config(line: f64) -> String {
    let mut config = String::from(
        "[providers.strong-one]\nkind = \"simulated\"\nlatency_ms = 2\nconfidence = 0.97\n\
         confidence_jitter = 0.02\ntruth_pointer = \"/truth\"\n\
         [models.strong]\nprovider = \"strong-one\"\n\
         confidence_pointer = \"/confidence\"\nlabel_pointer = \"/label\"\n",
    );
    for (seed, route) in ROUTES.iter().enumerate() {
        let threshold = match *route {
            "none" => String::new(),
            policy => format!("threshold = \"{policy}\"\n"),
        };
        config += &format!(
            "[providers.p-{route}]\nkind = \"simulated\"\nseed = {seed}\nlatency_ms = 2\n\
             confidence = 0.85\nconfidence_jitter = 0.15\ntruth_pointer = \"/truth\"\n\
             [models.m-{route}]\nprovider = \"p-{route}\"\n\
             confidence_pointer = \"/confidence\"\nlabel_pointer = \"/label\"\n\
             [routes.{route}]\nkind = \"json\"\nmodels = [\"m-{route}\", \"strong\"]\n{threshold}\
             [routes.{route}.feedback]\n"
        );
    }
    config
        + &format!(
            "[policies.fixed]\ncomponent = \"builtin:confidence-threshold\"\n\
             grants = {{ metrics = [\"accuracy\"] }}\nsettings = {{ accept_at = {line}, tighten_by = 0, accuracy_min = 0, \
             nothing_left = \"accept\" }}\n\
             [policies.adaptive]\ncomponent = \"builtin:adaptive-threshold\"\n\
             grants = {{ metrics = [\"labelled\", \"confidence\"] }}\n\
             settings = {{ accept_at = {line}, error_max = {ERROR_MAX}, window_s = 20, \
             reference_s = 30, nothing_left = \"accept\" }}\n\
             [policies.guard]\ncomponent = \"builtin:drift-guard\"\n\
             grants = {{ metrics = [\"accuracy\", \"confidence\"], incident = true }}\n\
             [policies.guard.settings]\naccept_at = {line}\nnothing_left = \"accept\"\n\
             [[policies.guard.settings.watch]]\nmetric = \"accuracy\"\nkind = \"below\"\n\
             limit = 0.9\nsamples_min = 100\nwindow_s = 20\nshare = 0.9\nincident = \"error\"\n\
             [[policies.guard.settings.watch]]\nmetric = \"confidence\"\nkind = \"drift\"\n\
             limit = 0.1\nwindow_s = 20\nreference_s = 30\nresponse = \"note\"\n\
             incident = \"warning\"\n"
        )
}

/// One answer as its caller saw it.
struct Seen {
    at: Duration,
    right: bool,
    escalated: bool,
}

/// A label that is told later.
struct Told {
    due: Duration,
    id: String,
    truth: &'static str,
}

async fn call(
    address: SocketAddr,
    route: &'static str,
    seed: u64,
    began: Instant,
    over: Arc<AtomicBool>,
) -> Fallible<Vec<Seen>> {
    let mut connection = Connection::open(address).await?;
    let (mut draws, mut seen, mut later) = (Draws(seed), Vec::new(), VecDeque::<Told>::new());
    while !over.load(Ordering::Relaxed) {
        let truth = match draws.next() < 0.5 {
            true => "approve",
            false => "decline",
        };
        let path = format!("/v1/predict/{route}");
        let answer = connection.post(&path, &json!({ "truth": truth })).await?;
        let at = began.elapsed();
        if answer.status() != StatusCode::OK {
            bail!("{route}: {}: {:?}", answer.status(), answer.body());
        }
        let header = |name: &str| {
            let value = answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let said: Value = serde_json::from_slice(answer.body())?;
        seen.push(Seen {
            at,
            right: said["label"] == truth,
            escalated: header("x-backstop-model") == "strong",
        });
        if seen.len().is_multiple_of(LABEL_EVERY) {
            later.push_back(Told {
                due: at + LABEL_AFTER,
                id: header("x-backstop-request"),
                truth,
            });
        }
        while let Some(told) = later.pop_front_if(|told| told.due <= began.elapsed()) {
            let label = json!({"id": told.id, "label": told.truth});
            let taken = connection.post("/v1/feedback", &label).await?;
            if taken.status() != StatusCode::OK {
                bail!("feedback: {}: {:?}", taken.status(), taken.body());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(seen)
}

/// Shares of one route in a span of time.
struct Part {
    answers: usize,
    right: f64,
    escalated: f64,
}

fn part(seen: &[Seen], within: std::ops::Range<Duration>) -> Part {
    let of: Vec<&Seen> = seen.iter().filter(|one| within.contains(&one.at)).collect();
    let share = |count: usize| count as f64 / of.len().max(1) as f64;
    Part {
        answers: of.len(),
        right: share(of.iter().filter(|one| one.right).count()),
        escalated: share(of.iter().filter(|one| one.escalated).count()),
    }
}

/// When, after the drift, the share of escalations over three seconds was for
/// the first time half way from what it was to what it became.
fn reaction(seen: &[Seen], drift: Duration, before: &Part, after: &Part) -> Option<Duration> {
    if after.escalated - before.escalated < 0.05 {
        return None;
    }
    let half = f64::midpoint(before.escalated, after.escalated);
    let step = Duration::from_millis(500);
    (1..200)
        .map(|n| drift + step * n)
        .find(|end| {
            let begin = end.saturating_sub(Duration::from_secs(3)).max(drift);
            part(seen, begin..*end).escalated >= half
        })
        .map(|end| end - drift)
}

/// Runs it. Checked: nobody gets an error, the moving line and the guard keep
/// what was promised where the model without them does not, and a silent drift
/// opens an incident.
pub(crate) async fn run(options: Options, inside: &Inside) -> Fallible<Report> {
    let line = calibrated()?;
    let drift = Duration::from_secs(options.seconds);
    let end = drift * 2;
    let gateway = inside.launch(&config(line), &[]).await?;
    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for (at, route) in ROUTES.into_iter().enumerate() {
        for caller in 0..CALLERS {
            let seed = (at * CALLERS + caller) as u64;
            let calling = call(gateway.running.data, route, seed, began, over.clone());
            callers.push((route, tokio::spawn(calling)));
        }
    }
    let mut alarms: Vec<(String, Duration)> = Vec::new();
    let mut has_drifted = false;
    while began.elapsed() < end {
        if began.elapsed() >= drift && !has_drifted {
            for route in ROUTES {
                let provider = gateway.running.gateway.simulated(&format!("p-{route}"));
                provider
                    .context("a provider")?
                    .change(options.kind.change());
            }
            has_drifted = true;
        }
        let store = gateway.running.gateway.store();
        for incident in store.incidents(None, 50).await? {
            let name = incident.report.key;
            if !alarms.iter().any(|(known, _)| *known == name) {
                alarms.push((name, began.elapsed()));
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut seen: [Vec<Seen>; ROUTES.len()] = Default::default();
    for (route, caller) in callers {
        let at = ROUTES.iter().position(|known| *known == route);
        seen[at.unwrap_or_default()].extend(caller.await??);
    }
    gateway.running.stop().await;
    Ok(told(&seen, &alarms, drift, end, line))
}

fn told(
    seen: &[Vec<Seen>; ROUTES.len()],
    alarms: &[(String, Duration)],
    drift: Duration,
    end: Duration,
    line: f64,
) -> Report {
    let mut report = Report::default();
    let parts: Vec<(Part, Part, Part)> = seen
        .iter()
        .map(|seen| {
            let before = part(seen, FILLING..drift);
            let change = part(seen, drift..end - SETTLED);
            (before, change, part(seen, end - SETTLED..end))
        })
        .collect();
    let rows = ROUTES.iter().zip(&parts).zip(seen);
    let rows = rows.map(|((route, (before, change, after)), seen)| {
        let reacted = reaction(seen, drift, before, after);
        let name = format!("{route} ({} answers)", after.answers);
        let reacted = reacted.map_or(f64::NAN, |after| after.as_secs_f64());
        (
            name,
            [
                before.right,
                change.right,
                after.right,
                before.escalated,
                after.escalated,
                reacted,
            ],
        )
    });
    report.table(
        "what callers received",
        [
            "right before",
            "during",
            "after",
            "esc. before",
            "after",
            "reacted s",
        ],
        rows.collect(),
    );
    let of = |route: &str| {
        let at = ROUTES.iter().position(|known| *known == route);
        &parts[at.unwrap_or_default()]
    };
    let promised = 1.0 - ERROR_MAX;
    let (none, fixed) = (&of("none").2, &of("fixed").2);
    report.check(
        "it got worse without policies",
        none.right < of("none").0.right - 0.08,
        format!("{:.3} right after {:.3}", none.right, of("none").0.right),
    );
    report.check(
        "a fixed line at least helps",
        fixed.right > none.right,
        format!("{:.3} right, line {line:.3}", fixed.right),
    );
    for route in ["adaptive", "guard"] {
        let (before, _, after) = of(route);
        report.check(
            "policies keep what was promised",
            after.right >= promised - 0.02 && after.right >= fixed.right - 0.01,
            format!(
                "{route}: {:.3} right after {:.3}, promised {promised:.2}",
                after.right, before.right
            ),
        );
    }
    let early: Vec<&str> = alarms
        .iter()
        .filter(|(_, at)| *at < drift)
        .map(|(name, _)| name.as_str())
        .collect();
    let first = alarms.iter().find(|(_, at)| *at >= drift);
    report.check(
        "an incident is opened",
        first.is_some(),
        match first {
            Some((name, at)) => format!("{:.1?} after the drift: {name}", *at - drift),
            None => "none within the run".to_owned(),
        },
    );
    report.check(
        "and none before",
        early.is_empty(),
        match early.is_empty() {
            true => "quiet".to_owned(),
            false => early.join(", "),
        },
    );
    report
}
