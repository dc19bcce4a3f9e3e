//! Our formulas against the numbers of independent implementations.
//!
//! `oracle/NAME.json` holds what packages from PyPI say; `tests/oracles/NAME.py`
//! computes it, and the test `oracles` of `tests/` runs the scripts again and
//! holds the files to them. One `mod` here for each file, beside it. No Python
//! is needed here. Each check states the digits that it asks for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "oracle/calibrate.rs"]
mod calibrate;
#[path = "oracle/compare.rs"]
mod compare;
#[path = "oracle/drift.rs"]
mod drift;
#[path = "oracle/estimated.rs"]
mod estimated;
#[path = "oracle/online.rs"]
mod online;
#[path = "oracle/performance.rs"]
mod performance;
#[path = "oracle/rank.rs"]
mod rank;

use serde_json::Value;
use std::path::Path;

/// The cases of `oracle/NAME.json`.
fn cases(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/oracle/{name}.json"));
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["cases"].take()
}

/// Holds a number to the oracle's, up to `relative` of its size; null is for
/// what is not finite.
#[track_caller]
fn same(what: &str, ours: f64, theirs: &Value, relative: f64) {
    let Some(theirs) = theirs.as_f64() else {
        assert!(theirs.is_null(), "{what}: the oracle has {theirs}");
        assert!(!ours.is_finite(), "{what}: {ours}, the oracle has none");
        return;
    };
    let room = relative * theirs.abs().max(f64::MIN_POSITIVE);
    assert!(
        (ours - theirs).abs() <= room,
        "{what}: {ours}, the oracle has {theirs}"
    );
}

/// The values of a series, made as `series` in `tests/oracles/kit.py` does.
fn series(spec: &Value) -> Vec<f64> {
    if let Some(values) = spec.as_array() {
        return values.iter().map(|value| value.as_f64().unwrap()).collect();
    }
    let shape = spec["shape"].as_str().unwrap();
    let samples = spec["n"].as_u64().unwrap();
    if shape == "sawtooth" {
        let teeth = (0..samples).map(|i| (37 * i % 1000) as f64 / 1000.0);
        return match spec["squared"] == true {
            true => teeth.map(|tooth| tooth * tooth).collect(),
            false => teeth.collect(),
        };
    }
    let number = |key: &str| spec[key].as_f64().unwrap();
    let mut state = spec["seed"].as_u64().unwrap();
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let (scale, shift) = (number("scale"), number("shift"));
    (0..samples)
        .map(|_| {
            let value = uniform();
            let value = match shape {
                "uniform" => value,
                "bell" => (0..11).fold(value - 6.0, |sum, _| sum + uniform()),
                "skew" => value / (1.0001 - value),
                "ties" => (value * 8.0).floor(),
                "binary" => f64::from(u8::from(value < 0.2)),
                other => panic!("no series has the shape `{other}`"),
            };
            value * scale + shift
        })
        .collect()
}

/// Holds a number to the oracle's, up to `off_max`.
#[track_caller]
fn near(found: f64, expected: &Value, off_max: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    let off = (found - expected).abs();
    assert!(off <= off_max, "{what}: {found}, expected {expected}");
}

/// The draws of histories, made as `Draws` in `tests/oracles/kit.py` does.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = (1_103_515_245 * self.0 + 12_345) % (1 << 31);
        (self.0 >> 8) as f64 / f64::from(1 << 23)
    }
}
