//! Verdicts over pairs; `tests/oracle/` holds the figures against statsmodels'.

use super::*;
use crate::metric::ComparisonVerdict::{self, Better, Equivalent, NotEnoughData, Worse};
use crate::metric::Direction;
use crate::stats::compare::compare_rates;
use crate::stats::compare::tests::options;
use crate::stats::tests::Random;

fn pairs(both: u64, candidate_only: u64, baseline_only: u64, neither: u64) -> Pairs {
    Pairs {
        both,
        candidate_only,
        baseline_only,
        neither,
    }
}

#[test]
fn verdicts_follow_margin_question_and_direction() {
    let verdict = |of, margin, question| {
        compare_pairs(of, &options(margin), question, PairedMethod::FixedHorizon).verdict
    };
    let worse = pairs(40, 60, 20, 880);
    assert_eq!(verdict(worse, 0.0, Question::Difference), Worse);
    assert_eq!(verdict(worse, 0.1, Question::Difference), Equivalent);
    let better = pairs(40, 20, 60, 880);
    assert_eq!(verdict(better, 0.0, Question::Difference), Better);
    let same = pairs(40, 20, 21, 919);
    assert_eq!(verdict(same, 0.0, Question::Difference), NotEnoughData);
    assert_eq!(verdict(same, 0.02, Question::Equivalence), Equivalent);
    assert_eq!(verdict(same, 0.005, Question::Equivalence), NotEnoughData);
    // Somewhat better, or not: not worse by the margin, which is all that is asked.
    let leaning = pairs(40, 20, 30, 910);
    assert_eq!(verdict(leaning, 0.01, Question::Equivalence), NotEnoughData);
    assert_eq!(verdict(leaning, 0.01, Question::NonInferiority), Equivalent);

    let higher = ComparisonOptions {
        direction: Direction::HigherIsBetter,
        ..options(0.0)
    };
    let compared = compare_pairs(worse, &higher, Question::Difference, PairedMethod::Sequence);
    assert_eq!(
        (compared.verdict, compared.candidate_samples),
        (Better, 1_000)
    );
}

#[test]
fn agreement_is_not_equivalence_until_there_is_much_of_it() {
    for method in [PairedMethod::Sequence, PairedMethod::FixedHorizon] {
        let agreed = |total| {
            let of = pairs(0, 0, 0, total);
            compare_pairs(of, &options(0.01), Question::Equivalence, method)
        };
        assert_eq!(agreed(0).verdict, NotEnoughData);
        assert_eq!(
            (agreed(0).low.to_bits(), agreed(0).high.to_bits()),
            ((-1f64).to_bits(), 1f64.to_bits())
        );
        assert_eq!(agreed(30).verdict, NotEnoughData, "{method:?}");
        assert_eq!(agreed(5_000).verdict, Equivalent, "{method:?}");
    }
    assert_eq!(pairs(5, 0, 0, 5).difference(), Some((0.0, 0.0)));
    assert_eq!(Pairs::default().difference(), None);
    assert_eq!(mcnemar(pairs(5, 0, 0, 5)), None);
    assert_eq!(paired_log_e_value(pairs(5, 0, 0, 5)), None);
}

#[test]
fn pairs_decide_where_independent_samples_do_not() {
    // 5.5 % against 4 %, mostly on the same requests.
    let of = pairs(380, 170, 20, 9_430);
    let paired = compare_pairs(
        of,
        &options(0.0),
        Question::Difference,
        PairedMethod::Sequence,
    );
    assert_eq!(paired.verdict, Worse, "{paired:?}");
    let side = |events| Proportion {
        events,
        trials: 3_000,
    };
    let apart = compare_rates(side(165), side(120), &options(0.0));
    assert_eq!(apart.verdict, NotEnoughData, "{apart:?}");
}

#[test]
fn looking_after_every_pair_raises_few_false_alarms() {
    let mut random = Random::new();
    let (mut by_sequence, mut by_e_value) = (0, 0);
    for _ in 0..400 {
        let mut of = Pairs::default();
        let (mut accused, mut evident) = (false, false);
        for _ in 0..2_000 {
            let hard = random.uniform() < 0.1;
            let mut fails = || random.uniform() < if hard { 0.6 } else { 0.01 };
            of.add(fails(), fails());
            let compared = compare_pairs(
                of,
                &options(0.0),
                Question::Difference,
                PairedMethod::Sequence,
            );
            accused |= compared.verdict != ComparisonVerdict::NotEnoughData;
            evident |= paired_log_e_value(of).is_some_and(|log_e| log_e >= 20f64.ln());
        }
        by_sequence += u32::from(accused);
        by_e_value += u32::from(evident);
    }
    assert!(by_sequence <= 20, "{by_sequence} of 400");
    assert!(by_e_value <= 20, "{by_e_value} of 400");
}
