//! Revisions: one immutable activation of a policy.

use crate::convert::Description;
use crate::image::Image;
use crate::options::{Isolation, Limits, PolicyOptions};
use crate::record::{DecisionPoint, Input, Moment, RevisionRef};
use crate::replay::ReplayCursor;
use crate::room::Room;
use crate::run::{self, Allowance, Guest, Path, Run};
use crate::run_state::{Mode, RunState};
use crate::services::Services;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What can be told about a revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionInfo {
    /// Name of the policy, as the operator calls it.
    pub policy: Arc<str>,
    /// Number of the revision, increasing for each policy; from 1, or from
    /// [`ActivationRequest::number_before`](crate::ActivationRequest).
    pub number: u64,
    /// SHA-256 over component digest and options, in hex.
    pub digest: Arc<str>,
    /// SHA-256 of the component, in hex.
    pub component_digest: Arc<str>,
    /// Who the policy says it is.
    pub description: Description,
    /// What it decides.
    pub points: Vec<DecisionPoint>,
    /// Settings, grants, limits and the rest.
    pub options: PolicyOptions,
    /// When it was activated, in milliseconds since the Unix epoch.
    pub activated_ms: u64,
}

/// A revision that can run.
pub(crate) struct Revision {
    pub(crate) info: RevisionInfo,
    pub(crate) reference: RevisionRef,
    image: Arc<Image>,
    grants: Arc<crate::options::Grants>,
    /// Instances that wait to be used again, for other isolations than
    /// [`Isolation::Fresh`]; none while the revision does not serve.
    warm: Mutex<Option<Vec<Guest>>>,
    /// Instances made for decisions.
    pub(crate) instances: AtomicU64,
}

/// Most instances of one revision that wait to be used again. More than the
/// machine has cores would only hold memory.
pub(crate) const WARM_MAX: usize = 8;

impl Revision {
    pub(crate) fn new(info: RevisionInfo, image: Arc<Image>) -> Self {
        Revision {
            reference: RevisionRef {
                policy: info.policy.clone(),
                number: info.number,
                digest: info.digest.clone(),
            },
            grants: Arc::new(info.options.grants.clone()),
            image,
            warm: Mutex::new(Some(Vec::new())),
            instances: AtomicU64::new(0),
            info,
        }
    }

    /// The image, for a later revision of the same component and options.
    pub(crate) fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// What a decision may use up.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance::of_decision(self.limits(), self.image.path() == Path::Waiting)
    }

    fn limits(&self) -> &Limits {
        &self.info.options.limits
    }

    /// Runs one decision.
    pub(crate) async fn run(
        &self,
        services: &Arc<Services>,
        room: &Room,
        mode: Mode,
        input: Input,
        moment: Moment,
    ) -> (Run, Option<ReplayCursor>) {
        let mut allowance = self.allowance();
        if let Mode::Replay(cursor) = &mode {
            allowance.deadline = cursor.deadline().unwrap_or(allowance.deadline);
        }
        if self.image.point(input.point()).is_none() {
            let detail = format!("the policy does not export `{}`", input.point());
            return (Run::not_begun(detail), None);
        }
        let permit = match room.take(self.image.path(), allowance.deadline).await {
            Ok(permit) => permit,
            Err(detail) => return (Run::not_begun(detail), None),
        };
        // Waiting for room is not the policy's time.
        let begun = Instant::now();
        let isolation = match mode {
            Mode::Live => self.info.options.isolation,
            _ => Isolation::Fresh,
        };
        let again = isolation != Isolation::Fresh;
        let mut guest = match self.guest(services, allowance, again).await {
            Ok(guest) => guest,
            Err(error) => {
                let run = Run {
                    outcome: run::classify(&error, allowance).into(),
                    ..Run::not_begun(String::new())
                };
                return (run, None);
            }
        };
        let result = run::ask(
            &self.image,
            &mut guest,
            mode,
            input,
            moment,
            allowance,
            begun,
        )
        .await;
        let (mut run, cursor) = result;
        let spent = matches!(run.outcome, crate::record::RunOutcome::Failed { .. });
        match isolation {
            Isolation::Warm if !spent => self.put_back(guest),
            Isolation::Reset if !spent => {
                let done = Instant::now();
                if self.image.reset(&mut guest, allowance) {
                    self.put_back(guest);
                }
                run.cost.guest_ns += run::nanos(done.elapsed());
            }
            _ => {}
        }
        drop(permit);
        (run, cursor)
    }

    async fn guest(
        &self,
        services: &Arc<Services>,
        allowance: Allowance,
        again: bool,
    ) -> wasmtime::Result<Guest> {
        if again && let Some(guest) = self.warm.lock().as_mut().and_then(Vec::pop) {
            return Ok(guest);
        }
        self.instances.fetch_add(1, Ordering::Relaxed);
        let policy = self.info.policy.clone();
        let state = RunState::new(policy, self.grants.clone(), services.clone(), self.limits());
        self.image
            .instantiate(state, allowance, self.image.path().into())
            .await
    }

    fn put_back(&self, guest: Guest) {
        if let Some(warm) = &mut *self.warm.lock()
            && guest.decisions < Isolation::WARM_DECISIONS_MAX
            && warm.len() < WARM_MAX
        {
            warm.push(guest);
        }
    }

    /// Drops the instances that wait to be used again and keeps no new ones:
    /// they hold memory, and the pool's room, while the revision does not serve.
    pub(crate) fn cool(&self) {
        *self.warm.lock() = None;
    }

    /// Keeps instances again, because the revision serves again.
    pub(crate) fn warm_up(&self) {
        self.warm.lock().get_or_insert_default();
    }
}

/// SHA-256 of a component, in hex.
pub(crate) fn component_digest(component: &[u8]) -> Arc<str> {
    hex::encode(Sha256::digest(component)).into()
}

/// SHA-256 over component digest and options, in hex.
pub(crate) fn revision_digest(component_digest: &str, options: &PolicyOptions) -> Arc<str> {
    let mut hasher = Sha256::new();
    hasher.update(component_digest.as_bytes());
    // Plain data with string keys: writing it as JSON cannot fail.
    hasher.update(serde_json::to_vec(options).unwrap_or_default());
    hex::encode(hasher.finalize()).into()
}
