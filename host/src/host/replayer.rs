//! Replaying recorded decisions with a component that may be another one.

use super::Host;
use crate::error::ActivationError;
use crate::options::PolicyOptions;
use crate::record::{DecisionRecord, RunOutcome};
use crate::replay::{self, Difference, ReplayCursor};
use crate::revision::{Revision, RevisionInfo};
use crate::run_state::Mode;
use std::sync::Arc;

impl Host {
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
