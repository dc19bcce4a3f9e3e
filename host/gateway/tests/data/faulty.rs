//! A store that fails, hangs or returns garbage when a test says so.

use backstop::{BoxFuture, IncidentReport, Severity};
use backstop_gateway::store::{
    Activation, Announce, AnswerLimits, AttemptEnd, BaselineHead, Fact, FeedbackEnd, FoundAnswer,
    Incident, IncidentState, KeptBaseline, KeptEvidence, KeptObjective, LabelledAnswer, Message,
    MessageCount, MessageFilter, NewBaseline, NewFeedback, NewReview, RememberedAnswer, Resolution,
    Resolved, Review, ReviewFilter, RolloutEvent, SqliteStore, Store, StoreError, StoreOptions,
    Taken,
};
use backstop_gateway::trail::RequestId;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Always.
    Fails,
    /// So many times, and then no more.
    FailsTimes(u32),
    /// Until the fault is taken away: then the work is done.
    Hangs,
    /// What is read is nonsense.
    Garbage,
}

/// A store on disk with faults.
pub(crate) struct Faulty {
    inner: SqliteStore,
    /// Of reading rollouts' histories.
    reads: Mutex<Fault>,
    /// Of everything that is written.
    writes: Mutex<Fault>,
    changed: Notify,
    /// Writes that were asked for.
    asked: AtomicU32,
}

impl Faulty {
    pub(crate) fn open(dir: &Path) -> Arc<Faulty> {
        Arc::new(Faulty {
            inner: SqliteStore::open(&dir.join("data"), StoreOptions::default()).unwrap(),
            reads: Mutex::new(Fault::None),
            writes: Mutex::new(Fault::None),
            changed: Notify::new(),
            asked: AtomicU32::new(0),
        })
    }

    pub(crate) fn reads(&self, fault: Fault) {
        *self.reads.lock() = fault;
        self.changed.notify_waiters();
    }

    pub(crate) fn writes(&self, fault: Fault) {
        *self.writes.lock() = fault;
        self.changed.notify_waiters();
    }

    /// How many writes were asked for.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// What happened to the rollout of `model` as far as it is on disk, oldest
    /// first.
    pub(crate) async fn rollout(&self, model: &str) -> Vec<String> {
        let events = self.inner.rollout_events(Some(model), 200).await.unwrap();
        let name = |event: &RolloutEvent| {
            let event = event.event["change"]["event"].as_str();
            event.unwrap_or("garbage").to_owned()
        };
        events.iter().rev().map(name).collect()
    }

    async fn pass(&self, fault: &Mutex<Fault>) -> Result<(), StoreError> {
        loop {
            let changed = self.changed.notified();
            let now = {
                let mut fault = fault.lock();
                let now = *fault;
                if let Fault::FailsTimes(times) = now {
                    *fault = match times - 1 {
                        0 => Fault::None,
                        left => Fault::FailsTimes(left),
                    };
                }
                now
            };
            match now {
                Fault::None | Fault::Garbage => return Ok(()),
                Fault::Fails | Fault::FailsTimes(_) => return Err(StoreError::Busy(1)),
                Fault::Hangs => changed.await,
            }
        }
    }

    async fn pass_write(&self) -> Result<(), StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.pass(&self.writes).await
    }
}

impl Store for Faulty {
    fn add_review(&self, review: NewReview) -> BoxFuture<'_, Result<Review, StoreError>> {
        Box::pin(async move {
            self.pass_write().await?;
            self.inner.add_review(review).await
        })
    }

    fn review(&self, id: &str) -> BoxFuture<'_, Result<Option<Review>, StoreError>> {
        self.inner.review(id)
    }

    fn reviews(&self, filter: ReviewFilter) -> BoxFuture<'_, Result<Vec<Review>, StoreError>> {
        self.inner.reviews(filter)
    }

    fn resolve_review(
        &self,
        id: &str,
        resolution: Resolution,
        at_ms: u64,
        announce: Announce,
    ) -> BoxFuture<'_, Result<Resolved, StoreError>> {
        self.inner.resolve_review(id, resolution, at_ms, announce)
    }

    fn reviews_pending(&self) -> BoxFuture<'_, Result<Vec<(String, u64)>, StoreError>> {
        self.inner.reviews_pending()
    }

    fn raise_incident(
        &self,
        report: IncidentReport,
        times: u64,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<(Incident, bool), StoreError>> {
        self.inner.raise_incident(report, times, at_ms)
    }

    fn incidents(
        &self,
        state: Option<IncidentState>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        self.inner.incidents(state, limit)
    }

    fn close_incident(
        &self,
        id: u64,
        by: Option<String>,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Incident, StoreError>> {
        self.inner.close_incident(id, by, at_ms)
    }

    fn incidents_open(&self) -> BoxFuture<'_, Result<Vec<(Severity, u64)>, StoreError>> {
        self.inner.incidents_open()
    }

    fn add_rollout_event(
        &self,
        model: &str,
        at_ms: u64,
        event: Value,
    ) -> BoxFuture<'_, Result<RolloutEvent, StoreError>> {
        let model = model.to_owned();
        Box::pin(async move {
            self.pass_write().await?;
            self.inner.add_rollout_event(&model, at_ms, event).await
        })
    }

    fn rollout_events(
        &self,
        model: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<RolloutEvent>, StoreError>> {
        let model = model.map(str::to_owned);
        Box::pin(async move {
            self.pass(&self.reads).await?;
            let mut events = self.inner.rollout_events(model.as_deref(), limit).await?;
            if *self.reads.lock() == Fault::Garbage {
                events
                    .iter_mut()
                    .for_each(|event| event.event = json!("scribble"));
            }
            Ok(events)
        })
    }

    fn add_activation(&self, activation: Activation) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.add_activation(activation)
    }

    fn last_revision(&self, policy: &str) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.last_revision(policy)
    }

    fn activations(
        &self,
        policy: &str,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Activation>, StoreError>> {
        self.inner.activations(policy, limit)
    }

    fn take_message(
        &self,
        now_ms: u64,
        lease_until_ms: u64,
        busy: Vec<String>,
    ) -> BoxFuture<'_, Result<Taken, StoreError>> {
        self.inner.take_message(now_ms, lease_until_ms, busy)
    }

    fn end_attempt(
        &self,
        id: &str,
        attempt: u32,
        end: AttemptEnd,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.end_attempt(id, attempt, end, at_ms)
    }

    fn revive_message(&self, id: &str, at_ms: u64) -> BoxFuture<'_, Result<Message, StoreError>> {
        self.inner.revive_message(id, at_ms)
    }

    fn message(&self, id: &str) -> BoxFuture<'_, Result<Option<Message>, StoreError>> {
        self.inner.message(id)
    }

    fn messages(&self, filter: MessageFilter) -> BoxFuture<'_, Result<Vec<Message>, StoreError>> {
        self.inner.messages(filter)
    }

    fn message_counts(&self) -> BoxFuture<'_, Result<Vec<MessageCount>, StoreError>> {
        self.inner.message_counts()
    }

    fn add_answers(&self, answers: Vec<RememberedAnswer>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.pass_write().await?;
            self.inner.add_answers(answers).await
        })
    }

    fn find_answers(
        &self,
        ids: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<FoundAnswer>, StoreError>> {
        self.inner.find_answers(ids)
    }

    fn remove_answers(
        &self,
        limits: Vec<AnswerLimits>,
        oldest_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.remove_answers(limits, oldest_ms)
    }

    fn add_feedback(
        &self,
        feedback: Vec<NewFeedback>,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<FeedbackEnd>, StoreError>> {
        Box::pin(async move {
            self.pass_write().await?;
            self.inner.add_feedback(feedback, at_ms).await
        })
    }

    fn feedback(&self, request: RequestId) -> BoxFuture<'_, Result<Vec<Fact>, StoreError>> {
        self.inner.feedback(request)
    }

    fn labelled_answers(
        &self,
        route: &str,
        before: Option<RequestId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<LabelledAnswer>, StoreError>> {
        self.inner.labelled_answers(route, before, limit)
    }

    fn keep_evidence(
        &self,
        series: Vec<KeptEvidence>,
        at_ms: u64,
        oldest_ms: u64,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.keep_evidence(series, at_ms, oldest_ms)
    }

    fn evidence(&self, after: &str) -> BoxFuture<'_, Result<Vec<KeptEvidence>, StoreError>> {
        self.inner.evidence(after)
    }

    fn add_baseline(&self, new: NewBaseline) -> BoxFuture<'_, Result<BaselineHead, StoreError>> {
        Box::pin(async move {
            self.pass_write().await?;
            self.inner.add_baseline(new).await
        })
    }

    fn use_baseline(
        &self,
        name: &str,
        version: u32,
    ) -> BoxFuture<'_, Result<BaselineHead, StoreError>> {
        self.inner.use_baseline(name, version)
    }

    fn remove_baseline(&self, name: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.remove_baseline(name)
    }

    fn baselines(&self) -> BoxFuture<'_, Result<Vec<BaselineHead>, StoreError>> {
        self.inner.baselines()
    }

    fn baseline(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> BoxFuture<'_, Result<Option<KeptBaseline>, StoreError>> {
        self.inner.baseline(name, version)
    }

    fn keep_objectives(
        &self,
        kept: Vec<KeptObjective>,
        known: Vec<String>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.pass_write().await?;
            self.inner.keep_objectives(kept, known).await
        })
    }

    fn objectives(&self) -> BoxFuture<'_, Result<Vec<KeptObjective>, StoreError>> {
        self.inner.objectives()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.pass_write().await?;
            self.inner.check().await
        })
    }
}
