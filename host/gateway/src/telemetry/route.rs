//! What a route counts: how its requests ended, and who served them.

use super::{Telemetry, one};
use backstop_core::plan::STEPS_MAX;
use backstop_core::verdict::Outcome;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::time::Duration;

/// How a request ended, as its caller saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RequestOutcome {
    /// A model's answer was delivered whole.
    Answered,
    /// Rules answered.
    Rules,
    /// It was sent to review.
    Review,
    /// The plan declined it.
    Refused,
    /// The request was at fault; this one's error or a provider's was relayed.
    ClientFault,
    /// No step of the plan gave an answer.
    Failed,
    /// A stream broke off after its first byte.
    Cut,
    /// The caller went away.
    Cancelled,
}

impl RequestOutcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [RequestOutcome; 8] = [
        RequestOutcome::Answered,
        RequestOutcome::Rules,
        RequestOutcome::Review,
        RequestOutcome::Refused,
        RequestOutcome::ClientFault,
        RequestOutcome::Failed,
        RequestOutcome::Cut,
        RequestOutcome::Cancelled,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RequestOutcome::Answered => "answered",
            RequestOutcome::Rules => "rules",
            RequestOutcome::Review => "review",
            RequestOutcome::Refused => "refused",
            RequestOutcome::ClientFault => "client-fault",
            RequestOutcome::Failed => "failed",
            RequestOutcome::Cut => "cut",
            RequestOutcome::Cancelled => "cancelled",
        }
    }
}

/// The step that served a request in the end, for counting fallbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServedBy {
    /// A step that calls models; counted from 0. Step 0 is no fallback and is
    /// not counted.
    Step(usize),
    /// Rules.
    Rules,
    /// Review.
    Review,
    /// The plan declined.
    Refuse,
}

/// What one route counts.
#[derive(Debug)]
pub struct RouteMetrics {
    requests: [Counter; RequestOutcome::ALL.len()],
    duration: Histogram,
    first_token: Histogram,
    /// One for each step, then rules, review, refuse.
    fallbacks: Vec<Counter>,
    verdicts: [Counter; 3],
    in_flight: Gauge,
}

impl RouteMetrics {
    /// Counts a request that has ended, `took` after it arrived.
    pub fn request(&self, outcome: RequestOutcome, took: Duration) {
        self.requests[outcome as usize].inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Notes the time from a request's arrival to the first token of the
    /// stream that was delivered.
    pub fn first_token(&self, took: Duration) {
        self.first_token.observe(took.as_secs_f64());
    }

    /// Counts which step served a request; the first step is not counted.
    pub fn served_by(&self, by: ServedBy) {
        let slot = match by {
            ServedBy::Step(0) => return,
            ServedBy::Step(step) => step.min(STEPS_MAX - 1),
            ServedBy::Rules => STEPS_MAX,
            ServedBy::Review => STEPS_MAX + 1,
            ServedBy::Refuse => STEPS_MAX + 2,
        };
        self.fallbacks[slot].inc();
    }

    /// Counts a verdict on an answer.
    pub fn verdict(&self, outcome: Outcome) {
        self.verdicts[match outcome {
            Outcome::Accept => 0,
            Outcome::Escalate => 1,
            Outcome::Review => 2,
        }]
        .inc();
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn in_flight(self: &Arc<Self>) -> InFlight {
        self.in_flight.inc();
        InFlight(self.clone())
    }
}

/// Counts one request as in flight while it lives.
#[derive(Debug)]
pub struct InFlight(Arc<RouteMetrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

impl Telemetry {
    /// The counters of a route, all at 0 when it is new. Those of one name
    /// are the same, whenever they were asked for.
    pub fn route(&self, route: &str) -> Arc<RouteMetrics> {
        let with = |key, value: String| [("route", route.to_owned()), (key, value)];
        let mut steps: Vec<String> = (0..STEPS_MAX).map(|step| step.to_string()).collect();
        steps.extend(["rules", "review", "refuse"].map(str::to_owned));
        Arc::new(RouteMetrics {
            requests: RequestOutcome::ALL.map(|outcome| {
                self.requests
                    .get_or_create_owned(&with("outcome", outcome.as_str().to_owned()))
            }),
            duration: self
                .request_seconds
                .get_or_create_owned(&one("route", route)),
            first_token: self
                .first_token_seconds
                .get_or_create_owned(&one("route", route)),
            fallbacks: steps
                .into_iter()
                .map(|step| self.fallbacks.get_or_create_owned(&with("step", step)))
                .collect(),
            verdicts: [Outcome::Accept, Outcome::Escalate, Outcome::Review].map(|outcome| {
                self.verdicts
                    .get_or_create_owned(&with("outcome", outcome.as_str().to_owned()))
            }),
            in_flight: self.in_flight.get_or_create_owned(&one("route", route)),
        })
    }
}
