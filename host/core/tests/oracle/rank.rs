//! Ranks against scipy and numpy.

use crate::{cases, same, series};
use backstop_core::stats::rank::{EXACT_MAX, cles, mann_whitney, shift};
use serde_json::Value;

#[test]
fn mann_whitney_is_scipys_to_ten_digits() {
    for (name, case) in cases("rank").as_object().unwrap() {
        let (x, y) = (series(&case["x"]), series(&case["y"]));
        let test = mann_whitney(&x, &y).unwrap();
        let tied = name.starts_with("ties");
        assert_eq!(
            test.exact,
            x.len().min(y.len()) <= EXACT_MAX && !tied,
            "{name}"
        );
        same(name, test.u, &case["u"], 1e-12);
        same(name, test.p, &case["p"], 1e-10);
        same(name, cles(&x, &y).unwrap(), &case["cles"], 1e-12);
    }
}

#[test]
fn the_shift_is_the_median_difference_and_its_ends_the_roots() {
    for (name, case) in cases("rank").as_object().unwrap() {
        let (x, y) = (series(&case["x"]), series(&case["y"]));
        for (level, ends) in case["intervals"].as_object().unwrap() {
            let shift = shift(&x, &y, level.parse().unwrap()).unwrap();
            // Ends may be 0 but for rounding, so digits are of the values.
            let same = |what, ours: f64, theirs: &Value| {
                let room = 1e-9 * x[0].abs().max(1.0);
                let theirs = theirs.as_f64().unwrap();
                assert!(
                    (ours - theirs).abs() < room,
                    "{name}: {what} {ours}, {theirs}"
                );
            };
            same("estimate", shift.estimate, &case["estimate"]);
            same("low", shift.low, &ends[0]);
            same("high", shift.high, &ends[1]);
        }
    }
}
