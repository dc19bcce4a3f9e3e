//! The gateway's own metrics, in OpenMetrics text.
//!
//! Counters and histograms are resolved once, when a route, a release or a
//! policy is set up ([`RouteMetrics`], [`ReleaseMetrics`], [`PolicyMetrics`],
//! each in a file of its own with what it counts);
//! what a request does with them is an atomic addition, or a short lock for a
//! histogram. Gauges that mirror a state that somebody else holds (breakers,
//! shares, revisions, queues) are read from there at each scrape
//! ([`Telemetry::encode`]) and nowhere else, so that they cannot go stale and
//! what was removed by a reload disappears.
//!
//! Label sets are bounded: their values are names out of the configuration
//! and closed sets of words, never anything that a caller or a guest chose.
//!
//! Not to be confused with the evidence that policies read: that is the
//! business of `evidence.rs`.

mod evidence;
mod feedback;
mod genai;
mod infrastructure;
mod keys;
mod moves;
mod objectives;
mod outbox;
mod policy;
mod release;
mod route;
mod word;

pub(crate) use feedback::FeedbackMetrics;
pub use keys::KeyMetrics;
pub use policy::PolicyMetrics;
pub use release::ReleaseMetrics;
pub use route::{InFlight, RequestOutcome, RouteMetrics, ServedBy};

use crate::admin::LoadStatus;
use crate::clock::Clock;
use crate::config::AttributeNames;
use crate::objectives::ObjectiveReport;
use crate::store::MessageCount;
use crate::trail::{RequestRecord, Requests};
use backstop::Severity;
use backstop_core::evidence::Evidence;
use backstop_core::input::BreakerState;
use evidence::EvidenceCollector;
use genai::GenAi;
use infrastructure::InfrastructureMetrics;
use labels::{One, Three, Two};
use moves::Moves;
use objectives::ObjectiveMetrics;
use outbox::OutboxMetrics;
use parking_lot::Mutex;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Media type of what [`Telemetry::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The label `route` of requests that never found a route.
pub const NO_ROUTE: &str = "-";

/// Upper ends of the buckets of whole requests, in seconds: from a rules
/// answer to the longest timeout that a plan may have.
const REQUEST_SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
    600.0,
];

/// Upper ends of the buckets of policy decisions, in seconds: a shipped policy
/// takes some 20 µs, the default deadline is 20 ms, the longest 60 s.
const DECISION_SECONDS: [f64; 13] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 1.0,
    60.0,
];

mod labels {
    //! Label sets: pairs of a fixed key and a value.

    /// One label.
    pub(super) type One = [(&'static str, String); 1];
    /// Two labels.
    pub(super) type Two = [(&'static str, String); 2];
    /// Three labels.
    pub(super) type Three = [(&'static str, String); 3];
}

const SEVERITIES: [(Severity, &str); 4] = [
    (Severity::Info, "info"),
    (Severity::Warning, "warning"),
    (Severity::Error, "error"),
    (Severity::Critical, "critical"),
];

/// The name of `severity` in metrics, in the store and in the admin API.
pub fn severity_name(severity: Severity) -> &'static str {
    SEVERITIES
        .iter()
        .find(|(known, _)| *known == severity)
        .map_or("info", |(_, name)| name)
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// State that others hold, read at a scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Model, release, state of its breaker.
    pub breakers: Vec<(String, String, BreakerState)>,
    /// Model, release, how much it is asked.
    pub loads: Vec<(String, String, LoadStatus)>,
    /// Provider, position of one of its several keys, the word of its state.
    /// Releases of one provider share its keys: they may come several times.
    pub provider_keys: Vec<(String, usize, &'static str)>,
    /// Model, share of the candidate in per cent; 0 where no rollout runs.
    pub rollout_shares: Vec<(String, f64)>,
    /// Policy, number of the serving revision.
    pub policy_revisions: Vec<(String, u64)>,
    /// Policies that are suspended because they failed too often.
    pub policies_suspended: Vec<(String, bool)>,
    /// Decision records pushed out of the ring since the start.
    pub records_dropped: u64,
    /// Incident reports that found the queue to the store full since the start.
    pub incidents_dropped: u64,
    /// Route, pending reviews; none when the store did not answer, which
    /// leaves the last figures standing.
    pub reviews_pending: Option<Vec<(String, u64)>>,
    /// Messages of each channel in the outbox; as above.
    pub messages: Option<Vec<MessageCount>>,
    /// How objectives stand.
    pub objectives: Vec<ObjectiveReport>,
    /// Severity, open incidents; as above.
    pub incidents_open: Option<Vec<(Severity, u64)>>,
}

/// The registry and all its families. One for each gateway: nothing is global.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    /// Held while gauges are cleared and set anew, and while they are encoded.
    scrape: Mutex<()>,
    request_records: Requests,
    moves: Moves,
    outbox: OutboxMetrics,
    feedback: FeedbackMetrics,
    infrastructure: InfrastructureMetrics,
    /// Without our prefix.
    process: Registry,
    objectives: ObjectiveMetrics,
    /// With OpenTelemetry's names, hence without our prefix; none when switched
    /// off.
    genai: OnceLock<(GenAi, Registry)>,
    /// What evidence holds, read at a scrape; set when the gateway starts.
    evidence: OnceLock<Registry>,
    requests: Family<Two, Counter>,
    request_seconds: Histograms<One>,
    first_token_seconds: Histograms<One>,
    in_flight: Family<One, Gauge>,
    attempts: Family<Three, Counter>,
    fallbacks: Family<Two, Counter>,
    verdicts: Family<Two, Counter>,
    /// By route, feature and what is wrong.
    feature_violations: Family<Three, Counter>,
    feature_shifts: Family<Two, Counter>,
    /// By route, feature and result.
    feature_judgements: Family<Three, Counter>,
    breaker_state: Family<Two, Gauge>,
    breaker_transitions: Family<Three, Counter>,
    /// By model, release and what of it.
    release_load: Family<Three, Gauge>,
    /// By provider, position of the key and how it ended.
    provider_key_calls: Family<Three, Counter>,
    provider_key_state: Family<Three, Gauge>,
    policy_decisions: Family<Three, Counter>,
    policy_failures: Family<Two, Counter>,
    policy_seconds: Histograms<One>,
    policy_time: Family<Two, Counter<f64, AtomicU64>>,
    policy_fuel: Family<One, Counter>,
    policy_revision: Family<One, Gauge>,
    policy_suspended: Family<One, Gauge>,
    config_synchronized: Gauge,
    config_reloads: Family<One, Counter>,
    reviews_pending: Family<One, Gauge>,
    reviews_lost: Family<One, Counter>,
    incidents_open: Family<One, Gauge>,
    incidents_dropped: Counter,
    rollout_share: Family<One, Gauge<f64, AtomicU64>>,
    records_dropped: Counter,
    requests_dropped: Counter,
    spans: SpanMetrics,
}

/// What becomes of spans.
#[derive(Debug, Default)]
pub(crate) struct SpanMetrics {
    pub(crate) exported: Counter,
    pub(crate) dropped: Counter,
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry::new()
    }
}

impl Telemetry {
    /// A new registry with every family in it.
    pub fn new() -> Self {
        let request: fn() -> Histogram = || Histogram::new(REQUEST_SECONDS);
        let decision: fn() -> Histogram = || Histogram::new(DECISION_SECONDS);
        let mut telemetry = Telemetry {
            registry: Registry::with_prefix("backstop"),
            scrape: Mutex::default(),
            request_records: Requests::default(),
            moves: Moves::default(),
            outbox: OutboxMetrics::default(),
            feedback: FeedbackMetrics::default(),
            infrastructure: InfrastructureMetrics::default(),
            process: Registry::default(),
            objectives: ObjectiveMetrics::default(),
            genai: OnceLock::new(),
            evidence: OnceLock::new(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(request),
            first_token_seconds: Family::new_with_constructor(request),
            in_flight: Family::default(),
            attempts: Family::default(),
            fallbacks: Family::default(),
            verdicts: Family::default(),
            feature_violations: Family::default(),
            feature_judgements: Family::default(),
            feature_shifts: Family::default(),
            breaker_state: Family::default(),
            breaker_transitions: Family::default(),
            release_load: Family::default(),
            provider_key_calls: Family::default(),
            provider_key_state: Family::default(),
            policy_decisions: Family::default(),
            policy_failures: Family::default(),
            policy_seconds: Family::new_with_constructor(decision),
            policy_time: Family::default(),
            policy_fuel: Family::default(),
            policy_revision: Family::default(),
            policy_suspended: Family::default(),
            config_synchronized: Gauge::default(),
            config_reloads: Family::default(),
            reviews_pending: Family::default(),
            reviews_lost: Family::default(),
            incidents_open: Family::default(),
            incidents_dropped: Counter::default(),
            rollout_share: Family::default(),
            records_dropped: Counter::default(),
            requests_dropped: Counter::default(),
            spans: SpanMetrics::default(),
        };
        telemetry.register();
        telemetry
    }

    #[rustfmt::skip] // One family a line reads as the table that it is.
    fn register(&mut self) {
        let registry = &mut self.registry;
        self.moves.register(registry);
        self.outbox.register(registry);
        self.feedback.register(registry);
        self.infrastructure.register(registry);
        self.infrastructure.register_process(&mut self.process);
        self.objectives.register(registry);
        registry.register("build", "Version of the gateway", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("requests", "Requests that have ended, by what their caller got", self.requests.clone());
        registry.register("request_duration_seconds", "Time from the arrival of a request to the end of its answer", self.request_seconds.clone());
        registry.register("time_to_first_token_seconds", "Time from the arrival of a request to the first token of the delivered stream", self.first_token_seconds.clone());
        registry.register("requests_in_flight", "Requests that have arrived and not ended", self.in_flight.clone());
        registry.register("attempts", "Calls of releases, by failure class; `ok` is success", self.attempts.clone());
        registry.register("fallbacks", "Requests served by another step than the first", self.fallbacks.clone());
        registry.register("verdicts", "Answers judged, by verdict", self.verdicts.clone());
        registry.register("feature_shifts", "Shifts of features that their detector told", self.feature_shifts.clone());
        registry.register("feature_judgements", "Answers that were to be judged by a model, by result: `ok`, `no-number`, `failed` or `dropped` (too many waited)", self.feature_judgements.clone());
        registry.register("feature_violations", "Features of requests and answers that are not as declared, by what is wrong: `missing`, `type`, `range`, `category` or `format`", self.feature_violations.clone());
        registry.register("breaker_state", "State of a release's breaker: 0 closed, 1 half-open, 2 open, 3 forced open, 4 disabled, 5 metrics only", self.breaker_state.clone());
        registry.register("breaker_transitions", "Changes of a breaker, by the state that it went to", self.breaker_transitions.clone());
        registry.register("release_load", "Calls of a release: under way (`in-flight`), waiting (`queued`), and how many may be under way (`limit`)", self.release_load.clone());
        registry.register("provider_key_calls", "Calls with a key of a provider that has several, by position and end: `ok`, `failed`, `rate-limit` or `auth`", self.provider_key_calls.clone());
        registry.register("provider_key_state", "1 for the state that a key of a provider with several is in, 0 for the others: `ready`, `cooling` (its rate is limited) or `refused`", self.provider_key_state.clone());
        registry.register("policy_decisions", "Decisions, by who made the one that was applied", self.policy_decisions.clone());
        registry.register("policy_failures", "Runs of a policy that failed, by kind", self.policy_failures.clone());
        registry.register("policy_duration_seconds", "Time of a policy's run, host calls included", self.policy_seconds.clone());
        registry.register("policy_time_seconds", "Time spent in guest code and in host calls", self.policy_time.clone());
        registry.register("policy_fuel", "Fuel used by a policy", self.policy_fuel.clone());
        registry.register("policy_revision", "Number of the revision that serves", self.policy_revision.clone());
        registry.register("policy_suspended", "1 while a policy is not asked because it failed too often", self.policy_suspended.clone());
        registry.register("config_synchronized", "1 when the configuration that serves is the one on disk, 0 when that one was refused", self.config_synchronized.clone());
        registry.register("config_reloads", "Reloads of the configuration, by result", self.config_reloads.clone());
        registry.register("reviews_pending", "Reviews that wait for a person", self.reviews_pending.clone());
        registry.register("reviews_lost", "Reviews of delivered answers that the store did not take", self.reviews_lost.clone());
        registry.register("incidents_open", "Open incidents, by severity", self.incidents_open.clone());
        registry.register("incidents_dropped", "Incident reports that found the queue to the store full", self.incidents_dropped.clone());
        registry.register("rollout_share", "Share of a rollout's candidate, in per cent", self.rollout_share.clone());
        registry.register("records_dropped", "Decision records pushed out of the ring by newer ones", self.records_dropped.clone());
        registry.register("request_records_dropped", "Records of requests pushed out of the ring by newer ones", self.requests_dropped.clone());
        registry.register("spans_exported", "Spans that the collector took", self.spans.exported.clone());
        registry.register("spans_dropped", "Spans for which there was no room, or which the collector did not take", self.spans.dropped.clone());
    }

    /// The newest requests, each with its attempts.
    pub fn requests(&self) -> &Requests {
        &self.request_records
    }

    /// Switches on the metrics with OpenTelemetry's names for generative AI,
    /// and labels called by `names`; for good.
    pub fn with_genai(&self, names: &AttributeNames) {
        self.genai.get_or_init(|| {
            let genai = GenAi::new(names);
            let mut registry = Registry::default();
            genai.register(&mut registry);
            (genai, registry)
        });
    }

    /// Shows every series of `store` from now on; for good.
    pub(crate) fn with_evidence(&self, store: &Arc<Evidence>, clock: Clock) {
        self.evidence.get_or_init(|| {
            let mut registry = Registry::with_prefix("backstop");
            let store = store.clone();
            registry.register_collector(Box::new(EvidenceCollector { store, clock }));
            registry
        });
    }

    /// Counts what a request that has ended did on its way.
    pub(crate) fn ended(&self, record: &RequestRecord) {
        self.moves.count(record);
        if let Some((genai, _)) = self.genai.get() {
            genai.count(record);
        }
    }

    /// Counts a question to Prometheus.
    pub(crate) fn prometheus(&self, query: &str, result: &'static str) {
        self.infrastructure.query(query, result);
    }

    /// Notes how late the runtime was, at its worst in a second.
    pub(crate) fn loop_lag(&self, worst: Duration) {
        self.infrastructure.lag(worst);
    }

    pub(crate) fn outbox(&self) -> &OutboxMetrics {
        &self.outbox
    }

    pub(crate) fn feedback(&self) -> &FeedbackMetrics {
        &self.feedback
    }

    pub(crate) fn objectives(&self) -> &ObjectiveMetrics {
        &self.objectives
    }

    pub(crate) fn spans(&self) -> &SpanMetrics {
        &self.spans
    }

    /// Counts a review of a delivered answer that the store did not take.
    pub fn review_lost(&self, route: &str) {
        self.reviews_lost.get_or_create(&one("route", route)).inc();
    }

    /// Counts a feature that is not as declared.
    pub(crate) fn violation(&self, route: &str, feature: &str, problem: &'static str) {
        self.feature_violations
            .get_or_create(&[
                ("route", route.to_owned()),
                ("feature", feature.to_owned()),
                ("problem", problem.to_owned()),
            ])
            .inc();
    }

    /// Counts a shift of a feature.
    pub(crate) fn shifted(&self, route: &str, feature: &str) {
        let labels = [("route", route.to_owned()), ("feature", feature.to_owned())];
        self.feature_shifts.get_or_create(&labels).inc();
    }

    /// Counts an answer that was to be judged by a model.
    pub(crate) fn judged(&self, route: &str, feature: &str, result: &'static str) {
        self.feature_judgements
            .get_or_create(&[
                ("route", route.to_owned()),
                ("feature", feature.to_owned()),
                ("result", result.to_owned()),
            ])
            .inc();
    }

    /// Notes the end of a reload: whether what serves is what is on disk.
    pub fn reloaded(&self, synchronized: bool) {
        self.config_synchronized.set(i64::from(synchronized));
        let result = if synchronized { "applied" } else { "refused" };
        self.config_reloads
            .get_or_create(&one("result", result))
            .inc();
    }

    /// All metrics in OpenMetrics text, after the gauges were set from
    /// `snapshot`.
    ///
    /// # Errors
    ///
    /// When a metric cannot be encoded, which no known state leads to.
    pub fn encode(&self, snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
        let _scrape = self.scrape.lock();
        self.refresh(snapshot);
        let mut text = String::with_capacity(16 << 10);
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.process)?;
        if let Some(registry) = self.evidence.get() {
            encode_registry(&mut text, registry)?;
        }
        if let Some((_, registry)) = self.genai.get() {
            encode_registry(&mut text, registry)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }

    fn refresh(&self, snapshot: &Snapshot) {
        self.infrastructure.refresh();
        self.breaker_state.clear();
        for (model, release, state) in &snapshot.breakers {
            self.breaker_state
                .get_or_create(&[("model", model.clone()), ("release", release.clone())])
                .set(release::breaker_number(*state) as i64);
        }
        self.release_load.clear();
        for (model, release, load) in &snapshot.loads {
            let gauge = |what: &str, value: u32| {
                self.release_load
                    .get_or_create(&[
                        ("model", model.clone()),
                        ("release", release.clone()),
                        ("what", what.to_owned()),
                    ])
                    .set(value.into());
            };
            gauge("in-flight", load.in_flight);
            gauge("queued", load.queued);
            if let Some(limit) = load.limit {
                gauge("limit", limit);
            }
        }
        keys::refresh(&self.provider_key_state, &snapshot.provider_keys);
        self.rollout_share.clear();
        for (model, share) in &snapshot.rollout_shares {
            self.rollout_share
                .get_or_create(&one("model", model))
                .set(*share);
        }
        self.policy_revision.clear();
        for (policy, number) in &snapshot.policy_revisions {
            self.policy_revision
                .get_or_create(&one("policy", policy))
                .set(i64::try_from(*number).unwrap_or(i64::MAX));
        }
        self.policy_suspended.clear();
        for (policy, suspended) in &snapshot.policies_suspended {
            self.policy_suspended
                .get_or_create(&one("policy", policy))
                .set(i64::from(*suspended));
        }
        self.objectives.set(&snapshot.objectives);
        // All only ever grow where they come from.
        let dropped = &snapshot.records_dropped;
        self.records_dropped
            .inner()
            .fetch_max(*dropped, Ordering::Relaxed);
        self.requests_dropped
            .inner()
            .fetch_max(self.request_records.dropped(), Ordering::Relaxed);
        self.incidents_dropped
            .inner()
            .fetch_max(snapshot.incidents_dropped, Ordering::Relaxed);
        if let Some(pending) = &snapshot.reviews_pending {
            self.reviews_pending.clear();
            for (route, count) in pending {
                self.reviews_pending
                    .get_or_create(&one("route", route))
                    .set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        if let Some(messages) = &snapshot.messages {
            self.outbox.set(messages);
        }
        if let Some(open) = &snapshot.incidents_open {
            for (severity, name) in SEVERITIES {
                let count = open
                    .iter()
                    .find(|(known, _)| *known == severity)
                    .map_or(0, |(_, count)| *count);
                self.incidents_open
                    .get_or_create(&one("severity", name))
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
}

fn one(key: &'static str, value: &str) -> One {
    [(key, value.to_owned())]
}

#[cfg(test)]
mod tests;
