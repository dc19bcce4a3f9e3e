//! Apache Parquet, column by column and without Arrow.
//!
//! A column of a nested group is named by its path, `answer.confidence` or
//! `/answer/confidence`. Columns that repeat within a row cannot be used.

use super::{Cell, Rows, names};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use anyhow::Context;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;

/// Rows that are read at once.
const BATCH: usize = 8_192;

/// Reads all row groups.
///
/// # Errors
///
/// It is no Parquet file, lacks columns, or uses what is not supported.
pub(super) fn read(
    source: File,
    file: &str,
    wanted: &[String],
    rows: &mut impl Rows,
) -> Result<(), Failure> {
    let reader = SerializedFileReader::new(source)
        .with_context(|| format!("read {file} as Parquet"))
        .or_exit(ExitCode::Usage)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let found: Vec<String> = schema.columns().iter().map(|c| c.path().string()).collect();
    let dotted = wanted.iter();
    let dotted = dotted.map(|name| name.trim_start_matches('/').replace('/', "."));
    let dotted: Vec<String> = dotted.collect();
    let places = names::places(file, &dotted, &found)?;
    let repeated: Vec<&str> = places
        .iter()
        .filter(|&&place| schema.column(place).max_rep_level() > 0)
        .map(|&place| found[place].as_str())
        .collect();
    if !repeated.is_empty() {
        return Err(Failure::usage(format!(
            "{file}: a row has several values of `{}`; name a column with one",
            repeated.join("`, `")
        )));
    }
    rows.places_are("row");
    let mut read = 0;
    for group in 0..reader.num_row_groups() {
        read_group(&reader, group, &places, (rows, &mut read))
            .with_context(|| format!("read row group {group} of {file}"))
            .or_exit(ExitCode::Usage)?;
    }
    Ok(())
}

fn read_group(
    reader: &SerializedFileReader<File>,
    group: usize,
    places: &[usize],
    (taker, read): (&mut impl Rows, &mut u64),
) -> anyhow::Result<()> {
    let group = reader.get_row_group(group)?;
    let mut rows_left = usize::try_from(group.metadata().num_rows())?;
    let mut readers = Vec::new();
    for &place in places {
        let required = group
            .metadata()
            .column(place)
            .column_descr()
            .max_def_level();
        readers.push((group.get_column_reader(place)?, required));
    }
    while rows_left > 0 {
        let rows = rows_left.min(BATCH);
        let mut batches = Vec::new();
        for (reader, required) in &mut readers {
            batches.push(Batch::read(reader, *required, rows)?);
        }
        let mut cells = vec![Cell::Empty; batches.len()];
        for row in 0..rows {
            for (cell, batch) in cells.iter_mut().zip(&batches) {
                *cell = batch.cell(row);
            }
            *read += 1;
            taker.row(*read, &cells);
        }
        rows_left -= rows;
    }
    Ok(())
}

/// Some rows of a column.
enum Batch {
    Bools(Vec<Option<bool>>),
    Numbers(Vec<Option<f64>>),
    Texts(Vec<Option<String>>),
}

impl Batch {
    fn read(reader: &mut ColumnReader, required: i16, rows: usize) -> anyhow::Result<Batch> {
        Ok(match reader {
            ColumnReader::BoolColumnReader(reader) => {
                Batch::Bools(values(reader, required, rows, |value| *value)?)
            }
            ColumnReader::Int32ColumnReader(reader) => {
                Batch::Numbers(values(reader, required, rows, |value| f64::from(*value))?)
            }
            ColumnReader::Int64ColumnReader(reader) => {
                Batch::Numbers(values(reader, required, rows, |value| *value as f64)?)
            }
            ColumnReader::FloatColumnReader(reader) => {
                Batch::Numbers(values(reader, required, rows, |value| f64::from(*value))?)
            }
            ColumnReader::DoubleColumnReader(reader) => {
                Batch::Numbers(values(reader, required, rows, |value| *value)?)
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                Batch::Texts(values(reader, required, rows, |value| {
                    String::from_utf8_lossy(value.data()).into_owned()
                })?)
            }
            _ => anyhow::bail!("a column is of a type other than boolean, number or text"),
        })
    }

    fn cell(&self, row: usize) -> Cell<'_> {
        let found = match self {
            Batch::Bools(values) => values[row].map(Cell::Bool),
            Batch::Numbers(values) => values[row].map(Cell::Number),
            Batch::Texts(values) => values[row]
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(Cell::Text),
        };
        found.unwrap_or(Cell::Empty)
    }
}

/// The next `rows` values, none where there is none.
fn values<T: DataType, V>(
    reader: &mut ColumnReaderImpl<T>,
    required: i16,
    rows: usize,
    value: impl Fn(&T::T) -> V,
) -> ParquetResult<Vec<Option<V>>> {
    let (mut levels, mut found) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let levels = (required > 0).then_some(&mut levels);
        let (records, ..) = reader.read_records(rows - read, levels, None, &mut found)?;
        if records == 0 {
            return Err(parquet::errors::ParquetError::EOF(
                "a column has fewer rows than its group".into(),
            ));
        }
        read += records;
    }
    let mut found = found.iter().map(value);
    Ok((0..rows)
        .map(|row| {
            let there = levels.get(row).is_none_or(|&level| level == required);
            there.then(|| found.next()).flatten()
        })
        .collect())
}
