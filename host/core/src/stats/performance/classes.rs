//! Answers of many kinds: one class each, per class and averaged.
//!
//! [`super::Confusion`] is the case of two. Averages are those of scikit-learn:
//! a class that occurs neither in labels nor in answers is left out, and a
//! figure that a class leaves undefined (a precision of what was never
//! answered) counts as 0, since never to be found is a failure.
//!
//! Sources: scikit-learn's `precision_recall_fscore_support`; standard errors
//! by the delta method over the cells of the table. Every figure stays the
//! same when all counts are doubled, so the variance is the sum over the cells
//! of their count times the square of the figure's derivative by it.

use super::{Confusion, Score};
use crate::metric::Proportion;
use serde::{Deserialize, Serialize};

/// Most classes of a table; its memory is the square of it.
pub const CLASSES_MAX: usize = 256;

/// Labels against answers: a square table of counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u64>>", into = "Vec<Vec<u64>>")]
pub struct ClassConfusion {
    classes: usize,
    /// Row by row: of each label, what was answered.
    cells: Vec<u64>,
}

/// Why there is no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClassesError {
    /// Fewer than two classes, or more than [`CLASSES_MAX`].
    #[error("{0} classes, where 2 to {CLASSES_MAX} are possible")]
    Classes(usize),
    /// A row has another length than there are rows.
    #[error("row {row} has {cells} cells, where there are {rows} rows")]
    NotSquare {
        /// Counted from 0.
        row: usize,
        /// How many it has.
        cells: usize,
        /// Rows of the table.
        rows: usize,
    },
    /// The counts together are more than 2⁶⁴.
    #[error("the counts together are more than 2⁶⁴")]
    Counts,
    /// There is no such class.
    #[error("class {class} of {classes}")]
    Unknown {
        /// Counted from 0.
        class: usize,
        /// Classes of the table.
        classes: usize,
    },
}

/// What is measured of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassMetric {
    /// Right among those called so.
    Precision,
    /// Found among those that are so.
    Recall,
    /// The harmonic mean of both.
    F1,
}

/// How classes are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// All classes alike.
    Macro,
    /// By how many labels each has.
    Weighted,
    /// Over answers, whatever their class. With one label to an answer all
    /// metrics are then the accuracy.
    Micro,
}

impl ClassConfusion {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// Fewer than two classes, or more than [`CLASSES_MAX`].
    pub fn new(classes: usize) -> Result<ClassConfusion, ClassesError> {
        if !(2..=CLASSES_MAX).contains(&classes) {
            return Err(ClassesError::Classes(classes));
        }
        Ok(ClassConfusion {
            classes,
            cells: vec![0; classes * classes],
        })
    }

    /// Counts one answer.
    ///
    /// # Errors
    ///
    /// There is no such class; nothing is counted.
    pub fn add(&mut self, actual: usize, predicted: usize) -> Result<(), ClassesError> {
        let classes = self.classes;
        if let Some(class) = [actual, predicted]
            .into_iter()
            .find(|class| *class >= classes)
        {
            return Err(ClassesError::Unknown { class, classes });
        }
        let cell = &mut self.cells[actual * classes + predicted];
        *cell = cell.saturating_add(1);
        Ok(())
    }

    fn cell(&self, actual: usize, predicted: usize) -> u64 {
        self.cells[actual * self.classes + predicted]
    }

    fn labelled(&self, class: usize) -> u64 {
        (0..self.classes).map(|other| self.cell(class, other)).sum()
    }

    fn answered(&self, class: usize) -> u64 {
        (0..self.classes).map(|other| self.cell(other, class)).sum()
    }

    /// Labelled answers.
    pub fn total(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Right among all.
    pub fn accuracy(&self) -> Proportion {
        Proportion {
            events: (0..self.classes).map(|class| self.cell(class, class)).sum(),
            trials: self.total(),
        }
    }

    /// One class against all others. None when there is no such class.
    pub fn one_against_rest(&self, class: usize) -> Option<Confusion> {
        (class < self.classes).then(|| {
            let found = self.cell(class, class);
            let (labelled, answered) = (self.labelled(class), self.answered(class));
            Confusion {
                true_positives: found,
                false_positives: answered - found,
                false_negatives: labelled - found,
                true_negatives: self.total() + found - labelled - answered,
            }
        })
    }

    /// A metric over all classes. None without any answer.
    pub fn averaged(&self, metric: ClassMetric, average: Average) -> Option<Score> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        if average == Average::Micro {
            return super::score(self.accuracy());
        }
        let sums: Vec<Sums> = (0..self.classes).map(|class| self.sums(class)).collect();
        let present = sums
            .iter()
            .filter(|sums| sums.labelled + sums.answered > 0.0)
            .count() as f64;
        let n = total as f64;
        let weight = |sums: &Sums| match average {
            Average::Weighted => sums.labelled / n,
            _ if sums.labelled + sums.answered > 0.0 => 1.0 / present,
            _ => 0.0,
        };
        let slopes: Vec<Slopes> = sums.iter().map(|sums| sums.slopes(metric)).collect();
        let value = sums
            .iter()
            .zip(&slopes)
            .map(|(sums, of)| weight(sums) * of.value)
            .sum();
        // By one more answer `predicted` to the label `actual`.
        let derivative = |actual: usize, predicted: usize| {
            let (row, column) = (&slopes[actual], &slopes[predicted]);
            let mut slope = weight(&sums[actual]) * row.by_labelled
                + weight(&sums[predicted]) * column.by_answered;
            if actual == predicted {
                slope += weight(&sums[actual]) * row.by_found;
            }
            if average == Average::Weighted {
                // The weights shift, too.
                slope += (row.value - value) / n;
            }
            slope
        };
        let variance: f64 = (0..self.classes)
            .flat_map(|actual| (0..self.classes).map(move |predicted| (actual, predicted)))
            .filter(|(actual, predicted)| self.cell(*actual, *predicted) > 0)
            .map(|(actual, predicted)| {
                let slope = derivative(actual, predicted);
                self.cell(actual, predicted) as f64 * slope * slope
            })
            .sum();
        Some(Score {
            value,
            standard_error: variance.sqrt(),
            samples: total,
        })
    }

    fn sums(&self, class: usize) -> Sums {
        Sums {
            found: self.cell(class, class) as f64,
            labelled: self.labelled(class) as f64,
            answered: self.answered(class) as f64,
        }
    }
}

/// What a class's metrics are made of.
struct Sums {
    found: f64,
    labelled: f64,
    answered: f64,
}

/// A class's metric and its derivatives by what it is made of.
struct Slopes {
    value: f64,
    by_found: f64,
    by_labelled: f64,
    by_answered: f64,
}

impl Sums {
    fn slopes(&self, metric: ClassMetric) -> Slopes {
        // All are `factor · found / of`.
        let (factor, of) = match metric {
            ClassMetric::Precision => (1.0, self.answered),
            ClassMetric::Recall => (1.0, self.labelled),
            ClassMetric::F1 => (2.0, self.labelled + self.answered),
        };
        if of <= 0.0 {
            return Slopes {
                value: 0.0,
                by_found: 0.0,
                by_labelled: 0.0,
                by_answered: 0.0,
            };
        }
        let value = factor * self.found / of;
        let by_of = -value / of;
        Slopes {
            value,
            by_found: factor / of,
            by_labelled: if metric == ClassMetric::Precision {
                0.0
            } else {
                by_of
            },
            by_answered: if metric == ClassMetric::Recall {
                0.0
            } else {
                by_of
            },
        }
    }
}

impl TryFrom<Vec<Vec<u64>>> for ClassConfusion {
    type Error = ClassesError;

    fn try_from(rows: Vec<Vec<u64>>) -> Result<ClassConfusion, ClassesError> {
        let mut table = ClassConfusion::new(rows.len())?;
        for (at, row) in rows.iter().enumerate() {
            if row.len() != rows.len() {
                return Err(ClassesError::NotSquare {
                    row: at,
                    cells: row.len(),
                    rows: rows.len(),
                });
            }
        }
        table.cells = rows.concat();
        let total = table
            .cells
            .iter()
            .try_fold(0u64, |sum, cell| sum.checked_add(*cell));
        total.map(|_| table).ok_or(ClassesError::Counts)
    }
}

impl From<ClassConfusion> for Vec<Vec<u64>> {
    fn from(table: ClassConfusion) -> Vec<Vec<u64>> {
        table
            .cells
            .chunks(table.classes)
            .map(<[u64]>::to_vec)
            .collect()
    }
}
