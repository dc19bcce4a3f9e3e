//! `backstop features learn`: from requests as they were to a declaration of
//! their features, for people to read before it counts.
//!
//! Always holds: memory is bounded ([`PLACES_MAX`] places, [`VALUES_MAX`] values
//! of each), however long the file; what is printed is configuration that
//! `backstop check` takes.

use crate::args::JsonArg;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use crate::output;
use crate::table::shown_name;
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};

/// Most places that are watched.
const PLACES_MAX: usize = 512;
/// How deep places are looked for.
const DEPTH_MAX: usize = 6;
/// Most different values of a category.
const VALUES_MAX: usize = 20;
/// Longest value of a category, in bytes.
const VALUE_BYTES_MAX: usize = 64;
/// Fewest requests in which a text must repeat to be a category: of few, every
/// name would be one.
const ROWS_MIN: u64 = 50;
/// Most features of a route.
const FEATURES_MAX: usize = 32;
/// Longest line.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// Arguments of `backstop features learn`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = NOTES)]
pub(crate) struct Args {
    /// Bodies of requests, one JSON document in each line, or - for stdin
    file: String,
    /// The route whose features they are
    #[arg(long, value_name = "NAME")]
    route: String,
    /// Declare ranges of numbers as they were seen, which refuses the next
    /// higher one: widen them
    #[arg(long)]
    ranges: bool,
    #[command(flatten)]
    json: JsonArg,
}

const NOTES: &str = "\
Numbers become `number`, texts with at most 20 different values `category`, other
texts `length`. What every request has is required. Read it before you use it: what
was seen is not what is right.

  backstop features learn requests.jsonl --route fraud >> backstop.toml";

/// What was seen at one place.
#[derive(Debug, Default)]
struct Seen {
    there: u64,
    numbers: u64,
    texts: u64,
    bools: u64,
    min: f64,
    max: f64,
    /// Empty as soon as there are too many.
    values: BTreeSet<String>,
    too_many: bool,
}

/// What was seen at all.
#[derive(Debug, Default)]
struct Learned {
    rows: u64,
    broken: Vec<u64>,
    places: BTreeMap<String, Seen>,
    left_out: bool,
}

impl Seen {
    fn see(&mut self, value: &Value) {
        self.there += 1;
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(0.0);
                let first = self.numbers == 0;
                self.min = if first { number } else { self.min.min(number) };
                self.max = if first { number } else { self.max.max(number) };
                self.numbers += 1;
            }
            Value::Bool(_) => self.bools += 1,
            Value::String(text) => {
                self.texts += 1;
                if !self.too_many && !self.values.contains(text) {
                    let fits = text.len() <= VALUE_BYTES_MAX && self.values.len() < VALUES_MAX;
                    if fits {
                        self.values.insert(text.clone());
                    } else {
                        self.too_many = true;
                        self.values.clear();
                    }
                }
            }
            _ => {}
        }
    }

    /// The kind that all of it is; none where there are several, or nothing to
    /// watch.
    fn kind(&self, rows: u64) -> Option<&'static str> {
        match (self.numbers, self.texts, self.bools) {
            (0, 0, 0) => None,
            (_, 0, 0) => Some("number"),
            (0, 0, _) => Some("category"),
            (0, _, 0) if !self.too_many && rows >= ROWS_MIN => Some("category"),
            (0, _, 0) => Some("length"),
            _ => None,
        }
    }
}

impl Learned {
    fn see(&mut self, value: &Value, pointer: &str, depth: usize) {
        match value {
            Value::Object(fields) if depth < DEPTH_MAX => {
                for (name, value) in fields {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    self.see(value, &format!("{pointer}/{name}"), depth + 1);
                }
            }
            Value::Null | Value::Array(_) | Value::Object(_) => {}
            scalar => {
                if !self.places.contains_key(pointer) && self.places.len() >= PLACES_MAX {
                    self.left_out = true;
                    return;
                }
                self.places
                    .entry(pointer.to_owned())
                    .or_default()
                    .see(scalar);
            }
        }
    }

    /// The features, those that are there most often first.
    fn features(&self, ranges: bool) -> Vec<(String, Value)> {
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_by_key(|(pointer, seen)| (std::cmp::Reverse(seen.there), (*pointer).clone()));
        let mut names = BTreeSet::new();
        let mut features = Vec::new();
        for (pointer, seen) in places {
            let Some(kind) = seen.kind(self.rows) else {
                continue;
            };
            let name = name_of(pointer, &names);
            names.insert(name.clone());
            let mut feature = json!({
                "at": format!("body:{pointer}"), "kind": kind, "required": seen.there == self.rows,
            });
            if kind == "number" && ranges {
                feature["min"] = json!(seen.min);
                feature["max"] = json!(seen.max);
            }
            if kind == "category" && seen.texts > 0 {
                feature["values"] = json!(seen.values);
            }
            features.push((name, feature));
        }
        features
    }
}

/// A name for what is at `pointer`, other than those that are taken.
fn name_of(pointer: &str, taken: &BTreeSet<String>) -> String {
    let parts: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|part| {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            part.to_ascii_lowercase().chars().map(plain).collect()
        })
        .collect();
    let whole = |from: usize| -> String { parts[from..].join("-").chars().take(60).collect() };
    let mut names = (0..parts.len()).rev().map(whole);
    let free = names.find(|name| !name.is_empty() && !taken.contains(name));
    free.unwrap_or_else(|| format!("feature-{}", taken.len() + 1))
}

/// Learns and prints.
///
/// # Errors
///
/// The file cannot be read, or has nothing in it to watch.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let file = shown_name(&args.file);
    let learned = if args.file == "-" {
        learn(std::io::stdin().lock(), &file)?
    } else {
        let opened = std::fs::File::open(&args.file)
            .with_context(|| format!("read {file}"))
            .or_exit(ExitCode::Usage)?;
        learn(BufReader::new(opened), &file)?
    };
    let mut features = learned.features(args.ranges);
    if !learned.broken.is_empty() {
        let places: Vec<String> = learned.broken.iter().map(u64::to_string).collect();
        output::note(format!("left out as no JSON: line {}", places.join(", ")));
    }
    if features.is_empty() {
        return Err(Failure::usage(format!(
            "{file} has nothing to watch: {} lines, and no number, text or boolean in them",
            learned.rows
        )));
    }
    if features.len() > FEATURES_MAX || learned.left_out {
        let count = features.len();
        output::note(format!(
            "{count} places; the {FEATURES_MAX} most frequent are declared"
        ));
        features.truncate(FEATURES_MAX);
    }
    if args.json.json {
        let features: serde_json::Map<String, Value> = features.into_iter().collect();
        output::json(&json!({"route": args.route, "rows": learned.rows, "features": features}))?;
    } else {
        output::line(toml_of(&args.route, learned.rows, &features)?)?;
    }
    Ok(ExitCode::Ok)
}

fn learn(mut source: impl BufRead, file: &str) -> Result<Learned, Failure> {
    let (mut learned, mut line) = (Learned::default(), Vec::new());
    for place in 1.. {
        line.clear();
        let mut limited = Read::take(&mut source, LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut line);
        if read.with_context(|| format!("read {file}"))? == 0 {
            break;
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(Failure::usage(format!(
                "line {place} of {file} is longer than {} MiB; is it JSON lines?",
                LINE_BYTES_MAX >> 20
            )));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Value>(&line) {
            Ok(value) => {
                learned.rows += 1;
                learned.see(&value, "", 0);
            }
            Err(_) if learned.broken.len() < 3 => learned.broken.push(place),
            Err(_) => {}
        }
    }
    Ok(learned)
}

fn toml_of(route: &str, rows: u64, features: &[(String, Value)]) -> Result<String, Failure> {
    let mut text = format!("# Learned from {rows} requests. What was seen is not what is right.\n");
    for (name, feature) in features {
        let table: toml::Table =
            serde_json::from_value(feature.clone()).context("write a feature")?;
        let route = toml::Value::String(route.to_owned());
        text.push_str(&format!("\n[routes.{route}.features.{name}]\n{table}"));
    }
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> String {
        (0..100)
            .map(|n| {
                let tier = ["gold", "tin"][n % 2];
                let note = (n % 3 == 0).then(|| format!("note {n}"));
                let body = json!({"amount": n, "who": {"tier": tier, "vip": n % 5 == 0},
                                  "note": note, "mixed": if n == 7 { json!("7") } else { json!(n) }});
                format!("{body}\n")
            })
            .collect()
    }

    #[test]
    fn what_was_seen_becomes_configuration_that_is_taken() {
        let text = format!("{}oops\n", requests());
        let learned = learn(text.as_bytes(), "`x`").unwrap();
        assert_eq!((learned.rows, learned.broken.clone()), (100, vec![101]));
        let features = learned.features(true);
        let of: BTreeMap<_, _> = features.iter().cloned().collect();
        assert_eq!(of["amount"]["kind"], "number");
        assert_eq!(
            (&of["amount"]["min"], &of["amount"]["max"]),
            (&json!(0.0), &json!(99.0))
        );
        assert_eq!(of["tier"]["values"], json!(["gold", "tin"]));
        assert_eq!(of["tier"]["at"], "body:/who/tier");
        assert_eq!(of["vip"]["kind"], "category");
        assert_eq!(
            (&of["note"]["kind"], &of["note"]["required"]),
            (&json!("length"), &json!(false))
        );
        assert!(
            !of.contains_key("mixed"),
            "of two types nothing is declared"
        );
        let toml = toml_of("chat", 100, &features).unwrap();
        let whole = format!("include = \"builtin:demo\"\n{toml}");
        let config = backstop_gateway::config::Config::from_str(
            &whole,
            "learned",
            std::path::Path::new(""),
            &|_| None,
        );
        let config = config.unwrap_or_else(|error| panic!("{error}\n{toml}"));
        let names: Vec<_> = config.routes["chat"]
            .features
            .iter()
            .map(|f| f.name.to_string())
            .collect();
        assert_eq!(names.len(), 4, "{names:?}");
    }

    #[test]
    fn memory_is_bounded_whatever_the_file() {
        let many: String = (0..3_000)
            .map(|n| format!("{{\"place-{n}\": 1, \"id\": \"{n}\"}}\n"))
            .collect();
        let learned = learn(many.as_bytes(), "`x`").unwrap();
        assert_eq!(learned.places.len(), PLACES_MAX);
        assert!(learned.left_out && learned.places["/id"].values.is_empty());
        assert_eq!(learned.places["/id"].kind(learned.rows), Some("length"));
    }

    #[test]
    fn names_are_the_last_part_unless_it_is_taken() {
        let taken = BTreeSet::from(["amount".to_owned()]);
        assert_eq!(name_of("/a/amount", &BTreeSet::new()), "amount");
        assert_eq!(name_of("/a/amount", &taken), "a-amount");
        assert_eq!(name_of("/amount", &taken), "feature-2");
        assert_eq!(name_of("/x/Ünit~1y", &BTreeSet::new()), "-nit-1y");
    }
}
