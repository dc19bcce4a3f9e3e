//! The curve's promises on any input; `tests/oracle/` holds it against
//! scikit-learn's.

use super::*;
use proptest::prelude::*;

fn points(rows: &[(f64, f64, f64)]) -> Vec<Point> {
    let point = |(score, outcome, weight): &(f64, f64, f64)| Point {
        score: *score,
        outcome: *outcome,
        weight: *weight,
    };
    rows.iter().map(point).collect()
}

proptest! {
    #[test]
    fn a_curve_never_falls_and_keeps_the_mean(
        rows in prop::collection::vec((0..40u8, any::<bool>(), 1..4u8), 1..200)
    ) {
        let rows: Vec<(f64, f64, f64)> = rows
            .into_iter()
            .map(|(score, outcome, weight)| (f64::from(score) / 40.0, f64::from(outcome), f64::from(weight)))
            .collect();
        let curve = Isotonic::fit(&points(&rows)).expect("has points");
        let along: Vec<f64> = (-5..50).map(|at| curve.apply(f64::from(at) / 40.0)).collect();
        prop_assert!(along.is_sorted(), "{along:?}");
        let sum = |of: &dyn Fn(&(f64, f64, f64)) -> f64| rows.iter().map(of).sum::<f64>();
        let outcomes = sum(&|(_, outcome, weight)| outcome * weight);
        let fitted = sum(&|(score, _, weight)| curve.apply(*score) * weight);
        prop_assert!((outcomes - fitted).abs() < 1e-9);
        let json = serde_json::to_string(&curve).expect("serializes");
        prop_assert_eq!(serde_json::from_str::<Isotonic>(&json).expect("reads back"), curve);
    }
}

#[test]
fn violators_are_pooled_by_weight_and_edges_are_flat() {
    let curve = Isotonic::fit(&points(&[
        (0.9, 1.0, 1.0),
        (0.2, 0.6, 3.0),
        (0.4, 0.2, 1.0),
        (0.4, 9.0, 0.0),
    ]))
    .expect("has points");
    assert_eq!(curve.knots(), 3);
    for (score, value) in [
        (-1.0, 0.5),
        (0.2, 0.5),
        (0.4, 0.5),
        (0.65, 0.75),
        (0.9, 1.0),
        (7.0, 1.0),
    ] {
        assert!(
            (curve.apply(score) - value).abs() < 1e-12,
            "{score}: {}",
            curve.apply(score)
        );
    }
    // The lowest reading.
    assert!((curve.apply(f64::NAN) - 0.5).abs() < 1e-12);
}

#[test]
fn what_is_no_curve_is_refused() {
    assert_eq!(Isotonic::fit(&[]), None);
    assert_eq!(Isotonic::fit(&points(&[(0.5, 1.0, 0.0)])), None);
    assert_eq!(
        Isotonic::fit(&points(&[(f64::NAN, 1.0, 1.0), (0.5, 1.0, 1.0)])),
        None
    );
    for wrong in [
        r#"{"scores":[],"values":[]}"#,
        r#"{"scores":[0.1,0.2],"values":[0.5]}"#,
        r#"{"scores":[0.2,0.2],"values":[0.5,0.6]}"#,
        r#"{"scores":[0.1,0.2],"values":[0.6,0.5]}"#,
    ] {
        assert!(serde_json::from_str::<Isotonic>(wrong).is_err(), "{wrong}");
    }
}

/// Scores over `[0, 1)` of which `truth` come true, evenly.
fn rows(count: u32, truth: fn(f64) -> f64) -> Vec<(f64, bool)> {
    (0..count)
        .map(|row| {
            let score = f64::from(row * 37 % count) / f64::from(count);
            (score, f64::from(row * 61 % 100) / 100.0 < truth(score))
        })
        .collect()
}

#[test]
fn scores_are_left_alone_unless_it_helps() {
    let fit = |rows: &[(f64, bool)]| Calibrator::fit(rows).expect("scores");
    let boastful = rows(1_000, |score| 0.2 + 0.6 * score);
    let calibration = fit(&boastful);
    assert!(
        matches!(calibration.calibrator, Calibrator::Isotonic(_)),
        "{calibration:?}"
    );
    assert!(calibration.error_after < calibration.error_before);
    assert!((calibration.calibrator.apply(0.95) - 0.77).abs() < 0.1);

    for (rows, why) in [
        (&boastful[..ROWS_MIN - 1], "few rows"),
        (&rows(1_000, |_| 2.0)[..], "one kind"),
        (
            &rows(1_000, |score| if score > 0.5 { 2.0 } else { 0.0 }),
            "separated",
        ),
        (&[], "nothing"),
    ] {
        let calibration = fit(rows);
        assert_eq!(calibration.calibrator, Calibrator::Raw, "{why}");
        assert_eq!(calibration.error_before, None, "{why}");
        assert_eq!(calibration.rows, rows.len() as u64);
    }
    assert_eq!(Calibrator::fit(&[(1.5, true)]), None);
    assert_eq!(Calibrator::fit(&[(f64::NAN, true)]), None);
}
