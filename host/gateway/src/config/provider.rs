//! `[providers.NAME]`: who runs the models, and how they are reached.

use super::Name;
use super::secret::Secret;
use super::simulated::Simulated;
use http::{HeaderName, Uri};
use std::time::Duration;

/// Somebody who runs models.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: Name,
    /// What it speaks.
    pub kind: ProviderKind,
}

/// What a provider speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum ProviderKind {
    /// OpenAI's chat completions over HTTP.
    Openai(HttpProvider),
    /// Any JSON over HTTP.
    Json(HttpProvider),
    /// Nothing: answers are made up inside the gateway.
    Simulated(Simulated),
}

impl ProviderKind {
    /// The word in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            ProviderKind::Openai(_) => "openai",
            ProviderKind::Json(_) => "json",
            ProviderKind::Simulated(_) => "simulated",
        }
    }
}

/// How an HTTP provider is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProvider {
    /// `http` or `https`, host, and a path without a slash at the end;
    /// neither query nor user name.
    pub base_url: Uri,
    /// Headers sent with every call, the credentials among them.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}
