//! Tables in files or stdin: CSV, JSON lines, Parquet.
//!
//! Each format has its module; all hand over rows of cells ([`Rows`]) and nothing
//! else. Bytes are digested and counted on their way. `backstop calibrate` and
//! `backstop baseline import` read with it.
//!
//! Always holds: memory does not depend on the number of rows.

mod csv;
mod json_lines;
mod names;
mod parquet;
mod progress;

pub(crate) use names::{missing_columns, shown};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use anyhow::Context;
use progress::Progress;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// How a history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// One JSON document in each line
    JsonLines,
    /// Apache Parquet
    Parquet,
}

/// Most columns that are read.
pub(crate) const COLUMNS_MAX: usize = 16;

/// One cell of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    /// Nothing is there: an empty field, null, a pointer that leads nowhere.
    Empty,
    Text(&'a str),
    Number(f64),
    Bool(bool),
    /// A list or an object.
    Nested,
}

impl Cell<'_> {
    /// True or false, as files say it; none for anything else.
    pub(crate) fn truth(self) -> Option<bool> {
        match self {
            Cell::Bool(is) => Some(is),
            Cell::Number(1.0) => Some(true),
            Cell::Number(0.0) => Some(false),
            Cell::Text(text) => {
                let text = text.trim();
                let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
                if is(&["1", "true", "yes", "t", "y", "1.0"]) {
                    Some(true)
                } else if is(&["0", "false", "no", "f", "n", "0.0"]) {
                    Some(false)
                } else {
                    None
                }
            }
            _ => None,
        }
    }
}

/// Who takes the rows of a table.
pub(crate) trait Rows {
    /// What a place is called from now on: a line, or a row.
    fn places_are(&mut self, unit: &'static str);
    /// Takes a row whose cells are those of the columns.
    fn row(&mut self, place: u64, cells: &[Cell<'_>]);
    /// Notes a row of which nothing can be read.
    fn broken(&mut self, place: u64, why: &str);
    /// Names in the first row, where rows have names of their own; empty before.
    fn names(&mut self) -> &mut Vec<String>;
}

/// Reads the columns `names` of `path`, or of stdin for `-`, at most
/// [`COLUMNS_MAX`]; returns the SHA-256 of all bytes, in hexadecimal.
///
/// # Errors
///
/// It cannot be opened, is of another format, or lacks a column. What is wrong
/// with single rows is told to `rows`.
pub(crate) fn read(
    path: &str,
    format: Option<Format>,
    names: &[String],
    rows: &mut impl Rows,
    quiet: bool,
) -> Result<String, Failure> {
    debug_assert!(names.len() <= COLUMNS_MAX, "who asks has seen to that");
    let file = shown_name(path);
    if path == "-" {
        let progress = Progress::new(None, quiet);
        return stream(io::stdin().lock(), &file, format, (names, rows), progress);
    }
    let opened = File::open(path)
        .and_then(|opened| Ok((opened.metadata()?, opened)))
        .with_context(|| format!("read {file}"))
        .or_exit(ExitCode::Usage)?;
    let (metadata, opened) = opened;
    if metadata.is_dir() {
        return Err(Failure::usage(format!(
            "{file} is a directory; name a file of CSV, JSON lines or Parquet"
        )));
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    let by_name = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
        .and_then(|extension| match extension.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "jsonl" | "ndjson" => Some(Format::JsonLines),
            "parquet" => Some(Format::Parquet),
            _ => None,
        });
    let progress = Progress::new(bytes, quiet);
    stream(opened, &file, format.or(by_name), (names, rows), progress)
}

/// How a source is named in errors.
pub(crate) fn shown_name(path: &str) -> String {
    if path == "-" {
        "stdin".into()
    } else {
        format!("`{path}`")
    }
}

fn stream(
    source: impl Read,
    file: &str,
    format: Option<Format>,
    (names, rows): (&[String], &mut impl Rows),
    progress: Progress,
) -> Result<String, Failure> {
    let source = Watched {
        source,
        digest: Sha256::new(),
        progress,
    };
    let mut source = BufReader::with_capacity(CHUNK_BYTES, source);
    let format = match format {
        Some(format) => format,
        None => guess(source.fill_buf().with_context(|| format!("read {file}"))?),
    };
    match format {
        Format::Csv => csv::read(&mut source, file, b',', names, rows),
        Format::Tsv => csv::read(&mut source, file, b'\t', names, rows),
        Format::JsonLines => json_lines::read(&mut source, file, names, rows),
        Format::Parquet => {
            // Its table of contents is at the end, so all of it has to be there.
            let mut whole = tempfile::tempfile().context("make a temporary file")?;
            io::copy(&mut source, &mut whole).with_context(|| format!("read {file}"))?;
            whole.rewind().context("read the temporary file")?;
            parquet::read(whole, file, names, rows)
        }
    }?;
    let watched = source.into_inner();
    watched.progress.finish();
    let digest = watched.digest.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The format of bytes whose name says nothing.
fn guess(start: &[u8]) -> Format {
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if start.starts_with(b"PAR1") {
        Format::Parquet
    } else if first == Some(&b'{') {
        Format::JsonLines
    } else {
        Format::Csv
    }
}

/// Digests and counts what is read.
struct Watched<R> {
    source: R,
    digest: Sha256,
    progress: Progress,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.digest.update(&buffer[..read]);
        self.progress.add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_its_first_bytes() {
        assert_eq!(guess(b"PAR1\x15"), Format::Parquet);
        assert_eq!(guess(b" \n{\"score\": 1}"), Format::JsonLines);
        assert_eq!(guess(b"score,correct\n"), Format::Csv);
        assert_eq!(guess(b""), Format::Csv);
    }
}
