//! What looking at a canary a thousand times costs, and what it finds:
//!
//! ```text
//! cargo run --release -p backstop-core --example peeking [--json] [CANARIES]
//! ```
//!
//! 2,000 canaries of each kind, unless another number is given, are looked at
//! after every 20 requests of the candidate until it has had 20,000. First those
//! that are as good as their baseline: the share with an alarm is to stay at or
//! below 5 %. Then those that are worse: how many are found by when, beside a
//! test that looks once, at a number of requests planned before. The exact
//! sequence, which takes longer to compute, sees a tenth of the canaries.
//!
//! Ends with an error when a sequence raised more false alarms than it may.

#![expect(clippy::print_stdout, reason = "a table is all that this is for")]

#[path = "../tests/peeking/simulate.rs"]
mod simulate;

use backstop_core::stats::interval::wilson;
use serde_json::{Value, json};
use simulate::{ALPHA, Canaries, Traffic, Way};

/// Requests of the candidate at which the second table looks.
const PLANNED: [u32; 6] = [500, 1_000, 2_000, 5_000, 10_000, 20_000];

fn kinds(rates: &[(f64, f64, u32)], factors: &[f64], canaries: u32) -> Vec<Canaries> {
    let of = |traffic, baseline_share| Canaries {
        traffic,
        canaries,
        looks: 1_000,
        per_look: 20,
        baseline_share,
        seed: 2026,
    };
    let errors = rates.iter().map(|(baseline, candidate, share)| {
        let traffic = Traffic::Errors {
            baseline: *baseline,
            candidate: *candidate,
        };
        of(traffic, *share)
    });
    let latency = factors
        .iter()
        .map(|factor| of(Traffic::Latency { factor: *factor }, 1));
    errors.chain(latency).collect()
}

fn name(canaries: &Canaries) -> String {
    match canaries.traffic {
        Traffic::Errors {
            baseline,
            candidate,
        } => {
            let split = match canaries.baseline_share {
                1 => String::new(),
                share => format!(", 1 request in {}", share + 1),
            };
            format!(
                "errors {} % and {} %{split}",
                100.0 * baseline,
                100.0 * candidate
            )
        }
        Traffic::Latency { factor } => format!("latency × {factor}"),
    }
}

fn ways(canaries: &Canaries) -> &'static [Way] {
    match canaries.traffic {
        Traffic::Errors { .. } if canaries.baseline_share == 1 => {
            &[Way::Sequence, Way::Exact, Way::Naive, Way::Once]
        }
        _ => &[Way::Sequence, Way::Naive, Way::Once],
    }
}

/// The canaries that a way judges.
fn seen_by(canaries: Canaries, way: Way) -> Canaries {
    match way {
        Way::Exact => Canaries {
            canaries: canaries.canaries.div_ceil(10),
            ..canaries
        },
        _ => canaries,
    }
}

/// Canaries without a difference. Says also whether all sequences kept their
/// promise.
fn false_alarms(canaries: u32, table: bool) -> (Vec<Value>, bool) {
    let same = [
        (0.05, 0.05, 1),
        (0.005, 0.005, 1),
        (0.2, 0.2, 1),
        (0.05, 0.05, 9),
    ];
    let (mut rows, mut kept) = (Vec::new(), true);
    if table {
        println!("Canaries as good as their baseline, 1,000 looks each, alpha 5 %:\n");
        println!("| what | way | canaries | false alarms | 95 % interval |");
        println!("|---|---|---:|---:|---:|");
    }
    for canaries in kinds(&same, &[1.0], canaries) {
        for way in ways(&canaries) {
            let seen = seen_by(canaries, *way);
            let alarmed = seen.play(*way, seen.horizon()).alarmed();
            let share = alarmed.events as f64 / alarmed.trials as f64;
            let Some(ends) = wilson(alarmed, 0.05) else {
                continue; // no canaries
            };
            kept &= share <= ALPHA || matches!(way, Way::Naive | Way::Once);
            let (what, by) = (name(&canaries), way.name());
            if table {
                println!(
                    "| {what} | {by} | {} | {:.2} % | {:.2}–{:.2} % |",
                    alarmed.trials,
                    100.0 * share,
                    100.0 * ends.low,
                    100.0 * ends.high
                );
            }
            rows.push(json!({
                "what": what, "way": by, "canaries": alarmed.trials, "looks": seen.looks,
                "alarms": alarmed.events, "share": share, "low": ends.low, "high": ends.high,
            }));
        }
    }
    (rows, kept)
}

/// Canaries that are worse.
fn power(canaries: u32, table: bool) -> Vec<Value> {
    let worse = [
        (0.05, 0.1, 1),
        (0.05, 0.08, 1),
        (0.05, 0.06, 1),
        (0.01, 0.02, 1),
        (0.05, 0.08, 9),
    ];
    let mut rows = Vec::new();
    if table {
        println!("\nCanaries that are worse, found by requests of the candidate:\n");
        let heads: String = PLANNED.iter().map(|at| format!(" {at} |")).collect();
        println!("| what | way |{heads} half of them found after |");
        println!("|---|---|{}---:|", "---:|".repeat(PLANNED.len()));
    }
    for canaries in kinds(&worse, &[1.05], canaries) {
        for way in ways(&canaries) {
            let seen = seen_by(canaries, *way);
            // A single look is planned for each number of requests by itself.
            let outcomes: Vec<_> = match way {
                Way::Once => PLANNED.iter().map(|at| seen.play(*way, *at)).collect(),
                _ => vec![seen.play(*way, 0)],
            };
            let found: Vec<f64> = PLANNED
                .iter()
                .enumerate()
                .map(|(at, requests)| {
                    let outcome = outcomes.get(at).unwrap_or(&outcomes[0]);
                    outcome.alarmed_within(*requests) as f64 / f64::from(seen.canaries)
                })
                .collect();
            let median = match way {
                Way::Once => None,
                _ => outcomes[0].requests_median(),
            };
            let (what, by) = (name(&canaries), way.name());
            if table {
                let shares: String = found
                    .iter()
                    .map(|share| format!(" {:.1} % |", 100.0 * share))
                    .collect();
                let median = median.map_or("–".to_owned(), |requests| requests.to_string());
                println!("| {what} | {by} |{shares} {median} |");
            }
            rows.push(json!({
                "what": what, "way": by, "canaries": seen.canaries, "requests": PLANNED,
                "found": found, "requests_median": median,
            }));
        }
    }
    rows
}

fn main() {
    let (mut as_json, mut canaries) = (false, 2_000);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => as_json = true,
            number => canaries = number.parse().expect("--json, or a number of canaries"),
        }
    }
    let (false_alarms, kept) = false_alarms(canaries, !as_json);
    let power = power(canaries, !as_json);
    if as_json {
        println!(
            "{:#}",
            json!({ "alpha": ALPHA, "false_alarms": false_alarms, "power": power, "kept": kept })
        );
    } else {
        println!("\nat most 5 % false alarms by every sequence: {kept}");
    }
    assert!(kept, "a sequence raised more false alarms than it may");
}
