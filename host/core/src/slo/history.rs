//! Bad events among all of them, for as long as an objective's period.
//!
//! Windows of evidence ([`crate::window`]) reach back two days; a period lasts
//! up to a year. So each objective counts for itself, coarser: in ticks of ten
//! seconds, which as they grow old are merged with their neighbours, so that a
//! bucket is never wider than a 32nd of its age. A window takes in every bucket
//! that lies in it by more than half: its edge is off by at most a 64th of its
//! length and a tick, 1.6 % of an hour or of a month alike.
//!
//! A bucket takes 32 bytes and there are at most [`BUCKETS_MAX`], so that an
//! objective takes 24 KiB whatever its period and whatever the traffic; kept as
//! JSON about as much.
//!
//! Events belong to the moment at which they were counted, as with the counters
//! of other tools: a label that arrives days late burns the budget when it
//! arrives. (In its own window it would burn in one that nobody watches any
//! more, and the windows of a page would be empty for ever.)
//!
//! Clock jumps: time in here never runs back. A clock that is set back goes on
//! from where it was; one that is set forward lets everything grow old, as a
//! silence of that length would.

use super::WindowCounts;
use crate::metric::Proportion;
use serde::{Deserialize, Serialize};

/// Width of a tick: half of it is a twelfth of the shortest usual short window.
pub const TICK_MS: u64 = 10_000;
/// A bucket is merged into one of twice the width when it has grown older than
/// that width this many times.
const AGE_PER_WIDTH: u64 = 32;
/// The widest bucket, of `2^16` ticks, is a week: at an age of 32 weeks.
const LEVEL_MAX: u32 = 16;
/// Most buckets: 64 of one tick and up to 32 for each further width. A year has
/// some 450, for the widths follow from the age and not from the traffic.
pub const BUCKETS_MAX: usize = 64 + 32 * LEVEL_MAX as usize + 64;

/// The counts of one objective.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct History {
    /// The present tick, in time that never runs back.
    now_tick: u64,
    /// What that time is ahead of the clock, in ticks: as much as the clock was
    /// set back in all.
    ahead_ticks: u64,
    /// Oldest first; without overlap.
    buckets: Vec<Bucket>,
}

/// What was counted in the ticks `start` to `start + 2^level - 1`; `start` is a
/// multiple of that width.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    start: u64,
    level: u32,
    bad: u64,
    all: u64,
}

impl Bucket {
    fn end(&self) -> u64 {
        self.start.saturating_add(1 << self.level)
    }

    /// The level that it has grown old enough for.
    fn level_at(&self, now_tick: u64) -> u32 {
        let mut level = self.level;
        while level < LEVEL_MAX {
            let width = 1 << (level + 1);
            let end = (self.start / width).saturating_add(1).saturating_mul(width);
            if now_tick.saturating_sub(end) < width * AGE_PER_WIDTH {
                break;
            }
            level += 1;
        }
        level
    }
}

/// A history as it is kept; buckets as `[start, level, bad, all]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    now_tick: u64,
    ahead_ticks: u64,
    buckets: Vec<(u64, u32, u64, u64)>,
}

impl From<History> for Kept {
    fn from(history: History) -> Kept {
        let tuple = |of: Bucket| (of.start, of.level, of.bad, of.all);
        Kept {
            now_tick: history.now_tick,
            ahead_ticks: history.ahead_ticks,
            buckets: history.buckets.into_iter().map(tuple).collect(),
        }
    }
}

impl From<Kept> for History {
    /// Buckets that do not fit (out of order, overlapping, of the future, with
    /// more bad events than events) are left out: better no evidence than wrong
    /// evidence.
    fn from(kept: Kept) -> History {
        let mut buckets: Vec<Bucket> = Vec::new();
        for (start, level, bad, all) in kept.buckets.into_iter().take(BUCKETS_MAX) {
            let is_whole = level <= LEVEL_MAX && start.is_multiple_of(1 << level);
            let before = buckets.last().map_or(0, Bucket::end);
            let is_past = start >= before && start <= kept.now_tick;
            if is_whole && is_past && bad <= all && all > 0 {
                buckets.push(Bucket {
                    start,
                    level,
                    bad,
                    all,
                });
            }
        }
        History {
            now_tick: kept.now_tick,
            ahead_ticks: kept.ahead_ticks,
            buckets,
        }
    }
}

impl History {
    /// Lets time pass until `now_ms` and counts events as of then. What is older
    /// than `keep_ms` is forgotten; of what is asked for, that is the longest
    /// window. More bad events than events count as that many events.
    pub fn record(&mut self, now_ms: u64, keep_ms: u64, counts: Proportion) {
        let tick = (now_ms / TICK_MS).saturating_add(self.ahead_ticks);
        let back = self.now_tick.saturating_sub(tick);
        self.ahead_ticks = self.ahead_ticks.saturating_add(back);
        let is_new = tick > self.now_tick;
        self.now_tick = self.now_tick.max(tick);
        if counts.trials > 0 {
            let bad = counts.events.min(counts.trials);
            match self.buckets.last_mut() {
                // The newest has one tick for as long as it is the present one.
                Some(newest) if newest.end() > self.now_tick => {
                    newest.bad = newest.bad.saturating_add(bad);
                    newest.all = newest.all.saturating_add(counts.trials);
                }
                _ => self.buckets.push(Bucket {
                    start: self.now_tick,
                    level: 0,
                    bad,
                    all: counts.trials,
                }),
            }
        }
        if is_new {
            self.grow_old(keep_ms);
        }
    }

    fn grow_old(&mut self, keep_ms: u64) {
        let now_tick = self.now_tick;
        let keep_ticks = keep_ms / TICK_MS;
        self.buckets
            .retain(|bucket| bucket.end().saturating_add(keep_ticks) >= now_tick);
        for bucket in &mut self.buckets {
            bucket.level = bucket.level_at(now_tick);
            bucket.start &= !((1 << bucket.level) - 1);
        }
        self.buckets.dedup_by(|newer, older| {
            let same = newer.start == older.start;
            if same {
                older.bad = older.bad.saturating_add(newer.bad);
                older.all = older.all.saturating_add(newer.all);
            }
            same
        });
    }
}

impl WindowCounts for History {
    /// Of the window that ends with the last [`History::record`].
    fn counts(&self, window_ms: u64) -> Proportion {
        // In half ticks, so that the middle of a bucket is a whole number.
        let window = 2 * (window_ms / TICK_MS).max(1);
        let now = 2 * self.now_tick.saturating_add(1);
        let inside = |bucket: &&Bucket| {
            let middle = bucket.start.saturating_mul(2) + (1 << bucket.level);
            middle.saturating_add(window) > now
        };
        let mut sum = Proportion::default();
        for bucket in self.buckets.iter().rev().take_while(inside) {
            sum.events = sum.events.saturating_add(bucket.bad);
            sum.trials = sum.trials.saturating_add(bucket.all);
        }
        sum
    }
}

#[cfg(test)]
mod tests;
