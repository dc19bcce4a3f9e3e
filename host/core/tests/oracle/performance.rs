//! Performance and calibration against scikit-learn, statsmodels and nannyml
//! (`tests/oracles/performance.py`).

use crate::{Draws, cases, near};
use backstop_core::metric::Proportion;
use backstop_core::stats::calibration::{Calibrator, Isotonic, Point};
use backstop_core::stats::interval::wilson;
use backstop_core::stats::performance::classes::{Average, ClassConfusion, ClassMetric};
use backstop_core::stats::performance::ranking::{auc, binned_auc};
use backstop_core::stats::performance::reliability::{Binning, brier, expected_calibration_error};
use backstop_core::stats::performance::{Confusion, score};
use serde_json::Value;

/// The rows of a history: the same operations in the same order.
fn history(case: &Value) -> Vec<(f64, bool)> {
    let truth: fn(f64) -> f64 = match case["history"].as_str().unwrap() {
        "honest" | "tiny" => |score| score,
        "shy" => |score| match score {
            score if score > 0.75 => 1.0,
            score if score < 0.25 => 0.0,
            score => score,
        },
        "boastful" | "coarse" => |score| 0.2 + 0.6 * score,
        "rare" => |score| 0.03 + 0.05 * score,
        "backwards" => |score| 0.9 - 0.5 * score,
        other => panic!("no history `{other}`"),
    };
    let mut draws = Draws(case["seed"].as_u64().unwrap());
    let steps = case["steps"].as_f64().unwrap();
    (0..case["rows"].as_u64().unwrap())
        .map(|_| {
            let score = (draws.next() * steps).floor() / steps;
            (score, draws.next() < truth(score))
        })
        .collect()
}

#[test]
fn figures_of_two_kinds_are_those_of_scikit_learn() {
    for case in cases("performance")["binary"].as_array().unwrap() {
        let rows = history(case);
        let name = case["history"].as_str().unwrap();
        let positives = rows.iter().filter(|(_, positive)| *positive).count() as u64;
        assert_eq!(positives, case["positives"], "the same rows: {name}");
        let mut confusion = Confusion::default();
        for (score, actual) in &rows {
            confusion.add(*score >= 0.6, *actual);
        }
        for (what, proportion) in [
            ("accuracy", confusion.accuracy()),
            ("precision", confusion.precision()),
            ("recall", confusion.recall()),
            ("specificity", confusion.specificity()),
        ] {
            near(score(proportion).unwrap().value, &case[what], 1e-14, what);
        }
        let f1 = confusion.f1().unwrap();
        near(f1.value, &case["f1"], 1e-14, "F1");
        near(f1.standard_error, &case["f1_error"], 1e-13, "its error");
        let interval = wilson(confusion.recall(), 0.05).unwrap();
        near(interval.low, &case["recall_wilson"][0], 1e-13, "Wilson");
        near(interval.high, &case["recall_wilson"][1], 1e-13, "Wilson");
    }
}

#[test]
fn figures_of_scores_are_those_of_scikit_learn_and_nannyml() {
    for case in cases("performance")["binary"].as_array().unwrap() {
        let rows = history(case);
        let area = auc(&rows).unwrap();
        near(area.score.value, &case["auc"], 1e-13, "AUC");
        near(
            area.score.standard_error,
            &case["auc_error"],
            1e-13,
            "DeLong",
        );
        let brier = brier(&rows).unwrap();
        near(brier.value, &case["brier"], 1e-13, "Brier");
        near(
            brier.standard_error,
            &case["brier_error"],
            1e-13,
            "its error",
        );
        for (key, binning) in [
            ("equal_width", Binning::EqualWidth as fn(u32) -> Binning),
            ("equal_count", Binning::EqualCount),
        ] {
            for (bins, expected) in case[key].as_object().into_iter().flatten() {
                let binning = binning(bins.parse().unwrap());
                let error = expected_calibration_error(&rows, binning).unwrap();
                near(error.value, expected, 1e-12, &format!("{key} {bins}"));
            }
        }
        // From bins: within what it says.
        for bins in [4usize, 16, 256] {
            let mut counts = vec![Proportion::default(); bins];
            for (score, positive) in &rows {
                let bin = &mut counts[(score * bins as f64) as usize];
                bin.trials += 1;
                bin.events += u64::from(*positive);
            }
            let binned = binned_auc(&counts).unwrap();
            near(
                binned.value,
                &case["auc"],
                binned.error_max + 1e-12,
                "binned AUC",
            );
            assert!(bins < 256 || binned.error_max < 0.03, "{binned:?}");
        }
    }
}

#[test]
fn figures_of_many_classes_are_those_of_scikit_learn() {
    for case in cases("performance")["classes"].as_array().unwrap() {
        let table: ClassConfusion = serde_json::from_value(case["table"].clone()).unwrap();
        for of in case["averages"].as_array().unwrap() {
            let metric: ClassMetric = serde_json::from_value(of["metric"].clone()).unwrap();
            let average: Average = serde_json::from_value(of["average"].clone()).unwrap();
            let what = format!("{}: {metric:?} {average:?}", case["name"]);
            let found = table.averaged(metric, average).unwrap();
            near(found.value, &of["value"], 1e-14, &what);
            if of["error"].is_number() {
                near(found.standard_error, &of["error"], 1e-13, &what);
            }
        }
    }
}

#[test]
fn curves_are_those_of_scikit_learn() {
    for case in cases("performance")["isotonic"].as_array().unwrap() {
        let rows = history(case);
        let mut draws = Draws(case["seed"].as_u64().unwrap() + 100);
        let weights: Vec<f64> = rows.iter().map(|_| (draws.next() * 4.0).floor()).collect();
        for (kind, weighted) in [("plain", false), ("weighted", true)] {
            let points: Vec<Point> = rows
                .iter()
                .zip(&weights)
                .map(|((score, positive), weight)| Point {
                    score: *score,
                    outcome: f64::from(*positive),
                    weight: if weighted { *weight } else { 1.0 },
                })
                .collect();
            let curve = Isotonic::fit(&points).unwrap();
            for (at, expected) in (-4..69).zip(case["curves"][kind].as_array().unwrap()) {
                let at = f64::from(at) / 64.0;
                let what = format!("{} {kind} at {at}", case["history"]);
                near(curve.apply(at), expected, 1e-12, &what);
            }
        }
    }
}

#[test]
fn scores_are_calibrated_where_nannyml_would() {
    let mut decided = [0, 0];
    for case in cases("performance")["binary"].as_array().unwrap() {
        let Some(needed) = case["needs_calibration"].as_bool() else {
            continue;
        };
        let calibration = Calibrator::fit(&history(case)).unwrap();
        let taken = matches!(calibration.calibrator, Calibrator::Isotonic(_));
        assert_eq!(taken, needed, "{}: {calibration:?}", case["history"]);
        decided[usize::from(taken)] += 1;
    }
    assert!(decided.iter().all(|times| *times > 0), "{decided:?}");
}
