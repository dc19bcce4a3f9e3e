//! Stories through the SDK's bench.

mod incidents;

use crate::DriftGuard;
use backstop_sdk::evidence::Measurement;
use backstop_sdk::metrics::{
    Comparison, ComparisonVerdict, Direction, DriftReading, DriftVerdict, MetricsError, Subject,
};
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

/// A bench with these watches, and nothing else set.
fn watching(watch: Value) -> Bench<DriftGuard> {
    bench(json!({"watch": watch}))
}

fn bench(settings: Value) -> Bench<DriftGuard> {
    Bench::new(settings).expect("the settings are valid")
}

/// A route with a review queue.
fn chat() -> RequestScript {
    request("chat").model("big").review()
}

/// An answer of a step that one more step follows.
fn step() -> AnswerScript {
    answer("big").step(0, 1)
}

fn verdict(bench: &mut Bench<DriftGuard>, answer: AnswerScript) -> Verdict {
    bench.judge(chat(), answer).expect("a verdict")
}

fn outcome(bench: &mut Bench<DriftGuard>) -> Outcome {
    verdict(bench, step()).outcome
}

fn measured(value: f64, standard_error: f64) -> Measurement {
    Measurement {
        samples: 900,
        value,
        standard_error,
        age_ms: 0,
    }
}

/// Of a thousand seeds, spread evenly, how many answers are not accepted.
fn affected(bench: &mut Bench<DriftGuard>) -> usize {
    let seeds = (0..1_000_u64).map(|n| n * (u64::MAX / 1_000) + u64::MAX / 2_000);
    seeds
        .filter(|&seed| {
            bench.seed(seed);
            outcome(bench) != Outcome::Accept
        })
        .count()
}

#[test]
fn drift_makes_answers_go_on() {
    let mut bench = watching(json!([{"metric": "confidence", "kind": "drift"}]));
    bench.drift("confidence", BIG, DRIFTED);
    let bad = verdict(&mut bench, step());
    assert_eq!(bad.outcome, Outcome::Escalate);
    assert_eq!(bad.reason, "`confidence` drifted: index 0.400 above 0.100");
    let stable = DriftReading {
        verdict: DriftVerdict::Stable,
        ..DRIFTED
    };
    bench.drift("confidence", BIG, stable);
    let quiet = verdict(&mut bench, step());
    assert_eq!(quiet.outcome, Outcome::Accept);
    assert_eq!(quiet.reason, "no watch concerns this answer: 1 quiet");
}

#[test]
fn no_evidence_gets_no_response_and_is_not_called_good() {
    let mut bench = watching(json!([
        {"metric": "confidence", "kind": "drift"},
        {"metric": "accuracy", "kind": "below", "limit": 0.9, "window_s": 600},
        {"metric": "outcome:paid", "kind": "below", "baseline": "spring"},
    ]));
    let nothing = "no watch concerns this answer: 3 without evidence";
    assert_eq!(verdict(&mut bench, step()).reason, nothing);

    let few = DriftReading {
        current_samples: 99,
        ..DRIFTED
    };
    let undecided = DriftReading {
        verdict: DriftVerdict::NotEnoughData,
        ..DRIFTED
    };
    let (bad, comparison) = (measured(0.1, 0.01), worse(1_000));
    for reading in [few, undecided] {
        bench.drift("confidence", BIG, reading);
        for measurement in [
            Measurement { samples: 99, ..bad },
            Measurement {
                age_ms: 600_001,
                ..bad
            },
            Measurement {
                value: f64::NAN,
                ..bad
            },
        ] {
            bench.measurement("accuracy", BIG, measurement);
            for comparison in [
                Comparison {
                    candidate_samples: 99,
                    ..comparison
                },
                Comparison {
                    verdict: ComparisonVerdict::NotEnoughData,
                    ..comparison
                },
            ] {
                bench.comparison_with("outcome:paid", BIG, "spring", comparison);
                let verdict = verdict(&mut bench, step());
                assert_eq!(verdict.outcome, Outcome::Accept);
                assert_eq!(verdict.reason, nothing, "{reading:?} {measurement:?}");
            }
        }
    }
    for error in [
        MetricsError::Denied("accuracy".into()),
        MetricsError::Deadline,
        MetricsError::Unavailable("starting".into()),
    ] {
        bench.drift("confidence", BIG, DRIFTED);
        bench.measurement("accuracy", BIG, bad);
        bench.metric_fails("confidence", error.clone());
        bench.metric_fails("accuracy", error);
        assert_eq!(verdict(&mut bench, step()).reason, nothing);
    }
}

fn worse(candidate_samples: u64) -> Comparison {
    Comparison {
        verdict: ComparisonVerdict::Worse,
        effect: -0.08,
        low: -0.11,
        high: -0.05,
        candidate_samples,
        baseline_samples: 5_000,
    }
}

#[test]
fn figures_are_past_their_limit_by_more_than_their_error() {
    let mut bench = watching(json!([
        {"metric": "estimated-accuracy", "kind": "below", "limit": 0.9},
        {"metric": "process-cpu", "kind": "above", "limit": 3},
    ]));
    for (accuracy, cpu, expected) in [
        (
            measured(0.881, 0.01),
            measured(3.019, 0.01),
            Outcome::Accept,
        ),
        (measured(0.879, 0.01), measured(0.0, 0.0), Outcome::Escalate),
        (measured(1.0, 0.0), measured(3.021, 0.01), Outcome::Escalate),
        (measured(0.9, 0.0), measured(3.0, 0.0), Outcome::Accept),
    ] {
        bench.measurement("estimated-accuracy", BIG, accuracy);
        bench.measurement("process-cpu", BIG, cpu);
        let verdict = verdict(&mut bench, step());
        assert_eq!(verdict.outcome, expected, "{accuracy:?} {cpu:?}");
    }
    bench.measurement("estimated-accuracy", BIG, measured(0.875, 0.01));
    bench.measurement("process-cpu", BIG, measured(3.5, 0.125));
    assert_eq!(
        verdict(&mut bench, step()).reason,
        "`estimated-accuracy` is 0.875 with an error of 0.010, below 0.900; `process-cpu` is 3.500 \
         with an error of 0.125, above 3.000"
    );
}

#[test]
fn baselines_are_what_figures_are_held_against() {
    let mut bench = watching(json!([
        {"metric": "confidence", "kind": "drift", "baseline": "spring", "limit": 0.25},
        {"metric": "outcome:paid", "kind": "below", "baseline": "spring", "limit": 0.01},
        {"metric": "latency-ms", "kind": "above", "baseline": "spring", "limit": 50},
    ]));
    // What is not held against the baseline does not count.
    bench.drift("confidence", BIG, DRIFTED);
    bench.measurement("outcome:paid", BIG, measured(0.0, 0.0));
    bench.measurement("latency-ms", BIG, measured(9_000.0, 0.0));
    assert_eq!(outcome(&mut bench), Outcome::Accept);

    let small = DriftReading {
        psi: 0.2,
        ..DRIFTED
    };
    bench.drift_from("confidence", BIG, "spring", small);
    assert_eq!(outcome(&mut bench), Outcome::Accept, "too little to matter");
    bench.drift_from("confidence", BIG, "spring", DRIFTED);
    assert_eq!(
        verdict(&mut bench, step()).reason,
        "`confidence` drifted from baseline `spring`: index 0.400 above 0.250"
    );

    bench.drift_from("confidence", BIG, "spring", small);
    bench.comparison_with("outcome:paid", BIG, "spring", worse(1_000));
    assert_eq!(
        verdict(&mut bench, step()).reason,
        "`outcome:paid` is below baseline `spring`: difference -0.080 (-0.110 to -0.050), of which \
         0.010 would not matter"
    );
    for verdict in [ComparisonVerdict::Better, ComparisonVerdict::Equivalent] {
        let other = Comparison {
            verdict,
            ..worse(1_000)
        };
        bench.comparison_with("outcome:paid", BIG, "spring", other);
        assert_eq!(outcome(&mut bench), Outcome::Accept, "{verdict:?}");
    }
    bench.comparison_with("latency-ms", BIG, "spring", worse(1_000));
    let reason = verdict(&mut bench, step()).reason;
    assert!(
        reason.starts_with("`latency-ms` is above baseline"),
        "{reason}"
    );
}

#[test]
fn what_is_below_is_better_high_and_what_is_above_is_better_low() {
    let bench = watching(json!([
        {"metric": "a", "kind": "below", "baseline": "spring", "limit": 0.01},
        {"metric": "a", "kind": "above", "baseline": "spring", "samples_min": 7},
    ]));
    let watch = &bench.policy().settings.watch;
    let [below, above] = [&watch[0], &watch[1]].map(crate::options);
    assert_eq!(below.direction, Direction::HigherIsBetter);
    assert_eq!((below.margin, below.samples_min), (0.01, 100));
    assert_eq!(above.direction, Direction::LowerIsBetter);
    assert_eq!((above.margin, above.samples_min), (0.0, 7));
}

#[test]
fn responses_are_what_was_asked_for_and_the_stricter_one_holds() {
    let of = |response: &str| json!({"metric": response, "kind": "above", "limit": 0, "response": response});
    let mut bench = watching(json!([of("note"), of("review"), of("escalate")]));
    for (metric, expected) in [
        ("note", Outcome::Accept),
        ("escalate", Outcome::Escalate),
        ("review", Outcome::Review),
    ] {
        bench.measurement(metric, BIG, measured(1.0, 0.0));
        assert_eq!(outcome(&mut bench), expected, "{metric}");
    }
    let reason = verdict(&mut bench, step()).reason;
    assert!(reason.starts_with("noted: `note` is 1.000"), "{reason}");
    let no_queue = bench.judge(request("chat"), step()).expect("a verdict");
    assert_eq!(no_queue.outcome, Outcome::Escalate);
    let passed = verdict(&mut bench, step().delivered());
    assert_eq!(passed.outcome, Outcome::Review, "the caller has it");
    let nowhere = bench.judge(request("chat"), answer("big"));
    assert_eq!(nowhere.expect("a verdict").outcome, Outcome::Escalate);
    let mut lenient = self::bench(json!({"watch": [of("review")], "nothing_left": "accept"}));
    lenient.measurement("review", BIG, measured(1.0, 0.0));
    let nowhere = lenient.judge(request("chat"), answer("big"));
    assert_eq!(nowhere.expect("a verdict").outcome, Outcome::Accept);
}

#[test]
fn a_share_of_the_answers_is_concerned_and_the_seed_says_which() {
    for (share, expected) in [(0.0, 0), (0.05, 50), (0.25, 250), (1.0, 1_000)] {
        let mut bench = watching(json!([{
            "metric": "confidence", "kind": "drift", "response": "review", "share": share,
            "incident": "info",
        }]));
        bench.drift("confidence", BIG, DRIFTED);
        assert_eq!(affected(&mut bench), expected, "{share}");
        assert_eq!(affected(&mut bench), expected, "again");
        bench.seed(0);
        let lowest = outcome(&mut bench) != Outcome::Accept;
        assert_eq!(lowest, share > 0.0, "{share}");
    }
    let mut bench = watching(json!([
        {"metric": "confidence", "kind": "drift", "share": 0.5},
        {"metric": "accuracy", "kind": "below", "limit": 0.9, "share": 0.5, "incident": "info"},
    ]));
    bench.drift("confidence", BIG, DRIFTED);
    bench.measurement("accuracy", BIG, measured(0.5, 0.0));
    bench.seed(u64::MAX);
    assert_eq!(
        verdict(&mut bench, step()).reason,
        "no watch concerns this answer: 1 hold for other answers, 1 not asked"
    );
}

#[test]
fn whose_metric_is_read_can_be_said() {
    let mut bench = watching(json!([
        {"metric": "a", "kind": "above", "limit": 0, "subject": "route", "incident": "info"},
        {"metric": "b", "kind": "above", "limit": 0, "subject": "release", "incident": "info"},
    ]));
    for subject in [BIG, Subject::Route] {
        bench.measurement("b", subject, measured(1.0, 0.0));
    }
    for subject in [BIG, Subject::release("big", "1")] {
        bench.measurement("a", subject, measured(1.0, 0.0));
    }
    assert_eq!(outcome(&mut bench), Outcome::Accept);
    bench.measurement("a", Subject::Route, measured(1.0, 0.0));
    bench.measurement("b", Subject::release("big", "1"), measured(1.0, 0.0));
    assert_eq!(outcome(&mut bench), Outcome::Escalate);
    let titles: Vec<_> = bench
        .incidents()
        .iter()
        .map(|incident| incident.title.split_once(": `").expect("two parts").0)
        .collect();
    assert_eq!(titles, ["route `chat`", "release `1` of model `big`"]);
}

#[test]
fn the_line_of_confidence_holds_beside_the_watches() {
    let watch =
        json!([{"metric": "accuracy", "kind": "below", "limit": 0.9, "response": "review"}]);
    let mut lined = bench(json!({"watch": watch, "accept_at": 0.7}));
    let low = verdict(&mut lined, step().confidence(0.6999));
    assert_eq!(low.outcome, Outcome::Escalate);
    assert_eq!((low.confidence, low.line), (Some(0.6999), Some(0.7)));
    assert_eq!(
        low.reason,
        "confidence 0.699 is below 0.700; no watch concerns this answer: 1 without evidence"
    );
    let good = verdict(&mut lined, step().confidence(0.7));
    assert_eq!(good.outcome, Outcome::Accept);
    assert_eq!(outcome(&mut lined), Outcome::Escalate, "no confidence");
    lined.measurement("accuracy", BIG, measured(0.5, 0.01));
    for confidence in [0.6, 0.9] {
        let both = verdict(&mut lined, step().confidence(confidence));
        assert_eq!(both.outcome, Outcome::Review, "{confidence}");
    }

    let mut told = bench(json!({
        "watch": watch, "accept_at": 0.7, "below": "review", "without_confidence": "accept",
    }));
    assert_eq!(outcome(&mut told), Outcome::Accept);
    let low = verdict(&mut told, step().confidence(0.1));
    assert_eq!(low.outcome, Outcome::Review);

    let mut noting = bench(json!({"watch": watch, "accept_at": 0.7, "below": "note"}));
    let low = verdict(&mut noting, step().confidence(0.1));
    assert_eq!(low.outcome, Outcome::Accept);
    assert!(low.reason.starts_with("confidence 0.100 is below 0.700"));

    let mut without = bench(json!({"watch": watch}));
    let any = verdict(&mut without, step().confidence(0.1));
    assert_eq!(any.outcome, Outcome::Accept);
    assert_eq!((any.confidence, any.line), (None, None));
}

#[test]
fn mistakes_in_the_settings_are_all_told() {
    let problems = Bench::<DriftGuard>::new(json!({"watch": [
        {"metric": "a", "kind": "below"},
        {"metric": "a", "kind": "drift"},
        {"metric": "a", "kind": "above", "limit": -1},
        {"metric": "a", "kind": "above", "baseline": "b"},
        {"metric": "a", "kind": "above", "baseline": "b", "limit": -1},
        {"metric": "a", "kind": "drift", "limit": -1},
        {"metric": "a", "kind": "drift", "share": 0},
        {"metric": "a", "kind": "drift", "share": 0, "incident": "info"},
    ]}))
    .expect_err("four mistakes");
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(
        paths,
        [
            "/watch/0/limit",
            "/watch/4/limit",
            "/watch/5/limit",
            "/watch/6/share"
        ]
    );
    let watch = json!({"metric": "a", "kind": "drift"});
    for wrong in [
        json!({}),
        json!({"watch": []}),
        json!({"watch": vec![watch.clone(); 9]}),
        json!({"watch": [{"kind": "drift"}]}),
        json!({"watch": [{"metric": "", "kind": "drift"}]}),
        json!({"watch": [{"metric": "a", "kind": "rise"}]}),
        json!({"watch": [watch], "accept_at": 2}),
    ] {
        assert!(Bench::<DriftGuard>::new(wrong.clone()).is_err(), "{wrong}");
    }
}
