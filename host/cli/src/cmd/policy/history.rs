//! `backstop policy history`: what was activated under a name, newest first.

use super::activate::short;
use super::list::{joined, text};
use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Arguments of `backstop policy history`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the policy in the gateway
    name: String,
    /// At most so many activations
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Shows the history.
///
/// # Errors
///
/// There is no such policy, or the gateway cannot be reached.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let path = format!(
        "/admin/v1/policies/{}/history?limit={}",
        segment(&args.name),
        args.limit
    );
    let answer = Admin::new(&args.admin)?.get(&path).await?;
    if args.json.json {
        output::json(&answer)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = output::table(&["when", "revision", "digest", "component", "by", "source"]);
    for activation in answer["data"].as_array().into_iter().flatten() {
        table.add_row([
            ago(activation["at_ms"].as_u64(), SystemTime::now()),
            text(&activation["revision"]),
            short(&text(&activation["digest"])).to_owned(),
            short(&text(&activation["component_digest"])).to_owned(),
            text(&activation["by"]),
            text(&activation["source"]),
        ]);
    }
    output::line(output::table_text(&table))?;
    if answer["serving"].is_null() {
        output::line("this process does not serve it")?;
    } else {
        output::line(format_args!(
            "serving revision {}; ready to go back to: {}",
            text(&answer["serving"]),
            ready(&answer),
        ))?;
    }
    Ok(ExitCode::Ok)
}

/// The revisions to which one can go back.
fn ready(answer: &Value) -> String {
    let others: Vec<Value> = answer["ready"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|number| **number != answer["serving"])
        .cloned()
        .collect();
    if others.is_empty() {
        "none".to_owned()
    } else {
        joined(&Value::Array(others))
    }
}

/// How long ago, in the largest unit that fits.
pub(in crate::cmd) fn ago(at_ms: Option<u64>, now: SystemTime) -> String {
    let Some(at_ms) = at_ms else {
        return "?".to_owned();
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms);
    // An activation noted by a machine whose clock is ahead was just now.
    let seconds = now.duration_since(at).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_told_in_the_largest_unit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (seconds, expected) in [
            (5, "5 s ago"),
            (60, "1 min ago"),
            (7_300, "2 h ago"),
            (200_000, "2 d ago"),
        ] {
            assert_eq!(ago(Some((1_000_000 - seconds) * 1_000), now), expected);
        }
        assert_eq!(ago(Some(1_000_001_000), now), "0 s ago");
    }

    #[test]
    fn the_serving_revision_is_no_place_to_go_back_to() {
        assert_eq!(ready(&json!({"serving": 3, "ready": [1, 2, 3]})), "1, 2");
        assert_eq!(ready(&json!({"serving": 1, "ready": [1]})), "none");
    }
}
