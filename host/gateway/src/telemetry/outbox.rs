//! What becomes of messages to other systems.

use super::labels::{One, Two};
use super::one;
use crate::store::MessageCount;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges of the outbox. Channels are a closed set of words.
#[derive(Debug, Default)]
pub(crate) struct OutboxMetrics {
    attempts: Family<Two, Counter>,
    dead: Family<One, Counter>,
    messages: Family<Two, Gauge>,
}

impl OutboxMetrics {
    #[rustfmt::skip] // One family a line reads as the table that it is.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("outbox_attempts", "Attempts to deliver a message, by end: `delivered`, `refused` (a status that is not 2xx), `timeout`, `unreachable` or `not-allowed`", self.attempts.clone());
        registry.register("outbox_dead", "Messages given up after an attempt", self.dead.clone());
        registry.register("outbox_messages", "Messages that wait (`pending`), and dead letters that are kept (`dead`)", self.messages.clone());
    }

    /// Counts an attempt of a channel.
    pub(crate) fn attempt(&self, channel: &str, outcome: &'static str) {
        self.attempts
            .get_or_create(&[
                ("channel", channel.to_owned()),
                ("outcome", outcome.to_owned()),
            ])
            .inc();
    }

    /// Counts a message that was given up.
    pub(crate) fn dead(&self, channel: &str) {
        self.dead.get_or_create(&one("channel", channel)).inc();
    }

    /// Sets the gauges from what the store holds.
    pub(super) fn set(&self, counts: &[MessageCount]) {
        self.messages.clear();
        for count in counts {
            for (state, number) in [("pending", count.pending), ("dead", count.dead)] {
                self.messages
                    .get_or_create(&[
                        ("channel", count.channel.clone()),
                        ("state", state.to_owned()),
                    ])
                    .set(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
    }
}
