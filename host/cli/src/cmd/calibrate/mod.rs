//! `backstop calibrate`: from labelled history to the threshold of a policy,
//! with a guarantee.
//!
//! [`columns`] names what is read, [`table`] reads it into a [`history`], the
//! core chooses, [`report`] holds what was found; [`show`], [`plot`] and [`html`]
//! tell a person, [`settings`] tells a policy.

mod columns;
mod history;
mod html;
mod plot;
mod report;
mod settings;
mod show;

use crate::args::JsonArg;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use crate::output;
use crate::table;
use anyhow::Context;
use backstop_core::calibrate::{Bound, Costs, Margin, Method, Question};
use columns::{Columns, Role};
use history::History;
use report::Report;
use std::path::{Path, PathBuf};

/// Arguments of `backstop calibrate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Answers with their scores and outcomes: a file of CSV, JSON lines or
    /// Parquet, or - for stdin
    history: String,
    /// The largest share of accepted answers that may be wrong, such as 0.03
    #[arg(long, value_name = "SHARE", required_unless_present = "cost_wrong")]
    error_max: Option<f64>,
    /// The chance that the threshold lets more than that through all the same
    #[arg(long, value_name = "CHANCE", default_value_t = 0.05)]
    delta: f64,
    /// How the threshold is looked for
    #[arg(long, value_enum, default_value_t = MethodArg::FixedSequence)]
    method: MethodArg,
    /// What bounds the error
    #[arg(long, value_enum, default_value_t = BoundArg::Exact)]
    bound: BoundArg,
    /// How far above the threshold the line is set: `next` for the next distinct
    /// score, `none`, or an amount such as 0.01
    #[arg(long, default_value = "next", value_parser = margin)]
    margin: Margin,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    costs: CostArgs,
    /// Write settings of `confidence-threshold` with their provenance: JSON for a
    /// name that ends in .json, else a part of a configuration in TOML
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// With --write to TOML: name of the policy in the configuration
    #[arg(long, value_name = "NAME", default_value = "confidence")]
    policy: String,
    /// For the provenance: the release of the model whose answers these are
    #[arg(long, value_name = "NAME")]
    release: Option<String>,
    /// For the provenance: when the choice was made, rather than now
    #[arg(long, value_name = "RFC3339")]
    date: Option<String>,
    /// Write a report with the curve, one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

const EXAMPLES: &str = "\
Columns are named by their header; in JSON lines also by a pointer such as
/answer/confidence. `host/cli/docs/calibrate.md` says which method to use when, and
what breaks the guarantee.

  backstop calibrate history.csv --error-max 0.03
  backstop calibrate log.jsonl --score /answer/confidence --label /label \\
      --predicted /answer/label --segment /answer/label --error-max 0.02 \\
      --write lines.json --html lines.html
  backstop calibrate history.parquet --cost-wrong 50 --cost-escalation 1 --cost-review 8";

/// What is read, and from where in a row.
#[derive(Debug, clap::Args)]
struct Source {
    /// How the history is written, where its name or beginning does not say
    #[arg(long, value_enum)]
    format: Option<table::Format>,
    /// Column of the score, 0 to 1: how sure the model was
    #[arg(long, value_name = "COLUMN", default_value = "score")]
    score: String,
    /// Column that says whether the answer was right [default: correct]
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["label", "predicted"])]
    correct: Option<String>,
    /// Instead of it: column of what would have been right
    #[arg(long, value_name = "COLUMN", requires = "predicted")]
    label: Option<String>,
    /// Column of what the model said
    #[arg(long, value_name = "COLUMN", requires = "label")]
    predicted: Option<String>,
    /// Column of groups that get thresholds of their own, at most 64; for
    /// `confidence-threshold`, what the model said
    #[arg(long, value_name = "COLUMN")]
    segment: Option<String>,
    /// Column that says for how many answers a row stands
    #[arg(long, value_name = "COLUMN")]
    count: Option<String>,
    /// Column that says whether the next model's answer was right, for costs
    #[arg(long, value_name = "COLUMN", requires = "cost_wrong")]
    next_correct: Option<String>,
    /// Leave out rows that cannot be used, and say how many
    #[arg(long)]
    skip_bad_rows: bool,
}

/// What things cost, in any one unit.
#[derive(Debug, clap::Args)]
struct CostArgs {
    /// Cost of a wrong answer that is delivered; with it the cheapest thresholds
    /// are looked for, among those that keep --error-max where that is given
    #[arg(
        long,
        value_name = "COST",
        requires_all = ["cost_escalation", "cost_review"],
        conflicts_with = "segment"
    )]
    cost_wrong: Option<f64>,
    /// Cost of asking the next model
    #[arg(long, value_name = "COST", requires = "cost_wrong")]
    cost_escalation: Option<f64>,
    /// Cost of asking a person
    #[arg(long, value_name = "COST", requires = "cost_wrong")]
    cost_review: Option<f64>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum MethodArg {
    /// Tests thresholds in an order fixed beforehand; the default, and usually the
    /// one that accepts most
    FixedSequence,
    /// Selection with guaranteed risk: a binary search
    Sgr,
    /// Conformal risk control: bounds the share of all answers that are delivered
    /// wrong, on average over histories
    Conformal,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum BoundArg {
    /// Clopper–Pearson, exact
    Exact,
    /// Hoeffding–Bentkus, as other tools use it
    HoeffdingBentkus,
    /// Hoeffding
    Hoeffding,
}

fn margin(text: &str) -> Result<Margin, String> {
    match text {
        "next" => Ok(Margin::NextScore),
        "none" => Ok(Margin::None),
        other => other
            .parse()
            .map(Margin::Amount)
            .map_err(|_| "must be `next`, `none` or an amount such as 0.01".into()),
    }
}

/// A history that has been read to its end.
#[derive(Debug)]
struct Reading {
    history: History,
    /// SHA-256 of all bytes, in hexadecimal.
    sha256: String,
}

/// Chooses and says what was found.
///
/// # Errors
///
/// The history cannot be read or used. That no threshold keeps the promise is a
/// result, with the code of a failure; nothing is written then.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    tokio::task::spawn_blocking(move || calibrate(&args))
        .await
        .context("choose a threshold")?
}

fn calibrate(args: &Args) -> Result<ExitCode, Failure> {
    let (question, costs) = asked(args)?;
    let source = &args.source;
    let correct = match (&source.correct, &source.label) {
        (Some(name), _) => Some(name.as_str()),
        (None, None) => Some("correct"),
        (None, Some(_)) => None,
    };
    let columns = Columns::new(&[
        (Role::Score, Some(&source.score)),
        (Role::Correct, correct),
        (Role::Label, source.label.as_deref()),
        (Role::Predicted, source.predicted.as_deref()),
        (Role::Segment, source.segment.as_deref()),
        (Role::Next, source.next_correct.as_deref()),
        (Role::Count, source.count.as_deref()),
    ]);
    let names = columns.names();
    let mut history = History::new(columns);
    let quiet = args.json.json;
    let sha256 = table::read(&args.history, source.format, &names, &mut history, quiet)?;
    let reading = Reading { history, sha256 };
    let file = table::shown_name(&args.history);
    reading.history.check(&file, source.skip_bad_rows)?;
    let made = report::Made {
        chosen_at: match &args.date {
            Some(date) => date.clone(),
            None => settings::now(),
        },
        release: args.release.clone(),
    };
    let report = Report::new(&args.history, &reading, question, costs, made);
    if args.json.json {
        output::json(&report)?;
    } else {
        show::show(&report)?;
    }
    if let Some(path) = &args.html {
        write(path, &html::page(&report))?;
    }
    if !report.feasible() {
        return Ok(ExitCode::Failed);
    }
    if let Some(path) = &args.write {
        write(path, &settings::text(&report, path, &args.policy)?)?;
        if !args.json.json {
            show::written(path, &args.policy)?;
        }
    }
    Ok(ExitCode::Ok)
}

/// What is asked, all mistakes at once.
fn asked(args: &Args) -> Result<(Option<Question>, Option<Costs>), Failure> {
    let question = Question {
        // Without one, only costs are weighed.
        error_max: args.error_max.unwrap_or(0.5),
        delta: args.delta,
        method: match args.method {
            MethodArg::FixedSequence => Method::FixedSequence,
            MethodArg::Sgr => Method::Sgr,
            MethodArg::Conformal => Method::Conformal,
        },
        bound: match args.bound {
            BoundArg::Exact => Bound::ClopperPearson,
            BoundArg::HoeffdingBentkus => Bound::HoeffdingBentkus,
            BoundArg::Hoeffding => Bound::Hoeffding,
        },
        margin: args.margin,
    };
    let costs = args.costs.cost_wrong.map(|wrong| Costs {
        wrong,
        escalation: args.costs.cost_escalation.unwrap_or(0.0),
        review: args.costs.cost_review.unwrap_or(0.0),
    });
    let mut mistakes: Vec<String> = question
        .mistakes()
        .iter()
        .map(ToString::to_string)
        .collect();
    if let Some(costs) = &costs {
        mistakes.extend(costs.mistakes().iter().map(ToString::to_string));
    }
    if let Some(date) = &args.date
        && !settings::is_date(date)
    {
        mistakes.push(format!(
            "the date is `{}`, must be like 2026-11-25T12:00:00Z",
            table::shown(date)
        ));
    }
    if mistakes.is_empty() {
        Ok((args.error_max.map(|_| question), costs))
    } else {
        Err(Failure::usage(mistakes.join("\n")))
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let written = || -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        // As for any file that a person makes.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o644);
            file.as_file().set_permissions(mode)?;
        }
        file.persist(path)?;
        Ok(())
    };
    written()
        .with_context(|| format!("write `{}`", path.display()))
        .or_exit(ExitCode::Failed)
}
