//! How a change of a rollout comes into force, and into the store.
//!
//! What takes from the candidate ([`take`]) is decided and in force without
//! waiting for anything, then written. What gives it more waits for its turn,
//! for everything before it to be written, and for its own writing; it is not
//! in force when something was taken meanwhile. All of it runs in tasks of its
//! own ([`to_its_end`]): whoever asked may go away or stop waiting.

use super::{LastWord, Moving, STORE_WAIT, Standing, State};
use crate::gateway::{Gateway, Shared};
use crate::store::StoreError;
use backstop_core::rollout::{
    Command, Decider, Directive, Order, Refused, Rollout, RolloutChange, RolloutEvent,
};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why an order was not carried out, or not yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    /// The rollout's limits forbid it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It is not known where the rollout stands.
    #[error("the candidate gets nothing until this is mended, or the rollout resumed: {0}")]
    Waiting(String),
    /// It could not be written. Nothing has changed.
    #[error("the store did not take the change, which must not be lost; see the log")]
    NotWritten,
    /// Another change is being written. Nothing has changed.
    #[error("another change of the rollout is being written; try again")]
    Busy,
    /// It is being written; it comes into force if and when that succeeds.
    #[error("the store has not taken the change within {STORE_WAIT:?}; it is not in force yet")]
    StillWriting,
}

/// Carries out an order: decided, written, in force.
///
/// # Errors
///
/// [`ChangeError`]; a change that takes from the candidate is refused by the
/// rollout's limits alone.
pub(super) async fn change(
    gateway: &Gateway,
    moving: &Arc<Moving>,
    order: Order,
) -> Result<(), ChangeError> {
    if takes(&order.command) {
        take(gateway, moving, order)?;
        let writing = (gateway.clone(), moving.clone());
        to_its_end(
            gateway,
            async move { write_rest(&writing.0, &writing.1).await },
        )
        .await;
        return Ok(());
    }
    // What is refused as things stand need not wait to hear it.
    if decide(gateway, &moving.state.lock(), order.clone())?.is_none() {
        return Ok(());
    }
    let work = (gateway.clone(), moving.clone());
    to_its_end(
        gateway,
        async move { in_turn(&work.0, &work.1, order).await },
    )
    .await
    .unwrap_or(Err(ChangeError::StillWriting))
}

/// Runs `work` to its end whatever becomes of the caller, whom it answers if
/// it ends soon enough. Shutdown waits for it.
pub(super) async fn to_its_end<T: Send + 'static>(
    gateway: &Gateway,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (done, outcome) = oneshot::channel();
    gateway.background(async move {
        // Nobody may be waiting any more.
        let _ = done.send(work.await);
    });
    tokio::time::timeout(STORE_WAIT, outcome).await.ok()?.ok()
}

/// True for what gives the traffic back to other releases.
fn takes(command: &Command) -> bool {
    matches!(
        command,
        Command::Abort | Command::Directive(Directive::RollBack(_))
    )
}

/// True for a change that must not be in force unless it is written.
fn gives(change: &RolloutChange) -> bool {
    matches!(
        change,
        RolloutChange::Began { .. }
            | RolloutChange::Advanced { .. }
            | RolloutChange::Promoted
            | RolloutChange::Resumed
    )
}

/// Puts in force what an order makes of the rollout, to be written later.
///
/// # Errors
///
/// When the limits refuse it, or the rollout waits.
pub(super) fn take(gateway: &Gateway, moving: &Moving, order: Order) -> Result<(), ChangeError> {
    let mut state = moving.state.lock();
    if let Some((rollout, event)) = decide(gateway, &state, order)? {
        state.unwritten.push_back(event.clone());
        put_in_force(gateway, &mut state, rollout, &event);
    }
    Ok(())
}

/// The host's order to call a rollout off.
pub(super) fn call_off(reason: &str) -> Order {
    by_host(Command::Abort, reason)
}

pub(super) fn by_host(command: Command, reason: &str) -> Order {
    Order {
        command,
        by: Decider::Host,
        reason: reason.to_owned(),
        version: None,
        evidence: false,
    }
}

/// What an order makes of the rollout; none when nothing.
fn decide(
    gateway: &Gateway,
    state: &State,
    order: Order,
) -> Result<Option<(Rollout, RolloutEvent)>, ChangeError> {
    let mut rollout = match &state.standing {
        Standing::At(rollout) => rollout.clone(),
        Standing::Waiting { why } => return Err(ChangeError::Waiting(why.clone())),
    };
    let now_ms = gateway.clock().now_ms();
    let ready = super::tick::ready(gateway, &state.plan.model, now_ms);
    let event = rollout.apply(order, &ready, now_ms)?;
    Ok(event.map(|event| (rollout, event)))
}

/// Carries out an order that waits for its turn.
async fn in_turn(gateway: &Gateway, moving: &Moving, order: Order) -> Result<(), ChangeError> {
    let _turn = moving.turn().await.ok_or(ChangeError::Busy)?;
    let decided = decide(gateway, &moving.state.lock(), order.clone())?;
    let Some((rollout, event)) = decided else {
        return Ok(());
    };
    if !gives(&event.change) {
        take(gateway, moving, order)?;
        flush(gateway, moving).await;
        return Ok(());
    }
    if !flush(gateway, moving).await {
        return Err(ChangeError::NotWritten);
    }
    // The event makes this version of the one before it. Whatever takes from
    // the candidate does so meanwhile, and what was decided before is void.
    let before = rollout.version() - 1;
    let is_overtaken = |state: &State| {
        state
            .rollout()
            .is_none_or(|rollout| rollout.version() != before)
    };
    if is_overtaken(&moving.state.lock()) {
        return Err(Refused::Overtaken.into());
    }
    if write(gateway.shared(), &moving.model, &event)
        .await
        .is_err()
    {
        return Err(ChangeError::NotWritten);
    }
    let mut state = moving.state.lock();
    if is_overtaken(&state) {
        // The store has this change and, after it, the one that overtook it.
        return Err(Refused::Overtaken.into());
    }
    put_in_force(gateway, &mut state, rollout, &event);
    Ok(())
}

/// Puts a rollout in force that `event` has led to.
pub(super) fn put_in_force(
    gateway: &Gateway,
    state: &mut State,
    rollout: Rollout,
    event: &RolloutEvent,
) {
    tracing::info!(
        model = &*state.plan.model,
        event = event.change.as_str(),
        reason = event.reason,
        "rollout changed"
    );
    state.standing = Standing::At(rollout);
    // What a policy said is noted with its decision.
    if event.by.is_person() {
        state.last = Some(LastWord::of(event));
    }
    show(gateway, state);
}

/// Moves the traffic to where the rollout stands. The caller holds the state,
/// so that the last to change it is the last to move the traffic.
pub(super) fn show(gateway: &Gateway, state: &State) {
    let plant = gateway.plant();
    let Some(model) = plant.model(&state.plan.model) else {
        return;
    };
    let Some(stable) = model
        .release(state.serving())
        .or_else(|| model.release(&model.spec().stable.name))
    else {
        return;
    };
    let candidate = state
        .trying()
        .and_then(|(name, share)| Some((model.release(name)?.clone(), share)));
    model.set_traffic(stable.clone(), candidate);
}

/// Writes what is in force and not in the store, when it is this one's turn.
async fn write_rest(gateway: &Gateway, moving: &Moving) {
    if let Some(_turn) = moving.turn().await {
        flush(gateway, moving).await;
    }
}

/// Writes what is in force and not in the store; false when the store does not
/// take it. The caller has the turn.
pub(super) async fn flush(gateway: &Gateway, moving: &Moving) -> bool {
    loop {
        let Some(event) = moving.state.lock().unwritten.front().cloned() else {
            return true;
        };
        if write(gateway.shared(), &moving.model, &event)
            .await
            .is_err()
        {
            return false;
        }
        moving.state.lock().unwritten.pop_front();
    }
}

/// Writes one event. The caller has the turn.
pub(super) async fn write(
    shared: &Shared,
    model: &str,
    event: &RolloutEvent,
) -> Result<(), StoreError> {
    let value = serde_json::json!(event);
    let written = shared.store.add_rollout_event(model, event.at_ms, value);
    let written = written.await;
    if let Err(error) = &written {
        tracing::error!(
            model,
            event = event.change.as_str(),
            error = error as &dyn std::error::Error,
            "failed to write a rollout's change"
        );
    }
    written.map(drop)
}
