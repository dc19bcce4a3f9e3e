//! Thresholds chosen on histories drawn from a real data set keep their promise
//! on the rest of it. The example of the same name is the long version.

#[path = "thresholds/resample.rs"]
mod resample;

use backstop_core::calibrate::Method;
use resample::{Ask, Data, Way};

#[test]
fn promises_are_kept_on_data_that_the_choice_has_not_seen() {
    let mut data = Data::flights();
    assert_eq!(data.rows.len(), 163_673);
    let ask = Ask {
        rows: 2_000,
        error_max: 0.05,
        delta: 0.05,
        resamples: 200,
        seed: 3,
    };
    for (way, outcome) in data.play(&ask) {
        let broken = f64::from(outcome.broken) / f64::from(outcome.resamples);
        let told = format!("{}: {outcome:?}", way.name());
        match way {
            // What is done by hand breaks it about every other time.
            Way::Naive => assert!(broken > 0.3, "{told}"),
            Way::Chosen(Method::Conformal, _) => {
                assert!(outcome.mean_holds(ask.error_max), "{told}");
            }
            _ => assert!(broken <= ask.delta, "{told}"),
        }
        // And not by accepting nothing.
        assert!(outcome.found * 10 >= outcome.resamples * 9, "{told}");
        assert!(outcome.coverage > 0.3, "{told}");
    }
}
