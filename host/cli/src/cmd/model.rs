//! `backstop model …`: the models of a running gateway, their breakers and
//! whether they are up.

use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::cmd::policy::list::text;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::{Value, json};

/// Arguments of `backstop model list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `backstop model breaker`.
#[derive(Debug, clap::Args)]
pub(crate) struct Breaker {
    /// Name of the model
    model: String,
    /// The state to put it into
    #[arg(value_parser = ["closed", "open", "half-open", "forced-open", "disabled", "metrics-only"])]
    state: String,
    /// Name of the release
    #[arg(long, default_value = "default")]
    release: String,
    /// With `open`: for so many milliseconds, rather than as configured
    #[arg(long, value_name = "MS")]
    for_ms: Option<u64>,
    /// Who wants it, for the log
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `backstop model up` and `down`.
#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    /// Name of the model
    model: String,
    /// Who wants it, for the log
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Lists.
///
/// # Errors
///
/// The admin plane cannot be reached.
pub(crate) async fn list(args: List) -> Result<ExitCode, Failure> {
    let answer = Admin::new(&args.admin)?.get("/admin/v1/models").await?;
    let models = answer["data"].as_array().into_iter().flatten();
    show(&answer, models, args.json)
}

/// Puts a breaker into a state.
///
/// # Errors
///
/// There is no such release, the state cannot be reached from the present
/// one, or the admin plane cannot be reached. Nothing was changed.
pub(crate) async fn breaker(args: Breaker) -> Result<ExitCode, Failure> {
    let path = format!(
        "/admin/v1/models/{}/releases/{}/breaker",
        segment(&args.model),
        segment(&args.release)
    );
    let body = json!({"state": args.state, "for_ms": args.for_ms, "by": args.by});
    let model = Admin::new(&args.admin)?.post(&path, &body).await?;
    show(&model, [&model], args.json)
}

/// Says whether a model is up.
///
/// # Errors
///
/// There is no such model, or the admin plane cannot be reached. Nothing was
/// changed.
pub(crate) async fn health(args: Health, healthy: bool) -> Result<ExitCode, Failure> {
    let path = format!("/admin/v1/models/{}/health", segment(&args.model));
    let body = json!({"healthy": healthy, "by": args.by});
    let model = Admin::new(&args.admin)?.post(&path, &body).await?;
    show(&model, [&model], args.json)
}

fn show<'a>(
    answer: &Value,
    models: impl IntoIterator<Item = &'a Value>,
    json: JsonArg,
) -> Result<ExitCode, Failure> {
    if json.json {
        output::json(answer)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = output::table(&[
        "model",
        "release",
        "share",
        "up",
        "breaker",
        "failed",
        "in flight",
        "queued",
    ]);
    for model in models {
        for release in model["releases"].as_array().into_iter().flatten() {
            table.add_row(row(model, release));
        }
    }
    output::line(output::table_text(&table))?;
    Ok(ExitCode::Ok)
}

fn row(model: &Value, release: &Value) -> [String; 8] {
    let (breaker, load) = (&release["breaker"], &release["load"]);
    let of_limit = match load["limit"].as_u64() {
        Some(limit) => format!("{} of {limit}", text(&load["in_flight"])),
        None => text(&load["in_flight"]),
    };
    [
        text(&model["name"]),
        text(&release["name"]),
        format!("{} %", text(&release["share_percent"])),
        if model["healthy"] == true {
            "yes"
        } else {
            "no"
        }
        .to_owned(),
        text(&breaker["state"]),
        format!(
            "{} of {}",
            text(&breaker["failed_calls"]),
            text(&breaker["calls"])
        ),
        of_limit,
        text(&load["queued"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_a_release_is_doing() {
        let release = json!({
            "name": "r1", "share_percent": 75.0,
            "breaker": {"state": "open", "calls": 8, "failed_calls": 6},
            "load": {"in_flight": 3, "limit": 20, "queued": 1},
        });
        let model = json!({"name": "m", "healthy": true});
        let expected = ["m", "r1", "75.0 %", "yes", "open", "6 of 8", "3 of 20", "1"];
        assert_eq!(row(&model, &release), expected);
    }
}
