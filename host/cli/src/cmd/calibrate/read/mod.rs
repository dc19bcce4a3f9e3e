//! From a file or stdin to a [`History`].
//!
//! Each format has its module; all hand over rows of cells and nothing else, so
//! that another source of labelled answers is one more module. Bytes are digested
//! and counted on their way.

mod csv;
mod json_lines;
mod parquet;
mod progress;

use super::columns::Columns;
use super::history::History;
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
pub(super) enum Format {
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// One JSON document in each line
    JsonLines,
    /// Apache Parquet
    Parquet,
}

/// A history that has been read to its end.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) history: History,
    /// SHA-256 of all bytes, in hexadecimal.
    pub(super) sha256: String,
}

/// Reads `path`, or stdin for `-`.
///
/// # Errors
///
/// It cannot be opened, is of another format, or lacks a column. What is wrong
/// with single rows is in the history.
pub(super) fn read(
    path: &str,
    format: Option<Format>,
    columns: Columns,
    quiet: bool,
) -> Result<Reading, Failure> {
    let file = shown_name(path);
    if path == "-" {
        let progress = Progress::new(None, quiet);
        return stream(io::stdin().lock(), &file, format, columns, progress);
    }
    let opened = File::open(path)
        .and_then(|opened| Ok((opened.metadata()?, opened)))
        .with_context(|| format!("read {file}"))
        .or_exit(ExitCode::Usage)?;
    let (metadata, opened) = opened;
    if metadata.is_dir() {
        return Err(Failure::usage(format!(
            "{file} is a directory; name a file of CSV, JSON lines or Parquet. The decisions in a \
             gateway's data directory hold no labels yet"
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
    stream(opened, &file, format.or(by_name), columns, progress)
}

/// How a source is named in errors.
pub(super) fn shown_name(path: &str) -> String {
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
    columns: Columns,
    progress: Progress,
) -> Result<Reading, Failure> {
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
    let history = match format {
        Format::Csv => csv::read(&mut source, file, b',', columns),
        Format::Tsv => csv::read(&mut source, file, b'\t', columns),
        Format::JsonLines => json_lines::read(&mut source, file, columns),
        Format::Parquet => {
            // Its table of contents is at the end, so all of it has to be there.
            let mut whole = tempfile::tempfile().context("make a temporary file")?;
            io::copy(&mut source, &mut whole).with_context(|| format!("read {file}"))?;
            whole.rewind().context("read the temporary file")?;
            parquet::read(whole, file, columns)
        }
    }?;
    let watched = source.into_inner();
    watched.progress.finish();
    Ok(Reading {
        history,
        sha256: watched
            .digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
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
