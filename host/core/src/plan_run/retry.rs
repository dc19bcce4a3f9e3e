//! How often a failed call is repeated, and after how long.

use crate::fault::FailureClass;

/// A route's limits on repeating a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryLimits {
    /// Most repetitions of one call, whatever the plan says.
    pub retries_max: u8,
    /// Milliseconds before the first repetition.
    pub backoff_ms: u64,
    /// What each further wait is multiplied by, at least 1.
    pub backoff_multiplier: f64,
    /// Milliseconds that a wait never exceeds, unless the provider asks for it.
    pub backoff_ms_max: u64,
    /// Share of a wait by which it is lengthened or shortened at random, 0 to 1.
    pub backoff_jitter: f64,
    /// Milliseconds above which a provider's `Retry-After` is not waited for:
    /// the run goes on to the next step instead.
    pub retry_after_ms_max: u64,
    /// Most repetitions after failures of single classes, by the position of
    /// the class in [`FailureClass::ALL`]. Classes without one are repeated as
    /// often as the others, or not at all where that is not worth it
    /// ([`Effect::repeats`](crate::fault::Effect::repeats)).
    pub classes: [Option<u8>; FailureClass::ALL.len()],
}

impl Default for RetryLimits {
    /// Up to five, 0.5 s and then twice as long each time up to 8 s, a fifth
    /// more or less, and no provider is waited for longer than 10 s.
    fn default() -> Self {
        RetryLimits {
            retries_max: 5,
            backoff_ms: 500,
            backoff_multiplier: 2.0,
            backoff_ms_max: 8_000,
            backoff_jitter: 0.2,
            retry_after_ms_max: 10_000,
            classes: [None; FailureClass::ALL.len()],
        }
    }
}

impl RetryLimits {
    /// Most repetitions after a failure of `class`.
    pub fn after(&self, class: FailureClass) -> u8 {
        match self.classes[class as usize] {
            Some(own) => own.min(self.retries_max),
            None if class.effect().repeats => self.retries_max,
            None => 0,
        }
    }

    /// Milliseconds before repetition number `retry` (from 0): exponential
    /// with jitter, never sooner than the provider asked for. None when the
    /// provider asks for too much. `random` is uniform in `[0, 1)`.
    pub fn delay_ms(&self, retry: u32, retry_after_ms: Option<u64>, random: f64) -> Option<u64> {
        let floor = retry_after_ms.unwrap_or(0);
        if floor > self.retry_after_ms_max {
            return None;
        }
        let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
        let grown = self.backoff_ms as f64 * self.backoff_multiplier.powi(exponent);
        let jitter = 1.0 + self.backoff_jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        let wait = grown.min(self.backoff_ms_max as f64) * jitter;
        Some((wait as u64).max(floor))
    }
}
