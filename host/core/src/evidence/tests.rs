//! What is recorded is found again; what is out of range is refused.

mod computed;
mod kinds;
mod taps;

use super::*;
use crate::metric::{
    ComparisonOptions, ComparisonVerdict, Direction, DriftVerdict, Estimate, MetricsError, Moments,
    Proportion, name,
};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000_000;
const STABLE: SubjectRef<'_> = SubjectRef::Release {
    model: "m",
    release: "v1",
};
const CANDIDATE: SubjectRef<'_> = SubjectRef::Release {
    model: "m",
    release: "v2",
};

fn store() -> Evidence {
    Evidence::new(EvidenceOptions::default())
}

fn options() -> ComparisonOptions {
    ComparisonOptions {
        direction: Direction::LowerIsBetter,
        alpha: 0.05,
        margin: 0.0,
        samples_min: 20,
    }
}

#[test]
fn counts_are_exact_within_the_window() {
    let evidence = store();
    let series = evidence.rate_series(name::ERROR_RATE, STABLE).unwrap();
    for second in 0..600 {
        assert!(series.record_rate(NOW + second * 1_000, second % 4 == 0));
    }
    let now_ms = NOW + 600_000;
    let rate = |window_s| {
        evidence
            .rate(name::ERROR_RATE, STABLE, window_s, now_ms)
            .unwrap()
    };
    assert_eq!((rate(3_600).events, rate(3_600).trials), (150, 600));
    let minute = rate(60);
    assert!((54..=66).contains(&minute.trials), "{minute:?}");
    let mut mean = 0.0;
    for _ in 0..3 {
        mean += evidence
            .rate(name::ERROR_RATE, STABLE, 60, now_ms)
            .unwrap()
            .trials as f64;
    }
    assert!(
        (mean / 3.0 - minute.trials as f64).abs() < 1e-9,
        "asking changes nothing"
    );
}

#[test]
fn moments_and_quantiles_are_those_of_the_values() {
    let evidence = store();
    let series = evidence.value_series(name::LATENCY_MS, STABLE).unwrap();
    for n in 1..=1_000u32 {
        assert!(series.record_value(NOW + u64::from(n) * 37, f64::from(n)));
    }
    let now_ms = NOW + 37_000;
    let mean = evidence.mean(name::LATENCY_MS, STABLE, 60, now_ms).unwrap();
    assert_eq!(mean.samples, 1_000);
    assert!((mean.mean - 500.5).abs() < 1e-9);
    assert!((mean.stddev - 288.819_436_096).abs() < 1e-6);
    for (q, expected) in [
        (0.0, 1.0),
        (0.5, 500.0),
        (0.95, 950.0),
        (0.99, 990.0),
        (1.0, 1_000.0),
    ] {
        let estimate = evidence
            .quantile(name::LATENCY_MS, STABLE, 60, q, now_ms)
            .unwrap();
        assert_eq!(estimate.samples, 1_000);
        assert!(
            (estimate.value - expected).abs() <= 0.01 * expected + 1e-9,
            "{q}: {estimate:?}"
        );
    }
}

#[test]
fn a_quantile_sees_what_was_recorded_since_it_was_last_asked() {
    let evidence = store();
    let series = evidence.value_series(name::LATENCY_MS, STABLE).unwrap();
    let median = |now_ms| {
        evidence
            .quantile(name::LATENCY_MS, STABLE, 10, 0.5, now_ms)
            .unwrap()
    };
    series.record_value(NOW, 100.0);
    assert_eq!(median(NOW).samples, 1);
    series.record_value(NOW + 1, 100.0);
    assert_eq!(median(NOW + 1).samples, 2);
    series.record_value(NOW + 5_000, 100.0);
    assert_eq!(median(NOW + 5_000).samples, 3);
    assert_eq!(
        median(NOW + 11_000).samples,
        1,
        "the far end moves on by itself"
    );
    assert_eq!(median(NOW + 99_000).samples, 0);
}

#[test]
fn a_spread_that_is_small_beside_the_mean_is_not_lost() {
    let evidence = store();
    let series = evidence.value_series("epoch", STABLE).unwrap();
    for n in 0..100u32 {
        series.record_value(NOW + u64::from(n) * 500, 1e9 + f64::from(n % 2));
    }
    let mean = evidence.mean("epoch", STABLE, 3_600, NOW + 50_000).unwrap();
    assert!((mean.stddev - 0.502_518_907_6).abs() < 1e-6, "{mean:?}");
}

#[test]
fn what_is_no_number_is_refused_and_counted() {
    let evidence = store();
    let series = evidence.value_series(name::CONFIDENCE, STABLE).unwrap();
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!series.record_value(NOW, number));
    }
    assert!(!series.record_rate(NOW, true), "it is no rate");
    assert_eq!(evidence.load().refused, 4);
    let mean = evidence.mean(name::CONFIDENCE, STABLE, 60, NOW).unwrap();
    assert_eq!(mean, Moments::default());
    assert!(!series.record_value(NOW, f64::MAX), "its square is none");
    assert!(series.record_value(NOW, VALUE_MAX));
    assert!(series.record_value(NOW, -VALUE_MAX));
    let mean = evidence.mean(name::CONFIDENCE, STABLE, 60, NOW).unwrap();
    assert!(mean.mean.abs() < 1.0 && mean.stddev.is_finite());
}

#[test]
fn no_evidence_is_an_answer_and_an_unknown_metric_is_not() {
    let evidence = store();
    assert_eq!(
        evidence.rate(name::ERROR_RATE, STABLE, 60, NOW),
        Ok(Proportion::default())
    );
    assert_eq!(
        evidence.quantile(name::LATENCY_MS, STABLE, 60, 0.5, NOW),
        Ok(Estimate::default())
    );
    let drift = evidence
        .drift(name::CONFIDENCE, STABLE, 60, 60, NOW)
        .unwrap();
    assert_eq!(drift.verdict, DriftVerdict::NotEnoughData);
    let comparison = evidence
        .compare(name::ERROR_RATE, CANDIDATE, STABLE, 60, &options(), NOW)
        .unwrap();
    assert_eq!(comparison.verdict, ComparisonVerdict::NotEnoughData);
    let unknown = |metric: &str| Err(MetricsError::Unknown(metric.to_string()));
    assert_eq!(
        evidence.rate("no-such", STABLE, 60, NOW),
        unknown("no-such")
    );
    assert_eq!(
        evidence.rate(name::LATENCY_MS, STABLE, 60, NOW),
        unknown(name::LATENCY_MS)
    );
    evidence.value_series(name::LATENCY_MS, STABLE).unwrap();
    assert_eq!(
        evidence.rate(name::LATENCY_MS, STABLE, 60, NOW),
        unknown(name::LATENCY_MS)
    );
    evidence.declare("revenue", MetricKind::Value).unwrap();
    assert_eq!(
        evidence.mean("revenue", STABLE, 60, NOW),
        Ok(Moments::default())
    );
}

#[test]
fn arguments_out_of_range_are_refused_by_name() {
    let evidence = store();
    let message = |result: Result<_, MetricsError>| match result {
        Err(MetricsError::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    let rate = |window_s| {
        evidence
            .rate(name::ERROR_RATE, STABLE, window_s, NOW)
            .map(|_| ())
    };
    assert_eq!(message(rate(0)), "`window-s` is 0, must be 1 to 86,400");
    assert_eq!(
        message(rate(86_401)),
        "`window-s` is 86401, must be 1 to 86,400"
    );
    assert!(rate(86_400).is_ok());
    for q in [f64::NAN, -0.1, 1.1] {
        let asked = evidence.quantile(name::LATENCY_MS, STABLE, 60, q, NOW);
        assert!(message(asked.map(|_| ())).starts_with("`q` is"));
    }
    let drift = evidence.drift(name::CONFIDENCE, STABLE, 60, 0, NOW);
    assert!(message(drift.map(|_| ())).starts_with("`reference-s`"));
    for (alpha, margin, field) in [
        (0.0, 0.0, "`alpha`"),
        (0.51, 0.0, "`alpha`"),
        (f64::NAN, 0.0, "`alpha`"),
        (0.05, -1.0, "`margin`"),
        (0.05, f64::INFINITY, "`margin`"),
    ] {
        let options = ComparisonOptions {
            alpha,
            margin,
            ..options()
        };
        let asked = evidence.compare(name::ERROR_RATE, CANDIDATE, STABLE, 60, &options, NOW);
        assert!(message(asked.map(|_| ())).starts_with(field));
    }
}

#[test]
fn a_release_with_more_errors_compares_as_worse() {
    let evidence = store();
    let stable = evidence.rate_series(name::ERROR_RATE, STABLE).unwrap();
    let candidate = evidence.rate_series(name::ERROR_RATE, CANDIDATE).unwrap();
    let slow = evidence.value_series(name::LATENCY_MS, CANDIDATE).unwrap();
    let fast = evidence.value_series(name::LATENCY_MS, STABLE).unwrap();
    for n in 0..2_000u64 {
        stable.record_rate(NOW + n, n % 100 == 0);
        candidate.record_rate(NOW + n, n % 10 == 0);
        fast.record_value(NOW + n, 100.0 + (n % 7) as f64);
        slow.record_value(NOW + n, 100.0 + (n % 11) as f64);
    }
    for metric in [name::ERROR_RATE, name::LATENCY_MS] {
        let compare = |candidate, baseline| {
            evidence
                .compare(metric, candidate, baseline, 60, &options(), NOW + 2_000)
                .unwrap()
                .verdict
        };
        assert_eq!(compare(CANDIDATE, STABLE), ComparisonVerdict::Worse);
        assert_eq!(compare(STABLE, CANDIDATE), ComparisonVerdict::Better);
        assert_eq!(compare(STABLE, STABLE), ComparisonVerdict::NotEnoughData);
    }
}

#[test]
fn drift_is_seen_against_the_time_before() {
    let evidence = store();
    let series = evidence.value_series(name::CONFIDENCE, STABLE).unwrap();
    let spread = |n: u64| ((n * 7_919) % 1_000) as f64 / 1_000.0;
    for n in 0..4_000 {
        series.record_value(NOW + n * 100, spread(n));
    }
    let then = NOW + 400_000;
    let reading = |now_ms| {
        evidence
            .drift(name::CONFIDENCE, STABLE, 100, 300, now_ms)
            .unwrap()
    };
    assert_eq!(reading(then).verdict, DriftVerdict::Stable);
    assert!(reading(then).current_samples.abs_diff(1_000) < 100);
    assert!(reading(then).reference_samples.abs_diff(3_000) < 100);
    for n in 0..1_000 {
        series.record_value(then + n * 100, spread(n) * 0.8);
    }
    let drifted = reading(then + 100_000);
    assert_eq!(drifted.verdict, DriftVerdict::Drifted);
    assert!(drifted.psi > drifted.critical && drifted.critical > 0.0);
    // The bins behind it: other distances say the same in their own units.
    let bins = |now_ms| {
        let bins = evidence.drift_bins(name::CONFIDENCE, STABLE, 100, 300, now_ms);
        bins.unwrap()
    };
    let moved = bins(then + 100_000);
    assert_eq!(crate::stats::drift(&moved), drifted);
    let far = crate::stats::drift::distance::jensen_shannon_2(&moved);
    let near = crate::stats::drift::distance::jensen_shannon_2(&bins(then));
    assert!(far > 2.0 * near, "{far} {near}");
}

#[test]
fn a_metric_has_one_kind() {
    let evidence = store();
    assert_eq!(
        evidence.value_series(name::ERROR_RATE, STABLE).unwrap_err(),
        SeriesError::OtherKind(name::ERROR_RATE.to_string())
    );
    evidence.rate_series("kpi", STABLE).unwrap();
    assert!(evidence.value_series("kpi", STABLE).is_err());
    assert_eq!(evidence.kind("kpi"), Some(MetricKind::Rate));
    for n in 0..METRICS_MAX {
        let _ = evidence.declare(&format!("metric-{n}"), MetricKind::Value);
    }
    assert!(matches!(
        evidence.value_series("one-more", STABLE),
        Err(SeriesError::TooManyMetrics(_))
    ));
}

#[test]
fn series_beyond_the_cap_keep_nothing_and_are_counted() {
    let evidence = Evidence::new(EvidenceOptions { series_max: 2 });
    let series = |route| {
        evidence
            .rate_series(name::ERROR_RATE, SubjectRef::Route(route))
            .unwrap()
    };
    assert!(series("a").is_kept() && series("b").is_kept() && series("a").is_kept());
    let beyond = series("c");
    assert!(!beyond.is_kept() && !beyond.record_rate(NOW, true));
    let load = evidence.load();
    assert_eq!((load.series, load.overflowed), (2, 1));
    let asked = evidence.rate(name::ERROR_RATE, SubjectRef::Route("c"), 60, NOW);
    assert_eq!(asked, Ok(Proportion::default()));
    assert_eq!(
        evidence.sweep(NOW),
        2,
        "nobody holds them and they are empty"
    );
    assert!(series("c").is_kept());
}

#[test]
fn a_sweep_keeps_what_is_held_or_has_evidence() {
    let evidence = store();
    let series = |route| {
        evidence
            .rate_series(name::ERROR_RATE, SubjectRef::Route(route))
            .unwrap()
    };
    let held = series("held");
    series("recent").record_rate(NOW, true);
    series("empty");
    assert_eq!(evidence.sweep(NOW + 86_400_000), 1);
    assert_eq!(evidence.sweep(NOW + 3 * 86_400_000), 1);
    assert_eq!(evidence.load().series, 1);
    drop(held);
    assert_eq!(evidence.sweep(NOW), 1);
}

#[test]
fn summaries_hold_totals_and_quantiles_of_late() {
    let evidence = store();
    let rate = evidence.rate_series(name::ERROR_RATE, STABLE).unwrap();
    let value = evidence
        .value_series(name::LATENCY_MS, SubjectRef::Model("m"))
        .unwrap();
    for n in 0..100u64 {
        rate.record_rate(NOW + n, n < 10);
        value.record_value(NOW + n, 20.0);
    }
    let late = NOW + 3 * 86_400_000;
    let mut summaries: Vec<_> = evidence.summaries(late).collect();
    summaries.sort_by_key(|summary| summary.metric.clone());
    assert_eq!(
        summaries[0].numbers,
        SummaryNumbers::Rate(Proportion {
            events: 10,
            trials: 100
        })
    );
    assert_eq!(summaries[0].subject.as_ref(), STABLE);
    let totals = |quantiles| SummaryNumbers::Value {
        count: 100,
        sum: 2_000.0,
        quantiles,
    };
    assert_eq!(summaries[1].numbers, totals(Vec::new()));
    let quantiles = |summary: SeriesSummary| match summary.numbers {
        SummaryNumbers::Value { quantiles, .. } => quantiles,
        SummaryNumbers::Rate(_) | SummaryNumbers::Category(_) => Vec::new(),
    };
    let now: Vec<_> = evidence.summaries(NOW + 100).flat_map(quantiles).collect();
    assert_eq!(now.len(), SUMMARY_QUANTILES.len());
    assert!(now.iter().all(|(_, value)| (value - 20.0).abs() < 0.2));
}

#[test]
fn a_policy_names_its_own_route_without_knowing_it() {
    let route = metric::Subject::Route;
    assert_eq!(
        SubjectRef::of(&route, Some("chat")),
        Some(SubjectRef::Route("chat"))
    );
    assert_eq!(SubjectRef::of(&route, None), None);
    let release = metric::Subject::Release {
        model: "m".into(),
        release: "v1".into(),
    };
    assert_eq!(SubjectRef::of(&release, None), Some(STABLE));
}

#[test]
fn threads_that_ask_for_one_series_get_the_same() {
    let evidence = store();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..50 {
                    let route = format!("route-{n}");
                    let subject = SubjectRef::Route(&route);
                    let series = evidence.rate_series(name::ERROR_RATE, subject).unwrap();
                    series.record_rate(NOW, true);
                }
            });
        }
    });
    assert_eq!(evidence.load().series, 50);
    let rate = evidence
        .rate(name::ERROR_RATE, SubjectRef::Route("route-7"), 60, NOW)
        .unwrap();
    assert_eq!((rate.events, rate.trials), (4, 4));
}

proptest! {
    #[test]
    fn mean_and_quantile_agree_with_counting_again(
        gaps in prop::collection::vec((0..3_000u64, 0.1..1e4f64), 1..400),
        q in 0.0..=1.0f64,
    ) {
        let evidence = store();
        let series = evidence.value_series("v", STABLE).unwrap();
        let mut now_ms = NOW;
        let mut values = Vec::new();
        for (gap_ms, value) in gaps {
            now_ms += gap_ms;
            series.record_value(now_ms, value);
            values.push(value);
        }
        let n = values.len() as f64;
        let mean = evidence.mean("v", STABLE, 86_400, now_ms).unwrap();
        let expected = values.iter().sum::<f64>() / n;
        prop_assert_eq!(mean.samples, values.len() as u64);
        prop_assert!((mean.mean - expected).abs() < 1e-9 * expected);
        let squares: f64 = values.iter().map(|value| (value - expected).powi(2)).sum();
        let stddev = (squares / (n - 1.0).max(1.0)).sqrt();
        prop_assert!((mean.stddev - stddev).abs() < 1e-6 * (stddev + 1.0));
        values.sort_by(f64::total_cmp);
        let expected = values[(q * (n - 1.0)).floor() as usize];
        let found = evidence.quantile("v", STABLE, 86_400, q, now_ms).unwrap().value;
        prop_assert!((found - expected).abs() <= 0.010_001 * expected);
    }

    #[test]
    fn no_clock_and_no_number_corrupts_a_series(
        steps in prop::collection::vec((any::<u64>(), prop::num::f64::ANY, 1..86_400u32), 1..80),
    ) {
        let evidence = store();
        let series = evidence.value_series("v", STABLE).unwrap();
        let rates = evidence.rate_series("r", STABLE).unwrap();
        for (now_ms, value, window_s) in steps {
            series.record_value(now_ms, value);
            rates.record_rate(now_ms, value > 0.0);
            let rate = evidence.rate("r", STABLE, window_s, now_ms).unwrap();
            prop_assert!(rate.events <= rate.trials && rate.trials > 0);
            let mean = evidence.mean("v", STABLE, window_s, now_ms).unwrap();
            let estimate = evidence.quantile("v", STABLE, window_s, 0.9, now_ms).unwrap();
            prop_assert_eq!(mean.samples, estimate.samples);
            prop_assert!(mean.mean.is_finite() && mean.stddev.is_finite());
            prop_assert!(estimate.value.is_finite());
            evidence.drift("v", STABLE, window_s, window_s, now_ms).unwrap();
        }
    }
}
