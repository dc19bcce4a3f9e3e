//! The gateway's clock: the edge where time comes in.
//!
//! Milliseconds since the Unix epoch that never step back, because breakers,
//! windows and rollouts measure durations with them. A correction of the
//! system's clock is therefore not followed until the next start.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock that started with the gateway.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// A clock that starts at the system's time.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            started: Instant::now(),
            started_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Milliseconds since the Unix epoch, now.
    pub fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }

    /// Milliseconds since the Unix epoch at `instant`.
    pub fn at_ms(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.started);
        self.started_ms
            .saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Milliseconds since the Unix epoch as the system has them now, for what is
/// kept beyond this process or told to others.
pub(crate) fn system_now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Whole milliseconds of `duration`, as evidence and facts carry them.
pub(crate) fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
