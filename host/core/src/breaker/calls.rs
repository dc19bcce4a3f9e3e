//! The breaker's sliding window: the outcomes of the last calls or seconds.
//!
//! Sums are kept up to date while entries come and go, so that rates cost the
//! same whatever the window's size. Memory is fixed when a window is made.

use super::config::SlidingWindowType;

/// Sums over calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
    pub(super) slow_failed: u32,
    pub(super) duration_ms: u64,
}

impl Sums {
    pub(super) fn of(duration_ms: u64, failed: bool, slow: bool) -> Sums {
        Sums {
            calls: 1,
            failed: failed.into(),
            slow: slow.into(),
            slow_failed: (failed && slow).into(),
            duration_ms,
        }
    }

    fn add(&mut self, other: Sums) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.slow += other.slow;
        self.slow_failed += other.slow_failed;
        self.duration_ms += other.duration_ms;
    }

    fn take_away(&mut self, other: Sums) {
        self.calls -= other.calls;
        self.failed -= other.failed;
        self.slow -= other.slow;
        self.slow_failed -= other.slow_failed;
        self.duration_ms -= other.duration_ms;
    }
}

/// One remembered call in 8 bytes: the duration above two flags.
#[derive(Debug, Clone, Copy)]
struct Call(u64);

impl Call {
    fn sums(self) -> Sums {
        Sums::of(self.0 >> 2, self.0 & 1 != 0, self.0 & 2 != 0)
    }
}

/// A sliding window of either type.
#[derive(Debug)]
pub(super) struct CallWindow {
    total: Sums,
    minimum: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A ring of calls that grows up to `size`; `next` is the oldest once full.
    Count {
        ring: Vec<Call>,
        size: usize,
        next: usize,
    },
    /// A ring of seconds; the second `s` is at `s % len`. `head_s` is the
    /// newest second that is in it.
    Time { ring: Vec<Sums>, head_s: u64 },
}

/// Longest duration that is counted; keeps the sums far from overflow.
const DURATION_MS_MAX: u64 = 1 << 32;

impl CallWindow {
    /// An empty window. `minimum` is the number of calls before there are rates.
    pub(super) fn new(kind: SlidingWindowType, size: u32, minimum: u32) -> CallWindow {
        let size_at_least_one = size.max(1) as usize;
        match kind {
            SlidingWindowType::CountBased => CallWindow {
                total: Sums::default(),
                minimum: minimum.min(size).max(1),
                kind: Kind::Count {
                    ring: Vec::new(),
                    size: size_at_least_one,
                    next: 0,
                },
            },
            SlidingWindowType::TimeBased => CallWindow {
                total: Sums::default(),
                minimum: minimum.max(1),
                kind: Kind::Time {
                    ring: vec![Sums::default(); size_at_least_one],
                    head_s: 0,
                },
            },
        }
    }

    /// Counts one call.
    pub(super) fn record(&mut self, now_ms: u64, duration_ms: u64, failed: bool, slow: bool) {
        self.advance(now_ms);
        let duration_ms = duration_ms.min(DURATION_MS_MAX);
        let sums = Sums::of(duration_ms, failed, slow);
        match &mut self.kind {
            Kind::Count { ring, size, next } => {
                let call = Call(duration_ms << 2 | u64::from(slow) << 1 | u64::from(failed));
                if ring.len() < *size {
                    ring.push(call);
                } else {
                    self.total.take_away(ring[*next].sums());
                    ring[*next] = call;
                    *next = (*next + 1) % *size;
                }
            }
            Kind::Time { ring, head_s } => {
                let at = (*head_s % ring.len() as u64) as usize;
                ring[at].add(sums);
            }
        }
        self.total.add(sums);
    }

    /// Drops what has become too old. A clock that steps back a little counts
    /// into the newest second; one that steps back by the whole window or more
    /// starts anew, or else nothing would leave until the clock catches up.
    pub(super) fn advance(&mut self, now_ms: u64) {
        let Kind::Time { ring, head_s } = &mut self.kind else {
            return;
        };
        let now_s = now_ms / 1_000;
        let len = ring.len() as u64;
        if now_s >= *head_s + len || now_s + len <= *head_s {
            ring.fill(Sums::default());
            self.total = Sums::default();
            *head_s = now_s;
        }
        while *head_s < now_s {
            *head_s += 1;
            let at = (*head_s % len) as usize;
            self.total.take_away(std::mem::take(&mut ring[at]));
        }
    }

    /// The sums over the window as it was last advanced.
    pub(super) fn total(&self) -> Sums {
        self.total
    }

    /// Percent of failed and of slow calls; none before there are enough calls.
    pub(super) fn rates(&self) -> Option<(f64, f64)> {
        if self.total.calls < self.minimum {
            return None;
        }
        let percent = |n: u32| f64::from(n) * 100.0 / f64::from(self.total.calls);
        Some((percent(self.total.failed), percent(self.total.slow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_window_keeps_the_last_calls() {
        let mut window = CallWindow::new(SlidingWindowType::CountBased, 10, 5);
        let mut record = |failed, times| {
            for _ in 0..times {
                window.record(0, 1, failed, false);
            }
            (window.total().calls, window.total().failed, window.rates())
        };
        record(false, 2);
        assert_eq!(record(true, 2), (4, 2, None));
        record(true, 4);
        assert_eq!(record(false, 4), (10, 6, Some((60.0, 0.0))));
        assert_eq!(record(false, 3), (10, 3, Some((30.0, 0.0))));
    }

    #[test]
    fn a_time_window_forgets_whole_seconds() {
        let mut window = CallWindow::new(SlidingWindowType::TimeBased, 5, 5);
        for (duration_ms, slow) in [
            (100, false),
            (100, false),
            (100, false),
            (10_000, true),
            (10_000, true),
        ] {
            window.record(0, duration_ms, false, slow);
        }
        assert_eq!(window.rates(), Some((0.0, 40.0)));
        assert_eq!(window.total().duration_ms / 5, 4_060);
        window.advance(4_999);
        assert_eq!(window.total().calls, 5);
        window.advance(5_000);
        assert_eq!(window.total(), Sums::default());
    }

    #[test]
    fn a_clock_that_steps_back_neither_panics_nor_freezes_the_window() {
        let mut window = CallWindow::new(SlidingWindowType::TimeBased, 10, 1);
        window.record(1_000_000, 1, true, false);
        window.record(997_000, 1, true, false);
        assert_eq!(window.total().calls, 2);
        window.record(5_000, 1, false, false);
        assert_eq!(window.total().calls, 1, "a far step back starts anew");
        window.advance(15_000);
        assert_eq!(window.total().calls, 0);
        window.record(u64::MAX, 1, false, false);
        window.record(0, 1, false, false);
        assert_eq!(window.total().calls, 1);
    }
}
