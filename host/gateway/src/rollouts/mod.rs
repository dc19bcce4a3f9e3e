//! Rollouts as they run: assessed on every tick, moved by policies and people.
//!
//! What may happen to a rollout is decided by `backstop-core`'s state machine;
//! this module asks the rollback policy, writes each change to the store,
//! and moves the model's traffic by one pointer. In reading order: `reconcile`
//! (what a configuration asks for), `history` (where the store says that a
//! rollout stands), `tick` (assessments), `change` (how a change comes into
//! force), `status` (what the admin plane and policies see).
//!
//! Always holds:
//!
//! - a change that gives a candidate more is in the store before it is in
//!   force; a change that takes from it is in force at once, waits for nothing,
//!   and is written as soon as the store takes it;
//! - the store has the changes of a rollout in the order in which they happened;
//! - a change that has begun goes on to its end whatever becomes of who asked;
//! - a candidate of which it is not known where it stands gets nothing;
//! - after a restart or a reload a rollout stands where it stood, and one that
//!   ended stays ended: the next try of a candidate is another release;
//! - a model has one rollout, and one assessment at a time.

mod change;
mod history;
mod reconcile;
mod status;
mod tick;

pub(crate) use reconcile::reconcile;

use backstop::DecisionId;
use backstop_core::rollout::{Rollout, RolloutEvent, RolloutPlan, RolloutStatus, TakeUp, take_up};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long a change waits for the store or for another change of the same
/// rollout, before whoever asked for it is told so: longer than a busy disk
/// takes for a commit, shorter than the patience of a person.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// The rollouts of a gateway, by model.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    by_model: Mutex<BTreeMap<Arc<str>, Arc<Moving>>>,
    /// Held while one plant is reconciled.
    reconciling: tokio::sync::Mutex<()>,
}

impl Rollouts {
    fn of(&self, model: &str) -> Option<Arc<Moving>> {
        self.by_model.lock().get(model).cloned()
    }
}

/// The rollout of one model, and its ticks.
#[derive(Debug)]
struct Moving {
    model: Arc<str>,
    /// The turn to write: held while events go to the store, one after the
    /// other. Never waited for by a change that takes from the candidate.
    writing: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    ticks: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct State {
    /// What the configuration asks for, or asked for last.
    plan: RolloutPlan,
    /// False once the configuration has no rollout of this model any more.
    wanted: bool,
    standing: Standing,
    last: Option<LastWord>,
    /// Changes that are in force and not in the store yet, oldest first. A few
    /// at most: what gives waits until there is none, so that only new limits,
    /// a pause and an end can stand here.
    unwritten: VecDeque<RolloutEvent>,
}

#[derive(Debug)]
enum Standing {
    /// In force as the events say.
    At(Rollout),
    /// The candidate gets nothing: where it stood cannot be read, or that it
    /// began cannot be written. Tried again on every tick.
    Waiting { why: String },
}

/// What was last said about a rollout.
#[derive(Debug, Clone)]
struct LastWord {
    directive: String,
    reason: String,
    decision: Option<DecisionId>,
}

impl LastWord {
    fn of(event: &RolloutEvent) -> Self {
        LastWord {
            directive: event.change.as_str().to_owned(),
            reason: event.reason.clone(),
            decision: None,
        }
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        if let Some(ticks) = self.ticks.get_mut().take() {
            ticks.abort();
        }
    }
}

impl Moving {
    fn new(plan: RolloutPlan) -> Self {
        Moving {
            model: plan.model.clone(),
            writing: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                plan,
                wanted: true,
                standing: Standing::Waiting {
                    why: "its history has not been read yet".to_owned(),
                },
                last: None,
                unwritten: VecDeque::new(),
            }),
            ticks: Mutex::new(None),
        }
    }

    /// The turn to write; none when another change keeps it for too long.
    async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        tokio::time::timeout(STORE_WAIT, self.writing.lock())
            .await
            .ok()
    }
}

impl State {
    /// The rollout, unless it waits.
    fn rollout(&self) -> Option<&Rollout> {
        match &self.standing {
            Standing::At(rollout) => Some(rollout),
            Standing::Waiting { .. } => None,
        }
    }

    /// The rollout, when it is the one that the configuration asks for.
    fn current(&self) -> Option<&Rollout> {
        self.rollout()
            .filter(|rollout| take_up(Some(rollout), &self.plan) != TakeUp::Begin)
    }

    /// True when it is not as the configuration wants it, or not in the store
    /// as it is.
    fn is_unsettled(&self) -> bool {
        let as_wanted = self
            .rollout()
            .is_some_and(|rollout| take_up(Some(rollout), &self.plan) == TakeUp::Keep);
        !self.unwritten.is_empty() || (self.wanted && !as_wanted)
    }

    /// The release that serves whatever the candidate does not.
    fn serving(&self) -> &Arc<str> {
        let rollout = self.rollout().filter(|rollout| {
            // What ended against another stable release says nothing about
            // who serves now, unless it made the candidate the stable one.
            rollout.plan().stable == self.plan.stable
                || *rollout.status() == RolloutStatus::Promoted
        });
        rollout.map_or(&self.plan.stable, Rollout::serving)
    }

    /// The candidate and its share in percent, while it has one.
    fn trying(&self) -> Option<(&Arc<str>, u32)> {
        self.rollout()
            .filter(|rollout| !rollout.status().is_end())
            .map(|rollout| (&rollout.plan().candidate, rollout.share_percent()))
    }
}
