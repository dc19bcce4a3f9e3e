//! How far reading has come: a bar for a person, a line now and then in a pipe.

use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines in a pipe.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Counts bytes and shows them.
pub(super) struct Progress {
    bar: ProgressBar,
    bytes: u64,
    bytes_all: Option<u64>,
    lines: bool,
    said: Instant,
}

impl Progress {
    /// Of so many bytes, where that is known.
    pub(super) fn new(bytes_all: Option<u64>, quiet: bool) -> Progress {
        let person = std::io::stderr().is_terminal();
        let bar = match bytes_all {
            _ if quiet || !person => ProgressBar::hidden(),
            Some(bytes) => ProgressBar::new(bytes).with_style(style(
                "{bar:32.green/dim} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            )),
            None => ProgressBar::no_length()
                .with_style(style("{spinner:.green} {bytes}, {bytes_per_sec}")),
        };
        Progress {
            bar,
            bytes: 0,
            bytes_all,
            lines: !quiet && !person,
            said: Instant::now(),
        }
    }

    /// Counts bytes that were read.
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.bar.inc(bytes);
        if self.lines && self.said.elapsed() > LINE_EVERY {
            self.said = Instant::now();
            match self.bytes_all {
                Some(all) if all > 0 => output::note(format_args!(
                    "read {} %",
                    self.bytes.saturating_mul(100) / all
                )),
                _ => output::note(format_args!("read {} MiB", self.bytes >> 20)),
            }
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
