//! `[rules.NAME]`: answers that need no model.

use super::Name;
use super::mistake::MistakeKind;
use super::policy::json_of;
use super::schema::{Default, Key, Kind, RULES_BYTES_MAX, Schema};
use super::section::{Resolver, Section};
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

/// `[rules.NAME]`.
pub(super) static RULES: Schema = Schema {
    name: "rules.NAME",
    about: "An answer that needs no model: either `text` or `json`.",
    keys: &[
        Key {
            name: "text",
            kind: Kind::Text(RULES_BYTES_MAX),
            default: Default::Words("`json`"),
            about: "A text; in a chat route the assistant's message.",
        },
        Key {
            name: "json",
            kind: Kind::Any,
            default: Default::Words("`text`"),
            about: "Any value; in a chat route the text of the assistant's message.",
        },
        Key {
            name: "status",
            kind: Kind::Integer(200, 599),
            default: Default::Integer(200),
            about: "HTTP status of the answer.",
        },
    ],
};

/// Resolves rules; none after a mistake.
pub(super) fn resolve(cx: &mut Resolver<'_>, name: Name, section: &Section<'_>) -> Option<Rules> {
    let status = section.integer("status");
    let body = match (section.node("text"), section.node("json")) {
        (Some(_), None) => RulesBody::Text(section.text_if_set("text")?.text.into()),
        (None, Some(node)) => {
            let path = section.key_path("json");
            RulesBody::Json(Arc::new(json_of(cx, node, &path)))
        }
        (None, None) => {
            let message = format!("`{}` needs `text` or `json`", section.path);
            cx.note(MistakeKind::MissingKey, section, "text", message);
            return None;
        }
        (Some(text), Some(_)) => {
            let message = format!(
                "`{}` has both `text` and `json`, and may have one",
                section.path
            );
            cx.note(MistakeKind::Conflict, section, "json", message)
                .first(text.place);
            return None;
        }
    };
    Some(Rules { name, body, status })
}
