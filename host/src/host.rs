//! The host: asks policies for decisions, and knows how they are doing.
//!
//! How it is put together stands in `builder`, how a component becomes the
//! revision that serves in `activation`, how recorded decisions are run again
//! in `replayer`.

mod activation;
mod builder;
mod replayer;

pub use builder::HostBuilder;
pub use replayer::Replayer;

use crate::error::RollBackError;
use crate::failure;
use crate::load::Loader;
use crate::options::{HostOptions, OnFailure};
use crate::record::{
    DecidedBy, DecisionId, DecisionPoint, DecisionRecord, Input, Moment, Output, Records,
    RunOutcome,
};
use crate::registry::{Consequence, PolicyHandle, PolicyStatus, Registry, Slot};
use crate::revision::{Revision, RevisionInfo};
use crate::room::Room;
use crate::run::Run;
use crate::run_state::Mode;
use crate::services::Services;
use crate::sources::{IncidentReport, Severity};
use backstop_core::input::{AnswerFacts, RequestFacts, RolloutFacts};
use backstop_core::plan::Plan;
use backstop_core::rollout::Assessment;
use backstop_core::verdict::Verdict;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

impl Host {
    fn now_ms(&self) -> u64 {
        (self.0.clock)()
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
        default: &Arc<Plan>,
    ) -> Decision<Arc<Plan>> {
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
}
