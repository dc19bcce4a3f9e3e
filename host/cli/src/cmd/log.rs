//! `backstop log requests`: what became of requests, and what was tried for
//! them.

use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::cmd::policy::history::ago;
use crate::cmd::policy::list::text;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::Value;
use std::time::SystemTime;

/// Arguments of `backstop log requests`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this request, with each of its attempts: the id in `x-backstop-request`, or the
    /// caller's own in `x-request-id`
    #[arg(conflicts_with_all = ["route", "outcome", "limit"])]
    id: Option<String>,
    /// Only requests to this route
    #[arg(long)]
    route: Option<String>,
    /// Only requests that ended so, for example `failed` or `cut`
    #[arg(long)]
    outcome: Option<String>,
    /// At most so many requests, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Shows requests.
///
/// # Errors
///
/// There is no such request any more, or the gateway cannot be reached.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let answer = Admin::new(&args.admin)?.get(&path(&args)).await?;
    if args.json.json {
        output::json(&answer)?;
        return Ok(ExitCode::Ok);
    }
    match args.id {
        None => requests(&answer)?,
        Some(_) => one(&answer)?,
    }
    Ok(ExitCode::Ok)
}

fn path(args: &Args) -> String {
    if let Some(id) = &args.id {
        return format!("/admin/v1/requests/{}", segment(id));
    }
    let mut path = format!("/admin/v1/requests?limit={}", args.limit);
    for (key, value) in [("route", &args.route), ("outcome", &args.outcome)] {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", segment(value)));
        }
    }
    path
}

fn requests(answer: &Value) -> Result<(), Failure> {
    let mut table = output::table(&["when", "id", "route", "outcome", "status", "ms", "tried"]);
    for request in answer["data"].as_array().into_iter().flatten() {
        table.add_row([
            ago(request["arrived_ms"].as_u64(), SystemTime::now()),
            text(&request["id"]),
            text(&request["route"]),
            text(&request["outcome"]),
            text(&request["status"]),
            text(&request["total_ms"]),
            tried(&request["attempts"]),
        ]);
    }
    output::line(output::table_text(&table))?;
    Ok(())
}

/// The attempts in a line: models, and why the next one was asked.
fn tried(attempts: &Value) -> String {
    let attempts = attempts.as_array().into_iter().flatten();
    let words: Vec<String> = attempts
        .map(|attempt| match came_to(attempt) {
            word if word == "answered" => text(&attempt["model"]),
            word => format!("{} ({word})", text(&attempt["model"])),
        })
        .collect();
    words.join(" → ")
}

/// What an attempt came to: the class of its failure, why it was not made, a
/// judgement that was not `accept`, or how it ended.
fn came_to(attempt: &Value) -> String {
    let failure = attempt["failure"].as_str();
    let judged = attempt["judged"].as_str().filter(|word| *word != "accept");
    let not_called = attempt["not_called"].as_str();
    match failure.or(not_called).or(judged) {
        Some(word) => word.to_owned(),
        None => text(&attempt["end"]),
    }
}

fn one(request: &Value) -> Result<(), Failure> {
    output::line(format_args!(
        "{} to {}: {} after {} ms",
        text(&request["id"]),
        text(&request["route"]),
        text(&request["outcome"]),
        text(&request["total_ms"]),
    ))?;
    for key in ["caller_id", "decision", "trace_id"] {
        if !request[key].is_null() {
            output::line(format_args!("{key} {}", text(&request[key])))?;
        }
    }
    let mut table = output::table(&[
        "start ms", "step", "why", "model", "release", "ms", "first ms", "came to", "status",
    ]);
    for attempt in request["attempts"].as_array().into_iter().flatten() {
        table.add_row([
            text(&attempt["start_ms"]),
            text(&attempt["step"]),
            text(&attempt["why"]),
            text(&attempt["model"]),
            text(&attempt["release"]),
            text(&attempt["duration_ms"]),
            text(&attempt["first_token_ms"]),
            came_to(attempt),
            text(&attempt["status"]),
        ]);
    }
    output::line(output::table_text(&table))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attempts_are_told_in_a_line() {
        let attempts = json!([
            { "model": "large", "end": "failed", "failure": "overload" },
            { "model": "small", "end": "answered", "judged": "escalate" },
            { "model": "medium", "end": "cancelled", "failure": null },
            { "model": "tiny", "end": "not-called", "not_called": "breaker" },
            { "model": "other", "end": "answered", "judged": "accept" },
        ]);
        assert_eq!(
            tried(&attempts),
            "large (overload) → small (escalate) → medium (cancelled) → tiny (breaker) → other"
        );
        assert_eq!(tried(&json!([])), "");
    }

    #[test]
    fn filters_become_a_query() {
        use crate::args::{Cli, Command, LogCommand};
        use clap::Parser;
        let path_of = |line: &str| {
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            match cli.command {
                Command::Log(LogCommand::Requests(args)) => path(&args),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            path_of("backstop log requests --route a&b --outcome cut --limit 3"),
            "/admin/v1/requests?limit=3&route=a%26b&outcome=cut"
        );
        assert_eq!(
            path_of("backstop log requests order/7"),
            "/admin/v1/requests/order%2F7"
        );
    }
}
