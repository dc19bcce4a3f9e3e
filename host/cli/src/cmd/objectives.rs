//! `backstop objectives`: what is promised, and how fast the error budgets of a
//! running gateway are spent.

use crate::admin::Admin;
use crate::args::{AdminArgs, JsonArg};
use crate::cmd::policy::list::text;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use comfy_table::{Cell, Color};
use serde_json::Value;
use std::time::Duration;

/// How often `--watch` looks: as often as the gateway itself.
const WATCH_EVERY: Duration = Duration::from_secs(10);

/// Arguments of `backstop objectives`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show them again every ten seconds, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Shows objectives.
///
/// # Errors
///
/// The admin plane cannot be reached.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::new(&args.admin)?;
    loop {
        let answer = admin.get("/admin/v1/objectives").await?;
        if args.json.json {
            output::json(&answer)?;
            return Ok(ExitCode::Ok);
        }
        show(&answer)?;
        if !args.watch {
            return Ok(ExitCode::Ok);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => output::line("")?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::Interrupted),
        }
    }
}

fn show(answer: &Value) -> Result<(), Failure> {
    let mut table = output::table(&[
        "objective",
        "state",
        "promise",
        "of",
        "bad",
        "budget left",
        "alert",
        "long",
        "short",
        "above",
    ]);
    for objective in answer["data"].as_array().into_iter().flatten() {
        for row in rows(objective) {
            table.add_row(row.into_iter().map(cell));
        }
    }
    output::line(output::table_text(&table))?;
    Ok(())
}

/// A cell in the colour of what it says last: on a terminal only, as all colour.
fn cell(text: String) -> Cell {
    let colour = match text.rsplit(' ').next() {
        Some("met" | "quiet" | "resolved") => Some(Color::Green),
        Some("pending" | "blind") => Some(Color::Yellow),
        Some("firing" | "overspent") => Some(Color::Red),
        Some("no-evidence" | "not-enough-data") => Some(Color::DarkGrey),
        _ => None,
    };
    let cell = Cell::new(text);
    match colour {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

/// A row for each pair of windows; the objective itself stands in the first.
fn rows(objective: &Value) -> Vec<[String; 10]> {
    let period = &objective["period"];
    let of = match objective["route"].as_str() {
        Some(route) => format!("route {route}"),
        None => format!("model {}", text(&objective["model"])),
    };
    let own = [
        text(&objective["name"]),
        text(&objective["state"]),
        format!(
            "{} over {}",
            percent(&objective["target"], 4),
            length(&objective["period_s"])
        ),
        format!("{} of {of}", text(&objective["metric"])),
        format!("{} of {}", text(&period["bad"]), text(&period["events"])),
        left(&objective["budget_left"]),
    ];
    let none = vec![Value::Null];
    let windows = objective["windows"].as_array().filter(|of| !of.is_empty());
    let windows = windows.unwrap_or(&none).iter().enumerate();
    windows
        .map(|(at, window)| {
            let [name, state, promise, of, bad, left] = match at {
                0 => own.clone(),
                _ => Default::default(),
            };
            let [alert, long, short, above] = alert(window);
            [
                name, state, promise, of, bad, left, alert, long, short, above,
            ]
        })
        .collect()
}

fn alert(window: &Value) -> [String; 4] {
    if window.is_null() {
        return Default::default();
    }
    let burn = |length_s: &Value, counts: &Value| {
        let rate = counts["burn_rate"].as_f64();
        let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        format!("{}: {rate}", length(length_s))
    };
    let blind = match window["blind_since_ms"].is_null() {
        true => String::new(),
        false => ", blind".to_owned(),
    };
    [
        format!(
            "{} {}{blind}",
            text(&window["urgency"]),
            text(&window["state"])
        ),
        burn(&window["long_s"], &window["long"]),
        burn(&window["short_s"], &window["short"]),
        window["factor"].as_f64().map_or(String::new(), |factor| {
            text(&Value::from((factor * 100.0).round() / 100.0))
        }),
    ]
}

/// The share of the budget that is left.
fn left(share: &Value) -> String {
    match share.as_f64() {
        None => "-".to_owned(),
        Some(gone) if gone < 0.0 => format!("{}, overspent", percent(share, 1)),
        Some(_) => percent(share, 1),
    }
}

/// A share in per cent with at most so many digits after the point.
fn percent(share: &Value, digits: i32) -> String {
    let scale = 10_f64.powi(digits);
    let share = share.as_f64().unwrap_or_default();
    format!("{} %", (share * 100.0 * scale).round() / scale)
}

/// Seconds in their largest whole unit.
fn length(seconds: &Value) -> String {
    let seconds = seconds.as_u64().unwrap_or_default();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let mut units = units.into_iter();
    match units.find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit)) {
        Some((unit, word)) => format!("{} {word}", seconds / unit),
        None => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_objective_has_a_row_for_each_pair_of_windows() {
        let window = |urgency, state, long_s, burn_rate: Option<f64>| {
            let counts = json!({"bad": 1, "events": 2, "burn_rate": burn_rate});
            json!({
                "urgency": urgency, "state": state, "factor": 14.400000000000002,
                "long_s": long_s, "short_s": 300, "long": counts, "short": counts,
                "blind_since_ms": null,
            })
        };
        let objective = json!({
            "name": "answers", "route": "chat", "metric": "error-rate", "target": 0.999,
            "period_s": 2_592_000, "state": "firing", "budget_left": -0.25,
            "period": {"bad": 5, "events": 4_000},
            "windows": [
                window("page", "firing", 3_600, Some(16.667)),
                window("ticket", "no-evidence", 259_200, None),
            ],
        });
        let rows: Vec<Vec<String>> = rows(&objective).iter().map(|row| row.to_vec()).collect();
        let first = [
            "answers",
            "firing",
            "99.9 % over 30 d",
            "error-rate of route chat",
            "5 of 4000",
            "-25 %, overspent",
            "page firing",
            "1 h: 16.7",
            "5 min: 16.7",
            "14.4",
        ];
        let second = [
            "",
            "",
            "",
            "",
            "",
            "",
            "ticket no-evidence",
            "3 d: -",
            "5 min: -",
            "14.4",
        ];
        assert_eq!(rows, [first.to_vec(), second.to_vec()]);
    }

    #[test]
    fn an_objective_that_nobody_has_looked_at_has_a_row() {
        let objective = json!({"name": "new", "model": "m", "windows": []});
        let rows = rows(&objective);
        assert_eq!((rows.len(), &*rows[0][0], &*rows[0][6]), (1, "new", ""));
    }
}
