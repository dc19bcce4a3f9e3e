//! Applying a configuration: everything of it, or nothing.
//!
//! The order: read the components, build the models, check every policy that
//! is new or changed, activate those, build the routes, swap the plant, and
//! only then let go of what is no longer named. Up to the activation nothing
//! that serves is touched; an activation that fails after its check is undone.

use super::{Gateway, Shared};
use crate::callback;
use crate::components::{self, ComponentError};
use crate::config::{Config, Name, Policy};
use crate::features;
use crate::feedback;
use crate::outbox::Channel;
use crate::plant::{Machines, Plant};
use crate::store::{Activation, Store};
use crate::upstream::TargetError;
use backstop::record::DecisionPoint;
use backstop::{ActivationError, ActivationRequest, PolicyOptions, RevisionInfo};
use backstop_core::evidence::SeriesError;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A policy as this gateway activated it last.
#[derive(Debug, Clone)]
pub(super) struct Active {
    component: Arc<[u8]>,
    options: PolicyOptions,
}

/// What applying a configuration changed.
#[derive(Debug, Default)]
pub struct Applied {
    /// Policies that were activated, with their new revisions.
    pub activated: Vec<RevisionInfo>,
    /// Policies that are no longer there.
    pub removed: Vec<Arc<str>>,
    /// Keys that differ from those of the start and take effect at the next
    /// one only.
    pub needs_restart: Vec<&'static str>,
}

/// Why a configuration was not applied. What served before still serves.
#[derive(Debug)]
pub struct ApplyError {
    /// Everything that is wrong.
    pub problems: Vec<ApplyProblem>,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("apply the configuration:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
            let mut cause = std::error::Error::source(problem);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl std::error::Error for ApplyError {}

impl From<Vec<ApplyProblem>> for ApplyError {
    fn from(problems: Vec<ApplyProblem>) -> Self {
        ApplyError { problems }
    }
}

/// One thing that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApplyProblem {
    /// A component cannot be read.
    #[error("policy `{policy}`")]
    Component {
        /// The policy.
        policy: Name,
        /// Why.
        #[source]
        source: ComponentError,
    },
    /// A policy cannot be activated.
    #[error(transparent)]
    Activation(ActivationError),
    /// A release cannot be called.
    #[error("release `{release}` of model `{model}`")]
    Target {
        /// The model.
        model: Name,
        /// The release.
        release: Name,
        /// Why.
        #[source]
        source: TargetError,
    },
    /// A model has no stable release.
    #[error("model `{0}` has no stable release")]
    NoStable(Name),
    /// A policy that is asked is not active.
    #[error("policy `{0}` is not active")]
    NotActive(String),
    /// A metric of a route's feedback cannot be counted: there are too many, or
    /// it was of another kind since the start.
    #[error("feedback of route `{route}`")]
    Metric {
        /// The route.
        route: Name,
        /// Why.
        #[source]
        source: SeriesError,
    },
    /// The metric of a route's feature is of another kind elsewhere, or since
    /// the start, or there are too many.
    #[error("features of route `{route}`")]
    Feature {
        /// The route.
        route: Name,
        /// Why.
        #[source]
        source: SeriesError,
    },
    /// The metric of an objective is not known, or of another kind.
    #[error("objective `{objective}`")]
    Objective {
        /// The objective.
        objective: Name,
        /// Why.
        #[source]
        source: SeriesError,
    },
    /// The queries to Prometheus are too many metrics.
    #[error("queries of `prometheus`")]
    Query(#[source] SeriesError),
    /// A policy does not decide what it is asked.
    #[error("policy `{policy}` does not decide at `{point}`; bind one that exports it")]
    WrongPoint {
        /// The policy.
        policy: String,
        /// Where it is asked.
        point: DecisionPoint,
    },
}

/// A policy that is new or changed.
struct Change<'a> {
    spec: &'a Policy,
    component: Arc<[u8]>,
    /// Where the new configuration asks it.
    points: Vec<DecisionPoint>,
}

impl Change<'_> {
    fn request(&self, number_before: u64) -> ActivationRequest {
        ActivationRequest {
            options: self.spec.options.clone(),
            points: self.points.clone(),
            number_before,
        }
    }
}

impl Gateway {
    /// Puts `config` into force: every policy, model, route and rollout of it.
    /// One configuration is applied at a time.
    ///
    /// Only policies whose component or options changed are activated; what an
    /// operator activated by hand stays until then. Breakers, evidence, shares
    /// and connections of releases that did not change go on as they were.
    ///
    /// # Errors
    ///
    /// Everything that cannot be served; what served before still serves.
    pub async fn apply(&self, config: Config) -> Result<Applied, ApplyError> {
        let shared = &self.shared;
        let mut active = shared.active.lock().await;
        let before = shared.plant.load_full();
        let config = Arc::new(config);
        let mut problems = Vec::new();

        for route in config.routes.values() {
            let declared = route.feedback.as_ref();
            let declared = declared.map(|known| feedback::declare(&shared.evidence, known));
            if let Some(Err(source)) = declared {
                let route = route.name.clone();
                problems.push(ApplyProblem::Metric { route, source });
            }
        }
        for route in config.routes.values() {
            let declared = features::declare(&shared.evidence, &route.features);
            if let Err(source) = declared {
                let route = route.name.clone();
                problems.push(ApplyProblem::Feature { route, source });
            }
        }
        let asked = config.prometheus.as_deref();
        let declared = asked.map(|asked| shared.prometheus.declare(asked));
        problems.extend(declared.and_then(Result::err).map(ApplyProblem::Query));
        let objectives = shared.objectives.prepare(&config);
        let objectives = objectives.map_err(|more| problems.extend(more)).ok();
        let changes = changes(shared, &config, &active, &mut problems).await;
        let machines = match Machines::build(&config, before.as_deref(), shared) {
            Ok(machines) => Some(machines),
            Err(more) => {
                problems.extend(more);
                None
            }
        };
        // At the start nothing serves that a check could protect, and loading
        // every policy twice would only take time.
        if before.is_some() {
            for change in &changes {
                let component = change.component.clone();
                let checked = shared
                    .host
                    .check(&change.spec.name, component, change.request(0));
                problems.extend(checked.await.err().map(ApplyProblem::Activation));
            }
        }
        let Some(machines) = machines.filter(|_| problems.is_empty()) else {
            return Err(problems.into());
        };
        let activated = activate(shared, &changes).await?;
        let plant = match Plant::build(config.clone(), machines, shared) {
            Ok(plant) => Arc::new(plant),
            Err(problems) => {
                undo(shared, &activated);
                return Err(problems.into());
            }
        };
        shared.plant.store(Some(plant));
        shared.outbox.set_channels(channels(&config));
        shared.feedback.set_routes(&config);
        shared.prometheus.set(config.prometheus.as_ref());
        if let Some(objectives) = objectives {
            shared.objectives.set(objectives);
            shared.objectives.look(shared.clock.now_ms()).await;
        }

        for change in changes {
            let now = Active {
                component: change.component,
                options: change.spec.options.clone(),
            };
            active.insert(change.spec.name.clone(), now);
        }
        let removed = let_go(shared, &config, &mut active);
        crate::rollouts::reconcile(self).await;
        note(shared, &config, &activated).await;
        // Series of releases and routes that are gone for good make room.
        shared.evidence.store().sweep(shared.clock.now_ms());
        Ok(Applied {
            needs_restart: needs_restart(
                shared.started_with.get_or_init(|| config.clone()),
                &config,
            ),
            activated,
            removed,
        })
    }
}

/// The policies of `config` that are not active as it wants them. One that is
/// but does not decide where it is now asked is a problem.
async fn changes<'a>(
    shared: &Shared,
    config: &'a Config,
    active: &BTreeMap<Arc<str>, Active>,
    problems: &mut Vec<ApplyProblem>,
) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for spec in config.policies.values() {
        let read = components::read(&spec.component, config.sandbox.component_bytes_max).await;
        match read {
            Ok(component) => {
                let same = active.get(&spec.name).is_some_and(|active| {
                    active.component == component && active.options == spec.options
                });
                let points = config.points(&spec.name);
                if same {
                    // It is not loaded again, but may now be asked elsewhere.
                    let asked = points
                        .into_iter()
                        .map(|point| shared.asked(&spec.name, point));
                    problems.extend(asked.filter_map(Result::err));
                } else {
                    changes.push(Change {
                        spec,
                        component,
                        points,
                    });
                }
            }
            Err(source) => problems.push(ApplyProblem::Component {
                policy: spec.name.clone(),
                source,
            }),
        }
    }
    changes
}

/// Activates every change, or none.
async fn activate(
    shared: &Shared,
    changes: &[Change<'_>],
) -> Result<Vec<RevisionInfo>, ApplyError> {
    let mut activated = Vec::new();
    let mut problems = Vec::new();
    for change in changes {
        let number_before = last_revision(&*shared.store, &change.spec.name).await;
        let activation = shared
            .host
            .activate(
                &change.spec.name,
                change.component.clone(),
                change.request(number_before),
            )
            .await;
        match activation {
            Ok(revision) => activated.push(revision),
            Err(error) => problems.push(ApplyProblem::Activation(error)),
        }
    }
    if problems.is_empty() {
        Ok(activated)
    } else {
        undo(shared, &activated);
        Err(problems.into())
    }
}

/// The number after which revisions of `policy` are counted on. Without a store
/// that tells, they begin anew: an activation does not wait for a disk.
pub(crate) async fn last_revision(store: &dyn Store, policy: &str) -> u64 {
    store.last_revision(policy).await.unwrap_or_else(|error| {
        tracing::warn!(
            policy,
            error = &error as &dyn std::error::Error,
            "failed to find the last revision; its numbers may be given twice"
        );
        0
    })
}

/// Takes activations back: to the revision before, or away where there was none.
fn undo(shared: &Shared, activated: &[RevisionInfo]) {
    for revision in activated.iter().rev() {
        if shared.host.roll_back(&revision.policy, None).is_err() {
            shared.host.remove(&revision.policy);
        }
    }
}

/// Removes policies that this gateway activated and the configuration no
/// longer names.
fn let_go(
    shared: &Shared,
    config: &Config,
    active: &mut BTreeMap<Arc<str>, Active>,
) -> Vec<Arc<str>> {
    let gone: Vec<Arc<str>> = active
        .keys()
        .filter(|name| !config.policies.contains_key(*name))
        .cloned()
        .collect();
    for name in &gone {
        active.remove(name);
        shared.host.remove(name);
    }
    gone
}

/// Notes activations in the store. They are in force whether or not that works.
async fn note(shared: &Shared, config: &Config, activated: &[RevisionInfo]) {
    for revision in activated {
        let source = config
            .policies
            .get(&revision.policy)
            .map_or_else(String::new, |policy| policy.component.to_string());
        let activation = Activation {
            id: 0,
            policy: revision.policy.to_string(),
            revision: revision.number,
            digest: revision.digest.to_string(),
            component_digest: revision.component_digest.to_string(),
            options: revision.options.clone(),
            at_ms: revision.activated_ms,
            by: "configuration".to_owned(),
            source,
        };
        if let Err(error) = shared.store.add_activation(activation).await {
            tracing::warn!(
                policy = &*revision.policy,
                error = &error as &dyn std::error::Error,
                "failed to note an activation"
            );
        }
    }
}

/// How messages to other systems are sent.
fn channels(config: &Config) -> BTreeMap<&'static str, Channel> {
    let routes = config.routes.values();
    let own = routes.filter_map(|route| route.callback_allow.as_deref());
    callback::channel(&config.callbacks, own)
        .map(|channel| (callback::CHANNEL, channel))
        .into_iter()
        .collect()
}

/// What cannot change while the process runs.
fn needs_restart(started: &Config, now: &Config) -> Vec<&'static str> {
    let (old, new) = (&started.server, &now.server);
    [
        ("server.listen", old.listen != new.listen),
        ("server.admin", old.admin != new.admin),
        ("server.admin_token", old.admin_token != new.admin_token),
        ("server.data_dir", old.data_dir != new.data_dir),
        ("sandbox", started.sandbox != now.sandbox),
        ("telemetry", started.telemetry != now.telemetry),
    ]
    .into_iter()
    .filter_map(|(section, changed)| changed.then_some(section))
    .collect()
}
