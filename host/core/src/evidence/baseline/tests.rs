//! A baseline from rows is the one from recording them, and its limits hold.

use super::super::{EvidenceOptions, SubjectRef};
use super::*;
use crate::metric::{DriftVerdict, name};

const NOW: u64 = 1_700_000_000_000;
const MODEL: SubjectRef<'_> = SubjectRef::Model("m");

fn draws() -> impl FnMut() -> f64 {
    let mut state = 11u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as f64 / (1u64 << 31) as f64
    }
}

#[test]
fn rows_of_a_file_make_the_same_reference_as_recording_them() {
    let evidence = Evidence::new(EvidenceOptions::default());
    let latency = evidence.value_series(name::LATENCY_MS, MODEL).unwrap();
    let errors = evidence.rate_series(name::ERROR_RATE, MODEL).unwrap();
    let label = evidence.category_series("label", MODEL).unwrap();
    let (mut builder, mut draw) = (Builder::default(), draws());
    for n in 0..2_000u64 {
        let at_ms = NOW + n * 1_000;
        let (took, failed) = (100.0 + 50.0 * draw(), draw() < 0.1);
        let category = if draw() < 0.3 { "fraud" } else { "fine" };
        latency.record_value(at_ms, took);
        errors.record_rate(at_ms, failed);
        label.record_category(at_ms, at_ms, category);
        builder.value(name::LATENCY_MS, took).unwrap();
        builder.rate(name::ERROR_RATE, failed).unwrap();
        builder.category("label", category).unwrap();
    }
    let now_ms = NOW + 2_000_000;
    let taken = evidence.baseline(MODEL, &[], 3_600, now_ms).unwrap();
    let built = builder.build();
    assert_eq!(taken.metrics.len(), 3);
    for (metric, held) in &taken.metrics {
        let of_rows = &built.metrics[metric].reference;
        match (&held.reference, of_rows) {
            (
                Reference::Value { moments: a, bins },
                Reference::Value {
                    moments: b,
                    bins: of_rows,
                },
            ) => {
                assert_eq!(bins, of_rows);
                assert!((a.mean - b.mean).abs() < 1e-9 && (a.stddev - b.stddev).abs() < 1e-9);
            }
            (a, b) => assert_eq!(a, b, "{metric}"),
        }
    }
    // What it was taken from has not drifted from it.
    let Held { reference, .. } = &built.metrics[name::LATENCY_MS];
    let drift = evidence
        .drift_from(name::LATENCY_MS, MODEL, 3_600, reference, now_ms)
        .unwrap();
    assert_eq!((drift.verdict, drift.psi), (DriftVerdict::Stable, 0.0));
    let kept: Baseline = serde_json::from_str(&serde_json::to_string(&built).unwrap()).unwrap();
    assert_eq!(kept, built);
}

#[test]
fn limits_are_three_deviations_of_the_chunks() {
    let chunks = [0.1, 0.2, 0.1, 0.2, 0.1, 0.2];
    let limits = Limits::of(&chunks, false).unwrap();
    assert!((limits.low - 0.0).abs() < 1e-12 && (limits.high - 0.3).abs() < 1e-12);
    assert_eq!(Limits::of(&chunks[..5], false), None, "too few");
    let rate = Limits::of(&[0.0, 1.0, 0.0, 1.0, 0.0, 1.0], true).unwrap();
    assert_eq!((rate.low, rate.high), (0.0, 1.0));
    let places = [-0.01, 0.15, 0.31].map(|value| limits.place(value));
    assert_eq!(places, [Place::Below, Place::Within, Place::Above]);
}

/// A level that wanders has wider limits than one that stays.
#[test]
fn a_window_is_cut_into_ten_chunks() {
    let evidence = Evidence::new(EvidenceOptions::default());
    let series = evidence.value_series("rating", MODEL).unwrap();
    for n in 0..1_000u64 {
        series.record_value(NOW + n * 1_000, (n / 100 % 2) as f64);
    }
    let now_ms = NOW + 999_000;
    let of = |window_s| {
        let metrics = ["rating".to_owned()];
        let baseline = evidence.baseline(MODEL, &metrics, window_s, now_ms);
        baseline.unwrap().metrics["rating"].limits
    };
    let limits = of(1_000).unwrap();
    assert_eq!(limits.chunks, 10);
    // Chunks of 0 and of 1 in turn, but for the buckets on their edges.
    assert!(limits.low < -0.5 && limits.high > 1.4, "{limits:?}");
    assert_eq!(of(86_400), None, "all of it is in one chunk of a day");
}

#[test]
fn files_of_any_length_keep_ten_to_twenty_chunks() {
    for rows in [1u32, 7, 19, 20, 1_000, 12_345] {
        let mut builder = Builder::default();
        for n in 0..rows {
            builder.value("v", f64::from(n)).unwrap();
            builder.value("v", f64::NAN).unwrap();
        }
        let Held { reference, limits } = &builder.build().metrics["v"];
        assert_eq!(reference.samples(), u64::from(rows));
        let chunks = limits.map_or(0, |limits| limits.chunks);
        let expected = if rows < 6 { 0..=0 } else { 6..=20 };
        assert!(expected.contains(&chunks), "{rows}: {chunks}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut builder = Builder::default();
    builder.rate("a", true).unwrap();
    let two = BaselineError::TwoKinds("a".to_owned());
    assert_eq!(builder.value("a", 1.0), Err(two.clone()));
    assert_eq!(builder.category("a", "x"), Err(two));
    for n in 1..BASELINE_METRICS_MAX {
        builder.rate(&format!("m{n}"), true).unwrap();
    }
    let many = BaselineError::TooManyMetrics("more".to_owned());
    assert_eq!(builder.rate("more", true), Err(many));
    let mut builder = Builder::default();
    for n in 0..1_000 {
        builder.category("c", &format!("made-up-{n}")).unwrap();
    }
    let Reference::Category { shares } = &builder.build().metrics["c"].reference else {
        panic!("a category");
    };
    assert_eq!(shares.len(), CATEGORIES_MAX);
    assert_eq!(shares[0].category, OTHER);
    let evidence = Evidence::new(EvidenceOptions::default());
    let unknown = evidence.baseline(MODEL, &["nope".to_owned()], 60, NOW);
    assert_eq!(unknown, Err(MetricsError::Unknown("nope".to_owned())));
    let none = evidence.baseline(MODEL, &[], 60, NOW).unwrap();
    assert!(none.metrics.is_empty(), "no evidence is none, and no error");
}
