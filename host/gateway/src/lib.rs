//! An AI gateway whose decisions are made by Backstop policies.

pub mod admin;
pub mod config;
pub mod openai;
pub mod reload;
pub mod store;
pub mod telemetry;
pub mod upstream;
