//! The report as one HTML file: no scripts, nothing from elsewhere.

use super::history::grouped;
use super::report::{Report, Step, number, percent};
use super::{plot, show};
use backstop_core::calibrate::{Answer, SegmentAnswer};
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
/// Around the picture, for the numbers of the axes.
const EDGE: f64 = 56.0;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#67707c;--line:#d5dae0;--error:#1f6feb;
--bound:#8250df;--target:#bc4c00;--good:#1a7f37;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#8d96a0;--line:#30363d;
--error:#58a6ff;--bound:#bc8cff;--target:#f0883e;--good:#3fb950;--paper:#0d1117}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.2rem .6rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
svg{width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}
.big{font-size:1.3rem;color:var(--good)}.bad{color:var(--target)}code{word-break:break-all}
";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut text = String::new();
    let data = &report.data;
    let _ = write!(
        text,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Threshold of {name}</title><style>{STYLE}</style></head><body>\n\
         <h1>Threshold of {name}</h1>\n<p>{} answers, {} wrong ({}).</p>\n",
        grouped(data.rows),
        grouped(data.wrong),
        percent(data.wrong as f64 / data.rows.max(1) as f64),
        name = escaped(&data.name),
    );
    verdict(report, &mut text);
    curve(report, &mut text);
    for warning in &report.warnings {
        let _ = writeln!(text, "<p>Note: {}</p>", escaped(warning));
    }
    table(report, &mut text);
    segments(report, &mut text);
    let _ = write!(
        text,
        "<h2>Provenance</h2>\n<p>Chosen at {}{}; SHA-256 of the data <code>{}</code>{}. The bound \
         holds for answers that come from where this history came from; when the model or the \
         traffic changes, choose again.</p>\n</body></html>\n",
        escaped(&report.made.chosen_at),
        report
            .made
            .release
            .as_ref()
            .map_or(String::new(), |release| {
                format!(" for release {}", escaped(release))
            }),
        data.sha256,
        match data.left_out {
            0 => String::new(),
            rows => format!(", of which {} rows were left out", grouped(rows)),
        },
    );
    text
}

fn verdict(report: &Report, text: &mut String) {
    if let Some(Answer::Infeasible(infeasible)) = &report.answer {
        let why = escaped(&show::why(infeasible, report));
        let _ = writeln!(text, "<p class=\"bad\">Infeasible: {why}.</p>");
    }
    if let Some((accept_at, coverage, bound)) = report.line() {
        let _ = writeln!(text, "<p class=\"big\">accept_at = {accept_at}</p>");
        let _ = write!(text, "<p>Accepts {} of the history", percent(coverage));
        if let (Some(bound), Some(asked)) = (bound, &report.question) {
            let _ = write!(
                text,
                "; bound on the error {}, asked for {}, delta {}",
                percent(bound),
                percent(asked.error_max),
                number(asked.delta)
            );
        }
        text.push_str(".</p>\n");
    }
    if let Some(priced) = &report.cheapest {
        let _ = writeln!(
            text,
            "<p>review_below = {}; an answer costs {} ({} to {}).</p>",
            priced.review_below,
            number(priced.cost.mean),
            number(priced.cost.low),
            number(priced.cost.high)
        );
    }
}

fn curve(report: &Report, text: &mut String) {
    if report.curve.len() < 2 {
        return;
    }
    let top = plot::top(report);
    let x = |coverage: f64| EDGE + coverage * (WIDTH - 2.0 * EDGE);
    let y = |share: f64| HEIGHT - EDGE / 2.0 - share.min(top) / top * (HEIGHT - EDGE);
    let _ = writeln!(
        text,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Error and its bound by share of accepted answers\">"
    );
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let (at_x, at_y) = (x(share), y(share * top));
        let _ = writeln!(
            text,
            "<line x1=\"{EDGE}\" x2=\"{:.1}\" y1=\"{at_y:.1}\" y2=\"{at_y:.1}\" \
             stroke=\"var(--line)\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0} %</text>",
            WIDTH - EDGE,
            EDGE - 6.0,
            at_y + 4.0,
            percent(share * top),
            HEIGHT - EDGE / 2.0 + 16.0,
            100.0 * share,
        );
    }
    let mut path = |value: fn(&Step) -> f64, colour: &str, dashes: &str| {
        let points: Vec<String> = report
            .curve
            .iter()
            .filter(|step| value(step) <= top)
            .map(|step| format!("{:.1},{:.1}", x(step.coverage), y(value(step))))
            .collect();
        let _ = writeln!(
            text,
            "<polyline fill=\"none\" stroke=\"var(--{colour})\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\" points=\"{}\"/>",
            points.join(" ")
        );
    };
    path(|step| step.bound, "bound", "4 3");
    path(|step| step.error, "error", "none");
    if let Some(asked) = &report.question {
        let at = y(asked.error_max);
        let _ = writeln!(
            text,
            "<line x1=\"{EDGE}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" \
             stroke=\"var(--target)\" stroke-width=\"1.5\"/>",
            WIDTH - EDGE
        );
    }
    if let Some((_, coverage, _)) = report.line() {
        let at = x(coverage);
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" \
             stroke=\"var(--good)\" stroke-width=\"2\"/>",
            y(top),
            y(0.0)
        );
    }
    text.push_str(
        "</svg>\n<p>Across: share of answers accepted. Blue: share of these that were wrong; \
         dashed: its bound, each for itself; orange: the largest error asked for; green: the line.\
         </p>\n",
    );
}

fn table(report: &Report, text: &mut String) {
    text.push_str(
        "<h2>Risk and coverage</h2>\n<table><tr><th>threshold</th><th>coverage</th><th>accepted</th>\
         <th>wrong</th><th>error</th><th>bound</th></tr>\n",
    );
    let every = report.curve.len().div_ceil(25).max(1);
    for step in report
        .curve
        .iter()
        .skip((report.curve.len().max(1) - 1) % every)
        .step_by(every)
    {
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            number(step.threshold),
            percent(step.coverage),
            grouped(step.accepted),
            grouped(step.wrong),
            percent(step.error),
            percent(step.bound)
        );
    }
    text.push_str("</table>\n");
}

fn segments(report: &Report, text: &mut String) {
    if report.segments.is_empty() {
        return;
    }
    text.push_str(
        "<h2>Segments</h2>\n<table><tr><th>segment</th><th>rows</th><th>wrong</th>\
         <th>accept_at</th><th>accepted</th><th>bound</th></tr>\n",
    );
    for (name, segment) in &report.segments {
        let cells = match &segment.answer {
            SegmentAnswer::Own(Answer::Found(choice)) => format!(
                "<td>{}</td><td>{}</td><td>{}</td>",
                choice.line.accept_at,
                percent(choice.coverage),
                percent(choice.line.bound)
            ),
            SegmentAnswer::Own(Answer::Infeasible(_)) => {
                "<td class=\"bad\">infeasible</td><td></td><td></td>".into()
            }
            SegmentAnswer::Overall { .. } => "<td>overall</td><td></td><td></td>".into(),
        };
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td>{cells}</tr>",
            escaped(name),
            grouped(segment.rows),
            grouped(segment.wrong)
        );
    }
    text.push_str("</table>\n");
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\n', "<br>")
}
