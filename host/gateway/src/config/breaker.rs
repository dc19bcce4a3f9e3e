//! `[models.NAME.breaker]`: when a model is no longer called.
//!
//! The keys are resilience4j's, as its Spring configuration spells them, in
//! snake case and with their unit; the defaults are
//! [`BreakerConfig::for_models`]'s.

use super::mistake::MistakeKind;
use super::schema::{Default, Key, Kind, Schema};
use super::section::{Resolver, Section};
use backstop_core::breaker::{BreakerConfig, OpenInterval, SlidingWindowType};
use backstop_core::input::BreakerState;

/// Longest wait: a day, as in the breaker itself.
const WAIT_MS_MAX: u64 = 86_400_000;
/// Most calls of a window, as in the breaker itself.
const WINDOW_SIZE_MAX: u64 = 10_000;

/// `[models.NAME.breaker]`.
pub(super) static BREAKER: Schema = Schema {
    name: "models.NAME.breaker",
    about: "When a model is no longer called, and when it is tried again. Names and meaning are \
            resilience4j's; the defaults suit models, which are few, slow and dear.",
    keys: &[
        Key {
            name: "failure_rate_threshold_percent",
            kind: Kind::Number(0.01, 100.0),
            default: Default::Number(50.0),
            about: "Share of failed calls from which the breaker opens.",
        },
        Key {
            name: "slow_call_rate_threshold_percent",
            kind: Kind::Number(0.01, 100.0),
            default: Default::Number(100.0),
            about: "Share of slow calls from which the breaker opens.",
        },
        Key {
            name: "slow_call_duration_threshold_ms",
            kind: Kind::Integer(1, WAIT_MS_MAX),
            default: Default::Integer(60_000),
            about: "A call is slow when it took longer than this many milliseconds.",
        },
        Key {
            name: "sliding_window_type",
            kind: Kind::Choice(&["count-based", "time-based"]),
            default: Default::Text("time-based"),
            about: "Whether the window counts calls or seconds.",
        },
        Key {
            name: "sliding_window_size",
            kind: Kind::Integer(1, WINDOW_SIZE_MAX),
            default: Default::Integer(30),
            about: "Size of the window in calls, or in seconds (then at most 3600).",
        },
        Key {
            name: "minimum_number_of_calls",
            kind: Kind::Integer(1, 1_000_000),
            default: Default::Integer(10),
            about: "Calls in the window before the breaker can open.",
        },
        Key {
            name: "consecutive_failures_threshold",
            kind: Kind::Integer(0, 1_000_000),
            default: Default::Integer(10),
            about: "Failed calls in a row from which the breaker opens whatever the window says; 0 is never. Not in resilience4j.",
        },
        Key {
            name: "permitted_number_of_calls_in_half_open_state",
            kind: Kind::Integer(1, 1_000),
            default: Default::Integer(1),
            about: "Trial calls before the breaker closes or opens again.",
        },
        Key {
            name: "concurrent_calls_in_half_open_state_max",
            kind: Kind::Integer(0, 1_000),
            default: Default::Integer(1),
            about: "How many of them may be in flight at once; 0 is no limit of its own. Not in resilience4j.",
        },
        Key {
            name: "wait_duration_in_open_state_ms",
            kind: Kind::Integer(1, WAIT_MS_MAX),
            default: Default::Integer(5_000),
            about: "Milliseconds for which the breaker stays open the first time.",
        },
        Key {
            name: "exponential_backoff_multiplier",
            kind: Kind::Number(1.0, 100.0),
            default: Default::Number(1.5),
            about: "What the wait is multiplied by each further time; 1 is always the same.",
        },
        Key {
            name: "exponential_max_wait_duration_in_open_state_ms",
            kind: Kind::Integer(1, WAIT_MS_MAX),
            default: Default::Integer(10_000),
            about: "Milliseconds that no wait exceeds; at least `wait_duration_in_open_state_ms`.",
        },
        Key {
            name: "randomized_wait_factor",
            kind: Kind::Number(0.0, 0.99),
            default: Default::Number(0.2),
            about: "Share of a wait by which it is lengthened or shortened at random.",
        },
        Key {
            name: "max_wait_duration_in_half_open_state_ms",
            kind: Kind::Integer(0, WAIT_MS_MAX),
            default: Default::Integer(60_000),
            about: "Milliseconds after which a half-open period without a decision ends; 0 is never.",
        },
        Key {
            name: "transition_to_state_after_wait_duration",
            kind: Kind::Choice(&["open", "closed"]),
            default: Default::Text("open"),
            about: "Where such a period ends.",
        },
        Key {
            name: "automatic_transition_from_open_to_half_open_enabled",
            kind: Kind::Bool,
            default: Default::Bool(false),
            about: "Become half-open when the wait is over, rather than with the next call.",
        },
        Key {
            name: "initial_state",
            kind: Kind::Choice(&[
                "closed",
                "open",
                "half-open",
                "forced-open",
                "disabled",
                "metrics-only",
            ]),
            default: Default::Text("closed"),
            about: "The state to begin in; `disabled` switches the breaker off.",
        },
    ],
};

/// Resolves `[models.NAME.breaker]`.
pub(super) fn resolve(cx: &mut Resolver<'_>, section: &Section<'_>) -> BreakerConfig {
    let config = BreakerConfig {
        failure_rate_threshold: section.number("failure_rate_threshold_percent"),
        slow_call_rate_threshold: section.number("slow_call_rate_threshold_percent"),
        slow_call_duration_threshold_ms: section.integer("slow_call_duration_threshold_ms"),
        sliding_window_type: match section.text("sliding_window_type").text {
            "count-based" => SlidingWindowType::CountBased,
            _ => SlidingWindowType::TimeBased,
        },
        sliding_window_size: section.integer("sliding_window_size"),
        minimum_number_of_calls: section.integer("minimum_number_of_calls"),
        consecutive_failures_threshold: section.integer("consecutive_failures_threshold"),
        permitted_number_of_calls_in_half_open_state: section
            .integer("permitted_number_of_calls_in_half_open_state"),
        concurrent_calls_in_half_open_state_max: section
            .integer("concurrent_calls_in_half_open_state_max"),
        wait_interval_in_open_state: open_interval(section),
        max_wait_duration_in_half_open_state_ms: section
            .integer("max_wait_duration_in_half_open_state_ms"),
        transition_to_state_after_wait_duration: state(
            section,
            "transition_to_state_after_wait_duration",
        ),
        automatic_transition_from_open_to_half_open_enabled: section
            .boolean("automatic_transition_from_open_to_half_open_enabled"),
        initial_state: state(section, "initial_state"),
    };
    note_contradictions(cx, section, &config);
    config
}

/// What only shows when several keys are seen together.
fn note_contradictions(cx: &mut Resolver<'_>, section: &Section<'_>, config: &BreakerConfig) {
    let path = &section.path;
    let is_known_type = matches!(
        section.text("sliding_window_type").text,
        "count-based" | "time-based"
    );
    for error in config.check().err().unwrap_or_default() {
        let (key, max, range) = match error.field {
            "sliding_window_size" if is_known_type => {
                ("sliding_window_size", WINDOW_SIZE_MAX, error.range)
            }
            "wait_interval_in_open_state.wait_ms_max" => (
                "exponential_max_wait_duration_in_open_state_ms",
                WAIT_MS_MAX,
                "at least `wait_duration_in_open_state_ms`",
            ),
            // In range by the table of keys, or a mistake that is noted already.
            _ => continue,
        };
        let number: Option<u64> = section.integer_if_set(key);
        let is_in_range = number.is_none_or(|number| (1..=max).contains(&number));
        if is_in_range {
            let message = format!("`{path}.{key}` is {}, must be {range}", error.value);
            cx.note(MistakeKind::Conflict, section, key, message);
        }
    }
}

fn open_interval(section: &Section<'_>) -> OpenInterval {
    let wait_ms = section.integer("wait_duration_in_open_state_ms");
    let multiplier = section.number("exponential_backoff_multiplier");
    let randomization_factor = section.number("randomized_wait_factor");
    let wait_ms_max = section.integer("exponential_max_wait_duration_in_open_state_ms");
    if multiplier <= 1.0 && randomization_factor <= 0.0 {
        return OpenInterval::Fixed { wait_ms };
    }
    // A first wait above the default maximum is meant.
    let is_set = section
        .node("exponential_max_wait_duration_in_open_state_ms")
        .is_some();
    OpenInterval::Exponential {
        initial_ms: wait_ms,
        multiplier,
        randomization_factor,
        wait_ms_max: if is_set {
            wait_ms_max
        } else {
            wait_ms_max.max(wait_ms)
        },
    }
}

fn state(section: &Section<'_>, key: &str) -> BreakerState {
    match section.text(key).text {
        "open" => BreakerState::Open,
        "half-open" => BreakerState::HalfOpen,
        "forced-open" => BreakerState::ForcedOpen,
        "disabled" => BreakerState::Disabled,
        "metrics-only" => BreakerState::MetricsOnly,
        _ => BreakerState::Closed,
    }
}
