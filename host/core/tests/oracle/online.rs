//! Online detectors against river: alarms at the same index, state to ten digits.

use crate::{cases, same, series};
use backstop_core::stats::online::{
    Adwin, AdwinOptions, PageHinkley, PageHinkleyMode, PageHinkleyOptions,
};
use serde_json::Value;

fn streams() -> Vec<(String, Vec<f64>, Value)> {
    let cases = cases("online");
    let streams = cases["streams"].as_object().unwrap().clone();
    let whole = |case: &Value| {
        case["parts"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(series)
            .collect()
    };
    streams
        .into_iter()
        .map(|(name, case)| (name, whole(&case), case))
        .collect()
}

fn alarms(values: &[f64], mut update: impl FnMut(f64) -> bool) -> Value {
    let alarms = values
        .iter()
        .enumerate()
        .filter(|(_, value)| update(**value));
    alarms.map(|(index, _)| index).collect::<Vec<_>>().into()
}

#[test]
fn adwin_alarms_where_rivers_does() {
    let coarse = AdwinOptions {
        buckets_max: 2,
        window_min: 20,
        grace_period: 100,
        ..AdwinOptions::default()
    };
    let every_value = AdwinOptions {
        clock: 1,
        delta: 0.05,
        ..AdwinOptions::default()
    };
    let mut total = 0;
    for (name, values, case) in streams() {
        for (key, options) in [
            ("default", AdwinOptions::default()),
            ("every-value", every_value),
            ("coarse", coarse),
        ] {
            let says = &case["adwin"][key];
            let mut adwin = Adwin::new(options);
            let what = format!("{name}: {key}");
            assert_eq!(
                alarms(&values, |value| adwin.update(value)),
                says["alarms"],
                "{what}"
            );
            same(&what, adwin.width() as f64, &says["width"], 0.0);
            same(&what, adwin.mean(), &says["mean"], 1e-10);
            same(&what, adwin.squares(), &says["squares"], 1e-9);
            total += says["alarms"].as_array().unwrap().len();
        }
    }
    assert!(total > 20, "{total}");
}

#[test]
fn page_hinkley_alarms_where_rivers_does() {
    let default = PageHinkleyOptions::default();
    let mut total = 0;
    for (name, values, case) in streams() {
        for (key, options) in [
            ("default", default),
            (
                "sensitive",
                PageHinkleyOptions {
                    threshold: 5.0,
                    samples_min: 10,
                    ..default
                },
            ),
            (
                "up",
                PageHinkleyOptions {
                    mode: PageHinkleyMode::Up,
                    threshold: 20.0,
                    alpha: 0.99,
                    ..default
                },
            ),
            (
                "down",
                PageHinkleyOptions {
                    mode: PageHinkleyMode::Down,
                    threshold: 20.0,
                    delta: 0.1,
                    ..default
                },
            ),
        ] {
            let says = &case["page-hinkley"][key];
            let mut detector = PageHinkley::new(options);
            let what = format!("{name}: {key}");
            assert_eq!(
                alarms(&values, |value| detector.update(value)),
                says["alarms"],
                "{what}"
            );
            same(&what, detector.mean(), &says["mean"], 1e-10);
            total += says["alarms"].as_array().unwrap().len();
        }
    }
    assert!(total > 20, "{total}");
}
