//! Models and their releases as they run: who serves a caller, and whether
//! that release may be called.
//!
//! A [`Model`] owns its releases; a [`Release`] owns its breaker and its
//! counters. Which release serves whom is one pointer ([`Traffic`]), so that
//! a rollout changes a share without a request noticing. A reload keeps the
//! models and releases whose configuration is the same, breakers and all.
//!
//! A call of a release is a `Lease`, in the module of that name. Always
//! holds: while the candidate's breaker refuses, its callers are served by the
//! stable release rather than by another model.

mod lease;

pub(crate) use lease::{Asks, Lease, NotNow};

use crate::clock::Clock;
use crate::config::{self, ProviderKind};
use crate::evidence::{Evidence, Standard};
use crate::execute::CallerKey;
use crate::gate::{Busy, Gate};
use crate::gateway::ApplyProblem;
use crate::health;
use crate::refusal::Refusal;
use crate::store::Incidents;
use crate::targets::Targets;
use crate::telemetry::{ReleaseMetrics, Telemetry};
use crate::upstream::{Target, Upstream};
use arc_swap::ArcSwap;
use backstop_core::breaker::{Breaker, BreakerEventKind, Permit};
use backstop_core::evidence::SubjectRef;
use backstop_core::input::{BreakerState, Candidate};
use backstop_core::split::{self, Split};
use http::HeaderValue;
use lease::Waiting;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One logical model, as one plant sees it.
#[derive(Debug)]
pub struct Model {
    spec: Arc<config::Model>,
    releases: Box<[Arc<Release>]>,
    state: Arc<State>,
}

/// What changes about a model while it runs. Shared by the plants that have
/// the same releases.
#[derive(Debug)]
struct State {
    traffic: ArcSwap<Traffic>,
    /// True while an operator says that the model is down.
    down: AtomicBool,
}

/// One release of a model.
#[derive(Debug)]
pub struct Release {
    spec: Arc<config::Release>,
    target: Arc<Target>,
    connect_timeout: Duration,
    breaker: Breaker,
    gate: Arc<Gate>,
    /// True while its probe says that it is down.
    probed_down: AtomicBool,
    metrics: Arc<ReleaseMetrics>,
    refusal: Refusal,
    series: Standard,
    model_series: Standard,
    model_header: HeaderValue,
    release_header: HeaderValue,
}

/// Which releases take a model's traffic.
#[derive(Debug)]
pub struct Traffic {
    /// Serves whoever the candidate does not.
    pub stable: Arc<Release>,
    /// Serves its share.
    pub canary: Option<Canary>,
}

/// The share of a candidate.
#[derive(Debug)]
pub struct Canary {
    /// The release.
    pub candidate: Arc<Release>,
    /// Its share in percent, 1 to 99.
    pub share_percent: u32,
    split: Split,
}

/// What is needed to build models.
pub(crate) struct Parts<'a> {
    pub(crate) clock: Clock,
    pub(crate) upstream: &'a Upstream,
    pub(crate) telemetry: &'a Telemetry,
    pub(crate) evidence: &'a Evidence,
    pub(crate) incidents: &'a Incidents,
}

impl Model {
    /// The model that `spec` describes. Releases that `before` has with the
    /// same configuration are taken over as they are; so is the traffic while
    /// it is still about releases of the model.
    ///
    /// # Errors
    ///
    /// A release that cannot be called.
    pub(crate) fn build(
        spec: &Arc<config::Model>,
        before: Option<&Model>,
        targets: &mut Targets,
        parts: &Parts<'_>,
    ) -> Result<Self, ApplyProblem> {
        let keep = before.filter(|model| {
            let same = &model.spec;
            same.breaker == spec.breaker && same.limit == spec.limit && same.probe == spec.probe
        });
        let mut releases = Vec::with_capacity(spec.releases.len());
        for release in &spec.releases {
            let known = keep
                .and_then(|model| model.release(&release.name))
                .filter(|known| known.spec == *release);
            releases.push(match known {
                Some(known) => known.clone(),
                None => {
                    let release = Arc::new(Release::build(spec, release, targets, parts)?);
                    if let Some(probe) = &spec.probe {
                        health::watch(&release, probe.clone());
                    }
                    release
                }
            });
        }
        let releases = releases.into_boxed_slice();
        let shared = before.filter(|model| {
            let traffic = model.traffic();
            model.spec.stable.name == spec.stable.name
                && contains(&releases, &traffic.stable)
                && (traffic.canary.as_ref())
                    .is_none_or(|canary| contains(&releases, &canary.candidate))
        });
        let state = match shared {
            Some(model) => model.state.clone(),
            None => {
                let Some(stable) = find(&releases, &spec.stable.name).cloned() else {
                    return Err(ApplyProblem::NoStable(spec.name.clone()));
                };
                Arc::new(State {
                    traffic: ArcSwap::from_pointee(Traffic {
                        stable,
                        canary: None,
                    }),
                    down: AtomicBool::new(
                        before.is_some_and(|model| model.state.down.load(Ordering::Relaxed)),
                    ),
                })
            }
        };
        Ok(Model {
            spec: spec.clone(),
            releases,
            state,
        })
    }

    /// What it was built from.
    pub fn spec(&self) -> &Arc<config::Model> {
        &self.spec
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    /// Its releases in the order of the configuration.
    pub fn releases(&self) -> &[Arc<Release>] {
        &self.releases
    }

    /// The release of this name.
    pub fn release(&self, name: &str) -> Option<&Arc<Release>> {
        find(&self.releases, name)
    }

    /// Which releases take its traffic now.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.state.traffic.load_full()
    }

    /// Gives `share_percent` of the callers to `candidate` and the rest to
    /// `stable`, from the next attempt on. A share of 0, or a candidate that
    /// is the stable release, leaves the stable one alone.
    pub(crate) fn set_traffic(&self, stable: Arc<Release>, candidate: Option<(Arc<Release>, u32)>) {
        let canary = candidate
            .filter(|(release, share)| *share > 0 && !Arc::ptr_eq(release, &stable))
            .and_then(|(candidate, share)| {
                let share_percent = share.min(100);
                // The candidate comes last: callers in its share then stay in
                // it while the share grows.
                let split = Split::new([100 - share_percent, share_percent]).ok()?;
                Some(Canary {
                    candidate,
                    share_percent,
                    split,
                })
            });
        self.state
            .traffic
            .store(Arc::new(Traffic { stable, canary }));
    }

    /// True while a share of its traffic goes to a candidate.
    pub(crate) fn is_split(&self) -> bool {
        self.state.traffic.load().canary.is_some()
    }

    /// False while an operator, or the probe of its stable release, says that
    /// it is down.
    pub fn healthy(&self) -> bool {
        !self.state.down.load(Ordering::Relaxed) && self.state.traffic.load().stable.healthy()
    }

    /// Says whether the model is up. While it is not, policies see it as
    /// unhealthy and no step calls it.
    pub fn set_healthy(&self, healthy: bool) {
        self.state.down.store(!healthy, Ordering::Relaxed);
    }

    /// The release whose turn it is for `key`, and the stable one where that
    /// is another.
    fn pick(&self, key: &CallerKey) -> (Arc<Release>, Option<Arc<Release>>) {
        let traffic = self.state.traffic.load();
        if let Some(canary) = &traffic.canary
            && let Some(hash) = key.hash(&self.spec.name)
            && canary.split.pick_hash(hash) == Some(1)
            && canary.candidate.healthy()
        {
            return (canary.candidate.clone(), Some(traffic.stable.clone()));
        }
        (traffic.stable.clone(), None)
    }

    /// How the model is for the caller `key`, as policies are told.
    pub(crate) fn candidate(&self, key: &CallerKey, now_ms: u64) -> Candidate {
        let (mut release, stable) = self.pick(key);
        let mut breaker = release.breaker.state(now_ms);
        if let Some(stable) = stable
            && matches!(breaker, BreakerState::Open | BreakerState::ForcedOpen)
        {
            release = stable;
            breaker = release.breaker.state(now_ms);
        }
        let retry_in_ms = match breaker {
            BreakerState::Open => release.breaker.retry_in_ms(now_ms),
            _ => None,
        };
        let gate = release.gate();
        Candidate {
            model: self.spec.name.clone(),
            breaker,
            healthy: self.healthy(),
            in_flight: gate.in_flight(),
            limit: gate.limit(),
            queued: gate.queued(),
            retry_in_ms,
            context_tokens: self.spec.context_tokens,
        }
    }

    /// Permission for one call, in line where others are at it.
    ///
    /// # Errors
    ///
    /// When an operator says that the model is down, the breakers of all
    /// releases that may serve this caller refuse, or there is no place.
    pub(crate) async fn lease(&self, asks: Asks<'_>, clock: Clock) -> Result<Lease, NotNow> {
        let (release, permit) = if asks.regardless {
            (self.pick(asks.key).0, None)
        } else {
            let (release, permit) = self.permit(asks.key, clock)?;
            (release, Some(permit))
        };
        let mut waiting = Waiting {
            release,
            permit,
            clock,
        };
        let entered = match waiting.release.gate.try_enter() {
            Some(place) => Ok(place),
            None => {
                let gate = waiting.release.gate.clone();
                let entered = gate
                    .enter(asks.priority, asks.caller, asks.until.into())
                    .await;
                // Much may have happened while it waited.
                if entered.is_ok() && !asks.regardless {
                    waiting.ask_again()?;
                }
                entered
            }
        };
        waiting.enter(entered)
    }

    /// The same for a call that does not wait.
    ///
    /// # Errors
    ///
    /// As [`Model::lease`].
    pub(crate) fn lease_now(&self, key: &CallerKey, clock: Clock) -> Result<Lease, NotNow> {
        let (release, permit) = self.permit(key, clock)?;
        let mut waiting = Waiting {
            release,
            permit: Some(permit),
            clock,
        };
        let place = waiting.release.gate.try_enter();
        waiting.enter(place.ok_or(Busy::Full))
    }

    /// The release that serves `key`, with its breaker's permission.
    fn permit(&self, key: &CallerKey, clock: Clock) -> Result<(Arc<Release>, Permit), NotNow> {
        if !self.healthy() {
            return Err(NotNow::Down);
        }
        let (release, stable) = self.pick(key);
        let now_ms = clock.now_ms();
        let (release, permit) = match (release.breaker.try_acquire(now_ms), stable) {
            (Ok(permit), _) => (release, permit),
            (Err(_), Some(stable)) => {
                release.tell_events();
                let permit = stable
                    .breaker
                    .try_acquire(now_ms)
                    .map_err(NotNow::Breaker)?;
                (stable, permit)
            }
            (Err(refused), None) => return Err(NotNow::Breaker(refused)),
        };
        release.tell_events();
        Ok((release, permit))
    }
}

fn find<'a>(releases: &'a [Arc<Release>], name: &str) -> Option<&'a Arc<Release>> {
    releases.iter().find(|release| **release.name() == *name)
}

fn contains(releases: &[Arc<Release>], wanted: &Arc<Release>) -> bool {
    releases.iter().any(|release| Arc::ptr_eq(release, wanted))
}

impl Release {
    fn build(
        model: &config::Model,
        spec: &Arc<config::Release>,
        targets: &mut Targets,
        parts: &Parts<'_>,
    ) -> Result<Self, ApplyProblem> {
        let seed = fastrand::u64(..);
        let breaker = Breaker::new(model.breaker.clone(), seed, parts.clock.now_ms());
        let target = targets
            .target(&spec.target, parts.upstream)
            .map_err(|source| ApplyProblem::Target {
                model: model.name.clone(),
                release: spec.name.clone(),
                source,
            })?;
        Ok(Release {
            target,
            connect_timeout: match &spec.target.provider.kind {
                ProviderKind::Openai(http) | ProviderKind::Json(http) => http.connect_timeout,
                ProviderKind::Simulated(_) => Duration::MAX,
            },
            breaker,
            gate: Gate::new(model.limit),
            probed_down: AtomicBool::new(false),
            metrics: parts.telemetry.release(&model.name, &spec.name),
            refusal: Refusal::new(parts.incidents, &spec.target),
            series: parts.evidence.of(SubjectRef::Release {
                model: &model.name,
                release: &spec.name,
            }),
            model_series: parts.evidence.of(SubjectRef::Model(&model.name)),
            model_header: header(&model.name),
            release_header: header(&spec.name),
            spec: spec.clone(),
        })
    }

    /// What it was built from.
    pub fn spec(&self) -> &config::Release {
        &self.spec
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    /// Name of its model.
    pub fn model(&self) -> &Arc<str> {
        &self.spec.target.model
    }

    /// False while its probe says that it is down.
    pub(crate) fn healthy(&self) -> bool {
        !self.probed_down.load(Ordering::Relaxed)
    }

    /// What its probe says.
    pub(crate) fn set_probed(&self, healthy: bool) {
        self.probed_down.store(!healthy, Ordering::Relaxed);
    }

    /// How many of its calls are under way, and who waits.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Its breaker, for whoever shows or forces it.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Who runs it.
    pub(crate) fn provider(&self) -> &ProviderKind {
        &self.spec.target.provider.kind
    }

    /// Who runs it, by its name.
    pub(crate) fn provider_name(&self) -> &Arc<str> {
        &self.spec.target.provider.name
    }

    /// What the provider calls its model.
    pub(crate) fn upstream_model(&self) -> &Arc<str> {
        &self.spec.target.upstream_model
    }

    /// Where its calls go.
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Longest wait for a connection.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    pub(crate) fn model_header(&self) -> &HeaderValue {
        &self.model_header
    }

    pub(crate) fn release_header(&self) -> &HeaderValue {
        &self.release_header
    }

    /// The series that its evidence goes to: its own, and its model's.
    pub(crate) fn series(&self) -> [&Standard; 2] {
        [&self.series, &self.model_series]
    }

    /// Counts and logs what happened to the breaker since the last time.
    pub(crate) fn tell_events(&self) {
        for event in self.breaker.take_events() {
            if let BreakerEventKind::StateTransition { from, to } = event.kind {
                self.metrics.breaker_went(to);
                tracing::info!(
                    model = &**self.model(),
                    release = &**self.name(),
                    from = from.as_str(),
                    to = to.as_str(),
                    "breaker changed"
                );
            }
        }
    }
}

/// A name of the configuration as a header. Names are checked to be visible
/// ASCII; should that rule ever be relaxed, the header says that it cannot
/// say.
fn header(name: &str) -> HeaderValue {
    HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("?"))
}

/// The hash by which [`Model::pick`] assigns a caller.
pub(crate) fn caller_hash(model: &str, caller: &str) -> u32 {
    split::hash(model, caller)
}
