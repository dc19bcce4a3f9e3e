//! One JSON document in each line; columns are pointers (RFC 6901) or names.

use super::{Cell, Rows};
use crate::failure::Failure;
use anyhow::Context;
use serde_json::Value;
use std::io::BufRead;

/// Longest line; more than any answer with its evidence.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Names of the first document that are kept for errors.
const NAMES_MAX: usize = 256;
/// How deep these names go.
const DEPTH_MAX: usize = 6;

/// Reads all lines.
///
/// # Errors
///
/// The source cannot be read, or a line has no end.
pub(super) fn read(
    mut source: impl BufRead,
    file: &str,
    wanted: &[String],
    rows: &mut impl Rows,
) -> Result<(), Failure> {
    let pointers: Vec<String> = wanted
        .iter()
        .map(|name| {
            if name.starts_with('/') {
                name.clone()
            } else {
                format!("/{}", name.replace('~', "~0").replace('/', "~1"))
            }
        })
        .collect();
    rows.places_are("line");
    let mut line = Vec::new();
    for place in 1.. {
        line.clear();
        let mut limited = std::io::Read::take(&mut source, LINE_BYTES_MAX as u64 + 1);
        let read = limited.read_until(b'\n', &mut line);
        if read.with_context(|| format!("read {file}"))? == 0 {
            break;
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(Failure::usage(format!(
                "line {place} of {file} is longer than {} MiB; is it JSON lines?",
                LINE_BYTES_MAX >> 20
            )));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value: Value = match serde_json::from_slice(line.trim_ascii_end()) {
            Ok(value) => value,
            Err(error) => {
                let why = format!("not JSON, at column {}", error.column());
                rows.broken(place, &why);
                continue;
            }
        };
        if rows.names().is_empty() {
            names(&value, "", 0, rows.names());
        }
        let cells: Vec<Cell<'_>> = pointers
            .iter()
            .map(|pointer| value.pointer(pointer).map_or(Cell::Empty, cell))
            .collect();
        rows.row(place, &cells);
    }
    Ok(())
}

fn cell(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Empty,
        Value::Bool(is) => Cell::Bool(*is),
        Value::Number(number) => number.as_f64().map_or(Cell::Nested, Cell::Number),
        Value::String(text) if text.is_empty() => Cell::Empty,
        Value::String(text) => Cell::Text(text),
        Value::Array(_) | Value::Object(_) => Cell::Nested,
    }
}

/// Names at the top, pointers further down.
fn names(value: &Value, above: &str, depth: usize, found: &mut Vec<String>) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        if found.len() == NAMES_MAX {
            return;
        }
        let escaped = name.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{above}/{escaped}");
        if matches!(value, Value::Object(_)) && depth < DEPTH_MAX {
            names(value, &pointer, depth + 1, found);
        } else if above.is_empty() {
            found.push(name.clone());
        } else {
            found.push(pointer);
        }
    }
}
