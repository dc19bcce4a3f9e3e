//! What is computed from other metrics is what it is from the rows themselves.

use super::*;
use crate::metric::LineReading;
use crate::stats::performance::ranking::auc;
use crate::stats::performance::reliability::{Binning, brier, expected_calibration_error};

/// Rows of a model whose confidence comes true `bias` less often than it says.
fn rows(count: u32, bias: f64) -> Vec<(f64, bool)> {
    let mut state = 7u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let row = |_| {
        let confidence = 0.5 + draw() / 2.0;
        (confidence, draw() < confidence - bias)
    };
    (0..count).map(row).collect()
}

fn labelled(evidence: &Evidence, rows: &[(f64, bool)]) {
    let series = evidence.labelled_series(name::LABELLED, STABLE).unwrap();
    for (confidence, right) in rows {
        assert!(series.record_labelled(NOW, NOW, *confidence, *right));
    }
}

fn measured(evidence: &Evidence, metric: &str) -> crate::metric::Measurement {
    evidence.measure(metric, STABLE, 60, NOW + 1_000).unwrap()
}

#[test]
fn measures_of_labelled_answers_are_those_of_the_rows() {
    let evidence = store();
    let rows = rows(5_000, 0.1);
    labelled(&evidence, &rows);

    let found = measured(&evidence, name::BRIER);
    let exact = brier(&rows).unwrap();
    assert!((found.value - exact.value).abs() < 1e-12);
    assert!((found.standard_error / exact.standard_error - 1.0).abs() < 0.01);
    assert_eq!((found.samples, found.age_ms), (5_000, 1_000));

    let found = measured(&evidence, name::CALIBRATION_ERROR);
    let exact = expected_calibration_error(&rows, Binning::EqualWidth(10)).unwrap();
    assert!((found.value - exact.value).abs() < 1e-12, "{found:?}");

    // Pairs within a fiftieth count half, and Hanley and McNeil's error is not
    // DeLong's.
    let found = measured(&evidence, name::AUC);
    let exact = auc(&rows).unwrap().score;
    assert!(
        (found.value - exact.value).abs() < 0.005,
        "{found:?} {exact:?}"
    );
    assert!((found.standard_error / exact.standard_error - 1.0).abs() < 0.15);
}

#[test]
fn f1_is_that_of_precision_and_recall() {
    let evidence = store();
    let precision = evidence.rate_series(name::PRECISION, STABLE).unwrap();
    let recall = evidence.rate_series(name::RECALL, STABLE).unwrap();
    for n in 0..100 {
        precision.record_rate(NOW, n < 80); // 80 found, 20 wrongly
        recall.record_rate(NOW, n < 80); // and 20 were missed
        if n >= 80 {
            recall.record_rate(NOW, false); // and 20 more
        }
    }
    let found = measured(&evidence, name::F1);
    assert!((found.value - 160.0 / 220.0).abs() < 1e-12, "{found:?}");
    assert_eq!(found.samples, 140);
    assert!(found.standard_error > 0.02 && found.standard_error < 0.05);
    // Of a segment as of the whole.
    let gold = measured(&evidence, "f1{tier=gold}");
    assert_eq!(gold.samples, 0);
}

#[test]
fn accuracy_is_estimated_before_the_labels_come() {
    let evidence = store();
    let history = rows(20_000, 0.2);
    labelled(&evidence, &history);
    let now_ms = NOW + 3_600_000;
    let confidence = evidence.value_series(name::CONFIDENCE, STABLE).unwrap();
    let estimate = |at_ms| {
        evidence
            .measure(name::ESTIMATED_ACCURACY, STABLE, 60, at_ms)
            .unwrap()
    };
    assert_eq!(estimate(now_ms).samples, 0);
    // The same model asked harder things: less sure, and as much too sure.
    let hard: Vec<(f64, bool)> = rows(40_000, 0.2)
        .into_iter()
        .filter(|(confidence, _)| *confidence < 0.8)
        .take(4_000)
        .collect();
    for (sure, _) in &hard {
        confidence.record_value(now_ms, *sure);
    }
    let right = hard.iter().filter(|(_, right)| *right).count() as f64 / hard.len() as f64;
    let all = history.iter().filter(|(_, right)| *right).count() as f64 / 20_000.0;
    let found = estimate(now_ms);
    assert_eq!(found.samples, 4_000);
    let off = (found.value - right).abs();
    assert!(off < 3.0 * found.standard_error + 0.01, "{found:?} {right}");
    assert!(all - found.value > 0.05, "it sees that things got harder");
    assert!(found.standard_error > 0.005 && found.standard_error < 0.02);
}

#[test]
fn what_cannot_be_computed_is_no_evidence_or_unknown() {
    let evidence = store();
    for metric in [name::F1, name::AUC, name::ESTIMATED_ACCURACY, "nothing"] {
        let asked = evidence.measure(metric, STABLE, 60, NOW);
        assert_eq!(asked, Err(MetricsError::Unknown(metric.to_owned())));
    }
    labelled(&evidence, &[(0.9, true), (0.8, true)]);
    assert_eq!(measured(&evidence, name::AUC).samples, 0, "one kind only");
    assert_eq!(measured(&evidence, name::CALIBRATION_ERROR).samples, 2);
    assert_eq!(measured(&evidence, name::ESTIMATED_ACCURACY).samples, 0);
    let invalid = evidence.measure(name::AUC, STABLE, 0, NOW);
    assert!(matches!(invalid, Err(MetricsError::Invalid(_))));
}

#[test]
fn a_line_is_found_where_labels_promise_one() {
    let evidence = store();
    let line = |error_max, delta| {
        evidence.find_line(name::LABELLED, STABLE, 60, error_max, delta, NOW + 1_000)
    };
    let unknown = MetricsError::Unknown(name::LABELLED.to_owned());
    assert_eq!(line(0.05, 0.05), Err(unknown));
    labelled(&evidence, &rows(20, 0.0));
    assert_eq!(line(0.05, 0.05), Ok(LineReading::NotEnoughData(20)));
    labelled(&evidence, &rows(5_000, 0.0));
    let Ok(LineReading::Line(found)) = line(0.1, 0.05) else {
        panic!("{:?}", line(0.1, 0.05));
    };
    // Of answers above 0.8, a tenth is wrong in truth.
    assert!(
        found.confidence > 0.8 && found.confidence < 0.9,
        "{found:?}"
    );
    assert!(found.bound <= 0.1 && found.wrong * 10 < found.accepted);
    assert_eq!(line(0.000_1, 0.05).map(|_| ()), Ok(()));
    let worse = store();
    labelled(&worse, &rows(5_000, 0.4));
    let none = worse.find_line(name::LABELLED, STABLE, 60, 0.05, 0.05, NOW);
    assert_eq!(none, Ok(LineReading::Infeasible));
    for (error_max, delta) in [
        (0.0, 0.05),
        (1.0, 0.05),
        (0.1, 0.0),
        (0.1, 1.0),
        (f64::NAN, 0.1),
    ] {
        let asked = line(error_max, delta);
        assert!(matches!(asked, Err(MetricsError::Invalid(_))), "{asked:?}");
    }
    assert!(line(0.1, 0.9).is_ok());
}

/// A line on an edge accepts exactly what the bins above it count.
#[test]
fn bins_agree_with_lines_on_their_edges() {
    for at in 0..50u32 {
        let edge = f64::from(at) / 50.0;
        for (confidence, bin) in [(edge, at), (edge.next_down(), at.saturating_sub(1))] {
            let evidence = store();
            labelled(&evidence, &[(confidence.max(0.0), true)]);
            let bins = evidence.labelled(name::LABELLED, STABLE, 60, NOW).unwrap();
            assert_eq!(bins[bin as usize].answers, 1, "{confidence}");
        }
    }
}
