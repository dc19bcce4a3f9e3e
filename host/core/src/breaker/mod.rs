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
//! - There is no timer: what is due (the end of a half-open period, an
//!   automatic transition) happens when the breaker is next asked anything.
//!
//! Always holds: a permit that was given is answered by [`Breaker::on_result`]
//! or [`Breaker::release`]; until then it occupies a trial of its period, which
//! `max_wait_duration_in_half_open_state_ms` bounds.

mod calls;
mod config;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use config::{
    BreakerConfig, BreakerConfigError, HALF_OPEN_CALLS_MAX, OpenInterval, SlidingWindowType,
    WAIT_MS_MAX, WINDOW_CALLS_MAX, WINDOW_SECONDS_MAX,
};

use crate::input::BreakerState;
use calls::CallWindow;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
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

#[derive(Debug)]
struct Inner {
    phase: Phase,
    window: CallWindow,
    not_permitted: u64,
    failure_rate_reported: bool,
    slow_rate_reported: bool,
    attempts: u32,
    /// Number of half-open periods so far; the present one's permits carry it.
    period: u32,
    random: u64,
    events: VecDeque<BreakerEvent>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed,
    Open {
        since_ms: u64,
        wait_ms: u64,
    },
    HalfOpen {
        since_ms: u64,
        permits_left: u32,
        in_flight: u32,
    },
    ForcedOpen,
    Disabled,
    MetricsOnly,
}

impl Phase {
    fn state(self) -> BreakerState {
        match self {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::ForcedOpen => BreakerState::ForcedOpen,
            Phase::Disabled => BreakerState::Disabled,
            Phase::MetricsOnly => BreakerState::MetricsOnly,
        }
    }
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
            inner: Mutex::new(Inner {
                phase: Phase::Closed,
                window: closed_window(&config),
                not_permitted: 0,
                failure_rate_reported: false,
                slow_rate_reported: false,
                attempts: 0,
                period: 0,
                random: seed,
                events: VecDeque::new(),
            }),
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

fn closed_window(config: &BreakerConfig) -> CallWindow {
    CallWindow::new(
        config.sliding_window_type,
        config.sliding_window_size,
        config.minimum_number_of_calls,
    )
}

fn half_open_window(config: &BreakerConfig) -> CallWindow {
    CallWindow::new(
        SlidingWindowType::CountBased,
        config.permitted_number_of_calls_in_half_open_state,
        config.minimum_number_of_calls,
    )
}

impl Inner {
    /// Does what is due by `now_ms`.
    fn settle(&mut self, config: &BreakerConfig, now_ms: u64) {
        match &mut self.phase {
            Phase::Open { since_ms, wait_ms } => {
                // A clock that stepped back starts the wait anew, or else it
                // would last as long as the step.
                *since_ms = (*since_ms).min(now_ms);
                let over = now_ms - *since_ms > *wait_ms;
                if over && config.automatic_transition_from_open_to_half_open_enabled {
                    self.enter(config, now_ms, BreakerState::HalfOpen);
                }
            }
            Phase::HalfOpen { since_ms, .. } => {
                *since_ms = (*since_ms).min(now_ms);
                let wait_ms = config.max_wait_duration_in_half_open_state_ms;
                if wait_ms > 0 && now_ms - *since_ms >= wait_ms {
                    let to = match config.transition_to_state_after_wait_duration {
                        BreakerState::Closed => BreakerState::Closed,
                        _ => BreakerState::Open,
                    };
                    self.enter(config, now_ms, to);
                }
            }
            Phase::Closed | Phase::ForcedOpen | Phase::Disabled | Phase::MetricsOnly => {}
        }
    }

    fn open_for(&mut self, config: &BreakerConfig, wait_ms: u64, now_ms: u64) {
        let attempts = self.attempts;
        self.enter(config, now_ms, BreakerState::Open);
        self.attempts = attempts;
        self.phase = Phase::Open {
            since_ms: now_ms,
            wait_ms: wait_ms.min(WAIT_MS_MAX),
        };
    }

    fn acquire(&mut self, config: &BreakerConfig, now_ms: u64) -> Result<Permit, Refused> {
        self.settle(config, now_ms);
        if let Phase::Open { since_ms, wait_ms } = self.phase
            && now_ms - since_ms > wait_ms
        {
            self.enter(config, now_ms, BreakerState::HalfOpen);
        }
        let retry_in_ms = match &mut self.phase {
            Phase::Closed | Phase::Disabled | Phase::MetricsOnly => {
                return Ok(Permit { trial: 0 });
            }
            Phase::HalfOpen {
                permits_left,
                in_flight,
                ..
            } => {
                let at_once = match config.concurrent_calls_in_half_open_state_max {
                    0 => u32::MAX,
                    limit => limit,
                };
                if *permits_left > 0 && *in_flight < at_once {
                    *permits_left -= 1;
                    *in_flight += 1;
                    return Ok(Permit { trial: self.period });
                }
                None
            }
            Phase::Open { since_ms, wait_ms } => Some(*wait_ms + 1 - (now_ms - *since_ms)),
            Phase::ForcedOpen => None,
        };
        self.not_permitted += 1;
        Err(Refused {
            state: self.phase.state(),
            retry_in_ms,
        })
    }

    fn result(
        &mut self,
        config: &BreakerConfig,
        permit: Permit,
        now_ms: u64,
        duration_ms: u64,
        outcome: Recorded,
    ) {
        self.settle(config, now_ms);
        if let Phase::HalfOpen {
            permits_left,
            in_flight,
            ..
        } = &mut self.phase
        {
            if permit.trial != self.period {
                return;
            }
            *in_flight = in_flight.saturating_sub(1);
            if outcome == Recorded::Ignored {
                *permits_left += 1;
            }
        }
        let failed = match outcome {
            Recorded::Ignored => return,
            Recorded::Success => false,
            Recorded::Failure => true,
        };
        if matches!(self.phase, Phase::ForcedOpen | Phase::Disabled) {
            return;
        }
        let slow = duration_ms > config.slow_call_duration_threshold_ms;
        self.window.record(now_ms, duration_ms, failed, slow);
        self.judge(config, now_ms);
    }

    /// Holds the rates against the thresholds and goes where they lead.
    fn judge(&mut self, config: &BreakerConfig, now_ms: u64) {
        let Some((failure_rate, slow_rate)) = self.window.rates() else {
            return;
        };
        if matches!(self.phase, Phase::Open { .. }) {
            return;
        }
        let failing = failure_rate >= config.failure_rate_threshold;
        let slow = slow_rate >= config.slow_call_rate_threshold;
        if failing && !self.failure_rate_reported {
            self.failure_rate_reported = true;
            let percent = failure_rate;
            self.tell(now_ms, BreakerEventKind::FailureRateExceeded { percent });
        }
        if slow && !self.slow_rate_reported {
            self.slow_rate_reported = true;
            let percent = slow_rate;
            self.tell(now_ms, BreakerEventKind::SlowCallRateExceeded { percent });
        }
        match self.phase {
            Phase::Closed | Phase::HalfOpen { .. } if failing || slow => {
                self.enter(config, now_ms, BreakerState::Open);
            }
            Phase::HalfOpen { .. } => self.enter(config, now_ms, BreakerState::Closed),
            _ => {}
        }
    }

    fn allow(&self, to: BreakerState) -> Result<(), IllegalTransition> {
        let from = self.phase.state();
        match (from, to) {
            (BreakerState::Closed, BreakerState::HalfOpen)
            | (BreakerState::MetricsOnly, BreakerState::Open | BreakerState::HalfOpen) => {
                Err(IllegalTransition { from, to })
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, config: &BreakerConfig, now_ms: u64, to: BreakerState) {
        let from = self.phase.state();
        if to != BreakerState::Open {
            // An open breaker keeps the window that it opened on, for whoever
            // asks why.
            self.window = match to {
                BreakerState::HalfOpen => half_open_window(config),
                _ => closed_window(config),
            };
            self.not_permitted = 0;
        }
        self.failure_rate_reported = false;
        self.slow_rate_reported = false;
        self.phase = match to {
            BreakerState::Closed => {
                self.attempts = 0;
                Phase::Closed
            }
            BreakerState::Open => {
                self.attempts = self.attempts.saturating_add(1);
                let random = self.draw();
                let interval = config.wait_interval_in_open_state;
                Phase::Open {
                    since_ms: now_ms,
                    wait_ms: interval.wait_ms(self.attempts, random).min(WAIT_MS_MAX),
                }
            }
            BreakerState::HalfOpen => {
                self.period = self.period.checked_add(1).unwrap_or(1);
                Phase::HalfOpen {
                    since_ms: now_ms,
                    permits_left: config.permitted_number_of_calls_in_half_open_state.max(1),
                    in_flight: 0,
                }
            }
            BreakerState::ForcedOpen => Phase::ForcedOpen,
            BreakerState::Disabled => {
                self.attempts = 0;
                Phase::Disabled
            }
            BreakerState::MetricsOnly => {
                self.attempts = 0;
                Phase::MetricsOnly
            }
        };
        if from != to {
            self.tell(now_ms, BreakerEventKind::StateTransition { from, to });
        }
    }

    fn tell(&mut self, at_ms: u64, kind: BreakerEventKind) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(BreakerEvent { at_ms, kind });
    }

    /// A number in `[0, 1)`: SplitMix64, which is all that jitter needs.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    fn metrics(&self) -> BreakerMetrics {
        let total = self.window.total();
        let rates = self.window.rates();
        BreakerMetrics {
            state: self.phase.state(),
            failure_rate: rates.map(|(failure, _)| failure),
            slow_call_rate: rates.map(|(_, slow)| slow),
            buffered_calls: total.calls,
            failed_calls: total.failed,
            slow_calls: total.slow,
            slow_failed_calls: total.slow_failed,
            duration_ms_mean: match total.calls {
                0 => 0.0,
                calls => total.duration_ms as f64 / f64::from(calls),
            },
            not_permitted_calls: self.not_permitted,
            attempts: self.attempts,
        }
    }
}
