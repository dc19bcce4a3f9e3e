//! What has no evidence, what adds up, and cases small enough to do by hand;
//! `tests/oracle/` holds the figures against scikit-learn's.

use super::classes::{Average, CLASSES_MAX, ClassConfusion, ClassMetric, ClassesError};
use super::ranking::{auc, binned_auc};
use super::reliability::{Binning, brier, expected_calibration_error};
use super::*;

fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-12,
        "{found} is not {expected}"
    );
}

#[test]
fn without_evidence_there_is_no_figure() {
    let none = Confusion::default();
    for rate in [
        none.accuracy(),
        none.precision(),
        none.recall(),
        none.specificity(),
    ] {
        assert_eq!(rate.trials, 0);
        assert_eq!(score(rate), None);
        assert_eq!(wilson(rate, 0.05), None);
    }
    assert_eq!((none.f1(), none.f1_interval(0.05)), (None, None));
    // Only negatives, all found: there is no recall to speak of.
    let negatives = Confusion {
        true_negatives: 9,
        ..none
    };
    assert_eq!(score(negatives.recall()), None);
    assert_eq!(negatives.f1(), None);
    assert_eq!(score(negatives.specificity()).map(|of| of.value), Some(1.0));

    let table = ClassConfusion::new(3).expect("three classes");
    for average in [Average::Macro, Average::Weighted, Average::Micro] {
        assert_eq!(table.averaged(ClassMetric::F1, average), None);
    }
    assert_eq!(auc(&[]), None);
    assert_eq!(auc(&[(0.3, true), (0.4, true)]), None);
    assert_eq!(auc(&[(f64::NAN, true), (0.4, false)]), None);
    assert_eq!(binned_auc(&[]), None);
    for binning in [Binning::EqualWidth(10), Binning::EqualCount(10)] {
        assert_eq!(expected_calibration_error(&[], binning), None);
        assert_eq!(expected_calibration_error(&[(1.1, true)], binning), None);
        assert_eq!(
            expected_calibration_error(&[(f64::NAN, true)], binning),
            None
        );
    }
    for binning in [Binning::EqualWidth(0), Binning::EqualCount(0)] {
        assert_eq!(expected_calibration_error(&[(0.5, true)], binning), None);
    }
    assert_eq!(brier(&[(0.5, true)]), None);
}

#[test]
fn confusion_adds_up_over_windows() {
    let answers = [
        (true, true),
        (true, false),
        (false, true),
        (false, false),
        (true, true),
    ];
    let count = |answers: &[(bool, bool)]| {
        let mut confusion = Confusion::default();
        for (predicted, actual) in answers {
            confusion.add(*predicted, *actual);
        }
        confusion
    };
    let whole = count(&answers);
    assert_eq!(whole, count(&answers[..2]).merged(count(&answers[2..])));
    assert_eq!((whole.precision().events, whole.precision().trials), (2, 3));
    assert_eq!((whole.recall().events, whole.recall().trials), (2, 3));
    assert_eq!(
        (whole.specificity().events, whole.specificity().trials),
        (1, 2)
    );
    near(whole.f1().expect("positives").value, 2.0 / 3.0);
}

#[test]
fn an_interval_of_f1_is_open_where_the_error_is_zero() {
    let perfect = Confusion {
        true_positives: 10,
        ..Confusion::default()
    };
    let f1 = perfect.f1().expect("positives");
    assert_eq!((f1.value, f1.standard_error), (1.0, 0.0));
    let interval = perfect.f1_interval(0.05).expect("positives");
    assert!(interval.low < 0.9 && interval.high >= 1.0, "{interval:?}");
}

#[test]
fn classes_are_checked_and_counted() {
    for classes in [0, 1, CLASSES_MAX + 1] {
        assert_eq!(
            ClassConfusion::new(classes),
            Err(ClassesError::Classes(classes))
        );
    }
    let mut table = ClassConfusion::new(2).expect("two classes");
    let unknown = ClassesError::Unknown {
        class: 2,
        classes: 2,
    };
    assert_eq!(table.add(0, 2), Err(unknown));
    assert_eq!(table.total(), 0);
    for (actual, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
        table.add(actual, predicted).expect("a class");
    }
    let one = table.one_against_rest(1).expect("a class");
    let expected = Confusion {
        true_positives: 2,
        false_positives: 1,
        false_negatives: 0,
        true_negatives: 1,
    };
    assert_eq!(one, expected);
    assert_eq!(table.one_against_rest(2), None);

    let json = serde_json::to_string(&table).expect("serializes");
    assert_eq!(json, "[[1,1],[0,2]]");
    assert_eq!(
        serde_json::from_str::<ClassConfusion>(&json).expect("reads"),
        table
    );
    for wrong in ["[[1,2],[3]]", "[[1]]", "[[18446744073709551615,1],[0,0]]"] {
        assert!(
            serde_json::from_str::<ClassConfusion>(wrong).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn equal_scores_count_half_in_any_order() {
    let mut rows = [(0.5, true), (0.5, false), (0.9, true), (0.1, false)];
    near(auc(&rows).expect("both kinds").score.value, 3.5 / 4.0);
    let error = expected_calibration_error(&rows, Binning::EqualCount(2)).expect("rows");
    rows.swap(0, 1);
    near(auc(&rows).expect("both kinds").score.value, 3.5 / 4.0);
    let turned = expected_calibration_error(&rows, Binning::EqualCount(2)).expect("rows");
    near(error.value, turned.value);
    // Two bins: (0.1 + 0.5) against ½ true, (0.5 + 0.9) against 1½.
    near(error.value, (0.1 + 0.1) / 4.0);
}

#[test]
fn an_area_from_bins_says_how_far_off_it_may_be() {
    let bin = |events, trials| Proportion { events, trials };
    let apart = binned_auc(&[bin(0, 5), bin(3, 3)]).expect("both kinds");
    assert_eq!((apart.value, apart.error_max), (1.0, 0.0));
    let mixed = binned_auc(&[bin(2, 4)]).expect("both kinds");
    assert_eq!((mixed.value, mixed.error_max), (0.5, 0.5));
}

#[test]
fn bins_of_equal_width_are_closed_to_the_right() {
    let bins_of = |width, scores: &[f64]| {
        let rows: Vec<(f64, bool)> = scores.iter().map(|score| (*score, true)).collect();
        expected_calibration_error(&rows, Binning::EqualWidth(width)).map(|error| error.bins)
    };
    let bins = |scores: &[f64]| bins_of(10, scores);
    assert_eq!(bins(&[0.0, 0.1]), Some(1));
    assert_eq!(bins(&[0.1, 0.100_000_1]), Some(2));
    assert_eq!(bins(&[0.25, 0.3, 0.65, 0.7]), Some(2));
    assert_eq!(bins(&[0.95, 1.0]), Some(1));
    // Edges whose product with the number of bins is rounded up, and down.
    assert_eq!(bins_of(100, &[0.065, 0.07]), Some(1));
    let above = (11.0f64 / 15.0).next_up();
    assert_eq!(bins_of(15, &[11.0 / 15.0, above]), Some(2));
    assert_eq!(bins_of(15, &[above, 0.75]), Some(1));
}
