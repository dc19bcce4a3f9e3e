//! What evidence costs: recording one observation and answering one question,
//! with 10,000 series that have a day of history, and the memory of those.
//!
//! ```sh
//! cargo bench -p backstop-core --bench evidence
//! ```
//!
//! Series are taken in turn, so that each is cold in the caches, which is how
//! traffic on many routes finds them; `one series` is the other end.

#![expect(clippy::print_stdout, reason = "the memory is printed")]

use backstop_core::evidence::{Evidence, EvidenceOptions, Series, SubjectRef};
use backstop_core::metric::{ComparisonOptions, Direction};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

const NOW: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 86_400_000;
/// Between two records of one series in its day of history.
const EVERY_MS: u64 = 30_000;
/// Models, and releases of each: half of the subjects, ten series each.
const MODELS: usize = 100;
const RELEASES: usize = 10;

/// The standard series of a release, as the gateway has them, and what feedback
/// and features add.
const RATES: [&str; 4] = ["error-rate", "escalation-rate", "review-rate", "accuracy"];
const VALUES: [&str; 4] = [
    "latency-ms",
    "first-token-ms",
    "confidence",
    "feature:amount",
];
const LABEL: &str = "label";
const LABELLED: &str = "labelled";

struct Filled {
    evidence: Evidence,
    models: Vec<String>,
    releases: Vec<String>,
    rates: Vec<Arc<Series>>,
    values: Vec<Arc<Series>>,
    labels: Vec<Arc<Series>>,
    labelled: Vec<Arc<Series>>,
}

/// Resident memory of this process, in bytes; 0 where it cannot be read.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn filled() -> Filled {
    let before = resident();
    let evidence = Evidence::new(EvidenceOptions::default());
    let models: Vec<String> = (0..MODELS).map(|n| format!("model-{n}")).collect();
    let releases: Vec<String> = (0..RELEASES).map(|n| format!("r{n}")).collect();
    let (mut rates, mut values, mut labels, mut labelled) = (vec![], vec![], vec![], vec![]);
    for model in &models {
        for release in &releases {
            let of = SubjectRef::Release { model, release };
            for metric in RATES {
                rates.push(evidence.rate_series(metric, of).expect("a rate"));
            }
            for metric in VALUES {
                values.push(evidence.value_series(metric, of).expect("a value"));
            }
            labels.push(evidence.category_series(LABEL, of).expect("a category"));
            labelled.push(evidence.labelled_series(LABELLED, of).expect("labelled"));
        }
    }
    let mut rng = fastrand::Rng::with_seed(7);
    for at_ms in (NOW - DAY_MS..NOW).step_by(EVERY_MS as usize) {
        for series in &rates {
            series.record_rate(at_ms, rng.f64() < 0.1);
        }
        for series in &values {
            // Between 50 and 500, most of them low: some 70 bins of the sketch.
            series.record_value(at_ms, 50.0 * 10f64.powf(rng.f64()));
        }
        for series in &labels {
            series.record_category(at_ms, at_ms, ["fraud", "fine", "odd"][rng.usize(..3)]);
        }
        for series in &labelled {
            series.record_labelled(at_ms, at_ms, rng.f64(), rng.bool());
        }
    }
    let series = evidence.load().series;
    println!(
        "memory: {} MiB for {series} series after a day of a record each {} s",
        (resident() - before) >> 20,
        EVERY_MS / 1_000
    );
    Filled {
        evidence,
        models,
        releases,
        rates,
        values,
        labels,
        labelled,
    }
}

/// How many records there are of all series in a millisecond: so many of each
/// go into one tick, or hardly any.
const BUSY: usize = 400;
const QUIET: usize = 1;

/// Counts what is done, and moves on the clock with it, so that ticks are closed
/// and buckets merged on the way.
struct Moving {
    now_ms: Cell<u64>,
    at: Cell<usize>,
}

impl Moving {
    fn next(&self, per_ms: usize) -> (u64, usize) {
        let at = self.at.get() + 1;
        self.at.set(at);
        if at.is_multiple_of(per_ms) {
            self.now_ms.set(self.now_ms.get() + 1);
        }
        (self.now_ms.get(), at)
    }
}

fn records(c: &mut Criterion, filled: &Filled, moving: &Moving) {
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    let (rates, values) = (&filled.rates, &filled.values);
    let (labels, labelled) = (&filled.labels, &filled.labelled);
    for (traffic, per_ms) in [("busy", BUSY), ("quiet", QUIET)] {
        let mut each = |what: &str, record: &dyn Fn(u64, usize)| {
            group.bench_function(format!("{what}, {traffic}"), |b| {
                b.iter(|| {
                    let (now_ms, at) = moving.next(per_ms);
                    record(now_ms, at);
                });
            });
        };
        each("rate", &|now_ms, at| {
            rates[at % rates.len()].record_rate(now_ms, at.is_multiple_of(10));
        });
        each("rate, one series", &|now_ms, at| {
            rates[0].record_rate(now_ms, at.is_multiple_of(10));
        });
        each("value", &|now_ms, at| {
            values[at % values.len()].record_value(now_ms, 50.0 + (at % 450) as f64);
        });
        each("value, one series", &|now_ms, at| {
            values[0].record_value(now_ms, 50.0 + (at % 450) as f64);
        });
        each("category", &|now_ms, at| {
            let word = ["fraud", "fine", "odd"][at % 3];
            labels[at % labels.len()].record_category(now_ms, now_ms, word);
        });
        each("labelled", &|now_ms, at| {
            let confidence = (at % 100) as f64 / 100.0;
            labelled[at % labelled.len()].record_labelled(now_ms, now_ms, confidence, true);
        });
    }
    group.finish();
}

const WINDOWS: [(&str, u32); 3] = [("1 min", 60), ("1 h", 3_600), ("1 d", 86_400)];

fn queries(c: &mut Criterion, filled: &Filled, moving: &Moving) {
    let mut group = c.benchmark_group("query");
    let evidence = &filled.evidence;
    let options = ComparisonOptions {
        direction: Direction::LowerIsBetter,
        alpha: 0.05,
        margin: 0.0,
        samples_min: 20,
    };
    let of = |at: usize| SubjectRef::Release {
        model: &filled.models[at % MODELS],
        release: &filled.releases[at / MODELS % RELEASES],
    };
    for (name, window_s) in WINDOWS {
        let mut ask = |what: &str, query: &dyn Fn(SubjectRef<'_>, SubjectRef<'_>, u64)| {
            group.bench_function(format!("{what}, {name}"), |b| {
                b.iter(|| {
                    // The clock stands still, or the history would end.
                    let (_, at) = moving.next(usize::MAX);
                    query(of(at), of(at + 1), NOW);
                });
            });
        };
        ask("rate", &|of, _, now_ms| {
            let _ = black_box(evidence.rate("error-rate", of, window_s, now_ms));
        });
        ask("mean", &|of, _, now_ms| {
            let _ = black_box(evidence.mean("latency-ms", of, window_s, now_ms));
        });
        ask("quantile", &|of, _, now_ms| {
            let _ = black_box(evidence.quantile("latency-ms", of, window_s, 0.95, now_ms));
        });
        ask("measure", &|of, _, now_ms| {
            let _ = black_box(evidence.measure("accuracy", of, window_s, now_ms));
        });
        ask("compare rates", &|of, other, now_ms| {
            let asked = evidence.compare("error-rate", of, other, window_s, &options, now_ms);
            let _ = black_box(asked);
        });
        ask("shares", &|of, _, now_ms| {
            let _ = black_box(evidence.shares(LABEL, of, window_s, now_ms));
        });
        ask("drift", &|of, _, now_ms| {
            let asked = evidence.drift("latency-ms", of, window_s, window_s, now_ms);
            let _ = black_box(asked);
        });
        ask("labelled", &|of, _, now_ms| {
            let _ = black_box(evidence.labelled(LABELLED, of, window_s, now_ms));
        });
    }
    group.finish();
}

fn evidence(c: &mut Criterion) {
    let filled = filled();
    let moving = Moving {
        now_ms: Cell::new(NOW),
        at: Cell::new(0),
    };
    queries(c, &filled, &moving);
    records(c, &filled, &moving);
}

criterion_group!(benches, evidence);
criterion_main!(benches);
