//! An AI gateway whose decisions are made by Backstop policies.

pub mod config;
pub mod openai;
pub mod store;
pub mod telemetry;
pub mod upstream;
