//! What an embedder chooses: for the host as a whole, and for each policy.
//!
//! Plain structs with defaults. Nothing in here reads a file or the
//! environment.

use crate::record::DecisionPoint;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Options of a [`Host`](crate::Host).
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Folder for compiled code, or none to compile at every start. Created
    /// with access for its owner only; only files that this host wrote there
    /// are read back.
    pub cache_dir: Option<PathBuf>,
    /// How many decisions may have an instance at the same time, 1 to 4,096. A
    /// quarter (at least one) is for policies that cannot wait, the rest (at
    /// least one) for those that may call models, so that these never starve
    /// the others. A decision that finds none free waits no longer than its
    /// deadline and half a second, and then fails by the host's fault. Address
    /// space of `instances_max` times the largest memory is reserved.
    pub instances_max: u32,
    /// Largest linear memory of any policy, in bytes; limits of policies must
    /// not be above it. Up to 256 MiB.
    pub memory_bytes_max: usize,
    /// Largest component that is accepted, in bytes.
    pub component_bytes_max: usize,
    /// Longest time for loading one component, in milliseconds, 1 to 600,000;
    /// what its guest code may take by `limits.load_deadline_ms` comes on top.
    pub load_ms_max: u32,
    /// How many decision records are kept in memory.
    pub records_max: usize,
    /// How many former revisions of each policy stay ready, 3 to 16.
    pub revisions_kept: usize,
}

impl Default for HostOptions {
    fn default() -> Self {
        HostOptions {
            cache_dir: None,
            instances_max: 256,
            memory_bytes_max: 16 << 20,
            component_bytes_max: 16 << 20,
            // A shipped policy takes some 100 ms, the most complex component
            // that is accepted some seconds, more on a busy machine.
            load_ms_max: 60_000,
            records_max: 10_000,
            revisions_kept: 3,
        }
    }
}

/// What one policy is granted. Nothing but the log by default.
///
/// A component that imports an interface for which it has no grant is refused
/// at load; an argument outside the grant gets a typed error at the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Metrics that may be read: names, or prefixes followed by `*`.
    pub metrics: Vec<String>,
    /// Models that may be called: names, or prefixes followed by `*`.
    pub models: Vec<String>,
    /// What calls of models may use up in one decision.
    pub model_budget: ModelBudget,
    /// May keep state.
    pub state: bool,
    /// May write to the log.
    pub log: bool,
    /// May raise incidents.
    pub incident: bool,
    /// May read the bodies of requests and answers.
    pub bodies: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Grants {
            metrics: Vec::new(),
            models: Vec::new(),
            model_budget: ModelBudget::default(),
            state: false,
            log: true,
            incident: false,
            bodies: false,
        }
    }
}

/// What a policy's own model calls may use up in one decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelBudget {
    /// Number of calls.
    pub calls: u32,
    /// Milliseconds of waiting for models, calls at once counted once.
    pub time_ms: u32,
    /// Cost in millionths of the operator's currency, as the
    /// [`ModelCaller`](crate::ModelCaller) states it.
    pub cost_micros: u64,
}

impl Default for ModelBudget {
    fn default() -> Self {
        ModelBudget {
            calls: 4,
            time_ms: 5_000,
            cost_micros: 100_000,
        }
    }
}

/// What one decision of a policy may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds of wall time for guest code and host calls together, 1 to
    /// 60,000. None takes 20 ms, or 5,000 ms for a policy that may call models.
    pub deadline_ms: Option<u32>,
    /// Fuel: about one unit for each wasm instruction.
    pub fuel: u64,
    /// Bytes over all linear memories of the decision. Tables are bounded apart,
    /// by a constant.
    pub memory_bytes: usize,
    /// Calls of host functions.
    pub host_calls: u32,
    /// Milliseconds for `describe`, `configure` and the canary call, each.
    pub load_deadline_ms: u32,
    /// Fuel for `describe`, `configure` and the canary call, each.
    pub load_fuel: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            deadline_ms: None,
            // A decision of a shipped policy takes 5,000 to 60,000 units; this is
            // about 10 ms of computation.
            fuel: 20_000_000,
            memory_bytes: 4 << 20,
            host_calls: 256,
            load_deadline_ms: 1_000,
            load_fuel: 1_000_000_000,
        }
    }
}

impl Limits {
    /// Deadline where none is set, for policies that never wait.
    pub const DEADLINE: Duration = Duration::from_millis(20);
    /// Deadline where none is set, for policies that may call models.
    pub const DEADLINE_WITH_MODELS: Duration = Duration::from_millis(5_000);
}

/// How instances are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A fresh instance for every decision: nothing leaks from one to another.
    #[default]
    Fresh,
    /// Instances are used again, and after every decision their memory and
    /// globals are put back to what `configure` left behind: nothing leaks
    /// either, and a decision takes about two thirds of the time. Only for
    /// policies in whose code it can be seen that nothing else changes: those
    /// that the SDK builds for `fallback` and `rollback` and that do not call
    /// models. Others are refused with the reason. An instance is retired as a warm one is, and
    /// when its memory has grown.
    Reset,
    /// Instances are used again, for guests that are slow to start. An
    /// instance is retired after a failure, after an error of the host, and
    /// after [`Isolation::WARM_DECISIONS_MAX`] decisions.
    Warm,
}

impl Isolation {
    /// After so many decisions an instance that is used again is replaced, so
    /// that a slow leak in a guest stays small.
    pub const WARM_DECISIONS_MAX: u32 = 1_000;
}

/// The ways in which a decision can fail, and what is then done for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FailurePolicy {
    /// The guest trapped (panic, unreachable, out of bounds, stack overflow).
    pub trap: OnFailure,
    /// It was over its deadline or its fuel.
    pub deadline: OnFailure,
    /// It was over its memory.
    pub memory: OnFailure,
    /// What it returned may not be applied.
    pub invalid_output: OnFailure,
    /// The host could not run it (no instance was free in time).
    pub load: OnFailure,
}

/// What is done when a decision fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Use the default decision that came with the question.
    #[default]
    Default,
    /// Ask the previous revision; if that fails or there is none, use the
    /// default decision.
    Previous,
    /// Fail closed: refuse the request, send the answer to review, pause the
    /// rollout.
    Closed,
}

/// When a policy whose decisions keep failing is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RevertPolicy {
    /// So many failures in a row return the policy to its previous revision;
    /// 0 never does. Where there is no previous one, the policy is suspended
    /// and the failure policy applies without the guest being called.
    pub failures: u32,
    /// Milliseconds for which a policy without a previous revision is
    /// suspended before it is tried again.
    pub suspend_ms: u32,
}

impl Default for RevertPolicy {
    fn default() -> Self {
        RevertPolicy {
            failures: 5,
            suspend_ms: 10_000,
        }
    }
}

/// Everything about a policy but its component: with the component's digest
/// it makes a revision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyOptions {
    /// The policy's settings; `null` is taken as `{}`.
    pub settings: serde_json::Value,
    /// What it is granted.
    pub grants: Grants,
    /// What a decision may use up.
    pub limits: Limits,
    /// What is done when a decision fails.
    pub on_failure: FailurePolicy,
    /// When it is taken back.
    pub revert: RevertPolicy,
    /// How instances are used.
    pub isolation: Isolation,
}

/// How a component is to be activated: the options of its revision, and what
/// the embedder needs of it besides. Only the options are part of the
/// revision's digest; [`PolicyOptions`] alone make a request without needs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ActivationRequest {
    /// The options of the revision.
    pub options: PolicyOptions,
    /// Decision points at which the embedder asks this policy. A component
    /// that lacks one of them is refused, for its decisions there would fail
    /// without anybody having been told.
    pub points: Vec<DecisionPoint>,
    /// The highest number that a revision of this policy ever had, where an
    /// embedder keeps that longer than the host lives; 0 for none. The new
    /// revision gets a higher one, so that numbers never mean two things.
    pub number_before: u64,
}

impl From<PolicyOptions> for ActivationRequest {
    fn from(options: PolicyOptions) -> Self {
        ActivationRequest {
            options,
            ..ActivationRequest::default()
        }
    }
}
