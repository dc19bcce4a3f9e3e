//! Configuration: one TOML file, read strictly, resolved completely.
//!
//! Two stages. The raw stage (`tree`, `schema`, `read`) stays close to the
//! file and keeps every place in it; the resolved stage (one file per section)
//! holds types that cannot be wrong: references are resolved, numbers are in
//! range, secrets are read. Between them every mistake is collected, so that
//! whoever wrote the file sees all of them at once, each with its line.

pub mod model;
pub mod policy;
pub mod provider;
pub mod route;
pub mod rules;
pub mod secret;
pub mod server;
pub mod simulated;

pub use model::{Model, Pointers, Release, Rollout, Target};
pub use policy::{ComponentSource, Policy};
pub use provider::{HttpProvider, Provider, ProviderKind};
pub use route::{FactSource, Retry, Route, RouteKind, Timeouts};
pub use rules::{Rules, RulesBody};
pub use secret::Secret;
pub use server::{Sandbox, Server};
pub use simulated::{Behaviour, ScriptEntry, Simulated};

use backstop::HostOptions;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A name of the configuration; one allocation for all that mention it.
pub type Name = Arc<str>;

/// A complete configuration in which every name leads somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Listeners, data and limits.
    pub server: Server,
    /// What the sandbox may use.
    pub sandbox: Sandbox,
    /// Who runs the models.
    pub providers: BTreeMap<Name, Arc<Provider>>,
    /// The logical models.
    pub models: BTreeMap<Name, Arc<Model>>,
    /// The policies to activate.
    pub policies: BTreeMap<Name, Arc<Policy>>,
    /// The rule-based answers.
    pub rules: BTreeMap<Name, Arc<Rules>>,
    /// What callers can ask for.
    pub routes: BTreeMap<Name, Arc<Route>>,
}

impl Config {
    /// The options of the policy host that this configuration asks for.
    pub fn host_options(&self) -> HostOptions {
        HostOptions {
            cache_dir: (self.sandbox.cache).then(|| self.server.data_dir.join("compiled")),
            instances_max: self.sandbox.instances_max,
            memory_bytes_max: self.sandbox.memory_bytes_max,
            component_bytes_max: self.sandbox.component_bytes_max,
            records_max: self.sandbox.records_max,
            revisions_kept: self.sandbox.revisions_kept,
        }
    }
}
