//! Stories through the SDK's bench.

use crate::ConfidenceThreshold;
use backstop_sdk::metrics::{DriftReading, DriftVerdict, MetricsError, Subject};
use backstop_sdk::testing::{AnswerScript, Bench, RequestScript, Value, answer, json, request};
use backstop_sdk::{FinishReason, Outcome, Verdict};

fn bench(settings: Value) -> Bench<ConfidenceThreshold> {
    Bench::new(settings).expect("the settings are valid")
}

/// A route with a review queue.
fn chat() -> RequestScript {
    request("chat").model("big").review()
}

/// An answer of a step that one more step follows.
fn sure(confidence: f64) -> AnswerScript {
    answer("big").step(0, 1).confidence(confidence)
}

fn verdict(bench: &mut Bench<ConfidenceThreshold>, answer: AnswerScript) -> Verdict {
    bench.judge(chat(), answer).expect("a verdict")
}

fn outcome(bench: &mut Bench<ConfidenceThreshold>, answer: AnswerScript) -> Outcome {
    verdict(bench, answer).outcome
}

#[test]
fn answers_are_judged_by_the_side_of_the_lines_they_are_on() {
    let mut bench = bench(json!({"accept_at": 0.8, "review_below": 0.4}));
    for (confidence, expected) in [
        (1.0, Outcome::Accept),
        (0.8, Outcome::Accept),
        (0.7999, Outcome::Escalate),
        (0.4, Outcome::Escalate),
        (0.3999, Outcome::Review),
        (0.0, Outcome::Review),
    ] {
        assert_eq!(
            outcome(&mut bench, sure(confidence)),
            expected,
            "{confidence}"
        );
    }
}

#[test]
fn verdicts_hold_the_evidence() {
    let mut bench = bench(json!({"accept_at": 0.8, "review_below": 0.4}));
    let good = verdict(&mut bench, sure(0.91));
    assert_eq!((good.confidence, good.line), (Some(0.91), Some(0.8)));
    assert_eq!(good.reason, "confidence 0.910 is at or above 0.800");
    let low = verdict(&mut bench, sure(0.1));
    assert_eq!((low.confidence, low.line), (Some(0.1), Some(0.4)));
    assert_eq!(low.reason, "confidence 0.100 is below 0.400");
}

#[test]
fn the_last_step_escalates_to_review() {
    let mut bench = bench(json!({}));
    let last = sure(0.5).step(1, 0);
    assert_eq!(outcome(&mut bench, last.clone()), Outcome::Review);
    let no_queue = bench
        .judge(request("chat"), last.clone())
        .expect("a verdict");
    assert_eq!(no_queue.outcome, Outcome::Escalate, "to the last resort");
    let mut lenient = self::bench(json!({"nothing_left": "accept"}));
    let no_queue = lenient.judge(request("chat"), last).expect("a verdict");
    assert_eq!(no_queue.outcome, Outcome::Accept);
    assert!(
        no_queue
            .reason
            .ends_with("no step left and no review queue")
    );
}

#[test]
fn review_without_a_queue_goes_to_the_next_step() {
    let mut bench = bench(json!({"review_below": 0.4}));
    let verdict = bench.judge(request("chat"), sure(0.1)).expect("a verdict");
    assert_eq!(verdict.outcome, Outcome::Escalate);
}

#[test]
fn labels_have_lines_of_their_own() {
    let mut bench = bench(json!({
        "accept_at": 0.6,
        "per_label": {"fraud": {"accept_at": 0.95, "review_below": 0.7}},
    }));
    assert_eq!(
        outcome(&mut bench, sure(0.7).label("fine")),
        Outcome::Accept
    );
    let fraud = verdict(&mut bench, sure(0.9).label("fraud"));
    assert_eq!(fraud.outcome, Outcome::Escalate);
    assert_eq!(
        fraud.reason,
        "confidence 0.900 is in the band below 0.950 for label `fraud`"
    );
    assert_eq!(
        outcome(&mut bench, sure(0.6).label("fraud")),
        Outcome::Review
    );
}

#[test]
fn an_answer_without_confidence_is_never_taken_for_a_good_one_unless_told() {
    for (said, expected) in [
        (json!({}), Outcome::Escalate),
        (json!({"without_confidence": "review"}), Outcome::Review),
        (json!({"without_confidence": "accept"}), Outcome::Accept),
    ] {
        let verdict = verdict(&mut bench(said.clone()), answer("big").step(0, 1));
        assert_eq!(verdict.outcome, expected, "{said}");
        assert_eq!((verdict.confidence, verdict.line), (None, None));
    }
    let odd = outcome(&mut bench(json!({})), sure(f64::NAN));
    assert_eq!(odd, Outcome::Escalate, "no number is no confidence");
}

#[test]
fn low_accuracy_makes_the_line_stricter() {
    let mut bench = bench(json!({"accept_at": 0.8, "tighten_by": 0.1}));
    assert_eq!(outcome(&mut bench, sure(0.85)), Outcome::Accept);
    bench.rate("accuracy", Subject::Model("big"), 80, 100);
    let strict = verdict(&mut bench, sure(0.85));
    assert_eq!(strict.outcome, Outcome::Escalate);
    assert_eq!(
        strict.reason,
        "confidence 0.850 is in the band below 0.900; stricter because 80 of 100 labelled \
         answers were right, below 0.900"
    );
    assert_eq!(outcome(&mut bench, sure(0.9)), Outcome::Accept);
    bench.rate("accuracy", Subject::Model("big"), 90, 100);
    assert_eq!(outcome(&mut bench, sure(0.85)), Outcome::Accept);
}

#[test]
fn few_labels_and_silent_metrics_change_no_line() {
    let mut bench = bench(json!({"tighten_on_drift": true}));
    bench.rate("accuracy", Subject::Model("big"), 0, 49);
    assert_eq!(outcome(&mut bench, sure(0.85)), Outcome::Accept);
    for error in [
        MetricsError::Denied("accuracy".into()),
        MetricsError::Deadline,
        MetricsError::Unavailable("starting".into()),
    ] {
        bench.metric_fails("accuracy", error);
        assert_eq!(outcome(&mut bench, sure(0.85)), Outcome::Accept);
        assert_eq!(outcome(&mut bench, sure(0.75)), Outcome::Escalate);
    }
}

#[test]
fn drift_makes_the_line_stricter_when_asked_for() {
    let drifted = DriftReading {
        verdict: DriftVerdict::Drifted,
        psi: 0.4,
        critical: 0.1,
        current_samples: 500,
        reference_samples: 3_000,
    };
    let mut watching = bench(json!({"tighten_on_drift": true}));
    watching.drift("confidence", Subject::Model("big"), drifted);
    assert_eq!(outcome(&mut watching, sure(0.85)), Outcome::Escalate);
    let mut not_watching = bench(json!({}));
    not_watching.drift("confidence", Subject::Model("big"), drifted);
    assert_eq!(outcome(&mut not_watching, sure(0.85)), Outcome::Accept);
}

#[test]
fn the_stricter_line_never_leaves_the_range() {
    let mut bench = bench(json!({"accept_at": 0.95, "tighten_by": 0.5}));
    bench.rate("accuracy", Subject::Model("big"), 1, 100);
    let strict = verdict(&mut bench, sure(0.99));
    assert_eq!(
        (strict.outcome, strict.line),
        (Outcome::Escalate, Some(1.0))
    );
    assert_eq!(outcome(&mut bench, sure(1.0)), Outcome::Accept);
}

#[test]
fn answers_that_were_cut_short_are_treated_as_told() {
    let filtered = sure(0.99).finish_reason(FinishReason::ContentFilter);
    let cut = sure(0.99).finish_reason(FinishReason::Length);
    let mut usual = bench(json!({}));
    assert_eq!(outcome(&mut usual, filtered.clone()), Outcome::Review);
    assert_eq!(outcome(&mut usual, cut.clone()), Outcome::Accept);
    let mut told = bench(json!({"on_length": "escalate", "on_content_filter": "judge"}));
    assert_eq!(outcome(&mut told, cut), Outcome::Escalate);
    assert_eq!(outcome(&mut told, filtered), Outcome::Accept);
    let ended = sure(0.99).finish_reason(FinishReason::Stop);
    assert_eq!(outcome(&mut told, ended), Outcome::Accept);
}

#[test]
fn a_stream_that_has_passed_can_only_be_reviewed() {
    let mut bench = bench(json!({}));
    assert_eq!(outcome(&mut bench, sure(0.9).delivered()), Outcome::Accept);
    let low = verdict(&mut bench, sure(0.5).delivered());
    assert_eq!(low.outcome, Outcome::Review);
    let no_queue = bench
        .judge(request("chat"), sure(0.5).delivered())
        .expect("a verdict");
    assert_eq!(no_queue.outcome, Outcome::Accept);
    assert!(no_queue.reason.contains("already delivered"));
}

#[test]
fn mistakes_in_the_settings_are_all_told() {
    let problems = Bench::<ConfidenceThreshold>::new(json!({
        "accept_at": 0.5,
        "review_below": 0.6,
        "per_label": {"a/b": {"accept_at": 0.1}, "ok": {"review_below": 0.2}},
    }))
    .expect_err("two mistakes");
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(paths, ["/review_below", "/per_label/a~1b"]);
    for wrong in [
        json!({"accept_at": 1.5}),
        json!({"in_band": "explode"}),
        json!({"per_label": {"a": {"accept": 1}}}),
        json!({"accept": 0.5}),
    ] {
        assert!(
            Bench::<ConfidenceThreshold>::new(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_slow_beginning_goes_on_to_the_next_step() {
    let mut bench = bench(json!({"tokens_per_second_min": 5}));
    let begun = |ms: u32, tokens| {
        sure(0.9)
            .partial()
            .streamed(100, tokens)
            .latency_ms(100 + ms)
    };
    for (answer, expected) in [
        (begun(2_000, 5), Outcome::Escalate),
        (begun(2_000, 11), Outcome::Accept),
        // Too soon to tell.
        (begun(100, 1), Outcome::Accept),
        // Whole, seen already, or the last step: another one would not help.
        (
            sure(0.9).streamed(100, 5).latency_ms(2_100),
            Outcome::Accept,
        ),
        (begun(2_000, 5).delivered(), Outcome::Accept),
        (begun(2_000, 5).step(1, 0), Outcome::Accept),
    ] {
        let verdict = verdict(&mut bench, answer.clone());
        assert_eq!(verdict.outcome, expected, "{answer:?}: {}", verdict.reason);
    }
    let reason = verdict(&mut bench, begun(2_000, 5)).reason;
    assert!(
        reason.contains("2.000 tokens a second, below 5.000"),
        "{reason}"
    );
}

#[test]
fn provenance_is_kept_and_decides_nothing() {
    let provenance = json!({
        "data": "history.csv", "sha256": "ab", "rows": 10_000, "wrong": 310,
        "method": "fixed-sequence", "error_max": 0.03, "delta": 0.05, "bound": 0.0291,
        "coverage": 0.71, "label_bounds": {"spam": 0.028},
        "chosen_at": "2026-11-25T12:00:00Z", "release": "v3",
    });
    let lines = json!({"accept_at": 0.8, "review_below": 0.4});
    let mut with = lines.clone();
    with["provenance"] = provenance;
    let (mut with, mut without) = (bench(with), bench(lines));
    for confidence in [0.0, 0.39, 0.4, 0.79, 0.8, 1.0] {
        assert_eq!(
            verdict(&mut with, sure(confidence)),
            verdict(&mut without, sure(confidence)),
            "{confidence}"
        );
    }
    let misspelt = json!({"provenance": {"sha265": "ab"}});
    assert!(Bench::<ConfidenceThreshold>::new(misspelt).is_err());
}
