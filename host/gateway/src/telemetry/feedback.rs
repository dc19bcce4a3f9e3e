//! What becomes of answers that are to be remembered, and of feedback on them.

use super::labels::{One, Three};
use super::{NO_ROUTE, one};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counters of feedback. Routes and kinds are names out of the configuration
/// and a closed set of words.
#[derive(Debug, Default)]
pub(crate) struct FeedbackMetrics {
    feedback: Family<Three, Counter>,
    remembered: Family<One, Counter>,
    lost: Family<One, Counter>,
}

impl FeedbackMetrics {
    #[rustfmt::skip] // One family a line reads as the table that it is.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("feedback", "What was said about answers, by kind (`label`, `correct`, `answer`, `rating`, `outcome:NAME`) and what became of it: `taken`, `unchanged`, `contradicts`, `invalid`, `unknown`, `expired` or `not-taken`; `-` where nothing more is known", self.feedback.clone());
        registry.register("answers_remembered", "Answers that were written down for feedback", self.remembered.clone());
        registry.register("answers_lost", "Answers that were to be remembered and are not: too many waited, or the store failed for too long", self.lost.clone());
    }

    /// Counts one thing that was said about an answer of `route`.
    pub(crate) fn feedback(&self, route: &str, kind: &str, result: &'static str) {
        let labels = [
            ("route", route.to_owned()),
            ("kind", kind.to_owned()),
            ("result", result.to_owned()),
        ];
        self.feedback.get_or_create(&labels).inc();
    }

    /// Counts feedback that was not taken.
    pub(crate) fn refused(&self, kind: &str, result: &'static str) {
        self.feedback(NO_ROUTE, kind, result);
    }

    /// Counts answers of `route` that were written.
    pub(crate) fn remembered(&self, route: &str, answers: u64) {
        let counter = self.remembered.get_or_create(&one("route", route));
        counter.inc_by(answers);
    }

    /// Counts answers of `route` that were not.
    pub(crate) fn lost(&self, route: &str, answers: u64) {
        let counter = self.lost.get_or_create(&one("route", route));
        counter.inc_by(answers);
    }
}
