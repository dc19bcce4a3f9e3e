//! Messages that leave the gateway, as the store keeps them.
//!
//! A message is added in the transaction of what it tells, so that neither is
//! there without the other; [`outbox`](crate::outbox) then takes it out, sends
//! it and says what became of it. Always holds: a message that was taken and
//! whose end nobody told, because the process ended first, is due again when
//! its lease is over. So it is sent at least once, and its id tells repetitions
//! apart.

use super::Review;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The channel: how it is sent, and how often that is tried.
    pub channel: String,
    /// Whose turn it takes: messages to one receiver keep only each other
    /// waiting. For HTTP the origin.
    pub receiver: String,
    /// Where it is sent.
    pub url: String,
    /// What it is about, for people: the id of a review, for example.
    pub about: String,
    /// What is sent.
    pub body: Bytes,
    /// When it came to be, in milliseconds since the Unix epoch; it is due at
    /// once.
    pub created_ms: u64,
}

/// A message, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `msg-` and 44 hex digits that grow with time; the same at each attempt.
    pub id: String,
    /// What is sent. The body of one that was delivered is not kept.
    pub message: NewMessage,
    /// How far it has come.
    pub state: MessageState,
    /// Attempts that were begun.
    pub attempts: u32,
    /// When the next attempt is due, while it is pending: the end of the lease
    /// during an attempt.
    pub due_ms: Option<u64>,
    /// When it was delivered or given up.
    pub ended_ms: Option<u64>,
    /// Why the last attempt failed, or why it was given up.
    pub last_error: Option<String>,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MessageState {
    /// It is to be sent, or sent again.
    Pending,
    /// Its receiver took it.
    Delivered,
    /// It was given up: a dead letter.
    Dead,
}

impl MessageState {
    /// The name in the store and in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::Pending => "pending",
            MessageState::Delivered => "delivered",
            MessageState::Dead => "dead",
        }
    }

    /// The state of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// What was taken out of the outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// The message that has been due for longest, with the attempt that now
    /// begins counted; none when nothing is due.
    pub message: Option<Message>,
    /// Without a message: when the next one is due; none when there is none.
    pub next_due_ms: Option<u64>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The receiver took the message.
    Delivered,
    /// It failed and is tried again.
    Again {
        /// When.
        due_ms: u64,
        /// Why it failed.
        error: String,
    },
    /// It failed and is given up.
    Dead {
        /// Why.
        error: String,
    },
}

/// Which messages are wanted, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Only those in this state.
    pub state: Option<MessageState>,
    /// Only those that come after this one: the last of the previous page.
    pub after: Option<String>,
    /// At most so many, and never more than [`PAGE_MAX`](super::PAGE_MAX).
    pub limit: u32,
}

/// How many messages of a channel the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageCount {
    /// The channel.
    pub channel: String,
    /// Those to be sent.
    pub pending: u64,
    /// Dead letters that are kept.
    pub dead: u64,
}

/// Makes the message about a review that has just been resolved; none where
/// nobody wants one. Called within the transaction that resolves it, and only
/// by the call that does. It must not block.
pub type Announce = Box<dyn FnOnce(&Review) -> Option<NewMessage> + Send>;
