//! What a breaker does under its lock: phases, the window, and where rates and
//! failures lead. [`Breaker`](super::Breaker) is the door to it.
//!
//! Always holds: the window is that of the present phase, but for an open
//! breaker, which keeps the window that it opened on.

use super::calls::CallWindow;
use super::config::{BreakerConfig, SlidingWindowType, WAIT_MS_MAX};
use super::{
    BreakerEvent, BreakerEventKind, BreakerMetrics, EVENTS_MAX, IllegalTransition, Permit,
    Recorded, Refused,
};
use crate::input::BreakerState;
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) phase: Phase,
    pub(super) window: CallWindow,
    failures_in_a_row: u32,
    not_permitted: u64,
    failure_rate_reported: bool,
    slow_rate_reported: bool,
    attempts: u32,
    /// Number of half-open periods so far; the present one's permits carry it.
    period: u32,
    random: u64,
    pub(super) events: VecDeque<BreakerEvent>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
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
    pub(super) fn state(self) -> BreakerState {
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
    /// Closed, nothing counted; `seed` is that of the open intervals.
    pub(super) fn new(config: &BreakerConfig, seed: u64) -> Inner {
        Inner {
            phase: Phase::Closed,
            window: closed_window(config),
            failures_in_a_row: 0,
            not_permitted: 0,
            failure_rate_reported: false,
            slow_rate_reported: false,
            attempts: 0,
            period: 0,
            random: seed,
            events: VecDeque::new(),
        }
    }

    /// Does what is due by `now_ms`.
    pub(super) fn settle(&mut self, config: &BreakerConfig, now_ms: u64) {
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

    pub(super) fn open_for(&mut self, config: &BreakerConfig, wait_ms: u64, now_ms: u64) {
        let attempts = self.attempts;
        self.enter(config, now_ms, BreakerState::Open);
        self.attempts = attempts;
        self.phase = Phase::Open {
            since_ms: now_ms,
            wait_ms: wait_ms.min(WAIT_MS_MAX),
        };
    }

    pub(super) fn acquire(
        &mut self,
        config: &BreakerConfig,
        now_ms: u64,
    ) -> Result<Permit, Refused> {
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

    pub(super) fn result(
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
        self.failures_in_a_row = match failed {
            true => self.failures_in_a_row.saturating_add(1),
            false => 0,
        };
        self.judge(config, now_ms);
    }

    /// Holds the rates and the failures in a row against the thresholds and
    /// goes where they lead.
    fn judge(&mut self, config: &BreakerConfig, now_ms: u64) {
        if matches!(self.phase, Phase::Open { .. }) {
            return;
        }
        let rates = self.window.rates();
        let over_rate = rates.is_some_and(|(failure_rate, slow_rate)| {
            self.tell_rates(config, now_ms, failure_rate, slow_rate)
        });
        let threshold = config.consecutive_failures_threshold;
        let in_a_row = threshold > 0 && self.failures_in_a_row >= threshold;
        match self.phase {
            Phase::Closed | Phase::HalfOpen { .. } if over_rate || in_a_row => {
                if !over_rate {
                    let calls = self.failures_in_a_row;
                    self.tell(now_ms, BreakerEventKind::ConsecutiveFailures { calls });
                }
                self.enter(config, now_ms, BreakerState::Open);
            }
            Phase::HalfOpen { .. } if rates.is_some() => {
                self.enter(config, now_ms, BreakerState::Closed);
            }
            _ => {}
        }
    }

    /// Tells, once, of each rate that has reached its threshold. True when one
    /// has.
    fn tell_rates(
        &mut self,
        config: &BreakerConfig,
        now_ms: u64,
        failure_rate: f64,
        slow_rate: f64,
    ) -> bool {
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
        failing || slow
    }

    pub(super) fn allow(&self, to: BreakerState) -> Result<(), IllegalTransition> {
        let from = self.phase.state();
        match (from, to) {
            (BreakerState::Closed, BreakerState::HalfOpen)
            | (BreakerState::MetricsOnly, BreakerState::Open | BreakerState::HalfOpen) => {
                Err(IllegalTransition { from, to })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn enter(&mut self, config: &BreakerConfig, now_ms: u64, to: BreakerState) {
        let from = self.phase.state();
        if to != BreakerState::Open {
            // An open breaker keeps the window that it opened on, for whoever
            // asks why.
            self.window = match to {
                BreakerState::HalfOpen => half_open_window(config),
                _ => closed_window(config),
            };
            self.not_permitted = 0;
            self.failures_in_a_row = 0;
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

    pub(super) fn tell(&mut self, at_ms: u64, kind: BreakerEventKind) {
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

    pub(super) fn metrics(&self) -> BreakerMetrics {
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
            consecutive_failures: self.failures_in_a_row,
            duration_ms_mean: match total.calls {
                0 => 0.0,
                calls => total.duration_ms as f64 / f64::from(calls),
            },
            not_permitted_calls: self.not_permitted,
            attempts: self.attempts,
        }
    }
}
