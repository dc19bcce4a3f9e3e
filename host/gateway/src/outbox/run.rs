//! The task that takes out what is due and keeps attempts within their bounds.
//!
//! It sleeps until the next message is due, one is added or an attempt ends.
//! Each attempt is a task of its own. A message is leased while it is being
//! sent, so that whatever becomes of this process, it is due again.

use super::{Channel, Inner, attempt};
use crate::clock::system_now_ms;
use crate::store::{Message, Taken};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// Attempts under way at once. Each holds a message and a connection; slow
/// receivers would have to be 32 to hold up others, and then for no longer
/// than the timeout.
pub const UNDER_WAY_MAX: usize = 64;
/// Attempts under way at once to one receiver: it is told what happened, not
/// put under load.
pub const RECEIVER_ATTEMPTS_MAX: usize = 2;
/// Longest sleep. Whoever adds a message wakes this task; other processes on
/// the same store cannot.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// What a lease is longer than the longest attempt: the time that the store
/// may take to note its end.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// Sends messages until `stop` says otherwise, and then waits for the attempts
/// that are under way.
pub(super) async fn run(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    let mut under_way = UnderWay::default();
    loop {
        let sleep = begin_due(&inner, &mut under_way).await;
        tokio::select! {
            biased;
            // An error says that the outbox is gone.
            _ = stop.wait_for(|&stop| stop) => break,
            () = under_way.next_end(), if !under_way.tasks.is_empty() => {}
            () = inner.wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    while !under_way.tasks.is_empty() {
        under_way.next_end().await;
    }
}

/// Begins an attempt for each message that is due, as far as the bounds allow;
/// returns how long there is nothing to do.
async fn begin_due(inner: &Arc<Inner>, under_way: &mut UnderWay) -> Duration {
    while under_way.tasks.len() < UNDER_WAY_MAX {
        let now_ms = system_now_ms();
        let lease = lease(inner.channels.load().values());
        let lease_until_ms = now_ms.saturating_add(ms(lease));
        let taking = inner
            .store
            .take_message(now_ms, lease_until_ms, under_way.busy());
        match taking.await {
            Ok(Taken {
                message: Some(message),
                ..
            }) => under_way.begin(inner, message),
            Ok(Taken { next_due_ms, .. }) => {
                let due = next_due_ms.map(|due| due.saturating_sub(now_ms));
                return due.map_or(SLEEP_MAX, |due| Duration::from_millis(due).min(SLEEP_MAX));
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "failed to take a message out of the outbox"
                );
                return STORE_PAUSE;
            }
        }
    }
    SLEEP_MAX
}

fn lease<'c>(channels: impl Iterator<Item = &'c Channel>) -> Duration {
    let longest = channels.map(|channel| channel.timeout).max();
    longest.unwrap_or_default() + LEASE_MARGIN
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Attempts, and who receives them.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    receivers: HashMap<Id, String>,
}

impl UnderWay {
    fn begin(&mut self, inner: &Arc<Inner>, message: Message) {
        let receiver = message.message.receiver.clone();
        let attempt = attempt::attempt(inner.clone(), message);
        let id = self.tasks.spawn(attempt).id();
        self.receivers.insert(id, receiver);
    }

    /// Waits until an attempt has ended.
    async fn next_end(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            // It panicked: its message is due when its lease is over.
            Some(Err(error)) => error.id(),
            None => return,
        };
        self.receivers.remove(&id);
    }

    /// Receivers that have their share.
    fn busy(&self) -> Vec<String> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for receiver in self.receivers.values() {
            *counts.entry(receiver).or_default() += 1;
        }
        counts
            .into_iter()
            .filter(|(_, count)| *count >= RECEIVER_ATTEMPTS_MAX)
            .map(|(receiver, _)| receiver.to_owned())
            .collect()
    }
}
