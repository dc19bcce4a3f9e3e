//! Evidence over restarts: every minute, and at the end, the series that have
//! changed are kept in the store; at the start they are taken back.
//!
//! Always holds: one row for each series; a row that cannot be read is left
//! out with a warning, and never keeps the gateway from serving; what was
//! counted since the last minute is lost by a process that is killed.

use super::Evidence;
use crate::clock::Clock;
use crate::feedback::SegmentSeed;
use crate::store::{KeptEvidence, Store};
use backstop_core::evidence::{KeptSeries, Subject};
use backstop_core::window::RETENTION_MS;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How often series are kept.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// Most bytes of one transaction, give or take a series.
const BATCH_BYTES: usize = 1 << 20;
/// How long one transaction may take; what it was to keep is tried again later.
const BATCH_WAIT: Duration = Duration::from_secs(10);
/// The same at the end of the gateway, and how long that waits in all.
const LAST_BATCH_WAIT: Duration = Duration::from_secs(1);
const FINISH_WAIT: Duration = Duration::from_secs(10);

/// Keeps evidence in the store. One for each gateway.
pub(crate) struct Keeper {
    inner: Arc<Inner>,
    running: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    evidence: Arc<Evidence>,
    store: Arc<dyn Store>,
    clock: Clock,
    /// Hashes of the series as they are in the store, by those of their keys.
    stored: Mutex<HashMap<u64, u64>>,
    /// One pass at a time.
    passing: tokio::sync::Mutex<()>,
}

fn hash(of: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn row(kept: &KeptSeries) -> Option<KeptEvidence> {
    Some(KeptEvidence {
        key: serde_json::to_string(&(kept.metric(), kept.subject())).ok()?,
        series: serde_json::to_vec(kept).ok()?,
    })
}

impl Keeper {
    pub(crate) fn new(evidence: Arc<Evidence>, store: Arc<dyn Store>, clock: Clock) -> Self {
        Keeper {
            inner: Arc::new(Inner {
                evidence,
                store,
                clock,
                stored: Mutex::default(),
                passing: tokio::sync::Mutex::default(),
            }),
            running: Mutex::new(None),
        }
    }

    /// Takes back what the store has, before anything is recorded; returns the
    /// values of routes' tags that are told apart.
    pub(crate) async fn restore(&self) -> Vec<SegmentSeed> {
        let mut seeds = Vec::new();
        let mut after = String::new();
        let (mut restored, mut left_out) = (0_u64, 0_u64);
        loop {
            let page = match self.inner.store.evidence(&after).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to read the evidence that was kept; it begins anew"
                    );
                    return seeds;
                }
            };
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            for one in page {
                match self.restore_one(&one, &mut seeds) {
                    Ok(true) => restored += 1,
                    Ok(false) => left_out += 1,
                    Err(error) => {
                        left_out += 1;
                        tracing::warn!(
                            series = one.key,
                            %error,
                            "a series of evidence that was kept is damaged and left out"
                        );
                    }
                }
            }
        }
        if restored + left_out > 0 {
            tracing::info!(restored, left_out, "evidence goes on where it was");
        }
        seeds
    }

    fn restore_one(
        &self,
        one: &KeptEvidence,
        seeds: &mut Vec<SegmentSeed>,
    ) -> Result<bool, serde_json::Error> {
        let kept: KeptSeries = serde_json::from_slice(&one.series)?;
        if let Subject::Route(route) = kept.subject()
            && let Some(seed) = SegmentSeed::of(route, kept.metric())
            && !seeds.contains(&seed)
        {
            seeds.push(seed);
        }
        let now_ms = self.inner.clock.now_ms();
        Ok(self.inner.evidence.store().restore(kept, now_ms))
    }

    /// Starts to keep. Must be called within a tokio runtime.
    pub(crate) fn start(&self) {
        let inner = self.inner.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(KEEP_EVERY).await;
                inner.pass(BATCH_WAIT).await;
            }
        });
        if let Some(before) = self.running.lock().replace(task) {
            before.abort();
        }
    }

    /// Keeps what has changed and then no more; some seconds at most.
    pub(crate) async fn finish(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.abort();
            let last = self.inner.pass(LAST_BATCH_WAIT);
            if tokio::time::timeout(FINISH_WAIT, last).await.is_err() {
                tracing::warn!("evidence of the last minute is not kept: the store is too slow");
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut() {
            running.abort();
        }
    }
}

impl Inner {
    /// Keeps every series that has changed since it was kept last. Stops where
    /// the store fails, or takes longer than `wait` for one transaction.
    async fn pass(self: &Arc<Self>, wait: Duration) {
        let _one = self.passing.lock().await;
        // A series is up to a hundred kilobytes of text, and there are
        // thousands: nothing for a thread that serves.
        let (batches, mut ready) = mpsc::channel::<Vec<KeptEvidence>>(1);
        let writing = self.clone();
        let reading = tokio::task::spawn_blocking(move || writing.changed(&batches));
        while let Some(batch) = ready.recv().await {
            let hashes = batch.iter();
            let hashes = hashes.map(|one| (hash(one.key.as_bytes()), hash(&one.series)));
            let hashes: Vec<_> = hashes.collect();
            let now_ms = self.clock.now_ms();
            let oldest_ms = now_ms.saturating_sub(RETENTION_MS);
            let keeping = self.store.keep_evidence(batch, now_ms, oldest_ms);
            let why = match tokio::time::timeout(wait, keeping).await {
                Ok(Ok(())) => {
                    self.stored.lock().extend(hashes);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the store did not answer within {wait:?}"),
            };
            tracing::warn!(
                why,
                "failed to keep evidence; it is tried again in a minute"
            );
            return;
        }
        // It has nothing left to say.
        let _ = reading.await;
    }

    /// Sends the series that are not as they are in the store.
    fn changed(&self, batches: &mpsc::Sender<Vec<KeptEvidence>>) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for kept in self.evidence.store().kept() {
            let Some(row) = row(&kept) else { continue };
            let stored = self.stored.lock().get(&hash(row.key.as_bytes())).copied();
            if stored == Some(hash(&row.series)) {
                continue;
            }
            bytes += row.series.len();
            batch.push(row);
            if bytes >= BATCH_BYTES {
                bytes = 0;
                if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                    return;
                }
            }
        }
        if !batch.is_empty() {
            // Nobody is there any more where the store has failed.
            let _ = batches.blocking_send(batch);
        }
    }
}
