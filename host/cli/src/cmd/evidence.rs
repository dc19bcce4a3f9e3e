//! `backstop evidence`: which series a running gateway keeps, and all that is
//! known of a metric in a window.

use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::cmd::policy::list::text;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{self, BAD, DIM, GOOD, STRONG, WARN, styled};
use serde_json::Value;

/// Widest bar of a share.
const BAR: usize = 40;

/// Of what: a route, or a model with or without a release; without any, the
/// process.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Of {
    /// Of this route
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "release"])]
    pub(crate) route: Option<String>,
    /// Of this model
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Of this release of the model
    #[arg(long, value_name = "NAME", requires = "model")]
    pub(crate) release: Option<String>,
}

/// A length of time as people type it, in whole seconds.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let length = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match u32::try_from(length.as_secs()) {
        Ok(seconds @ 1..=86_400) => Ok(seconds),
        _ => Err("must be from 1s to 24h".to_owned()),
    }
}

/// Arguments of `backstop evidence list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only this metric, whole and by segment
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Only of this route
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    route: Option<String>,
    /// Only of this model and its releases
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// How many are left out first; 200 are shown
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `backstop evidence read`.
#[derive(Debug, clap::Args)]
pub(crate) struct Read {
    /// The metric, with a segment if you like: accuracy{tier=gold}
    metric: String,
    #[command(flatten)]
    of: Of,
    /// How far the window reaches back: 90s, 10m, 24h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    window: u32,
    /// Drift is told against so long before the window [default: as the window]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    reference: Option<u32>,
    /// Hold it against this baseline
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Compare with this model
    #[arg(long, value_name = "NAME")]
    against_model: Option<String>,
    /// Compare with this release, of the same model unless --against-model says
    #[arg(long, value_name = "NAME")]
    against_release: Option<String>,
    /// Of `labelled`: the line of confidence above which at most this share is
    /// wrong
    #[arg(long, value_name = "SHARE")]
    error_max: Option<f64>,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// A path with the parameters that are given.
fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let given = pairs
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))));
    let query: Vec<String> = given.collect();
    format!("{path}?{}", query.join("&"))
}

/// Lists series.
///
/// # Errors
///
/// The admin plane cannot be reached.
pub(crate) async fn list(args: List) -> Result<ExitCode, Failure> {
    let path = with_query(
        "/admin/v1/evidence",
        &[
            ("metric", args.metric),
            ("route", args.route),
            ("model", args.model),
            ("limit", Some("200".to_owned())),
            ("offset", Some(args.offset.to_string())),
        ],
    );
    let answer = Admin::new(&args.admin)?.get(&path).await?;
    if args.json.json {
        output::json(&answer)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = output::table(&["metric", "kind", "of"]);
    for series in answer["data"].as_array().into_iter().flatten() {
        table.add_row([
            text(&series["metric"]),
            text(&series["kind"]),
            of(&series["subject"]),
        ]);
    }
    output::line(output::table_text(&table))?;
    if answer["has_more"] == true {
        output::note("there are more: --offset 200");
    }
    let overflowed = answer["overflowed"].as_u64().unwrap_or(0);
    if overflowed > 0 {
        let said = format!("{overflowed} series did not fit and are not kept");
        output::note(styled(WARN, said));
    }
    Ok(ExitCode::Ok)
}

/// Reads a metric.
///
/// # Errors
///
/// The admin plane cannot be reached, or knows no such metric or baseline.
pub(crate) async fn read(args: Read) -> Result<ExitCode, Failure> {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let path = with_query(
        "/admin/v1/evidence/read",
        &[
            ("metric", Some(args.metric)),
            ("route", args.of.route),
            ("model", args.of.model),
            ("release", args.of.release),
            ("window_s", Some(args.window.to_string())),
            ("reference_s", number(args.reference)),
            ("baseline", args.baseline),
            ("against_model", args.against_model),
            ("against_release", args.against_release),
            ("error_max", args.error_max.map(|share| share.to_string())),
        ],
    );
    let answer = Admin::new(&args.admin)?.get(&path).await?;
    if args.json.json {
        output::json(&answer)?;
    } else {
        for line in told(&answer) {
            output::line(line)?;
        }
    }
    Ok(ExitCode::Ok)
}

/// A subject for people.
pub(crate) fn of(subject: &Value) -> String {
    match (&subject["route"], &subject["model"], &subject["release"]) {
        (Value::String(route), ..) => format!("route {route}"),
        (_, Value::String(model), Value::String(release)) => format!("model {model} {release}"),
        (_, Value::String(model), _) => format!("model {model}"),
        _ => "the process".to_owned(),
    }
}

/// A number with four digits that matter.
fn number(value: &Value) -> String {
    let number = value.as_f64().unwrap_or(0.0);
    if number == 0.0 || number.fract() == 0.0 && number.abs() < 1e9 {
        return format!("{number}");
    }
    let digits = (3 - number.abs().log10().floor() as i32).clamp(0, 6);
    format!("{number:.*}", digits as usize)
}

/// A verdict in its colour.
fn verdict(value: &Value) -> String {
    let word = text(value);
    let style = match word.as_str() {
        "better" | "equivalent" | "stable" | "within" | "line" => GOOD,
        "worse" | "drifted" | "above" | "below" | "infeasible" => BAD,
        _ => DIM,
    };
    styled(style, word)
}

/// What is known, line by line.
fn told(answer: &Value) -> Vec<String> {
    let mut lines = vec![styled(
        STRONG,
        format!(
            "{} of {}, the last {} s",
            text(&answer["metric"]),
            of(&answer["subject"]),
            text(&answer["window_s"])
        ),
    )];
    let measure = &answer["measure"];
    if measure["samples"] == 0 {
        lines.push(format!("no evidence ({})", text(&answer["kind"])));
    } else if !measure.is_null() {
        lines.push(format!(
            "{} ± {} from {} samples, the newest {:.1} s old",
            number(&measure["value"]),
            number(&measure["standard_error"]),
            text(&measure["samples"]),
            measure["age_ms"].as_f64().unwrap_or(0.0) / 1_000.0
        ));
    }
    if let Some(rate) = answer["rate"].as_object()
        && rate["trials"] != 0
    {
        lines.push(format!(
            "{} of {}; between {} and {} at 95 %",
            text(&rate["events"]),
            text(&rate["trials"]),
            number(&rate["low"]),
            number(&rate["high"])
        ));
    }
    if let Some(value) = answer["value"].as_object()
        && value["samples"] != 0
    {
        lines.push(format!(
            "p50 {}, p90 {}, p95 {}, p99 {}; deviation {}",
            number(&value["p50"]),
            number(&value["p90"]),
            number(&value["p95"]),
            number(&value["p99"]),
            number(&value["stddev"])
        ));
    }
    lines.extend(shares(&answer["shares"]));
    if !answer["drift"].is_null() {
        lines.push(format!("drift from before: {}", drift(&answer["drift"])));
    }
    if !answer["comparison"].is_null() {
        lines.push(format!("compared: {}", comparison(&answer["comparison"])));
    }
    let line = &answer["line"];
    if !line.is_null() {
        let said = match &line["line"] {
            Value::Null => verdict(&line["verdict"]),
            found => format!(
                "accept from {}: {} of {} wrong, at most {} of them, accepts {} of all",
                number(&found["confidence"]),
                text(&found["wrong"]),
                text(&found["accepted"]),
                number(&found["bound"]),
                number(&found["coverage"])
            ),
        };
        lines.push(format!("line: {said}"));
    }
    lines.extend(baseline(&answer["baseline"]));
    lines
}

fn shares(shares: &Value) -> Vec<String> {
    let shares: Vec<&Value> = shares.as_array().into_iter().flatten().collect();
    let count = |share: &Value| share["count"].as_u64().unwrap_or(0);
    let all: u64 = shares.iter().map(|share| count(share)).sum();
    let bar = |share: &&Value| {
        let part = count(share) as f64 / all.max(1) as f64;
        let bar = "█".repeat((part * BAR as f64).round() as usize);
        let name = text(&share["category"]);
        format!("{name:20} {:>6.1} %  {bar}", part * 100.0)
    };
    shares.iter().map(bar).collect()
}

fn drift(drift: &Value) -> String {
    format!(
        "{}, index {} of {} that would be drift, {} against {} samples",
        verdict(&drift["verdict"]),
        number(&drift["psi"]),
        number(&drift["critical"]),
        text(&drift["current_samples"]),
        text(&drift["reference_samples"])
    )
}

fn comparison(comparison: &Value) -> String {
    format!(
        "{}, difference {} ({} to {}), {} against {} samples",
        verdict(&comparison["verdict"]),
        number(&comparison["effect"]),
        number(&comparison["low"]),
        number(&comparison["high"]),
        text(&comparison["candidate_samples"]),
        text(&comparison["baseline_samples"])
    )
}

fn baseline(held: &Value) -> Vec<String> {
    if held.is_null() {
        return Vec::new();
    }
    let name = format!(
        "baseline {} v{}",
        text(&held["name"]),
        text(&held["version"])
    );
    let mut lines = Vec::new();
    if !held["comparison"].is_null() {
        lines.push(format!("{name}: {}", comparison(&held["comparison"])));
    }
    if !held["drift"].is_null() {
        lines.push(format!("{name}: drift {}", drift(&held["drift"])));
    }
    if !held["place"].is_null() {
        lines.push(format!(
            "{name}: {} its limits, {} to {}",
            verdict(&held["place"]),
            number(&held["limits"]["low"]),
            number(&held["limits"]["high"])
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plain(lines: &[String]) -> String {
        anstream::adapter::strip_str(&lines.join("\n")).to_string()
    }

    #[test]
    fn a_reading_is_told_with_its_numbers() {
        let answer = json!({
            "metric": "latency-ms", "kind": "value", "window_s": 600,
            "subject": {"model": "m", "release": "r1"},
            "measure": {"samples": 120, "value": 312.345, "standard_error": 4.0, "age_ms": 1500},
            "value": {"samples": 120, "mean": 312.345, "stddev": 44.5,
                      "p50": 300.0, "p90": 400.0, "p95": 450.0, "p99": 0.012345},
            "drift": {"verdict": "drifted", "psi": 0.5, "critical": 0.1234,
                      "current_samples": 120, "reference_samples": 900},
            "baseline": {"name": "calm", "version": 3, "drift": null, "place": "above",
                         "limits": {"low": 250.0, "high": 310.0},
                         "comparison": {"verdict": "worse", "effect": 12.0, "low": 3.0,
                                        "high": 21.0, "candidate_samples": 120,
                                        "baseline_samples": 5000}},
        });
        assert_eq!(
            plain(&told(&answer)),
            "latency-ms of model m r1, the last 600 s\n\
             312.3 ± 4 from 120 samples, the newest 1.5 s old\n\
             p50 300, p90 400, p95 450, p99 0.01235; deviation 44.50\n\
             drift from before: drifted, index 0.5000 of 0.1234 that would be drift, 120 against \
             900 samples\n\
             baseline calm v3: worse, difference 12 (3 to 21), 120 against 5000 samples\n\
             baseline calm v3: above its limits, 250 to 310"
        );
    }

    #[test]
    fn silence_categories_and_lines_are_told() {
        let silent = json!({
            "metric": "f1", "kind": "computed", "window_s": 60, "subject": {"route": "r"},
            "measure": {"samples": 0, "value": 0.0, "standard_error": 0.0, "age_ms": 0},
        });
        assert_eq!(
            plain(&told(&silent)),
            "f1 of route r, the last 60 s\nno evidence (computed)"
        );
        let label = json!([{"category": "fraud", "count": 1}, {"category": "fine", "count": 3}]);
        let bars = shares(&label);
        assert!(bars[0].ends_with(&"█".repeat(10)) && bars[0].contains("25.0 %"));
        assert_eq!(of(&json!({})), "the process");
    }

    #[test]
    fn windows_are_typed_as_people_do() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("24h"), Ok(86_400));
        for wrong in ["0s", "25h", "soon", "-1s", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
