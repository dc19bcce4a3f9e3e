//! Published figures, worked cases and seeded simulations.

use super::*;
use crate::metric::{
    Comparison, ComparisonOptions, ComparisonVerdict, Direction, Moments, Proportion,
};
use proptest::test_runner::{RngAlgorithm, TestRng};
pub(super) use rand_like::Random;

/// Randomness for simulations, always the same.
mod rand_like {
    use super::{RngAlgorithm, TestRng};
    use proptest::prelude::Rng;

    pub(crate) struct Random(TestRng);

    impl Random {
        pub(crate) fn new() -> Random {
            Random(TestRng::deterministic_rng(RngAlgorithm::ChaCha))
        }

        /// Uniform in `[0, 1)`.
        pub(crate) fn uniform(&mut self) -> f64 {
            (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
        }

        /// Standard normal, by Box and Muller.
        pub(crate) fn normal(&mut self) -> f64 {
            let (u, v) = (1.0 - self.uniform(), self.uniform());
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        }
    }
}

fn options(margin: f64, samples_min: u32) -> ComparisonOptions {
    ComparisonOptions {
        direction: Direction::LowerIsBetter,
        alpha: 0.05,
        margin,
        samples_min,
    }
}

fn rates(candidate: (u64, u64), baseline: (u64, u64), options: &ComparisonOptions) -> Comparison {
    let side = |(events, trials)| Proportion { events, trials };
    compare_rates(side(candidate), side(baseline), options)
}

fn moments(samples: u64, mean: f64, stddev: f64) -> Moments {
    Moments {
        samples,
        mean,
        stddev,
    }
}

#[test]
fn the_sequence_is_as_wide_as_published() {
    for (samples, published) in [
        (100, 0.669_438_861_7),
        (1_000, 0.106_375_470_1),
        (5_000, 0.042_924_337_2),
        (20_000, 0.022_112_036_2),
    ] {
        // With s = 1 the standard error is 1 / √n.
        let half = sequence_width(samples, 0.05) / (samples as f64).sqrt();
        assert!((half - published).abs() < 1e-9, "{samples}: {half}");
    }
}

#[test]
fn a_canary_of_the_same_release_is_rarely_accused_however_often_it_is_looked_at() {
    let mut random = Random::new();
    let accused = (0..500)
        .filter(|_| {
            let (mut candidate, mut baseline) = ((0, 0), (0, 0));
            (0..100).any(|_| {
                for side in [&mut candidate, &mut baseline] {
                    for _ in 0..50 {
                        side.0 += u64::from(random.uniform() < 0.05);
                        side.1 += 1;
                    }
                }
                let verdict = rates(candidate, baseline, &options(0.0, 20)).verdict;
                verdict != ComparisonVerdict::NotEnoughData
            })
        })
        .count();
    assert!(accused <= 25, "{accused} of 500");
    assert!(
        accused > 0,
        "a test that never errs has no power: {accused}"
    );
}

#[test]
fn a_canary_with_equal_latency_is_rarely_accused() {
    let mut random = Random::new();
    let accused = (0..500)
        .filter(|_| {
            let mut sides = [(0u64, 0.0, 0.0); 2];
            (0..100).any(|_| {
                for (n, sum, squares) in &mut sides {
                    for _ in 0..20 {
                        let value = (6.0 + 0.5 * random.normal()).exp();
                        *n += 1;
                        *sum += value;
                        *squares += value * value;
                    }
                }
                let [candidate, baseline] = sides.map(|(n, sum, squares)| {
                    let mean = sum / n as f64;
                    let variance = (squares - n as f64 * mean * mean) / (n - 1) as f64;
                    moments(n, mean, variance.sqrt())
                });
                let verdict = compare_means(candidate, baseline, &options(0.0, 20)).verdict;
                verdict != ComparisonVerdict::NotEnoughData
            })
        })
        .count();
    assert!(accused <= 25, "{accused} of 500");
}

#[test]
fn a_canary_with_more_errors_is_found_out_in_time() {
    let mut random = Random::new();
    let mut needed: Vec<u64> = (0..100)
        .map(|_| {
            let (mut candidate, mut baseline) = ((0, 0), (0, 0));
            loop {
                candidate.0 += u64::from(random.uniform() < 0.08);
                candidate.1 += 1;
                baseline.0 += u64::from(random.uniform() < 0.05);
                baseline.1 += 1;
                let verdict = rates(candidate, baseline, &options(0.0, 20)).verdict;
                if verdict == ComparisonVerdict::Worse {
                    return candidate.1;
                }
                assert!(candidate.1 < 20_000, "never found");
            }
        })
        .collect();
    needed.sort_unstable();
    // 1,200 where the figures come from, which looked less often.
    assert!((600..1_800).contains(&needed[50]), "median {}", needed[50]);
}

#[test]
fn verdicts_follow_direction_and_margin() {
    use ComparisonVerdict::{Better, Equivalent, NotEnoughData, Worse};
    let verdict =
        |candidate, baseline, margin| rates(candidate, baseline, &options(margin, 20)).verdict;
    assert_eq!(verdict((500, 5_000), (250, 5_000), 0.0), Worse);
    assert_eq!(verdict((500, 5_000), (250, 5_000), 0.04), Worse);
    assert_eq!(verdict((500, 5_000), (250, 5_000), 0.06), NotEnoughData);
    assert_eq!(verdict((500, 5_000), (250, 5_000), 0.09), Equivalent);
    assert_eq!(verdict((250, 5_000), (500, 5_000), 0.0), Better);
    assert_eq!(verdict((250, 5_000), (500, 5_000), 0.09), Better);
    assert_eq!(verdict((250, 5_000), (251, 5_000), 0.0), NotEnoughData);
    assert_eq!(verdict((250, 5_000), (251, 5_000), 0.03), Equivalent);
    assert_eq!(verdict((10, 19), (0, 5_000), 0.0), NotEnoughData);

    let higher = ComparisonOptions {
        direction: Direction::HigherIsBetter,
        ..options(0.0, 20)
    };
    let low = moments(1_000, 0.7, 0.1);
    let high = moments(1_000, 0.8, 0.1);
    assert_eq!(compare_means(low, high, &higher).verdict, Worse);
    assert_eq!(compare_means(high, low, &higher).verdict, Better);
    assert_eq!(compare_means(high, low, &options(0.0, 20)).verdict, Worse);
    let comparison = compare_means(low, high, &higher);
    assert!((comparison.effect + 0.1).abs() < 1e-12);
    assert!(comparison.low < comparison.effect && comparison.effect < comparison.high);
    assert_eq!(
        (comparison.candidate_samples, comparison.baseline_samples),
        (1_000, 1_000)
    );
}

#[test]
fn without_evidence_there_is_no_verdict_and_every_number_is_finite() {
    let nothing = rates((0, 0), (0, 5_000), &options(1.0, 0));
    assert_eq!(nothing.verdict, ComparisonVerdict::NotEnoughData);
    assert_eq!(
        (nothing.effect, nothing.low, nothing.high),
        (0.0, -1.0, 1.0)
    );
    let one = compare_means(
        moments(1, 5.0, 0.0),
        moments(1, 9.0, 0.0),
        &options(100.0, 0),
    );
    assert_eq!(one.verdict, ComparisonVerdict::NotEnoughData);
    for (candidate, baseline) in [
        (moments(0, 0.0, 0.0), moments(9, 1.0, 1.0)),
        (moments(9, 1e308, 1e308), moments(9, -1e308, 1e308)),
    ] {
        let comparison = compare_means(candidate, baseline, &options(0.0, 0));
        assert_eq!(comparison.verdict, ComparisonVerdict::NotEnoughData);
        for number in [comparison.effect, comparison.low, comparison.high] {
            assert!(number.is_finite());
        }
    }
}

#[test]
fn values_that_never_vary_prove_nothing_until_there_are_many() {
    let compare = |samples| {
        let side = |mean| moments(samples, mean, 0.0);
        compare_means(side(11.0), side(10.0), &options(0.0, 2)).verdict
    };
    assert_eq!(compare(2), ComparisonVerdict::NotEnoughData);
    assert_eq!(compare(50), ComparisonVerdict::Worse);
    let none_failed = |trials| rates((0, trials), (0, trials), &options(0.05, 2)).verdict;
    assert_eq!(none_failed(20), ComparisonVerdict::NotEnoughData);
    assert_eq!(none_failed(2_000), ComparisonVerdict::Equivalent);
    assert_eq!(
        rates((3, 3), (0, 3), &options(0.0, 2)).verdict,
        ComparisonVerdict::NotEnoughData
    );
}

/// Case D1 of the reference figures.
#[test]
fn the_index_of_the_worked_case_is_the_published_one() {
    let r = |i: u32| f64::from((37 * i) % 1_000) / 1_000.0;
    let reference: Vec<f64> = (0..2_000).map(r).collect();
    let current: Vec<f64> = (0..500).map(|i| r(i) * r(i)).collect();
    let reading = drift_of_values(&reference, &current);
    assert!(
        (reading.psi - 0.395_978_524).abs() < 1e-9,
        "{}",
        reading.psi
    );
    assert_eq!(reading.verdict, DriftVerdict::Drifted);
    assert_eq!(
        (reading.current_samples, reading.reference_samples),
        (500, 2_000)
    );
    // χ² with 9 degrees of freedom: 16.919 at 95 %; and what the small counts add.
    let expected = 16.918_977_604_620_45 * (1.0 / 2_000.0 + 1.0 / 500.0);
    let expected = expected * (1.0 + 100.0 / 18.0 * 0.001_7);
    assert!((reading.critical - expected).abs() < 1e-9);
}

#[test]
fn quiet_windows_of_every_size_alarm_in_about_five_percent() {
    let mut random = Random::new();
    for (reference, current) in [(50, 50), (1_000, 100), (2_000, 500), (300, 3_000)] {
        let alarms = (0..400)
            .filter(|_| {
                let mut draw = |n| (0..n).map(|_| random.normal()).collect::<Vec<f64>>();
                let reading = drift_of_values(&draw(reference), &draw(current));
                reading.verdict == DriftVerdict::Drifted
            })
            .count();
        assert!(
            (4..=44).contains(&alarms),
            "{reference} against {current}: {alarms} of 400"
        );
    }
}

#[test]
fn a_constant_reference_still_sees_what_leaves_it() {
    let constant = [1.0; 100];
    let verdict = |current: &[f64]| drift_of_values(&constant, current).verdict;
    assert_eq!(verdict(&constant), DriftVerdict::Stable);
    assert_eq!(verdict(&[0.5; 100]), DriftVerdict::Drifted);
    assert_eq!(verdict(&[1.5; 100]), DriftVerdict::Drifted);
}

#[test]
fn few_values_are_no_evidence_of_stability() {
    let reading = drift_of_values(&[1.0; 1_000], &[2.0; 49]);
    assert_eq!(reading.verdict, DriftVerdict::NotEnoughData);
    assert_eq!(
        drift_of_values(&[], &[]).verdict,
        DriftVerdict::NotEnoughData
    );
}
