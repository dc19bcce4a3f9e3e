//! `[rules.NAME]`: answers that need no model.

use super::Name;
use std::sync::Arc;

/// A rule-based default answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Its name in the configuration.
    pub name: Name,
    /// What it says.
    pub body: RulesBody,
    /// HTTP status, 200 to 599.
    pub status: u16,
}

/// What rules say.
#[derive(Debug, Clone, PartialEq)]
pub enum RulesBody {
    /// A text; in a chat route the assistant's message.
    Text(Arc<str>),
    /// Any JSON; in a chat route the text of the assistant's message.
    Json(Arc<serde_json::Value>),
}
