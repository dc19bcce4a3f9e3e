//! Counts of right and wrong answers by score, in bounded memory.
//!
//! While there are few distinct scores, each has its own counts. When there are
//! more, scores share cells of a fixed grid: steps of 1/4096 below one half, and
//! from there on at most 1/1024 of the distance to 1, because that is where the
//! scores of good models crowd.
//!
//! Always holds: which cells there are depends on the scores alone and not on
//! their order; the least score of a cell is a number of which everything in the
//! cell, and everything in higher cells, is at or above, and nothing else. So the
//! counts of a threshold are exact in either form, and the grid costs choice, not
//! truth. `1 - score` is exact from one half on (Sterbenz), hence so are cells.

use super::curve::{Curve, Point};
use hashbrown::HashMap;

/// Most distinct scores that are told apart exactly; some 2 MiB.
pub const DISTINCT_MAX: usize = 32_768;
/// Cells of the grid in `[0, 1/2)`.
const LOWER_CELLS: usize = 2_048;
/// Bits of the distance to 1 that tell cells apart: 1,024 in each octave.
const UPPER_BITS: u32 = 10;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - UPPER_BITS;
/// Cells of the grid in all: the lower ones, 52 octaves from 2^-53 to 1/2, and 1.
const CELLS: usize = LOWER_CELLS + ((52 << UPPER_BITS) + 1) + 1;

/// What is known about one answer, or about `count` answers that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The answer was right.
    pub correct: bool,
    /// The answer of the model that would be asked next was right, where known.
    pub next_correct: Option<bool>,
    /// How many such answers.
    pub count: u64,
}

impl Row {
    /// One answer, of which nothing more is known than whether it was right.
    pub fn new(correct: bool) -> Self {
        Row {
            correct,
            next_correct: None,
            count: 1,
        }
    }
}

/// A score that is no number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a score is {0}, must be a number from 0 to 1")]
pub struct NotAScore(
    /// What it is.
    pub f64,
);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) rows: u64,
    pub(super) wrong: u64,
    pub(super) next_known: u64,
    pub(super) next_wrong: u64,
}

impl Cell {
    fn add(&mut self, other: Cell) {
        self.rows = self.rows.saturating_add(other.rows);
        self.wrong = self.wrong.saturating_add(other.wrong);
        self.next_known = self.next_known.saturating_add(other.next_known);
        self.next_wrong = self.next_wrong.saturating_add(other.next_wrong);
    }
}

#[derive(Debug, Clone)]
enum Counts {
    Exact(HashMap<u64, Cell>),
    Grid(Box<[Cell]>),
}

/// The history so far.
#[derive(Debug, Clone)]
pub struct Scores {
    counts: Counts,
}

impl Default for Scores {
    fn default() -> Self {
        Scores {
            counts: Counts::Exact(HashMap::new()),
        }
    }
}

impl Scores {
    /// Counts a row.
    ///
    /// # Errors
    ///
    /// The score is no number from 0 to 1; nothing is counted.
    pub fn add(&mut self, score: f64, row: Row) -> Result<(), NotAScore> {
        if !(0.0..=1.0).contains(&score) {
            return Err(NotAScore(score));
        }
        let of = |is: bool| if is { row.count } else { 0 };
        let cell = Cell {
            rows: row.count,
            wrong: of(!row.correct),
            next_known: of(row.next_correct.is_some()),
            next_wrong: of(row.next_correct == Some(false)),
        };
        match &mut self.counts {
            // Adding 0 makes one zero of the two.
            Counts::Exact(map) => map.entry((score + 0.0).to_bits()).or_default().add(cell),
            Counts::Grid(cells) => cells[cell_of(score)].add(cell),
        }
        self.keep_bounded();
        Ok(())
    }

    fn keep_bounded(&mut self) {
        let Counts::Exact(map) = &self.counts else {
            return;
        };
        if map.len() <= DISTINCT_MAX {
            return;
        }
        let mut cells = vec![Cell::default(); CELLS].into_boxed_slice();
        for (bits, cell) in map {
            cells[cell_of(f64::from_bits(*bits))].add(*cell);
        }
        self.counts = Counts::Grid(cells);
    }

    /// True while every distinct score has its own counts.
    pub fn is_exact(&self) -> bool {
        matches!(self.counts, Counts::Exact(_))
    }

    /// What the counts say, for every score or cell that has rows.
    pub fn curve(&self) -> Curve {
        let mut found: Vec<(f64, Cell)> = match &self.counts {
            Counts::Exact(map) => map
                .iter()
                .map(|(bits, cell)| (f64::from_bits(*bits), *cell))
                .collect(),
            Counts::Grid(cells) => (0..).map(least_of).zip(cells.iter().copied()).collect(),
        };
        found.retain(|(_, cell)| cell.rows > 0);
        found.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut total = Cell::default();
        let points = found.into_iter().map(|(threshold, cell)| {
            total.add(cell);
            Point {
                threshold,
                accepted: total.rows,
                wrong: total.wrong,
                next_wrong: total.next_wrong,
            }
        });
        let points: Vec<Point> = points.collect();
        let next_known = total.rows > 0 && total.next_known == total.rows;
        Curve::new(points, self.is_exact(), next_known)
    }
}

/// The cell that a score in `[0, 1]` falls into; higher scores, higher cells.
fn cell_of(score: f64) -> usize {
    if score < 0.5 {
        return (score * (2 * LOWER_CELLS) as f64) as usize;
    }
    let distance = 1.0 - score;
    if distance <= 0.0 {
        return CELLS - 1;
    }
    LOWER_CELLS + (top() - rounded(distance)) as usize
}

/// The distance's first bits as a number, rounded away from a score of 1.
fn rounded(distance: f64) -> u64 {
    (distance.to_bits() + (1 << SHIFT) - 1) >> SHIFT
}

/// That of the greatest distance, one half.
fn top() -> u64 {
    rounded(0.5)
}

/// The least score that falls into a cell.
fn least_of(cell: usize) -> f64 {
    if cell < LOWER_CELLS {
        return cell as f64 / (2 * LOWER_CELLS) as f64;
    }
    if cell == CELLS - 1 {
        return 1.0;
    }
    1.0 - f64::from_bits((top() - (cell - LOWER_CELLS) as u64) << SHIFT)
}
