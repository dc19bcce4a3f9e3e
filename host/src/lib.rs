//! Run sandboxed WebAssembly policies that decide what happens when a model
//! fails, is unsure, or gets worse.
//!
//! A *policy* is a WebAssembly component that somebody else wrote. It decides
//! at one or more *decision points*: `fallback` plans what to do for a request,
//! `threshold` judges an answer, `rollback` assesses a release that is being
//! rolled out. This crate loads policies, swaps them while requests pass, asks
//! them for decisions within limits that they cannot leave, and records every
//! decision so that it can be replayed.
//!
//! It knows no HTTP, no configuration file and no global state: whoever embeds
//! it supplies metrics, model calls and a place for incidents through traits,
//! and executes what was decided. (The crate `backstop-gateway` is such an
//! embedder; `examples/gateway.rs` is a small one.)
//!
//! Look at these first:
//!
//! - [`Host`]: [`activate`](Host::activate) makes a component serve,
//!   [`decide_fallback`](Host::decide_fallback) and its neighbours ask it,
//!   [`roll_back`](Host::roll_back) takes it back;
//! - [`PolicyOptions`]: settings, [`Grants`], [`Limits`] and what is done when
//!   a decision fails;
//! - [`MetricsSource`], [`ModelCaller`], [`IncidentSink`]: what you supply;
//! - [`DecisionRecord`]: everything about one decision, and
//!   [`Host::replayer`] to run it again.
//!
//! # Steps
//!
//! 1. Build a host. Its limits prove themselves before it is handed out.
//! 2. Activate policies, and keep a [`PolicyHandle`] for each: it stays valid
//!    across activations.
//! 3. For each question, pass the facts and the decision that applies when the
//!    policy has none. There is always a decision; a failed policy is turned
//!    into one as its [`FailurePolicy`] says.
//! 4. Execute it. It has been checked against the facts that you passed.
//!
//! ```
//! use backstop::core::input::{BreakerState, Candidate, RequestFacts};
//! use backstop::core::plan::{Action, Plan, Step};
//! use backstop::{Grants, Host, PolicyOptions};
//! use std::sync::Arc;
//!
//! # fn component() -> Vec<u8> {
//! #     backstop_policies::builtin("layered-fallback").unwrap().component.to_vec()
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let host = Host::builder().build()?;
//!
//! let options = PolicyOptions {
//!     grants: Grants { metrics: vec!["*".to_owned()], ..Grants::default() },
//!     ..PolicyOptions::default()
//! };
//! host.activate("chat-fallback", component(), options).await?;
//! let policy = host.policy("chat-fallback").ok_or("just activated")?;
//!
//! let request = RequestFacts {
//!     route: "chat".into(),
//!     candidates: ["large", "small"]
//!         .map(|model| Candidate { model: model.into(), breaker: BreakerState::Closed, healthy: true, ..Candidate::default() })
//!         .to_vec(),
//!     rules: Arc::new(["sorry".into()]),
//!     has_review: false,
//!     streaming: false,
//!     attempts: Vec::new(),
//!     tags: Vec::new(),
//!     body_bytes: 120,
//!     body: None,
//!     ..RequestFacts::default()
//! };
//! let default = Arc::new(Plan::from(vec![Step { action: Action::Rules("sorry".into()), reason: "no policy".into() }]));
//! let decision = host.decide_fallback(&policy, Arc::new(request), &default).await;
//!
//! // Without metrics this policy has no opinion, and says so in the record.
//! println!("{:?} by {:?}", decision.value, decision.record.decided_by);
//! # Ok(()) })
//! # }
//! ```
//!
//! # What is promised
//!
//! - A guest has no files, no network, no clock and no randomness. It sees the
//!   facts that you passed and what it was granted, nothing else.
//! - Each decision gets a fresh instance that begins in the state which the
//!   policy's `configure` left behind (unless [`Isolation::Warm`] was chosen).
//! - One deadline covers guest code and host calls; fuel, memory, stack and
//!   the number of host calls are bounded. A guest that is over is stopped and
//!   its memory dropped; other policies and requests do not notice.
//! - What a guest returns is applied only after it was checked.
//! - A failed activation leaves the last good revision serving. A policy that
//!   keeps failing is taken back by itself, and an incident is raised.
//! - Nothing that a decision depends on is missing from its record.

mod bindings;
mod cache;
mod capability;
mod complexity;
mod contract;
mod convert;
mod engine;
mod error;
mod failure;
mod host;
mod image;
mod load;
pub mod options;
mod preinit;
pub mod record;
mod registry;
mod replay;
mod reset;
mod revision;
mod room;
mod run;
mod run_state;
mod selftest;
mod services;
mod settings;
pub mod sources;

pub use backstop_core as core;
pub use convert::{Description, Want};
pub use error::{
    ActivationError, ActivationErrorKind, RollBackError, SandboxError, SettingsProblem, StartError,
};
pub use host::{Decision, Host, HostBuilder, Replayer};
pub use options::{
    ActivationRequest, FailurePolicy, Grants, HostOptions, Isolation, Limits, ModelBudget,
    OnFailure, PolicyOptions, RevertPolicy,
};
pub use record::{DecidedBy, DecisionId, DecisionPoint, DecisionRecord, FailureKind, Records};
pub use registry::{PolicyHandle, PolicyStatus};
pub use replay::Difference;
pub use revision::RevisionInfo;
pub use sources::{
    BoxFuture, IncidentReport, IncidentSink, MetricQuery, MetricsSource, ModelAnswer, ModelCall,
    ModelCaller, ModelError, NoIncidents, NoMetrics, NoModels, Severity,
};
