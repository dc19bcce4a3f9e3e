//! The risk–coverage curve in characters.

use super::report::{Report, Step, percent};
use crate::output::{GOOD, STRONG, WARN, styled};
use std::fmt::Write as _;

const WIDTH: usize = 60;
const HEIGHT: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Nothing,
    Target,
    Bound,
    Error,
    Choice,
}

/// The top of the picture: all of the error, and the target well inside.
pub(super) fn top(report: &Report) -> f64 {
    let errors = report.curve.iter().map(|step| step.error);
    let target = report
        .question
        .as_ref()
        .map_or(0.0, |asked| asked.error_max);
    let most = errors.fold(target, f64::max);
    (most * 1.2).clamp(1e-6, 1.0)
}

/// The picture, with its legend; empty without a curve.
pub(super) fn picture(report: &Report) -> String {
    if report.curve.len() < 2 {
        return String::new();
    }
    let top = top(report);
    let row = |share: f64| {
        let from_below = (share / top * (HEIGHT - 1) as f64).round() as usize;
        (from_below < HEIGHT).then(|| HEIGHT - 1 - from_below)
    };
    let column = |coverage: f64| ((coverage * (WIDTH - 1) as f64).round() as usize).min(WIDTH - 1);
    let mut marks = [[Mark::Nothing; WIDTH]; HEIGHT];
    if let Some(row) = report
        .question
        .as_ref()
        .and_then(|asked| row(asked.error_max))
    {
        marks[row].fill(Mark::Target);
    }
    if let Some((_, coverage, _)) = report.line() {
        for row in &mut marks {
            row[column(coverage)] = Mark::Choice;
        }
    }
    for (share, mark) in [
        ((|step| step.bound) as fn(&Step) -> f64, Mark::Bound),
        (|step| step.error, Mark::Error),
    ] {
        for step in &report.curve {
            if let Some(row) = row(share(step)) {
                marks[row][column(step.coverage)] = mark;
            }
        }
    }
    let mut text = String::new();
    for (i, row) in marks.iter().enumerate() {
        let share = top * (HEIGHT - 1 - i) as f64 / (HEIGHT - 1) as f64;
        let label = match i {
            _ if i == 0 || i == HEIGHT - 1 || i == HEIGHT / 2 => percent(share),
            _ => String::new(),
        };
        let mut line = String::new();
        for mark in row {
            line.push_str(&match mark {
                Mark::Nothing => " ".to_owned(),
                Mark::Target => styled(WARN, "-"),
                Mark::Bound => ".".to_owned(),
                Mark::Error => styled(STRONG, "*"),
                Mark::Choice => styled(GOOD, "|"),
            });
        }
        let line = format!("{label:>9} {line}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(
        text,
        "{:>9} 0 %{:>width$}",
        "",
        "100 % accepted",
        width = WIDTH - 3
    );
    let _ = write!(
        text,
        "{:>9} {} error  . its bound  {} largest error  {} the line",
        "",
        styled(STRONG, "*"),
        styled(WARN, "-"),
        styled(GOOD, "|")
    );
    text
}
