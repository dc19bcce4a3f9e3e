//! Stories through the SDK's bench.

use crate::AdaptiveThreshold;
use backstop_sdk::evidence::{Line, LineReading, Measurement, ObjectiveState, ObjectiveStatus};
use backstop_sdk::metrics::{DriftReading, DriftVerdict, MetricsError, Subject};
use backstop_sdk::testing::{AnswerScript, Bench, RequestScript, Value, answer, json, request};
use backstop_sdk::{Outcome, Verdict};

const BIG: Subject<'_> = Subject::Model("big");

const DRIFTED: DriftReading = DriftReading {
    verdict: DriftVerdict::Drifted,
    psi: 0.4,
    critical: 0.1,
    current_samples: 500,
    reference_samples: 3_000,
};

/// A bench with the calibrated line at 0.8 and these settings beside it.
fn bench(mut settings: Value) -> Bench<AdaptiveThreshold> {
    if settings.get("accept_at").is_none() {
        settings["accept_at"] = json!(0.8);
    }
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

fn verdict(bench: &mut Bench<AdaptiveThreshold>, answer: AnswerScript) -> Verdict {
    bench.judge(chat(), answer).expect("a verdict")
}

fn outcome(bench: &mut Bench<AdaptiveThreshold>, confidence: f64) -> Outcome {
    verdict(bench, sure(confidence)).outcome
}

/// The line that an answer between floor and ceiling is held against.
fn line(bench: &mut Bench<AdaptiveThreshold>) -> Option<f64> {
    verdict(bench, sure(0.8)).line
}

fn labels(bench: &mut Bench<AdaptiveThreshold>, count: u64, reading: LineReading) {
    bench.measurement("labelled", BIG, measured(count, 0.9, 0.01));
    bench.line(BIG, reading);
}

fn promise(confidence: f64) -> LineReading {
    LineReading::Line(Line {
        confidence,
        coverage: 0.8,
        accepted: 400,
        wrong: 12,
        bound: 0.0489,
    })
}

fn measured(samples: u64, value: f64, standard_error: f64) -> Measurement {
    Measurement {
        samples,
        value,
        standard_error,
        age_ms: 0,
    }
}

fn objective(state: ObjectiveState) -> ObjectiveStatus {
    ObjectiveStatus {
        state,
        severity: None,
        burn_rate: 14.4,
        samples: 1_000,
    }
}

#[test]
fn without_evidence_the_calibrated_line_holds() {
    let mut bench = bench(json!({"estimate": true, "objective": "quality"}));
    for (confidence, expected) in [
        (1.0, Outcome::Accept),
        (0.8, Outcome::Accept),
        (0.7999, Outcome::Escalate),
        (0.0, Outcome::Escalate),
    ] {
        assert_eq!(outcome(&mut bench, confidence), expected, "{confidence}");
    }
    let good = verdict(&mut bench, sure(0.85));
    assert_eq!((good.confidence, good.line), (Some(0.85), Some(0.8)));
    assert_eq!(
        good.reason,
        "confidence 0.850 is at or above 0.800: 0.800 as calibrated"
    );
    let low = verdict(&mut bench, sure(0.7));
    assert_eq!(
        low.reason,
        "confidence 0.700 is below 0.800, the calibrated line"
    );
}

#[test]
fn labels_raise_the_line_and_never_lower_it() {
    let mut bench = bench(json!({}));
    labels(&mut bench, 500, promise(0.87));
    let strict = verdict(&mut bench, sure(0.86));
    assert_eq!(
        (strict.outcome, strict.line),
        (Outcome::Escalate, Some(0.87))
    );
    assert_eq!(
        strict.reason,
        "confidence 0.860 is below 0.870: 0.870 as labels promise (12 of 400 were wrong above \
         0.870, bound 0.048)"
    );
    assert_eq!(outcome(&mut bench, 0.87), Outcome::Accept);

    labels(&mut bench, 500, promise(0.5));
    let usual = verdict(&mut bench, sure(0.8));
    assert_eq!((usual.outcome, usual.line), (Outcome::Accept, Some(0.8)));
    assert!(
        usual.reason.ends_with("0.800 as calibrated"),
        "{}",
        usual.reason
    );
    assert_eq!(outcome(&mut bench, 0.79), Outcome::Escalate);
}

#[test]
fn labels_that_promise_no_line_leave_the_ceiling() {
    let mut bench = bench(json!({"ceiling": 0.95}));
    labels(&mut bench, 500, LineReading::Infeasible);
    let strict = verdict(&mut bench, sure(0.949));
    assert_eq!(
        (strict.outcome, strict.line),
        (Outcome::Escalate, Some(0.95))
    );
    assert_eq!(
        strict.reason,
        "confidence 0.949 is below 0.950: 0.950, the ceiling, since 500 labelled answers promise \
         no line"
    );
    let top = verdict(&mut bench, sure(0.95));
    assert_eq!(top.outcome, Outcome::Accept);
    assert_eq!(
        top.reason,
        "confidence 0.950 is at or above 0.950, the ceiling"
    );
}

#[test]
fn few_labels_move_no_line() {
    let mut bench = bench(json!({"labels_min": 200}));
    for reading in [promise(0.9), LineReading::Infeasible] {
        labels(&mut bench, 199, reading);
        assert_eq!(line(&mut bench), Some(0.8), "{reading:?}");
    }
    labels(&mut bench, 200, promise(0.9));
    assert_eq!(line(&mut bench), Some(0.9));
    labels(&mut bench, 1_000, LineReading::NotEnoughData(40));
    assert_eq!(line(&mut bench), Some(0.8));
}

#[test]
fn each_sign_raises_the_line() {
    let mut bench = bench(json!({"estimate": true, "objective": "quality"}));
    bench.drift("confidence", BIG, DRIFTED);
    assert_eq!(line(&mut bench), Some(0.85));
    bench.objective("quality", objective(ObjectiveState::Firing));
    assert_eq!(line(&mut bench), Some(0.9));
    bench.measurement("estimated-accuracy", BIG, measured(900, 0.91, 0.01));
    assert_eq!(line(&mut bench), Some(0.95));
    assert_eq!(
        verdict(&mut bench, sure(0.9)).reason,
        "confidence 0.900 is below 0.950: 0.800 as calibrated, 0.050 more because confidence \
         drifted: index 0.400 above 0.100, 0.050 more because objective `quality` burns 14.400 \
         times as fast as it may, 0.050 more because accuracy is estimated at 0.910 with an error \
         of 0.010, below 0.950"
    );
    labels(&mut bench, 500, promise(0.87));
    assert_eq!(
        line(&mut bench),
        Some(0.99),
        "signs come on top, up to the ceiling"
    );
}

#[test]
fn what_is_no_sign_raises_nothing() {
    let mut bench = bench(json!({"estimate": true, "objective": "quality", "window_s": 600}));
    let drift = |verdict| DriftReading { verdict, ..DRIFTED };
    for verdict in [DriftVerdict::Stable, DriftVerdict::NotEnoughData] {
        bench.drift("confidence", BIG, drift(verdict));
        assert_eq!(line(&mut bench), Some(0.8), "{verdict:?}");
    }
    for state in [
        ObjectiveState::Met,
        ObjectiveState::Pending,
        ObjectiveState::NoEvidence,
    ] {
        bench.objective("quality", objective(state));
        assert_eq!(line(&mut bench), Some(0.8), "{state:?}");
    }
    let stale = Measurement {
        age_ms: 600_001,
        ..measured(900, 0.5, 0.01)
    };
    for (estimate, why) in [
        (measured(900, 0.931, 0.01), "its error explains it"),
        (measured(199, 0.5, 0.01), "too few answers"),
        (measured(0, 0.0, 0.0), "no answer"),
        (stale, "older than the window"),
    ] {
        bench.measurement("estimated-accuracy", BIG, estimate);
        assert_eq!(line(&mut bench), Some(0.8), "{why}");
    }
    bench.measurement("estimated-accuracy", BIG, measured(900, 0.929, 0.01));
    assert_eq!(line(&mut bench), Some(0.85));
}

#[test]
fn the_estimate_is_read_only_where_it_is_asked_for() {
    let mut bench = bench(json!({}));
    bench.measurement("estimated-accuracy", BIG, measured(900, 0.1, 0.01));
    assert_eq!(line(&mut bench), Some(0.8));
}

#[test]
fn a_baseline_is_what_drift_is_held_against() {
    let mut bench = bench(json!({"baseline": "spring"}));
    bench.drift("confidence", BIG, DRIFTED);
    assert_eq!(
        line(&mut bench),
        Some(0.8),
        "there is no such baseline, and that is no evidence"
    );
    bench.drift_from("confidence", BIG, "spring", DRIFTED);
    assert_eq!(line(&mut bench), Some(0.85));
    let reason = verdict(&mut bench, sure(0.8)).reason;
    assert!(
        reason.contains("drifted from baseline `spring`: index 0.400"),
        "{reason}"
    );
}

#[test]
fn queries_that_fail_loosen_nothing() {
    let mut bench = bench(json!({"estimate": true, "objective": "quality"}));
    labels(&mut bench, 500, promise(0.87));
    bench.drift("confidence", BIG, DRIFTED);
    assert_eq!(line(&mut bench), Some(0.92));
    for (metric, left) in [
        ("estimated-accuracy", 0.92),
        ("confidence", 0.87),
        ("labelled", 0.8),
    ] {
        bench.metric_fails(metric, MetricsError::Unavailable("starting".into()));
        assert_eq!(line(&mut bench), Some(left), "{metric}");
        assert_eq!(outcome(&mut bench, 0.79), Outcome::Escalate);
    }
    let mut bench = self::bench(json!({"estimate": true, "objective": "quality"}));
    bench.grant_nothing();
    assert_eq!(line(&mut bench), Some(0.8));
    assert_eq!(outcome(&mut bench, 0.79), Outcome::Escalate);
}

#[test]
fn signs_can_be_switched_off() {
    let mut bench = bench(json!({"tighten_by": 0}));
    bench.drift("confidence", BIG, DRIFTED);
    labels(&mut bench, 500, promise(0.87));
    let strict = verdict(&mut bench, sure(0.86));
    assert_eq!(strict.line, Some(0.87));
    assert!(!strict.reason.contains("drifted"), "{}", strict.reason);
}

#[test]
fn answers_below_the_line_go_where_they_are_told() {
    let mut bench = bench(json!({"below": "review"}));
    assert_eq!(outcome(&mut bench, 0.5), Outcome::Review);
    let no_queue = bench.judge(request("chat"), sure(0.5)).expect("a verdict");
    assert_eq!(no_queue.outcome, Outcome::Escalate);

    let mut usual = self::bench(json!({}));
    let last = sure(0.5).step(1, 0);
    assert_eq!(verdict(&mut usual, last.clone()).outcome, Outcome::Review);
    let nowhere = usual.judge(request("chat"), last.clone());
    assert_eq!(nowhere.expect("a verdict").outcome, Outcome::Escalate);
    let mut lenient = self::bench(json!({"nothing_left": "accept"}));
    let nowhere = lenient.judge(request("chat"), last);
    assert_eq!(nowhere.expect("a verdict").outcome, Outcome::Accept);

    let passed = verdict(&mut usual, sure(0.5).delivered());
    assert_eq!(passed.outcome, Outcome::Review);
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
    let odd = outcome(&mut bench(json!({})), f64::NAN);
    assert_eq!(odd, Outcome::Escalate, "no number is no confidence");
}

#[test]
fn mistakes_in_the_settings_are_told() {
    let problems =
        Bench::<AdaptiveThreshold>::new(json!({"accept_at": 0.995})).expect_err("one mistake");
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(paths, ["/ceiling"]);
    for wrong in [
        json!({}),
        json!({"accept_at": 1.5}),
        json!({"accept_at": 0.8, "below": "accept"}),
        json!({"accept_at": 0.8, "error_max": 0}),
        json!({"accept_at": 0.8, "delta": 1}),
        json!({"accept_at": 0.8, "baseline": ""}),
        json!({"accept_at": 0.8, "review_below": 0.4}),
    ] {
        assert!(
            Bench::<AdaptiveThreshold>::new(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn provenance_is_kept_and_decides_nothing() {
    let provenance = json!({
        "data": "history.csv", "sha256": "ab", "rows": 10_000, "wrong": 310,
        "method": "fixed-sequence", "error_max": 0.03, "delta": 0.05, "bound": 0.0291,
        "coverage": 0.71, "chosen_at": "2026-11-25T12:00:00Z", "release": "v3",
    });
    let (mut with, mut without) = (bench(json!({"provenance": provenance})), bench(json!({})));
    for confidence in [0.0, 0.79, 0.8, 0.9, 0.99, 1.0] {
        assert_eq!(
            verdict(&mut with, sure(confidence)),
            verdict(&mut without, sure(confidence)),
            "{confidence}"
        );
    }
    let misspelt = json!({"accept_at": 0.8, "provenance": {"sha265": "ab"}});
    assert!(Bench::<AdaptiveThreshold>::new(misspelt).is_err());
}
