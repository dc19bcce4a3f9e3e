//! `backstop baseline import`: a baseline of a file, CSV, JSON lines or Parquet,
//! or of the figures of a benchmark.
//!
//! Always holds: the file is read once, in bounded memory; what cannot be used is
//! told by kind and place, and nothing is sent then, unless it is to be skipped.

use super::{Said, made, path};
use crate::admin::Admin;
use crate::args::{AdminArgs, JsonArg};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use crate::output;
use crate::table::{self, COLUMNS_MAX, Cell, Rows, missing_columns, shown, shown_name};
use anyhow::Context;
use backstop_core::evidence::Reference;
use backstop_core::evidence::baseline::{Baseline, Builder, Held};
use backstop_core::metric::{Moments, Proportion};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Places that are shown of each kind of mistake.
const PLACES_MAX: usize = 3;

/// Arguments of `backstop baseline import`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Import {
    /// Its name; a new version where there is one
    name: String,
    /// Rows of CSV, JSON lines or Parquet, or - for stdin
    #[arg(required_unless_present = "figures", conflicts_with = "figures")]
    file: Option<String>,
    /// How the file is written, where its name or beginning does not say
    #[arg(long, value_enum)]
    format: Option<table::Format>,
    /// A metric that is a number, and its column
    #[arg(long, value_name = "METRIC=COLUMN", value_parser = pair)]
    value: Vec<(String, String)>,
    /// A metric that is a rate, and the column that says true or false
    #[arg(long, value_name = "METRIC=COLUMN", value_parser = pair)]
    rate: Vec<(String, String)>,
    /// A metric of categories, and its column
    #[arg(long, value_name = "METRIC=COLUMN", value_parser = pair)]
    category: Vec<(String, String)>,
    /// Instead of rows: a file of JSON with the figures of a benchmark
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
    /// Leave out cells that cannot be used, and say how many
    #[arg(long)]
    skip_bad_rows: bool,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

const EXAMPLES: &str = "\
Columns are named by their header; in JSON lines also by a pointer such as
/answer/confidence. An empty cell is no evidence.

  backstop baseline import calm answers.csv --value latency-ms=took \\
      --rate accuracy=right --category label=label
  backstop baseline import r1 --figures benchmark.json

Figures are {\"accuracy\": {\"rate\": 0.93, \"samples\": 1000},
\"latency-ms\": {\"mean\": 420, \"stddev\": 130, \"samples\": 5000}}.";

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((metric, column)) if !metric.is_empty() && !column.is_empty() => {
            Ok((metric.to_owned(), column.to_owned()))
        }
        _ => Err("must be METRIC=COLUMN, such as latency-ms=took".to_owned()),
    }
}

/// Imports.
///
/// # Errors
///
/// The file cannot be read or used, the admin plane cannot be reached, or
/// refuses what it is sent; the version that was in use still is.
pub(crate) async fn import(args: Import) -> Result<ExitCode, Failure> {
    let (baseline, source) = match (&args.figures, &args.file) {
        (Some(path), _) => (figures(path)?, path.display().to_string()),
        (None, Some(file)) => {
            let file = file.clone();
            let (columns, format) = (columns(&args)?, args.format);
            let (skip, quiet) = (args.skip_bad_rows, args.json.json);
            let reading = tokio::task::spawn_blocking(move || {
                rows(&file, format, columns, skip, quiet).map(|baseline| (baseline, file))
            });
            reading.await.context("read the file")??
        }
        (None, None) => return Err(Failure::usage("name a file, or --figures")),
    };
    if baseline.metrics.is_empty() {
        return Err(Failure::usage(
            "there is nothing in it to hold evidence against",
        ));
    }
    let body = json!({
        "baseline": baseline, "source": source, "by": args.said.by, "note": args.said.note,
    });
    if args.dry_run {
        output::json(&body)?;
        return Ok(ExitCode::Ok);
    }
    let admin = Admin::new(&args.admin)?;
    let head = admin.post(&path(&args.name, ""), &body).await?;
    made(&head, args.json.json)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    Rate,
    Category,
}

/// Kind, metric and column of each cell.
type Columns = Vec<(Kind, String, String)>;

fn columns(args: &Import) -> Result<Columns, Failure> {
    let of = |kind: Kind, pairs: &[(String, String)]| -> Columns {
        let column = |(metric, column): &(String, String)| (kind, metric.clone(), column.clone());
        pairs.iter().map(column).collect()
    };
    let mut columns = of(Kind::Value, &args.value);
    columns.extend(of(Kind::Rate, &args.rate));
    columns.extend(of(Kind::Category, &args.category));
    if columns.is_empty() {
        let how = "say what to read: --value, --rate or --category METRIC=COLUMN";
        return Err(Failure::usage(how));
    }
    if columns.len() > COLUMNS_MAX {
        let count = columns.len();
        return Err(Failure::usage(format!(
            "{count} columns, where {COLUMNS_MAX} can be read at once"
        )));
    }
    Ok(columns)
}

/// The baseline in the making.
struct Making {
    columns: Columns,
    builder: Builder,
    unit: &'static str,
    names: Vec<String>,
    seen: Vec<bool>,
    rows: u64,
    /// By what is wrong: how often, and where.
    wrong: BTreeMap<String, (u64, Vec<String>)>,
}

impl Making {
    fn note(&mut self, what: String, place: String) {
        let (count, places) = self.wrong.entry(what).or_default();
        *count += 1;
        if places.len() < PLACES_MAX {
            places.push(place);
        }
    }

    /// Takes a cell; what is wrong with it otherwise.
    fn cell(&mut self, at: usize, cell: Cell<'_>) -> Result<(), String> {
        let (kind, metric, column) = &self.columns[at];
        let taken = match (kind, cell) {
            (_, Cell::Empty) => return Ok(()),
            (Kind::Value, Cell::Number(number)) => self.builder.value(metric, number),
            (Kind::Value, Cell::Text(text)) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => self.builder.value(metric, number),
                _ => return Err(format!("`{column}` is no number")),
            },
            (Kind::Rate, cell) => match cell.truth() {
                Some(event) => self.builder.rate(metric, event),
                None => {
                    return Err(format!(
                        "`{column}` is neither true nor false, yes nor no, 1 nor 0"
                    ));
                }
            },
            (Kind::Category, Cell::Text(text)) => self.builder.category(metric, text),
            (Kind::Category, Cell::Bool(is)) => self.builder.category(metric, word(is)),
            (Kind::Category, Cell::Number(number)) => {
                self.builder.category(metric, &number.to_string())
            }
            (Kind::Value | Kind::Category, _) => {
                return Err(format!("`{column}` is of another type"));
            }
        };
        taken.map_err(|error| error.to_string())
    }
}

fn word(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

impl Rows for Making {
    fn places_are(&mut self, unit: &'static str) {
        self.unit = unit;
    }

    fn row(&mut self, place: u64, cells: &[Cell<'_>]) {
        self.rows += 1;
        for (at, cell) in cells.iter().enumerate() {
            self.seen[at] |= *cell != Cell::Empty;
            if let Err(what) = self.cell(at, *cell) {
                let said = match cell {
                    Cell::Text(text) => format!(" (`{}`)", shown(text)),
                    Cell::Number(number) => format!(" (`{number}`)"),
                    _ => String::new(),
                };
                self.note(what, format!("{} {place}{said}", self.unit));
            }
        }
    }

    fn broken(&mut self, place: u64, why: &str) {
        self.rows += 1;
        let place = format!("{} {place} ({why})", self.unit);
        self.note("cannot be read".to_owned(), place);
    }

    fn names(&mut self) -> &mut Vec<String> {
        &mut self.names
    }
}

fn rows(
    file: &str,
    format: Option<table::Format>,
    columns: Columns,
    skip: bool,
    quiet: bool,
) -> Result<Baseline, Failure> {
    let names: Vec<String> = columns.iter().map(|(.., column)| column.clone()).collect();
    let mut making = Making {
        seen: vec![false; columns.len()],
        columns,
        builder: Builder::default(),
        unit: "line",
        names: Vec::new(),
        rows: 0,
        wrong: BTreeMap::new(),
    };
    table::read(file, format, &names, &mut making, quiet)?;
    let file = shown_name(file);
    let seen = names.iter().zip(&making.seen);
    let absent: Vec<&str> = seen
        .filter(|(_, seen)| !**seen)
        .map(|(name, _)| name.as_str())
        .collect();
    if !absent.is_empty() && !making.names.is_empty() {
        return Err(missing_columns(&file, &absent, &making.names));
    }
    if making.rows == 0 {
        return Err(Failure::usage(format!("{file} has no rows")));
    }
    if !making.wrong.is_empty() {
        let mut said = format!("{file} has cells that cannot be used");
        for (what, (count, places)) in &making.wrong {
            let more = if *count > places.len() as u64 {
                ", …"
            } else {
                ""
            };
            let _ = write!(said, "\n  {count} {what}: {}{more}", places.join(", "));
        }
        if !skip {
            said.push_str("\ncorrect them, or leave them out with `--skip-bad-rows`");
            return Err(Failure::usage(said));
        }
        output::note(said);
    }
    Ok(making.builder.build())
}

/// A figure of a benchmark.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Figure {
    Rate {
        rate: f64,
        samples: u64,
    },
    Value {
        mean: f64,
        stddev: f64,
        samples: u64,
    },
}

fn figures(file: &std::path::Path) -> Result<Baseline, Failure> {
    let name = format!("`{}`", file.display());
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read {name}"))
        .or_exit(ExitCode::Usage)?;
    let figures: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text)
        .with_context(|| format!("{name} is no object of figures"))
        .or_exit(ExitCode::Usage)?;
    let (mut baseline, mut mistakes) = (Baseline::default(), Vec::new());
    for (metric, figure) in figures {
        let reference = match serde_json::from_value(figure) {
            Ok(Figure::Rate { rate, samples }) if (0.0..=1.0).contains(&rate) => Reference::Rate {
                counts: Proportion {
                    events: (rate * samples as f64).round() as u64,
                    trials: samples,
                },
            },
            Ok(Figure::Rate { rate, .. }) => {
                mistakes.push(format!(
                    "`{metric}`: the rate is {rate}, must be from 0 to 1"
                ));
                continue;
            }
            Ok(Figure::Value {
                mean,
                stddev,
                samples,
            }) => Reference::Value {
                moments: Moments {
                    samples,
                    mean,
                    stddev,
                },
                bins: Vec::new(),
            },
            Err(_) => {
                mistakes.push(format!(
                    "`{metric}` has neither `rate` and `samples` nor `mean`, `stddev` and `samples`"
                ));
                continue;
            }
        };
        let held = Held {
            reference,
            limits: None,
        };
        baseline.metrics.insert(metric, held);
    }
    mistakes.extend(baseline.mistakes());
    if mistakes.is_empty() {
        Ok(baseline)
    } else {
        Err(Failure::usage(format!("{name}:\n{}", mistakes.join("\n"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(ending: &str, text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn read(file: &tempfile::NamedTempFile, skip: bool) -> Result<Baseline, Failure> {
        let column =
            |kind, metric: &str, column: &str| (kind, metric.to_owned(), column.to_owned());
        let columns = vec![
            column(Kind::Value, "latency-ms", "took"),
            column(Kind::Rate, "accuracy", "right"),
            column(Kind::Category, "label", "label"),
        ];
        rows(file.path().to_str().unwrap(), None, columns, skip, true)
    }

    #[test]
    fn rows_of_any_format_make_the_same_baseline() {
        let csv = file(".csv", "took,right,label\n10,yes,a\n20,0,b\n30,true,\n");
        let lines = file(
            ".jsonl",
            "{\"took\":10,\"right\":true,\"label\":\"a\"}\n\
             {\"took\":20,\"right\":false,\"label\":\"b\"}\n\
             {\"took\":30,\"right\":1}\n",
        );
        let baseline = read(&csv, false).unwrap();
        assert_eq!(baseline, read(&lines, false).unwrap());
        let samples = |metric: &str| baseline.metrics[metric].reference.samples();
        assert_eq!(
            (samples("latency-ms"), samples("accuracy"), samples("label")),
            (3, 3, 2)
        );
        let Reference::Rate { counts } = &baseline.metrics["accuracy"].reference else {
            panic!("a rate");
        };
        assert_eq!(counts.events, 2);
    }

    #[test]
    fn what_cannot_be_used_is_told_by_kind_and_place() {
        let csv = file(
            ".csv",
            "took,right,label\n10,yes,a\nNaN,maybe,b\nlong,no,b\n5,no,c\nx,no\n",
        );
        let error = format!("{:#}", read(&csv, false).unwrap_err().error);
        for says in [
            "2 `took` is no number: line 3 (`NaN`), line 4 (`long`)",
            "1 `right` is neither true nor false, yes nor no, 1 nor 0: line 3 (`maybe`)",
            "1 cannot be read: line 6 (2 fields instead of 3)",
            "--skip-bad-rows",
        ] {
            assert!(error.contains(says), "{error}");
        }
        let baseline = read(&csv, true).unwrap();
        assert_eq!(baseline.metrics["latency-ms"].reference.samples(), 2);
        let absent = file(".jsonl", "{\"tooks\": 3, \"right\": 1, \"label\": \"a\"}\n");
        let error = format!("{:#}", read(&absent, false).unwrap_err().error);
        assert!(
            error.contains("has no column `took`; did you mean `tooks`?"),
            "{error}"
        );
    }

    #[test]
    fn figures_are_checked_all_at_once() {
        let good = file(
            ".json",
            r#"{"accuracy": {"rate": 0.93, "samples": 1000},
                "latency-ms": {"mean": 420, "stddev": 130, "samples": 5000}}"#,
        );
        let baseline = figures(good.path()).unwrap();
        assert_eq!(baseline.metrics["accuracy"].reference.samples(), 1_000);
        let bad = file(
            ".json",
            r#"{"a": {"rate": 93, "samples": 10}, "b": {"mean": 1}, "c": {"rate": 1, "samples": 0},
                "d": {"mean": 1, "stddev": -1, "samples": 3}}"#,
        );
        let error = format!("{:#}", figures(bad.path()).unwrap_err().error);
        for says in [
            "`a`: the rate is 93",
            "`b` has neither",
            "`c`: no samples",
            "`d`: `mean` and",
        ] {
            assert!(error.contains(says), "{error}");
        }
    }
}
