//! What is evidence of what: of an answer that was given, and of what is said
//! about it later.

use crate::config;
use crate::evidence::{AnswerOf, Evidence};
use crate::spans::finish_reason;
use crate::store::{Fact, PassedOver, RememberedAnswer, Segment};
use backstop_core::evidence::{MetricKind, SeriesError};
use backstop_core::input::FinishReason;
use backstop_core::metric::name;

/// What people make of answers, in `[0, 1]`.
const RATING: &str = "rating";
/// The predicted label.
const LABEL: &str = "label";
/// Why the model stopped.
const FINISH_REASON: &str = "finish-reason";

/// The kinds of facts.
pub(super) mod kind {
    pub(crate) const LABEL: &str = "label";
    pub(crate) const CORRECT: &str = "correct";
    pub(crate) const ANSWER: &str = "answer";
    pub(crate) const RATING: &str = "rating";
    /// Before the name of an outcome; the metric is called the same.
    pub(crate) const OUTCOME: &str = "outcome:";
}

/// Makes the metrics of `feedback` known, so that asking for them before the
/// first is no evidence rather than a mistake.
///
/// # Errors
///
/// The first that is known as of another kind, or is one too many.
pub(crate) fn declare(evidence: &Evidence, feedback: &config::Feedback) -> Result<(), SeriesError> {
    let store = evidence.store();
    for (metric, kind) in [
        (name::ACCURACY, MetricKind::Rate),
        (name::LABELLED, MetricKind::Labelled),
        (RATING, MetricKind::Value),
        (LABEL, MetricKind::Category),
        (FINISH_REASON, MetricKind::Category),
    ] {
        store.declare(metric, kind)?;
    }
    if feedback.positive_label.is_some() {
        store.declare(name::PRECISION, MetricKind::Rate)?;
        store.declare(name::RECALL, MetricKind::Rate)?;
    }
    for (outcome, kind) in &feedback.outcomes {
        let kind = match kind {
            config::OutcomeKind::Rate => MetricKind::Rate,
            config::OutcomeKind::Value => MetricKind::Value,
        };
        store.declare(&format!("{}{outcome}", kind::OUTCOME), kind)?;
    }
    Ok(())
}

fn of(answer: &RememberedAnswer) -> AnswerOf<'_> {
    AnswerOf {
        route: Some(&answer.route),
        model: Some(&answer.model),
        release: Some(&answer.release),
        at_ms: answer.arrived_ms,
        segments: &answer.segments,
    }
}

/// Counts what is known of an answer when it is given.
pub(super) fn given(
    evidence: &Evidence,
    now_ms: u64,
    answer: &RememberedAnswer,
    reason: Option<FinishReason>,
) {
    let of = of(answer);
    let category = |metric, word: &str| {
        evidence.each(&of, metric, MetricKind::Category, |series| {
            series.record_category(now_ms, of.at_ms, word);
        });
    };
    if let Some(label) = &answer.label {
        category(LABEL, label);
    }
    if let Some(reason) = reason {
        category(FINISH_REASON, finish_reason(reason));
    }
}

/// Counts whether an answer was right.
pub(super) fn right(
    evidence: &Evidence,
    now_ms: u64,
    of: &AnswerOf<'_>,
    confidence: Option<f64>,
    right: bool,
) {
    let at_ms = of.at_ms;
    evidence.each(of, name::ACCURACY, MetricKind::Rate, |series| {
        series.record_rate_at(now_ms, at_ms, right);
    });
    if let Some(confidence) = confidence {
        evidence.each(of, name::LABELLED, MetricKind::Labelled, |series| {
            series.record_labelled(now_ms, at_ms, confidence, right);
        });
    }
}

/// Counts the facts about an answer that are new.
pub(super) fn facts(
    evidence: &Evidence,
    now_ms: u64,
    answer: &RememberedAnswer,
    facts: &[Fact],
    is_new: &[bool],
    positive: Option<&str>,
) {
    let of = of(answer);
    let with_age = || facts.iter().zip(is_new.iter().copied());
    let mut before = Known::default();
    let mut after = Known::default();
    for (fact, new) in with_age() {
        after.learn(fact);
        if !new {
            before.learn(fact);
            continue;
        }
        match (&*fact.kind, fact.value.as_bool(), fact.value.as_f64()) {
            (kind::CORRECT, Some(was_right), _) => {
                right(evidence, now_ms, &of, answer.confidence, was_right);
            }
            (kind::RATING, _, Some(rating)) => {
                evidence.each(&of, RATING, MetricKind::Value, |series| {
                    series.record_value_at(now_ms, of.at_ms, rating);
                });
            }
            (outcome, Some(happened), _) if outcome.starts_with(kind::OUTCOME) => {
                evidence.each(&of, outcome, MetricKind::Rate, |series| {
                    series.record_rate_at(now_ms, of.at_ms, happened);
                });
            }
            (outcome, _, Some(number)) if outcome.starts_with(kind::OUTCOME) => {
                evidence.each(&of, outcome, MetricKind::Value, |series| {
                    series.record_value_at(now_ms, of.at_ms, number);
                });
            }
            _ => {}
        }
    }
    let predicted = answer.label.as_deref();
    if let (None, Some(truth)) = (before.truth(predicted), after.truth(predicted)) {
        for passed_over in &answer.passed_over {
            judged(evidence, now_ms, answer, passed_over, truth);
        }
    }
    let (Some(positive), Some(predicted)) = (positive, answer.label.as_deref()) else {
        return;
    };
    let (before, after) = (
        before.confusion(predicted, positive),
        after.confusion(predicted, positive),
    );
    for (metric, before, after) in [
        (name::PRECISION, before.0, after.0),
        (name::RECALL, before.1, after.1),
    ] {
        if let (None, Some(event)) = (before, after) {
            evidence.each(&of, metric, MetricKind::Rate, |series| {
                series.record_rate_at(now_ms, of.at_ms, event);
            });
        }
    }
}

/// Counts whether an answer that its caller never saw would have been right,
/// among the labelled answers of its model and release. Without these, what is
/// escalated would never be labelled, and a line that has risen would never
/// learn whether it may come down. Accuracy is that of answers that were given.
fn judged(
    evidence: &Evidence,
    now_ms: u64,
    answer: &RememberedAnswer,
    passed_over: &PassedOver,
    truth: &str,
) {
    let of = AnswerOf {
        route: None,
        model: Some(&passed_over.model),
        release: Some(&passed_over.release),
        at_ms: answer.arrived_ms,
        segments: &answer.segments,
    };
    let right = passed_over.label == truth;
    evidence.each(&of, name::LABELLED, MetricKind::Labelled, |series| {
        series.record_labelled(now_ms, of.at_ms, passed_over.confidence, right);
    });
}

/// Whether `answer` was right, and the right label, as far as `facts` tell.
pub(crate) fn truth(answer: &RememberedAnswer, facts: &[Fact]) -> (Option<bool>, Option<String>) {
    let mut known = Known::default();
    facts.iter().for_each(|fact| known.learn(fact));
    let truth = known.truth(answer.label.as_deref());
    (known.right, truth.map(str::to_owned))
}

/// What is known of the right label.
#[derive(Debug, Default, Clone, Copy)]
struct Known<'f> {
    right: Option<bool>,
    label: Option<&'f str>,
}

impl<'f> Known<'f> {
    fn learn(&mut self, fact: &'f Fact) {
        match &*fact.kind {
            kind::CORRECT => self.right = fact.value.as_bool(),
            kind::LABEL => self.label = fact.value.as_str(),
            _ => {}
        }
    }

    /// The right label, where it is known: that of an answer that is right is.
    fn truth(self, predicted: Option<&'f str>) -> Option<&'f str> {
        self.label
            .or_else(|| predicted.filter(|_| self.right == Some(true)))
    }

    /// What counts into precision and recall: none where it is not a case, or
    /// not known to be one.
    fn confusion(self, predicted: &str, positive: &str) -> (Option<bool>, Option<bool>) {
        let says = predicted == positive;
        let is = match (self.label, self.right) {
            (Some(label), _) => Some(label == positive),
            (None, Some(true)) => Some(says),
            // Wrong, and it said positive: then it is not. Of another wrong
            // label nobody knows what would have been right.
            (None, Some(false)) if says => Some(false),
            (None, _) => None,
        };
        let precision = is.filter(|_| says);
        let recall = is.filter(|is| *is).map(|_| says);
        (precision, recall)
    }
}

/// Segments of an answer of which nothing more is known.
pub(super) const NO_SEGMENTS: &[Segment] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_recall_count_what_is_known_and_nothing_else() {
        let known = |right, label| Known { right, label };
        for (known, predicted, expected) in [
            (known(None, Some("p")), "p", (Some(true), Some(true))),
            (known(None, Some("n")), "p", (Some(false), None)),
            (known(None, Some("p")), "n", (None, Some(false))),
            (known(None, Some("n")), "n", (None, None)),
            (known(Some(true), None), "p", (Some(true), Some(true))),
            (known(Some(false), None), "p", (Some(false), None)),
            (known(Some(true), None), "n", (None, None)),
            (known(Some(false), None), "n", (None, None)),
            (known(None, None), "p", (None, None)),
        ] {
            assert_eq!(
                known.confusion(predicted, "p"),
                expected,
                "{known:?} {predicted}"
            );
        }
    }
}
