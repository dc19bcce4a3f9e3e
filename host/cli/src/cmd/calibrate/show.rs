//! The report for a person at a terminal.

use super::history::grouped;
use super::report::{Report, Step, number, percent};
use super::{plot, settings};
use crate::failure::Failure;
use crate::output::{self, BAD, DIM, GOOD, STRONG, WARN, styled};
use anyhow::Result;
use backstop_core::calibrate::{Answer, Choice, Infeasible, Method, SegmentAnswer, Why};
use std::path::Path;

/// Rows of the table.
const ROWS: usize = 10;

/// Says all of it.
pub(super) fn show(report: &Report) -> Result<(), Failure> {
    let data = &report.data;
    output::line(format_args!(
        "{}: {} answers, {} wrong ({}), {} {}",
        styled(STRONG, &data.name),
        grouped(data.rows),
        grouped(data.wrong),
        percent(data.wrong as f64 / data.rows.max(1) as f64),
        grouped(data.scores as u64),
        if data.exact {
            "distinct scores"
        } else {
            "cells of scores"
        }
    ))?;
    output::line("")?;
    table(report)?;
    let picture = plot::picture(report);
    if !picture.is_empty() {
        output::line(format_args!("\n{picture}"))?;
    }
    output::line("")?;
    for line in verdict(report)? {
        output::line(line)?;
    }
    segments(report)?;
    for warning in &report.warnings {
        output::note(format_args!("{} {warning}", styled(WARN, "note:")));
    }
    Ok(())
}

/// Says where settings are.
pub(super) fn written(path: &Path, policy: &str) -> Result<()> {
    let json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let shown = path.display();
    if json {
        output::line(format_args!(
            "wrote `{shown}`; activate it with `backstop policy activate {policy} \
             builtin:confidence-threshold --settings @{shown}`"
        ))
    } else {
        output::line(format_args!(
            "wrote `{shown}`; put it into the gateway's configuration, then `backstop reload`"
        ))
    }
}

fn table(report: &Report) -> Result<()> {
    let mut table = output::table(&[
        "threshold",
        "coverage",
        "accepted",
        "wrong",
        "error",
        "bound",
    ]);
    let steps = &report.curve;
    let every = steps.len().div_ceil(ROWS).max(1);
    // The last one of each few, so that the whole history is the last row.
    for step in steps
        .iter()
        .rev()
        .step_by(every)
        .collect::<Vec<_>>()
        .iter()
        .rev()
    {
        table.add_row(row(step));
    }
    output::line(output::table_text(&table))
}

fn row(step: &Step) -> [String; 6] {
    [
        number(step.threshold),
        percent(step.coverage),
        grouped(step.accepted),
        grouped(step.wrong),
        percent(step.error),
        percent(step.bound),
    ]
}

/// What to set, or why not.
fn verdict(report: &Report) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    match &report.answer {
        Some(Answer::Found(choice)) if report.costs.is_none() => {
            lines.push(format!(
                "{} {}",
                styled(GOOD, "accept_at ="),
                styled(STRONG, choice.line.accept_at)
            ));
            lines.extend(promise(report, choice)?);
        }
        Some(Answer::Infeasible(infeasible)) => {
            lines.push(format!(
                "{} {}",
                styled(BAD, "infeasible:"),
                why(infeasible, report)
            ));
        }
        _ => {}
    }
    if let Some(priced) = &report.cheapest {
        lines.push(format!(
            "{} {}, {} {}",
            styled(GOOD, "accept_at ="),
            styled(STRONG, priced.accept_at),
            styled(GOOD, "review_below ="),
            styled(STRONG, priced.review_below)
        ));
        lines.push(format!(
            "accepts {}, escalates {}, reviews {}; an answer costs {} ({} to {})",
            percent(priced.accepted),
            percent(priced.escalated),
            percent(priced.reviewed),
            number(priced.cost.mean),
            number(priced.cost.low),
            number(priced.cost.high)
        ));
        lines.push(format!(
            "accepting all of them would cost {}, escalating {}, reviewing {}",
            number(priced.accepting_all),
            number(priced.escalating_all),
            number(priced.reviewing_all)
        ));
        match (report.line(), &report.question) {
            (Some((_, _, Some(bound))), Some(asked)) => lines.push(format!(
                "at most {} of accepted answers are wrong, but for a chance of {} (asked: {})",
                percent(bound),
                percent(asked.delta),
                percent(asked.error_max)
            )),
            _ => lines.push("nothing is promised: no --error-max was given".into()),
        }
    }
    if let (Some(naive), Some(asked)) = (&report.naive, &report.question)
        && asked.method != Method::Conformal
    {
        lines.push(styled(
            DIM,
            format_args!(
                "by hand one would take {}: {} of {} wrong there, but it may be {}",
                number(naive.threshold),
                grouped(naive.wrong),
                grouped(naive.accepted),
                percent(naive.bound)
            ),
        ));
    }
    Ok(lines)
}

fn promise(report: &Report, choice: &Choice) -> Result<Vec<String>> {
    let Some(asked) = &report.question else {
        return Ok(Vec::new());
    };
    let found = &choice.found;
    let line = &choice.line;
    let counts = format!(
        "accepts {} of the history, {} of {} wrong",
        percent(choice.coverage),
        grouped(line.wrong),
        grouped(line.accepted)
    );
    let promised = match asked.method {
        Method::Conformal => format!(
            "on average over histories at most {} of all answers are accepted and wrong (here {})",
            percent(asked.error_max),
            percent(found.bound)
        ),
        _ => format!(
            "at most {} of accepted answers are wrong, but for a chance of {} (bound {})",
            percent(asked.error_max),
            percent(report.delta_each.unwrap_or(asked.delta)),
            percent(found.bound)
        ),
    };
    let margin = if line.accept_at > found.threshold {
        format!(
            "the lowest threshold that passed is {}; ",
            number(found.threshold)
        )
    } else {
        String::new()
    };
    Ok(vec![
        counts,
        promised,
        format!(
            "{margin}{} tests by {}; it holds for answers like these, until model or traffic change",
            grouped(choice.tests as u64),
            settings::name_of(&asked.method)?
        ),
    ])
}

/// Why there is no threshold, and what would help.
pub(super) fn why(infeasible: &Infeasible, report: &Report) -> String {
    let asked = report.question.as_ref();
    let error_max = percent(asked.map_or(0.0, |asked| asked.error_max));
    match &infeasible.why {
        Why::TooFewRows { needed } => format!(
            "{} rows cannot prove an error of at most {error_max}: even without a single wrong \
             answer it takes {}",
            grouped(infeasible.rows),
            grouped(*needed)
        ),
        Why::NonePassed {
            failed_first,
            best,
            tests,
        } => format!(
            "none of {tests} thresholds keeps the error at or below {error_max}; the first to fail \
             was {} ({} of {} wrong, bound {}), the best is {} ({} of {} wrong, bound {}): ask for \
             about {}, or collect more rows",
            number(failed_first.threshold),
            grouped(failed_first.wrong),
            grouped(failed_first.accepted),
            percent(failed_first.bound),
            number(best.threshold),
            grouped(best.wrong),
            grouped(best.accepted),
            percent(best.bound),
            percent((best.bound * 1e4).ceil() / 1e4)
        ),
    }
}

fn segments(report: &Report) -> Result<()> {
    if report.segments.is_empty() {
        return Ok(());
    }
    let mut table = output::table(&["segment", "rows", "wrong", "accept_at", "accepted", "bound"]);
    for (name, segment) in &report.segments {
        let (line, coverage, bound) = match &segment.answer {
            SegmentAnswer::Own(Answer::Found(choice)) => (
                choice.line.accept_at.to_string(),
                percent(choice.coverage),
                percent(choice.line.bound),
            ),
            SegmentAnswer::Own(Answer::Infeasible(_)) => {
                ("infeasible".into(), "0 %".into(), String::new())
            }
            SegmentAnswer::Overall { .. } => ("overall".into(), String::new(), String::new()),
        };
        table.add_row([
            crate::table::shown(name),
            grouped(segment.rows),
            grouped(segment.wrong),
            line,
            coverage,
            bound,
        ]);
    }
    output::line(format_args!("\n{}", output::table_text(&table)))
}
