//! How often drift is reported where there is none, and how soon where there is.
//!
//! ```text
//! python tests/oracles/alarms.py > others.json
//! cargo run --release -p backstop-core --example drift_alarms -- \
//!     others.json host/bench/drift-alarms.svg > host/bench/DRIFT.md
//! ```
//!
//! Prints a page of results; without arguments it holds our methods only. The
//! other program measures Evidently and NannyML on the same values: both make
//! them from the same seeds, as `kit.py` beside it says. Takes two minutes.

#![expect(clippy::unwrap_used, reason = "a program of the workshop")]
#![expect(clippy::print_stdout, reason = "its output is its result")]

use backstop_core::metric::DriftVerdict;
use backstop_core::stats::drift::chunks::ReferenceChunks;
use backstop_core::stats::drift::{Measure, Test};
use backstop_core::stats::online::Adwin;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Rows of a window, references drawn, and windows held against each.
const ALARMS: [(usize, u64); 10] = [
    (50, 100),
    (100, 100),
    (200, 100),
    (500, 100),
    (1_000, 60),
    (2_000, 60),
    (5_000, 60),
    (10_000, 60),
    (20_000, 40),
    (50_000, 40),
];
const WINDOWS_EACH: usize = 5;
/// Windows of the reference, and its fewest rows: a team has that many.
const REFERENCE_WINDOWS: usize = 10;
const REFERENCE_ROWS_MIN: usize = 2_000;
/// Rows of a window, and by how many standard deviations of the logarithm values
/// move.
const SHIFTED_ROWS: [usize; 3] = [100, 500, 2_000];
const SHIFTS: [f64; 4] = [0.1, 0.25, 0.5, 1.0];
const SHIFTED_RUNS: u64 = 41;
/// Windows after the shift, after which the search ends.
const SHIFTED_WINDOWS: usize = 20;

/// Rates by method and case; a median delay that is missing is null.
type Table = BTreeMap<String, BTreeMap<String, Option<f64>>>;

/// Values like latencies: the exponential of half of a nearly normal one.
struct Values(u64);

impl Values {
    fn take(&mut self, n: usize, shift: f64) -> Vec<f64> {
        (0..n)
            .map(|_| {
                let sum: f64 = (0..12).map(|_| self.uniform()).sum();
                (0.5 * (sum - 6.0 + shift)).exp()
            })
            .collect()
    }

    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn reference_rows(rows: usize) -> usize {
    (rows * REFERENCE_WINDOWS).max(REFERENCE_ROWS_MIN)
}

/// All our methods on one reference; each says whether a window drifted.
struct Methods<'a> {
    reference: &'a [f64],
    chunks: Vec<(&'static str, ReferenceChunks)>,
}

impl<'a> Methods<'a> {
    fn new(reference: &'a [f64], rows: usize) -> Self {
        let chunks = [
            ("W1, chunks", Measure::W1),
            ("JS2-Doane, chunks", Measure::Js2Doane),
        ];
        Self {
            reference,
            chunks: chunks
                .map(|(name, measure)| {
                    (name, ReferenceChunks::new(measure, reference, rows as u64))
                })
                .into(),
        }
    }

    fn drifted(&self, window: &[f64]) -> Vec<(&'static str, bool)> {
        let tests = [("PSI-deciles, χ²", Test::PsiDeciles), ("KS, p", Test::Ks)];
        let tests = tests.map(|(name, test)| (name, test.read(self.reference, window)));
        let chunks = self
            .chunks
            .iter()
            .map(|(name, rule)| (*name, rule.read(window)));
        tests
            .into_iter()
            .chain(chunks)
            .map(|(name, reading)| {
                assert_ne!(reading.verdict, DriftVerdict::NotEnoughData);
                (name, reading.verdict == DriftVerdict::Drifted)
            })
            .collect()
    }
}

fn alarms() -> Table {
    let mut table = Table::new();
    for (rows, references) in ALARMS {
        for run in 0..references {
            let mut values = Values(rows as u64 * 1_000 + run);
            let reference = values.take(reference_rows(rows), 0.0);
            let methods = Methods::new(&reference, rows);
            for _ in 0..WINDOWS_EACH {
                for (name, drifted) in methods.drifted(&values.take(rows, 0.0)) {
                    let of_method = table.entry(name.to_owned()).or_default();
                    let rate = of_method.entry(rows.to_string()).or_insert(Some(0.0));
                    let part = 1.0 / (references as f64 * WINDOWS_EACH as f64);
                    *rate = rate.map(|rate| rate + if drifted { part } else { 0.0 });
                }
            }
        }
    }
    table
}

/// Rows until the alarm, by method and case.
fn delays() -> Table {
    let mut found: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for rows in SHIFTED_ROWS {
        for shift in SHIFTS {
            let case = format!("{rows} rows, {shift} σ");
            for run in 0..SHIFTED_RUNS {
                let mut values = Values((rows as u64 + 7) * 1_000 + run);
                let reference = values.take(reference_rows(rows), 0.0);
                let methods = Methods::new(&reference, rows);
                let windows: Vec<Vec<f64>> = (0..SHIFTED_WINDOWS)
                    .map(|_| values.take(rows, shift))
                    .collect();
                let mut adwin = Adwin::default();
                for value in &reference {
                    adwin.update(*value);
                }
                let mut stream = windows.iter().flatten();
                let online = stream.position(|value| adwin.update(*value));
                let online = online.map_or(f64::INFINITY, |at| at as f64 + 1.0);
                let mut first = BTreeMap::from([("ADWIN, value by value", online)]);
                for (at, window) in windows.iter().enumerate() {
                    for (name, drifted) in methods.drifted(window) {
                        let first = first.entry(name).or_insert(f64::INFINITY);
                        if drifted {
                            *first = first.min(((at + 1) * rows) as f64);
                        }
                    }
                }
                for (name, rows) in first {
                    let of_method = found.entry(name.to_owned()).or_default();
                    of_method.entry(case.clone()).or_default().push(rows);
                }
            }
        }
    }
    let median = |mut rows: Vec<f64>| {
        rows.sort_by(f64::total_cmp);
        Some(rows[rows.len() / 2]).filter(|rows| rows.is_finite())
    };
    let of_method = |(name, cases): (String, BTreeMap<String, Vec<f64>>)| {
        let cases = cases.into_iter();
        (
            name,
            cases.map(|(case, rows)| (case, median(rows))).collect(),
        )
    };
    found.into_iter().map(of_method).collect()
}

fn markdown(corner: &str, table: &Table, cases: &[String], shown: fn(Option<f64>) -> String) {
    println!("| {corner} | {} |", cases.join(" | "));
    println!("|---|{}", "--:|".repeat(cases.len()));
    for (name, of_method) in table {
        let cells = cases.iter().map(|case| match of_method.get(case) {
            Some(value) => shown(*value),
            None => String::new(),
        });
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    println!();
}

/// Alarm rates by rows of the window, both axes as one would draw them.
fn svg(table: &Table) -> String {
    const COLOURS: [&str; 8] = [
        "#1b7837", "#5aae61", "#00617f", "#2b9bc7", "#b2182b", "#ef8a62", "#7b3294", "#c2a5cf",
    ];
    let x = |rows: f64| 60.0 + (rows / 50.0).ln() / 1_000f64.ln() * 480.0;
    let y = |rate: f64| 300.0 - rate * 270.0;
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 345\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"800\" height=\"345\" fill=\"white\"/>\n",
    );
    for percent in [0, 10, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let dash = if percent == 10 {
            " stroke-dasharray=\"5 3\""
        } else {
            ""
        };
        let grey = if percent == 10 { "#333" } else { "#ddd" };
        writeln!(
            out,
            "<path d=\"M60 {at:.1}H540\" stroke=\"{grey}\"{dash}/>\
             <text x=\"54\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            at + 4.0
        )
        .unwrap();
    }
    for (rows, _) in ALARMS {
        let at = x(rows as f64);
        writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"318\" text-anchor=\"middle\">{rows}</text>"
        )
        .unwrap();
    }
    out.push_str("<text x=\"300\" y=\"337\" text-anchor=\"middle\">rows of the window</text>\n");
    for (at, (name, rates)) in table.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let points = ALARMS.iter().filter_map(|(rows, _)| {
            let rate = rates.get(&rows.to_string())?.as_ref()?;
            Some(format!("{:.1},{:.1}", x(*rows as f64), y(*rate)))
        });
        let points = points.collect::<Vec<_>>().join(" ");
        let down = 40.0 + 22.0 * at as f64;
        writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <path d=\"M556 {down}h22\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"584\" y=\"{}\">{name}</text>",
            down + 4.0
        )
        .unwrap();
    }
    out.push_str("</svg>\n");
    out
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut alarms, mut delays) = (alarms(), delays());
    if let Some(others) = arguments.next() {
        let text = std::fs::read_to_string(others).unwrap();
        let mut others: BTreeMap<String, Table> = serde_json::from_str(&text).unwrap();
        alarms.append(&mut others.remove("alarms").unwrap());
        delays.append(&mut others.remove("delays").unwrap());
    }
    println!("# Drift: alarms without drift, and delay with it\n");
    println!(
        "Written by `cargo run --release -p backstop-core --example drift_alarms`, whose \
         head tells how; the values are like latencies (log-normal, σ of the logarithm 0.5) and \
         the same for all methods. The reference is {REFERENCE_WINDOWS} windows long and \
         at least {REFERENCE_ROWS_MIN} rows. Evidently 0.7.23 and NannyML 0.13.1 are at their \
         defaults: one judges by W1/σ ≥ 0.1 (up to 1,000 reference rows it would by the p of KS, \
         which keeps to 5 %), the other by chunks of the reference. Lines without a \
         product's name are Backstop's.\n"
    );
    println!("## Share of windows without drift that raise the alarm\n");
    let rows: Vec<String> = ALARMS.iter().map(|(rows, _)| rows.to_string()).collect();
    markdown("rows of the window", &alarms, &rows, |rate| {
        format!("{:.1} %", rate.unwrap_or(f64::NAN) * 100.0)
    });
    println!("![alarm rates by rows of the window](drift-alarms.svg)\n");
    let counts = ALARMS.map(|(rows, runs)| format!("{} of {rows}", runs as usize * WINDOWS_EACH));
    println!("Windows: {}.\n", counts.join(", "));
    println!("## Rows from the shift to the alarm, median of {SHIFTED_RUNS} runs\n");
    println!(
        "Values are multiplied so that their logarithm moves by so many standard deviations. \
         A dash: no alarm within {SHIFTED_WINDOWS} windows in half of the runs. A method that \
         alarms without drift is quick here for the wrong reason.\n"
    );
    for rows in SHIFTED_ROWS {
        let cases: Vec<String> = SHIFTS
            .iter()
            .map(|shift| format!("{rows} rows, {shift} σ"))
            .collect();
        markdown("windows of", &delays, &cases, |rows| match rows {
            Some(rows) => format!("{rows:.0}"),
            None => "–".to_owned(),
        });
    }
    if let Some(path) = arguments.next() {
        std::fs::write(path, svg(&alarms)).unwrap();
    }
}
