//! Where a rollout stands by what the store has of it.
//!
//! Always holds: what cannot be read whole is told as such, and never passes
//! for a model without a rollout.

use super::STORE_WAIT;
use crate::gateway::Shared;
use crate::store::{PAGE_MAX, StoreError};
use backstop_core::rollout::{ReplayError, Rollout, RolloutChange, RolloutEvent};

/// A model's last rollout, and the event that made it what it is.
pub(super) type Last = (Rollout, RolloutEvent);

/// Why it is not known where a rollout stands.
#[derive(Debug, thiserror::Error)]
pub(super) enum HistoryError {
    #[error("read the rollout's history: {0}")]
    Store(#[from] StoreError),
    #[error("read the rollout's history: the store did not answer within {STORE_WAIT:?}")]
    Slow,
    #[error("read event {id} of the rollout's history: {source}")]
    Event { id: u64, source: serde_json::Error },
    #[error("replay the rollout's history: {0}")]
    Replay(#[from] ReplayError),
}

/// The last rollout of `model`; none when it never had one.
///
/// # Errors
///
/// When the store does not answer, or what it has is no rollout.
pub(super) async fn last(shared: &Shared, model: &str) -> Result<Option<Last>, HistoryError> {
    let newest = shared.store.rollout_events(Some(model), PAGE_MAX);
    let newest = tokio::time::timeout(STORE_WAIT, newest)
        .await
        .map_err(|_| HistoryError::Slow)??;
    let mut events = Vec::new();
    for stored in newest {
        let event: RolloutEvent =
            serde_json::from_value(stored.event).map_err(|source| HistoryError::Event {
                id: stored.id,
                source,
            })?;
        let began = matches!(event.change, RolloutChange::Began { .. });
        events.push(event);
        if began {
            break;
        }
    }
    events.reverse();
    let Some(newest) = events.last().cloned() else {
        return Ok(None);
    };
    Ok(Some((Rollout::replay(&events)?, newest)))
}
