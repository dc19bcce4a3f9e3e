//! Canaries that are looked at a thousand times are accused wrongly no more often
//! than was said, and those that are worse are found. The example of the same
//! name is the long version.

#[path = "peeking/simulate.rs"]
mod simulate;

use simulate::{ALPHA, Canaries, Traffic, Way};

const ERRORS: Canaries = Canaries {
    traffic: Traffic::Errors {
        baseline: 0.05,
        candidate: 0.05,
    },
    canaries: 400,
    looks: 1_000,
    per_look: 5,
    baseline_share: 1,
    seed: 4,
};

fn share(canaries: &Canaries, way: Way) -> f64 {
    let alarmed = canaries.play(way, canaries.horizon()).alarmed();
    alarmed.events as f64 / alarmed.trials as f64
}

#[test]
fn a_thousand_looks_raise_no_more_false_alarms_than_were_agreed() {
    let rare = Canaries {
        traffic: Traffic::Errors {
            baseline: 0.005,
            candidate: 0.005,
        },
        ..ERRORS
    };
    let uneven = Canaries {
        baseline_share: 9,
        canaries: 200,
        ..ERRORS
    };
    let latency = Canaries {
        traffic: Traffic::Latency { factor: 1.0 },
        canaries: 200,
        ..ERRORS
    };
    for canaries in [ERRORS, rare, uneven, latency] {
        let by_sequence = share(&canaries, Way::Sequence);
        let way = Way::Sequence.name();
        assert!(by_sequence <= ALPHA, "{way}: {by_sequence} of {canaries:?}");
    }
    // What is done by hand.
    let by_hand = share(&ERRORS, Way::Naive);
    assert!(by_hand > 4.0 * ALPHA, "{by_hand}");
    let once = share(&ERRORS, Way::Once);
    assert!(once < 2.0 * ALPHA, "{once}");
}

#[test]
fn the_exact_sequence_is_as_safe_and_finds_what_is_much_worse() {
    let canaries = Canaries {
        canaries: 40,
        looks: 300,
        ..ERRORS
    };
    let alarmed = canaries.play(Way::Exact, 0).alarmed();
    assert!(alarmed.events <= 2, "{alarmed:?}");
    let worse = Canaries {
        traffic: Traffic::Errors {
            baseline: 0.05,
            candidate: 0.12,
        },
        ..canaries
    };
    let alarmed = worse.play(Way::Exact, 0).alarmed();
    assert!(alarmed.events >= 38, "{alarmed:?}");
}

#[test]
fn a_worse_canary_is_found_nearly_as_soon_as_by_a_planned_test() {
    let canaries = Canaries {
        traffic: Traffic::Errors {
            baseline: 0.05,
            candidate: 0.08,
        },
        canaries: 200,
        ..ERRORS
    };
    let outcome = canaries.play(Way::Sequence, 0);
    // A planned test needs 1,059 requests on each side for a power of 80 %.
    let power = outcome.alarmed_within(2_500) as f64 / 200.0;
    assert!(power > 0.8, "{power}");
    let median = outcome.requests_median();
    assert!(
        median.is_some_and(|requests| requests < 1_600),
        "{median:?}"
    );
}
