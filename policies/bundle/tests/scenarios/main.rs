//! The shipped policies through the real host: a story for each, the replay of
//! ten thousand decisions, and what their components are.
//!
//! One binary, since each that links the host takes its time to link.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adaptive_threshold;
mod canary_rollback;
mod components;
mod confidence_threshold;
mod drift_guard;
mod kit;
mod layered_fallback;
mod replay;
