//! Estimates without labels against nannyml (`tests/oracles/estimated.py`).

use crate::{Draws, cases, near};
use backstop_core::stats::calibration::Calibrator;
use backstop_core::stats::estimated::classes::{ClassAnswer, ClassEstimator, LabelledClassAnswer};
use backstop_core::stats::estimated::{
    Answer, EstimateVerdict, Estimated, EstimatedMetric, Estimator, LabelledAnswer,
};
use serde_json::Value;
use std::collections::HashSet;

fn rows(count: usize, seed: u64, truth: &str, narrow: f64) -> Vec<LabelledAnswer> {
    let truth: fn(f64) -> f64 = match truth {
        "honest" => |score| score,
        "boastful" => |score| 0.2 + 0.6 * score,
        "rare" => |score| 0.02 + 0.4 * score * score,
        other => panic!("no truth `{other}`"),
    };
    let (mut draws, mut seen, mut rows) = (Draws(seed), HashSet::new(), Vec::new());
    while rows.len() < count {
        let score = 0.5 + (draws.next() - 0.5) * narrow;
        let actual = draws.next() < truth(score);
        if seen.insert(score.to_bits()) {
            let predicted = score >= 0.5;
            let answer = Answer { score, predicted };
            rows.push(LabelledAnswer { answer, actual });
        }
    }
    rows
}

/// How far our figures may be off: the estimate, and its sampling error.
type Off = (f64, f64);

fn holds(found: &Estimated, expected: &Value, (value, error): Off, what: &str) {
    near(found.value.unwrap(), &expected["value"], value, what);
    let sampling = found.sampling_error.unwrap();
    near(sampling, &expected["sampling_error"], error, what);
    near(found.threshold_low, &expected["threshold_low"], 1e-12, what);
    near(
        found.threshold_high,
        &expected["threshold_high"],
        1e-12,
        what,
    );
    let alarmed = found.verdict != EstimateVerdict::Usual;
    assert_eq!(alarmed, expected["alert"], "{what}: {found:?}");
}

/// nannyml rounds the area's parts to five decimals on the way, and its sampling
/// error forgets a row of the rarer kind that stands first of all.
fn of_area(history: &[LabelledAnswer]) -> Off {
    let by_score =
        |a: &&LabelledAnswer, b: &&LabelledAnswer| a.answer.score.total_cmp(&b.answer.score);
    let positives = history.iter().filter(|row| row.actual).count();
    let forgotten = match positives * 2 > history.len() {
        true => !history.iter().max_by(by_score).unwrap().actual,
        false => history.iter().min_by(by_score).unwrap().actual,
    };
    (1e-6, if forgotten { 5e-5 } else { 1e-12 })
}

#[test]
fn estimates_are_those_of_nannyml() {
    let (mut compared, mut alarmed) = (0, 0);
    for case in cases("estimated")["binary"].as_array().unwrap() {
        let count = |name: &str| case[name].as_u64().unwrap();
        let truth = case["truth"].as_str().unwrap();
        let chunk_rows = count("chunk_rows") as usize;
        let history = rows(count("rows") as usize, count("seed"), truth, 1.0);
        let estimator = Estimator::fit(&history, chunk_rows).unwrap();
        let taken = matches!(estimator.calibration.calibrator, Calibrator::Isotonic(_));
        assert_eq!(
            taken, case["calibrated"],
            "{truth}: {:?}",
            estimator.calibration
        );
        for window in case["windows"].as_array().unwrap() {
            let seed = window["seed"].as_u64().unwrap();
            let labelled = rows(chunk_rows, seed, truth, window["narrow"].as_f64().unwrap());
            let answers: Vec<Answer> = labelled.iter().map(|row| row.answer).collect();
            for found in estimator.estimate(&answers) {
                let (name, off) = match found.metric {
                    EstimatedMetric::Accuracy => ("accuracy", (1e-12, 1e-12)),
                    EstimatedMetric::Precision => ("precision", (1e-12, 1e-12)),
                    EstimatedMetric::Recall => ("recall", (1e-12, 1e-12)),
                    EstimatedMetric::F1 => ("f1", (1e-12, 1e-12)),
                    EstimatedMetric::Auc => ("roc_auc", of_area(&history)),
                };
                let expected = &window["metrics"][name];
                holds(&found, expected, off, &format!("{truth} {seed} {name}"));
                let off = off.0 + 3.0 * off.1;
                near(found.low.unwrap(), &expected["low"], off, "low");
                near(found.high.unwrap(), &expected["high"], off, "high");
                compared += 1;
                alarmed += u32::from(found.verdict == EstimateVerdict::Below);
            }
        }
    }
    assert_eq!(compared, 4 * 3 * 5);
    assert!(alarmed > 0, "no window was worse");
}

fn class_rows(count: usize, seed: u64, sharp: f64) -> Vec<LabelledClassAnswer> {
    let mut draws = Draws(seed);
    (0..count)
        .map(|_| {
            let raw = [draws.next(), draws.next(), draws.next()]
                .map(|value| value * value * sharp + value * (1.0 - sharp));
            let total = raw[0] + raw[1] + raw[2];
            let scores = raw.map(|value| value / total);
            let highest = scores[0].max(scores[1]).max(scores[2]);
            let predicted = scores.iter().position(|score| *score >= highest).unwrap();
            let at = draws.next();
            let flat = scores.map(|value| 0.15 + 0.55 * value);
            let actual = match at {
                at if at < flat[0] => 0,
                at if at < flat[0] + flat[1] => 1,
                _ => 2,
            };
            LabelledClassAnswer {
                answer: ClassAnswer {
                    scores: scores.to_vec(),
                    predicted,
                },
                actual,
            }
        })
        .collect()
}

#[test]
fn estimates_over_classes_are_those_of_nannyml() {
    let case = &cases("estimated")["classes"];
    let count = |name: &str| case[name].as_u64().unwrap() as usize;
    let history = class_rows(count("rows"), count("seed") as u64, 1.0);
    let estimator = ClassEstimator::fit(&history, 3, count("chunk_rows")).unwrap();
    let taken: Vec<bool> = estimator
        .calibrations
        .iter()
        .map(|of| matches!(of.calibrator, Calibrator::Isotonic(_)))
        .collect();
    assert_eq!(serde_json::json!(taken), case["calibrated"]);
    for window in case["windows"].as_array().unwrap() {
        let seed = window["seed"].as_u64().unwrap();
        let rows = class_rows(count("chunk_rows"), seed, window["sharp"].as_f64().unwrap());
        let answers: Vec<ClassAnswer> = rows.into_iter().map(|row| row.answer).collect();
        let found = estimator.estimate(&answers);
        holds(&found, window, (1e-12, 1e-12), &format!("classes {seed}"));
    }
}
