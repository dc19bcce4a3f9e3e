//! Drift against numpy, scipy, evidently and nannyml.

use crate::{cases, same, series};
use backstop_core::metric::Proportion;
use backstop_core::stats::bins::{Edges, by_value, pairs_of};
use backstop_core::stats::drift::chunks::{ChunkRule, ReferenceChunks};
use backstop_core::stats::drift::distance::{
    hellinger, jensen_shannon_2, jensen_shannon_e, kullback_leibler_filled, largest_difference,
    psi_filled,
};
use backstop_core::stats::drift::samples::{KS_EXACT_MAX, ks};
use backstop_core::stats::drift::tables::{chi_squared, fisher, two_rates};
use backstop_core::stats::drift::{Measure, pooled_bins};
use backstop_core::stats::{BinPair, decile_bins, drift_of_values};
use serde_json::Value;

fn counts(value: &Value) -> Vec<u64> {
    let counts = value.as_array().unwrap().iter();
    counts.map(|count| count.as_u64().unwrap()).collect()
}

#[test]
fn distances_of_values_are_to_ten_digits_those_of_scipy_evidently_and_nannyml() {
    for (name, case) in cases("drift")["numbers"].as_object().unwrap() {
        let (reference, current) = (series(&case["reference"]), series(&case["current"]));
        let says = &case["says"];
        let of = |measure: Measure| measure.of(&reference, &current).unwrap();
        for (measure, oracle) in [
            (Measure::KsD, "ks"),
            (Measure::W1, "w1"),
            (Measure::W1Sigma, "w1-evidently"),
            (Measure::JsESturgesPooled, "js-evidently"),
            (Measure::PsiSturgesPooled, "psi-evidently"),
            (Measure::Js2Doane, "js-nannyml"),
            (Measure::HellingerDoane, "hellinger-nannyml"),
        ] {
            same(
                &format!("{name}: {oracle}"),
                of(measure),
                &says[oracle],
                1e-10,
            );
        }
        let bins = pooled_bins(&reference, &current).unwrap();
        let divergence = kullback_leibler_filled(&bins);
        same(
            &format!("{name}: kl"),
            divergence,
            &says["kl-evidently"],
            1e-10,
        );
    }
}

#[test]
fn p_values_of_kolmogorov_smirnov_are_scipys() {
    for (name, case) in cases("drift")["numbers"].as_object().unwrap() {
        let (reference, current) = (series(&case["reference"]), series(&case["current"]));
        let test = ks(&reference, &current).unwrap();
        assert_eq!(test.exact, reference.len() * current.len() <= KS_EXACT_MAX);
        let (oracle, digits) = match test.exact {
            true => ("ks-p-exact", 1e-10),
            false => ("ks-p-asymptotic", 1e-6),
        };
        same(
            &format!("{name}: {oracle}"),
            test.p,
            &case["says"][oracle],
            digits,
        );
    }
}

#[test]
fn bins_are_numpys() {
    let cases = cases("drift");
    for (name, case) in cases["edges"].as_object().unwrap() {
        let values = series(&case["values"]);
        for (rule, edges) in [
            ("sturges", Edges::sturges(&values).unwrap()),
            ("doane", Edges::doane(&values).unwrap()),
        ] {
            let says = &case["says"][rule];
            if says.is_null() {
                // numpy refuses.
                assert_eq!(edges.edges().len(), 2, "{name}: {rule}");
                continue;
            }
            let says = says.as_array().unwrap();
            assert_eq!(edges.edges().len(), says.len(), "{name}: {rule}");
            for (ours, says) in edges.edges().iter().zip(says) {
                same(&format!("{name}: {rule}"), *ours, says, 1e-14);
            }
            let (counted, outside) = edges.counts(&values);
            assert_eq!(outside, 0, "{name}: {rule}");
            assert_eq!(counted, counts(&case["says"][format!("{rule}-counts")]));
        }
    }
    for (name, case) in cases["numbers"].as_object().unwrap() {
        let (reference, current) = (series(&case["reference"]), series(&case["current"]));
        let edges = Edges::doane(&reference).unwrap();
        assert_eq!(
            edges.counts(&reference).0,
            counts(&case["says"]["doane-reference"]),
            "{name}"
        );
        assert_eq!(
            edges.counts(&current).0,
            counts(&case["says"]["doane-current"]),
            "{name}"
        );
    }
}

#[test]
fn deciles_are_numpys() {
    let case = &cases("drift")["numbers"]["D1"];
    let (reference, current) = (series(&case["reference"]), series(&case["current"]));
    let bins = decile_bins(&by_value(&reference, &current));
    let shares = &case["says"]["decile-shares"];
    assert_eq!(bins.len(), 10);
    for (at, bin) in bins.iter().enumerate() {
        same(
            "reference",
            bin.reference as f64 / 2_000.0,
            &shares[0][at],
            1e-12,
        );
        same("current", bin.current as f64 / 500.0, &shares[1][at], 1e-12);
    }
    // reference/statistics: case D1.
    let reading = drift_of_values(&reference, &current);
    assert!((reading.psi - 0.395_978_524).abs() < 1e-9, "{reading:?}");
}

#[test]
fn categories_are_those_of_scipy_evidently_and_nannyml() {
    for (name, case) in cases("drift")["categories"].as_object().unwrap() {
        let (reference, current) = (counts(&case["reference"]), counts(&case["current"]));
        let cells: Vec<BinPair> = pairs_of(&reference, &current);
        let says = &case["says"];
        let test = chi_squared(&cells).unwrap();
        assert_eq!(test.freedom, says["freedom"].as_u64().unwrap());
        for (ours, oracle) in [
            (test.statistic, "chi2"),
            (test.p, "chi2-p"),
            (jensen_shannon_e(&cells), "js-evidently"),
            (jensen_shannon_2(&cells), "js-nannyml"),
            (psi_filled(&cells), "psi-evidently"),
            (largest_difference(&cells), "l-infinity-nannyml"),
            (hellinger(&cells), "hellinger-nannyml"),
        ] {
            same(&format!("{name}: {oracle}"), ours, &says[oracle], 1e-9);
        }
        if let ([a, b], [c, d]) = (&reference[..], &current[..]) {
            let rate = |events: u64, other: u64| Proportion {
                events,
                trials: events + other,
            };
            let test = two_rates(rate(*a, *b), rate(*c, *d)).unwrap();
            same(name, test.z.powi(2), &says["chi2"], 1e-9);
            same(name, fisher(*a, a + b, *c, c + d), &says["fisher-p"], 1e-9);
            assert!(test.exact || says["z-evidently-p"].is_number());
            if !test.exact {
                same(name, test.p, &says["z-evidently-p"], 1e-9);
            }
        }
    }
}

#[test]
fn thresholds_from_chunks_are_nannymls() {
    let cases = cases("drift");
    let chunks = &cases["chunks"];
    let (reference, current) = (series(&chunks["reference"]), series(&chunks["current"]));
    for (measure, oracle) in [
        (Measure::W1, "w1"),
        (Measure::Js2Doane, "js2-doane"),
        (Measure::KsD, "ks"),
        (Measure::HellingerDoane, "hellinger-doane"),
    ] {
        let says = &chunks["says"][oracle];
        let chunks = reference.chunks(100);
        let of_chunks: Vec<f64> = chunks
            .map(|chunk| measure.of(&reference, chunk).unwrap())
            .collect();
        let rule = ChunkRule::of(&of_chunks, 100);
        same(oracle, rule.high(), &says["threshold"], 1e-10);
        // Ours leaves the chunk out of what it is held against.
        let judge = ReferenceChunks::new(measure, &reference, 100);
        assert!(judge.rule().high() > rule.high(), "{oracle}");
        for (window, says) in current.chunks(100).zip(says["current"].as_array().unwrap()) {
            same(oracle, judge.read(window).statistic, says, 1e-10);
        }
    }
}
