//! The cases of resilience4j's own tests, as sentences.

use super::*;

/// The settings of `CircuitBreakerStateMachineTest`.
fn config() -> BreakerConfig {
    BreakerConfig {
        sliding_window_type: SlidingWindowType::TimeBased,
        sliding_window_size: 20,
        minimum_number_of_calls: 5,
        failure_rate_threshold: 50.0,
        slow_call_duration_threshold_ms: 4_000,
        slow_call_rate_threshold: 50.0,
        permitted_number_of_calls_in_half_open_state: 4,
        wait_interval_in_open_state: OpenInterval::Fixed { wait_ms: 5_000 },
        max_wait_duration_in_half_open_state_ms: 1_000,
        ..BreakerConfig::default()
    }
}

/// A breaker and the time, for writing cases as strings: `F`ailure, `S`uccess,
/// `I`gnored, `l`ong success, one permit each.
struct Case {
    breaker: Breaker,
    now_ms: u64,
}

impl Case {
    fn new(config: BreakerConfig) -> Case {
        config.check().unwrap();
        let now_ms = 1_000_000;
        Case {
            breaker: Breaker::new(config, 7, now_ms),
            now_ms,
        }
    }

    /// A breaker that calls opened at this moment.
    fn opened(config: BreakerConfig) -> Case {
        let case = Case::new(config);
        case.calls("FFFFF");
        case.is(BreakerState::Open);
        case
    }

    /// A breaker that the first permit after its wait has made half-open; the
    /// permit is given back.
    fn half_open(config: BreakerConfig) -> Case {
        let mut case = Case::opened(config);
        case.later(6_000);
        let permit = case.breaker.try_acquire(case.now_ms).unwrap();
        case.breaker.release(permit, case.now_ms);
        case.is(BreakerState::HalfOpen);
        case
    }

    fn later(&mut self, ms: u64) -> &mut Self {
        self.now_ms += ms;
        self
    }

    fn call(&self, outcome: char) {
        let permit = self.breaker.try_acquire(self.now_ms).unwrap();
        let (duration_ms, recorded) = match outcome {
            'F' => (100, Recorded::Failure),
            'S' => (100, Recorded::Success),
            'l' => (5_000, Recorded::Success),
            'I' => (100, Recorded::Ignored),
            other => panic!("no such outcome: {other}"),
        };
        self.breaker
            .on_result(permit, self.now_ms, duration_ms, recorded);
    }

    fn calls(&self, outcomes: &str) {
        outcomes.chars().for_each(|outcome| self.call(outcome));
    }

    fn denied(&self) -> Refused {
        self.breaker.try_acquire(self.now_ms).unwrap_err()
    }

    fn metrics(&self) -> BreakerMetrics {
        self.breaker.metrics(self.now_ms)
    }

    #[track_caller]
    fn is(&self, state: BreakerState) {
        assert_eq!(self.breaker.state(self.now_ms), state);
    }

    fn events(&self) -> Vec<BreakerEventKind> {
        self.breaker
            .take_events()
            .into_iter()
            .map(|event| event.kind)
            .collect()
    }
}

fn went(from: BreakerState, to: BreakerState) -> BreakerEventKind {
    BreakerEventKind::StateTransition { from, to }
}

#[test]
fn it_opens_with_the_fifth_call_when_three_failed() {
    let case = Case::new(config());
    case.calls("FFFS");
    case.is(BreakerState::Closed);
    assert_eq!(case.metrics().failure_rate, None);
    case.call('S');
    case.is(BreakerState::Open);
    assert_eq!(case.denied().retry_in_ms, Some(5_001));
    let metrics = case.metrics();
    assert_eq!(metrics.failure_rate, Some(60.0));
    assert_eq!((metrics.buffered_calls, metrics.failed_calls), (5, 3));
    assert_eq!((metrics.not_permitted_calls, metrics.attempts), (1, 1));
    assert_eq!(
        case.events(),
        [
            BreakerEventKind::FailureRateExceeded { percent: 60.0 },
            went(BreakerState::Closed, BreakerState::Open),
        ]
    );
    assert!(case.events().is_empty());
}

#[test]
fn it_opens_when_the_rate_reaches_the_threshold_later() {
    let mut case = Case::new(config());
    for outcome in "SSSFF".chars() {
        case.call(outcome);
        case.later(1_000);
    }
    case.is(BreakerState::Closed);
    case.call('F');
    case.is(BreakerState::Open);
    assert_eq!(case.metrics().failure_rate, Some(50.0));
}

#[test]
fn slow_calls_open_it_as_failures_do() {
    let case = Case::new(config());
    case.calls("llSSl");
    case.is(BreakerState::Open);
    assert_eq!(case.metrics().slow_call_rate, Some(60.0));
    assert_eq!(
        case.events()[0],
        BreakerEventKind::SlowCallRateExceeded { percent: 60.0 }
    );
}

#[test]
fn a_call_of_exactly_the_slow_duration_is_not_slow() {
    let case = Case::new(config());
    for _ in 0..5 {
        let permit = case.breaker.try_acquire(case.now_ms).unwrap();
        case.breaker
            .on_result(permit, case.now_ms, 4_000, Recorded::Success);
    }
    assert_eq!(case.metrics().slow_call_rate, Some(0.0));
    case.is(BreakerState::Closed);
}

#[test]
fn a_count_window_smaller_than_the_minimum_decides_when_it_is_full() {
    let case = Case::new(BreakerConfig {
        sliding_window_type: SlidingWindowType::CountBased,
        sliding_window_size: 3,
        minimum_number_of_calls: 100,
        ..config()
    });
    case.calls("FF");
    case.is(BreakerState::Closed);
    case.call('F');
    case.is(BreakerState::Open);
}

#[test]
fn ignored_outcomes_are_not_counted() {
    let case = Case::new(config());
    case.calls("IIIIIIII");
    assert_eq!(case.metrics().buffered_calls, 0);
}

#[test]
fn it_lets_a_call_try_after_the_wait() {
    let mut case = Case::opened(config());
    case.later(3_000).denied();
    assert_eq!(
        case.later(2_000).denied().retry_in_ms,
        Some(1),
        "strictly after"
    );
    case.is(BreakerState::Open);
    case.later(1_000).is(BreakerState::Open);
    let permit = case.breaker.try_acquire(case.now_ms).unwrap();
    assert!(permit.is_trial());
    case.is(BreakerState::HalfOpen);
    let metrics = case.metrics();
    assert_eq!((metrics.buffered_calls, metrics.failure_rate), (0, None));
    assert_eq!(metrics.not_permitted_calls, 0);
    case.breaker.release(permit, case.now_ms);
}

#[test]
fn late_results_are_still_counted_while_it_is_open() {
    let case = Case::new(config());
    let late = case.breaker.try_acquire(case.now_ms).unwrap();
    case.calls("FFFFF");
    case.breaker
        .on_result(late, case.now_ms, 1, Recorded::Success);
    assert_eq!(case.metrics().buffered_calls, 6);
    case.is(BreakerState::Open);
}

#[test]
fn late_results_neither_decide_nor_pay_for_a_half_open_period() {
    let mut case = Case::new(config());
    let late: Vec<Permit> = (0..9)
        .map(|_| case.breaker.try_acquire(case.now_ms).unwrap())
        .collect();
    case.calls("FFFFF");
    case.later(6_000);
    let trial = case.breaker.try_acquire(case.now_ms).unwrap();
    for (index, permit) in late.into_iter().enumerate() {
        let outcome = [Recorded::Failure, Recorded::Ignored][index % 2];
        case.breaker.on_result(permit, case.now_ms, 1, outcome);
    }
    assert_eq!(case.metrics().buffered_calls, 0);
    case.breaker.release(trial, case.now_ms);
    let taken: Vec<_> = (0..5)
        .map(|_| case.breaker.try_acquire(case.now_ms))
        .collect();
    assert_eq!(taken.iter().filter(|permit| permit.is_ok()).count(), 4);
}

#[test]
fn it_can_be_opened_for_a_time_that_somebody_else_says() {
    let mut case = Case::new(config());
    case.breaker.open_for(7_200_000, case.now_ms).unwrap();
    case.later(3_600_000).denied();
    case.later(3_601_000);
    let permit = case.breaker.try_acquire(case.now_ms).unwrap();
    case.breaker.release(permit, case.now_ms);
    case.is(BreakerState::HalfOpen);
    assert_eq!(case.metrics().attempts, 0, "such a wait does not count");

    let case = Case::new(config());
    case.breaker
        .open_until(case.now_ms + 90, case.now_ms)
        .unwrap();
    assert_eq!(case.denied().retry_in_ms, Some(91));
}

#[test]
fn each_further_open_interval_is_longer() {
    let mut case = Case::opened(BreakerConfig {
        wait_interval_in_open_state: OpenInterval::Exponential {
            initial_ms: 5_000,
            multiplier: 1.5,
            randomization_factor: 0.0,
            wait_ms_max: 60_000,
        },
        ..config()
    });
    case.later(4_000).denied();
    case.later(2_000).calls("FFFF");
    case.is(BreakerState::Open);
    assert_eq!(case.metrics().attempts, 2);
    case.later(6_000).denied();
    case.later(5_000).calls("SSSS");
    case.is(BreakerState::Closed);
    assert_eq!(case.metrics().attempts, 0, "closing forgets");
}

#[test]
fn open_intervals_are_random_within_their_bounds_and_the_same_for_a_seed() {
    let interval = OpenInterval::Exponential {
        initial_ms: 1_000,
        multiplier: 2.0,
        randomization_factor: 0.5,
        wait_ms_max: 10_000,
    };
    assert_eq!(interval.wait_ms(1, 0.0), 500);
    assert_eq!(interval.wait_ms(1, 0.5), 1_000);
    assert_eq!(interval.wait_ms(2, 0.999_999), 3_000);
    assert_eq!(interval.wait_ms(9_999, 0.999_999), 10_000);
    let waits = |seed| {
        let config = BreakerConfig {
            wait_interval_in_open_state: interval,
            ..config()
        };
        let breaker = Breaker::new(config, seed, 0);
        let wait = |_| {
            breaker.force(BreakerState::Open, 0).unwrap();
            breaker.try_acquire(0).unwrap_err().retry_in_ms.unwrap()
        };
        (0..20).map(wait).collect::<Vec<_>>()
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
}

#[test]
fn a_half_open_period_that_fails_opens_again() {
    let case = Case::half_open(config());
    case.calls("FFS");
    case.is(BreakerState::HalfOpen);
    case.call('F');
    case.is(BreakerState::Open);
    assert_eq!(case.metrics().failure_rate, Some(75.0));
}

#[test]
fn a_half_open_period_that_is_slow_opens_again() {
    let case = Case::half_open(config());
    case.calls("lllS");
    case.is(BreakerState::Open);
    let metrics = case.metrics();
    assert_eq!(
        (metrics.failure_rate, metrics.slow_call_rate),
        (Some(0.0), Some(75.0))
    );
}

#[test]
fn a_half_open_period_that_goes_well_closes() {
    let case = Case::half_open(config());
    case.calls("FSSS");
    case.is(BreakerState::Closed);
    assert_eq!(case.metrics().failure_rate, None);
    assert_eq!(case.metrics().buffered_calls, 0);
}

#[test]
fn an_ignored_trial_gives_its_permit_back() {
    let case = Case::half_open(config());
    case.calls("SSSI");
    case.is(BreakerState::HalfOpen);
    case.call('F');
    case.is(BreakerState::Closed);

    let case = Case::half_open(config());
    case.calls("IIIISSSS");
    case.is(BreakerState::Closed);
}

#[test]
fn there_are_as_many_trials_as_permitted_and_a_released_one_counts_again() {
    let case = Case::half_open(config());
    let mut permits: Vec<_> = (0..4)
        .map(|_| case.breaker.try_acquire(case.now_ms).unwrap())
        .collect();
    assert_eq!(case.denied().state, BreakerState::HalfOpen);
    case.breaker.release(permits.pop().unwrap(), case.now_ms);
    permits.push(case.breaker.try_acquire(case.now_ms).unwrap());
    case.denied();
    assert_eq!(case.metrics().not_permitted_calls, 2);
    for permit in permits {
        case.breaker.release(permit, case.now_ms);
    }
}

#[test]
fn trials_can_be_made_one_at_a_time() {
    let case = Case::half_open(BreakerConfig {
        concurrent_calls_in_half_open_state_max: 1,
        ..config()
    });
    let permit = case.breaker.try_acquire(case.now_ms).unwrap();
    case.denied();
    case.breaker
        .on_result(permit, case.now_ms, 1, Recorded::Success);
    case.calls("SSS");
    case.is(BreakerState::Closed);
}

#[test]
fn a_half_open_period_without_calls_ends_where_it_is_told_to() {
    let mut case = Case::half_open(config());
    case.later(999).is(BreakerState::HalfOpen);
    case.later(1_001).is(BreakerState::Open);
    assert_eq!(case.metrics().attempts, 2);

    let mut case = Case::half_open(BreakerConfig {
        transition_to_state_after_wait_duration: BreakerState::Closed,
        ..config()
    });
    case.later(2_000).is(BreakerState::Closed);
}

#[test]
fn a_lost_permit_blocks_a_half_open_period_only_until_it_ends() {
    let mut case = Case::half_open(config());
    let lost: Vec<_> = (0..4)
        .map(|_| case.breaker.try_acquire(case.now_ms))
        .collect();
    case.denied();
    case.later(1_000).is(BreakerState::Open);
    case.later(6_000).calls("SSSS");
    case.is(BreakerState::Closed);
    drop(lost);
}

#[test]
fn it_becomes_half_open_by_itself_when_told_to() {
    let mut case = Case::opened(BreakerConfig {
        automatic_transition_from_open_to_half_open_enabled: true,
        ..config()
    });
    case.later(5_000).is(BreakerState::Open);
    case.later(1).is(BreakerState::HalfOpen);
}

#[test]
fn forced_open_lets_nothing_through_and_does_not_end() {
    let mut case = Case::new(config());
    let late = case.breaker.try_acquire(case.now_ms).unwrap();
    case.breaker
        .force(BreakerState::ForcedOpen, case.now_ms)
        .unwrap();
    assert_eq!(case.denied().retry_in_ms, None);
    case.later(6_000).denied();
    case.breaker
        .on_result(late, case.now_ms, 1, Recorded::Failure);
    let metrics = case.metrics();
    assert_eq!(
        (metrics.not_permitted_calls, metrics.buffered_calls),
        (2, 0)
    );
}

#[test]
fn disabled_lets_everything_through_and_counts_nothing() {
    let case = Case::new(config());
    case.breaker
        .force(BreakerState::Disabled, case.now_ms)
        .unwrap();
    case.calls("FFFFFFFFFF");
    case.is(BreakerState::Disabled);
    assert_eq!(case.metrics().buffered_calls, 0);
}

#[test]
fn metrics_only_counts_and_tells_once_and_never_opens() {
    let case = Case::new(BreakerConfig {
        initial_state: BreakerState::MetricsOnly,
        ..config()
    });
    assert!(case.events().is_empty(), "beginning is no transition");
    case.calls("FFFSS");
    assert_eq!(case.metrics().failure_rate, Some(60.0));
    case.call('F');
    case.is(BreakerState::MetricsOnly);
    assert_eq!(
        case.events(),
        [BreakerEventKind::FailureRateExceeded { percent: 60.0 }]
    );
}

#[test]
fn transitions_without_meaning_are_refused_with_both_states() {
    use BreakerState::{Closed, Disabled, ForcedOpen, HalfOpen, MetricsOnly, Open};
    let all = [Closed, Open, HalfOpen, ForcedOpen, Disabled, MetricsOnly];
    let illegal = [
        (Closed, HalfOpen),
        (MetricsOnly, Open),
        (MetricsOnly, HalfOpen),
    ];
    for from in all {
        for to in all {
            let case = Case::new(BreakerConfig {
                initial_state: from,
                ..config()
            });
            let result = case.breaker.force(to, case.now_ms);
            assert_eq!(
                result.is_err(),
                illegal.contains(&(from, to)),
                "{from:?} to {to:?}"
            );
            case.is(if result.is_ok() { to } else { from });
            let quiet = from == to || result.is_err();
            assert_eq!(case.events().is_empty(), quiet, "{from:?} to {to:?}");
        }
    }
    let case = Case::new(config());
    assert_eq!(
        case.breaker.force(HalfOpen, 0).unwrap_err().to_string(),
        "circuit breaker cannot go from closed to half-open"
    );
}

#[test]
fn a_reset_forgets_everything() {
    let case = Case::opened(config());
    case.denied();
    case.events();
    case.breaker.reset(case.now_ms);
    assert_eq!(
        case.events(),
        [
            went(BreakerState::Open, BreakerState::Closed),
            BreakerEventKind::Reset
        ]
    );
    let metrics = case.metrics();
    assert_eq!(
        (metrics.buffered_calls, metrics.not_permitted_calls),
        (0, 0)
    );
    assert_eq!((metrics.attempts, metrics.state), (0, BreakerState::Closed));
}

#[test]
fn a_clock_that_steps_back_does_not_lengthen_the_wait_by_the_step() {
    let case = Case::opened(config());
    assert_eq!(
        case.breaker.try_acquire(10).unwrap_err().retry_in_ms,
        Some(5_001)
    );
    assert!(case.breaker.try_acquire(5_011).is_ok());
}

#[test]
fn events_that_nobody_takes_do_not_pile_up() {
    let case = Case::new(config());
    for _ in 0..1_000 {
        case.breaker.reset(case.now_ms);
    }
    assert_eq!(case.events().len(), EVENTS_MAX);
}

#[test]
fn every_setting_out_of_range_is_reported_at_once() {
    let errors = BreakerConfig {
        failure_rate_threshold: f64::NAN,
        slow_call_rate_threshold: 101.0,
        slow_call_duration_threshold_ms: 0,
        sliding_window_size: 0,
        minimum_number_of_calls: 0,
        permitted_number_of_calls_in_half_open_state: 0,
        wait_interval_in_open_state: OpenInterval::Exponential {
            initial_ms: 0,
            multiplier: 0.5,
            randomization_factor: 1.0,
            wait_ms_max: u64::MAX,
        },
        max_wait_duration_in_half_open_state_ms: u64::MAX,
        transition_to_state_after_wait_duration: BreakerState::HalfOpen,
        ..BreakerConfig::default()
    }
    .check()
    .unwrap_err();
    assert_eq!(errors.len(), 12, "{errors:#?}");
    let zero = BreakerConfig {
        failure_rate_threshold: 0.0,
        ..BreakerConfig::default()
    };
    assert!(
        zero.check().is_err(),
        "a breaker that opens without a failure"
    );
    assert_eq!(
        errors[1].to_string(),
        "`slow_call_rate_threshold` is 101, must be above 0 and at most 100"
    );
}

#[test]
fn the_settings_for_models_are_valid_and_settings_read_back() {
    BreakerConfig::for_models().check().unwrap();
    let json = serde_json::to_string(&BreakerConfig::for_models()).unwrap();
    assert_eq!(
        serde_json::from_str::<BreakerConfig>(&json).unwrap(),
        BreakerConfig::for_models()
    );
    let partial = r#"{"failure_rate_threshold":20,"sliding_window_type":"time-based"}"#;
    let partial: BreakerConfig = serde_json::from_str(partial).unwrap();
    assert_eq!(partial.minimum_number_of_calls, 100);
}

#[test]
fn what_a_provider_asks_for_does_not_undo_what_an_operator_did() {
    for (state, opens) in [
        (BreakerState::Closed, true),
        (BreakerState::Open, true),
        (BreakerState::ForcedOpen, false),
        (BreakerState::Disabled, false),
        (BreakerState::MetricsOnly, false),
    ] {
        let case = Case::new(config());
        case.breaker.force(state, case.now_ms).unwrap();
        assert_eq!(
            case.breaker.leave_alone_for(1_000, case.now_ms),
            opens,
            "{state:?}"
        );
        let expected = if opens { BreakerState::Open } else { state };
        assert_eq!(case.breaker.state(case.now_ms), expected);
    }
}

#[test]
fn failures_in_a_row_open_it_behind_a_window_full_of_good_calls() {
    let config = BreakerConfig {
        consecutive_failures_threshold: 4,
        ..config()
    };
    let case = Case::new(config);
    case.calls("SSSSSSSSSSSSFFFSFFF");
    case.is(BreakerState::Closed);
    // What says nothing about the release does not break the row.
    case.calls("I");
    case.breaker.take_events();
    case.calls("F");
    case.is(BreakerState::Open);
    let kinds: Vec<_> = case
        .breaker
        .take_events()
        .into_iter()
        .map(|e| e.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            BreakerEventKind::ConsecutiveFailures { calls: 4 },
            BreakerEventKind::StateTransition {
                from: BreakerState::Closed,
                to: BreakerState::Open
            }
        ]
    );
}

#[test]
fn a_model_that_goes_down_after_good_traffic_is_left_alone_after_ten_calls() {
    let case = Case::new(BreakerConfig::for_models());
    for _ in 0..200 {
        case.calls("SSSSSSSSSS");
    }
    case.calls("FFFFFFFFF");
    case.is(BreakerState::Closed);
    case.calls("F");
    case.is(BreakerState::Open);
}
