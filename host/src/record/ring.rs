//! The newest records, in a ring that is bounded in records and in bytes.

use super::{DecisionId, DecisionRecord, HostCall, Input, Output, RunOutcome};
use backstop_core::input::{AnswerFacts, RequestFacts, RolloutFacts};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The newest decision records, in a bounded ring.
#[derive(Debug)]
pub struct Records {
    ring: Mutex<Ring>,
    records_max: usize,
    bytes_max: usize,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    /// Each with its weight, so that a record that leaves need not be read
    /// again: by then it is in no cache.
    records: VecDeque<(usize, Arc<DecisionRecord>)>,
    /// Weight of all of them.
    bytes: usize,
}

impl DecisionRecord {
    /// About how many bytes it takes up: everything in it whose size somebody
    /// else chooses.
    fn weight(&self) -> usize {
        let previous = self
            .previous
            .as_ref()
            .map_or(0, |previous| previous.weight());
        let detail = match &self.outcome {
            RunOutcome::Abstained { reason } => reason.len(),
            RunOutcome::Failed { detail, .. } => detail.len(),
            RunOutcome::Answered | RunOutcome::Suspended => 0,
        };
        let calls = self.calls.iter().map(HostCall::weight).sum::<usize>();
        size_of::<Self>() + self.input.weight() + calls + detail + self.applied.weight() + previous
    }
}

impl Input {
    fn weight(&self) -> usize {
        match self {
            Input::Fallback(request) => request_weight(request),
            Input::Threshold(request, answer) => request_weight(request) + answer_weight(answer),
            Input::Rollback(rollout) => {
                size_of::<RolloutFacts>() + size_of_val(&*rollout.ready_releases)
            }
        }
    }
}

fn request_weight(request: &RequestFacts) -> usize {
    let tags = request
        .tags
        .iter()
        .map(|(name, tag)| name.len() + tag.len());
    size_of::<RequestFacts>()
        + size_of_val(&*request.candidates)
        + size_of_val(&*request.attempts)
        + tags.sum::<usize>()
}

fn answer_weight(answer: &AnswerFacts) -> usize {
    let scores = answer.scores.iter().map(|score| score.label.len());
    size_of::<AnswerFacts>()
        + answer.label.as_ref().map_or(0, String::len)
        + size_of_val(&*answer.scores)
        + scores.sum::<usize>()
        + size_of_val(&*answer.token_logprobs)
}

impl Output {
    fn weight(&self) -> usize {
        match self {
            Output::Plan(plan) => {
                let reasons = plan.steps.iter().map(|step| step.reason.len());
                size_of_val(&*plan.steps) + reasons.sum::<usize>()
            }
            Output::Verdict(verdict) => verdict.reason.len(),
            Output::Assessment(assessment) => assessment.reason.len(),
        }
    }
}

impl Records {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        let records = VecDeque::with_capacity(records_max.min(65_536));
        Records {
            ring: Mutex::new(Ring { records, bytes: 0 }),
            records_max: records_max.max(1),
            bytes_max,
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn push(&self, record: Arc<DecisionRecord>) {
        let weight = record.weight();
        // Dropped when the lock is free again.
        let mut oldest = Vec::new();
        {
            let mut ring = self.ring.lock();
            while ring.records.len() >= self.records_max || ring.bytes + weight > self.bytes_max {
                let Some((weight, record)) = ring.records.pop_front() else {
                    break;
                };
                ring.bytes -= weight;
                oldest.push(record);
            }
            ring.bytes += weight;
            ring.records.push_back((weight, record));
        }
        if !oldest.is_empty() {
            self.dropped
                .fetch_add(oldest.len() as u64, Ordering::Relaxed);
        }
    }

    /// The newest `count` records, newest first.
    pub fn newest(&self, count: usize) -> Vec<Arc<DecisionRecord>> {
        self.ring
            .lock()
            .records
            .iter()
            .rev()
            .take(count)
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// The record with this id, while it is in the ring.
    pub fn get(&self, id: DecisionId) -> Option<Arc<DecisionRecord>> {
        self.ring
            .lock()
            .records
            .iter()
            .rev()
            .find(|(_, record)| record.id == id)
            .map(|(_, record)| record.clone())
    }

    /// Takes all records out, oldest first.
    pub fn drain(&self) -> Vec<Arc<DecisionRecord>> {
        {
            let mut ring = self.ring.lock();
            ring.bytes = 0;
            ring.records.drain(..).map(|(_, record)| record).collect()
        }
    }

    /// How many records are in the ring.
    pub fn len(&self) -> usize {
        self.ring.lock().records.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records were pushed out by newer ones since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
