//! Feedback: what is found out about answers after their callers have them.
//!
//! Where a route has `[routes.NAME.feedback]`, each answer of a model that is
//! delivered is remembered (`remember`, a task that no request waits for).
//! `POST /v1/feedback` names one by an id, and says what was found out: `given`
//! reads it, `take` keeps it in the store and counts it, `count` says what is
//! evidence of what. Resolutions of reviews go the same way.
//!
//! Always holds:
//! - what is said counts once, in the windows of the time at which the request
//!   arrived, and only when it is on disk;
//! - feedback that comes after its answer finds it, written or not;
//! - what waits to be written is bounded, and what is lost is counted
//!   (`backstop_answers_lost_total`);
//! - series are bounded, whatever callers send: names of metrics come from the
//!   configuration, and of a tag's values few are told apart.

mod count;
mod given;
mod remember;
mod take;

pub(crate) use count::{declare, truth};
pub(crate) use given::{Given, Wrong};
pub(crate) use remember::{Delivered, SegmentSeed};
pub(crate) use take::{End, review_resolved, take};

use crate::clock::Clock;
use crate::config::{self, Config, Name};
use crate::evidence::Evidence;
use crate::store::Store;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use remember::Heard;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Answers that may wait to be written: some seconds of a busy gateway, 5 MiB.
const QUEUE_MAX: usize = 16_384;
/// How long feedback waits for what was delivered before it to be written, and
/// the end of the gateway for the last answers.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// How each route takes feedback, by its name.
pub(crate) type Routes = BTreeMap<Name, Arc<config::Feedback>>;

/// The answers that are being remembered. One for each gateway.
pub(crate) struct Feedback {
    inner: Arc<Inner>,
    queue: mpsc::Sender<Heard>,
    /// Taken when the task starts.
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    store: Arc<dyn Store>,
    telemetry: Arc<Telemetry>,
    evidence: Arc<Evidence>,
    clock: Clock,
    routes: ArcSwap<Routes>,
}

impl Feedback {
    /// Remembers nothing before [`Feedback::start`].
    pub(crate) fn new(
        store: Arc<dyn Store>,
        telemetry: Arc<Telemetry>,
        evidence: Arc<Evidence>,
        clock: Clock,
    ) -> Self {
        let (queue, heard) = mpsc::channel(QUEUE_MAX);
        Feedback {
            inner: Arc::new(Inner {
                store,
                telemetry,
                evidence,
                clock,
                routes: ArcSwap::default(),
            }),
            queue,
            heard: Mutex::new(Some(heard)),
            running: Mutex::new(None),
        }
    }

    /// Remembers as `config` says from now on.
    pub(crate) fn set_routes(&self, config: &Config) {
        let routes = config.routes.values();
        let with = routes.filter_map(|route| Some((route.name.clone(), route.feedback.clone()?)));
        self.inner.routes.store(Arc::new(with.collect()));
    }

    /// Starts the task that writes. `seeds` are the values of tags that are told
    /// apart already. Must be called within a tokio runtime.
    pub(crate) fn start(&self, seeds: Vec<SegmentSeed>) {
        if let Some(heard) = self.heard.lock().take() {
            let task = tokio::spawn(remember::run(self.inner.clone(), heard, seeds));
            *self.running.lock() = Some(task);
        }
    }

    /// Remembers an answer, some time later; does not wait. One for which there
    /// is no room is counted as lost.
    pub(crate) fn remember(&self, delivered: Delivered) {
        let sent = self.queue.try_send(Heard::Answer(Box::new(delivered)));
        if let Err(error) = sent
            && let Heard::Answer(lost) = error.into_inner()
        {
            let metrics = self.inner.telemetry.feedback();
            metrics.lost(&lost.answer.route, 1);
        }
    }

    /// Waits until every answer that was remembered before is written; false
    /// when that failed, or took too long.
    pub(crate) async fn flush(&self) -> bool {
        let (reply, written) = oneshot::channel();
        let flushed = async {
            self.queue.send(Heard::Flush(reply)).await.ok()?;
            written.await.ok()
        };
        let flushed = tokio::time::timeout(FLUSH_WAIT, flushed).await;
        flushed.ok().flatten().unwrap_or(false)
    }

    /// Writes what waits, some seconds at most, and ends the task.
    pub(crate) async fn finish(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            self.flush().await;
            running.abort();
        }
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut() {
            running.abort();
        }
    }
}
