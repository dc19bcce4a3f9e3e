//! Under construction.

pub mod store;
pub mod telemetry;
