//! Bounds against scipy and mapie; thresholds against an implementation in
//! Python on top of both (`tests/oracles/calibrate.py`).

use crate::Draws;
use backstop_core::calibrate::bound::hoeffding_bentkus_p;
use backstop_core::calibrate::{
    Answer, Bound, Curve, Margin, Method, Question, Row, Scores, Why, choose,
};
use backstop_core::stats::binomial::binomial_cdf;
use serde_json::Value;

fn oracle() -> Value {
    serde_json::from_str(include_str!("calibrate.json")).unwrap()
}

/// Equal to `digits` significant digits.
fn close(found: f64, expected: &Value, digits: i32, what: &str) {
    let expected = expected.as_f64().unwrap();
    let off = (found - expected).abs();
    let allowed = expected.abs().max(1e-300) * 10f64.powi(-digits);
    assert!(off <= allowed, "{what}: {found:e}, expected {expected:e}");
}

#[test]
fn bounds_are_those_of_scipy_and_mapie() {
    for case in oracle()["bounds"].as_array().unwrap() {
        let count = |name: &str| case[name].as_u64().unwrap();
        let number = |name: &str| case[name].as_f64().unwrap();
        let (errors, trials) = (count("errors"), count("trials"));
        let (delta, rate) = (number("delta"), number("rate"));
        let upper = Bound::ClopperPearson.upper(errors, trials, delta);
        close(upper, &case["clopper_pearson_upper"], 10, "Clopper-Pearson");
        let tail = binomial_cdf(errors, trials, rate);
        close(tail, &case["binomial_cdf"], 9, "the binomial tail");
        let p = hoeffding_bentkus_p(errors, trials, rate);
        close(p, &case["hoeffding_bentkus_p"], 8, "Hoeffding-Bentkus");
        let upper = Bound::Hoeffding.upper(errors, trials, delta);
        close(upper, &case["hoeffding_upper"], 12, "Hoeffding");
    }
}

/// The histories of the script: the same operations in the same order.
fn history(case: &Value) -> Curve {
    let wrong: fn(f64) -> f64 = match case["history"].as_str().unwrap() {
        "smooth" | "coarse" => |score| 0.3 * (1.0 - score),
        "small" => |score| 0.1 * (1.0 - score),
        "bad-top" => |score| {
            if score > 0.995 {
                0.3
            } else {
                0.1 * (1.0 - score)
            }
        },
        "hopeless" => |_| 0.4,
        "tiny" => |_| 0.0,
        other => panic!("no history `{other}`"),
    };
    let mut draws = Draws(case["seed"].as_u64().unwrap());
    let steps = case["steps"].as_f64().unwrap();
    let mut scores = Scores::default();
    for _ in 0..case["rows"].as_u64().unwrap() {
        let score = 0.5 + (draws.next() * steps).floor() / steps / 2.0;
        let correct = draws.next() >= wrong(score);
        scores.add(score, Row::new(correct)).unwrap();
    }
    scores.curve()
}

#[test]
fn thresholds_are_those_of_another_implementation() {
    for case in oracle()["thresholds"].as_array().unwrap() {
        let curve = history(case);
        assert_eq!(curve.wrong(), case["wrong"], "the same history: {case:#}");
        for (name, method) in [
            ("fixed_sequence", Method::FixedSequence),
            ("sgr", Method::Sgr),
            ("conformal", Method::Conformal),
        ] {
            let question = Question {
                error_max: case["error_max"].as_f64().unwrap(),
                delta: case["delta"].as_f64().unwrap(),
                method,
                bound: Bound::ClopperPearson,
                margin: Margin::None,
            };
            let expected = &case[name];
            match choose(&curve, &question) {
                Answer::Found(choice) => {
                    let what = format!("{name} of {case:#}: {choice:?}");
                    close(choice.found.threshold, &expected["threshold"], 14, &what);
                    if method != Method::Conformal {
                        assert_eq!(choice.found.accepted, expected["accepted"], "{what}");
                        assert_eq!(choice.found.wrong, expected["wrong"], "{what}");
                    }
                    if let Some(passed) = expected["passed"].as_u64() {
                        assert_eq!(choice.passed.len() as u64, passed, "{what}");
                    }
                }
                Answer::Infeasible(infeasible) => {
                    assert!(expected["threshold"].is_null(), "{name} of {case:#}");
                    if let Why::TooFewRows { needed } = infeasible.why
                        && method != Method::Conformal
                    {
                        assert_eq!(expected["needed"], needed, "{name} of {case:#}");
                    }
                }
            }
        }
    }
}
