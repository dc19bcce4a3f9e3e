//! Comma- or tab-separated values with a header.

use super::{COLUMNS_MAX, Cell, Rows, names};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use anyhow::Context;
use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use std::io::Read;

/// Reads all rows.
///
/// # Errors
///
/// There is no header, or it lacks columns.
pub(super) fn read(
    source: impl Read,
    file: &str,
    delimiter: u8,
    wanted: &[String],
    rows: &mut impl Rows,
) -> Result<(), Failure> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .buffer_capacity(super::CHUNK_BYTES)
        .from_reader(source);
    let header = reader
        .byte_headers()
        .with_context(|| format!("read the header of {file}"))
        .or_exit(ExitCode::Usage)?;
    let found: Vec<String> = header
        .iter()
        .map(|name| {
            String::from_utf8_lossy(name)
                .trim()
                .trim_start_matches('\u{feff}')
                .to_owned()
        })
        .collect();
    if found.is_empty() {
        return Err(Failure::usage(format!("{file} is empty")));
    }
    let places = names::places(file, wanted, &found)?;
    rows.places_are("line");
    let mut record = ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => take(rows, &record, &places),
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                match error.kind() {
                    ErrorKind::UnequalLengths {
                        expected_len, len, ..
                    } => rows.broken(line, &format!("{len} fields instead of {expected_len}")),
                    // Nothing more comes after any other.
                    _ => {
                        return Err(error)
                            .context(format!("read {file}"))
                            .map_err(Into::into);
                    }
                }
            }
        }
    }
}

fn take(rows: &mut impl Rows, record: &ByteRecord, places: &[usize]) {
    let mut cells = [Cell::Empty; COLUMNS_MAX];
    let line = record.position().map_or(0, csv::Position::line);
    for (cell, &place) in cells.iter_mut().zip(places) {
        let Ok(text) = std::str::from_utf8(&record[place]) else {
            rows.broken(line, "not UTF-8");
            return;
        };
        *cell = if text.is_empty() {
            Cell::Empty
        } else {
            Cell::Text(text)
        };
    }
    rows.row(line, &cells[..places.len()]);
}
