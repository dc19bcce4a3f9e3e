//! `[policies.NAME]`: which components decide, and what they are given.

use super::Name;
use backstop::PolicyOptions;
use std::fmt;
use std::path::PathBuf;

/// A policy that the gateway is to activate.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name in the configuration.
    pub name: Name,
    /// Where its component comes from.
    pub component: ComponentSource,
    /// Settings, grants, limits and the rest.
    pub options: PolicyOptions,
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// Shipped with the gateway, under this name.
    Builtin(Name),
    /// A file; the path is absolute or relative to the working folder.
    File(PathBuf),
}

impl fmt::Display for ComponentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComponentSource::Builtin(name) => write!(f, "builtin:{name}"),
            ComponentSource::File(path) => write!(f, "{}", path.display()),
        }
    }
}
