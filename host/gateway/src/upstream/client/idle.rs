//! The idle connections of one server, of which a quiet time leaves few.
//!
//! The newest is used first, so that those at the other end are the ones that
//! nobody needs. A burst leaves as many connections as it had requests under
//! way, each with its buffers; they go within seconds, and a small stock stays
//! for as long as servers keep them. Nothing here closes a connection: what is
//! to be closed is handed out, so that its owner does so without the lock.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Most idle connections that are kept per server. With its two buffers and
/// the state of its protocol each takes some 26 KiB, so that they stay below
/// 14 MiB; a gateway that has more requests under way at once connects anew for
/// those beyond.
pub(super) const IDLE_MAX: usize = 512;
/// Longest time that a connection is kept idle. Below the 60 to 75 seconds
/// after which common servers close, so that a request seldom meets a
/// connection that is just being closed.
pub(super) const IDLE_FOR_MAX: Duration = Duration::from_secs(45);
/// So many of them are kept for as long as that, less than 1 MiB per server.
pub(super) const STOCK: usize = 32;
/// Longest time that one beyond the stock is kept idle: so long nobody has
/// needed it, however many requests there were.
pub(super) const SPARE_FOR_MAX: Duration = Duration::from_secs(5);

/// Idle connections, the one that was used last at the back.
pub(super) struct Idle<C> {
    kept: VecDeque<(C, Instant)>,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Idle {
            kept: VecDeque::new(),
        }
    }
}

impl<C> Idle<C> {
    /// The connection that was used last, unless it has been idle too long.
    pub(super) fn take(&mut self, now: Instant) -> Option<C> {
        let (_, since) = self.kept.back()?;
        // What is too old goes with the next sweep, and all that is older.
        let is_fresh = now.duration_since(*since) < IDLE_FOR_MAX;
        let (connection, _) = is_fresh.then(|| self.kept.pop_back())??;
        Some(connection)
    }

    /// Keeps a connection that was just used; returns those that go for it.
    pub(super) fn put(&mut self, connection: C, now: Instant) -> Vec<C> {
        self.kept.push_back((connection, now));
        self.surplus(now)
    }

    /// Takes out what is too old or too many.
    pub(super) fn surplus(&mut self, now: Instant) -> Vec<C> {
        let mut surplus = Vec::new();
        while let Some((_, since)) = self.kept.front() {
            let age = now.duration_since(*since);
            let count = self.kept.len();
            let goes =
                age >= IDLE_FOR_MAX || (count > STOCK && age >= SPARE_FOR_MAX) || count > IDLE_MAX;
            if !goes {
                break;
            }
            surplus.extend(self.kept.pop_front().map(|(connection, _)| connection));
        }
        // The room of a burst goes with it.
        if self.kept.capacity() > 4 * STOCK.max(self.kept.len()) {
            self.kept.shrink_to(STOCK.max(self.kept.len()));
        }
        surplus
    }

    /// Whether none is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_the_stock_and_a_long_quiet_time_nothing() {
        let begun = Instant::now();
        let mut idle = Idle::default();
        for number in 0..IDLE_MAX {
            assert!(idle.put(number, begun).is_empty());
        }
        assert_eq!(idle.put(IDLE_MAX, begun), [0], "the oldest goes first");

        let quiet = begun + SPARE_FOR_MAX;
        assert!(idle.surplus(quiet - Duration::from_millis(1)).is_empty());
        assert_eq!(idle.surplus(quiet).len(), IDLE_MAX - STOCK);
        assert!(idle.surplus(begun + IDLE_FOR_MAX / 2).is_empty());
        assert_eq!(idle.take(quiet), Some(IDLE_MAX), "the newest is used");
        assert_eq!(idle.surplus(begun + IDLE_FOR_MAX).len(), STOCK - 1);
        assert!(idle.is_empty());
    }

    #[test]
    fn what_traffic_needs_stays_and_what_is_too_old_is_not_used() {
        let begun = Instant::now();
        let mut idle = Idle::default();
        let mut now = begun;
        for number in 0..100 {
            idle.put(number, now);
        }
        // Sixty at a time, every second: the other forty are spare.
        let mut surplus = 0;
        for _ in 0..10 {
            now += Duration::from_secs(1);
            let used: Vec<_> = (0..60).filter_map(|_| idle.take(now)).collect();
            assert_eq!(used.len(), 60);
            for connection in used {
                surplus += idle.put(connection, now).len();
            }
        }
        assert_eq!(surplus, 40);
        assert_eq!(idle.take(now + IDLE_FOR_MAX), None);
    }
}
