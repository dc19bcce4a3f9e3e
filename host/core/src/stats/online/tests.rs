//! What the oracle does not reach: bad values, restarts, memory.

use super::{Adwin, AdwinOptions, PageHinkley, PageHinkleyOptions};
use crate::stats::tests::Random;

#[test]
fn a_value_that_is_no_number_changes_nothing() {
    let (mut adwin, mut page_hinkley) = (Adwin::default(), PageHinkley::default());
    for value in 0..100 {
        adwin.update(f64::from(value % 3));
        page_hinkley.update(f64::from(value % 3));
    }
    let before = (adwin.clone(), page_hinkley.clone());
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!adwin.update(value) && !page_hinkley.update(value));
    }
    assert_eq!((adwin, page_hinkley), before);
}

#[test]
fn a_detector_goes_on_after_a_restart() {
    let mut random = Random::new();
    let mut whole = (Adwin::default(), PageHinkley::default());
    let mut restarted = whole.clone();
    let mut alarms = 0;
    for at in 0..6_000 {
        let value = random.uniform() + if at / 1_000 % 2 == 1 { 0.5 } else { 0.0 };
        if at % 37 == 0 {
            let kept = serde_json::to_string(&restarted).unwrap();
            restarted = serde_json::from_str(&kept).unwrap();
        }
        let said = (whole.0.update(value), whole.1.update(value));
        assert_eq!((restarted.0.update(value), restarted.1.update(value)), said);
        alarms += usize::from(said.0);
    }
    assert_eq!(whole, restarted);
    assert!(alarms >= 5, "{alarms}");
}

#[test]
fn a_million_values_are_a_hundred_summaries() {
    let mut random = Random::new();
    let mut adwin = Adwin::default();
    let alarms = (0..1_000_000)
        .filter(|_| adwin.update(random.uniform()))
        .count();
    assert_eq!(alarms, 0);
    assert_eq!(adwin.width(), 1_000_000);
    assert!((adwin.mean() - 0.5).abs() < 0.01);
    let kept = serde_json::to_string(&adwin).unwrap();
    assert!(kept.len() < 10_000, "{}", kept.len());
}

#[test]
fn options_out_of_range_do_no_harm() {
    let mut adwin = Adwin::new(AdwinOptions {
        delta: f64::NAN,
        clock: 0,
        buckets_max: 0,
        window_min: 0,
        grace_period: 0,
    });
    let mut page_hinkley = PageHinkley::new(PageHinkleyOptions {
        threshold: f64::NAN,
        ..PageHinkleyOptions::default()
    });
    for value in [0.0, 1e300, -1e300, 1.0].iter().cycle().take(1_000) {
        adwin.update(*value);
        page_hinkley.update(*value);
    }
    assert!(adwin.width() <= 1_000);
}
