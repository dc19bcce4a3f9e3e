//! Evidence of the machinery: of this process, of how busy the models are, and
//! what an existing Prometheus knows.
//!
//! - `process`: processor, memory, lateness of the runtime, waiting requests;
//! - `prometheus`: asks the queries of `[prometheus]`;
//! - `answer`: reads what Prometheus says.
//!
//! All of it goes into the store of evidence, so that every question of the
//! contract works on it. Always holds: nothing here is on the way of a request;
//! what cannot be read leaves the last value to grow old.

mod answer;
mod process;
mod prometheus;

pub(crate) use process::{Process, Usage};
pub(crate) use prometheus::Prometheus;
