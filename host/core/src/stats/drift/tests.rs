//! What the oracles do not reach: thin data, edges, and alarms without drift.

use super::chunks::{CHUNKS_MIN, ChunkRule, ReferenceChunks};
use super::tables::{categories, fisher, missing, two_rates};
use super::{Measure, Reading, Test};
use crate::metric::{DriftVerdict, Proportion};
use crate::stats::BinPair;
use crate::stats::bins::{Edges, by_value, pairs_of};
use crate::stats::tests::Random;

fn normals(random: &mut Random, n: usize, shift: f64) -> Vec<f64> {
    (0..n).map(|_| random.normal() + shift).collect()
}

fn rate(events: u64, trials: u64) -> Proportion {
    Proportion { events, trials }
}

fn says_nothing(reading: Reading) -> bool {
    reading.verdict == DriftVerdict::NotEnoughData
        && reading.statistic == 0.0
        && reading.p.is_none()
}

#[test]
fn what_is_no_number_is_in_no_bin() {
    let holes = [1.0, f64::NAN, 2.0, f64::INFINITY, 4.0, f64::NEG_INFINITY];
    let whole = [1.0, 2.0, 4.0];
    for rule in [Edges::sturges, Edges::doane] {
        assert_eq!(rule(&holes), rule(&whole));
        assert_eq!(rule(&[f64::NAN]), None);
        let edges = rule(&whole).unwrap();
        assert_eq!(edges.counts(&holes), edges.counts(&whole));
    }
    assert_eq!(by_value(&holes, &[]).len(), 3);
    assert_eq!(by_value(&[0.0], &[-0.0]).len(), 1);
    for measure in Measure::ALL {
        assert_eq!(measure.of(&holes, &whole), measure.of(&whole, &whole));
        assert_eq!(measure.of(&holes, &[f64::NAN]), None, "{measure:?}");
        assert_eq!(measure.of(&[], &whole), None, "{measure:?}");
    }
}

#[test]
fn values_too_close_for_numpys_bins_have_one() {
    for values in [
        [1.0, 1.0 + f64::EPSILON, 1.0 + 2.0 * f64::EPSILON],
        [f64::MAX, -f64::MAX, 0.0],
        [1e300; 3],
    ] {
        let edges = Edges::doane(&values).unwrap();
        assert!(edges.edges().is_sorted_by(|a, b| a < b), "{edges:?}");
        assert_eq!(edges.counts(&values).1, 0, "{edges:?}");
    }
}

#[test]
fn thin_data_has_no_verdict() {
    let mut random = Random::new();
    let (few, enough) = (normals(&mut random, 49, 9.0), normals(&mut random, 50, 0.0));
    for test in Test::ALL {
        assert!(says_nothing(test.read(&enough, &few)), "{test:?}");
        assert!(says_nothing(test.read(&few, &enough)), "{test:?}");
        assert_ne!(
            test.read(&enough, &enough).verdict,
            DriftVerdict::NotEnoughData,
            "{test:?}"
        );
    }
    assert!(says_nothing(missing(rate(0, 49), rate(49, 5_000))));
    assert!(says_nothing(categories(&pairs_of(&[40, 9], &[0, 500]))));
    assert!(two_rates(rate(0, 0), rate(1, 1)).is_none());
}

#[test]
fn chunks_judge_windows_of_their_size_and_larger_only() {
    let mut random = Random::new();
    let reference = normals(&mut random, 1_000, 0.0);
    let moved = normals(&mut random, 100, 1.0);
    let chunks = ReferenceChunks::new(Measure::W1, &reference, 100);
    assert_eq!(chunks.rule().chunks, 10);
    let reading = chunks.read(&moved);
    assert_eq!(reading.verdict, DriftVerdict::Drifted);
    assert_eq!(reading.threshold, Some(chunks.rule().high()));
    assert!(says_nothing(chunks.read(&moved[..99])));

    let few = ReferenceChunks::new(Measure::W1, &reference[..599], 100);
    assert_eq!(few.rule().chunks as usize, CHUNKS_MIN - 1);
    assert!(says_nothing(few.read(&moved)));
    let small = ReferenceChunks::new(Measure::W1, &reference, 49);
    assert!(says_nothing(small.read(&moved)));
    let empty = ReferenceChunks::new(Measure::W1, &[], 0);
    assert!(says_nothing(empty.read(&moved)));
}

#[test]
fn a_rate_that_falls_is_drift_on_both_sides_only() {
    let rates = [0.2, 0.21, 0.19, 0.2, 0.22, 0.18, f64::NAN];
    let rule = ChunkRule::of(&rates, 200);
    assert_eq!(rule.chunks, 6);
    assert_eq!(rule.judge_both_sides(0.05, 200), DriftVerdict::Drifted);
    assert_eq!(rule.judge_distance(0.05, 200), DriftVerdict::Stable);
    assert_eq!(rule.judge_both_sides(0.21, 200), DriftVerdict::Stable);
    assert_eq!(
        rule.judge_both_sides(f64::NAN, 200),
        DriftVerdict::NotEnoughData
    );
}

#[test]
fn rare_events_are_judged_exactly() {
    // Nothing was ever missing, and now three of a hundred are: z says 8 sigma
    // of 10,000 against 100, Fisher counts.
    let test = two_rates(rate(0, 10_000), rate(3, 100)).unwrap();
    assert!(test.exact && test.p < 1e-5, "{test:?}");
    let test = two_rates(rate(0, 100), rate(3, 100)).unwrap();
    assert!(test.exact && test.p > 0.2, "{test:?}");
    assert!((fisher(5, 10, 5, 10) - 1.0).abs() < 1e-9);
    assert_eq!(
        missing(rate(0, 10_000), rate(3, 100)).verdict,
        DriftVerdict::Drifted
    );
    assert!(two_rates(rate(0, 60), rate(0, 70)).unwrap().p >= 1.0);
}

#[test]
fn one_new_value_is_no_drift_and_twenty_are() {
    let one = |reference, current| BinPair { reference, current };
    let mut cells = vec![one(500, 50), one(500, 50)];
    cells.push(one(0, 1));
    assert_eq!(categories(&cells).verdict, DriftVerdict::Stable);
    cells.extend([one(0, 1); 20]);
    assert_eq!(categories(&cells).verdict, DriftVerdict::Drifted);
    // One category alone cannot drift.
    assert_eq!(categories(&[one(100, 100)]).verdict, DriftVerdict::Stable);
}

#[test]
fn every_test_and_chunk_rule_is_quiet_without_drift() {
    const RUNS: usize = 200;
    let mut random = Random::new();
    for window in [50, 200] {
        let mut alarms = [0usize; 5];
        for _ in 0..RUNS {
            let reference = normals(&mut random, 10 * window, 0.0);
            let current = normals(&mut random, window, 0.0);
            let coarse =
                |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.round()).collect() };
            let readings = [
                Test::PsiDeciles.read(&reference, &current),
                Test::Ks.read(&reference, &current),
                Test::ChiSquaredByValue.read(&coarse(&reference), &coarse(&current)),
                ReferenceChunks::new(Measure::W1, &reference, window as u64).read(&current),
                ReferenceChunks::new(Measure::Js2Doane, &reference, window as u64).read(&current),
            ];
            for (alarms, reading) in alarms.iter_mut().zip(readings) {
                assert_ne!(reading.verdict, DriftVerdict::NotEnoughData);
                *alarms += usize::from(reading.verdict == DriftVerdict::Drifted);
            }
        }
        assert!(
            alarms.iter().all(|alarms| *alarms * 10 <= RUNS),
            "{window}: {alarms:?}"
        );
    }
}
