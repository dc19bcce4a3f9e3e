//! The newest records of requests, in a bounded ring.

use super::record::{RequestId, RequestRecord};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most records that are kept: some seconds of a busy gateway, hours of a
/// quiet one.
const REQUESTS_MAX: usize = 10_000;
/// Most bytes that all of them take up together. Records with one attempt all
/// fit; after many attempts each, fewer do.
const REQUESTS_BYTES_MAX: usize = 16 << 20;
/// Ids of each millisecond of a start, so that those of the next start are
/// greater: a million requests a second would not catch up with them.
const IDS_PER_MS_BITS: u32 = 12;

/// The newest records of requests, and the ids of those to come.
#[derive(Debug)]
pub struct Requests {
    next: AtomicU64,
    ring: Mutex<Ring>,
    written: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Ring {
    /// Each with its weight.
    records: VecDeque<(usize, Arc<RequestRecord>)>,
    bytes: usize,
}

impl Default for Requests {
    fn default() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(0);
        Requests {
            next: AtomicU64::new(now_ms << IDS_PER_MS_BITS),
            ring: Mutex::default(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Requests {
    pub(super) fn next_id(&self) -> RequestId {
        RequestId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn push(&self, record: Arc<RequestRecord>) {
        let weight = record.weight();
        // Dropped when the lock is free again.
        let mut oldest = Vec::new();
        {
            let mut ring = self.ring.lock();
            while ring.records.len() >= REQUESTS_MAX || ring.bytes + weight > REQUESTS_BYTES_MAX {
                let Some((weight, record)) = ring.records.pop_front() else {
                    break;
                };
                ring.bytes -= weight;
                oldest.push(record);
            }
            ring.bytes += weight;
            ring.records.push_back((weight, record));
        }
        self.written.fetch_add(1, Ordering::Relaxed);
        self.dropped
            .fetch_add(oldest.len() as u64, Ordering::Relaxed);
    }

    /// The newest `count` of the records that `wanted` says yes to, newest
    /// first. Requests that end meanwhile do not wait for `wanted`.
    pub fn newest(
        &self,
        count: usize,
        mut wanted: impl FnMut(&RequestRecord) -> bool,
    ) -> Vec<Arc<RequestRecord>> {
        let mut records = self.all();
        records.reverse();
        records.retain(|record| wanted(record));
        records.truncate(count);
        records
    }

    /// The newest record with this id, or to which its caller gave it, while
    /// it is in the ring.
    pub fn get(&self, id: &str) -> Option<Arc<RequestRecord>> {
        let own = u64::from_str_radix(id, 16).ok().map(RequestId);
        self.newest(1, |record| {
            own == Some(record.id) || record.caller_id.as_deref() == Some(id)
        })
        .pop()
    }

    /// All records, oldest first.
    fn all(&self) -> Vec<Arc<RequestRecord>> {
        let ring = self.ring.lock();
        let records = ring.records.iter();
        records.map(|(_, record)| record.clone()).collect()
    }

    /// Takes all records out, oldest first.
    pub fn drain(&self) -> Vec<Arc<RequestRecord>> {
        let mut ring = self.ring.lock();
        ring.bytes = 0;
        ring.records.drain(..).map(|(_, record)| record).collect()
    }

    /// How many records were written since the start.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many of them were pushed out by newer ones.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arrival, AttemptRecord, Why};
    use super::*;
    use backstop_core::limit::Priority;
    use backstop_core::plan_run::CallId;
    use std::time::Instant;

    fn push(requests: &Requests, attempts: usize, caller_id: Option<&str>) -> RequestId {
        let id = requests.next_id();
        let arrival = Arrival {
            route: "chat".into(),
            operation: "chat",
            streaming: false,
            priority: Priority::default(),
            arrived: Instant::now(),
            caller_id: caller_id.map(Into::into),
            trace: None,
        };
        let mut record = RequestRecord::new(id, 1, None, arrival);
        let call = CallId {
            step: 0,
            racer: 0,
            retry: 0,
        };
        for _ in 0..attempts {
            record.add(AttemptRecord::new(call, Why::Plan, "m".into()));
        }
        requests.push(Arc::new(record));
        id
    }

    #[test]
    fn the_ring_is_bounded_in_records_and_in_bytes() {
        let requests = Requests::default();
        for _ in 0..REQUESTS_MAX + 5 {
            push(&requests, 0, None);
        }
        assert_eq!(requests.newest(usize::MAX, |_| true).len(), REQUESTS_MAX);
        assert_eq!((requests.written(), requests.dropped()), (10_005, 5));
        for _ in 0..REQUESTS_MAX {
            push(&requests, 1_000, None);
        }
        let kept = requests.drain();
        assert!(kept.len() < REQUESTS_MAX, "{}", kept.len());
        let bytes = kept.iter().map(|record| record.weight()).sum::<usize>();
        assert!(bytes <= REQUESTS_BYTES_MAX, "{bytes}");
        assert_eq!(requests.dropped() + kept.len() as u64, requests.written());
        let newest = kept.last().unwrap();
        assert_eq!(newest.attempts.len(), super::super::ATTEMPTS_MAX);
        assert_eq!(newest.attempts_left_out, 1_000 - 64);
    }

    #[test]
    fn records_of_one_attempt_each_all_fit_and_leave_room() {
        let requests = Requests::default();
        for _ in 0..REQUESTS_MAX {
            push(&requests, 1, None);
        }
        assert_eq!(requests.dropped(), 0);
        let bytes = requests.ring.lock().bytes;
        assert!(bytes < REQUESTS_BYTES_MAX / 2, "{bytes}");
    }

    #[test]
    fn a_request_is_found_by_its_own_and_by_its_callers_id() {
        let requests = Requests::default();
        let first = push(&requests, 0, Some("order-7"));
        let second = push(&requests, 0, None);
        assert!(second > first);
        assert_eq!(requests.get("order-7").unwrap().id, first);
        assert_eq!(requests.get(&second.to_string()).unwrap().id, second);
        assert_eq!(requests.get("order-8"), None);
    }
}
