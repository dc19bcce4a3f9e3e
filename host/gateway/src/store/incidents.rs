//! The way of incidents from the thread that decides to the store.
//!
//! [`Incidents`] is the host's `IncidentSink`: it answers from memory whether
//! an incident is new, and hands the report to a task that writes it. Reports
//! of one problem that arrive while the store is at work are written as one.
//! When the store is slow for so long that the queue is full, reports are
//! dropped, counted and logged: a decision never waits for the disk.

use super::{Incident, IncidentState, PAGE_MAX, Store, StoreError};
use crate::telemetry::severity_name;
use backstop::{IncidentReport, IncidentSink};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Reports that may wait for the store. A policy raises at most 4 in a
/// decision, and most of those are the same over and over.
const QUEUE_MAX: usize = 1024;
/// Reports that are taken from the queue at once.
const BATCH_MAX: usize = 256;
/// Open incidents that are remembered over all policies; beyond them a report
/// counts as new in the reply to the guest, and only there.
const OPEN_MAX: usize = 16_384;
/// One line in the log for so many dropped reports, and one for the first.
const DROPPED_LOG_EVERY: u64 = 1_000;

type Key = (String, String);

/// What waits for the store.
#[derive(Debug)]
enum Message {
    Raise(IncidentReport),
    /// The problem is over.
    Resolve(Key),
}

/// Who closes an incident whose problem is over.
const CLOSED_BY: &str = "gateway";

/// Takes incidents and writes them to the store. Cheap to clone.
#[derive(Clone)]
pub struct Incidents {
    inner: Arc<Inner>,
    queue: mpsc::Sender<Message>,
}

struct Inner {
    store: Arc<dyn Store>,
    open: Mutex<HashSet<Key>>,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl std::fmt::Debug for Incidents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incidents")
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

impl Incidents {
    /// Reads which incidents are open and starts the task that writes. The
    /// task ends when the last clone is dropped and the queue is empty. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn start(store: Arc<dyn Store>) -> Result<Incidents, StoreError> {
        let open = store
            .incidents(Some(IncidentState::Open), PAGE_MAX)
            .await?
            .into_iter()
            .map(|incident| (incident.report.policy, incident.report.key))
            .collect();
        let (queue, reports) = mpsc::channel(QUEUE_MAX);
        let inner = Arc::new(Inner {
            store,
            open: Mutex::new(open),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        tokio::spawn(write(inner.clone(), reports));
        Ok(Incidents { inner, queue })
    }

    /// Closes an incident, so that the next report of the problem opens a new
    /// one.
    ///
    /// # Errors
    ///
    /// As for [`Store::close_incident`].
    pub async fn close(&self, id: u64, by: Option<String>) -> Result<Incident, StoreError> {
        let incident = self.inner.store.close_incident(id, by, now_ms()).await?;
        let key = (incident.report.policy.clone(), incident.report.key.clone());
        self.inner.open.lock().remove(&key);
        Ok(incident)
    }

    /// True while the incident of this policy and key is open, as far as is
    /// known here.
    pub(crate) fn is_open(&self, policy: &str, key: &str) -> bool {
        let key = (policy.to_owned(), key.to_owned());
        self.inner.open.lock().contains(&key)
    }

    /// Closes the incident of this policy and key, if one is open, because the
    /// problem is over. Returns at once; a full queue leaves it open.
    pub(crate) fn resolve(&self, policy: &str, key: &str) {
        let over = Message::Resolve((policy.to_owned(), key.to_owned()));
        if let Err(error) = self.queue.try_send(over) {
            tracing::warn!(policy, key, %error, "incident left open although it is over");
        }
    }

    /// Reports that were lost since the start: the queue was full, or the
    /// store did not take them.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed) + self.inner.failed.load(Ordering::Relaxed)
    }
}

impl IncidentSink for Incidents {
    fn raise(&self, report: IncidentReport) -> Result<bool, String> {
        let key = (report.policy.clone(), report.key.clone());
        let full = match self.queue.try_reserve() {
            Ok(permit) => {
                let new = {
                    let mut open = self.inner.open.lock();
                    !open.contains(&key) && (open.len() >= OPEN_MAX || open.insert(key))
                };
                if new {
                    tracing::warn!(
                        policy = report.policy,
                        key = report.key,
                        severity = severity_name(report.severity),
                        title = report.title,
                        "incident opened"
                    );
                }
                permit.send(Message::Raise(report));
                return Ok(new);
            }
            Err(error) => matches!(error, mpsc::error::TrySendError::Full(())),
        };
        let dropped = self.inner.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if dropped == 1 || dropped.is_multiple_of(DROPPED_LOG_EVERY) {
            tracing::error!(
                dropped,
                policy = report.policy,
                key = report.key,
                title = report.title,
                "incident report dropped: the queue to the store is full"
            );
        }
        Err(if full {
            "the queue of incidents is full".to_owned()
        } else {
            "incidents are not taken any more: the host is stopping".to_owned()
        })
    }
}

async fn write(inner: Arc<Inner>, mut messages: mpsc::Receiver<Message>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut reports = Vec::new();
    while messages.recv_many(&mut batch, BATCH_MAX).await > 0 {
        for message in batch.drain(..) {
            match message {
                Message::Raise(report) => reports.push(report),
                Message::Resolve(key) => {
                    // In the order in which it happened.
                    inner.raise(reports.drain(..)).await;
                    inner.resolve(&key).await;
                }
            }
        }
        inner.raise(reports.drain(..)).await;
    }
}

impl Inner {
    async fn raise(&self, reports: impl Iterator<Item = IncidentReport>) {
        for (key, (report, times)) in merge(reports) {
            if let Err(error) = self.store.raise_incident(report, times, now_ms()).await {
                self.failed.fetch_add(times, Ordering::Relaxed);
                self.open.lock().remove(&key);
                tracing::error!(
                    policy = key.0,
                    key = key.1,
                    times,
                    error = %error,
                    "incident not kept"
                );
            }
        }
    }

    async fn resolve(&self, key: &Key) {
        let closed = async {
            let open = self
                .store
                .incidents(Some(IncidentState::Open), PAGE_MAX)
                .await?;
            let mut open = open.into_iter();
            let found = open.find(|incident| {
                (&incident.report.policy, &incident.report.key) == (&key.0, &key.1)
            });
            if let Some(incident) = found {
                let by = Some(CLOSED_BY.to_owned());
                self.store.close_incident(incident.id, by, now_ms()).await?;
            }
            Ok::<_, StoreError>(())
        };
        match closed.await {
            Ok(()) => {
                self.open.lock().remove(key);
                tracing::info!(policy = key.0, key = key.1, "incident over");
            }
            Err(error) => {
                tracing::error!(policy = key.0, key = key.1, %error, "incident not closed");
            }
        }
    }
}

/// One report for each problem: the newest, with the highest severity, and
/// how many there were.
fn merge(reports: impl Iterator<Item = IncidentReport>) -> HashMap<Key, (IncidentReport, u64)> {
    let mut merged: HashMap<Key, (IncidentReport, u64)> = HashMap::new();
    for report in reports {
        let key = (report.policy.clone(), report.key.clone());
        match merged.get_mut(&key) {
            None => {
                merged.insert(key, (report, 1));
            }
            Some((known, times)) => {
                let severity = known.severity.max(report.severity);
                *known = IncidentReport { severity, ..report };
                *times += 1;
            }
        }
    }
    merged
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
