//! The risk–coverage curve: for each threshold, what would have been accepted
//! and how much of that was wrong.
//!
//! Always holds: points are in order of falling thresholds, and all their
//! counts rise or stay; the last point accepts everything.

use serde::Serialize;

/// One threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Answers at or above it are accepted.
    pub threshold: f64,
    /// So many are.
    pub accepted: u64,
    /// Of these, so many were wrong.
    pub wrong: u64,
    /// And of so many the next model's answer was wrong; 0 where not known.
    #[serde(skip)]
    pub next_wrong: u64,
}

impl Point {
    /// The share of accepted answers that were wrong; 0 when none is accepted.
    pub fn error(&self) -> f64 {
        match self.accepted {
            0 => 0.0,
            accepted => self.wrong as f64 / accepted as f64,
        }
    }
}

/// The whole history as a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    points: Vec<Point>,
    exact: bool,
    next_known: bool,
}

impl Curve {
    pub(super) fn new(points: Vec<Point>, exact: bool, next_known: bool) -> Self {
        Curve {
            points,
            exact,
            next_known,
        }
    }

    /// The points, from the highest threshold to the lowest.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.points.last().map_or(0, |point| point.accepted)
    }

    /// All wrong answers.
    pub fn wrong(&self) -> u64 {
        self.points.last().map_or(0, |point| point.wrong)
    }

    /// True when every distinct score is a point; false when scores share cells
    /// of the grid.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// True when of every row it is known whether the next model was right.
    pub fn next_known(&self) -> bool {
        self.next_known
    }

    /// The share of all answers that `point` accepts.
    pub fn coverage(&self, point: &Point) -> f64 {
        match self.rows() {
            0 => 0.0,
            rows => point.accepted as f64 / rows as f64,
        }
    }

    /// What a threshold that need not be a point accepts.
    pub fn at(&self, threshold: f64) -> Point {
        let above = self
            .points
            .partition_point(|point| point.threshold >= threshold);
        let counts = above.checked_sub(1).map(|last| self.points[last]);
        Point {
            threshold,
            accepted: counts.map_or(0, |point| point.accepted),
            wrong: counts.map_or(0, |point| point.wrong),
            next_wrong: counts.map_or(0, |point| point.next_wrong),
        }
    }

    /// At most `steps` points at even steps of coverage, the first of which
    /// accepts at least `accepted_min` rows and the last all of them. Looks at
    /// scores alone. Empty with fewer rows than that.
    pub fn steps(&self, accepted_min: u64, steps: usize) -> Vec<usize> {
        let rows = self.rows();
        if rows == 0 || rows < accepted_min || steps == 0 {
            return Vec::new();
        }
        let between = u128::from(rows - accepted_min);
        let last = (steps - 1).max(1) as u128;
        let mut indices: Vec<usize> = (0..steps as u128)
            .map(|step| {
                let wanted = u128::from(accepted_min) + between * step / last;
                self.points
                    .partition_point(|point| u128::from(point.accepted) < wanted)
            })
            .collect();
        indices.dedup();
        indices
    }
}
