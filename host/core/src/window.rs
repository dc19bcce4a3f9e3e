//! Sliding windows over the last two days, in little memory.
//!
//! Time is cut into ticks. What happens is tallied in the present tick; ticks
//! that have passed become buckets, and as buckets grow old they are merged
//! with their neighbours, two by two, so that a bucket is never wider than a
//! fifth of its age. A window takes in every bucket that lies in it by more
//! than half, so its edge is off by at most a tenth of the window's length,
//! which is what `wit/metrics.wit` promises for windows of a second and more.
//!
//! One ring of about 130 buckets thus answers every window from a second to
//! two days, where rings of fixed width would need one for each scale. Always
//! holds: buckets are in the order of time and do not overlap, and their number
//! is bounded by [`BUCKETS_MAX`] whatever the traffic and whatever the clock
//! does.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Width of a tick: half of it is a tenth of the shortest window.
pub const TICK_MS: u64 = 200;
/// How far back windows reach: the longest window and, for drift, a reference
/// window of the same length before it.
pub const RETENTION_MS: u64 = 2 * 86_400_000;
/// A clock that steps back by more than this starts the window anew. Smaller
/// steps are the clock's being set right; they count into the present tick.
pub const STEP_BACK_MS_MAX: u64 = 60_000;
/// Most buckets. Merging leaves at most 131 (12 of one tick, 7 for each of 17
/// doublings), and waits until there are this many, so that its cost is spread.
pub const BUCKETS_MAX: usize = 192;
/// A bucket is merged into one of twice the width when it has grown older than
/// that width this many times: half of it is then a tenth of its age.
const AGE_PER_WIDTH: u64 = 5;

/// Levels of buckets: the widest is a fifth of the retention.
const LEVELS: u32 = 18;

/// What a window counts in one tick, and what it keeps of it.
pub trait Tally: Default {
    /// What is kept of a tick that has passed.
    type Closed;
    /// True when nothing was counted.
    fn is_empty(&self) -> bool;
    /// Takes out what was counted and begins anew.
    fn close(&mut self) -> Self::Closed;
    /// What was counted, which goes on.
    fn copy(&self) -> Self::Closed;
    /// Adds `other` to `into`.
    fn merge(into: &mut Self::Closed, other: Self::Closed);
}

/// A sliding window of `T`. `now_ms` may be of any clock, as long as it is
/// always the same one.
#[derive(Debug)]
pub struct Window<T: Tally> {
    head_tick: u64,
    head: T,
    /// Oldest first.
    past: VecDeque<Bucket<T::Closed>>,
}

/// Ticks `start` to `start + 2^level - 1`; `start` is a multiple of its width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucket<C> {
    /// The first tick.
    pub start: u64,
    /// Logarithm of the number of ticks.
    pub level: u32,
    /// What happened in them.
    pub closed: C,
}

impl<C> Bucket<C> {
    /// The tick after the last.
    fn end(&self) -> u64 {
        self.start.saturating_add(1 << self.level)
    }

    /// True when a window may hold it: as wide as one gets, and aligned.
    fn is_whole(&self) -> bool {
        self.level < LEVELS && self.start.is_multiple_of(1 << self.level)
    }
}

/// The part of a window that is asked about, as ages in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What is older is left out.
    pub older_ms: u64,
    /// What is younger is left out; 0 leaves out nothing.
    pub newer_ms: u64,
}

impl Span {
    /// The last `window_s` seconds.
    pub fn last_s(window_s: u32) -> Span {
        Span {
            older_ms: u64::from(window_s) * 1_000,
            newer_ms: 0,
        }
    }

    fn contains(self, now_ms: u64, middle_ms: u64) -> bool {
        middle_ms.saturating_add(self.older_ms) >= now_ms
            && (self.newer_ms == 0 || middle_ms.saturating_add(self.newer_ms) < now_ms)
    }
}

/// The middle of `2^level` ticks from `start`.
fn middle_ms(start: u64, level: u32) -> u64 {
    (start * TICK_MS).saturating_add((TICK_MS << level) / 2)
}

impl<T: Tally> Default for Window<T> {
    fn default() -> Self {
        Window {
            head_tick: 0,
            head: T::default(),
            past: VecDeque::new(),
        }
    }
}

impl<T: Tally> Window<T> {
    /// The tally of the present tick, to count into.
    pub fn present(&mut self, now_ms: u64) -> &mut T {
        let tick = now_ms / TICK_MS;
        if tick != self.head_tick {
            self.turn(tick);
        }
        &mut self.head
    }

    /// Makes the tick of `now_ms` the present one; true when `at_ms` lies before
    /// it, so that what happened then is for [`Window::add_past`].
    pub fn is_past(&mut self, now_ms: u64, at_ms: u64) -> bool {
        self.present(now_ms);
        at_ms / TICK_MS < self.head_tick
    }

    /// Adds what belongs to the moment `at_ms`, which lies before the present
    /// tick. False, and nothing is added, when it lies behind the retention or
    /// not before the present tick.
    pub fn add_past(&mut self, at_ms: u64, closed: T::Closed) -> bool {
        let tick = at_ms / TICK_MS;
        if tick >= self.head_tick || self.head_tick - tick > RETENTION_MS / TICK_MS {
            return false;
        }
        let after = self.past.partition_point(|bucket| bucket.start <= tick);
        match after.checked_sub(1).map(|at| &mut self.past[at]) {
            Some(bucket) if bucket.end() > tick => T::merge(&mut bucket.closed, closed),
            _ => {
                let bucket = Bucket {
                    start: tick,
                    level: 0,
                    closed,
                };
                self.past.insert(after, bucket);
                if self.past.len() > BUCKETS_MAX {
                    self.merge_old();
                }
            }
        }
        true
    }

    /// Everything that is in it, the present tick included, oldest first.
    pub fn buckets(&self) -> Vec<Bucket<T::Closed>>
    where
        T::Closed: Clone,
    {
        let head = (!self.head.is_empty()).then(|| Bucket {
            start: self.head_tick,
            level: 0,
            closed: self.head.copy(),
        });
        self.past.iter().cloned().chain(head).collect()
    }

    /// A window with these buckets, as [`Window::buckets`] gave them. What does
    /// not fit (out of order, overlapping, after `now_ms`, too many) is left
    /// out: better no evidence than wrong evidence.
    pub fn restored(buckets: Vec<Bucket<T::Closed>>, now_ms: u64) -> Window<T> {
        let now_tick = now_ms / TICK_MS;
        // What was the present tick is past now, also within the same tick.
        let is_now = |bucket: &Bucket<_>| bucket.start == now_tick && bucket.level == 0;
        let ahead = buckets.last().is_some_and(is_now);
        let mut window = Window {
            head_tick: now_tick + u64::from(ahead),
            ..Window::default()
        };
        for bucket in buckets.into_iter().take(BUCKETS_MAX) {
            let before = window.past.back().map_or(0, Bucket::end);
            let fits = bucket.start >= before && bucket.end() <= window.head_tick;
            if bucket.is_whole() && fits {
                window.past.push_back(bucket);
            }
        }
        window
    }

    /// When the newest of what it holds happened: the end of its bucket, at
    /// most a fifth of its age too new.
    pub fn newest_ms(&self) -> Option<u64> {
        if !self.head.is_empty() {
            return Some(self.head_tick * TICK_MS);
        }
        let newest = self.past.back()?;
        Some((newest.end() - 1) * TICK_MS)
    }

    /// The closed buckets in `span`, and the present tick where it belongs to
    /// it. Changes nothing.
    pub fn within(
        &self,
        span: Span,
        now_ms: u64,
    ) -> (impl Iterator<Item = &T::Closed> + Clone, Option<&T>) {
        let head_in = !self.head.is_empty() && span.contains(now_ms, middle_ms(self.head_tick, 0));
        let closed = self
            .past
            .iter()
            .rev()
            .map(|bucket| (middle_ms(bucket.start, bucket.level), &bucket.closed))
            .take_while(move |(middle, _)| middle.saturating_add(span.older_ms) >= now_ms)
            .filter(move |(middle, _)| span.contains(now_ms, *middle))
            .map(|(_, closed)| closed);
        (closed, head_in.then_some(&self.head))
    }

    /// The present tick's number; changes whenever a closed bucket may have.
    pub fn head_tick(&self) -> u64 {
        self.head_tick
    }

    /// True when nothing that a window could reach is left.
    pub fn is_spent(&self, now_ms: u64) -> bool {
        let span = Span {
            older_ms: RETENTION_MS,
            newer_ms: 0,
        };
        let (mut closed, head) = self.within(span, now_ms);
        head.is_none() && closed.next().is_none()
    }

    #[cold]
    fn turn(&mut self, tick: u64) {
        if tick < self.head_tick {
            if self.head_tick - tick > STEP_BACK_MS_MAX / TICK_MS {
                // What the clock called "now" was the future: ages would be
                // wrong for as long as the step. No evidence is the safe one.
                self.past.clear();
                self.head = T::default();
                self.head_tick = tick;
            }
            return;
        }
        if !self.head.is_empty() {
            let closed = self.head.close();
            self.past.push_back(Bucket {
                start: self.head_tick,
                level: 0,
                closed,
            });
        }
        self.head_tick = tick;
        if self.past.len() >= BUCKETS_MAX {
            self.merge_old();
        }
    }

    fn merge_old(&mut self) {
        let now = self.head_tick;
        let retention = RETENTION_MS / TICK_MS;
        let mut merged: VecDeque<Bucket<T::Closed>> = VecDeque::with_capacity(BUCKETS_MAX);
        for mut bucket in self.past.drain(..) {
            if now.saturating_sub(bucket.end()) > retention {
                continue;
            }
            loop {
                let wider = bucket.level + 1;
                let wider_end = ((bucket.start >> wider) + 1) << wider;
                if now.saturating_sub(wider_end) < AGE_PER_WIDTH << wider {
                    break;
                }
                bucket.level = wider;
                bucket.start = bucket.start >> wider << wider;
            }
            match merged.back_mut() {
                Some(last) if last.start == bucket.start && last.level == bucket.level => {
                    T::merge(&mut last.closed, bucket.closed);
                }
                _ => merged.push_back(bucket),
            }
        }
        self.past = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counts, and remembers the times, so that tests can look for errors.
    #[derive(Debug, Default)]
    struct Times(Vec<u64>);

    impl Tally for Times {
        type Closed = Vec<u64>;
        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
        fn close(&mut self) -> Vec<u64> {
            std::mem::take(&mut self.0)
        }
        fn copy(&self) -> Vec<u64> {
            self.0.clone()
        }
        fn merge(into: &mut Vec<u64>, other: Vec<u64>) {
            into.extend(other);
        }
    }

    fn times(window: &Window<Times>, span: Span, now_ms: u64) -> Vec<u64> {
        let (closed, head) = window.within(span, now_ms);
        let mut times: Vec<u64> = closed.flatten().copied().collect();
        times.extend(head.iter().flat_map(|head| &head.0));
        times.sort_unstable();
        times
    }

    /// Everything clearly inside is there, everything clearly outside is not.
    fn check(window: &Window<Times>, all: &[u64], window_s: u32, now_ms: u64) {
        let found = times(window, Span::last_s(window_s), now_ms);
        let length = u64::from(window_s) * 1_000;
        let tolerance = length / 10;
        for &at in all {
            let age = now_ms - at;
            if age + tolerance < length {
                assert!(found.contains(&at), "{window_s} s: {age} ms old is missing");
            }
            if age > length + tolerance {
                assert!(!found.contains(&at), "{window_s} s: {age} ms old is there");
            }
        }
    }

    #[test]
    fn windows_of_every_length_end_within_a_tenth_of_it() {
        let mut window = Window::<Times>::default();
        let mut all = Vec::new();
        let mut now_ms = 1_700_000_000_000;
        // Dense at the end, a day long in all: gaps of 17 s, then 70 ms.
        for gap_ms in std::iter::repeat_n(17_011, 6_000).chain(std::iter::repeat_n(71, 3_000)) {
            now_ms += gap_ms;
            window.present(now_ms).0.push(now_ms);
            all.push(now_ms);
            assert!(window.past.len() <= BUCKETS_MAX);
        }
        for window_s in [
            1, 2, 3, 5, 10, 30, 60, 100, 213, 300, 900, 3_600, 21_600, 86_400,
        ] {
            check(&window, &all, window_s, now_ms);
            check(&window, &all, window_s, now_ms + 500);
        }
    }

    #[test]
    fn a_reference_window_ends_where_the_current_one_begins() {
        let mut window = Window::<Times>::default();
        for now_ms in (0..7_200_000).step_by(150) {
            window.present(now_ms).0.push(now_ms);
        }
        let now_ms = 7_200_000;
        let current = times(&window, Span::last_s(600), now_ms);
        let before = Span {
            older_ms: 1_800_000,
            newer_ms: 600_000,
        };
        let reference = times(&window, before, now_ms);
        assert_eq!(
            reference.last().map(|last| last + 150),
            current.first().copied()
        );
        let both = times(&window, Span::last_s(1_800), now_ms);
        assert_eq!(both.len(), reference.len() + current.len());
    }

    #[test]
    fn what_arrives_late_is_in_the_windows_of_its_own_time() {
        let mut window = Window::<Times>::default();
        let mut all = Vec::new();
        let begin = 1_700_000_000_000u64;
        let mut now_ms = begin;
        for step in 0..40_000u64 {
            now_ms = begin + step * 1_009;
            window.present(now_ms);
            // Labels come seconds to hours after what they are of.
            let late_ms = [300, 1_000, 45_000, 3_600_000, 20_000_000][step as usize % 5];
            let Some(at) = now_ms.checked_sub(late_ms).filter(|at| *at >= begin) else {
                continue;
            };
            assert!(window.add_past(at, vec![at]), "{late_ms}");
            all.push(at);
            assert!(window.past.len() <= BUCKETS_MAX + 1);
        }
        for window_s in [1, 5, 60, 900, 3_600, 21_600, 86_400] {
            check(&window, &all, window_s, now_ms);
        }
        assert!(
            window
                .past
                .iter()
                .zip(window.past.iter().skip(1))
                .all(|(a, b)| a.end() <= b.start)
        );
        assert!(
            !window.add_past(now_ms, vec![0]),
            "the present is not the past"
        );
        assert!(!window.add_past(now_ms - RETENTION_MS - 1_000, vec![0]));
    }

    #[test]
    fn a_window_is_the_same_after_a_restart_and_takes_nothing_that_is_wrong() {
        let mut window = Window::<Times>::default();
        let mut now_ms = 1_700_000_000_000u64;
        for _ in 0..3_000 {
            now_ms += 700;
            window.present(now_ms).0.push(now_ms);
        }
        let buckets = window.buckets();
        let later = now_ms + 60_000;
        let restored = Window::<Times>::restored(buckets.clone(), later);
        for window_s in [30, 100, 600, 3_600] {
            let span = Span::last_s(window_s);
            assert_eq!(times(&restored, span, later), times(&window, span, later));
        }
        assert_eq!(window.newest_ms(), Some(now_ms / TICK_MS * TICK_MS));
        // Also at once, and what follows counts as if nothing had happened.
        let mut restored = Window::<Times>::restored(buckets.clone(), now_ms);
        for window in [&mut restored, &mut window] {
            window.present(now_ms).0.push(now_ms + 1);
            window.present(now_ms + 400).0.push(now_ms + 400);
        }
        let span = Span::last_s(100);
        let (then, all) = (now_ms + 500, times(&window, span, now_ms + 500));
        assert!(all.contains(&now_ms) && all.contains(&(now_ms + 1)));
        assert_eq!(times(&restored, span, then), all);

        let mut wrong = buckets.clone();
        wrong.reverse();
        assert_eq!(Window::<Times>::restored(wrong, later).past.len(), 1);
        let unaligned = |start, level| Bucket {
            start,
            level,
            closed: vec![],
        };
        let wrong = vec![unaligned(3, 1), unaligned(0, 63), unaligned(u64::MAX, 0)];
        assert!(Window::<Times>::restored(wrong, later).past.is_empty());
        assert!(
            Window::<Times>::restored(buckets, 1_000).past.is_empty(),
            "from the future"
        );
    }

    #[test]
    fn merging_leaves_few_buckets_and_loses_nothing() {
        let mut window = Window::<Times>::default();
        let mut total = 0;
        for now_ms in (0..2 * 86_400_000).step_by(1_900) {
            window.present(now_ms).0.push(now_ms);
            total += 1;
        }
        window.merge_old();
        assert!(window.past.len() <= 131, "{}", window.past.len());
        let now_ms = 2 * 86_400_000;
        assert_eq!(
            times(&window, Span::last_s(2 * 86_400), now_ms).len(),
            total
        );
    }

    #[test]
    fn what_is_older_than_the_retention_is_dropped() {
        let mut window = Window::<Times>::default();
        window.present(1_000).0.push(1_000);
        window.present(2_000);
        assert!(!window.is_spent(2_000));
        let late = RETENTION_MS + 5_000;
        assert!(window.is_spent(late));
        for tick in 0..BUCKETS_MAX as u64 {
            let now_ms = late + tick * TICK_MS;
            window.present(now_ms).0.push(now_ms);
        }
        assert!(
            window
                .past
                .front()
                .is_some_and(|oldest| oldest.start > 1_000)
        );
    }

    #[test]
    fn a_small_step_back_keeps_the_evidence_and_a_large_one_drops_it() {
        let mut window = Window::<Times>::default();
        window.present(1_000_000).0.push(1);
        window.present(970_000).0.push(2);
        assert_eq!(times(&window, Span::last_s(60), 970_000), [1, 2]);
        window.present(500_000).0.push(3);
        assert_eq!(times(&window, Span::last_s(60), 500_000), [3]);
    }

    proptest! {
        #[test]
        fn no_clock_breaks_the_order_of_the_buckets(
            steps in prop::collection::vec((any::<bool>(), 0..40u32, 1..40usize), 1..60),
        ) {
            let mut window = Window::<Times>::default();
            let mut now_ms = 1u64 << 41;
            for (back, exponent, times) in steps {
                for _ in 0..times {
                    let step = 1 << exponent;
                    now_ms = if back { now_ms.saturating_sub(step) } else { now_ms + step };
                    window.present(now_ms).0.push(now_ms);
                    prop_assert!(window.past.len() <= BUCKETS_MAX);
                }
            }
            let mut end = 0;
            for bucket in &window.past {
                prop_assert!(bucket.start >= end);
                end = bucket.start + (1 << bucket.level);
            }
            prop_assert!(end <= window.head_tick);
        }
    }
}
