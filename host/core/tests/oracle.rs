//! Our formulas against the numbers of independent implementations, which
//! `tests/oracles/` makes and `oracle/*.json` keeps.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "oracle/calibrate.rs"]
mod calibrate;
