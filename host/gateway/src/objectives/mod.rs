//! Objectives: the shares of good events that are promised, and the alerts while
//! there is still budget to save.
//!
//! `[objectives.NAME]` says what is promised. `watched` counts for one of them
//! from where its events are recorded and judges by `backstop_core::slo`; this
//! is all of them, and the task that looks at them every [`TICK`]. What changes
//! is told (`tell`), what stands is kept over restarts (`kept`) and shown to
//! policies, operators and scrapes (`report`).
//!
//! Always holds:
//! - an alert that begins to fire is told once, also over a restart; silence
//!   ends none;
//! - a configuration is taken whole or not at all, and what it does not change
//!   goes on counting;
//! - readers never wait: they see what the last look found;
//! - a process that is killed loses the counts of the last minute, never an
//!   alert.

mod kept;
mod report;
mod tell;
mod watched;

pub(crate) use report::length;
pub use report::{AlertWord, CountReport, ObjectiveReport, WindowReport};

use crate::chain::chain;
use crate::clock::Clock;
use crate::config::{self, Config, Name};
use crate::evidence::Evidence;
use crate::gateway::ApplyProblem;
use crate::store::{Incidents, Store};
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use backstop_core::evidence::Tap;
use backstop_core::metric::{MetricsError, ObjectiveStatus};
use kept::Kept;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use watched::Watched;

/// How often objectives are looked at: the width of a tick of their history.
pub const TICK: Duration = Duration::from_secs(10);
/// How often counts are kept; a change of an alert is kept at once.
const KEEP_EVERY_MS: u64 = 60_000;
/// How long keeping may take; it is tried again later.
const KEEP_WAIT: Duration = Duration::from_secs(5);

/// The objectives of a gateway.
pub(crate) struct Objectives {
    inner: Arc<Inner>,
    running: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    evidence: Arc<Evidence>,
    store: Arc<dyn Store>,
    incidents: Incidents,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    watched: Mutex<BTreeMap<Name, Watched>>,
    /// What the last look found.
    found: ArcSwap<Found>,
    /// What the store had at the start, for the first configuration.
    restored: Mutex<HashMap<String, Kept>>,
    looking: tokio::sync::Mutex<Looked>,
}

/// When was looked and kept last, in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
struct Looked {
    looked_ms: u64,
    kept_ms: u64,
    /// The names that the store knows.
    kept: Vec<String>,
}

type Found = BTreeMap<Name, (ObjectiveStatus, ObjectiveReport)>;

/// The objectives of a configuration that can be served, before it is.
pub(crate) struct Prepared(Vec<(Arc<config::Objective>, Option<Tap>)>);

impl Objectives {
    /// Watches nothing before [`Objectives::set`]; reads what `store` kept. What
    /// cannot be read is left out with a warning.
    pub(crate) async fn load(
        evidence: Arc<Evidence>,
        store: Arc<dyn Store>,
        incidents: Incidents,
        telemetry: Arc<Telemetry>,
        clock: Clock,
    ) -> Objectives {
        let (kept, restored) = kept::read(&*store).await;
        Objectives {
            inner: Arc::new(Inner {
                evidence,
                store,
                incidents,
                telemetry,
                clock,
                watched: Mutex::default(),
                found: ArcSwap::default(),
                restored: Mutex::new(restored),
                looking: tokio::sync::Mutex::new(Looked {
                    kept,
                    ..Looked::default()
                }),
            }),
            running: Mutex::new(None),
        }
    }

    /// Sees whether every objective of `config` can be counted. Changes nothing.
    ///
    /// # Errors
    ///
    /// Every objective whose metric is not known, or of another kind.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, Vec<ApplyProblem>> {
        let (mut prepared, mut problems) = (Vec::new(), Vec::new());
        for objective in config.objectives.values() {
            let counts = {
                let watched = self.inner.watched.lock();
                let known = watched.get(&objective.name);
                known.is_some_and(|known| known.counts_as(objective))
            };
            if counts {
                prepared.push((objective.clone(), None));
                continue;
            }
            match watched::tap(&self.inner.evidence, objective) {
                Ok(tap) => prepared.push((objective.clone(), Some(tap))),
                Err(source) => problems.push(ApplyProblem::Objective {
                    objective: objective.name.clone(),
                    source,
                }),
            }
        }
        match problems.is_empty() {
            true => Ok(Prepared(prepared)),
            false => Err(problems),
        }
    }

    /// Watches what was prepared, and nothing else, from now on. Must not run
    /// beside another call.
    pub(crate) fn set(&self, prepared: Prepared) {
        let mut watched = self.inner.watched.lock();
        let mut before = std::mem::take(&mut *watched);
        let mut restored = std::mem::take(&mut *self.inner.restored.lock());
        for (objective, tap) in prepared.0 {
            let name = objective.name.clone();
            let one = match (before.remove(&name), tap) {
                (Some(known), None) => known.with(objective),
                (known, Some(tap)) => {
                    if known.is_some() {
                        tracing::info!(
                            objective = &*name,
                            "objective counts something else now; it starts anew"
                        );
                    }
                    Watched::new(objective, tap, restored.remove(&*name))
                }
                // What counts the same was there when it was prepared, and
                // configurations are applied one at a time.
                (None, None) => continue,
            };
            watched.insert(name, one);
        }
        for name in before.keys() {
            tracing::info!(objective = &**name, "objective removed");
        }
    }

    /// Looks at all objectives now, and tells and keeps what has changed. A
    /// moment before that of the last look is left out.
    pub(crate) async fn look(&self, now_ms: u64) {
        self.inner.look(now_ms, false).await;
    }

    /// Starts to look. Must be called within a tokio runtime.
    pub(crate) fn start(&self) {
        let inner = self.inner.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                inner.look(inner.clock.now_ms(), false).await;
            }
        });
        if let Some(before) = self.running.lock().replace(task) {
            before.abort();
        }
    }

    /// Looks a last time and keeps everything, some seconds at most.
    pub(crate) async fn finish(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.abort();
            self.inner.look(self.inner.clock.now_ms(), true).await;
        }
    }

    /// How the objective of this name stands, for policies.
    ///
    /// # Errors
    ///
    /// `Unknown` with its name when there is none.
    pub(crate) fn status(&self, name: &str) -> Result<ObjectiveStatus, MetricsError> {
        let found = self.inner.found.load();
        let found = found.get(name).map(|(status, _)| *status);
        found.ok_or_else(|| MetricsError::Unknown(name.to_owned()))
    }

    /// All objectives with the numbers behind them, by name.
    pub(crate) fn reports(&self) -> Vec<ObjectiveReport> {
        let found = self.inner.found.load();
        found.values().map(|(_, report)| report.clone()).collect()
    }
}

impl Drop for Objectives {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut() {
            running.abort();
        }
    }
}

impl Inner {
    async fn look(&self, now_ms: u64, keep_all: bool) {
        let mut looked = self.looking.lock().await;
        let now_ms = match keep_all {
            true => now_ms.max(looked.looked_ms),
            false if now_ms < looked.looked_ms => return,
            false => now_ms,
        };
        looked.looked_ms = now_ms;
        let (changed, found, names) = {
            let mut watched = self.watched.lock();
            let changed: Vec<_> = watched.values_mut().map(|one| one.look(now_ms)).collect();
            let found: Found = watched
                .iter()
                .map(|(name, one)| (name.clone(), (one.status(), one.report())))
                .collect();
            let names: Vec<String> = watched.keys().map(ToString::to_string).collect();
            (changed, found, names)
        };
        self.found.store(Arc::new(found));
        for changes in &changed {
            tell::tell(changes, &self.incidents, &self.telemetry);
        }
        let is_changed = changed.iter().any(|changes| !changes.is_empty());
        let is_due = now_ms.saturating_sub(looked.kept_ms) >= KEEP_EVERY_MS;
        if keep_all || is_due || is_changed || looked.kept != names {
            self.keep(&mut looked, names).await;
        }
    }

    async fn keep(&self, looked: &mut Looked, names: Vec<String>) {
        let rows: Vec<_> = {
            let mut watched = self.watched.lock();
            watched.values_mut().filter_map(Watched::changed).collect()
        };
        if rows.is_empty() && looked.kept == names {
            looked.kept_ms = looked.looked_ms;
            return;
        }
        let tried: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        let keeping = self.store.keep_objectives(rows, names.clone());
        let why = match tokio::time::timeout(KEEP_WAIT, keeping).await {
            Ok(Ok(())) => {
                looked.kept_ms = looked.looked_ms;
                looked.kept = names;
                return;
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("the store did not answer within {KEEP_WAIT:?}"),
        };
        tracing::warn!(why, "failed to keep objectives; it is tried again");
        looked.kept_ms = 0;
        let mut watched = self.watched.lock();
        for name in tried {
            if let Some(one) = watched.get_mut(&*name) {
                one.keep_again();
            }
        }
    }
}
