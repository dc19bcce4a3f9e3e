//! The settings of a breaker: resilience4j's names, defaults and constraints.

use crate::input::BreakerState;
use serde::{Deserialize, Serialize};

/// Most calls that a count-based window holds: at 8 bytes a call, 80 KB.
pub const WINDOW_CALLS_MAX: u32 = 10_000;
/// Longest time-based window, in seconds. A breaker that looks back further
/// than an hour acts on a model that no longer exists.
pub const WINDOW_SECONDS_MAX: u32 = 3_600;
/// Longest wait of any kind: a day. Longer is an operator's decision.
pub const WAIT_MS_MAX: u64 = 86_400_000;
/// Most trial calls of one half-open period.
pub const HALF_OPEN_CALLS_MAX: u32 = 1_000;

/// What the sliding window counts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlidingWindowType {
    /// The last `sliding_window_size` calls.
    CountBased,
    /// The calls of the last `sliding_window_size` seconds.
    TimeBased,
}

/// How long a breaker stays open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum OpenInterval {
    /// Always the same.
    Fixed {
        /// Milliseconds.
        wait_ms: u64,
    },
    /// Longer each time that the breaker opens again without having closed.
    Exponential {
        /// Milliseconds of the first interval.
        initial_ms: u64,
        /// What each further interval is multiplied by, at least 1.
        multiplier: f64,
        /// Share of the interval by which it is lengthened or shortened at
        /// random, from 0 to below 1.
        randomization_factor: f64,
        /// Milliseconds that no interval exceeds.
        wait_ms_max: u64,
    },
}

impl OpenInterval {
    /// Milliseconds of the interval number `attempt` (from 1); `random` is
    /// uniform in `[0, 1)`.
    pub fn wait_ms(&self, attempt: u32, random: f64) -> u64 {
        match *self {
            OpenInterval::Fixed { wait_ms } => wait_ms,
            OpenInterval::Exponential {
                initial_ms,
                multiplier,
                randomization_factor,
                wait_ms_max,
            } => {
                let doublings = attempt.saturating_sub(1).min(1_000) as i32;
                let middle =
                    (initial_ms as f64 * multiplier.powi(doublings)).min(wait_ms_max as f64);
                let spread = randomization_factor * middle;
                let wait = middle - spread + 2.0 * spread * random;
                (wait.round() as u64).clamp(1, wait_ms_max.max(1))
            }
        }
    }
}

/// Settings of a breaker. The field names are resilience4j's, with the unit
/// at the end where there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Percent of failed calls from which the breaker opens: above 0, at most 100.
    pub failure_rate_threshold: f64,
    /// Percent of slow calls from which the breaker opens: above 0, at most 100.
    pub slow_call_rate_threshold: f64,
    /// A call is slow when it took longer than this many milliseconds.
    pub slow_call_duration_threshold_ms: u64,
    /// What the window counts over.
    pub sliding_window_type: SlidingWindowType,
    /// Calls (at most 10,000) or seconds (at most 3,600), at least 1.
    pub sliding_window_size: u32,
    /// Calls in the window before there are rates; at least 1. A count-based
    /// window needs no more calls than it can hold.
    pub minimum_number_of_calls: u32,
    /// Failed calls in a row, with no good one between, from which the breaker
    /// opens whatever the window says; 0 is never. Not in resilience4j, where
    /// a window full of good calls hides an outage until half of it has
    /// failed: Envoy's outlier detection counts `consecutive_5xx` for this.
    pub consecutive_failures_threshold: u32,
    /// Trial calls of a half-open period: 1 to 1,000.
    pub permitted_number_of_calls_in_half_open_state: u32,
    /// How many of them may be in flight at once; 0 is no limit of its own.
    /// Not in resilience4j: 1 sends one caller at a time to a model that may
    /// still be down.
    pub concurrent_calls_in_half_open_state_max: u32,
    /// How long the breaker stays open.
    pub wait_interval_in_open_state: OpenInterval,
    /// Milliseconds after which a half-open period without a decision ends;
    /// 0 waits without end.
    pub max_wait_duration_in_half_open_state_ms: u64,
    /// Where such a period ends: `open` or `closed`.
    pub transition_to_state_after_wait_duration: BreakerState,
    /// Become half-open when the wait is over, rather than with the next call.
    pub automatic_transition_from_open_to_half_open_enabled: bool,
    /// The state to begin in.
    pub initial_state: BreakerState,
}

impl Default for BreakerConfig {
    /// resilience4j's defaults.
    fn default() -> Self {
        BreakerConfig {
            failure_rate_threshold: 50.0,
            slow_call_rate_threshold: 100.0,
            slow_call_duration_threshold_ms: 60_000,
            sliding_window_type: SlidingWindowType::CountBased,
            sliding_window_size: 100,
            minimum_number_of_calls: 100,
            consecutive_failures_threshold: 0,
            permitted_number_of_calls_in_half_open_state: 10,
            concurrent_calls_in_half_open_state_max: 0,
            wait_interval_in_open_state: OpenInterval::Fixed { wait_ms: 60_000 },
            max_wait_duration_in_half_open_state_ms: 0,
            transition_to_state_after_wait_duration: BreakerState::Open,
            automatic_transition_from_open_to_half_open_enabled: false,
            initial_state: BreakerState::Closed,
        }
    }
}

/// A setting that is out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{field}` is {value}, must be {range}")]
pub struct BreakerConfigError {
    /// Name of the setting.
    pub field: &'static str,
    /// What it holds.
    pub value: String,
    /// What would be right.
    pub range: &'static str,
}

impl BreakerConfig {
    /// Settings for calls of models, which are few, slow and dear, where
    /// resilience4j's defaults would take 100 failures to notice an outage:
    /// the calls of the last 30 s, at least 10 of them, or 10 failures in a
    /// row, since a busy model's good calls of the last half minute would hide
    /// that it went down; open for 5 s, then half as long again each time up
    /// to 10 s, so that a model that is well again has its traffic within
    /// seconds, ± 20 % so that the nodes of a fleet do not return together;
    /// one trial call, which costs one caller a detour, and for which a model
    /// gets a minute. Thresholds are resilience4j's: half of the calls failed,
    /// or all of them slower than a minute.
    pub fn for_models() -> Self {
        BreakerConfig {
            sliding_window_type: SlidingWindowType::TimeBased,
            sliding_window_size: 30,
            minimum_number_of_calls: 10,
            consecutive_failures_threshold: 10,
            permitted_number_of_calls_in_half_open_state: 1,
            concurrent_calls_in_half_open_state_max: 1,
            wait_interval_in_open_state: OpenInterval::Exponential {
                initial_ms: 5_000,
                multiplier: 1.5,
                randomization_factor: 0.2,
                wait_ms_max: 10_000,
            },
            max_wait_duration_in_half_open_state_ms: 60_000,
            ..BreakerConfig::default()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// All settings that are out of range, at once.
    pub fn check(&self) -> Result<(), Vec<BreakerConfigError>> {
        let mut errors = Vec::new();
        let mut must = |ok: bool, field, value: String, range| {
            if !ok {
                errors.push(BreakerConfigError {
                    field,
                    value,
                    range,
                });
            }
        };
        for (field, value) in [
            ("failure_rate_threshold", self.failure_rate_threshold),
            ("slow_call_rate_threshold", self.slow_call_rate_threshold),
        ] {
            let ok = value > 0.0 && value <= 100.0;
            must(ok, field, value.to_string(), "above 0 and at most 100");
        }
        let size_max = match self.sliding_window_type {
            SlidingWindowType::CountBased => WINDOW_CALLS_MAX,
            SlidingWindowType::TimeBased => WINDOW_SECONDS_MAX,
        };
        for (field, value, max, range) in [
            (
                "sliding_window_size",
                self.sliding_window_size,
                size_max,
                "1 to 10,000 calls or 1 to 3,600 seconds",
            ),
            (
                "minimum_number_of_calls",
                self.minimum_number_of_calls,
                u32::MAX,
                "at least 1",
            ),
            (
                "permitted_number_of_calls_in_half_open_state",
                self.permitted_number_of_calls_in_half_open_state,
                HALF_OPEN_CALLS_MAX,
                "1 to 1,000",
            ),
        ] {
            must((1..=max).contains(&value), field, value.to_string(), range);
        }
        self.check_waits(&mut must);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn check_waits(&self, must: &mut impl FnMut(bool, &'static str, String, &'static str)) {
        let wait = 1..=WAIT_MS_MAX;
        let wait_range = "1 to 86,400,000 ms";
        match self.wait_interval_in_open_state {
            OpenInterval::Fixed { wait_ms } => must(
                wait.contains(&wait_ms),
                "wait_interval_in_open_state.wait_ms",
                wait_ms.to_string(),
                wait_range,
            ),
            OpenInterval::Exponential {
                initial_ms,
                multiplier,
                randomization_factor,
                wait_ms_max,
            } => {
                must(
                    wait.contains(&initial_ms),
                    "wait_interval_in_open_state.initial_ms",
                    initial_ms.to_string(),
                    wait_range,
                );
                must(
                    (initial_ms..=WAIT_MS_MAX).contains(&wait_ms_max),
                    "wait_interval_in_open_state.wait_ms_max",
                    wait_ms_max.to_string(),
                    "from `initial_ms` to 86,400,000 ms",
                );
                must(
                    (1.0..=100.0).contains(&multiplier),
                    "wait_interval_in_open_state.multiplier",
                    multiplier.to_string(),
                    "1 to 100",
                );
                must(
                    (0.0..1.0).contains(&randomization_factor),
                    "wait_interval_in_open_state.randomization_factor",
                    randomization_factor.to_string(),
                    "from 0 to below 1",
                );
            }
        }
        must(
            self.max_wait_duration_in_half_open_state_ms <= WAIT_MS_MAX,
            "max_wait_duration_in_half_open_state_ms",
            self.max_wait_duration_in_half_open_state_ms.to_string(),
            "at most 86,400,000 ms",
        );
        must(
            (1..=WAIT_MS_MAX).contains(&self.slow_call_duration_threshold_ms),
            "slow_call_duration_threshold_ms",
            self.slow_call_duration_threshold_ms.to_string(),
            wait_range,
        );
        let after = self.transition_to_state_after_wait_duration;
        must(
            matches!(after, BreakerState::Open | BreakerState::Closed),
            "transition_to_state_after_wait_duration",
            after.as_str().to_string(),
            "`open` or `closed`",
        );
    }
}
