//! What a release of a model counts: its attempts, and the changes of its breaker.

use super::Telemetry;
use backstop_core::fault::FailureClass;
use backstop_core::input::BreakerState;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;

/// The states of a breaker, in the order of the numbers that the gauge shows.
pub(super) const BREAKER_STATES: [BreakerState; 6] = [
    BreakerState::Closed,
    BreakerState::HalfOpen,
    BreakerState::Open,
    BreakerState::ForcedOpen,
    BreakerState::Disabled,
    BreakerState::MetricsOnly,
];

/// The number of `state` in the gauge: the higher of the first four, the less
/// passes.
pub(super) fn breaker_number(state: BreakerState) -> usize {
    match state {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
        BreakerState::ForcedOpen => 3,
        BreakerState::Disabled => 4,
        BreakerState::MetricsOnly => 5,
    }
}

/// What one release of a model counts.
#[derive(Debug)]
pub struct ReleaseMetrics {
    ok: Counter,
    failed: Vec<Counter>,
    transitions: [Counter; BREAKER_STATES.len()],
}

impl ReleaseMetrics {
    /// Counts an attempt; none is a success.
    pub fn attempt(&self, failure: Option<FailureClass>) {
        match failure {
            None => self.ok.inc(),
            Some(class) => self.failed[class as usize].inc(),
        };
    }

    /// Counts a change of the breaker's state.
    pub fn breaker_went(&self, to: BreakerState) {
        self.transitions[breaker_number(to)].inc();
    }
}

impl Telemetry {
    /// The counters of a release of a model.
    pub fn release(&self, model: &str, release: &str) -> Arc<ReleaseMetrics> {
        let with = |key, value: &str| {
            [
                ("model", model.to_owned()),
                ("release", release.to_owned()),
                (key, value.to_owned()),
            ]
        };
        Arc::new(ReleaseMetrics {
            ok: self.attempts.get_or_create_owned(&with("class", "ok")),
            failed: FailureClass::ALL
                .iter()
                .map(|class| {
                    self.attempts
                        .get_or_create_owned(&with("class", class.as_str()))
                })
                .collect(),
            transitions: BREAKER_STATES.map(|to| {
                self.breaker_transitions
                    .get_or_create_owned(&with("to", to.as_str()))
            }),
        })
    }
}
