//! Comparisons against statsmodels and scipy, and confidence sequences against
//! a derivation on scipy (`tests/oracles/compare.py`).

use crate::cases;
use backstop_core::metric::{
    Comparison, ComparisonOptions, ComparisonVerdict, Direction, Moments, Proportion,
};
use backstop_core::stats::compare::{
    MeanMethod, Question, RateMethod, compare_means_by, compare_rates_by,
};
use backstop_core::stats::interval::wilson;
use backstop_core::stats::paired::{Pairs, mcnemar, paired_log_e_value};
use backstop_core::stats::sequence::{
    Alternative, evidence, one_sided_sequence_width, rate_sequence, sequence_width,
};
use serde_json::Value;

/// Equal to `digits` significant digits, or both below 10^-15.
fn close(found: f64, expected: &Value, digits: i32, what: &str) {
    let expected = expected.as_f64().unwrap();
    let allowed = expected.abs() * 10f64.powi(-digits) + 1e-15;
    let off = (found - expected).abs();
    assert!(off <= allowed, "{what}: {found:e}, expected {expected:e}");
}

fn proportion(pair: &Value) -> Proportion {
    Proportion {
        events: pair[0].as_u64().unwrap(),
        trials: pair[1].as_u64().unwrap(),
    }
}

fn options(alpha: f64, margin: f64) -> ComparisonOptions {
    ComparisonOptions {
        direction: Direction::LowerIsBetter,
        alpha,
        margin,
        samples_min: 0,
    }
}

/// An interval of confidence 90 % is both the answer about a difference at
/// alpha 0.1 and that about equivalence at 0.05.
fn intervals(expected: &Value, compare: impl Fn(f64, Question) -> Comparison, what: &str) {
    for (alpha, question, key) in [
        (0.05, Question::Difference, "0.05"),
        (0.1, Question::Difference, "0.1"),
        (0.05, Question::Equivalence, "0.1"),
        (0.05, Question::NonInferiority, "0.1"),
        (0.025, Question::Equivalence, "0.05"),
    ] {
        let found = compare(alpha, question);
        let what = format!("{what} {question:?} {alpha}");
        close(found.low, &expected[key][0], 9, &what);
        close(found.high, &expected[key][1], 9, &what);
    }
}

/// Equivalent exactly where both one-sided tests reject.
fn equivalence(expected: &Value, compare: impl Fn(&ComparisonOptions) -> Comparison) -> u32 {
    let mut equivalent = 0;
    for (margin, p_value) in expected.as_object().into_iter().flatten() {
        let options = options(0.05, margin.parse().unwrap());
        let found = compare(&options);
        // Better says more and comes first.
        let inside = found.verdict == ComparisonVerdict::Equivalent
            || (found.verdict == ComparisonVerdict::Better && found.low > -options.margin);
        assert_eq!(
            inside,
            p_value.as_f64().unwrap() < 0.05,
            "{margin}: {found:?}"
        );
        equivalent += u32::from(inside);
    }
    equivalent
}

#[test]
fn comparisons_of_rates_are_those_of_statsmodels() {
    let mut equivalent = 0;
    for case in cases("compare")["rates"].as_array().unwrap() {
        let (candidate, baseline) = (
            proportion(&case["candidate"]),
            proportion(&case["baseline"]),
        );
        let ends = wilson(candidate, 0.05).unwrap();
        close(ends.low, &case["wilson"][0], 10, "Wilson");
        close(ends.high, &case["wilson"][1], 10, "Wilson");
        let compare = |alpha, question, method| {
            compare_rates_by(candidate, baseline, &options(alpha, 0.0), question, method)
        };
        let newcombe = |alpha, question| compare(alpha, question, RateMethod::Newcombe);
        intervals(&case["newcomb"], newcombe, &format!("Newcombe {case}"));
        if case["tost_wald"].is_object() {
            let wald = |alpha, question| compare(alpha, question, RateMethod::Wald);
            intervals(&case["wald"], wald, &format!("Wald {case}"));
            equivalent += equivalence(&case["tost_wald"], |options| {
                let (question, method) = (Question::Equivalence, RateMethod::Wald);
                compare_rates_by(candidate, baseline, options, question, method)
            });
        } else {
            // statsmodels gives an interval from no events; we do not.
            let found = compare(0.05, Question::Difference, RateMethod::Wald);
            assert_eq!(found.verdict, ComparisonVerdict::NotEnoughData);
            assert_eq!(
                (found.low.to_bits(), found.high.to_bits()),
                ((-1f64).to_bits(), 1f64.to_bits())
            );
        }
    }
    assert!(equivalent > 5, "{equivalent}");
}

#[test]
fn comparisons_of_means_are_those_of_statsmodels() {
    let mut equivalent = 0;
    for case in cases("compare")["means"].as_array().unwrap() {
        let side = |of: &Value| Moments {
            samples: of[0].as_u64().unwrap(),
            mean: of[1].as_f64().unwrap(),
            stddev: of[2].as_f64().unwrap(),
        };
        let (candidate, baseline) = (side(&case["candidate"]), side(&case["baseline"]));
        let compare = |options: &ComparisonOptions, question| {
            compare_means_by(candidate, baseline, options, question, MeanMethod::Welch)
        };
        let welch = |alpha, question| compare(&options(alpha, 0.0), question);
        intervals(&case["welch"], welch, &format!("Welch {case}"));
        equivalent += equivalence(&case["tost_welch"], |options| {
            compare(options, Question::Equivalence)
        });
    }
    assert!(equivalent > 5, "{equivalent}");
}

#[test]
fn comparisons_of_pairs_are_those_of_statsmodels_and_numpy() {
    for case in cases("compare")["pairs"].as_array().unwrap() {
        let count = |at: usize| case["pairs"][at].as_u64().unwrap();
        let pairs = Pairs {
            both: count(0),
            candidate_only: count(1),
            baseline_only: count(2),
            neither: count(3),
        };
        let what = case.to_string();
        let (difference, squared_error) = pairs.difference().unwrap();
        close(difference, &case["difference"], 12, &what);
        close(squared_error, &case["squared_error"], 12, &what);
        let tested = mcnemar(pairs).unwrap();
        close(tested.exact, &case["exact"], 9, &what);
        close(tested.mid_p, &case["mid_p"], 9, &what);
        let log_e = paired_log_e_value(pairs).unwrap();
        assert!(
            (log_e - case["log_e"].as_f64().unwrap()).abs() < 1e-7,
            "{log_e} {what}"
        );
    }
}

#[test]
fn sequences_are_as_derived() {
    let oracle = cases("compare");
    for case in oracle["sequences"]["widths"].as_array().unwrap() {
        let samples = case["samples"].as_u64().unwrap();
        let alpha = case["alpha"].as_f64().unwrap();
        let two_sided = sequence_width(samples, alpha);
        close(two_sided, &case["two_sided"], 11, "two-sided");
        let one_sided = one_sided_sequence_width(samples, alpha);
        close(one_sided, &case["one_sided"], 11, "one-sided");
        // At the width the p-value is alpha, on the other side nothing.
        for (errors, alternative, p_value) in [
            (two_sided, Alternative::TwoSided, alpha),
            (-two_sided, Alternative::TwoSided, alpha),
            (one_sided, Alternative::Greater, alpha),
            (-one_sided, Alternative::Less, alpha),
            (-one_sided, Alternative::Greater, 1.0),
        ] {
            let found = evidence(errors, samples, alpha, alternative).unwrap();
            close(found.p_value, &p_value.into(), 9, "p");
            assert!(
                found.p_value >= (-found.log_e_value).exp().min(1.0) - 1e-12,
                "{found:?}"
            );
        }
        let found = evidence(3.0, samples, alpha, Alternative::Greater).unwrap();
        close(found.log_e_value, &case["one_sided_log_e_at_3"], 9, "e");
    }
    for case in oracle["sequences"]["bounds"].as_array().unwrap() {
        let observed = Proportion {
            events: case["events"].as_u64().unwrap(),
            trials: case["trials"].as_u64().unwrap(),
        };
        let found = rate_sequence(observed, case["alpha"].as_f64().unwrap()).unwrap();
        close(found.low, &case["ends"][0], 6, &case.to_string());
        close(found.high, &case["ends"][1], 6, &case.to_string());
    }
}
