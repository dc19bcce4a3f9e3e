//! ADWIN: Bifet and Gavaldà, "Learning from time-changing data with adaptive
//! windowing", 2007, with the cut test and the checks of river.
//!
//! The window is a list of rows; a summary in row `i` stands for 2^i values, and
//! a row has at most `buckets_max` summaries. Sums are taken in river's order, so
//! that alarms fall on the same value.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Rows of summaries at most; 2^60 values never come.
const ROWS_MAX: usize = 60;
/// Most summaries of a row, whatever is asked for.
const BUCKETS_MAX: u32 = 1_024;

/// Parameters, by default river's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdwinOptions {
    /// Significance of a cut, in `(0, 1)`.
    pub delta: f64,
    /// Values between two looks for a cut; at least 1.
    pub clock: u32,
    /// Summaries of a size before two are merged; at least 1.
    pub buckets_max: u32,
    /// Fewest values on each side of a cut; at least 1.
    pub window_min: u32,
    /// Looks begin when the window has more values than this.
    pub grace_period: u32,
}

impl Default for AdwinOptions {
    fn default() -> Self {
        Self {
            delta: 0.002,
            clock: 32,
            buckets_max: 5,
            window_min: 5,
            grace_period: 10,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Summary {
    total: f64,
    /// Sum of squares about the mean.
    squares: f64,
}

/// An adaptive window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    options: AdwinOptions,
    /// Oldest summary first in each row; the last row holds the oldest values.
    rows: Vec<VecDeque<Summary>>,
    ticks: u64,
    width: u64,
    total: f64,
    squares: f64,
    drifted: bool,
}

impl Adwin {
    /// An empty window. Options out of range are moved into it.
    pub fn new(options: AdwinOptions) -> Self {
        let delta = if options.delta > 0.0 && options.delta < 1.0 {
            options.delta
        } else {
            AdwinOptions::default().delta
        };
        Self {
            options: AdwinOptions {
                delta,
                clock: options.clock.max(1),
                buckets_max: options.buckets_max.clamp(1, BUCKETS_MAX),
                window_min: options.window_min.max(1),
                ..options
            },
            rows: vec![VecDeque::new()],
            ticks: 0,
            width: 0,
            total: 0.0,
            squares: 0.0,
            drifted: false,
        }
    }

    /// Values in the window.
    pub fn width(&self) -> u64 {
        self.width
    }

    /// Mean of the window; 0 when it is empty.
    pub fn mean(&self) -> f64 {
        match self.width {
            0 => 0.0,
            width => self.total / width as f64,
        }
    }

    /// Sum of squares about the mean, over the window. river calls it
    /// `variance`.
    pub fn squares(&self) -> f64 {
        self.squares
    }

    /// Whether the last value raised the alarm.
    pub fn drifted(&self) -> bool {
        self.drifted
    }

    /// Takes a value; true when the mean of the window has moved. As in river,
    /// the value after an alarm begins an empty window, though ADWIN itself would
    /// keep the newer part.
    pub fn update(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        if self.drifted {
            *self = Self::new(self.options);
        }
        self.insert(value);
        self.ticks += 1;
        let looks = self.ticks.is_multiple_of(u64::from(self.options.clock))
            && self.width > u64::from(self.options.grace_period);
        while looks && self.has_cut() {
            self.drifted = true;
            self.drop_oldest();
        }
        self.drifted
    }

    fn insert(&mut self, value: f64) {
        let before = self.width as f64;
        self.width += 1;
        if before > 0.0 {
            let off = value - self.total / before;
            self.squares += before * off * off / (before + 1.0);
        }
        self.total += value;
        self.rows[0].push_back(Summary {
            total: value,
            squares: 0.0,
        });
        self.merge();
    }

    /// Merges the two oldest of each row that is too long.
    fn merge(&mut self) {
        for row in 0..ROWS_MAX {
            if self.rows[row].len() <= self.options.buckets_max as usize {
                break;
            }
            let (Some(a), Some(b)) = (self.rows[row].pop_front(), self.rows[row].pop_front())
            else {
                break;
            };
            let size = size(row);
            let apart = a.total / size - b.total / size;
            if row + 1 == self.rows.len() {
                self.rows.push(VecDeque::new());
            }
            self.rows[row + 1].push_back(Summary {
                total: a.total + b.total,
                squares: a.squares + b.squares + size * 0.5 * apart * apart,
            });
        }
    }

    /// Whether the means before and after some summary differ by too much.
    fn has_cut(&self) -> bool {
        let window_min = f64::from(self.options.window_min);
        let width = self.width as f64;
        let (mut older, mut newer) = (0.0, width);
        let (mut older_total, mut newer_total) = (0.0, self.total);
        let summaries = self.rows.iter().enumerate().rev();
        for (row, summary) in summaries.flat_map(|(row, all)| all.iter().map(move |s| (row, s))) {
            older += size(row);
            newer -= size(row);
            older_total += summary.total;
            newer_total -= summary.total;
            if older < window_min || newer < window_min {
                continue;
            }
            let apart = older_total / older - newer_total / newer;
            let delta = (2.0 * width.ln() / self.options.delta).ln();
            let harmonic = 1.0 / (older - window_min + 1.0) + 1.0 / (newer - window_min + 1.0);
            let room = (2.0 * harmonic * (self.squares / width) * delta).sqrt()
                + 2.0 / 3.0 * delta * harmonic;
            if apart.abs() > room {
                return true;
            }
        }
        false
    }

    fn drop_oldest(&mut self) {
        let row = self.rows.len() - 1;
        let Some(oldest) = self.rows[row].pop_front() else {
            return;
        };
        if self.rows[row].is_empty() && row > 0 {
            self.rows.pop();
        }
        let size = size(row);
        self.width = self.width.saturating_sub(size as u64);
        self.total -= oldest.total;
        let rest = self.width as f64;
        if rest > 0.0 {
            let apart = oldest.total / size - self.total / rest;
            self.squares -= oldest.squares + size * rest * apart * apart / (size + rest);
        } else {
            self.squares = 0.0;
        }
    }
}

/// Values that a summary in this row stands for.
fn size(row: usize) -> f64 {
    (1u64 << row) as f64
}

impl Default for Adwin {
    fn default() -> Self {
        Self::new(AdwinOptions::default())
    }
}
