//! Under construction.

pub mod options;
pub mod record;
pub mod sources;

pub use options::{
    FailurePolicy, Grants, HostOptions, Isolation, Limits, ModelBudget, OnFailure, PolicyOptions,
    RevertPolicy,
};
pub use sources::{
    BoxFuture, IncidentReport, IncidentSink, MetricQuery, MetricsSource, ModelAnswer, ModelCall,
    ModelCaller, ModelError, NoIncidents, NoMetrics, NoModels, Severity,
};
