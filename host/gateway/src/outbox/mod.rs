//! The outbox: messages to other systems, delivered at least once.
//!
//! Whoever has something to tell adds a message to the store in the
//! transaction of what it tells ([`crate::store::messages`]) and wakes the
//! outbox. From there on it is the business of this module: `run`
//! takes out what is due and keeps attempts within their bounds, `attempt`
//! makes one, `signature` signs. How a message is sent is not in it but in its
//! [`Channel`], which comes from the configuration and changes with it: a
//! secret is never stored, and a receiver that is no longer allowed gets
//! nothing any more.
//!
//! Always holds:
//! - a message that is in the store is sent until its receiver takes it or its
//!   attempts are used up; then it is a dead letter, which is kept, counted and
//!   logged, and which an operator can revive;
//! - every attempt has the message's id, by which a receiver knows that it has
//!   it already;
//! - attempts are bounded, all together and those to one receiver, so that one
//!   that is slow keeps nobody else waiting;
//! - redirects are not followed.

mod attempt;
mod run;
mod signature;

pub use signature::SigningKey;

use crate::config::AllowedUrl;
use crate::outgoing::Outgoing;
use crate::store::Store;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use backstop_core::plan_run::RetryLimits;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use run::{RECEIVER_ATTEMPTS_MAX, UNDER_WAY_MAX};

/// How long the end of the gateway waits for attempts that are under way. What
/// is cut is sent again after the next start.
const FINISH_WAIT: Duration = Duration::from_secs(5);

/// How the messages of a channel are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// What they are signed with.
    pub keys: Vec<SigningKey>,
    /// Where they may be sent.
    pub allow: Vec<AllowedUrl>,
    /// Attempts before a message is a dead letter; at least one is made.
    pub attempts_max: u32,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// Before the second attempt; each further wait is twice the one before.
    pub backoff: Duration,
    /// What a wait never exceeds, unless the receiver asks for it.
    pub backoff_max: Duration,
}

impl Channel {
    /// How long to wait after attempt number `attempt` (from 1) failed, never
    /// shorter than the receiver asked for. `random` is uniform in `[0, 1)`.
    fn wait(&self, attempt: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let limits = RetryLimits {
            backoff_ms: ms(self.backoff),
            backoff_multiplier: 2.0,
            backoff_ms_max: ms(self.backoff_max),
            // What is asked for is bounded where it is read.
            retry_after_ms_max: u64::MAX,
            ..RetryLimits::default()
        };
        let wait = limits.delay_ms(attempt.saturating_sub(1), retry_after.map(ms), random);
        Duration::from_millis(wait.unwrap_or_default())
    }
}

/// Sends what the store holds. One for each gateway.
pub(crate) struct Outbox {
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    running: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    store: Arc<dyn Store>,
    telemetry: Arc<Telemetry>,
    channels: ArcSwap<BTreeMap<&'static str, Channel>>,
    client: Outgoing,
    wake: Notify,
}

impl Outbox {
    /// An outbox that sends nothing before [`Outbox::start`].
    pub(crate) fn new(store: Arc<dyn Store>, telemetry: Arc<Telemetry>) -> Self {
        Outbox {
            inner: Arc::new(Inner {
                store,
                telemetry,
                channels: ArcSwap::default(),
                client: Outgoing::default(),
                wake: Notify::new(),
            }),
            stop: watch::Sender::new(false),
            running: Mutex::new(None),
        }
    }

    /// Sends by these channels from the next attempt on.
    pub(crate) fn set_channels(&self, channels: BTreeMap<&'static str, Channel>) {
        self.inner.channels.store(Arc::new(channels));
    }

    /// Starts the task that sends, once it is known by which channels. Must be
    /// called within a tokio runtime.
    pub(crate) fn start(&self) {
        let task = tokio::spawn(run::run(self.inner.clone(), self.stop.subscribe()));
        if let Some(before) = self.running.lock().replace(task) {
            before.abort();
        }
    }

    /// Says that a message was added.
    pub(crate) fn wake(&self) {
        self.inner.wake.notify_one();
    }

    /// Begins no further attempt.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops, and waits for the attempts that are under way, five seconds at
    /// most; what is cut is sent again after the next start.
    pub(crate) async fn finish(&self) {
        self.stop();
        let running = self.running.lock().take();
        if let Some(mut running) = running
            && tokio::time::timeout(FINISH_WAIT, &mut running)
                .await
                .is_err()
        {
            running.abort();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut() {
            running.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_are_never_shorter_than_asked_for() {
        let channel = Channel {
            keys: Vec::new(),
            allow: Vec::new(),
            attempts_max: 16,
            timeout: Duration::from_secs(10),
            backoff: Duration::from_secs(5),
            backoff_max: Duration::from_secs(60),
        };
        let wait = |attempt, random| channel.wait(attempt, None, random).as_millis();
        assert_eq!([1, 2, 3].map(|n| wait(n, 0.5)), [5_000, 10_000, 20_000]);
        assert_eq!([5, 50, u32::MAX].map(|n| wait(n, 0.5)), [60_000; 3]);
        assert_eq!((wait(1, 0.0), wait(1, 0.75)), (4_000, 5_500));
        let asked = Duration::from_secs(3_600);
        assert_eq!(channel.wait(1, Some(asked), 0.5), asked);
        let asked = Duration::from_secs(1);
        assert_eq!(channel.wait(1, Some(asked), 0.5).as_secs(), 5);
    }
}
