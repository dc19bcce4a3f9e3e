//! Under construction.

mod bindings;
mod cache;
mod capability;
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
mod revision;
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
    FailurePolicy, Grants, HostOptions, Isolation, Limits, ModelBudget, OnFailure, PolicyOptions,
    RevertPolicy,
};
pub use record::{DecidedBy, DecisionId, DecisionPoint, DecisionRecord, FailureKind, Records};
pub use registry::{PolicyHandle, PolicyStatus};
pub use replay::Difference;
pub use revision::RevisionInfo;
pub use sources::{
    BoxFuture, IncidentReport, IncidentSink, MetricQuery, MetricsSource, ModelAnswer, ModelCall,
    ModelCaller, ModelError, NoIncidents, NoMetrics, NoModels, Severity,
};
