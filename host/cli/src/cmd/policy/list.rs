//! `backstop policy list`: the policies of a running gateway and how they are
//! doing.

use crate::admin::Admin;
use crate::args::{AdminArgs, JsonArg};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::Value;

/// Arguments of `backstop policy list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let answer = Admin::new(&args.admin)?.get("/admin/v1/policies").await?;
    if args.json.json {
        output::json(&answer)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = output::table(&[
        "name",
        "policy",
        "revision",
        "ready",
        "decides",
        "decisions",
        "abstained",
        "failed",
        "state",
    ]);
    for policy in answer["data"].as_array().into_iter().flatten() {
        table.add_row(row(policy));
    }
    output::line(output::table_text(&table))?;
    Ok(ExitCode::Ok)
}

fn row(policy: &Value) -> [String; 9] {
    let serving = &policy["serving"];
    let description = &serving["description"];
    [
        text(&policy["name"]),
        format!(
            "{} {}",
            text(&description["name"]),
            text(&description["version"])
        ),
        text(&serving["number"]),
        joined(&policy["ready"]),
        joined(&serving["points"]),
        text(&policy["decisions"]),
        text(&policy["abstentions"]),
        failures(&policy["failures"]).to_string(),
        state(policy).to_owned(),
    ]
}

/// How a policy is doing, in one word or two.
fn state(policy: &Value) -> &'static str {
    if policy["suspended"] == true {
        "suspended"
    } else if !policy["last_activation_error"].is_null() {
        "activation refused"
    } else {
        "serving"
    }
}

/// All failures, of `[["trap", 3], …]`.
fn failures(kinds: &Value) -> u64 {
    kinds
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|kind| kind[1].as_u64())
        .sum()
}

/// A value for people: a text without its quotes, nothing for null.
pub(in crate::cmd) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A list for people.
pub(in crate::cmd) fn joined(values: &Value) -> String {
    let items: Vec<String> = values.as_array().into_iter().flatten().map(text).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_is_told_in_one_row() {
        let policy = json!({
            "name": "chat",
            "serving": {
                "number": 3,
                "description": { "name": "layered-fallback", "version": "0.1.0" },
                "points": ["fallback"],
            },
            "ready": [2, 3],
            "decisions": 10,
            "abstentions": 1,
            "failures": [["trap", 2], ["deadline", 1]],
            "suspended": false,
            "last_activation_error": null,
        });
        assert_eq!(
            row(&policy),
            [
                "chat",
                "layered-fallback 0.1.0",
                "3",
                "2, 3",
                "fallback",
                "10",
                "1",
                "3",
                "serving"
            ]
        );
        let refused = json!({ "last_activation_error": "the file is empty" });
        assert_eq!(state(&refused), "activation refused");
        assert_eq!(state(&json!({ "suspended": true })), "suspended");
    }
}
