//! How the demo is watched: live on a terminal, as plain lines in a pipe, or
//! not at all beside `--json`.
//!
//! The live view is drawn on stderr, the plain lines go to stdout. A reader
//! that has gone is noticed here and ends the demo through [`View::closed`].

use super::acts::Act;
use super::report::{ActReport, seconds};
use super::traffic::{Tally, Who};
use crate::output;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often the live view is brought up to date.
pub(crate) const REFRESH: Duration = Duration::from_millis(200);
/// Width of the bar that shows who serves.
const BAR_CELLS: u64 = 24;

/// Where the demo is watched.
pub(crate) struct View {
    kind: Kind,
    closed: Arc<Notify>,
}

enum Kind {
    Live(Live),
    Plain,
    Silent,
}

struct Live {
    acts: Vec<ProgressBar>,
    traffic: Vec<ProgressBar>,
    now: Mutex<Option<usize>>,
    last: Mutex<(Instant, Tally)>,
}

impl View {
    /// The view that fits: live when a person looks at it.
    pub(crate) fn new(json: bool) -> View {
        let person = std::io::stderr().is_terminal();
        let kind = match (json, person && (json || output::is_terminal())) {
            (_, true) => Kind::Live(Live::new()),
            (true, false) => Kind::Silent,
            (false, false) => Kind::Plain,
        };
        View {
            kind,
            closed: Arc::new(Notify::new()),
        }
    }

    /// Resolves when nobody reads the output any more.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Says where things are.
    pub(crate) fn opening(&self, text: &str) {
        match &self.kind {
            Kind::Live(live) => live.opening(text),
            Kind::Plain => self.plain(text),
            Kind::Silent => {}
        }
    }

    /// An act begins.
    pub(crate) fn begin(&self, act: Act) {
        match &self.kind {
            Kind::Live(live) => live.begin(act),
            Kind::Plain => {
                let (number, of) = (index(act) + 1, Act::ALL.len());
                self.plain(&format!("act {number} of {of}: {}", act.title()));
            }
            Kind::Silent => {}
        }
    }

    /// Something is being done in the act.
    pub(crate) fn doing(&self, text: &str) {
        match &self.kind {
            Kind::Live(live) => live.doing(text),
            Kind::Plain => self.plain(&format!("  ... {text}")),
            Kind::Silent => {}
        }
    }

    /// Something was seen in the act.
    pub(crate) fn saw(&self, text: &str) {
        match &self.kind {
            // The row shows it when the act has ended.
            Kind::Live(_) | Kind::Silent => {}
            Kind::Plain => self.plain(&format!("  saw {text}")),
        }
    }

    /// An act has ended.
    pub(crate) fn end(&self, report: &ActReport) {
        match &self.kind {
            Kind::Live(live) => live.end(report),
            Kind::Plain => {
                let outcome = match &report.missing {
                    None => "observed".to_owned(),
                    Some(missing) => format!("NOT OBSERVED: {missing}"),
                };
                self.plain(&format!(
                    "  {outcome} ({} requests, {} failed, {} s)",
                    report.requests,
                    report.failed,
                    seconds(report.duration)
                ));
            }
            Kind::Silent => {}
        }
    }

    /// Shows the traffic so far.
    pub(crate) fn traffic(&self, tally: &Tally) {
        if let Kind::Live(live) = &self.kind {
            live.traffic(tally);
        }
    }

    /// The show is over; what was drawn gives way to the table.
    pub(crate) fn clear(&self) {
        if let Kind::Live(live) = &self.kind {
            live.clear();
        }
    }

    fn plain(&self, text: &str) {
        if output::line(text).is_err() {
            self.closed.notify_one();
        }
    }
}

fn index(act: Act) -> usize {
    Act::ALL.iter().position(|each| *each == act).unwrap_or(0)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

impl Live {
    fn new() -> Live {
        let screen = MultiProgress::new();
        let line = |template: &str, message: String| {
            let bar = screen.add(ProgressBar::new_spinner());
            bar.set_style(style(template));
            bar.set_message(message);
            bar
        };
        let head = line("{msg}", "starting the gateway …".to_owned());
        let acts = Act::ALL.map(|act| line("  · {msg:.dim}", act.title().to_owned()));
        let gap = line("{msg}", String::new());
        let rate = line("{msg}", String::new());
        let who = Who::ALL.map(|_| line("{msg}", String::new()));
        let traffic = [head, gap, rate].into_iter().chain(who).collect();
        Live {
            acts: acts.to_vec(),
            traffic,
            now: Mutex::new(None),
            last: Mutex::new((Instant::now(), Tally::default())),
        }
    }

    fn opening(&self, text: &str) {
        self.traffic[0].set_message(text.to_owned());
    }

    fn begin(&self, act: Act) {
        let index = index(act);
        *self.now.lock() = Some(index);
        let bar = &self.acts[index];
        bar.set_style(style("  {spinner:.cyan} {msg} {elapsed:.dim}"));
        bar.reset_elapsed();
        bar.set_message(act.title());
        bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn doing(&self, text: &str) {
        let Some(index) = *self.now.lock() else {
            return;
        };
        let act = Act::ALL[index];
        let dim = output::styled(output::DIM, text);
        self.acts[index].set_message(format!("{}: {dim}", act.title()));
    }

    fn end(&self, report: &ActReport) {
        let bar = &self.acts[index(report.act)];
        bar.disable_steady_tick();
        let (mark, text) = match &report.missing {
            None => (output::styled(output::GOOD, "✓"), report.seen.join("; ")),
            Some(missing) => (output::styled(output::BAD, "✗"), missing.clone()),
        };
        bar.set_style(style("  {prefix} {wide_msg}"));
        bar.set_prefix(mark);
        let text = output::styled(output::DIM, text);
        bar.set_message(format!("{}: {text}", report.act.title()));
        *self.now.lock() = None;
    }

    fn traffic(&self, tally: &Tally) {
        let mut last = self.last.lock();
        let elapsed = last.0.elapsed();
        if elapsed < REFRESH / 2 {
            return;
        }
        let recent = tally.since(&last.1);
        let per_second = rate(recent.requests(), elapsed);
        *last = (Instant::now(), tally.clone());
        drop(last);
        let mut text = format!(
            "  {} requests/s, {} in all, ",
            output::styled(output::STRONG, format_args!("{per_second:>4}")),
            tally.requests()
        );
        let failed = format!("{} failed", tally.failed());
        let colour = if tally.failed() == 0 {
            output::GOOD
        } else {
            output::BAD
        };
        let _ = write!(text, "{}; now served by", output::styled(colour, failed));
        self.traffic[2].set_message(text);
        for (bar, who) in self.traffic[3..].iter().zip(Who::ALL) {
            bar.set_message(bar_of(who, recent.served(who), recent.requests()));
        }
    }

    fn clear(&self) {
        for bar in self.acts.iter().chain(&self.traffic) {
            bar.finish_and_clear();
        }
    }
}

/// Requests per second, rounded.
fn rate(requests: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    (requests * 1_000).checked_div(millis).unwrap_or(0)
}

/// One line of the chart of who serves.
fn bar_of(who: Who, served: u64, of: u64) -> String {
    let cells = (served * BAR_CELLS).checked_div(of).unwrap_or(0);
    // Somebody who serves at all is seen.
    let cells = if served > 0 { cells.max(1) } else { 0 };
    let percent = (served * 100).checked_div(of).unwrap_or(0);
    let style = match who {
        Who::Primary => output::GOOD,
        Who::Backup => output::WARN,
        Who::Rules | Who::Review => output::BAD,
    };
    let filled: String = (0..cells).map(|_| '█').collect();
    let rest: String = (cells..BAR_CELLS).map(|_| '░').collect();
    format!(
        "    {:<8} {}{} {percent:>3} %",
        who.as_str(),
        output::styled(style, filled),
        output::styled(output::DIM, rest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_whoever_serves_at_all() {
        let full = |text: &str| text.matches('█').count() as u64;
        assert_eq!(full(&bar_of(Who::Primary, 100, 100)), BAR_CELLS);
        assert_eq!(full(&bar_of(Who::Backup, 1, 1_000)), 1);
        assert_eq!(full(&bar_of(Who::Rules, 0, 100)), 0);
        assert_eq!(full(&bar_of(Who::Review, 0, 0)), 0);
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate(50, Duration::from_millis(200)), 250);
        assert_eq!(rate(50, Duration::ZERO), 0);
    }
}
