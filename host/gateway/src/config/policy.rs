//! `[policies.NAME]`: which components decide, and what they are given.

use super::Name;
use super::check::{is_name, listed, shown};
use super::mistake::MistakeKind;
use super::nearest::nearest;
use super::schema::{Default, Key, Kind, Schema, TEXT_BYTES_MAX};
use super::section::{Resolver, Section, Text};
use super::tree::{Node, Value};
use backstop::{
    FailurePolicy, Grants, Isolation, Limits, ModelBudget, OnFailure, PolicyOptions, RevertPolicy,
};
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

/// What a component's name begins with when it is shipped with the gateway.
const BUILTIN: &str = "builtin:";

/// The names of the policies that are shipped.
fn shipped() -> impl Iterator<Item = &'static str> {
    backstop_policies::BUILTINS
        .iter()
        .map(|builtin| builtin.name)
}

/// Most metrics, and most models, that are granted one by one.
const GRANTS_MAX: usize = 64;
/// Largest memory of any policy in bytes; `sandbox.memory_bytes_max` may be less.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Largest fuel: some hours of computation, which the deadline ends first.
const FUEL_MAX: u64 = 1 << 50;

/// `[policies.NAME]`.
pub(super) static POLICY: Schema = Schema {
    name: "policies.NAME",
    about: "A WebAssembly component that decides. Routes and rollouts name it.",
    keys: &[
        Key {
            name: "component",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Required,
            about: "A file, relative to the folder of the configuration, or `builtin:` and the name \
                    of a shipped policy.",
        },
        Key {
            name: "settings",
            kind: Kind::AnyTable,
            default: Default::Words("the policy's defaults"),
            about: "Settings of the policy, checked by the policy itself.",
        },
        Key {
            name: "grants",
            kind: Kind::Table(&GRANTS),
            default: Default::Words("its defaults"),
            about: "What the policy may use.",
        },
        Key {
            name: "limits",
            kind: Kind::Table(&LIMITS),
            default: Default::Words("its defaults"),
            about: "What a decision may use up.",
        },
        Key {
            name: "on_failure",
            kind: Kind::Table(&ON_FAILURE),
            default: Default::Words("its defaults"),
            about: "What is done when a decision fails.",
        },
        Key {
            name: "revert",
            kind: Kind::Table(&REVERT),
            default: Default::Words("its defaults"),
            about: "When the policy is taken back.",
        },
        Key {
            name: "isolation",
            kind: Kind::Choice(&["fresh", "reset", "warm"]),
            default: Default::Text("fresh"),
            about: "A fresh instance for every decision; or instances that are used again, with their \
                    memory put back after each (`reset`) or as it is (`warm`).",
        },
    ],
};

/// `[policies.NAME.grants]`.
pub(super) static GRANTS: Schema = Schema {
    name: "policies.NAME.grants",
    about: "What a policy may use. A component that imports what it is not granted is refused.",
    keys: &[
        Key {
            name: "metrics",
            kind: Kind::Texts(0, GRANTS_MAX),
            default: Default::Words("none"),
            about: "Metrics that may be read: names, or beginnings followed by `*`.",
        },
        Key {
            name: "models",
            kind: Kind::Texts(0, GRANTS_MAX),
            default: Default::Words("none"),
            about: "Models that may be called: names, or beginnings followed by `*`.",
        },
        Key {
            name: "model_budget",
            kind: Kind::Table(&MODEL_BUDGET),
            default: Default::Words("its defaults"),
            about: "What calls of models may use up in one decision.",
        },
        Key {
            name: "state",
            kind: Kind::Bool,
            default: Default::Bool(false),
            about: "May keep state.",
        },
        Key {
            name: "log",
            kind: Kind::Bool,
            default: Default::Bool(true),
            about: "May write to the log.",
        },
        Key {
            name: "incident",
            kind: Kind::Bool,
            default: Default::Bool(false),
            about: "May raise incidents.",
        },
        Key {
            name: "bodies",
            kind: Kind::Bool,
            default: Default::Bool(false),
            about: "May read the bodies of requests and answers.",
        },
    ],
};

/// `[policies.NAME.grants.model_budget]`.
pub(super) static MODEL_BUDGET: Schema = Schema {
    name: "policies.NAME.grants.model_budget",
    about: "What a policy's own model calls may use up in one decision.",
    keys: &[
        Key {
            name: "calls",
            kind: Kind::Integer(0, 64),
            default: Default::Integer(4),
            about: "Number of calls.",
        },
        Key {
            name: "time_ms",
            kind: Kind::Integer(0, 60_000),
            default: Default::Integer(5_000),
            about: "Milliseconds of waiting for models, calls at once counted once.",
        },
        Key {
            name: "cost_micros",
            kind: Kind::Integer(0, 1_000_000_000_000),
            default: Default::Integer(100_000),
            about: "Cost in millionths of your currency, by the prices of the models.",
        },
    ],
};

/// `[policies.NAME.limits]`.
pub(super) static LIMITS: Schema = Schema {
    name: "policies.NAME.limits",
    about: "What one decision of a policy may use up.",
    keys: &[
        Key {
            name: "deadline_ms",
            kind: Kind::Integer(1, 60_000),
            default: Default::Words("20, or 5000 for a policy that may call models"),
            about: "Milliseconds for guest code and host calls together.",
        },
        Key {
            name: "fuel",
            kind: Kind::Integer(1_000, FUEL_MAX),
            default: Default::Integer(20_000_000),
            about: "Fuel, about one unit for each wasm instruction.",
        },
        Key {
            name: "memory_bytes",
            kind: Kind::Integer(64 << 10, MEMORY_BYTES_MAX),
            default: Default::Integer(4 << 20),
            about: "Bytes over all memories and tables; at most `sandbox.memory_bytes_max`.",
        },
        Key {
            name: "host_calls",
            kind: Kind::Integer(1, 1 << 20),
            default: Default::Integer(256),
            about: "Calls of host functions.",
        },
        Key {
            name: "load_deadline_ms",
            kind: Kind::Integer(1, 60_000),
            default: Default::Integer(1_000),
            about: "Milliseconds for each of the calls before activation.",
        },
        Key {
            name: "load_fuel",
            kind: Kind::Integer(1_000, FUEL_MAX),
            default: Default::Integer(1_000_000_000),
            about: "Fuel for each of the calls before activation.",
        },
    ],
};

const ON_FAILURE_WORDS: Kind = Kind::Choice(&["default", "previous", "closed"]);

/// `[policies.NAME.on_failure]`.
pub(super) static ON_FAILURE: Schema = Schema {
    name: "policies.NAME.on_failure",
    about: "What is done when a decision fails: `default` uses the route's own plan (accepts the \
            answer, holds the rollout), `previous` asks the previous revision first, `closed` \
            refuses the request, sends the answer to review, pauses the rollout.",
    keys: &[
        Key {
            name: "trap",
            kind: ON_FAILURE_WORDS,
            default: Default::Text("default"),
            about: "The guest trapped.",
        },
        Key {
            name: "deadline",
            kind: ON_FAILURE_WORDS,
            default: Default::Text("default"),
            about: "It was over its deadline or its fuel.",
        },
        Key {
            name: "memory",
            kind: ON_FAILURE_WORDS,
            default: Default::Text("default"),
            about: "It was over its memory.",
        },
        Key {
            name: "invalid-output",
            kind: ON_FAILURE_WORDS,
            default: Default::Text("default"),
            about: "What it returned may not be applied.",
        },
        Key {
            name: "load",
            kind: ON_FAILURE_WORDS,
            default: Default::Text("default"),
            about: "The host could not run it.",
        },
    ],
};

/// `[policies.NAME.revert]`.
pub(super) static REVERT: Schema = Schema {
    name: "policies.NAME.revert",
    about: "When a policy whose decisions keep failing is taken back.",
    keys: &[
        Key {
            name: "failures",
            kind: Kind::Integer(0, 1_000_000),
            default: Default::Integer(5),
            about: "Failures in a row that return it to its previous revision; 0 never does.",
        },
        Key {
            name: "suspend_ms",
            kind: Kind::Integer(0, 3_600_000),
            default: Default::Integer(10_000),
            about: "Milliseconds for which a policy without a previous revision is suspended.",
        },
    ],
};

/// Resolves a policy; none after a mistake.
pub(super) fn resolve(
    cx: &mut Resolver<'_>,
    name: Name,
    section: &Section<'_>,
    models: &[&str],
    memory_bytes_max: usize,
) -> Option<Policy> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if is_name(&name) && !name.bytes().all(plain) {
        let message = format!(
            "`{name}` is no name of a policy: it has lower-case letters, digits, `-` and `_`"
        );
        cx.mistakes
            .add(MistakeKind::Invalid, section.place, &section.path, message);
    }
    let settings = section.node("settings").map(|node| {
        let path = section.key_path("settings");
        json_of(cx, node, &path)
    });
    let options = PolicyOptions {
        settings: settings.unwrap_or_default(),
        grants: resolve_grants(cx, &section.section("grants"), models),
        limits: resolve_limits(cx, &section.section("limits"), memory_bytes_max),
        on_failure: resolve_on_failure(&section.section("on_failure")),
        revert: resolve_revert(&section.section("revert")),
        isolation: match section.text("isolation").text {
            "reset" => Isolation::Reset,
            "warm" => Isolation::Warm,
            _ => Isolation::Fresh,
        },
    };
    let component = section
        .text_if_set("component")
        .filter(|text| !text.text.is_empty())?;
    Some(Policy {
        name,
        component: resolve_component(cx, section, component)?,
        options,
    })
}

fn resolve_component(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    component: Text<'_>,
) -> Option<ComponentSource> {
    let path = section.key_path("component");
    if let Some(name) = component.text.strip_prefix(BUILTIN) {
        if shipped().any(|known| known == name) {
            return Some(ComponentSource::Builtin(name.into()));
        }
        let near = nearest(name, shipped());
        let mut message = format!("`{path}` names unknown builtin policy `{}`", shown(name));
        if near.is_none() {
            message.push_str(&format!("; shipped: {}", listed(shipped())));
        }
        let near = near.map(|name| format!("{BUILTIN}{name}"));
        cx.note(MistakeKind::UnknownName, section, "component", message)
            .nearest(near.as_deref());
        return None;
    }
    let file = cx.base_dir.join(component.text);
    if cx.look_for_files && !file.is_file() {
        let message = format!(
            "`{path}` is `{}`, where there is no file; `backstop policy build` makes one",
            file.display()
        );
        let is_shipped = shipped().any(|known| known == component.text);
        let near = is_shipped.then(|| format!("{BUILTIN}{}", component.text));
        cx.note(MistakeKind::UnknownName, section, "component", message)
            .nearest(near.as_deref());
        return None;
    }
    Some(ComponentSource::File(file))
}

fn resolve_grants(cx: &mut Resolver<'_>, section: &Section<'_>, models: &[&str]) -> Grants {
    let granted = |key| {
        section
            .texts(key)
            .iter()
            .map(|text| text.text.to_owned())
            .collect()
    };
    for text in section.texts("models") {
        let is_known = text.text.ends_with('*') || models.contains(&text.text);
        if !is_known && !text.text.is_empty() {
            let near = nearest(text.text, models.iter().copied());
            let path = section.key_path("models");
            let message = format!("`{path}` names unknown model `{}`", shown(text.text));
            cx.mistakes
                .add(MistakeKind::UnknownName, text.place, path, message)
                .nearest(near);
        }
    }
    let budget = section.section("model_budget");
    Grants {
        metrics: granted("metrics"),
        models: granted("models"),
        model_budget: ModelBudget {
            calls: budget.integer("calls"),
            time_ms: budget.integer("time_ms"),
            cost_micros: budget.integer("cost_micros"),
        },
        state: section.boolean("state"),
        log: section.boolean("log"),
        incident: section.boolean("incident"),
        bodies: section.boolean("bodies"),
    }
}

fn resolve_limits(cx: &mut Resolver<'_>, section: &Section<'_>, memory_bytes_max: usize) -> Limits {
    let memory_bytes = section.integer("memory_bytes");
    let is_in_range = memory_bytes as u64 <= MEMORY_BYTES_MAX;
    if memory_bytes > memory_bytes_max && is_in_range {
        let message = format!(
            "`{}` is {memory_bytes}, more than `sandbox.memory_bytes_max`, which is {memory_bytes_max}",
            section.key_path("memory_bytes")
        );
        cx.note(MistakeKind::Conflict, section, "memory_bytes", message);
    }
    Limits {
        deadline_ms: section.integer_if_set("deadline_ms"),
        fuel: section.integer("fuel"),
        memory_bytes,
        host_calls: section.integer("host_calls"),
        load_deadline_ms: section.integer("load_deadline_ms"),
        load_fuel: section.integer("load_fuel"),
    }
}

fn resolve_on_failure(section: &Section<'_>) -> FailurePolicy {
    let word = |key| match section.text(key).text {
        "previous" => OnFailure::Previous,
        "closed" => OnFailure::Closed,
        _ => OnFailure::Default,
    };
    FailurePolicy {
        trap: word("trap"),
        deadline: word("deadline"),
        memory: word("memory"),
        invalid_output: word("invalid-output"),
        load: word("load"),
    }
}

fn resolve_revert(section: &Section<'_>) -> RevertPolicy {
    RevertPolicy {
        failures: section.integer("failures"),
        suspend_ms: section.integer("suspend_ms"),
    }
}

/// A value as JSON; dates become strings.
pub(super) fn json_of(cx: &mut Resolver<'_>, node: &Node, path: &str) -> serde_json::Value {
    match &node.value {
        Value::Text(text) | Value::Datetime(text) => text.as_str().into(),
        Value::Bool(boolean) => (*boolean).into(),
        Value::Integer(integer) => {
            let as_json = i64::try_from(*integer).map(Into::into);
            as_json
                .or_else(|_| u64::try_from(*integer).map(Into::into))
                .unwrap_or_else(|_| {
                    let message = format!("`{path}` is an integer beyond 64 bits");
                    cx.mistakes
                        .add(MistakeKind::OutOfRange, node.place, path, message);
                    serde_json::Value::Null
                })
        }
        Value::Float(float) => serde_json::Number::from_f64(*float).map_or_else(
            || {
                let message = format!("`{path}` is not finite, which JSON cannot hold");
                cx.mistakes
                    .add(MistakeKind::Invalid, node.place, path, message);
                serde_json::Value::Null
            },
            serde_json::Value::Number,
        ),
        Value::Array(nodes) => (nodes.iter().enumerate())
            .map(|(index, node)| json_of(cx, node, &format!("{path}[{index}]")))
            .collect(),
        Value::Table(table) => (table.entries.iter())
            .map(|entry| {
                let path = super::check::below(path, &entry.key);
                (entry.key.clone(), json_of(cx, &entry.node, &path))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
