//! Questions and methods beside the usual ones, which `stats/tests.rs` tests;
//! `tests/oracle/` holds intervals against statsmodels'.

use super::*;
use ComparisonVerdict::{Better, Equivalent, NotEnoughData, Worse};

pub(in crate::stats) fn options(margin: f64) -> ComparisonOptions {
    ComparisonOptions {
        direction: Direction::LowerIsBetter,
        alpha: 0.05,
        margin,
        samples_min: 20,
    }
}

fn side(events: u64, trials: u64) -> Proportion {
    Proportion { events, trials }
}

const RATE_METHODS: [RateMethod; 4] = [
    RateMethod::Sequence,
    RateMethod::ExactSequence,
    RateMethod::Newcombe,
    RateMethod::Wald,
];

#[test]
fn each_question_gets_its_answer_by_each_method() {
    for method in RATE_METHODS {
        let verdict = |candidate, baseline, margin, question| {
            compare_rates_by(candidate, baseline, &options(margin), question, method).verdict
        };
        let (few, many) = (side(2_500, 50_000), side(3_500, 50_000));
        for question in [
            Question::Difference,
            Question::Equivalence,
            Question::NonInferiority,
        ] {
            assert_eq!(
                verdict(many, few, 0.0, question),
                Worse,
                "{method:?} {question:?}"
            );
            assert_eq!(
                verdict(few, many, 0.0, question),
                Better,
                "{method:?} {question:?}"
            );
            assert_eq!(
                verdict(many, few, 0.1, question),
                Equivalent,
                "{method:?} {question:?}"
            );
            assert_eq!(verdict(side(0, 19), few, 1.0, question), NotEnoughData);
        }
        // A little better, perhaps: within the margin on the bad side only.
        let leaning = side(2_450, 50_000);
        let margin =
            0.9 * -compare_rates_by(leaning, few, &options(0.0), Question::Equivalence, method).low;
        assert_eq!(
            verdict(leaning, few, margin, Question::Equivalence),
            NotEnoughData,
            "{method:?}"
        );
        assert_eq!(
            verdict(leaning, few, margin, Question::NonInferiority),
            Equivalent,
            "{method:?}"
        );
    }
}

#[test]
fn looking_once_is_the_narrowest_and_exactness_the_widest() {
    let width = |method, question| {
        let of = compare_rates_by(
            side(260, 5_000),
            side(250, 5_000),
            &options(0.0),
            question,
            method,
        );
        of.high - of.low
    };
    for question in [Question::Difference, Question::Equivalence] {
        let once = width(RateMethod::Newcombe, question);
        let often = width(RateMethod::Sequence, question);
        let exactly = width(RateMethod::ExactSequence, question);
        assert!(once < often && often < exactly, "{once} {often} {exactly}");
        assert!(exactly < 2.0 * often, "{often} {exactly}");
    }
    let (two_sided, one_sided) = (Question::Difference, Question::NonInferiority);
    assert!(width(RateMethod::Sequence, one_sided) < width(RateMethod::Sequence, two_sided));
}

#[test]
fn each_side_of_an_exact_comparison_has_half_of_alpha() {
    let (candidate, baseline) = (side(260, 5_000), side(250, 4_000));
    for question in [Question::Difference, Question::Equivalence] {
        let method = RateMethod::ExactSequence;
        let of = compare_rates_by(candidate, baseline, &options(0.0), question, method);
        let alone = |side| rate_sequence(side, 0.025).expect("trials");
        assert!((of.low - (alone(candidate).low - alone(baseline).high)).abs() < 1e-12);
        assert!((of.high - (alone(candidate).high - alone(baseline).low)).abs() < 1e-12);
    }
}

#[test]
fn few_requests_that_went_well_do_not_make_a_better_model() {
    let verdict = |candidate, baseline| compare_rates(candidate, baseline, &options(0.0)).verdict;
    // None of 120 failed, where six were to be expected: by chance, once in 500.
    assert_eq!(verdict(side(0, 120), side(540, 10_800)), NotEnoughData);
    assert_eq!(verdict(side(0, 1_200), side(540, 10_800)), Better);
    let of = |samples, mean, stddev| Moments {
        samples,
        mean,
        stddev,
    };
    let verdict = |samples| {
        let (candidate, baseline) = (of(samples, 300.0, 90.0), of(20_000, 400.0, 400.0));
        compare_means(candidate, baseline, &options(0.0)).verdict
    };
    assert_eq!(verdict(60), NotEnoughData);
    assert_eq!(verdict(600), Better);
}

#[test]
fn the_usual_comparison_is_one_of_them() {
    let (candidate, baseline) = (side(80, 1_000), side(50, 900));
    let by = compare_rates_by(
        candidate,
        baseline,
        &options(0.0),
        Question::default(),
        RateMethod::default(),
    );
    assert_eq!(by, compare_rates(candidate, baseline, &options(0.0)));
    let of = |mean| Moments {
        samples: 500,
        mean,
        stddev: 3.0,
    };
    let by = compare_means_by(
        of(5.0),
        of(4.5),
        &options(0.0),
        Question::default(),
        MeanMethod::default(),
    );
    assert_eq!(by, compare_means(of(5.0), of(4.5), &options(0.0)));
}

#[test]
fn evidence_says_the_same_as_the_verdict() {
    for events in [50, 60, 70, 80, 90, 100, 110] {
        let (candidate, baseline) = (side(events, 1_000), side(50, 1_000));
        let verdict = compare_rates(candidate, baseline, &options(0.0)).verdict;
        let evidence = rates_evidence(candidate, baseline, 0.05, Alternative::TwoSided);
        let evidence = evidence.expect("trials");
        assert_eq!(
            evidence.p_value < 0.05,
            verdict == Worse,
            "{events}: {evidence:?}"
        );
        assert_eq!(
            evidence.log_e_value > 20f64.ln(),
            verdict == Worse,
            "{events}"
        );
        let greater = rates_evidence(candidate, baseline, 0.05, Alternative::Greater);
        assert!(
            greater.expect("trials").p_value <= evidence.p_value,
            "{events}"
        );
        let less = rates_evidence(candidate, baseline, 0.05, Alternative::Less);
        assert!(less.expect("trials").p_value >= 1.0, "{events}");
    }
    assert_eq!(
        rates_evidence(side(0, 1), side(1, 9), 0.05, Alternative::TwoSided),
        None
    );
    let constant = Moments {
        samples: 50,
        mean: 1.0,
        stddev: 0.0,
    };
    assert_eq!(
        means_evidence(constant, constant, 0.05, Alternative::TwoSided),
        None
    );
    assert_eq!(
        rates_evidence(side(1, 9), side(1, 9), 0.0, Alternative::TwoSided),
        None
    );
}

#[test]
fn without_evidence_no_method_has_a_verdict_and_every_number_is_finite() {
    let question = Question::NonInferiority;
    for method in RATE_METHODS {
        for alpha in [0.0, f64::NAN, 0.05, 0.5] {
            let options = ComparisonOptions {
                alpha,
                samples_min: 0,
                ..options(2.0)
            };
            for (candidate, baseline) in [(side(0, 0), side(3, 9)), (side(1, 1), side(0, 1))] {
                let of = compare_rates_by(candidate, baseline, &options, question, method);
                assert_eq!(of.verdict, NotEnoughData, "{method:?} {alpha}");
                assert!(of.effect.is_finite() && of.low.is_finite() && of.high.is_finite());
            }
        }
    }
    let of = |samples, mean, stddev| Moments {
        samples,
        mean,
        stddev,
    };
    for (candidate, baseline) in [
        (of(1, 1.0, 0.0), of(9, 1.0, 1.0)),
        (of(9, 1e308, 1e308), of(9, -1e308, 1e308)),
        (of(9, 2.0, 0.0), of(9, 2.0, 0.0)),
    ] {
        let of = compare_means_by(
            candidate,
            baseline,
            &options(1.0),
            question,
            MeanMethod::Welch,
        );
        assert_eq!(of.verdict, NotEnoughData);
        assert!(of.effect.is_finite() && of.low.is_finite() && of.high.is_finite());
    }
}
