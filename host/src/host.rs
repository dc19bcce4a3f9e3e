//! The host: loads policies, activates revisions, asks for decisions.

use crate::cache::CodeCache;
use crate::engine;
use crate::error::{ActivationError, ActivationErrorKind, RollBackError, StartError};
use crate::failure;
use crate::load::{GUEST_STEPS, Loaded, Loader};
use crate::options::{ActivationRequest, HostOptions, OnFailure, PolicyOptions};
use crate::record::{
    DecidedBy, DecisionId, DecisionPoint, DecisionRecord, Input, Moment, Output, Records,
    RunOutcome,
};
use crate::registry::{Consequence, PolicyHandle, PolicyStatus, Registry, Slot};
use crate::replay::{self, Difference, ReplayCursor};
use crate::revision::{Revision, RevisionInfo, component_digest, revision_digest};
use crate::room::Room;
use crate::run::Run;
use crate::run_state::Mode;
use crate::selftest;
use crate::services::{PolicyStates, Services};
use crate::sources::{
    IncidentReport, IncidentSink, MetricsSource, ModelCaller, NoIncidents, NoMetrics, NoModels,
    Severity,
};
use backstop_core::input::{AnswerFacts, RequestFacts, RolloutFacts};
use backstop_core::plan::Plan;
use backstop_core::rollout::Assessment;
use backstop_core::verdict::Verdict;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, Semaphore};

/// Runs policies. Cheap to clone; all clones are the same host.
///
/// Everything it needs is given to it: see [`Host::builder`].
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    options: HostOptions,
    loader: Arc<Loader>,
    services: Arc<Services>,
    registry: Registry,
    records: Records,
    room: Room,
    next_id: AtomicU64,
    /// One activation at a time: compiling takes all cores, and numbers are
    /// given in order.
    activation: Mutex<()>,
    /// One permit for each thread that loads a component, those that nobody
    /// waits for any more included.
    loads: Arc<Semaphore>,
    clock: Clock,
}

/// Milliseconds since the Unix epoch.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

/// A decision, and the record of how it came about.
#[derive(Debug, Clone)]
pub struct Decision<T> {
    /// What to do.
    pub value: T,
    /// Everything about it.
    pub record: Arc<DecisionRecord>,
}

/// Puts a [`Host`] together.
pub struct HostBuilder {
    options: HostOptions,
    metrics: Arc<dyn MetricsSource>,
    models: Arc<dyn ModelCaller>,
    incidents: Arc<dyn IncidentSink>,
    clock: Clock,
}

impl HostBuilder {
    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: HostOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets where metrics come from; without, queries are `unavailable`.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn MetricsSource>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets who calls models for policies; without, calls are `unavailable`.
    #[must_use]
    pub fn models(mut self, models: Arc<dyn ModelCaller>) -> Self {
        self.models = models;
        self
    }

    /// Sets who takes incidents; without, they are logged.
    #[must_use]
    pub fn incidents(mut self, incidents: Arc<dyn IncidentSink>) -> Self {
        self.incidents = incidents;
        self
    }

    /// Sets the clock: milliseconds since the Unix epoch. Must be the one that
    /// the metrics were recorded with, or windows look at the wrong time.
    /// Without, it is the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the host and lets its limits prove themselves: built-in guests
    /// that loop, grow, recurse, trap and sleep must all be stopped. Takes
    /// some 100 ms.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing stays behind.
    pub fn build(self) -> Result<Host, StartError> {
        check(&self.options)?;
        let engine = engine::build(&self.options)
            .map_err(|error| StartError::Engine(crate::error::SandboxError::new(&error)))?;
        selftest::run(&engine)?;
        let services = Arc::new(Services {
            metrics: self.metrics,
            models: self.models,
            incidents: self.incidents,
            states: PolicyStates::default(),
        });
        let cache = self
            .options
            .cache_dir
            .as_deref()
            .map(CodeCache::open)
            .transpose()?;
        let loader = Loader {
            engine,
            cache,
            services: services.clone(),
            component_bytes_max: self.options.component_bytes_max,
        };
        Ok(Host(Arc::new(Inner {
            loader: Arc::new(loader),
            services,
            registry: Registry::new(self.options.revisions_kept),
            records: Records::new(self.options.records_max, RECORDS_BYTES_MAX),
            room: Room::new(self.options.instances_max),
            next_id: AtomicU64::new(first_id((self.clock)())),
            activation: Mutex::new(()),
            loads: Arc::new(Semaphore::new(LOADS_MAX)),
            clock: self.clock,
            options: self.options,
        })))
    }
}

fn check(options: &HostOptions) -> Result<(), StartError> {
    let in_range = |option, value: u64, min: u64, max: u64, range| {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(StartError::Option {
                option,
                value,
                range,
            })
        }
    };
    in_range(
        "instances_max",
        options.instances_max.into(),
        1,
        4_096,
        "1 to 4,096",
    )?;
    in_range(
        "memory_bytes_max",
        options.memory_bytes_max as u64,
        64 << 10,
        256 << 20,
        "64 KiB to 256 MiB",
    )?;
    in_range(
        "component_bytes_max",
        options.component_bytes_max as u64,
        1,
        256 << 20,
        "1 byte to 256 MiB",
    )?;
    in_range(
        "load_ms_max",
        options.load_ms_max.into(),
        1,
        600_000,
        "1 to 600,000",
    )?;
    in_range(
        "revisions_kept",
        options.revisions_kept as u64,
        3,
        16,
        "3 to 16",
    )?;
    in_range(
        "records_max",
        options.records_max as u64,
        1,
        10_000_000,
        "1 to 10,000,000",
    )
}

/// Components that are loaded at once. One that is given up goes on until it
/// is done, and must not keep the others out.
const LOADS_MAX: usize = 2;

/// Bytes of host calls that the records in memory hold together: usual ones
/// take less than 1 KiB, so this is no limit for them but for policies that
/// read bodies and call models.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// Identifiers begin with the time of the start, so that they stay unique and
/// increasing across restarts: a million decisions for each millisecond.
fn first_id(now_ms: u64) -> u64 {
    now_ms << 20
}

fn system_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Host {
    /// Begins to put a host together.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            options: HostOptions::default(),
            metrics: Arc::new(NoMetrics),
            models: Arc::new(NoModels),
            incidents: Arc::new(NoIncidents),
            clock: Arc::new(system_ms),
        }
    }

    fn now_ms(&self) -> u64 {
        (self.0.clock)()
    }

    /// Loads a component and makes it serve as the newest revision of the
    /// policy `name`: inspect, compile, check world and imports, link grants,
    /// describe, configure, canary call, swap. Work that takes long is done on
    /// tokio's threads for blocking work, and given up after
    /// [`HostOptions::load_ms_max`]. A component and options that are
    /// ready already are not loaded again. `request` is the policy's options,
    /// or an [`ActivationRequest`] that also says where the policy is asked.
    ///
    /// # Errors
    ///
    /// The step that failed. What served before still serves, and
    /// [`PolicyStatus::last_activation_error`] tells.
    pub async fn activate(
        &self,
        name: &str,
        component: impl Into<Arc<[u8]>>,
        request: impl Into<ActivationRequest>,
    ) -> Result<RevisionInfo, ActivationError> {
        let _one = self.0.activation.lock().await;
        let slot = self.0.registry.get(name);
        match self
            .prepare(name, component.into(), request.into(), slot.as_deref())
            .await
        {
            Ok(revision) => {
                let info = revision.info.clone();
                self.0.registry.activate(revision);
                tracing::info!(
                    policy = name,
                    revision = info.number,
                    digest = &*info.digest,
                    "policy activated"
                );
                Ok(info)
            }
            Err(kind) => {
                let serving = slot.as_ref().map(|slot| slot.current().info.number);
                let error = ActivationError {
                    policy: name.to_owned(),
                    serving,
                    kind,
                };
                if let Some(slot) = slot {
                    *slot.last_activation_error.lock() = Some(error.to_string());
                }
                tracing::warn!(policy = name, serving, %error, "policy not activated");
                Err(error)
            }
        }
    }

    /// Goes through all steps of an activation but the swap.
    ///
    /// # Errors
    ///
    /// As [`Host::activate`]; nothing is changed or noted either way.
    pub async fn check(
        &self,
        name: &str,
        component: impl Into<Arc<[u8]>>,
        request: impl Into<ActivationRequest>,
    ) -> Result<RevisionInfo, ActivationError> {
        let prepared = self
            .prepare(name, component.into(), request.into(), None)
            .await;
        prepared
            .map(|revision| revision.info.clone())
            .map_err(|kind| ActivationError {
                policy: name.to_owned(),
                serving: self
                    .0
                    .registry
                    .get(name)
                    .map(|slot| slot.current().info.number),
                kind,
            })
    }

    async fn prepare(
        &self,
        name: &str,
        component: Arc<[u8]>,
        request: ActivationRequest,
        slot: Option<&Slot>,
    ) -> Result<Arc<Revision>, ActivationErrorKind> {
        let ActivationRequest {
            options,
            points,
            number_before,
        } = request;
        check_activation(name, &options, &self.0.options)?;
        let policy: Arc<str> = Arc::from(name);
        let component_digest = component_digest(&component);
        let digest = revision_digest(&component_digest, &options);
        let ready = slot.and_then(|slot| slot.ready_with_digest(&digest));
        let (image, description) = match ready {
            Some(ready) => (ready.image().clone(), ready.info.description.clone()),
            None => {
                let loaded = self.load(policy.clone(), component, &options).await?;
                (Arc::new(loaded.image), loaded.description)
            }
        };
        let exports = image.points();
        if let Some(point) = points.into_iter().find(|point| !exports.contains(point)) {
            return Err(ActivationErrorKind::MissingPoint { point, exports });
        }
        let info = RevisionInfo {
            policy,
            number: slot.map_or(0, Slot::last_number).max(number_before) + 1,
            digest,
            component_digest,
            points: exports,
            description,
            options,
            activated_ms: self.now_ms(),
        };
        Ok(Arc::new(Revision::new(info, image)))
    }

    /// Loads on a thread for blocking work, and gives up when that takes too
    /// long: whoever activates holds up all other activations. The thread
    /// cannot be stopped; it keeps its permit until it is done, and its result
    /// is dropped.
    async fn load(
        &self,
        policy: Arc<str>,
        component: Arc<[u8]>,
        options: &PolicyOptions,
    ) -> Result<Loaded, ActivationErrorKind> {
        let guest_ms = GUEST_STEPS * u64::from(options.limits.load_deadline_ms);
        let limit_ms = u64::from(self.0.options.load_ms_max) + guest_ms;
        let limit = Duration::from_millis(limit_ms);
        let permit = tokio::time::timeout(limit, self.0.loads.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(ActivationErrorKind::Busy(LOADS_MAX));
        };
        let (loader, options) = (self.0.loader.clone(), options.clone());
        let load = tokio::task::spawn_blocking(move || {
            let loaded = loader.load(&policy, &component, &options);
            drop(permit);
            loaded
        });
        match tokio::time::timeout(limit, load).await {
            Ok(loaded) => loaded.map_err(|_| ActivationErrorKind::Cancelled)?,
            Err(_) => Err(ActivationErrorKind::TooSlow { limit_ms }),
        }
    }

    /// Makes a former revision serve again: the previous one, or the one with
    /// the number `to`. One pointer is swapped; nothing is compiled.
    ///
    /// # Errors
    ///
    /// When there is no such policy or no such ready revision. Nothing changes.
    pub fn roll_back(&self, name: &str, to: Option<u64>) -> Result<RevisionInfo, RollBackError> {
        self.roll_back_where_asked(name, to, &[])
    }

    /// As [`Host::roll_back`], for an embedder that asks the policy at `points`:
    /// a revision that does not decide at all of them is refused.
    ///
    /// # Errors
    ///
    /// As [`Host::roll_back`], and when it does not. Nothing changes.
    pub fn roll_back_where_asked(
        &self,
        name: &str,
        to: Option<u64>,
        points: &[DecisionPoint],
    ) -> Result<RevisionInfo, RollBackError> {
        let info = self.0.registry.roll_back(name, to, points)?;
        tracing::info!(policy = name, revision = info.number, "policy rolled back");
        Ok(info)
    }

    /// Forgets a policy with its revisions and its state; true when there was
    /// one. Runs that have begun end as usual, and handles stay usable.
    pub fn remove(&self, name: &str) -> bool {
        self.0.services.states.remove(name);
        self.0.registry.remove(name)
    }

    /// The policy of this name, to ask for decisions.
    pub fn policy(&self, name: &str) -> Option<PolicyHandle> {
        self.0.registry.get(name).map(PolicyHandle::new)
    }

    /// How all policies are doing, by name.
    pub fn policies(&self) -> Vec<PolicyStatus> {
        self.0.registry.statuses(self.now_ms())
    }

    /// What was activated under this name since the host started, oldest first.
    pub fn history(&self, name: &str) -> Option<Vec<RevisionInfo>> {
        self.0.registry.history(name)
    }

    /// The newest decision records.
    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// Asks `policy` to plan `request`. `default` is used when it has no
    /// opinion, or fails and its failure policy says so.
    ///
    /// Runs the guest on this thread for policies that cannot wait; never
    /// fails and never takes longer than the policy's deadline, after at most
    /// as long (and half a second) without an instance being free. Twice that
    /// where the failure policy asks the previous revision.
    pub async fn decide_fallback(
        &self,
        policy: &PolicyHandle,
        request: Arc<RequestFacts>,
        default: &Plan,
    ) -> Decision<Plan> {
        let (record, output) = self
            .decide(policy, Input::Fallback(request), || {
                Output::Plan(default.clone())
            })
            .await;
        let value = match &*output {
            Output::Plan(plan) => plan.clone(),
            _ => default.clone(),
        };
        Decision { value, record }
    }

    /// Asks `policy` to judge `answer`; as [`Host::decide_fallback`].
    pub async fn decide_threshold(
        &self,
        policy: &PolicyHandle,
        request: Arc<RequestFacts>,
        answer: Arc<AnswerFacts>,
        default: &Verdict,
    ) -> Decision<Verdict> {
        let input = Input::Threshold(request, answer);
        let (record, output) = self
            .decide(policy, input, || Output::Verdict(default.clone()))
            .await;
        let value = match &*output {
            Output::Verdict(verdict) => verdict.clone(),
            _ => default.clone(),
        };
        Decision { value, record }
    }

    /// Asks `policy` to assess `rollout`; as [`Host::decide_fallback`].
    pub async fn decide_rollback(
        &self,
        policy: &PolicyHandle,
        rollout: Arc<RolloutFacts>,
        default: &Assessment,
    ) -> Decision<Assessment> {
        let input = Input::Rollback(rollout);
        let (record, output) = self
            .decide(policy, input, || Output::Assessment(default.clone()))
            .await;
        let value = match &*output {
            Output::Assessment(assessment) => assessment.clone(),
            _ => default.clone(),
        };
        Decision { value, record }
    }

    async fn decide(
        &self,
        policy: &PolicyHandle,
        input: Input,
        default: impl FnOnce() -> Output,
    ) -> (Arc<DecisionRecord>, Arc<Output>) {
        let slot = &policy.slot;
        let now_ms = self.now_ms();
        let revision = slot.current();
        let (run, moment) = if slot.suspended(now_ms) {
            let run = Run {
                outcome: RunOutcome::Suspended,
                ..Run::not_begun(String::new())
            };
            (
                run,
                Moment {
                    now_ms,
                    seed: 0,
                    time_left_us: 0,
                },
            )
        } else {
            self.run(&revision, input.clone(), now_ms).await
        };
        let consequence = slot.note(
            &revision,
            input.point(),
            &run.outcome,
            policy.standing,
            now_ms,
        );
        self.report(&revision, &run.outcome, consequence);

        let mut previous = None;
        let (applied, decided_by) = match failure::response(
            &run.outcome,
            slot.suspended_for(),
            &revision.info.options.on_failure,
        ) {
            None => match &run.returned {
                Some(output) => (output.clone(), DecidedBy::Policy),
                None => (Arc::new(default()), DecidedBy::Default),
            },
            Some(OnFailure::Previous) => {
                match self.ask_previous(slot, &revision, &input, now_ms).await {
                    Some((record, output)) => {
                        previous = Some(Box::new(record));
                        (output, DecidedBy::Previous)
                    }
                    None => (Arc::new(default()), DecidedBy::Default),
                }
            }
            Some(response) => {
                let (output, decided_by) = failure::decision(response, input.point(), default());
                (Arc::new(output), decided_by)
            }
        };
        let record = Arc::new(DecisionRecord {
            id: self.next_id(),
            revision: revision.reference.clone(),
            moment,
            input: input.without_bodies(),
            calls: run.calls,
            outcome: run.outcome,
            returned: run.returned,
            decided_by,
            applied: applied.clone(),
            cost: run.cost,
            previous,
        });
        self.0.records.push(record.clone());
        (record, applied)
    }

    async fn run(&self, revision: &Revision, input: Input, now_ms: u64) -> (Run, Moment) {
        let left = revision.allowance().deadline;
        let moment = Moment {
            now_ms,
            seed: fastrand::u64(..),
            time_left_us: u64::try_from(left.as_micros()).unwrap_or(u64::MAX),
        };
        let (run, _) = revision
            .run(&self.0.services, &self.0.room, Mode::Live, input, moment)
            .await;
        (run, moment)
    }

    async fn ask_previous(
        &self,
        slot: &Slot,
        failed: &Revision,
        input: &Input,
        now_ms: u64,
    ) -> Option<(DecisionRecord, Arc<Output>)> {
        let revision = slot.previous_to(failed.info.number)?;
        let (run, moment) = self.run(&revision, input.clone(), now_ms).await;
        let output = run.returned.clone()?;
        let record = DecisionRecord {
            id: self.next_id(),
            revision: revision.reference.clone(),
            moment,
            input: input.clone().without_bodies(),
            calls: run.calls,
            outcome: run.outcome,
            returned: run.returned,
            decided_by: DecidedBy::Policy,
            applied: output.clone(),
            cost: run.cost,
            previous: None,
        };
        Some((record, output))
    }

    fn next_id(&self) -> DecisionId {
        DecisionId(self.0.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Says what went wrong, and to whom it belongs.
    fn report(&self, revision: &Revision, outcome: &RunOutcome, consequence: Consequence) {
        let RunOutcome::Failed {
            kind,
            fault,
            detail,
            ..
        } = outcome
        else {
            return;
        };
        let info = &revision.info;
        tracing::warn!(
            policy = &*info.policy,
            revision = info.number,
            kind = kind.as_str(),
            ?fault,
            detail,
            "policy failed"
        );
        let title = match consequence {
            Consequence::None => return,
            Consequence::Reverted { from, to } => {
                format!(
                    "policy `{}` failed repeatedly: revision {from} was taken back to {to}",
                    info.policy
                )
            }
            Consequence::Suspended => {
                format!(
                    "policy `{}` failed repeatedly and is suspended; there is no earlier revision",
                    info.policy
                )
            }
        };
        tracing::error!(policy = &*info.policy, "{title}");
        let report = IncidentReport {
            policy: info.policy.to_string(),
            key: "policy-failing".to_owned(),
            severity: Severity::Error,
            title,
            detail: format!("{}: {detail}", kind.as_str()),
        };
        if let Err(error) = self.0.services.incidents.raise(report) {
            tracing::error!(error, "incident not raised");
        }
    }

    /// Runs a recorded decision again with `component` and `options`, and
    /// returns the first difference from the record; none when every host
    /// call, the outcome, the returned value and the fuel are the same.
    ///
    /// A record of [`Isolation::Warm`](crate::Isolation::Warm) replays on a
    /// fresh instance, so a guest that keeps something in its memory differs.
    ///
    /// # Errors
    ///
    /// When the component cannot be loaded.
    pub async fn replayer(
        &self,
        component: impl Into<Arc<[u8]>>,
        options: PolicyOptions,
    ) -> Result<Replayer, ActivationError> {
        let kind_of = |kind| ActivationError {
            policy: REPLAY.to_owned(),
            serving: None,
            kind,
        };
        let revision = self
            .prepare(REPLAY, component.into(), options.into(), None)
            .await
            .map_err(kind_of)?;
        Ok(Replayer {
            host: self.clone(),
            revision,
        })
    }
}

/// Name under which components are loaded for replay.
const REPLAY: &str = "replay";

/// A component, loaded to replay recorded decisions.
pub struct Replayer {
    host: Host,
    revision: Arc<Revision>,
}

impl Replayer {
    /// Replays one record; the first difference, or none.
    pub async fn replay(&self, record: Arc<DecisionRecord>) -> Option<Difference> {
        if record.outcome == RunOutcome::Suspended {
            return None;
        }
        let cursor = ReplayCursor::new(record.clone());
        let (input, moment) = (record.input.clone(), record.moment);
        let inner = &self.host.0;
        let (run, cursor) = self
            .revision
            .run(
                &inner.services,
                &inner.room,
                Mode::Replay(cursor),
                input,
                moment,
            )
            .await;
        match cursor {
            Some(cursor) => replay::compare(&record, cursor, &run),
            None => Some(Difference::Outcome {
                recorded: record.outcome.clone(),
                replayed: run.outcome,
            }),
        }
    }

    /// The revision that replays: its digest tells whether it is the one of
    /// the record.
    pub fn revision(&self) -> &RevisionInfo {
        &self.revision.info
    }
}

fn check_activation(
    name: &str,
    options: &PolicyOptions,
    host: &HostOptions,
) -> Result<(), ActivationErrorKind> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let name = backstop_core::text::sanitize(name.to_owned(), 64);
        return Err(ActivationErrorKind::Name(name));
    }
    let in_range = |option, value: u64, min: u64, max: u64, range| {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(ActivationErrorKind::Option {
                option,
                value,
                range,
            })
        }
    };
    let limits = &options.limits;
    in_range(
        "limits.deadline_ms",
        limits.deadline_ms.unwrap_or(1).into(),
        1,
        60_000,
        "1 to 60,000",
    )?;
    in_range(
        "limits.load_deadline_ms",
        limits.load_deadline_ms.into(),
        1,
        60_000,
        "1 to 60,000",
    )?;
    in_range("limits.fuel", limits.fuel, 1, u64::MAX, "at least 1")?;
    in_range(
        "limits.host_calls",
        limits.host_calls.into(),
        1,
        1 << 20,
        "1 to 1,048,576",
    )?;
    let memory_max = host.memory_bytes_max as u64;
    in_range(
        "limits.memory_bytes",
        limits.memory_bytes as u64,
        64 << 10,
        memory_max,
        "64 KiB to the host's `memory_bytes_max`",
    )
}
