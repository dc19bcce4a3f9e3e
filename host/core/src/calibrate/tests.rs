//! Worked cases, what is refused, and what binning may not change.

use super::bound::clopper_pearson_upper;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn ask(error_max: f64) -> Question {
    Question {
        error_max,
        delta: 0.05,
        method: Method::FixedSequence,
        bound: Bound::ClopperPearson,
        margin: Margin::None,
    }
}

/// (score, right, wrong) as a curve.
fn curve(groups: &[(f64, u64, u64)]) -> Curve {
    let mut scores = Scores::default();
    for &(score, right, wrong) in groups {
        for (correct, count) in [(true, right), (false, wrong)] {
            let row = Row {
                count,
                ..Row::new(correct)
            };
            if count > 0 {
                scores.add(score, row).unwrap();
            }
        }
    }
    scores.curve()
}

/// `rows` distinct scores from 1 down, wrong where `wrong` says so of the rank.
fn ranked(rows: u32, wrong: impl Fn(u32) -> bool) -> Curve {
    let mut scores = Scores::default();
    for rank in 0..rows {
        let score = 1.0 - f64::from(rank) / f64::from(rows);
        scores.add(score, Row::new(!wrong(rank))).unwrap();
    }
    scores.curve()
}

#[test]
fn bounds_have_their_known_values() {
    // statistics by hand: 1 - 0.05^(1/30), and the worked case of SGR.
    for (errors, trials, delta, expected) in [
        (0, 30, 0.05, 0.0950),
        (29, 100, 1e-4, 0.4778),
        (28, 100, 1e-4, 0.4671),
        (5, 5, 0.05, 1.0),
        (0, 0, 0.05, 1.0),
    ] {
        let found = clopper_pearson_upper(errors, trials, delta);
        assert!(
            (found - expected).abs() < 5e-5,
            "{errors}/{trials}: {found}"
        );
    }
    assert_eq!(Bound::ClopperPearson.trials_min(0, 0.01, 0.05), Some(299));
    assert_eq!(Bound::ClopperPearson.trials_min(0, 0.03, 0.05), Some(99));
}

#[test]
fn a_clean_history_is_accepted_as_a_whole() {
    let Answer::Found(choice) = choose(&ranked(2_000, |_| false), &ask(0.03)) else {
        panic!("nothing is wrong");
    };
    assert_eq!((choice.found.accepted, choice.found.wrong), (2_000, 0));
    assert!((choice.coverage - 1.0).abs() < 1e-12);
    assert_eq!(choice.failed_first, None);
}

#[test]
fn one_unlucky_step_at_the_top_hides_nothing_below_it() {
    // Twelve errors among the best 400, hardly any later: the first steps fail
    // at 2 %, and everything together passes with ease.
    let unlucky = ranked(6_000, |rank| {
        (rank < 400 && rank % 33 == 0) || rank % 200 == 0
    });
    let Answer::Found(choice) = choose(&unlucky, &ask(0.02)) else {
        panic!("0.7 % are wrong");
    };
    assert_eq!(choice.found.accepted, 6_000);
    let failed = choice.failed_first.expect("the top fails");
    assert!(failed.bound > 0.02 && failed.accepted < 500, "{failed:?}");
    // It is a later start that finds it: the first has half of delta to lose.
    assert!(choice.found.delta <= 0.025 + 1e-12, "{:?}", choice.found);
}

#[test]
fn delta_is_spent_once() {
    // Where everything passes, the last step has all of it; after a loss, less.
    let Answer::Found(clean) = choose(&ranked(3_000, |_| false), &ask(0.05)) else {
        panic!()
    };
    assert!((clean.found.delta - 0.05).abs() < 1e-12);
    let deltas: Vec<f64> = clean.passed.iter().map(|tested| tested.delta).collect();
    assert!(deltas.is_sorted() && (deltas[0] - 0.025).abs() < 1e-12);
}

#[test]
fn a_hopeless_history_has_no_threshold_and_says_why() {
    let hopeless = ranked(1_000, |rank| rank % 3 == 0);
    for method in [Method::FixedSequence, Method::Sgr] {
        let question = Question {
            method,
            ..ask(0.05)
        };
        let Answer::Infeasible(infeasible) = choose(&hopeless, &question) else {
            panic!("a third is wrong");
        };
        assert_eq!((infeasible.rows, infeasible.wrong), (1_000, 334));
        let Why::NonePassed {
            failed_first, best, ..
        } = infeasible.why
        else {
            panic!("{infeasible:?}");
        };
        assert!(failed_first.bound > 0.05 && best.bound > 0.05);
    }
}

#[test]
fn three_rows_prove_nothing() {
    for (method, needed) in [(Method::FixedSequence, 99), (Method::Sgr, 122)] {
        let question = Question {
            method,
            ..ask(0.03)
        };
        let Answer::Infeasible(infeasible) = choose(&ranked(3, |_| false), &question) else {
            panic!("three rows");
        };
        assert_eq!(infeasible.why, Why::TooFewRows { needed }, "{method:?}");
    }
    let empty = Scores::default().curve();
    for method in [Method::FixedSequence, Method::Sgr, Method::Conformal] {
        let question = Question {
            method,
            ..ask(0.03)
        };
        assert_eq!(choose(&empty, &question).found(), None, "{method:?}");
    }
    assert_eq!(naive(&empty, 0.03), None);
}

#[test]
fn a_margin_moves_the_line_up_and_never_past_the_promise() {
    let two = curve(&[(0.9, 500, 0), (0.8, 500, 5), (0.7, 50, 40)]);
    let line = |margin| {
        let question = Question {
            margin,
            ..ask(0.05)
        };
        let choice = choose(&two, &question).found().cloned().unwrap();
        assert!((choice.found.threshold - 0.8).abs() < 1e-12);
        choice.line
    };
    assert!((line(Margin::None).accept_at - 0.8).abs() < 1e-12);
    let next = line(Margin::NextScore);
    assert!((next.accept_at - 0.9).abs() < 1e-12);
    assert_eq!((next.accepted, next.wrong), (500, 0));
    let more = line(Margin::Amount(0.05));
    assert!((more.accept_at - 0.85).abs() < 1e-12);
    assert_eq!(more.accepted, 500);
    let past = line(Margin::Amount(0.5));
    assert_eq!((past.accepted, past.bound), (0, 1.0));
    // With 40 rows above, the bound would not hold there.
    let thin = curve(&[(0.9, 40, 0), (0.8, 960, 5)]);
    let question = Question {
        margin: Margin::NextScore,
        ..ask(0.05)
    };
    let choice = choose(&thin, &question).found().cloned().unwrap();
    assert!((choice.line.accept_at - 0.8).abs() < 1e-12);
}

#[test]
fn conformal_bounds_the_share_of_all_answers() {
    // 30 of 1,000 are accepted and wrong at 0.8: (30 + 1) / 1001 <= 0.031.
    let two = curve(&[(0.9, 470, 0), (0.8, 400, 30), (0.5, 0, 100)]);
    let question = |error_max| Question {
        method: Method::Conformal,
        ..ask(error_max)
    };
    let found = |error_max| choose(&two, &question(error_max)).found().cloned();
    assert!((found(0.031).unwrap().found.threshold - 0.8).abs() < 1e-12);
    assert!((found(0.030).unwrap().found.threshold - 0.9).abs() < 1e-12);
    assert_eq!(found(0.0009), None);
}

#[test]
fn groups_share_delta_and_small_ones_use_the_overall_threshold() {
    let groups = BTreeMap::from([
        ("good".to_owned(), ranked(2_000, |rank| rank % 500 == 0)),
        ("bad".to_owned(), ranked(2_000, |rank| rank % 2 == 0)),
        ("small".to_owned(), ranked(20, |_| false)),
    ]);
    let overall = ranked(4_020, |rank| rank % 50 == 0);
    let answers = segments(&overall, &groups, &ask(0.05));
    assert!((answers.delta_each - 0.05 / 3.0).abs() < 1e-12);
    assert!(matches!(
        &answers.segments["good"],
        SegmentAnswer::Own(Answer::Found(_))
    ));
    assert!(matches!(
        &answers.segments["bad"],
        SegmentAnswer::Own(Answer::Infeasible(_))
    ));
    let SegmentAnswer::Overall { rows, needed, .. } = &answers.segments["small"] else {
        panic!("{answers:?}");
    };
    assert_eq!((*rows, *needed), (20, 86));
}

#[test]
fn groups_that_are_enough_only_for_fewer_leave_one_out() {
    // At 2 % three groups need 217 rows each and two need 203; asking again and
    // again which have enough would find two, three, two, …
    let group = || ranked(210, |_| false);
    let groups: BTreeMap<String, Curve> = ["a", "b", "c"]
        .map(|name| (name.to_owned(), group()))
        .into();
    let answers = segments(&ranked(630, |_| false), &groups, &ask(0.02));
    assert!((answers.delta_each - 0.05 / 3.0).abs() < 1e-12);
    let own = |name: &str| matches!(answers.segments[name], SegmentAnswer::Own(_));
    assert!(own("a") && own("b") && !own("c"), "{answers:?}");
    let SegmentAnswer::Overall { needed, .. } = answers.segments["c"] else {
        panic!()
    };
    assert_eq!(needed, 217);
}

#[test]
fn the_cheapest_thresholds_follow_the_costs() {
    // Sure answers are right, middling ones are half right, and the next model
    // knows the middling ones but none of the others.
    let mut scores = Scores::default();
    let mut add = |score, correct, next_correct, count| {
        let row = Row {
            correct,
            next_correct: Some(next_correct),
            count,
        };
        scores.add(score, row).unwrap();
    };
    add(0.9, true, true, 500);
    add(0.6, true, true, 150);
    add(0.6, false, true, 150);
    add(0.2, false, false, 200);
    let curve = scores.curve();
    let costs = Costs {
        wrong: 10.0,
        escalation: 1.0,
        review: 4.0,
    };
    let priced = cheapest(&curve, &costs, None, 0.05).unwrap();
    assert!((priced.accept_at - 0.9).abs() < 1e-12, "{priced:?}");
    assert!((priced.review_below - 0.6).abs() < 1e-12, "{priced:?}");
    // 300 escalations at 1 and 200 reviews at 4, over 1,000.
    assert!((priced.cost.mean - 1.1).abs() < 1e-12);
    assert!(priced.cost.low < 1.1 && priced.cost.high > 1.1);
    assert!((priced.accepting_all - 3.5).abs() < 1e-12);
    assert!((priced.escalating_all - 3.0).abs() < 1e-12);
    assert!((priced.reviewing_all - 4.0).abs() < 1e-12);
    // A promise is a constraint: only thresholds that keep it are weighed.
    let all = Tested {
        threshold: 0.2,
        accepted: 1_000,
        wrong: 350,
        bound: 0.4,
        delta: 0.05,
    };
    let forced = cheapest(&curve, &costs, Some(&[all]), 0.05).unwrap();
    assert!((forced.cost.mean - 3.5).abs() < 1e-12);
    assert_eq!(cheapest(&curve, &costs, Some(&[]), 0.05), None);
}

#[test]
fn what_makes_no_sense_is_refused_all_at_once() {
    let question = Question {
        delta: 0.7,
        margin: Margin::Amount(-0.1),
        ..ask(1.0)
    };
    assert_eq!(question.mistakes().len(), 3);
    assert_eq!(ask(f64::NAN).mistakes().len(), 1);
    assert!(ask(0.03).mistakes().is_empty());
    let costs = Costs {
        wrong: -1.0,
        escalation: f64::NAN,
        review: 1.0,
    };
    assert_eq!(costs.mistakes().len(), 2);
    let mut scores = Scores::default();
    for score in [-0.001, 1.001, f64::NAN, f64::INFINITY] {
        assert!(scores.add(score, Row::new(true)).is_err(), "{score}");
    }
    assert_eq!(scores.curve().rows(), 0);
}

#[test]
fn the_grid_holds_extremes() {
    let mut scores = Scores::default();
    let mut last = 1.0;
    for i in 0..=DISTINCT_MAX as u32 {
        scores.add(f64::from(i) / 65_536.0, Row::new(true)).unwrap();
    }
    assert!(!scores.is_exact());
    let next_to_1 = 1.0 - f64::EPSILON / 2.0;
    for score in [0.0, -0.0, f64::MIN_POSITIVE, 0.5, next_to_1, 1.0] {
        scores.add(score, Row::new(false)).unwrap();
    }
    let curve = scores.curve();
    assert_eq!(curve.at(1.0).accepted, 1);
    assert_eq!(curve.at(next_to_1).accepted, 2);
    assert_eq!(curve.rows(), DISTINCT_MAX as u64 + 7);
    for point in curve.points() {
        assert!(point.threshold <= last, "falls: {point:?}");
        last = point.threshold;
    }
    assert!(last <= 0.0);
}

/// More distinct scores than are told apart: where good models crowd, and lower.
fn many() -> impl Strategy<Value = (u64, Vec<(f64, bool)>)> {
    let crowded = (0.0..1.0f64, 1..60i32).prop_map(|(x, e)| 1.0 - x * 0.5f64.powi(e));
    let score = prop_oneof![crowded, 0.0..=1.0f64];
    let rows = prop::collection::vec((score, any::<bool>()), 1..300);
    (any::<u64>(), rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Counts of every threshold that the grid offers are those of the rows.
    #[test]
    fn binning_never_changes_a_count((_, rows) in many()) {
        let mut scores = Scores::default();
        // Distinct fillers, to be beyond what is told apart.
        let fillers: Vec<f64> = (0..=DISTINCT_MAX).map(|i| i as f64 / 40_000.0).collect();
        for &score in &fillers {
            scores.add(score, Row::new(true)).unwrap();
        }
        for &(score, correct) in &rows {
            scores.add(score, Row::new(correct)).unwrap();
        }
        prop_assert!(!scores.is_exact());
        let curve = scores.curve();
        for point in curve.points() {
            let at = |score: f64| score >= point.threshold;
            let wrong = rows.iter().filter(|(score, correct)| at(*score) && !correct).count();
            let more = fillers.len() - fillers.partition_point(|&score| !at(score));
            let accepted = rows.iter().filter(|(score, _)| at(*score)).count() + more;
            prop_assert_eq!(point.wrong, wrong as u64, "{:?}", point);
            prop_assert_eq!(point.accepted, accepted as u64, "{:?}", point);
        }
    }

    /// The order of rows changes nothing.
    #[test]
    fn order_does_not_matter((seed, rows) in many()) {
        let collect = |rows: &[(f64, bool)]| {
            let mut scores = Scores::default();
            for &(score, correct) in rows {
                scores.add(score, Row::new(correct)).unwrap();
            }
            scores.curve()
        };
        let mut other = rows.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut other);
        prop_assert_eq!(collect(&rows), collect(&other));
    }

    /// More errors, fewer trials or more confidence never lower a bound.
    #[test]
    fn bounds_are_monotone(errors in 0u64..200, more in 0u64..2_000, delta in 0.001..0.4f64) {
        let trials = errors + more + 1;
        for bound in [Bound::ClopperPearson, Bound::HoeffdingBentkus, Bound::Hoeffding] {
            let upper = bound.upper(errors, trials, delta);
            prop_assert!(upper >= errors as f64 / trials as f64);
            prop_assert!(upper <= bound.upper(errors + 1, trials, delta) + 1e-12);
            prop_assert!(upper >= bound.upper(errors, trials + 1, delta) - 1e-12);
            prop_assert!(upper <= bound.upper(errors, trials, delta / 2.0) + 1e-12);
            let exact = Bound::ClopperPearson.upper(errors, trials, delta);
            prop_assert!(exact <= upper + 1e-12, "{:?} is tighter than exact", bound);
        }
    }

    /// What is asked for more strictly is answered more strictly, and what is
    /// found passes by its own numbers.
    #[test]
    fn choices_keep_what_they_promise((_, rows) in many(), slack in 0.01..0.3f64) {
        let mut scores = Scores::default();
        for &(score, correct) in &rows {
            // Mostly right, and better above.
            let row = Row { count: 3, ..Row::new(correct || score > 0.6) };
            scores.add(score, row).unwrap();
        }
        let curve = scores.curve();
        for method in [Method::FixedSequence, Method::Sgr, Method::Conformal] {
            let question = Question { method, margin: Margin::NextScore, ..ask(slack) };
            if let Answer::Found(choice) = choose(&curve, &question) {
                prop_assert!(choice.found.bound <= slack + 1e-12, "{:?}", choice);
                prop_assert!(choice.line.bound <= slack + 1e-12, "{:?}", choice);
                prop_assert!(choice.line.accept_at >= choice.found.threshold);
                prop_assert!(choice.passed.iter().all(|tested| tested.bound <= slack + 1e-12));
                let spent = choice.passed.iter().map(|tested| tested.delta).fold(0.0, f64::max);
                prop_assert!(spent <= 0.05 + 1e-12);
            }
        }
    }
}
