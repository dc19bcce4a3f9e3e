//! How requests moved through their plans: from step to step, again, ahead of
//! time, and after a cut.
//!
//! Counted from the finished record of a request, so that nothing is counted
//! on the way and a request that one attempt served costs nothing here.

use super::RequestOutcome;
use super::word::Word;
use crate::trail::{AttemptEnd, AttemptRecord, RequestRecord, Why};
use backstop_core::fault::FailureClass;
use backstop_core::plan::STEPS_MAX;
use backstop_core::verdict::Outcome;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The positions of steps as words.
const STEPS: [&str; STEPS_MAX] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
];

type Labels<const N: usize> = [(&'static str, Word); N];

/// What is counted of moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    moved_on: Family<Labels<4>, Counter>,
    retries: Family<Labels<2>, Counter>,
    hedges: Family<Labels<2>, Counter>,
    rescues: Family<Labels<1>, Counter>,
    not_made: Family<Labels<4>, Counter>,
    malformed: Family<Labels<2>, Counter>,
}

impl Moves {
    #[rustfmt::skip] // One family a line reads as the table that it is.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("step_moves", "Moves away from a step that gave no answer, by where to and by what its last attempt came to", self.moved_on.clone());
        registry.register("retries", "Attempts that repeat one, by the class of its failure", self.retries.clone());
        registry.register("hedges", "Attempts started because others of a race took too long, those that served, and races without the budget for any", self.hedges.clone());
        registry.register("rescues", "Attempts made after a stream broke off that its caller had begun to see", self.rescues.clone());
        registry.register("calls_not_made", "Calls of models that were to be made and could not be, by why and by the priority of the request", self.not_made.clone());
        registry.register("malformed_events", "Events of streams that could not be read and were left out", self.malformed.clone());
    }

    /// Counts the moves of a request that has ended.
    pub(super) fn count(&self, record: &RequestRecord) {
        let route = || ("route", Word::Name(record.route.clone()));
        let hedges = |result| {
            let result = ("result", Word::Fixed(result));
            self.hedges.get_or_create_owned(&[route(), result])
        };
        if record.hedges_refused > 0 {
            hedges("refused").inc_by(record.hedges_refused.into());
        }
        for attempt in &record.attempts {
            if let Some(reason) = attempt.not_called {
                let labels = [
                    route(),
                    ("model", Word::Name(attempt.model.clone())),
                    ("reason", Word::Fixed(reason)),
                    ("priority", Word::Fixed(record.priority.as_str())),
                ];
                self.not_made.get_or_create(&labels).inc();
                continue;
            }
            if attempt.events_malformed > 0 {
                let release = attempt.release.clone().unwrap_or_default();
                let of = [
                    ("model", Word::Name(attempt.model.clone())),
                    ("release", Word::Name(release)),
                ];
                let events = attempt.events_malformed;
                self.malformed.get_or_create(&of).inc_by(events);
            }
            match attempt.why {
                Why::Plan | Why::LeastBad => {}
                Why::Retry => {
                    let before = record.attempts.iter().find(|before| {
                        (before.step, before.racer) == (attempt.step, attempt.racer)
                            && before.retry + 1 == attempt.retry
                    });
                    let class = ("class", before.map_or(Word::Fixed("-"), came_to));
                    self.retries.get_or_create(&[route(), class]).inc();
                }
                Why::Hedge => {
                    hedges("started").inc();
                    if served(record, attempt) {
                        hedges("won").inc();
                    }
                }
                Why::Rescue => {
                    self.rescues.get_or_create(&[route()]).inc();
                }
            }
        }
        let moved = |from: &AttemptRecord, to: &'static str| {
            let labels = [
                route(),
                ("from", Word::Fixed(step(from.step))),
                ("to", Word::Fixed(to)),
                ("class", came_to(from)),
            ];
            self.moved_on.get_or_create(&labels).inc();
        };
        let steps = || record.attempts.chunk_by(|a, b| a.step == b.step);
        for (from, to) in steps().zip(steps().skip(1)) {
            moved(last_made(from), step(to[0].step));
        }
        let last = steps().last().map(last_made);
        let to = match record.outcome {
            RequestOutcome::Rules => "rules",
            RequestOutcome::Review => "review",
            RequestOutcome::Refused => "refuse",
            RequestOutcome::Failed => "none",
            _ => return,
        };
        if let Some(last) = last {
            moved(last, to);
        }
    }
}

fn step(step: u32) -> &'static str {
    STEPS[(step as usize).min(STEPS_MAX - 1)]
}

fn served(record: &RequestRecord, attempt: &AttemptRecord) -> bool {
    attempt.end == AttemptEnd::Answered
        && record.served_by.as_ref().is_some_and(|served| {
            served.step == attempt.step
                && served.model == attempt.model
                && Some(&served.release) == attempt.release.as_ref()
        })
}

/// The last attempt of a step that was made; the last one where none was.
fn last_made(step: &[AttemptRecord]) -> &AttemptRecord {
    let mut made = step.iter().rev();
    made.find(|attempt| attempt.not_called.is_none())
        .unwrap_or(&step[step.len() - 1])
}

/// What an attempt came to, in a word: the class of its failure, why it was not
/// made, what was made of its answer, or how it ended.
fn came_to(attempt: &AttemptRecord) -> Word {
    let failure = attempt.failure.map(FailureClass::as_str);
    let judged = attempt.judged.map(Outcome::as_str);
    let word = failure.or(attempt.not_called).or(judged);
    Word::Fixed(word.unwrap_or(attempt.end.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Snapshot, Telemetry};
    use crate::trail::RequestId;
    use backstop_core::limit::Priority;
    use std::time::Duration;

    #[test]
    fn events_that_were_left_out_are_counted_by_release() {
        let attempt = AttemptRecord {
            model: "m".into(),
            release: Some("r2".into()),
            events_malformed: 3,
            ..AttemptRecord::default()
        };
        let shed = AttemptRecord {
            model: "m".into(),
            not_called: Some("queue-full"),
            ..AttemptRecord::default()
        };
        let record = RequestRecord {
            id: RequestId(1),
            caller_id: None,
            trace: None,
            route: "chat".into(),
            operation: "chat",
            streaming: true,
            priority: Priority::Critical,
            arrived_ms: 1,
            outcome: RequestOutcome::Rules,
            status: Some(200),
            decision: None,
            served_by: None,
            took: Duration::ZERO,
            first_token: None,
            attempts: vec![attempt, shed],
            hedges_refused: 2,
            attempts_left_out: 0,
        };
        let telemetry = Telemetry::new();
        telemetry.ended(&record);
        let text = telemetry.encode(&Snapshot::default()).unwrap();
        for line in [
            r#"backstop_hedges_total{route="chat",result="refused"} 2"#,
            r#"backstop_malformed_events_total{model="m",release="r2"} 3"#,
            r#"backstop_calls_not_made_total{route="chat",model="m",reason="queue-full",priority="critical"} 1"#,
            r#"backstop_step_moves_total{route="chat",from="0",to="rules",class="cancelled"} 1"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{text}");
        }
        assert!(!text.contains("gen_ai"), "not switched on");
    }
}
