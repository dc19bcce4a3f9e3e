//! Configuration: one TOML file, read strictly, resolved completely.
//!
//! Two stages. The raw stage stays close to the file and keeps every place in
//! it: `tree` parses and merges, `check` holds the tree against the tables of
//! keys in `schema`. The resolved stage (`resolve`, and one file per section
//! with its table of keys, its types and what makes the one into the other)
//! holds types that cannot be wrong: references lead somewhere, numbers are in
//! range, secrets are read. On the way every mistake is collected, so that
//! whoever wrote the file sees all of them at once, each with its line.
//!
//! `default-config.toml` is the embedded demo configuration and the commented
//! example; `docs/config.md` is written from the tables of keys by a test.

pub mod attributes;
mod breaker;
pub mod callback;
mod check;
pub mod feature;
pub mod feedback;
pub mod limit;
mod mistake;
pub mod model;
mod nearest;
pub mod objective;
pub mod policy;
pub mod price;
pub mod probe;
pub mod prometheus;
pub mod provider;
mod reference;
mod resolve;
pub mod retry;
pub mod route;
pub mod rules;
mod scan;
mod schema;
pub mod secret;
mod section;
pub mod server;
pub mod simulated;
mod source;
pub mod stream;
pub mod telemetry;
#[cfg(test)]
mod tests;
mod tree;

pub use attributes::{Attribute, AttributeNames};
pub use callback::{AllowedUrl, Callbacks};
pub(crate) use callback::{callback_url, origin as callback_origin};
pub(crate) use check::is_name;
pub use feature::{DetectorKind, Feature, FeatureAt, FeatureOf, Judge};
pub use feedback::{Feedback, OutcomeKind};
pub use limit::{Limit, LimitKind};
pub use mistake::{ConfigError, MISTAKES_MAX, Mistake, MistakeKind, Mistakes};
pub use model::{Model, Pointers, Release, Rollout, Target};
pub use objective::{Bad, Objective, ObjectiveOf};
pub use policy::{ComponentSource, Policy};
pub use price::Price;
pub use probe::Probe;
pub use prometheus::Prometheus;
pub use provider::{HttpProvider, Provider, ProviderKind};
pub use reference::reference;
pub use retry::{Hedge, Retry};
pub use route::{FactSource, Route, RouteKind, Timeouts, Unavailable};
pub use rules::{Rules, RulesBody};
pub use secret::Secret;
pub use server::{Sandbox, Server};
pub use simulated::{Behaviour, ScriptEntry, Simulated};
pub use stream::Stream;
pub use telemetry::{Otlp, Telemetry};

use backstop::{DecisionPoint, HostOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// What leaves the gateway about requests.
    pub telemetry: Telemetry,
    /// How callers are called back about reviews.
    pub callbacks: Callbacks,
    /// Who runs the models.
    pub providers: BTreeMap<Name, Arc<Provider>>,
    /// The logical models.
    pub models: BTreeMap<Name, Arc<Model>>,
    /// The policies to activate.
    pub policies: BTreeMap<Name, Arc<Policy>>,
    /// The rule-based answers.
    pub rules: BTreeMap<Name, Arc<Rules>>,
    /// What callers can ask for; at least one.
    pub routes: BTreeMap<Name, Arc<Route>>,
    /// What is promised about routes and models.
    pub objectives: BTreeMap<Name, Arc<Objective>>,
    /// A Prometheus whose numbers policies may read.
    pub prometheus: Option<Arc<Prometheus>>,
}

impl Config {
    /// The embedded demo configuration as it stands in the repository, with
    /// its comments.
    pub const BUILTIN_TEXT: &str = include_str!("../../default-config.toml");

    /// Reads and resolves the file at `path`. Environment variables are the
    /// process's; relative paths in the file are relative to its folder, and
    /// components that it names have to be there.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or with all its mistakes at once.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = read(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        let origin = path.display().to_string();
        let env = |name: &str| std::env::var(name).ok();
        let input = resolve::Input {
            text: &text,
            origin: &origin,
            base_dir,
            look_for_files: true,
        };
        Ok(resolve::resolve(&input, &env)?)
    }

    /// Resolves a text that is called `origin` in mistakes. Reads no file:
    /// components are not looked for.
    ///
    /// # Errors
    ///
    /// All mistakes at once.
    pub fn from_str(
        text: &str,
        origin: &str,
        base_dir: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let input = resolve::Input {
            text,
            origin,
            base_dir,
            look_for_files: false,
        };
        Ok(resolve::resolve(&input, env)?)
    }

    /// The embedded demo configuration, with the working folder for its data.
    ///
    /// # Errors
    ///
    /// Never: a test reads it. The signature is that of the other readers.
    pub fn builtin() -> Result<Config, ConfigError> {
        Config::from_str(
            Config::BUILTIN_TEXT,
            schema::INCLUDE_DEMO,
            Path::new(""),
            &|_| None,
        )
    }

    /// The options of the policy host that this configuration asks for.
    pub fn host_options(&self) -> HostOptions {
        HostOptions {
            cache_dir: (self.sandbox.cache).then(|| self.server.data_dir.join("compiled")),
            instances_max: self.sandbox.instances_max,
            memory_bytes_max: self.sandbox.memory_bytes_max,
            component_bytes_max: self.sandbox.component_bytes_max,
            records_max: self.sandbox.records_max,
            revisions_kept: self.sandbox.revisions_kept,
            // What no key of the file is for.
            ..HostOptions::default()
        }
    }

    /// The decision points at which routes and rollouts ask `policy`.
    pub fn points(&self, policy: &str) -> Vec<DecisionPoint> {
        let is = |name: &Option<Name>| name.as_deref() == Some(policy);
        let asked = |point: &DecisionPoint| match point {
            DecisionPoint::Fallback => self.routes.values().any(|route| is(&route.fallback)),
            DecisionPoint::Threshold => self.routes.values().any(|route| is(&route.threshold)),
            DecisionPoint::Rollback => self
                .models
                .values()
                .filter_map(|model| model.rollout.as_ref())
                .any(|rollout| is(&rollout.policy)),
        };
        DecisionPoint::ALL.into_iter().filter(asked).collect()
    }

    /// The component files of the policies, for whoever watches them.
    pub fn component_files(&self) -> impl Iterator<Item = (&Name, &PathBuf)> {
        self.policies
            .iter()
            .filter_map(|(name, policy)| match &policy.component {
                ComponentSource::File(path) => Some((name, path)),
                ComponentSource::Builtin(_) => None,
            })
    }
}

/// Reads a file of at most one byte more than is allowed, so that too large a
/// one is found out without being read.
fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let bytes_max = schema::FILE_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)?
        .take(bytes_max)
        .read_to_string(&mut text)?;
    Ok(text)
}
