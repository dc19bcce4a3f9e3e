//! `backstop log answers`: labelled answers of a route, as a table for people or
//! as JSON lines, which `backstop calibrate` reads.

use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::cmd::policy::list::text;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::Value;

/// Requests of one page: as many as there may be.
const PAGE: u32 = 200;

/// Arguments of `backstop log answers`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Of this route
    #[arg(long, value_name = "NAME")]
    route: String,
    /// Only of this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// At most so many requests; all with --json, 50 without
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

const EXAMPLES: &str = "\
With --json each line is an answer: model, release, confidence, label, truth,
correct, delivered, segments. Escalated answers are there, too, or the history
would end at the line that escalates them.

  backstop log answers --route fraud --model small --json |
      backstop calibrate - --score confidence --error-max 0.05 --skip-bad-rows";

/// Shows labelled answers.
///
/// # Errors
///
/// The admin plane cannot be reached.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::new(&args.admin)?;
    let route = segment(&args.route);
    let mut left = match (args.limit, args.json.json) {
        (Some(limit), _) => limit,
        (None, true) => u64::MAX,
        (None, false) => 50,
    };
    let mut table = output::table(&[
        "request",
        "model",
        "confidence",
        "label",
        "truth",
        "correct",
    ]);
    let mut after = String::new();
    while left > 0 {
        let limit = left.min(PAGE.into());
        let path = format!("/admin/v1/answers?route={route}&limit={limit}{after}");
        let page = admin.get(&path).await?;
        for answer in page["data"].as_array().into_iter().flatten() {
            if args
                .model
                .as_deref()
                .is_some_and(|model| answer["model"] != *model)
            {
                continue;
            }
            if args.json.json {
                output::line(answer)?;
            } else {
                table.add_row(row(answer));
            }
        }
        let Some(next) = page["next"].as_str().filter(|_| page["has_more"] == true) else {
            break;
        };
        after = format!("&after={next}");
        left -= limit;
    }
    if !args.json.json {
        output::line(output::table_text(&table))?;
    }
    Ok(ExitCode::Ok)
}

fn row(answer: &Value) -> [String; 6] {
    let escalated = if answer["delivered"] == true {
        ""
    } else {
        " (escalated)"
    };
    [
        text(&answer["request"]),
        format!(
            "{} {}{escalated}",
            text(&answer["model"]),
            text(&answer["release"])
        ),
        text(&answer["confidence"]),
        text(&answer["label"]),
        text(&answer["truth"]),
        text(&answer["correct"]),
    ]
}
