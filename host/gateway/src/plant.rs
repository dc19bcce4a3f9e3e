//! The plant: everything that a request needs, in one immutable piece.
//!
//! Built whole from a configuration, put in place by one pointer, loaded once
//! by each request. What must survive a reload (breakers, shares, evidence,
//! connections) is shared with the plant before; nothing in here changes by
//! itself.

use crate::config::{self, Config, Name, RouteKind};
use crate::evidence::Standard;
use crate::features::Features;
use crate::gateway::{ApplyProblem, Shared};
use crate::release::{self, Model};
use crate::targets::Targets;
use crate::telemetry::{PolicyMetrics, RouteMetrics};
use crate::upstream::Simulated;
use backstop::PolicyHandle;
use backstop::record::DecisionPoint;
use backstop_core::budget::Budget;
use backstop_core::evidence::SubjectRef;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The running state that one configuration asks for.
#[derive(Debug)]
pub struct Plant {
    config: Arc<Config>,
    built_ms: u64,
    models: BTreeMap<Name, Arc<Model>>,
    routes: HashMap<Name, Arc<Route>>,
    targets: Targets,
}

/// One route, with everything that it names resolved.
#[derive(Debug)]
pub struct Route {
    spec: Arc<config::Route>,
    models: Box<[Arc<Model>]>,
    rule_names: Arc<[Arc<str>]>,
    fallback: Option<Asked>,
    threshold: Option<Asked>,
    shows_bodies: bool,
    metrics: Arc<RouteMetrics>,
    series: Standard,
    features: Features,
    complaints: Complaints,
    retries: Budget,
    hedges: Budget,
    /// One request at a time calls the least bad model.
    least_bad: Semaphore,
}

/// Keeps an outage from flooding the log: one line a second for each route,
/// which says how many were left out.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    last_s: AtomicU64,
    left_out: AtomicU64,
}

impl Complaints {
    /// How many lines were left out since the last one; none when this one is
    /// to be left out too.
    pub(crate) fn turn(&self, now_ms: u64) -> Option<u64> {
        let now_s = now_ms / 1_000;
        if self.last_s.swap(now_s, Ordering::Relaxed) == now_s {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            None
        } else {
            Some(self.left_out.swap(0, Ordering::Relaxed))
        }
    }
}

/// A policy that a route or a rollout asks.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    handle: PolicyHandle,
    metrics: Arc<PolicyMetrics>,
}

impl Asked {
    pub(crate) fn new(handle: PolicyHandle, metrics: Arc<PolicyMetrics>) -> Self {
        Asked { handle, metrics }
    }

    pub(crate) fn handle(&self) -> &PolicyHandle {
        &self.handle
    }

    pub(crate) fn metrics(&self) -> &PolicyMetrics {
        &self.metrics
    }
}

/// Models and targets of a plant that is being built, before its policies are
/// activated.
pub(crate) struct Machines {
    pub(crate) models: BTreeMap<Name, Arc<Model>>,
    pub(crate) targets: Targets,
}

impl Machines {
    /// The models of `config`. Those whose configuration `before` has too are
    /// taken over as they are.
    ///
    /// # Errors
    ///
    /// Every target that cannot be called.
    pub(crate) fn build(
        config: &Config,
        before: Option<&Plant>,
        shared: &Shared,
    ) -> Result<Self, Vec<ApplyProblem>> {
        let mut problems = Vec::new();
        let mut targets = Targets::for_config(
            config,
            before.map(|plant| &plant.targets),
            &shared.telemetry,
        );
        let mut models = BTreeMap::new();
        for (name, spec) in &config.models {
            let known = before.and_then(|plant| plant.models.get(name));
            let parts = release::Parts {
                clock: shared.clock,
                upstream: &shared.upstream,
                telemetry: &shared.telemetry,
                evidence: &shared.evidence,
                incidents: &shared.incidents,
            };
            let model = match Model::build(spec, known.map(|known| &**known), &mut targets, &parts)
            {
                Ok(model) => Arc::new(model),
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            models.insert(name.clone(), model);
        }
        if problems.is_empty() {
            Ok(Machines { models, targets })
        } else {
            Err(problems)
        }
    }
}

impl Plant {
    /// The plant of `config` on `machines`, once its policies are active.
    ///
    /// # Errors
    ///
    /// Policies that are not active after all.
    pub(crate) fn build(
        config: Arc<Config>,
        machines: Machines,
        shared: &Shared,
    ) -> Result<Self, Vec<ApplyProblem>> {
        let mut problems = Vec::new();
        let mut routes = HashMap::with_capacity(config.routes.len());
        for (name, spec) in &config.routes {
            match Route::build(spec, &config, &machines.models, shared) {
                Ok(route) => {
                    routes.insert(name.clone(), Arc::new(route));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Plant {
            built_ms: shared.clock.now_ms(),
            config,
            models: machines.models,
            routes,
            targets: machines.targets,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// When it was built, in milliseconds since the Unix epoch.
    pub fn built_ms(&self) -> u64 {
        self.built_ms
    }

    /// Its models, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// The simulated provider of this name, to change it while it runs: for
    /// demonstrations and drills. A reload that does not change the provider's
    /// configuration keeps it.
    pub fn simulated(&self, provider: &str) -> Option<&Arc<Simulated>> {
        self.targets.simulated(provider)
    }

    /// Its routes, by name.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.config
            .routes
            .keys()
            .filter_map(|name| self.routes.get(name))
    }

    /// The route of this name.
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }

    pub(crate) fn body_bytes_max(&self) -> usize {
        self.config.server.body_bytes_max
    }
}

impl Route {
    fn build(
        spec: &Arc<config::Route>,
        config: &Config,
        models: &BTreeMap<Name, Arc<Model>>,
        shared: &Shared,
    ) -> Result<Self, ApplyProblem> {
        let asked = |name: &Option<Name>, point| match name {
            None => Ok(None),
            Some(name) => shared.asked(name, point).map(Some),
        };
        let shows_bodies = [&spec.fallback, &spec.threshold]
            .into_iter()
            .flatten()
            .filter_map(|name| config.policies.get(name))
            .any(|policy| policy.options.grants.bodies);
        Ok(Route {
            models: spec
                .models
                .iter()
                .filter_map(|model| models.get(&model.name).cloned())
                .collect(),
            rule_names: spec.rules.iter().map(|rules| rules.name.clone()).collect(),
            fallback: asked(&spec.fallback, DecisionPoint::Fallback)?,
            threshold: asked(&spec.threshold, DecisionPoint::Threshold)?,
            shows_bodies,
            metrics: shared.telemetry.route(&spec.name),
            series: shared.evidence.of(SubjectRef::Route(&spec.name)),
            features: Features::build(spec, &shared.evidence),
            complaints: Complaints::default(),
            least_bad: Semaphore::new(1),
            retries: Budget::new(spec.retry.budget, shared.clock.now_ms()),
            hedges: Budget::new(spec.hedge.budget, shared.clock.now_ms()),
            spec: spec.clone(),
        })
    }

    /// Whether the log hears of one more request that went wrong.
    pub(crate) fn complaints(&self) -> &Complaints {
        &self.complaints
    }

    /// The turn to call the least bad model; none while another request has it.
    pub(crate) fn least_bad(&self) -> Option<SemaphorePermit<'_>> {
        self.least_bad.try_acquire().ok()
    }

    /// The budget of its repetitions.
    pub(crate) fn retries(&self) -> &Budget {
        &self.retries
    }

    /// The budget of its calls beyond the first of a race.
    pub(crate) fn hedges(&self) -> &Budget {
        &self.hedges
    }

    /// What it was built from.
    pub fn spec(&self) -> &config::Route {
        &self.spec
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    /// What it speaks.
    pub fn kind(&self) -> RouteKind {
        self.spec.kind
    }

    /// Its models in the order of the configuration.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// Its model of this name.
    pub(crate) fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.iter().find(|model| **model.name() == *name)
    }

    pub(crate) fn rule_names(&self) -> &Arc<[Arc<str>]> {
        &self.rule_names
    }

    /// Position of the rules of this name.
    pub(crate) fn rules_position(&self, name: &str) -> Option<usize> {
        self.rule_names.iter().position(|known| **known == *name)
    }

    pub(crate) fn fallback(&self) -> Option<&Asked> {
        self.fallback.as_ref()
    }

    pub(crate) fn threshold(&self) -> Option<&Asked> {
        self.threshold.as_ref()
    }

    /// True when one of its policies may read bodies.
    pub(crate) fn shows_bodies(&self) -> bool {
        self.shows_bodies
    }

    /// True when the text of streams is needed after they have passed.
    pub(crate) fn keeps_text(&self) -> bool {
        let judges = self.threshold.is_some() && (self.spec.review || self.shows_bodies);
        judges || self.features.needs_answer_text()
    }

    /// True while the traffic of one of its models is split.
    pub(crate) fn splits(&self) -> bool {
        self.models.iter().any(|model| model.is_split())
    }

    /// What is watched in its requests and answers.
    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn metrics(&self) -> &Arc<RouteMetrics> {
        &self.metrics
    }

    pub(crate) fn series(&self) -> &Standard {
        &self.series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_a_second_with_what_was_left_out() {
        let complaints = Complaints::default();
        let told: Vec<_> = [5_000, 5_001, 5_999, 6_000, 6_500, 9_000]
            .map(|now_ms| complaints.turn(now_ms))
            .into_iter()
            .collect();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
