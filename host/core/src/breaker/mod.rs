//! Circuit breakers: they stop calling a release that keeps failing.
//!
//! Semantics, names and defaults are resilience4j's. One breaker stands in
//! front of one release of one model. Time comes in with each call; the random
//! part of the open interval comes from the seed that the breaker was made
//! with, so that the same calls lead to the same states.
//!
//! Differences from resilience4j, all on purpose:
//!
//! - A result counts in a half-open period only when its call was a trial of
//!   that period: a call that began before the breaker opened says nothing
//!   about recovery, and must not give back a permit that it never took.
//! - Half-open calls can be limited to so many at once
//!   ([`BreakerConfig::concurrent_calls_in_half_open_state_max`]).
//! - So many failures in a row can open it, whatever the rates are
//!   ([`BreakerConfig::consecutive_failures_threshold`]).
//! - There is no timer: what is due (the end of a half-open period, an
//!   automatic transition) happens when the breaker is next asked anything.
//!
//! Always holds: a permit that was given is answered by [`Breaker::on_result`]
//! or [`Breaker::release`]; until then it occupies a trial of its period, which
//! `max_wait_duration_in_half_open_state_ms` bounds.

mod calls;
mod config;
mod machine;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use config::{
    BreakerConfig, BreakerConfigError, HALF_OPEN_CALLS_MAX, OpenInterval, SlidingWindowType,
    WAIT_MS_MAX, WINDOW_CALLS_MAX, WINDOW_SECONDS_MAX,
};

use crate::input::BreakerState;
use machine::{Inner, Phase};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Most events that wait to be taken; the oldest are dropped. A breaker makes
/// a few per open interval, so that more means that nobody takes them.
pub const EVENTS_MAX: usize = 64;

/// How a call ended, as far as the breaker is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It counts as good. It may still have been slow.
    Success,
    /// It counts against the release.
    Failure,
    /// It says nothing about the release (the client's fault, a cancelled
    /// call): not counted, and a trial's permit is given back.
    Ignored,
}

/// Permission for one call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit is given back with `on_result` or `release`"]
pub struct Permit {
    /// The half-open period that it is a trial of; 0 for calls that are none.
    trial: u32,
}

impl Permit {
    /// True when the call is a trial of a half-open breaker.
    pub fn is_trial(&self) -> bool {
        self.trial != 0
    }
}

/// No permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker is {}", .state.as_str())]
pub struct Refused {
    /// State of the breaker.
    pub state: BreakerState,
    /// Milliseconds until it may let a call pass, where that is known.
    pub retry_in_ms: Option<u64>,
}

/// A transition by hand that has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker cannot go from {} to {}", .from.as_str(), .to.as_str())]
pub struct IllegalTransition {
    /// Where the breaker is, and stays.
    pub from: BreakerState,
    /// Where it was to go.
    pub to: BreakerState,
}

/// What happened to a breaker, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreakerEvent {
    /// The `now_ms` of the call that it happened in.
    pub at_ms: u64,
    /// What happened.
    pub kind: BreakerEventKind,
}

/// What can happen to a breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum BreakerEventKind {
    /// It went to another state.
    StateTransition {
        /// The state before.
        from: BreakerState,
        /// The state after.
        to: BreakerState,
    },
    /// The failure rate reached its threshold.
    FailureRateExceeded {
        /// The rate.
        percent: f64,
    },
    /// The rate of slow calls reached its threshold.
    SlowCallRateExceeded {
        /// The rate.
        percent: f64,
    },
    /// So many calls failed in a row that it opens.
    ConsecutiveFailures {
        /// How many.
        calls: u32,
    },
    /// It was reset.
    Reset,
}

/// The numbers behind a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BreakerMetrics {
    /// State at the time of asking.
    pub state: BreakerState,
    /// Percent of failed calls; none before there are enough calls.
    pub failure_rate: Option<f64>,
    /// Percent of slow calls; none before there are enough calls.
    pub slow_call_rate: Option<f64>,
    /// Calls in the window.
    pub buffered_calls: u32,
    /// Failed calls in the window.
    pub failed_calls: u32,
    /// Slow calls in the window.
    pub slow_calls: u32,
    /// Calls in the window that failed slowly.
    pub slow_failed_calls: u32,
    /// Failed calls since the last good one, or since the window was emptied.
    pub consecutive_failures: u32,
    /// Mean duration of the calls in the window; 0 without calls.
    pub duration_ms_mean: f64,
    /// Calls refused since the window was last emptied.
    pub not_permitted_calls: u64,
    /// How often it opened since it was last closed.
    pub attempts: u32,
}

/// A circuit breaker. Shared by reference; asking a closed one takes no lock.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    /// The state, for asking without the lock. Written under the lock.
    state: AtomicU8,
    /// True while there are events to take. Written under the lock.
    has_events: AtomicBool,
    inner: Mutex<Inner>,
}

impl Breaker {
    /// A breaker in its initial state. `seed` chooses the random part of its
    /// open intervals; give each breaker of a fleet its own.
    ///
    /// The configuration should have passed [`BreakerConfig::check`]; what is
    /// out of range is taken as the nearest thing that works.
    pub fn new(config: BreakerConfig, seed: u64, now_ms: u64) -> Breaker {
        let breaker = Breaker {
            state: AtomicU8::new(BreakerState::Closed as u8),
            has_events: AtomicBool::new(false),
            inner: Mutex::new(Inner::new(&config, seed)),
            config,
        };
        let initial = breaker.config.initial_state;
        if initial != BreakerState::Closed {
            breaker.change(|inner, config| {
                inner.enter(config, now_ms, initial);
                inner.events.clear();
            });
        }
        breaker
    }

    /// The settings that it was made with.
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// Asks for permission to call.
    ///
    /// # Errors
    ///
    /// When the call must not be made: the breaker is open, or half-open with
    /// all trials taken. The refusal is counted.
    pub fn try_acquire(&self, now_ms: u64) -> Result<Permit, Refused> {
        if [
            BreakerState::Closed,
            BreakerState::Disabled,
            BreakerState::MetricsOnly,
        ]
        .iter()
        .any(|passing| *passing as u8 == self.state.load(Ordering::Relaxed))
        {
            return Ok(Permit { trial: 0 });
        }
        self.change(|inner, config| inner.acquire(config, now_ms))
    }

    /// Tells how the call that `permit` was for ended, after `duration_ms`.
    pub fn on_result(&self, permit: Permit, now_ms: u64, duration_ms: u64, outcome: Recorded) {
        if self.state.load(Ordering::Relaxed) == BreakerState::Disabled as u8 {
            return;
        }
        self.change(|inner, config| inner.result(config, permit, now_ms, duration_ms, outcome));
    }

    /// Gives back a permit whose call was not made or was cancelled.
    pub fn release(&self, permit: Permit, now_ms: u64) {
        if permit.is_trial() {
            self.on_result(permit, now_ms, 0, Recorded::Ignored);
        }
    }

    /// The state now. May change it, when something was due.
    pub fn state(&self, now_ms: u64) -> BreakerState {
        if self.state.load(Ordering::Relaxed) == BreakerState::Closed as u8 {
            return BreakerState::Closed;
        }
        self.change(|inner, config| {
            inner.settle(config, now_ms);
            inner.phase.state()
        })
    }

    /// Milliseconds until an open breaker may let a call pass; none for one
    /// that is not open, or does not know.
    pub fn retry_in_ms(&self, now_ms: u64) -> Option<u32> {
        if self.state.load(Ordering::Relaxed) != BreakerState::Open as u8 {
            return None;
        }
        match self.inner.lock().phase {
            Phase::Open { since_ms, wait_ms } => {
                let left_ms = (since_ms + wait_ms + 1).saturating_sub(now_ms);
                Some(u32::try_from(left_ms).unwrap_or(u32::MAX))
            }
            _ => None,
        }
    }

    /// Goes to `to` by hand.
    ///
    /// # Errors
    ///
    /// When resilience4j knows no such transition: from closed to half-open,
    /// or from metrics-only to open or half-open. The state is kept.
    pub fn force(&self, to: BreakerState, now_ms: u64) -> Result<(), IllegalTransition> {
        self.change(|inner, config| {
            inner.settle(config, now_ms);
            inner.allow(to)?;
            inner.enter(config, now_ms, to);
            Ok(())
        })
    }

    /// Opens for `wait_ms` from now, whatever the configured interval is: a
    /// provider said when to come back, or refused our credentials. Does not
    /// lengthen later intervals.
    ///
    /// # Errors
    ///
    /// As [`Breaker::force`] to open.
    pub fn open_for(&self, wait_ms: u64, now_ms: u64) -> Result<(), IllegalTransition> {
        self.change(|inner, config| {
            inner.settle(config, now_ms);
            inner.allow(BreakerState::Open)?;
            inner.open_for(config, wait_ms, now_ms);
            Ok(())
        })
    }

    /// Opens for `wait_ms` where the breaker works by itself: what a provider
    /// asks for does not undo what an operator did. True when it opened.
    pub fn leave_alone_for(&self, wait_ms: u64, now_ms: u64) -> bool {
        self.change(|inner, config| {
            inner.settle(config, now_ms);
            let automatic = matches!(
                inner.phase,
                Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. }
            );
            if automatic {
                inner.open_for(config, wait_ms, now_ms);
            }
            automatic
        })
    }

    /// Opens until `until_ms`, a moment on the clock that `now_ms` is of.
    ///
    /// # Errors
    ///
    /// As [`Breaker::force`] to open.
    pub fn open_until(&self, until_ms: u64, now_ms: u64) -> Result<(), IllegalTransition> {
        self.open_for(until_ms.saturating_sub(now_ms), now_ms)
    }

    /// Closes and forgets everything that was counted.
    pub fn reset(&self, now_ms: u64) {
        self.change(|inner, config| {
            inner.enter(config, now_ms, BreakerState::Closed);
            inner.tell(now_ms, BreakerEventKind::Reset);
        });
    }

    /// The numbers now.
    pub fn metrics(&self, now_ms: u64) -> BreakerMetrics {
        self.change(|inner, config| {
            inner.settle(config, now_ms);
            inner.window.advance(now_ms);
            inner.metrics()
        })
    }

    /// Takes the events since the last time, oldest first. Costs one atomic
    /// read when there are none, so it can be asked after every call.
    pub fn take_events(&self) -> Vec<BreakerEvent> {
        if !self.has_events.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.change(|inner, _| inner.events.drain(..).collect())
    }

    /// Does something under the lock and shows the outcome outside of it.
    fn change<T>(&self, body: impl FnOnce(&mut Inner, &BreakerConfig) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = body(&mut inner, &self.config);
        self.state
            .store(inner.phase.state() as u8, Ordering::Relaxed);
        self.has_events
            .store(!inner.events.is_empty(), Ordering::Relaxed);
        result
    }
}
