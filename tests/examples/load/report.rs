//! What a run found: tables of figures, and what was checked.

use serde_json::{Map, Value, json};
use std::fmt;

/// Width of a table's first column, and of the others.
const WIDTHS: (usize, usize) = (30, 12);
/// How many faults a check spells out.
const TOLD_MAX: usize = 3;

/// One run's report.
#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
    checks: Vec<Check>,
}

struct Table {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<f64>)>,
}

struct Check {
    name: &'static str,
    passed: bool,
    detail: String,
}

impl Report {
    /// Adds a table; `columns` are those after the rows' names.
    pub(crate) fn table<const N: usize>(
        &mut self,
        title: &'static str,
        columns: [&'static str; N],
        rows: Vec<(String, [f64; N])>,
    ) {
        let rows = rows.into_iter().map(|(name, row)| (name, row.to_vec()));
        self.tables.push(Table {
            title,
            columns: columns.to_vec(),
            rows: rows.collect(),
        });
    }

    /// Adds something that must hold.
    pub(crate) fn check(&mut self, name: &'static str, passed: bool, detail: impl Into<String>) {
        self.checks.push(Check {
            name,
            passed,
            detail: detail.into(),
        });
    }

    /// Adds a check of `all` things, which holds when nothing is wrong.
    pub(crate) fn all(&mut self, name: &'static str, all: usize, wrong: &[String]) {
        let mut detail = format!("{} of {all} wrong", wrong.len());
        for wrong in wrong.iter().take(TOLD_MAX) {
            detail.push_str("; ");
            detail.push_str(wrong);
        }
        self.check(name, wrong.is_empty(), detail);
    }

    /// True when there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.checks.is_empty()
    }

    /// True when everything that must hold does.
    pub(crate) fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// The report for a program.
    pub(crate) fn json(&self) -> Value {
        let checks = self.checks.iter().map(
            |check| json!({ "check": check.name, "passed": check.passed, "detail": check.detail }),
        );
        json!({
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "checks": checks.collect::<Vec<_>>(),
            "passed": self.passed(),
        })
    }
}

impl Table {
    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, figures)| {
            let figures = self.columns.iter().zip(figures);
            let figures = figures.map(|(column, figure)| ((*column).to_owned(), json!(figure)));
            let name = ("name".to_owned(), json!(name));
            Value::Object(std::iter::once(name).chain(figures).collect::<Map<_, _>>())
        });
        json!({ "title": self.title, "rows": rows.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, other) = WIDTHS;
        write!(f, "{:first$}", self.title)?;
        for column in &self.columns {
            write!(f, "{column:>other$}")?;
        }
        writeln!(f)?;
        for (name, figures) in &self.rows {
            write!(f, "{name:first$}")?;
            for figure in figures {
                if figure.is_nan() {
                    write!(f, "{:>other$}", "-")?;
                    continue;
                }
                let small = figure.abs() < 100.0 && figure.fract() != 0.0;
                let digits = if small { 2 } else { 0 };
                write!(f, "{figure:>other$.digits$}")?;
            }
            writeln!(f)?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        for check in &self.checks {
            let sign = if check.passed { '✓' } else { '✗' };
            writeln!(f, " {sign}  {}: {}", check.name, check.detail)?;
        }
        Ok(())
    }
}
