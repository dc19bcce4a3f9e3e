//! What a run with swaps left behind, and what must hold of it.

use crate::kit::{Fallible, quantile_us};
use crate::report::Report;
use anyhow::Context;
use backstop::DecidedBy;
use backstop::core::plan::Action;
use backstop::record::{DecisionId, DecisionRecord, Output, RunOutcome};
use bytes::Bytes;
use http::Response;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::ROUTES;

/// The models, in the order of the routes.
const MODELS: [&str; 2] = ["first", "second"];
/// Ways to swap, in the order of the table.
const WAYS: [&str; 3] = ["activate", "roll back", "replace file"];

fn model(name: &str) -> Option<usize> {
    MODELS.iter().position(|model| *model == name)
}

/// An answer that a caller got.
pub(crate) struct Answer {
    route: usize,
    begun: Instant,
    ended: Instant,
    /// Who answered.
    model: usize,
    decision: DecisionId,
}

impl Answer {
    /// Reads it from the response's headers.
    pub(crate) fn read(route: usize, begun: Instant, response: &Response<Bytes>) -> Fallible<Self> {
        let header = |name: &str| {
            let value = response.headers().get(name);
            let value = value.with_context(|| format!("no header `{name}`"))?;
            Fallible::Ok(value.to_str()?)
        };
        Ok(Self {
            route,
            begun,
            ended: Instant::now(),
            model: model(header("x-backstop-model")?).context("an unknown model answered")?,
            decision: header("x-backstop-decision")?.parse()?,
        })
    }
}

/// What counts of a decision record.
pub(crate) struct Record {
    id: DecisionId,
    route: Option<usize>,
    revision: u64,
    digest: String,
    /// Answered by the policy itself, and its plan applied.
    by_policy: bool,
    /// The model that its plan calls first.
    model: Option<usize>,
}

impl Record {
    /// Reads it.
    pub(crate) fn read(record: &DecisionRecord) -> Self {
        let first = match &*record.applied {
            Output::Plan(plan) => plan.steps.first().map(|step| &step.action),
            _ => None,
        };
        Self {
            id: record.id,
            route: ROUTES
                .iter()
                .position(|route| **route == *record.revision.policy),
            revision: record.revision.number,
            digest: record.revision.digest.to_string(),
            by_policy: record.decided_by == DecidedBy::Policy
                && record.outcome == RunOutcome::Answered,
            model: match first {
                Some(Action::Call(call)) => model(&call.model),
                _ => None,
            },
        }
    }
}

/// A revision that served.
pub(crate) struct Revision {
    /// Its digest.
    pub(crate) digest: String,
    /// The model that it calls first.
    pub(crate) model: usize,
}

/// One swap.
pub(crate) struct Swap {
    /// How.
    pub(crate) way: &'static str,
    /// Of which route's policy.
    pub(crate) route: usize,
    /// When it was asked for.
    pub(crate) begun: Instant,
    /// When it was known to serve.
    pub(crate) done: Instant,
    /// The model that is called first from then on.
    pub(crate) model: usize,
}

/// Everything that a run left behind.
pub(crate) struct Evidence {
    /// When the load began.
    pub(crate) begun: Instant,
    /// Revisions by route and number.
    pub(crate) revisions: HashMap<(usize, u64), Revision>,
    /// Swaps, in order.
    pub(crate) swaps: Vec<Swap>,
    /// Answers.
    pub(crate) answers: Vec<Answer>,
    /// Requests that failed.
    pub(crate) failures: Vec<String>,
    /// All decision records.
    pub(crate) records: Vec<Record>,
    /// Records that were pushed out of the ring unseen.
    pub(crate) dropped: u64,
}

impl Evidence {
    /// Of a run that begins.
    pub(crate) fn new(begun: Instant) -> Self {
        Self {
            begun,
            revisions: HashMap::new(),
            swaps: Vec::new(),
            answers: Vec::new(),
            failures: Vec::new(),
            records: Vec::new(),
            dropped: 0,
        }
    }

    /// The table and the checks; `wanted` swaps were asked for.
    pub(crate) fn report(&mut self, wanted: usize) -> Report {
        self.answers.sort_unstable_by_key(|answer| answer.begun);
        let (quiet, busy) = self.by_second();
        let mut rows = vec![
            row("requests, quiet seconds", quiet),
            row("requests, with swaps", busy),
        ];
        for way in WAYS {
            let swaps = self.swaps.iter().filter(|swap| swap.way == way);
            let took = swaps.map(|swap| swap.done - swap.begun).collect();
            rows.push(row(&format!("swaps: {way}"), took));
        }
        let mut report = Report::default();
        report.table("", ["number", "p50 µs", "p99 µs"], rows);
        report.all("no request failed", self.answers.len(), &self.failures);
        let missing = wanted - self.swaps.len();
        let late = vec!["was not reached in time".to_owned(); missing];
        report.all("every swap was done", wanted, &late);
        report.check(
            "no record was missed",
            self.dropped == 0,
            format!("{} taken, {} lost", self.records.len(), self.dropped),
        );
        let wrong = self.wrong_records();
        report.all(
            "every record names the revision that decided",
            self.records.len(),
            &wrong,
        );
        let wrong = self.wrong_answers();
        report.all(
            "every answer is what its record decided",
            self.answers.len(),
            &wrong,
        );
        let (seen, wrong) = self.effects();
        report.all("every later request saw the swap", seen, &wrong);
        report
    }

    /// Durations of the requests that ended in seconds without a swap, and in
    /// those with one.
    fn by_second(&self) -> (Vec<Duration>, Vec<Duration>) {
        let second = |at: Instant| (at - self.begun).as_secs();
        let busy: BTreeSet<u64> = self
            .swaps
            .iter()
            .flat_map(|swap| second(swap.begun)..=second(swap.done))
            .collect();
        let (mut quiet_took, mut busy_took) = (Vec::new(), Vec::new());
        for answer in &self.answers {
            let took = match busy.contains(&second(answer.ended)) {
                true => &mut busy_took,
                false => &mut quiet_took,
            };
            took.push(answer.ended - answer.begun);
        }
        (quiet_took, busy_took)
    }

    fn wrong_records(&self) -> Vec<String> {
        let wrong = |record: &Record| {
            let known = record
                .route
                .and_then(|route| self.revisions.get(&(route, record.revision)));
            let Some(known) = known else {
                return Some("names a revision that never served");
            };
            match record {
                _ if known.digest != record.digest => Some("names another revision's digest"),
                Record {
                    by_policy: false, ..
                } => Some("was not decided by the policy"),
                _ if record.model != Some(known.model) => Some("has another revision's plan"),
                _ => None,
            }
        };
        let records = self.records.iter();
        records
            .filter_map(|record| Some(format!("{} {}", record.id, wrong(record)?)))
            .collect()
    }

    fn wrong_answers(&self) -> Vec<String> {
        let records: HashMap<DecisionId, &Record> = self
            .records
            .iter()
            .map(|record| (record.id, record))
            .collect();
        let answers = self.answers.iter();
        let mut wrong: Vec<String> = answers
            .filter_map(|answer| {
                let why = match records.get(&answer.decision) {
                    None => "has no record",
                    Some(record) if record.route != Some(answer.route) => "is another route's",
                    Some(record) if record.model != Some(answer.model) => "planned another model",
                    Some(_) => return None,
                };
                Some(format!("{} {why}", answer.decision))
            })
            .collect();
        if self.failures.is_empty() && self.records.len() != self.answers.len() {
            wrong.push(format!("there are {} records", self.records.len()));
        }
        wrong
    }

    /// How many requests lay wholly between a swap and the next one of the same
    /// policy, and what is wrong with those: each must have been answered by
    /// the model of the swap before, and every swap must have one.
    fn effects(&self) -> (usize, Vec<String>) {
        let (mut seen, mut wrong) = (0, Vec::new());
        for (index, swap) in self.swaps.iter().enumerate() {
            let next = self.swaps[index + 1..]
                .iter()
                .find(|next| next.route == swap.route);
            let begin = self
                .answers
                .partition_point(|answer| answer.begun <= swap.done);
            let between = self.answers[begin..]
                .iter()
                .take_while(|answer| next.is_none_or(|next| answer.begun < next.begun))
                .filter(|answer| answer.route == swap.route)
                .filter(|answer| next.is_none_or(|next| answer.ended < next.begun));
            let mut count = 0;
            for answer in between {
                count += 1;
                if answer.model != swap.model {
                    wrong.push(format!("swap {index} ({}) came too late", swap.way));
                }
            }
            if count == 0 {
                wrong.push(format!("swap {index} ({}) was never seen", swap.way));
            }
            seen += count;
        }
        (seen, wrong)
    }
}

fn row(name: &str, mut took: Vec<Duration>) -> (String, [f64; 3]) {
    let (p50, p99) = (quantile_us(&mut took, 0.5), quantile_us(&mut took, 0.99));
    (name.to_owned(), [took.len() as f64, p50, p99])
}
