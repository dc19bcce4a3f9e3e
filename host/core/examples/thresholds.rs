//! How often thresholds break their promise, on histories drawn from real data:
//!
//! ```text
//! cargo run --release -p backstop-core --example thresholds [RESAMPLES]
//! ```
//!
//! For each question, 1,000 histories are drawn from 163,673 answers; each way of
//! choosing sees one history, and is judged on all answers that are not in it.
//! Of `conformal` the promise is about the mean, and about all answers instead of
//! the accepted ones, so its share of broken histories means nothing.

#![expect(clippy::print_stdout, reason = "a table is all that this is for")]

#[path = "../tests/thresholds/resample.rs"]
mod resample;

use backstop_core::calibrate::Method;
use resample::{Ask, Data, Way};

fn main() {
    let resamples = std::env::args().nth(1).map_or(1_000, |text| {
        text.parse().expect("a number of resamples, such as 1000")
    });
    let mut data = Data::flights();
    println!(
        "{} answers, {} histories for each line; at most 5 % of them may break the promise\n",
        data.rows.len(),
        resamples
    );
    println!("| history | largest error | way | found | accepted | error on the rest | broken |");
    println!("|---:|---:|---|---:|---:|---:|---:|");
    let mut kept = true;
    for rows in [500, 2_000, 10_000] {
        for error_max in [0.02, 0.05, 0.08] {
            let ask = Ask {
                rows,
                error_max,
                delta: 0.05,
                resamples,
                seed: 2013,
            };
            for (way, outcome) in data.play(&ask) {
                let percent = |count: u32| 100.0 * f64::from(count) / f64::from(resamples);
                let broken = percent(outcome.broken);
                let conformal = matches!(way, Way::Chosen(Method::Conformal, _));
                println!(
                    "| {rows} | {} % | {} | {:.1} % | {:.1} % | {:.2} % | {} |",
                    100.0 * error_max,
                    way.name(),
                    percent(outcome.found),
                    100.0 * outcome.coverage,
                    100.0 * outcome.error,
                    if conformal {
                        "–".to_owned()
                    } else {
                        format!("{broken:.1} %")
                    }
                );
                kept &= match way {
                    Way::Naive => true,
                    _ if conformal => outcome.mean_holds(error_max),
                    _ => broken <= 100.0 * ask.delta,
                };
            }
        }
    }
    println!("\nevery promise but that of `naive` kept: {kept}");
    assert!(kept);
}
