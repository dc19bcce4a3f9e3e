//! What may stand in a configuration: one table of keys per section, from
//! which files are checked, defaults are taken and `docs/config.md` is written.
//!
//! The tables themselves stand beside the types that are made from them, one
//! file per section.

use super::{
    callback, model, objective, policy, prometheus, provider, route, rules, server, simulated,
    telemetry,
};

/// Largest file. The largest that is allowed by the other limits is a tenth.
pub(super) const FILE_BYTES_MAX: usize = 1 << 20;
/// Most providers: each has its own connections.
pub(super) const PROVIDERS_MAX: usize = 64;
/// Most models: each release has a breaker, windows and metrics series.
pub(super) const MODELS_MAX: usize = 256;
/// Most releases of one model: stable, candidate, three to go back to, and
/// room for those that are being prepared.
pub(super) const RELEASES_MAX: usize = 16;
/// Most policies: each keeps compiled code for several revisions.
pub(super) const POLICIES_MAX: usize = 64;
/// Most rules: each is held in memory.
pub(super) const RULES_MAX: usize = 256;
/// Most routes: each is a label of metrics series.
pub(super) const ROUTES_MAX: usize = 256;
/// Most models of one route: a policy is handed all of them with each request.
pub(super) const ROUTE_MODELS_MAX: usize = 64;
/// Most rules of one route, for the same reason.
pub(super) const ROUTE_RULES_MAX: usize = 16;
/// Most tags of a route: each is looked up in every request.
pub(super) const TAGS_MAX: usize = 32;
/// Most headers that a provider is sent in addition.
pub(super) const HEADERS_MAX: usize = 32;
/// Longest name in bytes; names are labels, parts of paths and header values.
pub(super) const NAME_BYTES_MAX: usize = 64;
/// Longest text of rules in bytes; it is sent whole.
pub(super) const RULES_BYTES_MAX: usize = 64 << 10;
/// Longest of all other strings in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 4 << 10;
/// Longest time of one attempt, as in plans.
pub(super) const TIMEOUT_MS_MAX: u64 = backstop_core::plan::TIMEOUT_MS_MAX as u64;

/// A section: the keys that may stand in one table.
#[derive(Debug)]
pub(super) struct Schema {
    /// Its path, such as `routes.NAME.retry`; empty for the file.
    pub(super) name: &'static str,
    /// What it is for, in a sentence.
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
}

impl Schema {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// What it means, in a sentence.
    pub(super) about: &'static str,
}

/// What a value has to be.
#[derive(Debug)]
pub(super) enum Kind {
    /// A string that is not empty, at most so many bytes.
    Text(usize),
    /// A string in which `${NAME}` stands for an environment variable.
    Environment,
    /// The same, never shown.
    Secret,
    /// A name: letters, digits, `-`, `_` and `.`.
    Name,
    /// A JSON pointer.
    Pointer,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number from, to.
    Integer(u64, u64),
    /// A number from, to.
    Number(f64, f64),
    Bool,
    /// From, to so many strings.
    Texts(usize, usize),
    /// 1 to so many secrets.
    SecretList(usize),
    /// 1 to so many whole numbers from, to.
    Integers(usize, u64, u64),
    /// The name of something that is configured.
    Reference(Collection),
    /// At most so many different names.
    References(Collection, usize),
    /// At most so many strings by name.
    Pairs(usize),
    /// The same, in which `${NAME}` is replaced, never shown.
    Secrets(usize),
    /// Anything.
    Any,
    /// A table with any keys.
    AnyTable,
    Table(&'static Schema),
    /// At most so many tables.
    List(&'static Schema, usize),
    /// One of these words, or 1 to so many tables.
    ChoiceOrList(&'static [&'static str], &'static Schema, usize),
    /// At most so many tables by name.
    Map(&'static Schema, usize),
    /// The same, where the key `kind` decides what else may stand there.
    Variants(&'static [(&'static str, &'static Schema)], usize),
}

/// What holds where a key is absent.
#[derive(Debug)]
pub(super) enum Default {
    /// It must not be absent.
    Required,
    /// Something that is told in words.
    Words(&'static str),
    Text(&'static str),
    Integer(u64),
    Number(f64),
    Bool(bool),
    Texts(&'static [&'static str]),
    Integers(&'static [u64]),
}

/// The sections that hold things by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collection {
    Providers,
    Models,
    Policies,
    Rules,
    Routes,
}

impl Collection {
    /// The section, and what one of its things is called.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Collection::Providers => ("providers", "provider"),
            Collection::Models => ("models", "model"),
            Collection::Policies => ("policies", "policy"),
            Collection::Rules => ("rules", "rules"),
            Collection::Routes => ("routes", "route"),
        }
    }
}

/// What [`ROOT`]'s `include` may name.
pub(super) const INCLUDE_DEMO: &str = "builtin:demo";

/// The whole file.
pub(super) static ROOT: Schema = Schema {
    name: "",
    about: "The file as a whole.",
    keys: &[
        Key {
            name: "include",
            kind: Kind::Choice(&[INCLUDE_DEMO]),
            default: Default::Words("nothing"),
            about: "Start from the embedded demo configuration: tables are merged key by key, other \
                    values replace. A provider of another `kind`, a policy of another `component` \
                    and rules with another answer start anew.",
        },
        Key {
            name: "server",
            kind: Kind::Table(&server::SERVER),
            default: Default::Words("its defaults"),
            about: "Listeners, data and limits of the gateway.",
        },
        Key {
            name: "sandbox",
            kind: Kind::Table(&server::SANDBOX),
            default: Default::Words("its defaults"),
            about: "What policies together may take from the machine.",
        },
        Key {
            name: "telemetry",
            kind: Kind::Table(&telemetry::TELEMETRY),
            default: Default::Words("its defaults"),
            about: "What leaves the gateway about requests.",
        },
        Key {
            name: "callbacks",
            kind: Kind::Table(&callback::CALLBACKS),
            default: Default::Words("its defaults"),
            about: "How callers are called back about reviews.",
        },
        Key {
            name: "providers",
            kind: Kind::Variants(
                &[
                    ("openai", &provider::OPENAI),
                    ("json", &provider::JSON),
                    ("simulated", &simulated::SIMULATED),
                ],
                PROVIDERS_MAX,
            ),
            default: Default::Words("none"),
            about: "Who runs the models.",
        },
        Key {
            name: "models",
            kind: Kind::Map(&model::MODEL, MODELS_MAX),
            default: Default::Words("none"),
            about: "The logical models.",
        },
        Key {
            name: "policies",
            kind: Kind::Map(&policy::POLICY, POLICIES_MAX),
            default: Default::Words("none"),
            about: "The policies to activate.",
        },
        Key {
            name: "rules",
            kind: Kind::Map(&rules::RULES, RULES_MAX),
            default: Default::Words("none"),
            about: "Answers that need no model.",
        },
        Key {
            name: "routes",
            kind: Kind::Map(&route::ROUTE, ROUTES_MAX),
            default: Default::Words("none, which is a mistake"),
            about: "What callers ask for; at least one.",
        },
        Key {
            name: "objectives",
            kind: Kind::Map(&objective::OBJECTIVE, objective::OBJECTIVES_MAX),
            default: Default::Words("none"),
            about: "What is promised about routes and models, and when to alert.",
        },
        Key {
            name: "prometheus",
            kind: Kind::Table(&prometheus::PROMETHEUS),
            default: Default::Words("none is asked"),
            about: "An existing Prometheus whose numbers policies may read.",
        },
    ],
};
