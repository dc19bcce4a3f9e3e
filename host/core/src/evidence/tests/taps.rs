//! What taps count beside the series that they are on.

use super::*;

const ROUTE: SubjectRef<'_> = SubjectRef::Route("chat");

#[test]
fn a_tap_counts_what_its_series_takes_and_from_then_on() {
    let evidence = store();
    let series = evidence.rate_series(name::ACCURACY, ROUTE).unwrap();
    series.record_rate(NOW, true);
    let tap = evidence
        .tap(name::ACCURACY, ROUTE, TapOf::Happened)
        .unwrap();
    assert!(tap.is_kept());
    assert_eq!(tap.take(), Proportion::default());
    series.record_rate(NOW, true);
    // Of yesterday, told today.
    series.record_rate_at(NOW, NOW - 86_400_000, false);
    // Of too long ago: refused, and nobody's.
    assert!(!series.record_rate_at(NOW, NOW - 3 * 86_400_000, false));
    let two = Proportion {
        events: 1,
        trials: 2,
    };
    assert_eq!(tap.take(), two);
    assert_eq!(tap.take(), Proportion::default());
}

#[test]
fn values_are_counted_against_the_bound_exactly() {
    let evidence = store();
    let above = evidence
        .tap(name::LATENCY_MS, ROUTE, TapOf::Above(100.0))
        .unwrap();
    let below = evidence
        .tap(name::LATENCY_MS, ROUTE, TapOf::Below(100.0))
        .unwrap();
    let series = evidence.value_series(name::LATENCY_MS, ROUTE).unwrap();
    for number in [99.999, 100.0, 100.001, 100.002, f64::NAN] {
        series.record_value(NOW, number);
    }
    assert_eq!((above.take().events, below.take().events), (2, 1));
    // One that has gone leaves the other alone.
    drop(above);
    assert_eq!(series.taps.read().len(), 1);
    series.record_value(NOW, 1.0);
    let one = Proportion {
        events: 1,
        trials: 1,
    };
    assert_eq!(below.take(), one);
}

#[test]
fn a_tap_needs_a_metric_that_is_known_and_of_its_kind() {
    let evidence = store();
    let error = |metric, of| evidence.tap(metric, ROUTE, of).unwrap_err();
    let unknown = SeriesError::Unknown("eror-rate".into());
    assert_eq!(error("eror-rate", TapOf::Happened), unknown);
    let other = SeriesError::OtherKind("error-rate".into());
    assert_eq!(error("error-rate", TapOf::Above(1.0)), other);
    let cpu = "process-cpu";
    evidence.declare_of_process(cpu, MetricKind::Value).unwrap();
    let tap = evidence.tap(cpu, ROUTE, TapOf::Above(0.5)).unwrap();
    let series = evidence.value_series(cpu, SubjectRef::Process).unwrap();
    series.record_value(NOW, 0.7);
    assert_eq!(tap.take().events, 1);
}

#[test]
fn a_series_that_is_tapped_is_not_swept() {
    let evidence = store();
    let tap = evidence.tap(name::ERROR_RATE, ROUTE, TapOf::Happened);
    assert_eq!(evidence.sweep(NOW), 0);
    drop(tap);
    assert_eq!(evidence.sweep(NOW), 1);
}
