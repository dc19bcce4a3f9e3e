//! What a policy counts: its decisions, its failures, and what it costs.

use super::{Telemetry, one};
use backstop::record::{DecidedBy, DecisionPoint, DecisionRecord, FailureKind, RunOutcome};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// What one policy counts.
#[derive(Debug)]
pub struct PolicyMetrics {
    /// By decision point, then by who decided.
    decisions: [[Counter; DECIDED_BY.len()]; DecisionPoint::ALL.len()],
    failures: [Counter; FAILURE_KINDS.len()],
    duration: Histogram,
    fuel: Counter,
    guest_seconds: Counter<f64, AtomicU64>,
    host_seconds: Counter<f64, AtomicU64>,
}

const DECIDED_BY: [(DecidedBy, &str); 4] = [
    (DecidedBy::Policy, "policy"),
    (DecidedBy::Previous, "previous"),
    (DecidedBy::Default, "default"),
    (DecidedBy::Closed, "closed"),
];

const FAILURE_KINDS: [FailureKind; 5] = [
    FailureKind::Trap,
    FailureKind::Deadline,
    FailureKind::Memory,
    FailureKind::InvalidOutput,
    FailureKind::Load,
];

impl PolicyMetrics {
    /// Counts one decision, and the run of the previous revision inside it.
    pub fn decision(&self, record: &DecisionRecord) {
        let by = match record.decided_by {
            DecidedBy::Policy => 0,
            DecidedBy::Previous => 1,
            DecidedBy::Default => 2,
            DecidedBy::Closed => 3,
        };
        let point = match record.input.point() {
            DecisionPoint::Fallback => 0,
            DecisionPoint::Threshold => 1,
            DecisionPoint::Rollback => 2,
        };
        self.decisions[point][by].inc();
        self.run(record);
        if let Some(previous) = &record.previous {
            self.run(previous);
        }
    }

    fn run(&self, record: &DecisionRecord) {
        if let RunOutcome::Failed { kind, .. } = &record.outcome {
            self.failures[match kind {
                FailureKind::Trap => 0,
                FailureKind::Deadline => 1,
                FailureKind::Memory => 2,
                FailureKind::InvalidOutput => 3,
                FailureKind::Load => 4,
            }]
            .inc();
        }
        let guest = Duration::from_nanos(record.cost.guest_ns).as_secs_f64();
        let host = Duration::from_nanos(record.cost.host_ns).as_secs_f64();
        self.duration.observe(guest + host);
        self.guest_seconds.inc_by(guest);
        self.host_seconds.inc_by(host);
        self.fuel.inc_by(record.cost.fuel);
    }
}

impl Telemetry {
    /// The counters of a policy.
    pub fn policy(&self, policy: &str) -> Arc<PolicyMetrics> {
        let time = |place: &str| {
            self.policy_time
                .get_or_create_owned(&[("policy", policy.to_owned()), ("place", place.to_owned())])
        };
        Arc::new(PolicyMetrics {
            decisions: DecisionPoint::ALL.map(|point| {
                DECIDED_BY.map(|(_, by)| {
                    self.policy_decisions.get_or_create_owned(&[
                        ("policy", policy.to_owned()),
                        ("point", point.as_str().to_owned()),
                        ("decided_by", by.to_owned()),
                    ])
                })
            }),
            failures: FAILURE_KINDS.map(|kind| {
                self.policy_failures.get_or_create_owned(&[
                    ("policy", policy.to_owned()),
                    ("kind", kind.as_str().to_owned()),
                ])
            }),
            duration: self
                .policy_seconds
                .get_or_create_owned(&one("policy", policy)),
            fuel: self.policy_fuel.get_or_create_owned(&one("policy", policy)),
            guest_seconds: time("guest"),
            host_seconds: time("host"),
        })
    }
}
