//! Everything that crosses crates, in one binary.
//!
//! - [`contract`]: the WIT, its frozen copies and its reference page;
//! - [`components`]: files that are refused, each with its own words;
//! - [`hostile`]: guests that misbehave, and what becomes of them;
//! - [`revisions`]: activation, going back, returning by itself, replay.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod components;
mod contract;
mod hostile;
mod revisions;
