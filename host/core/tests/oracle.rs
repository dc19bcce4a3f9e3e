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


