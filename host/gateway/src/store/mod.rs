//! What outlives a restart: reviews, incidents, rollout events, activations,
//! messages that are to be sent, answers that feedback may come on, evidence,
//! baselines, objectives.
//!
//! [`Store`] is the seam between what one node decides for all and where that
//! is kept. What the gateway relies on, whichever store it is:
//!
//! - When [`Store::add_review`] returns `Ok`, the item is on disk: only then
//!   may a caller get its 202. When it returns an error, nothing was kept.
//! - Nothing grows without end: see the limits in [`StoreOptions`].
//! - No method blocks the thread that polls it.

pub mod answers;
pub mod baselines;
pub mod incidents;
pub mod messages;
pub mod sqlite;

pub use answers::{
    AnswerLimits, Fact, FeedbackEnd, FoundAnswer, KeptEvidence, LabelledAnswer, NewFeedback,
    PassedOver, RememberedAnswer, Segment,
};
pub use baselines::{BaselineHead, KeptBaseline, NewBaseline};
pub use incidents::Incidents;
pub use messages::{
    Announce, AttemptEnd, Message, MessageCount, MessageFilter, MessageState, NewMessage, Taken,
};
pub use sqlite::SqliteStore;

use crate::trail::RequestId;
use backstop::{BoxFuture, DecisionId, IncidentReport, PolicyOptions, RevisionInfo, Severity};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// Most items that one query returns, whatever was asked for: what a person
/// or a script pages through, and what one reply may weigh.
pub const PAGE_MAX: u32 = 200;
/// Longest text that a person adds (a note, a name, a reason), in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Limits of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Pending reviews of one route. A queue that people have not got to for
    /// so long is an incident, not a queue.
    pub reviews_pending_max: u64,
    /// Bytes of a request and an answer that a review keeps, together.
    pub review_bytes_max: usize,
    /// Resolved reviews that are kept over all routes; the oldest go first.
    pub reviews_resolved_max: u64,
    /// Open incidents of one policy: keys are chosen by guests.
    pub incidents_open_max: u64,
    /// Closed incidents that are kept; the oldest go first.
    pub incidents_closed_max: u64,
    /// Events that are kept for each model; the oldest go first.
    pub rollout_events_max: u64,
    /// Activations that are kept for each policy; the oldest go first.
    pub activations_max: u64,
    /// Messages that wait to be delivered; more become dead letters at once.
    pub messages_pending_max: u64,
    /// Delivered messages that are kept, and dead letters; the oldest go first.
    pub messages_ended_max: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            reviews_pending_max: 10_000,
            review_bytes_max: 2 << 20,
            reviews_resolved_max: 10_000,
            incidents_open_max: 256,
            incidents_closed_max: 5_000,
            rollout_events_max: 5_000,
            activations_max: 1_000,
            messages_pending_max: 10_000,
            messages_ended_max: 1_000,
        }
    }
}

/// An item for a review queue.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReview {
    /// The route.
    pub route: String,
    /// When it was sent to review, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The request's body.
    pub request: Bytes,
    /// The answer's body, where a model gave one.
    pub answer: Option<Bytes>,
    /// The decision that sent it here.
    pub decision: Option<DecisionId>,
    /// The model that answered.
    pub model: Option<String>,
    /// The release that answered.
    pub release: Option<String>,
    /// For the reviewer: the step's note, or the verdict's reason. Cut to
    /// [`TEXT_BYTES_MAX`].
    pub note: String,
    /// Where its caller wants to be told of its resolution.
    pub callback: Option<String>,
    /// The request, where one is known.
    pub request_id: Option<RequestId>,
    /// Confidence of the answer in `[0, 1]`, where there is one.
    pub confidence: Option<f64>,
}

/// An item of a review queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    /// `rev-` and 44 hex digits that grow with time. Nobody guesses one.
    pub id: String,
    /// What was sent to review.
    pub item: NewReview,
    /// Its resolution; none while it is pending.
    pub resolution: Option<Resolution>,
    /// When it was resolved, in milliseconds since the Unix epoch.
    pub resolved_ms: Option<u64>,
}

/// Whether a review still waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewStatus {
    /// It waits for a person.
    Pending,
    /// It was resolved.
    Resolved,
}

/// How a person resolved a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewOutcome {
    /// The model's answer is right.
    Agree,
    /// It is wrong; the label or the answer says what is right.
    Corrected,
    /// The request is not to be answered.
    Reject,
}

impl ReviewOutcome {
    /// The name in the store and in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            ReviewOutcome::Agree => "agree",
            ReviewOutcome::Corrected => "corrected",
            ReviewOutcome::Reject => "reject",
        }
    }
}

/// The resolution of a review: a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    /// What was found.
    pub outcome: ReviewOutcome,
    /// The right label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The right answer, any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<serde_json::Value>,
    /// Who resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which order a list comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first, as a queue is worked off.
    Oldest,
}

/// Which reviews are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReviewFilter {
    /// Only those of this status.
    pub status: Option<ReviewStatus>,
    /// Only those of this route.
    pub route: Option<String>,
    /// Only those that come after this one in the order: the last of the
    /// previous page.
    pub after: Option<String>,
    /// The order.
    pub order: Order,
    /// At most so many, and never more than [`PAGE_MAX`].
    pub limit: u32,
}

/// Whether an incident is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentState {
    /// It is open.
    Open,
    /// Somebody closed it.
    Closed,
}

/// A problem that was reported, once for each policy and key while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Identifies it.
    pub id: u64,
    /// What was reported last. The severity is the highest that was reported.
    #[serde(flatten)]
    pub report: IncidentReport,
    /// Whether it is open.
    pub state: IncidentState,
    /// When it was first reported, in milliseconds since the Unix epoch.
    pub opened_ms: u64,
    /// When it was last reported.
    pub last_seen_ms: u64,
    /// How often it was reported.
    pub count: u64,
    /// When it was closed.
    pub closed_ms: Option<u64>,
    /// Who closed it.
    pub closed_by: Option<String>,
}

/// Something that happened to a rollout. Events are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RolloutEvent {
    /// Identifies it; grows with time. Ignored when an event is added.
    pub id: u64,
    /// The model.
    pub model: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What, as the rollout's owner writes it.
    pub event: serde_json::Value,
}

/// That a revision of a policy began to serve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Activation {
    /// Identifies it; grows with time. Ignored when an activation is added.
    pub id: u64,
    /// The policy.
    pub policy: String,
    /// Number of the revision: a roll-back has that of an earlier activation.
    pub revision: u64,
    /// The revision's digest.
    pub digest: String,
    /// Its component's digest.
    pub component_digest: String,
    /// Its settings, grants and limits.
    pub options: PolicyOptions,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who asked for it.
    pub by: String,
    /// Where the component came from, or why the host went back: a path,
    /// `builtin:NAME`, `upload`, `roll-back`, `revert`.
    pub source: String,
}

impl Activation {
    /// What to keep about `revision`, which began to serve at `at_ms`.
    pub fn of(revision: &RevisionInfo, at_ms: u64, by: &str, source: &str) -> Activation {
        Activation {
            id: 0,
            policy: revision.policy.to_string(),
            revision: revision.number,
            digest: revision.digest.to_string(),
            component_digest: revision.component_digest.to_string(),
            options: revision.options.clone(),
            at_ms,
            by: by.to_owned(),
            source: source.to_owned(),
        }
    }
}

/// Why a store did not do what it was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The route's queue is full.
    #[error("review queue of route `{route}` is full with {pending} items; resolve some")]
    Full {
        /// The route.
        route: String,
        /// How many wait.
        pending: u64,
    },
    /// A policy has too many open incidents.
    #[error("policy `{policy}` has {open} open incidents; close some")]
    IncidentsFull {
        /// The policy.
        policy: String,
        /// How many are open.
        open: u64,
    },
    /// There are too many baselines.
    #[error("there are {0} baselines, which is as many as there may be; remove one")]
    BaselinesFull(u32),
    /// A body is too large.
    #[error("review of {bytes} bytes is larger than the {max} that are kept")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There is no such item.
    #[error("no {what} `{id}`")]
    NotFound {
        /// Review or incident.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// The review was resolved before, in another way.
    #[error("review `{}` was already resolved as `{}`", .0.id, .0.resolution.as_ref().map_or("?", |r| r.outcome.as_str()))]
    AlreadyResolved(Box<Review>),
    /// More work waits than the store may hold.
    #[error("the store is busy: {0} operations wait")]
    Busy(usize),
    /// Another process holds the database.
    #[error("database `{}` is locked by another process; is a second gateway running in this data directory?", .0.display())]
    Locked(PathBuf),
    /// The disk is full.
    #[error("no space is left for database `{}`; make some", .0.display())]
    DiskFull(PathBuf),
    /// The file is not a database, or a damaged one.
    #[error("database `{}` is damaged; move it aside with its -wal and -shm files and start again, or restore a copy", .0.display())]
    Corrupt(PathBuf),
    /// The database was written by a newer version.
    #[error("database `{}` has schema {found}, this version knows up to {known}; use the version that wrote it", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The data directory cannot be used.
    #[error("data directory `{}` cannot be used; check `server.data_dir` and its permissions", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that the database says.
    #[error("{doing} in database `{}`", path.display())]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Keeps what outlives a restart.
pub trait Store: Send + Sync + 'static {
    /// Adds an item to its route's queue. `Ok` means that it is on disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`], [`StoreError::TooLarge`], or a failure of the
    /// store; nothing was kept. Dropping the future does not take the item
    /// back.
    fn add_review(&self, review: NewReview) -> BoxFuture<'_, Result<Review, StoreError>>;

    /// The review with this id.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn review(&self, id: &str) -> BoxFuture<'_, Result<Option<Review>, StoreError>>;

    /// A page of reviews.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no review `filter.after`, or a
    /// failure of the store.
    fn reviews(&self, filter: ReviewFilter) -> BoxFuture<'_, Result<Vec<Review>, StoreError>>;

    /// Resolves a pending review. Resolving it again in the very same way
    /// returns what is stored, so that a repeated request does no harm;
    /// [`Resolved::first`] tells the two apart. The message of `announce` is
    /// added in the same transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::AlreadyResolved`] with what is
    /// stored, or a failure of the store.
    fn resolve_review(
        &self,
        id: &str,
        resolution: Resolution,
        at_ms: u64,
        announce: Announce,
    ) -> BoxFuture<'_, Result<Resolved, StoreError>>;

    /// How many reviews wait, for each route that ever had one in the store.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn reviews_pending(&self) -> BoxFuture<'_, Result<Vec<(String, u64)>, StoreError>>;

    /// Opens an incident, or adds to the open one of the same policy and key;
    /// true when it was opened. `times` is how often it was reported since the
    /// last call.
    ///
    /// # Errors
    ///
    /// [`StoreError::IncidentsFull`], or a failure of the store.
    fn raise_incident(
        &self,
        report: IncidentReport,
        times: u64,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<(Incident, bool), StoreError>>;

    /// The newest incidents, those of one state if one is given; at most
    /// `limit` and never more than [`PAGE_MAX`].
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn incidents(
        &self,
        state: Option<IncidentState>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>>;

    /// Closes an incident; one that is closed already stays as it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], or a failure of the store.
    fn close_incident(
        &self,
        id: u64,
        by: Option<String>,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Incident, StoreError>>;

    /// How many incidents are open, by severity.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn incidents_open(&self) -> BoxFuture<'_, Result<Vec<(Severity, u64)>, StoreError>>;

    /// Adds an event to a model's rollout history.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn add_rollout_event(
        &self,
        model: &str,
        at_ms: u64,
        event: serde_json::Value,
    ) -> BoxFuture<'_, Result<RolloutEvent, StoreError>>;

    /// The newest events, newest first, of one model if one is given; at most
    /// `limit` and never more than [`PAGE_MAX`].
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn rollout_events(
        &self,
        model: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<RolloutEvent>, StoreError>>;

    /// Notes that a revision began to serve.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn add_activation(&self, activation: Activation) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The newest activations of a policy, newest first; at most `limit` and
    /// never more than [`PAGE_MAX`].
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn activations(
        &self,
        policy: &str,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Activation>, StoreError>>;

    /// The highest number of a revision among the activations of a policy that
    /// are kept; 0 when there is none.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn last_revision(&self, policy: &str) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Begins the next attempt to deliver a message: of those that are due at
    /// `now_ms` and whose receiver is not in `busy`, the one that has been due
    /// for longest. Unless [`Store::end_attempt`] is told its end, it is due
    /// again at `lease_until_ms`.
    ///
    /// # Errors
    ///
    /// A failure of the store; nothing was taken.
    fn take_message(
        &self,
        now_ms: u64,
        lease_until_ms: u64,
        busy: Vec<String>,
    ) -> BoxFuture<'_, Result<Taken, StoreError>>;

    /// Says how attempt number `attempt` (from 1) of a message ended. Without
    /// effect for a message that has come to an end already, and for a failed
    /// attempt after which another one has begun.
    ///
    /// # Errors
    ///
    /// A failure of the store; the message is due when its lease is over.
    fn end_attempt(
        &self,
        id: &str,
        attempt: u32,
        end: AttemptEnd,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Makes a dead letter due at once, with as many attempts as a new message
    /// has; a message that is none stays as it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], or a failure of the store.
    fn revive_message(&self, id: &str, at_ms: u64) -> BoxFuture<'_, Result<Message, StoreError>>;

    /// The message with this id.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn message(&self, id: &str) -> BoxFuture<'_, Result<Option<Message>, StoreError>>;

    /// A page of messages, newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no message `filter.after`, or a
    /// failure of the store.
    fn messages(&self, filter: MessageFilter) -> BoxFuture<'_, Result<Vec<Message>, StoreError>>;

    /// How many messages wait, and how many dead letters are kept, for each
    /// channel that has a message in the store.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn message_counts(&self) -> BoxFuture<'_, Result<Vec<MessageCount>, StoreError>>;

    /// Remembers answers. One that is remembered already stays as it is.
    ///
    /// # Errors
    ///
    /// A failure of the store; none was remembered.
    fn add_answers(&self, answers: Vec<RememberedAnswer>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Looks for answers by ids: the gateway's own of the request or of the
    /// decision that made its plan, in 16 hexadecimal digits, or else the
    /// caller's, which means the newest with that id. One for each, in order.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn find_answers(&self, ids: Vec<String>)
    -> BoxFuture<'_, Result<Vec<FoundAnswer>, StoreError>>;

    /// Removes answers that are beyond `limits`, and those of any route to
    /// requests that arrived before `oldest_ms`, with what was said about them.
    /// Some thousands at most; true when there may be more.
    ///
    /// # Errors
    ///
    /// A failure of the store; none was removed.
    fn remove_answers(
        &self,
        limits: Vec<AnswerLimits>,
        oldest_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Keeps what is said about answers, one after the other in one
    /// transaction. What became of each, in order.
    ///
    /// # Errors
    ///
    /// A failure of the store; nothing was kept.
    fn add_feedback(
        &self,
        feedback: Vec<NewFeedback>,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<FeedbackEnd>, StoreError>>;

    /// What has been said about the answer to a request, by kind.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn feedback(&self, request: RequestId) -> BoxFuture<'_, Result<Vec<Fact>, StoreError>>;

    /// Answers of a route of which it has been said whether they were right, or
    /// what would have been, with what was said; the newest first, those to
    /// requests before `before` where it is given, at most `limit`.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn labelled_answers(
        &self,
        route: &str,
        before: Option<RequestId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<LabelledAnswer>, StoreError>>;

    /// Keeps series of evidence, each in place of what was kept of it before,
    /// and forgets those that were last kept before `oldest_ms`.
    ///
    /// # Errors
    ///
    /// A failure of the store; nothing was changed.
    fn keep_evidence(
        &self,
        series: Vec<KeptEvidence>,
        at_ms: u64,
        oldest_ms: u64,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A page of the series of evidence that are kept, those whose keys come
    /// after `after`, by their keys; empty after the last.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn evidence(&self, after: &str) -> BoxFuture<'_, Result<Vec<KeptEvidence>, StoreError>>;

    /// Keeps a version of a baseline under the next number of its name, and
    /// puts it to use.
    ///
    /// # Errors
    ///
    /// [`StoreError::BaselinesFull`], or a failure of the store; nothing was
    /// changed.
    fn add_baseline(&self, new: NewBaseline) -> BoxFuture<'_, Result<BaselineHead, StoreError>>;

    /// Puts a version of a baseline to use, in place of the one that was.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], or a failure of the store; nothing was changed.
    fn use_baseline(
        &self,
        name: &str,
        version: u32,
    ) -> BoxFuture<'_, Result<BaselineHead, StoreError>>;

    /// Forgets a baseline with all its versions.
    ///
    /// # Errors
    ///
    /// As for [`Store::use_baseline`].
    fn remove_baseline(&self, name: &str) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All versions of all baselines, by name, the newest first. Their number
    /// is bounded.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn baselines(&self) -> BoxFuture<'_, Result<Vec<BaselineHead>, StoreError>>;

    /// One version of a baseline, or the one in use; none where there is none.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn baseline(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> BoxFuture<'_, Result<Option<KeptBaseline>, StoreError>>;

    /// Keeps objectives, each in place of what was kept of it before, and
    /// forgets all that are not among `known`.
    ///
    /// # Errors
    ///
    /// A failure of the store; nothing was changed.
    fn keep_objectives(
        &self,
        kept: Vec<KeptObjective>,
        known: Vec<String>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The objectives that are kept.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn objectives(&self) -> BoxFuture<'_, Result<Vec<KeptObjective>, StoreError>>;

    /// Writes and takes back, to see that the store works.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// An objective as the store keeps it: its name and where it stands, the latter
/// the gateway's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptObjective {
    /// Its name in the configuration.
    pub name: String,
    /// Its counts and alerts.
    pub state: Vec<u8>,
}

/// A resolved review.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The review.
    pub review: Review,
    /// True when this call resolved it: only then is its label counted.
    pub first: bool,
}
