//! What policies are written with.
//!
#![doc = include_str!("../docs/tutorial.md")]

// Settings that the SDK has itself name it as those of policies do.
extern crate self as backstop_sdk;

mod answer;
mod backend;
#[doc(hidden)]
pub mod bindings;
mod decision;
pub mod delivery;
pub mod evidence;
mod export;
mod failure;
pub mod incident;
mod json;
pub mod log;
pub mod metrics;
pub mod models;
mod policy;
mod provenance;
mod request;
mod respond;
mod rollout;
mod settings;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod text;

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "an allocator hands out raw memory")]
mod alloc;
#[cfg(target_arch = "wasm32")]
mod guest;

pub use answer::{Answer, FinishReason, Score};
pub use backstop_sdk_macros::settings;
pub use bindings::base::backstop::policy::types::{
    BreakerState, Context, FailureClass, FailureClasses, Severity,
};
pub use bindings::base::exports::backstop::policy::lifecycle::Want;
pub use decision::{
    Action, Assessment, CallStep, Directive, Outcome, Plan, RaceStep, Refusal, ReviewStep, Step,
    Verdict,
};
pub use policy::{Abstain, Fallback, Policy, Problem, Problems, Rollback, Threshold};
pub use provenance::Provenance;
pub use request::{Attempt, BodyError, Candidate, Request};
pub use respond::{NothingLeft, Response, Standing};
pub use rollout::{Rollout, Stage};
pub use settings::{NoSettings, Part, Settings, Shaped};

/// For the macros of this crate only.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::bindings::base::backstop::policy::answers::Answer as RawAnswer;
    pub use crate::bindings::base::backstop::policy::requests::Request as RawRequest;
    pub use crate::bindings::base::backstop::policy::rollouts::Rollout as RawRollout;
    pub use crate::bindings::base::backstop::policy::types::Abstention;
    pub use crate::bindings::base::exports::backstop::policy::lifecycle;
    pub use crate::bindings::fallback::exports::backstop::policy::fallback;
    pub use crate::bindings::rollback::exports::backstop::policy::rollback;
    pub use crate::bindings::threshold::exports::backstop::policy::threshold;
    pub use crate::export::{Exported, Package, configure, describe};
    #[cfg(target_arch = "wasm32")]
    pub use crate::guest::Slot;
    pub use serde;
}
