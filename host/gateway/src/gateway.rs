//! The gateway as it runs: one plant behind one pointer, and what it stands on.
//!
//! [`Gateway`] is cheap to clone; requests, the admin plane, reload and the
//! rollouts' ticks all hold one. Always holds: a request sees one plant from
//! beginning to end; [`Gateway::apply`] puts a whole new plant in place or
//! leaves everything as it was; policies, breakers, evidence and shares that a
//! new configuration does not change are not touched by it.

mod apply;
mod background;
mod control;

pub(crate) use apply::last_revision;
pub use apply::{Applied, ApplyError, ApplyProblem};

use crate::baselines::Baselines;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::config::Config;
use crate::evidence::Evidence;
use crate::evidence::kept::Keeper;
use crate::evidence::source::Source;
use crate::execute::REVIEWS_WAITING_MAX;
use crate::features::{self, Counting, Judges};
use crate::feedback::{self, Feedback};
use crate::infrastructure::{Process, Prometheus};
use crate::objectives::Objectives;
use crate::outbox::Outbox;
use crate::plant::{Asked, Plant};
use crate::rollouts::Rollouts;
use crate::spans::{Spans, SpansError};
use crate::store::{Incidents, Store};
use crate::telemetry::{NO_ROUTE, RequestOutcome, RouteMetrics, Telemetry};
use crate::upstream::{Simulated, Upstream};
use apply::Active;
use arc_swap::ArcSwapOption;
use background::Background;
use backstop::Host;
use backstop::record::DecisionPoint;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What a gateway is given besides its configuration.
pub struct GatewayParts {
    /// Where reviews, incidents, rollouts and activations are kept.
    pub store: Arc<dyn Store>,
    /// Where incidents go, those of policies and the gateway's own.
    pub incidents: Incidents,
    /// Where requests and decisions are counted.
    pub telemetry: Arc<Telemetry>,
}

impl std::fmt::Debug for GatewayParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayParts").finish_non_exhaustive()
    }
}

/// A running gateway, without sockets.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What all clones of a gateway share.
pub(crate) struct Shared {
    /// Set as soon as the first plant is in place, and never unset.
    plant: Arc<ArcSwapOption<Plant>>,
    pub(crate) host: Host,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) incidents: Incidents,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) evidence: Arc<Evidence>,
    baselines: Arc<Baselines>,
    pub(crate) upstream: Arc<Upstream>,
    /// None where no spans are exported.
    spans: Option<Spans>,
    pub(crate) clock: Clock,
    pub(crate) rollouts: Rollouts,
    /// Places for reviews of delivered answers that wait for the store.
    pub(crate) reviews_waiting: Semaphore,
    /// Messages to other systems.
    pub(crate) outbox: Outbox,
    /// Answers that are remembered.
    pub(crate) feedback: Feedback,
    /// What is promised, and whether it is kept.
    pub(crate) objectives: Arc<Objectives>,
    /// Who scores answers after they are delivered.
    judges: Judges,
    /// The process as evidence.
    process: Process,
    /// What an existing Prometheus knows.
    prometheus: Prometheus,
    /// Evidence over restarts.
    keeper: Keeper,
    unrouted: Arc<RouteMetrics>,
    /// What this gateway activated in the host; locked while one configuration
    /// is being applied.
    active: tokio::sync::Mutex<BTreeMap<Arc<str>, Active>>,
    background: Background,
    stopping: AtomicBool,
    /// The first configuration, which decides what only a restart can change.
    started_with: OnceLock<Arc<Config>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl From<Arc<Shared>> for Gateway {
    fn from(shared: Arc<Shared>) -> Self {
        Gateway { shared }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy host did not start.
    #[error("start the policy host")]
    Host(#[source] backstop::StartError),
    /// Spans cannot be exported.
    #[error(transparent)]
    Spans(#[from] SpansError),
    /// The configuration cannot be served.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Gateway {
    /// Starts a gateway: the policy host with its self-test, every policy,
    /// every model, the rollouts where they stood. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the host does not start, or with everything that cannot be served.
    pub async fn start(config: Config, parts: GatewayParts) -> Result<Gateway, StartError> {
        let plant = Arc::new(ArcSwapOption::empty());
        let clock = Clock::start();
        let evidence = Arc::new(Evidence::new());
        let upstream = Arc::new(Upstream::new());
        let caller = Arc::new(Caller::new(plant.clone(), upstream.clone(), clock));
        let judges = Judges::start(
            caller.clone(),
            evidence.clone(),
            parts.telemetry.clone(),
            clock,
        );
        let baselines = Arc::new(Baselines::load(parts.store.clone()).await);
        let objectives = Objectives::load(
            evidence.clone(),
            parts.store.clone(),
            parts.incidents.clone(),
            parts.telemetry.clone(),
            clock,
        );
        let objectives = Arc::new(objectives.await);
        let source = Source::new(
            evidence.store().clone(),
            baselines.clone(),
            objectives.clone(),
        );
        let host = Host::builder()
            .options(config.host_options())
            .metrics(Arc::new(source))
            .models(caller)
            .incidents(Arc::new(parts.incidents.clone()))
            .clock(move || clock.now_ms())
            .build()
            .map_err(StartError::Host)?;
        let unrouted = parts.telemetry.route(NO_ROUTE);
        parts.telemetry.with_evidence(evidence.store(), clock);
        if config.telemetry.genai_metrics {
            parts.telemetry.with_genai(&config.telemetry.attributes);
        }
        let otlp = config.telemetry.otlp.as_ref();
        let spans = otlp
            .map(|otlp| Spans::start(otlp, &config.telemetry.attributes, parts.telemetry.clone()))
            .transpose()?;
        for route in config.routes.values() {
            // What cannot be made known is a problem of applying it, below.
            let declared = route.feedback.as_ref();
            let _ = declared.map(|known| feedback::declare(&evidence, known));
            let _ = features::declare(&evidence, &route.features);
        }
        let process = Process::new(
            plant.clone(),
            evidence.clone(),
            parts.telemetry.clone(),
            clock,
        );
        process.declare();
        let prometheus = Prometheus::new(evidence.clone(), parts.telemetry.clone(), clock);
        let declared = config.prometheus.as_deref();
        // As for feedback.
        let _ = declared.map(|asked| prometheus.declare(asked));
        let keeper = Keeper::new(evidence.clone(), parts.store.clone(), clock);
        let seeds = keeper.restore().await;
        let (store, telemetry) = (parts.store.clone(), parts.telemetry.clone());
        let feedback = Feedback::new(store, telemetry, evidence.clone(), clock);
        let gateway = Gateway {
            shared: Arc::new(Shared {
                plant,
                host,
                outbox: Outbox::new(parts.store.clone(), parts.telemetry.clone()),
                feedback,
                objectives,
                judges,
                process,
                prometheus,
                keeper,
                store: parts.store,
                incidents: parts.incidents,
                telemetry: parts.telemetry,
                evidence,
                baselines,
                upstream,
                spans,
                clock,
                rollouts: Rollouts::default(),
                reviews_waiting: Semaphore::new(REVIEWS_WAITING_MAX),
                unrouted,
                active: tokio::sync::Mutex::default(),
                background: Background::default(),
                stopping: AtomicBool::new(false),
                started_with: OnceLock::new(),
            }),
        };
        gateway.apply(config).await?;
        gateway.shared.outbox.start();
        gateway.shared.feedback.start(seeds);
        gateway.shared.keeper.start();
        gateway.shared.process.start();
        gateway.shared.objectives.start();
        Ok(gateway)
    }

    /// The running state now.
    ///
    /// # Panics
    ///
    /// Never: a gateway is only handed out with a plant in place.
    pub fn plant(&self) -> Arc<Plant> {
        match self.shared.plant.load_full() {
            Some(plant) => plant,
            None => unreachable!("a gateway is only handed out with a plant in place"),
        }
    }

    /// The policy host.
    pub fn host(&self) -> &Host {
        &self.shared.host
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The counters.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.shared.telemetry
    }

    /// The evidence that policies read.
    pub fn evidence(&self) -> &Arc<Evidence> {
        &self.shared.evidence
    }

    /// What evidence is held against.
    pub fn baselines(&self) -> &Arc<Baselines> {
        &self.shared.baselines
    }

    /// The clock.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    pub(crate) fn spans(&self) -> Option<&Spans> {
        self.shared.spans.as_ref()
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.shared.upstream
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The simulated provider of this name, for demonstrations and drills.
    pub fn simulated(&self, provider: &str) -> Option<Arc<Simulated>> {
        self.plant().simulated(provider).cloned()
    }

    /// Counts a request that never found a route.
    pub(crate) fn count_unrouted(&self, took: Duration) {
        let metrics = &self.shared.unrouted;
        metrics.request(RequestOutcome::ClientFault, took);
    }

    /// False once shutdown has begun: no new work should be sent here.
    pub fn is_ready(&self) -> bool {
        !self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Says that shutdown has begun.
    pub fn begin_shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.outbox.stop();
        self.shared.prometheus.stop();
    }

    /// How long running requests may go on after a stop was asked for.
    pub fn shutdown_grace(&self) -> Duration {
        self.plant().config().server.shutdown_grace
    }

    /// Runs what no caller waits for. [`Gateway::settle`] waits for it.
    pub(crate) fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.shared.background.run(work);
    }

    /// Sends the spans that wait; later ones are lost. Takes some seconds at
    /// most.
    pub async fn finish_spans(&self) {
        if let Some(spans) = self.spans() {
            spans.finish().await;
        }
    }

    /// Waits for messages that are being sent, some seconds at most. What is
    /// not sent by then is sent after the next start.
    pub async fn finish_outbox(&self) {
        self.shared.outbox.finish().await;
    }

    /// Looks at all objectives as of `now_ms`, and tells and keeps what has
    /// changed, as happens by itself every ten seconds. A moment before that of
    /// the last look is left out; one in the future is for drills.
    pub async fn look_at_objectives(&self, now_ms: u64) {
        self.shared.objectives.look(now_ms).await;
    }

    /// Writes the answers that wait to be remembered, the evidence that has
    /// changed and where objectives stand, some seconds at most.
    pub async fn finish_evidence(&self) {
        self.shared.feedback.finish().await;
        self.shared.objectives.finish().await;
        self.shared.keeper.finish().await;
    }

    /// Waits until judgements of streams that have passed are done.
    pub async fn settle(&self) {
        self.shared.background.idle().await;
    }
}

impl Shared {
    /// Where what is seen of features is counted.
    pub(crate) fn counting(&self) -> Counting<'_> {
        Counting {
            evidence: &self.evidence,
            telemetry: &self.telemetry,
            judges: &self.judges,
            incidents: &self.incidents,
            clock: self.clock,
        }
    }

    /// The policy of this name, for a route or a rollout to ask.
    pub(crate) fn asked(&self, name: &str, point: DecisionPoint) -> Result<Asked, ApplyProblem> {
        let handle = self
            .host
            .policy(name)
            .ok_or_else(|| ApplyProblem::NotActive(name.to_owned()))?;
        if !handle.decides(point) {
            return Err(ApplyProblem::WrongPoint {
                policy: name.to_owned(),
                point,
            });
        }
        Ok(Asked::new(handle, self.telemetry.policy(name)))
    }
}
