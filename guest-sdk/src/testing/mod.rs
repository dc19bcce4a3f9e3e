//! The testing kit: a policy's `cargo test` runs natively, against metrics,
//! models and state that the test scripts.
//!
//! A [`Bench`] holds one configured policy and its world. Settings go through
//! the schema and `configure` as in a host, what the policy queries is granted
//! as far as it [`wants`](crate::Policy::wants) it, and what it returns is
//! checked as a host would. Whatever is not scripted is *no evidence*: 0
//! samples, no state, a model that is not available.
//!
//! Not part of a component: the module does not exist on wasm32.

mod bench;
mod check;
mod script;
pub(crate) mod world;

pub use bench::{Bench, Incident};
pub use check::{check_assessment, check_plan, check_verdict, outline};
pub use script::{AnswerScript, RequestScript, RolloutScript, answer, request, rollout};
pub use world::delivery::Delivery;
pub use world::requests::Load;

pub use serde_json::{Value, json};
