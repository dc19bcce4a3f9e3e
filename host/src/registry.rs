//! Policies by name, and the revisions of each.
//!
//! The revision that serves is one pointer; a swap replaces it, and runs that
//! have begun end on the revision that they began with. Former revisions stay
//! ready, so going back compiles nothing. A failed activation changes nothing
//! but the note about it.

use crate::error::RollBackError;
use crate::record::{DecisionPoint, FailureKind, Fault, RunOutcome};
use crate::revision::{Revision, RevisionInfo};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One policy: its revisions and what became of its decisions.
pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    current: ArcSwap<Revision>,
    /// All revisions that are ready, in the order in which they would be gone
    /// back to: the serving one is the last, the one before it served before.
    ready: Mutex<Vec<Arc<Revision>>>,
    /// What was activated, oldest first; bounded by [`HISTORY_MAX`].
    history: Mutex<Vec<RevisionInfo>>,
    revisions_kept: usize,
    /// Where live traffic asks the policy, by decision point.
    asked: [AtomicBool; DecisionPoint::ALL.len()],
    /// Failures in a row of the serving revision, by decision point.
    failures_in_row: [AtomicU32; DecisionPoint::ALL.len()],
    suspended_until_ms: AtomicU64,
    /// The kind of failure that led to the suspension.
    suspended_for: Mutex<Option<FailureKind>>,
    decisions: AtomicU64,
    abstentions: AtomicU64,
    failures: [AtomicU64; FAILURE_KINDS.len()],
    last_failure: Mutex<Option<String>>,
    pub(crate) last_activation_error: Mutex<Option<String>>,
}

/// Most entries of a policy's history.
const HISTORY_MAX: usize = 256;

const FAILURE_KINDS: [FailureKind; 5] = [
    FailureKind::Trap,
    FailureKind::Deadline,
    FailureKind::Memory,
    FailureKind::InvalidOutput,
    FailureKind::Load,
];

/// A policy, to ask for decisions. Stays valid across activations and is
/// cheap to clone.
#[derive(Clone)]
pub struct PolicyHandle {
    pub(crate) slot: Arc<Slot>,
    pub(crate) standing: Standing,
}

/// Whether what a policy does with a question is held against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Failures in a row take it back.
    Counts,
    /// Neither failures nor successes have consequences.
    Without,
}

impl PolicyHandle {
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        PolicyHandle {
            slot,
            standing: Standing::Counts,
        }
    }

    /// The same policy, asked with facts that somebody outside made up: its
    /// decisions are recorded and counted as ever, but neither take it back or
    /// suspend it nor clear what it has failed before. Otherwise whoever may
    /// ask could find facts that make it fail, and take it away from the
    /// traffic that it serves.
    #[must_use]
    pub fn without_consequences(&self) -> Self {
        PolicyHandle {
            slot: self.slot.clone(),
            standing: Standing::Without,
        }
    }

    /// Name of the policy.
    pub fn name(&self) -> &Arc<str> {
        &self.slot.name
    }

    /// The revision that serves.
    pub fn serving(&self) -> RevisionInfo {
        self.slot.current().info.clone()
    }

    /// True when the serving revision decides at `point`.
    pub fn decides(&self, point: DecisionPoint) -> bool {
        self.slot.current.load().info.points.contains(&point)
    }
}

impl std::fmt::Debug for PolicyHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PolicyHandle")
            .field(&self.slot.name)
            .finish()
    }
}

/// How a policy is doing.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyStatus {
    /// Name of the policy.
    pub name: Arc<str>,
    /// The revision that serves.
    pub serving: RevisionInfo,
    /// Numbers of all revisions that are ready, oldest first.
    pub ready: Vec<u64>,
    /// Decisions that were asked of it since the host started.
    pub decisions: u64,
    /// Instances that its serving revision made for decisions: as many as it
    /// decided with fresh ones, and few where they are used again.
    pub instances: u64,
    /// Decisions in which it had no opinion.
    pub abstentions: u64,
    /// Decisions that failed, by kind.
    pub failures: Vec<(FailureKind, u64)>,
    /// True while it is not asked, because it failed too often.
    pub suspended: bool,
    /// The newest failure.
    pub last_failure: Option<String>,
    /// Why the newest activation failed; none when it succeeded.
    pub last_activation_error: Option<String>,
}

/// What follows from a policy's failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    None,
    /// The previous revision serves again.
    Reverted {
        from: u64,
        to: u64,
    },
    /// There is none; the policy is not asked for a while.
    Suspended,
}

impl Slot {
    fn new(name: Arc<str>, first: Arc<Revision>, revisions_kept: usize) -> Self {
        Slot {
            name,
            history: Mutex::new(vec![first.info.clone()]),
            ready: Mutex::new(vec![first.clone()]),
            current: ArcSwap::new(first),
            revisions_kept,
            asked: Default::default(),
            failures_in_row: Default::default(),
            suspended_until_ms: AtomicU64::new(0),
            suspended_for: Mutex::new(None),
            decisions: AtomicU64::new(0),
            abstentions: AtomicU64::new(0),
            failures: Default::default(),
            last_failure: Mutex::new(None),
            last_activation_error: Mutex::new(None),
        }
    }

    /// The revision that serves.
    pub(crate) fn current(&self) -> Arc<Revision> {
        self.current.load_full()
    }

    /// The ready revision that one would go back to from `number`.
    pub(crate) fn previous_to(&self, number: u64) -> Option<Arc<Revision>> {
        let ready = self.ready.lock();
        let position = ready
            .iter()
            .position(|revision| revision.info.number == number)?;
        position
            .checked_sub(1)
            .map(|previous| ready[previous].clone())
    }

    /// A ready revision with this digest.
    pub(crate) fn ready_with_digest(&self, digest: &str) -> Option<Arc<Revision>> {
        self.ready
            .lock()
            .iter()
            .find(|revision| *revision.info.digest == *digest)
            .cloned()
    }

    /// The highest number of a revision so far.
    pub(crate) fn last_number(&self) -> u64 {
        self.history
            .lock()
            .iter()
            .map(|info| info.number)
            .max()
            .unwrap_or(0)
    }

    /// Makes `revision` serve. One pointer.
    fn swap(&self, revision: Arc<Revision>) {
        revision.warm_up();
        let former = self.current.swap(revision.clone());
        self.forget_failures();
        self.suspended_until_ms.store(0, Ordering::Relaxed);
        if !Arc::ptr_eq(&former, &revision) {
            former.cool();
        }
    }

    fn forget_failures(&self) {
        for in_row in &self.failures_in_row {
            in_row.store(0, Ordering::Relaxed);
        }
    }

    fn activate(&self, revision: Arc<Revision>) {
        {
            let mut ready = self.ready.lock();
            ready.push(revision.clone());
            // The serving one and `revisions_kept` former ones; those that one
            // would go back to last are let go.
            let surplus = ready.len().saturating_sub(self.revisions_kept + 1);
            ready.drain(..surplus);
            let mut history = self.history.lock();
            history.push(revision.info.clone());
            let surplus = history.len().saturating_sub(HISTORY_MAX);
            history.drain(..surplus);
        }
        self.swap(revision);
        *self.last_activation_error.lock() = None;
    }

    fn roll_back(
        &self,
        to: Option<u64>,
        points: &[DecisionPoint],
    ) -> Result<Arc<Revision>, RollBackError> {
        let mut ready = self.ready.lock();
        let serving = ready.len() - 1;
        let position = match to {
            None => serving
                .checked_sub(1)
                .ok_or_else(|| RollBackError::NoPrevious(self.name.to_string()))?,
            Some(number) => {
                let found = ready
                    .iter()
                    .position(|revision| revision.info.number == number);
                found.ok_or_else(|| RollBackError::NotReady {
                    policy: self.name.to_string(),
                    number,
                    ready: numbers(&ready),
                })?
            }
        };
        let target = ready[position].clone();
        let exports = &target.info.points;
        if let Some(point) = points.iter().find(|point| !exports.contains(point)) {
            return Err(RollBackError::MissingPoint {
                policy: self.name.to_string(),
                number: target.info.number,
                point: *point,
            });
        }
        if position != serving {
            // Whoever goes back has rejected what served: it stays ready, but
            // nothing returns to it by itself.
            let rejected = ready.pop();
            let target = ready.remove(position);
            ready.splice(..0, rejected);
            ready.push(target);
        }
        self.swap(target.clone());
        Ok(target)
    }

    /// True while the policy is not asked.
    pub(crate) fn suspended(&self, now_ms: u64) -> bool {
        let until = self.suspended_until_ms.load(Ordering::Relaxed);
        until != 0 && now_ms < until
    }

    /// The kind of failure that the policy is suspended for.
    pub(crate) fn suspended_for(&self) -> Option<FailureKind> {
        *self.suspended_for.lock()
    }

    /// Counts how a run of `revision` at `point` ended, and takes the policy
    /// back when it failed too often in a row. What a revision does that serves
    /// no more counts for nobody's streak, nor does what has no consequences.
    pub(crate) fn note(
        &self,
        revision: &Arc<Revision>,
        point: DecisionPoint,
        outcome: &RunOutcome,
        standing: Standing,
        now_ms: u64,
    ) -> Consequence {
        self.decisions.fetch_add(1, Ordering::Relaxed);
        // Read first, as below.
        let asked = &self.asked[point as usize];
        if standing == Standing::Counts && !asked.load(Ordering::Relaxed) {
            asked.store(true, Ordering::Relaxed);
        }
        let in_row = &self.failures_in_row[point as usize];
        match outcome {
            RunOutcome::Answered => {}
            RunOutcome::Abstained { .. } => {
                self.abstentions.fetch_add(1, Ordering::Relaxed);
            }
            RunOutcome::Suspended => return Consequence::None,
            RunOutcome::Failed {
                kind,
                detail,
                fault,
                ..
            } => {
                self.failures[*kind as usize].fetch_add(1, Ordering::Relaxed);
                *self.last_failure.lock() = Some(format!("{}: {detail}", kind.as_str()));
                let counts = standing == Standing::Counts
                    && *fault == Fault::Policy
                    && Arc::ptr_eq(&self.current.load(), revision);
                if !counts {
                    return Consequence::None;
                }
                let in_row = in_row.fetch_add(1, Ordering::Relaxed) + 1;
                return self.after_failures(revision, in_row, *kind, now_ms);
            }
        }
        if standing == Standing::Without {
            return Consequence::None;
        }
        // Read first: the cache line stays shared while all is well.
        if in_row.load(Ordering::Relaxed) != 0 {
            in_row.store(0, Ordering::Relaxed);
        }
        Consequence::None
    }

    fn after_failures(
        &self,
        revision: &Arc<Revision>,
        in_row: u32,
        kind: FailureKind,
        now_ms: u64,
    ) -> Consequence {
        let revert = revision.info.options.revert;
        if revert.failures == 0 || in_row < revert.failures {
            return Consequence::None;
        }
        let from = revision.info.number;
        // Going back to a revision that does not decide where the policy is
        // asked would trade failures for others.
        let asked_at = |point: &DecisionPoint| self.asked[*point as usize].load(Ordering::Relaxed);
        let previous = self.previous_to(from).filter(|previous| {
            let mut asked = DecisionPoint::ALL.iter().filter(|point| asked_at(point));
            asked.all(|point| previous.info.points.contains(point))
        });
        let Some(previous) = previous else {
            *self.suspended_for.lock() = Some(kind);
            let until = now_ms.saturating_add(revert.suspend_ms.into());
            let before = self.suspended_until_ms.swap(until, Ordering::Relaxed);
            self.forget_failures();
            return if before > now_ms {
                Consequence::None
            } else {
                Consequence::Suspended
            };
        };
        previous.warm_up();
        let swapped = self.current.compare_and_swap(revision, previous.clone());
        // Somebody else was faster.
        if !Arc::ptr_eq(&swapped, revision) {
            return Consequence::None;
        }
        self.forget_failures();
        // What has failed is no place to go back to.
        self.ready.lock().retain(|ready| ready.info.number != from);
        revision.cool();
        Consequence::Reverted {
            from,
            to: previous.info.number,
        }
    }

    fn status(&self, now_ms: u64) -> PolicyStatus {
        let serving = self.current();
        PolicyStatus {
            name: self.name.clone(),
            instances: serving.instances.load(Ordering::Relaxed),
            serving: serving.info.clone(),
            ready: numbers(&self.ready.lock()),
            decisions: self.decisions.load(Ordering::Relaxed),
            abstentions: self.abstentions.load(Ordering::Relaxed),
            failures: FAILURE_KINDS
                .into_iter()
                .zip(&self.failures)
                .map(|(kind, count)| (kind, count.load(Ordering::Relaxed)))
                .collect(),
            suspended: self.suspended(now_ms),
            last_failure: self.last_failure.lock().clone(),
            last_activation_error: self.last_activation_error.lock().clone(),
        }
    }
}

/// The revisions' numbers, lowest first.
fn numbers(revisions: &[Arc<Revision>]) -> Vec<u64> {
    let mut numbers: Vec<u64> = revisions
        .iter()
        .map(|revision| revision.info.number)
        .collect();
    numbers.sort_unstable();
    numbers
}

/// All policies of a host.
pub(crate) struct Registry {
    slots: RwLock<BTreeMap<Arc<str>, Arc<Slot>>>,
    revisions_kept: usize,
}

impl Registry {
    pub(crate) fn new(revisions_kept: usize) -> Self {
        Registry {
            slots: RwLock::default(),
            revisions_kept,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots.read().get(name).cloned()
    }

    pub(crate) fn remove(&self, name: &str) -> bool {
        self.slots.write().remove(name).is_some()
    }

    /// Makes `revision` serve under its policy's name.
    pub(crate) fn activate(&self, revision: Arc<Revision>) {
        let name = revision.info.policy.clone();
        let mut slots = self.slots.write();
        match slots.get(&name) {
            Some(slot) => slot.activate(revision),
            None => {
                let slot = Slot::new(name.clone(), revision, self.revisions_kept);
                slots.insert(name, Arc::new(slot));
            }
        }
    }

    pub(crate) fn roll_back(
        &self,
        name: &str,
        to: Option<u64>,
        points: &[DecisionPoint],
    ) -> Result<RevisionInfo, RollBackError> {
        let slot = self
            .get(name)
            .ok_or_else(|| RollBackError::UnknownPolicy(name.to_owned()))?;
        slot.roll_back(to, points)
            .map(|revision| revision.info.clone())
    }

    pub(crate) fn statuses(&self, now_ms: u64) -> Vec<PolicyStatus> {
        self.slots
            .read()
            .values()
            .map(|slot| slot.status(now_ms))
            .collect()
    }

    pub(crate) fn history(&self, name: &str) -> Option<Vec<RevisionInfo>> {
        self.get(name).map(|slot| slot.history.lock().clone())
    }
}
