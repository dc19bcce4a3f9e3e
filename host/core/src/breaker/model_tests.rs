//! The breaker against a model that is too simple to be wrong: it remembers
//! every call and counts again each time.

use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestCaseError, TestRunner};

#[derive(Debug, Clone, Copy)]
enum Op {
    Acquire,
    /// Answers the permit at this position of those that are out.
    Answer(usize, Recorded, u64),
    /// Gives it back.
    Release(usize),
    Later(u64),
    Force(BreakerState),
    OpenFor(u64),
    Reset,
}

struct Model {
    config: BreakerConfig,
    state: BreakerState,
    since_ms: u64,
    /// How long it stays open.
    wait_ms: u64,
    /// True while the window is that of a half-open period: in the period, and
    /// in an open one that followed it.
    trials: bool,
    period: u32,
    /// Time, failed, slow; of the present window.
    calls: Vec<(u64, bool, bool)>,
    /// How each counted call since the window was emptied ended, true when it
    /// failed: the window forgets, this does not.
    ends: Vec<bool>,
    taken: u32,
    attempts: u32,
}

impl Model {
    fn new(config: BreakerConfig, now_ms: u64) -> Model {
        Model {
            config,
            state: BreakerState::Closed,
            since_ms: now_ms,
            wait_ms: 0,
            trials: false,
            period: 0,
            calls: Vec::new(),
            ends: Vec::new(),
            taken: 0,
            attempts: 0,
        }
    }

    fn enter(&mut self, now_ms: u64, state: BreakerState) {
        if state != BreakerState::Open {
            self.calls.clear();
            self.ends.clear();
            self.trials = state == BreakerState::HalfOpen;
        }
        match state {
            BreakerState::Closed | BreakerState::Disabled | BreakerState::MetricsOnly => {
                self.attempts = 0;
            }
            BreakerState::Open => {
                self.attempts += 1;
                self.wait_ms = 1_000;
            }
            BreakerState::HalfOpen => {
                self.period += 1;
                self.taken = 0;
            }
            BreakerState::ForcedOpen => {}
        }
        self.state = state;
        self.since_ms = now_ms;
    }

    fn settle(&mut self, now_ms: u64) {
        let wait_ms = self.config.max_wait_duration_in_half_open_state_ms;
        if self.state == BreakerState::HalfOpen && now_ms >= self.since_ms + wait_ms {
            self.enter(now_ms, BreakerState::Open);
        }
    }

    /// Goes there by hand; false where that has no meaning.
    fn force(&mut self, now_ms: u64, to: BreakerState) -> bool {
        use BreakerState as S;
        self.settle(now_ms);
        let legal = !matches!(
            (self.state, to),
            (S::Closed, S::HalfOpen) | (S::MetricsOnly, S::Open | S::HalfOpen)
        );
        if legal {
            self.enter(now_ms, to);
        }
        legal
    }

    fn open_for(&mut self, now_ms: u64, wait_ms: u64) -> bool {
        let attempts = self.attempts;
        let legal = self.force(now_ms, BreakerState::Open);
        if legal {
            self.attempts = attempts;
            self.wait_ms = wait_ms;
        }
        legal
    }

    /// The permit's period, or none when refused.
    fn acquire(&mut self, now_ms: u64) -> Option<u32> {
        self.settle(now_ms);
        if self.state == BreakerState::Open && now_ms > self.since_ms + self.wait_ms {
            self.enter(now_ms, BreakerState::HalfOpen);
        }
        match self.state {
            BreakerState::Closed | BreakerState::Disabled | BreakerState::MetricsOnly => Some(0),
            BreakerState::HalfOpen
                if self.taken < self.config.permitted_number_of_calls_in_half_open_state =>
            {
                self.taken += 1;
                Some(self.period)
            }
            _ => None,
        }
    }

    fn answer(&mut self, now_ms: u64, trial: u32, recorded: Recorded, duration_ms: u64) {
        if self.state == BreakerState::Disabled {
            return;
        }
        self.settle(now_ms);
        if self.state == BreakerState::HalfOpen {
            if trial != self.period {
                return;
            }
            if recorded == Recorded::Ignored {
                self.taken -= 1;
            }
        }
        if recorded == Recorded::Ignored || self.state == BreakerState::ForcedOpen {
            return;
        }
        let slow = duration_ms > self.config.slow_call_duration_threshold_ms;
        self.calls
            .push((now_ms, recorded == Recorded::Failure, slow));
        self.ends.push(recorded == Recorded::Failure);
        let rates = self.rates(now_ms);
        let many = self.config.consecutive_failures_threshold as usize;
        let in_a_row = many > 0 && self.failures_in_a_row() >= many;
        let bad = in_a_row
            || rates.is_some_and(|(failure_rate, slow_rate)| {
                failure_rate >= self.config.failure_rate_threshold
                    || slow_rate >= self.config.slow_call_rate_threshold
            });
        match self.state {
            BreakerState::Closed | BreakerState::HalfOpen if bad => {
                self.enter(now_ms, BreakerState::Open);
            }
            BreakerState::HalfOpen if rates.is_some() => {
                self.enter(now_ms, BreakerState::Closed);
            }
            _ => {}
        }
    }

    fn failures_in_a_row(&self) -> usize {
        self.ends.iter().rev().take_while(|failed| **failed).count()
    }

    fn window(&self, now_ms: u64) -> &[(u64, bool, bool)] {
        let size = self.config.sliding_window_size;
        let trial = self.trials;
        let by_count = self.config.sliding_window_type == SlidingWindowType::CountBased;
        let skip = if trial || by_count {
            let keep = if trial {
                self.config.permitted_number_of_calls_in_half_open_state
            } else {
                size
            };
            self.calls.len().saturating_sub(keep as usize)
        } else {
            let oldest_s = (now_ms / 1_000 + 1).saturating_sub(u64::from(size));
            self.calls
                .iter()
                .position(|(at_ms, ..)| at_ms / 1_000 >= oldest_s)
                .unwrap_or(self.calls.len())
        };
        &self.calls[skip..]
    }

    fn rates(&self, now_ms: u64) -> Option<(f64, f64)> {
        let window = self.window(now_ms);
        let limit = if self.trials {
            self.config.permitted_number_of_calls_in_half_open_state
        } else if self.config.sliding_window_type == SlidingWindowType::CountBased {
            self.config.sliding_window_size
        } else {
            u32::MAX
        };
        if window.len() < self.config.minimum_number_of_calls.min(limit) as usize {
            return None;
        }
        let percent = |n: usize| n as f64 * 100.0 / window.len() as f64;
        Some((
            percent(window.iter().filter(|call| call.1).count()),
            percent(window.iter().filter(|call| call.2).count()),
        ))
    }
}

fn op() -> impl Strategy<Value = Op> {
    let recorded = prop_oneof![
        5 => Just(Recorded::Success),
        5 => Just(Recorded::Failure),
        1 => Just(Recorded::Ignored),
    ];
    let forced = prop_oneof![
        3 => Just(BreakerState::Closed),
        1 => Just(BreakerState::Open),
        1 => Just(BreakerState::HalfOpen),
        1 => Just(BreakerState::ForcedOpen),
        1 => Just(BreakerState::Disabled),
        1 => Just(BreakerState::MetricsOnly),
    ];
    prop_oneof![
        10 => Just(Op::Acquire),
        10 => (0..8usize, recorded, prop_oneof![4 => Just(10u64), 1 => Just(500)])
            .prop_map(|(at, recorded, ms)| Op::Answer(at, recorded, ms)),
        4 => (0..6u64).prop_map(|halves| Op::Later(500 * halves)),
        1 => (0..8usize).prop_map(Op::Release),
        1 => forced.prop_map(Op::Force),
        1 => (0..6u64).prop_map(|halves| Op::OpenFor(500 * halves)),
        1 => Just(Op::Reset),
    ]
}

fn config() -> impl Strategy<Value = BreakerConfig> {
    let drawn = (any::<bool>(), 1..8u32, 1..8u32, 1..5u32, 0..5u32);
    drawn.prop_map(
        |(by_count, size, minimum, permitted, in_a_row)| BreakerConfig {
            consecutive_failures_threshold: in_a_row,
            sliding_window_type: if by_count {
                SlidingWindowType::CountBased
            } else {
                SlidingWindowType::TimeBased
            },
            sliding_window_size: size,
            minimum_number_of_calls: minimum,
            permitted_number_of_calls_in_half_open_state: permitted,
            slow_call_duration_threshold_ms: 100,
            slow_call_rate_threshold: 80.0,
            wait_interval_in_open_state: OpenInterval::Exponential {
                initial_ms: 1_000,
                multiplier: 1.0,
                randomization_factor: 0.0,
                wait_ms_max: 1_000,
            },
            max_wait_duration_in_half_open_state_ms: 3_000,
            ..BreakerConfig::default()
        },
    )
}

/// Does `ops` to a breaker and to its model, and holds them together after
/// each.
fn compare(config: BreakerConfig, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut now_ms = 10_000_000;
    let breaker = Breaker::new(config.clone(), 0, now_ms);
    let mut model = Model::new(config, now_ms);
    let mut out: Vec<(Permit, u32)> = Vec::new();
    for op in ops {
        match op {
            Op::Acquire => {
                let permit = breaker.try_acquire(now_ms).ok();
                let expected = model.acquire(now_ms);
                prop_assert_eq!(permit.as_ref().map(|permit| permit.trial), expected);
                if let (Some(permit), Some(trial)) = (permit, expected) {
                    out.push((permit, trial));
                }
            }
            Op::Answer(at, recorded, duration_ms) if at < out.len() => {
                let (permit, trial) = out.swap_remove(at);
                breaker.on_result(permit, now_ms, duration_ms, recorded);
                model.answer(now_ms, trial, recorded, duration_ms);
            }
            Op::Release(at) if at < out.len() => {
                let (permit, trial) = out.swap_remove(at);
                breaker.release(permit, now_ms);
                if trial > 0 {
                    model.answer(now_ms, trial, Recorded::Ignored, 0);
                }
            }
            Op::Answer(..) | Op::Release(_) => {}
            Op::Later(ms) => now_ms += ms,
            Op::Force(state) => {
                let forced = breaker.force(state, now_ms);
                prop_assert_eq!(forced.is_ok(), model.force(now_ms, state));
            }
            Op::OpenFor(wait_ms) => {
                let opened = breaker.open_for(wait_ms, now_ms);
                prop_assert_eq!(opened.is_ok(), model.open_for(now_ms, wait_ms));
            }
            Op::Reset => {
                breaker.reset(now_ms);
                model.enter(now_ms, BreakerState::Closed);
            }
        }
        model.settle(now_ms);
        let metrics = breaker.metrics(now_ms);
        prop_assert_eq!(metrics.state, model.state, "after {:?}", op);
        prop_assert_eq!(metrics.attempts, model.attempts, "after {:?}", op);
        prop_assert_eq!(metrics.buffered_calls as usize, model.window(now_ms).len());
        let rates = metrics.failure_rate.zip(metrics.slow_call_rate);
        prop_assert_eq!(rates, model.rates(now_ms));
        prop_assert_eq!(
            metrics.consecutive_failures as usize,
            model.failures_in_a_row()
        );
        out.truncate(32);
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_behaves_like_the_model(config in config(), ops in prop::collection::vec(op(), 0..200)) {
        compare(config, ops)?;
    }
}

#[test]
fn it_behaves_like_the_model_over_a_million_steps() {
    const STEPS: usize = 1_000;
    let mut runner = TestRunner::deterministic();
    for _ in 0..1_000_000 / STEPS {
        let drawn = (config(), prop::collection::vec(op(), STEPS));
        let (config, ops) = drawn.new_tree(&mut runner).unwrap().current();
        compare(config.clone(), ops).unwrap_or_else(|error| panic!("{config:?}: {error}"));
    }
}
