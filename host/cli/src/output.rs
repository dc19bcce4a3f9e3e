//! What a person or a script reads: lines, tables, JSON.
//!
//! Everything written to stdout goes through here. Colour and box drawing are
//! for terminals; a pipe gets plain text. A reader that has gone ends the
//! command quietly ([`OutputClosed`]).

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write};

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Something to look at.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What the eye may skip.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What the eye should find first.
pub(crate) const STRONG: Style = Style::new().bold();

/// Whoever read the output has gone.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub(crate) struct OutputClosed;

/// `text` in `style`; the escape codes are stripped again on the way to a pipe.
pub(crate) fn styled(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// True when stdout is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes `text` and a line break to stdout.
///
/// # Errors
///
/// [`OutputClosed`] when nobody reads any more, else what the system says.
pub(crate) fn line(text: impl fmt::Display) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        Err(error) => Err(error).context("write to stdout"),
    }
}

/// Writes `value` as one JSON document to stdout.
///
/// # Errors
///
/// As [`line`].
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value).context("write the result as JSON")?)
}

/// Writes `text` and a line break to stderr. What cannot be written there is
/// lost: there is nowhere else to say so.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// An empty table with these headings: boxed on a terminal, aligned columns in
/// a pipe.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    if is_terminal() {
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(headings.iter().copied());
    table
}

/// The table as text, without the blanks that padding leaves at line ends.
pub(crate) fn table_text(table: &Table) -> String {
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A number of bytes for people: `812 B`, `61.3 KiB`, `1.2 MiB`.
pub(crate) fn bytes(count: usize) -> String {
    const KIB: f64 = 1024.0;
    #[expect(
        clippy::cast_precision_loss,
        reason = "shown with one decimal; files are far below 2^52 bytes"
    )]
    let exact = count as f64;
    if exact < KIB {
        format!("{count} B")
    } else if exact < KIB * KIB {
        format!("{:.1} KiB", exact / KIB)
    } else {
        format!("{:.1} MiB", exact / KIB / KIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(62_771), "61.3 KiB");
        assert_eq!(bytes(1_258_291), "1.2 MiB");
    }

    #[test]
    fn a_piped_table_is_plain() {
        let mut table = table(&["name", "revision"]);
        table.add_row(["a", "1"]);
        let text = table_text(&table);
        assert!(!text.contains('│') && !text.contains('\u{1b}'), "{text}");
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
    }
}
