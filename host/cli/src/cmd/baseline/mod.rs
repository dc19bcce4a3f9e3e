//! `backstop baseline`: what evidence is held against.
//!
//! `import` makes one of a file; everything else is a question to the running
//! gateway.

mod import;

pub(crate) use import::{Import, import};

use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::cmd::evidence::{Of, seconds};
use crate::cmd::policy::list::{joined, text};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// Who makes a baseline, and what else there is to say.
#[derive(Debug, clap::Args)]
struct Said {
    /// Who makes it
    #[arg(long, value_name = "NAME", default_value = "")]
    by: String,
    /// What else there is to say
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

/// Arguments of `backstop baseline take`.
#[derive(Debug, clap::Args)]
pub(crate) struct Take {
    /// Its name; a new version where there is one
    name: String,
    #[command(flatten)]
    of: Of,
    /// The window that it is taken of: 10m, 24h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    window: u32,
    /// Of this metric; of all that there are without it
    #[arg(long, value_name = "NAME")]
    metric: Vec<String>,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `backstop baseline list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `backstop baseline show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Its name
    name: String,
    /// This version, rather than the one in use
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `backstop baseline use`.
#[derive(Debug, clap::Args)]
pub(crate) struct Use {
    /// Its name
    name: String,
    /// The version
    version: u32,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `backstop baseline remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Its name
    name: String,
    /// Really, with all its versions
    #[arg(long, required = true)]
    yes: bool,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

fn path(name: &str, rest: &str) -> String {
    format!("/admin/v1/baselines/{}{rest}", segment(name))
}

/// Takes a baseline from a window of the gateway's evidence.
///
/// # Errors
///
/// The admin plane cannot be reached, or there is no such evidence.
pub(crate) async fn take(args: Take) -> Result<ExitCode, Failure> {
    let body = json!({
        "take": {
            "route": args.of.route, "model": args.of.model, "release": args.of.release,
            "window_s": args.window, "metrics": args.metric,
        },
        "by": args.said.by, "note": args.said.note,
    });
    let admin = Admin::new(&args.admin)?;
    let head = admin.post(&path(&args.name, ""), &body).await?;
    made(&head, args.json.json)
}

/// Says which version is in use now.
fn made(head: &Value, json: bool) -> Result<ExitCode, Failure> {
    if json {
        output::json(head)?;
    } else {
        output::line(format!(
            "baseline {} v{} is in use: {}",
            text(&head["name"]),
            text(&head["version"]),
            joined(&head["metrics"])
        ))?;
    }
    Ok(ExitCode::Ok)
}

/// Lists baselines.
///
/// # Errors
///
/// The admin plane cannot be reached.
pub(crate) async fn list(args: List) -> Result<ExitCode, Failure> {
    let answer = Admin::new(&args.admin)?.get("/admin/v1/baselines").await?;
    if args.json.json {
        output::json(&answer)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = output::table(&["name", "version", "made", "by", "from", "metrics"]);
    for head in answer["data"].as_array().into_iter().flatten() {
        let in_use = if head["in_use"] == true {
            " in use"
        } else {
            ""
        };
        table.add_row([
            text(&head["name"]),
            format!("v{}{in_use}", text(&head["version"])),
            at(&head["at_ms"]),
            text(&head["by"]),
            text(&head["source"]),
            joined(&head["metrics"]),
        ]);
    }
    output::line(output::table_text(&table))?;
    Ok(ExitCode::Ok)
}

fn at(ms: &Value) -> String {
    let since = Duration::from_millis(ms.as_u64().unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

/// Shows what a baseline holds.
///
/// # Errors
///
/// The admin plane cannot be reached, or has no such version.
pub(crate) async fn show(args: Show) -> Result<ExitCode, Failure> {
    let query = args.version.map(|version| format!("?version={version}"));
    let path = path(&args.name, &query.unwrap_or_default());
    let answer = Admin::new(&args.admin)?.get(&path).await?;
    if args.json.json {
        output::json(&answer)?;
        return Ok(ExitCode::Ok);
    }
    output::line(format!(
        "{} v{}, made {} of {}",
        text(&answer["name"]),
        text(&answer["version"]),
        at(&answer["at_ms"]),
        text(&answer["source"])
    ))?;
    output::line(output::table_text(&holdings(&answer["metrics"])))?;
    Ok(ExitCode::Ok)
}

/// What is held of each metric.
fn holdings(metrics: &Value) -> comfy_table::Table {
    let mut table = output::table(&["metric", "kind", "samples", "was", "limits"]);
    for (metric, held) in metrics.as_object().into_iter().flatten() {
        let reference = &held["reference"];
        let number = |value: &Value| format!("{:.4}", value.as_f64().unwrap_or(0.0));
        let sum = |list: &Value, of: &str| {
            let counts = list.as_array().into_iter().flatten();
            counts.filter_map(|one| one[of].as_u64()).sum::<u64>()
        };
        let (samples, was) = match reference["kind"].as_str() {
            Some("rate") => {
                let (events, trials) = (
                    reference["counts"]["events"].as_u64().unwrap_or(0),
                    reference["counts"]["trials"].as_u64().unwrap_or(0),
                );
                let rate = events as f64 / trials.max(1) as f64;
                (trials, format!("{rate:.4}"))
            }
            Some("value") => {
                let moments = &reference["moments"];
                let was = format!(
                    "{} ± {}",
                    number(&moments["mean"]),
                    number(&moments["stddev"])
                );
                (moments["samples"].as_u64().unwrap_or(0), was)
            }
            Some("category") => {
                let shares = &reference["shares"];
                let names = shares.as_array().into_iter().flatten();
                let names: Vec<String> = names.map(|one| text(&one["category"])).take(5).collect();
                (sum(shares, "count"), names.join(", "))
            }
            _ => (sum(&reference["bins"], "answers"), String::new()),
        };
        let limits = match &held["limits"] {
            Value::Null => String::new(),
            limits => format!("{} to {}", number(&limits["low"]), number(&limits["high"])),
        };
        table.add_row([
            metric.clone(),
            text(&reference["kind"]),
            samples.to_string(),
            was,
            limits,
        ]);
    }
    table
}

/// Puts a version to use.
///
/// # Errors
///
/// The admin plane cannot be reached, or has no such version.
pub(crate) async fn put_to_use(args: Use) -> Result<ExitCode, Failure> {
    let body = json!({ "version": args.version });
    let admin = Admin::new(&args.admin)?;
    let head = admin.post(&path(&args.name, "/use"), &body).await?;
    made(&head, args.json.json)
}

/// Removes a baseline.
///
/// # Errors
///
/// The admin plane cannot be reached, or has no such baseline.
pub(crate) async fn remove(args: Remove) -> Result<ExitCode, Failure> {
    debug_assert!(args.yes, "it is required");
    let admin = Admin::new(&args.admin)?;
    let answer = admin.post(&path(&args.name, "/remove"), &json!({})).await?;
    if args.json.json {
        output::json(&answer)?;
    } else {
        output::line(format!("baseline {} is removed", args.name))?;
    }
    Ok(ExitCode::Ok)
}
