//! What the rows of a file add up to, and what is wrong with them.
//!
//! Always holds: memory depends neither on the number of rows nor on what is
//! wrong with them; a row that is not whole counts nowhere.

use super::columns::{Columns, Role};
use crate::failure::Failure;
use crate::table::{Cell, Rows, missing_columns, shown};
use backstop_core::calibrate::{Row, Scores};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most groups; each has counts of its own.
pub(super) const SEGMENTS_MAX: usize = 64;
/// Longest name of a group.
const SEGMENT_BYTES_MAX: usize = 256;
/// Mistakes of each kind that are shown with their place.
const PLACES_MAX: usize = 3;

/// What can be wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mistake {
    Broken,
    NoScore,
    NoNumber,
    NotANumber,
    OutOfRange,
    NoOutcome,
    UnclearOutcome,
    NoSegment,
    TooManySegments,
    UnclearNext,
    UnclearCount,
}

impl Mistake {
    fn text(self) -> String {
        match self {
            Mistake::Broken => "cannot be read".into(),
            Mistake::NoScore => "have no score".into(),
            Mistake::NoNumber => "have a score that is no number".into(),
            Mistake::NotANumber => "have the score NaN".into(),
            Mistake::OutOfRange => "have a score outside 0 to 1".into(),
            Mistake::NoOutcome => "do not say whether the answer was right".into(),
            Mistake::UnclearOutcome => {
                "have an outcome other than true, false, yes, no, 1 or 0".into()
            }
            Mistake::NoSegment => "belong to no segment".into(),
            Mistake::TooManySegments => format!(
                "belong to one segment too many; {SEGMENTS_MAX} are told apart, is the column \
                 really one of groups?"
            ),
            Mistake::UnclearNext => {
                "do not say whether the next model was right, in true or false".into()
            }
            Mistake::UnclearCount => "have a count that is no whole number from 1 on".into(),
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    rows: u64,
    places: Vec<(u64, String)>,
}

/// The history, as far as it has been read.
#[derive(Debug)]
pub(super) struct History {
    columns: Columns,
    /// What a place is called: a line, or a row.
    unit: &'static str,
    pub(super) overall: Scores,
    pub(super) segments: BTreeMap<String, Scores>,
    /// Rows of the file.
    pub(super) rows_read: u64,
    mistakes: BTreeMap<Mistake, Found>,
    /// For each cell, whether any row had something there.
    seen: Vec<bool>,
    /// Names in the first row, where rows have names of their own.
    names: Vec<String>,
    score_max: f64,
}

impl Rows for History {
    fn places_are(&mut self, unit: &'static str) {
        self.unit = unit;
    }

    fn row(&mut self, place: u64, cells: &[Cell<'_>]) {
        for (seen, cell) in self.seen.iter_mut().zip(cells) {
            *seen |= *cell != Cell::Empty;
        }
        self.rows_read += 1;
        if let Err((mistake, cell)) = self.count(cells) {
            self.note(place, mistake, cell);
        }
    }

    fn broken(&mut self, place: u64, why: &str) {
        self.rows_read += 1;
        let found = self.mistakes.entry(Mistake::Broken).or_default();
        found.rows += 1;
        if found.places.len() < PLACES_MAX {
            found.places.push((place, why.to_owned()));
        }
    }

    fn names(&mut self) -> &mut Vec<String> {
        &mut self.names
    }
}

impl History {
    pub(super) fn new(columns: Columns) -> History {
        History {
            seen: vec![false; columns.len()],
            columns,
            unit: "line",
            overall: Scores::default(),
            segments: BTreeMap::new(),
            rows_read: 0,
            mistakes: BTreeMap::new(),
            names: Vec::new(),
            score_max: 0.0,
        }
    }

    fn note(&mut self, place: u64, mistake: Mistake, cell: Cell<'_>) {
        let found = self.mistakes.entry(mistake).or_default();
        found.rows += 1;
        if found.places.len() < PLACES_MAX {
            let what = match cell {
                Cell::Empty => String::new(),
                Cell::Text(text) => format!("`{}`", shown(text)),
                Cell::Number(number) => format!("`{number}`"),
                Cell::Bool(is) => format!("`{is}`"),
                Cell::Nested => "a list or an object".into(),
            };
            found.places.push((place, what));
        }
    }

    fn count<'a>(&mut self, cells: &[Cell<'a>]) -> Result<(), (Mistake, Cell<'a>)> {
        let cell = |role| self.columns.cell(role).map(|cell| cells[cell]);
        let score_cell = cell(Role::Score).unwrap_or(Cell::Empty);
        let score = score(score_cell).map_err(|mistake| (mistake, score_cell));
        if let Err((Mistake::OutOfRange, _)) = score {
            self.score_max = self.score_max.max(number(score_cell).unwrap_or(0.0));
        }
        let score = score?;
        let correct = match cell(Role::Correct) {
            Some(cell) => cell.truth().ok_or(match cell {
                Cell::Empty => (Mistake::NoOutcome, cell),
                _ => (Mistake::UnclearOutcome, cell),
            })?,
            None => {
                let label = cell(Role::Label).unwrap_or(Cell::Empty);
                let predicted = cell(Role::Predicted).unwrap_or(Cell::Empty);
                same(label, predicted).ok_or((Mistake::NoOutcome, Cell::Empty))?
            }
        };
        let next_correct = match cell(Role::Next) {
            Some(cell) => Some(cell.truth().ok_or((Mistake::UnclearNext, cell))?),
            None => None,
        };
        let count = match cell(Role::Count) {
            Some(cell) => whole(cell).ok_or((Mistake::UnclearCount, cell))?,
            None => 1,
        };
        let row = Row {
            correct,
            next_correct,
            count,
        };
        if let Some(cell) = cell(Role::Segment) {
            self.segment(cell)
                .map_err(|mistake| (mistake, cell))?
                .add(score, row)
                .map_err(|_| (Mistake::OutOfRange, cell))?;
        }
        self.overall
            .add(score, row)
            .map_err(|_| (Mistake::OutOfRange, score_cell))
    }

    fn segment(&mut self, cell: Cell<'_>) -> Result<&mut Scores, Mistake> {
        let number;
        let name = match cell {
            Cell::Text(text) if text.len() <= SEGMENT_BYTES_MAX => text,
            Cell::Number(value) => {
                number = value.to_string();
                &number
            }
            Cell::Bool(is) => {
                if is {
                    "true"
                } else {
                    "false"
                }
            }
            Cell::Empty | Cell::Nested | Cell::Text(_) => return Err(Mistake::NoSegment),
        };
        // Known ones without making a string.
        if !self.segments.contains_key(name) {
            if self.segments.len() == SEGMENTS_MAX {
                return Err(Mistake::TooManySegments);
            }
            self.segments.insert(name.to_owned(), Scores::default());
        }
        self.segments.get_mut(name).ok_or(Mistake::NoSegment)
    }

    /// Rows that count nowhere.
    pub(super) fn rows_bad(&self) -> u64 {
        self.mistakes.values().map(|found| found.rows).sum()
    }

    /// All that is wrong with the file.
    ///
    /// # Errors
    ///
    /// Columns of which no row has anything; with `skip`, nothing else but that
    /// no row is left.
    pub(super) fn check(&self, file: &str, skip: bool) -> Result<(), Failure> {
        let good = self.rows_read - self.rows_bad();
        let unreadable = self.mistakes.get(&Mistake::Broken);
        if self.rows_read > unreadable.map_or(0, |found| found.rows) {
            let absent: Vec<&str> = (0..self.columns.len())
                .filter(|&cell| !self.seen[cell])
                .map(|cell| self.columns.name(cell))
                .collect();
            if !absent.is_empty() && !self.names.is_empty() {
                return Err(missing_columns(file, &absent, &self.names));
            }
        }
        if self.rows_read == 0 {
            return Err(Failure::usage(format!("{file} has no rows")));
        }
        if self.mistakes.is_empty() || (skip && good > 0) {
            return Ok(());
        }
        let mut text = format!(
            "{} of {} rows of {file} cannot be used",
            grouped(self.rows_bad()),
            grouped(self.rows_read)
        );
        self.describe(&mut text);
        if self.score_max > 1.0 && self.score_max <= 100.0 {
            text.push_str("\nif scores are percents, divide them by 100");
        }
        if good > 0 {
            text.push_str("\ncorrect them, or leave them out with `--skip-bad-rows`");
        }
        Err(Failure::usage(text))
    }

    /// One line for each kind of mistake.
    pub(super) fn describe(&self, text: &mut String) {
        for (mistake, found) in &self.mistakes {
            let _ = write!(text, "\n  {} {}: ", grouped(found.rows), mistake.text());
            let places: Vec<String> = found
                .places
                .iter()
                .map(|(place, what)| match what.as_str() {
                    "" => format!("{} {place}", self.unit),
                    what => format!("{} {place} ({what})", self.unit),
                })
                .collect();
            text.push_str(&places.join(", "));
            if found.rows > found.places.len() as u64 {
                text.push_str(", …");
            }
        }
    }
}

fn number(cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Number(number) => Some(number),
        Cell::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn score(cell: Cell<'_>) -> Result<f64, Mistake> {
    if cell == Cell::Empty {
        return Err(Mistake::NoScore);
    }
    match number(cell) {
        None => Err(Mistake::NoNumber),
        Some(number) if number.is_nan() => Err(Mistake::NotANumber),
        Some(number) if !(0.0..=1.0).contains(&number) => Err(Mistake::OutOfRange),
        Some(number) => Ok(number),
    }
}

fn whole(cell: Cell<'_>) -> Option<u64> {
    let number = number(cell)?;
    // As far as numbers of JSON are exact.
    let whole = (1.0..=9_007_199_254_740_992.0).contains(&number) && number.fract().abs() <= 0.0;
    whole.then_some(number as u64)
}

/// Whether the model said what would have been right; none where one of the two
/// is not known. `1` and `1.0` are the same.
fn same(label: Cell<'_>, predicted: Cell<'_>) -> Option<bool> {
    match (label, predicted) {
        (Cell::Empty | Cell::Nested, _) | (_, Cell::Empty | Cell::Nested) => None,
        (Cell::Text(a), Cell::Text(b)) if a.trim() == b.trim() => Some(true),
        (Cell::Bool(a), Cell::Bool(b)) => Some(a == b),
        (a, b) => Some(match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
            _ => false,
        }),
    }
}

/// 1234567 as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let names = [
            (Role::Score, Some("score")),
            (Role::Label, Some("label")),
            (Role::Predicted, Some("said")),
        ];
        History::new(Columns::new(&names))
    }

    #[test]
    fn labels_are_compared_as_what_they_are() {
        use Cell::{Bool, Empty, Number, Text};
        for (label, predicted, expected) in [
            (Text("spam"), Text("spam "), Some(true)),
            (Text("spam"), Text("Spam"), Some(false)),
            (Text("1"), Text("1.0"), Some(true)),
            (Number(1.0), Text("1"), Some(true)),
            (Bool(true), Bool(true), Some(true)),
            (Bool(true), Text("spam"), Some(false)),
            (Empty, Text("spam"), None),
        ] {
            assert_eq!(same(label, predicted), expected, "{label:?}, {predicted:?}");
        }
    }

    #[test]
    fn outcomes_and_counts_are_read_strictly() {
        for text in ["1", "TRUE", "yes", " t ", "1.0"] {
            assert_eq!(Cell::Text(text).truth(), Some(true), "{text}");
        }
        for text in ["0", "False", "no", "N", "0.0"] {
            assert_eq!(Cell::Text(text).truth(), Some(false), "{text}");
        }
        for text in ["2", "right", "", "nan"] {
            assert_eq!(Cell::Text(text).truth(), None, "{text}");
        }
        for text in ["0", "-1", "1.5", "nan", "1e300"] {
            assert_eq!(whole(Cell::Text(text)), None, "{text}");
        }
        assert_eq!(whole(Cell::Text("12")), Some(12));
    }

    #[test]
    fn mistakes_are_counted_and_only_the_first_are_kept() {
        let mut history = history();
        for line in 2..1_002 {
            let cells = [Cell::Text("2.5"), Cell::Text("a"), Cell::Text("a")];
            history.row(line, &cells);
        }
        history.row(
            1_002,
            &[Cell::Text("0.5"), Cell::Text("a"), Cell::Text("b")],
        );
        let error = history.check("`x.csv`", false).unwrap_err();
        let text = error.error.to_string();
        assert_eq!(
            text,
            "1,000 of 1,001 rows of `x.csv` cannot be used\n  \
             1,000 have a score outside 0 to 1: line 2 (`2.5`), line 3 (`2.5`), line 4 (`2.5`), …\n\
             if scores are percents, divide them by 100\n\
             correct them, or leave them out with `--skip-bad-rows`"
        );
        assert!(history.check("`x.csv`", true).is_ok());
        assert_eq!(history.overall.curve().rows(), 1);
    }

    #[test]
    fn a_column_of_names_is_no_column_of_groups() {
        let names = [
            (Role::Score, Some("score")),
            (Role::Correct, Some("correct")),
            (Role::Segment, Some("id")),
        ];
        let mut history = History::new(Columns::new(&names));
        history.places_are("row");
        for row in 0..1_000u32 {
            let id = row.to_string();
            let cells = [Cell::Number(0.5), Cell::Bool(true), Cell::Text(&id)];
            history.row(row.into(), &cells);
        }
        assert_eq!(history.segments.len(), SEGMENTS_MAX);
        let error = history.check("`x`", false).unwrap_err().error.to_string();
        assert!(
            error.contains("936 belong to one segment too many"),
            "{error}"
        );
        // A row that is not whole counts nowhere.
        assert_eq!(history.overall.curve().rows(), SEGMENTS_MAX as u64);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
