//! confseq's own figures, and that looking after every trial is safe.

use super::*;
use crate::stats::tests::Random;

/// The figures that confseq's tests hold against its reference in R.
#[test]
fn the_mixture_is_the_one_of_confseq() {
    // g = 0.2, h = 0.8, tuned to v = 100, at s = 10 and v = 100.
    let (g, h, v) = (0.2, 0.8, 100.0);
    let trials = v / (g * h);
    let concentration = concentration(trials, 0.05);
    let at = |s: f64| log_mixture(trials * g + s, trials, g, concentration);
    assert!((at(10.0) + 0.694_101_2).abs() < 1e-6, "{}", at(10.0));
    // And the bound where it reaches ln 20.
    assert!((at(31.430_8) - 20f64.ln()).abs() < 1e-4);
    // Of the normal mixture: rho = 100 / tuning.
    assert!((100.0 / tuning(0.05) - 12.600_56).abs() < 1e-5);
}

#[test]
fn a_rate_is_rarely_missed_however_often_it_is_looked_at() {
    let mut random = Random::new();
    for rate in [0.002, 0.05, 0.5, 0.98] {
        let missed = (0..200)
            .filter(|_| {
                let mut observed = Proportion::default();
                let mut missed = false;
                for _ in 0..2_000 {
                    observed.events += u64::from(random.uniform() < rate);
                    observed.trials += 1;
                    missed |=
                        rate_log_e_value(observed, rate).is_some_and(|log_e| log_e >= 20f64.ln());
                }
                missed
            })
            .count();
        assert!(missed <= 10, "{rate}: {missed} of 200");
    }
}

#[test]
fn the_interval_is_where_the_e_value_is_small() {
    for (events, trials) in [(0, 50), (3, 50), (50, 50), (120, 4_000)] {
        let observed = Proportion { events, trials };
        let ends = rate_sequence(observed, 0.05).expect("trials");
        let e_value = |rate| rate_log_e_value(observed, rate).expect("trials");
        if ends.low > 0.0 {
            assert!(e_value(ends.low * 0.999) > 20f64.ln());
            assert!(e_value(ends.low * 1.001) < 20f64.ln());
        }
        if ends.high < 1.0 {
            assert!(e_value(1.0 - (1.0 - ends.high) * 0.999) > 20f64.ln());
            assert!(e_value(1.0 - (1.0 - ends.high) * 1.001) < 20f64.ln());
        }
        let narrower = rate_sequence_tuned(observed, 0.05, trials as f64).expect("trials");
        assert!(
            narrower.high - narrower.low < ends.high - ends.low,
            "{narrower:?} {ends:?}"
        );
    }
}

#[test]
fn without_evidence_there_is_none() {
    let nothing = Proportion::default();
    assert_eq!(rate_sequence(nothing, 0.05), None);
    assert_eq!(rate_log_e_value(nothing, 0.5), None);
    let some = Proportion {
        events: 1,
        trials: 2,
    };
    for alpha in [0.0, 1.0, -1.0, f64::NAN] {
        assert_eq!(rate_sequence(some, alpha), None, "{alpha}");
    }
    for rate in [-0.1, 1.1, f64::NAN] {
        assert_eq!(rate_log_e_value(some, rate), None, "{rate}");
    }
    // One exception refutes "never" and "always".
    assert_eq!(rate_log_e_value(some, 0.0), Some(f64::MAX));
    assert_eq!(rate_log_e_value(some, 1.0), Some(f64::MAX));
    for (errors, samples, alpha) in [
        (1.0, 0, 0.05),
        (f64::NAN, 9, 0.05),
        (1.0, 9, 0.0),
        (1.0, 9, 0.6),
    ] {
        assert_eq!(evidence(errors, samples, alpha, Alternative::Greater), None);
    }
    let lost = evidence(-1e9, 1_000, 0.05, Alternative::Greater).expect("samples");
    assert!(lost.log_e_value.is_finite() && lost.p_value >= 1.0);
}
