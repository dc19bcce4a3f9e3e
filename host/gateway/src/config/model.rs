//! `[models.NAME]`: logical models, their releases and their rollouts.

use super::Name;
use super::breaker;
use super::check::{listed, shown};
use super::limit::{self, Limit};
use super::mistake::MistakeKind;
use super::nearest::nearest;
use super::price::{self, Price};
use super::probe::{self, Probe};
use super::provider::{Provider, ProviderKind};
use super::schema::{
    Collection, Default, Key, Kind, RELEASES_MAX, Schema, TEXT_BYTES_MAX, TIMEOUT_MS_MAX,
};
use super::section::{Resolver, Section, Text};
use backstop_core::breaker::BreakerConfig;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A logical model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name in the configuration.
    pub name: Name,
    /// Its releases in the order of the configuration; at least one.
    pub releases: Vec<Arc<Release>>,
    /// The release that serves whatever no rollout takes; one of `releases`.
    pub stable: Arc<Release>,
    /// The moving of traffic to another release.
    pub rollout: Option<Rollout>,
    /// Settings of the breaker of each release.
    pub breaker: BreakerConfig,
    /// How many calls of each release may be under way.
    pub limit: Limit,
    /// How its releases are probed.
    pub probe: Option<Probe>,
    /// Longest time of one attempt, where shorter than the route's.
    pub timeout: Option<Duration>,
    /// Tokens of its context window, where known.
    pub context_tokens: Option<u32>,
}

impl Model {
    /// The release of this name.
    pub fn release(&self, name: &str) -> Option<&Arc<Release>> {
        self.releases.iter().find(|release| *release.name == *name)
    }
}

/// One versioned deployable unit of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Its name, unique within the model.
    pub name: Name,
    /// Where its calls go.
    pub target: Arc<Target>,
    /// What a call of it costs.
    pub price: Price,
}

/// Where calls of a release go, and how its answers are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of the model.
    pub model: Name,
    /// Name of the release.
    pub release: Name,
    /// Who runs it.
    pub provider: Arc<Provider>,
    /// What the provider calls the model.
    pub upstream_model: Name,
    /// What is appended to the provider's base URL for calls of JSON models:
    /// empty, or a path with a leading slash.
    pub path: Arc<str>,
    /// Where to find what in an answer.
    pub pointers: Pointers,
}

/// JSON pointers (RFC 6901) into an answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointers {
    /// The answer itself; none means the whole body.
    pub answer: Option<Arc<str>>,
    /// A number from 0 to 1.
    pub confidence: Option<Arc<str>>,
    /// The predicted label.
    pub label: Option<Arc<str>>,
    /// An object of label to score.
    pub scores: Option<Arc<str>>,
}

/// The moving of a model's traffic from its stable release to a candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// The release that is tried; one of the model's, not the stable one.
    pub candidate: Arc<Release>,
    /// Its shares in percent, ascending, each from 1 to 99; at least one. What
    /// comes after the last one is promotion.
    pub steps: Vec<u32>,
    /// Shortest time at a share before the next.
    pub dwell: Duration,
    /// How often the rollout is assessed.
    pub tick: Duration,
    /// The policy that assesses it; without one only a person moves it.
    pub policy: Option<Name>,
}

/// The release of a model that lists none.
const ONLY_RELEASE: &str = "default";

const UPSTREAM_MODEL: Key = Key {
    name: "upstream_model",
    kind: Kind::Text(TEXT_BYTES_MAX),
    default: Default::Words("the model's name"),
    about: "What the provider calls the model.",
};

const PROVIDER: Key = Key {
    name: "provider",
    kind: Kind::Reference(Collection::Providers),
    default: Default::Words("required, unless each release names its own"),
    about: "Who runs the model.",
};

const PATH: Key = Key {
    name: "path",
    kind: Kind::Text(TEXT_BYTES_MAX),
    default: Default::Words("the base URL itself is called"),
    about: "What is appended to the base URL of a provider of kind `json`, with a slash in front.",
};

const ANSWER_POINTER: Key = Key {
    name: "answer_pointer",
    kind: Kind::Pointer,
    default: Default::Words("the whole body"),
    about: "Where the answer is in the body of a provider of kind `json`.",
};

const CONFIDENCE_POINTER: Key = Key {
    name: "confidence_pointer",
    kind: Kind::Pointer,
    default: Default::Words("log-probabilities, or none"),
    about: "Where a number from 0 to 1 says how sure the model is.",
};

const LABEL_POINTER: Key = Key {
    name: "label_pointer",
    kind: Kind::Pointer,
    default: Default::Words("no label"),
    about: "Where the predicted label is.",
};

const SCORES_POINTER: Key = Key {
    name: "scores_pointer",
    kind: Kind::Pointer,
    default: Default::Words("no scores"),
    about: "Where an object of label to score is.",
};

/// `[models.NAME]`.
pub(super) static MODEL: Schema = Schema {
    name: "models.NAME",
    about: "A logical model: what routes and policies call by name, whichever release serves it.",
    keys: &[
        PROVIDER,
        UPSTREAM_MODEL,
        PATH,
        ANSWER_POINTER,
        CONFIDENCE_POINTER,
        LABEL_POINTER,
        SCORES_POINTER,
        price::CALL,
        price::INPUT,
        price::OUTPUT,
        Key {
            name: "timeout_ms",
            kind: Kind::Integer(1, TIMEOUT_MS_MAX),
            default: Default::Words("the route's"),
            about: "Milliseconds of one attempt, where shorter than the route's.",
        },
        Key {
            name: "context_tokens",
            kind: Kind::Integer(1, CONTEXT_TOKENS_MAX),
            default: Default::Words("not known"),
            about: "Tokens of its context window. A request that was too long for one model goes \
                    on only to models with a larger window, or with one that is not known.",
        },
        Key {
            name: "breaker",
            kind: Kind::Table(&breaker::BREAKER),
            default: Default::Words("its defaults"),
            about: "When the model is no longer called.",
        },
        Key {
            name: "limit",
            kind: Kind::Table(&limit::LIMIT),
            default: Default::Words("its defaults"),
            about: "How many calls of each release may be under way.",
        },
        Key {
            name: "probe",
            kind: Kind::Table(&probe::PROBE),
            default: Default::Words("none"),
            about: "Asking whether the model's servers are well.",
        },
        Key {
            name: "releases",
            kind: Kind::List(&RELEASE, RELEASES_MAX),
            default: Default::Words("one release named `default`"),
            about: "The model's releases; what one does not say is taken from the model.",
        },
        Key {
            name: "stable",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Words("the first release"),
            about: "The release that serves whatever no rollout takes.",
        },
        Key {
            name: "rollout",
            kind: Kind::Table(&ROLLOUT),
            default: Default::Words("none"),
            about: "The moving of traffic to another release.",
        },
    ],
};

/// `[[models.NAME.releases]]`.
pub(super) static RELEASE: Schema = Schema {
    name: "models.NAME.releases[]",
    about: "One versioned deployable unit of a model.",
    keys: &[
        Key {
            name: "name",
            kind: Kind::Name,
            default: Default::Required,
            about: "Its name, unique within the model.",
        },
        Key {
            default: Default::Words("the model's"),
            ..PROVIDER
        },
        Key {
            default: Default::Words("the model's"),
            ..UPSTREAM_MODEL
        },
        Key {
            default: Default::Words("the model's"),
            ..PATH
        },
        Key {
            default: Default::Words("the model's"),
            ..ANSWER_POINTER
        },
        Key {
            default: Default::Words("the model's"),
            ..CONFIDENCE_POINTER
        },
        Key {
            default: Default::Words("the model's"),
            ..LABEL_POINTER
        },
        Key {
            default: Default::Words("the model's"),
            ..SCORES_POINTER
        },
        Key {
            default: Default::Words("the model's"),
            ..price::CALL
        },
        Key {
            default: Default::Words("the model's"),
            ..price::INPUT
        },
        Key {
            default: Default::Words("the model's"),
            ..price::OUTPUT
        },
    ],
};

/// Largest context window.
const CONTEXT_TOKENS_MAX: u64 = 1_000_000_000;

/// Most steps of a rollout.
const ROLLOUT_STEPS_MAX: usize = 20;

/// `[models.NAME.rollout]`.
pub(super) static ROLLOUT: Schema = Schema {
    name: "models.NAME.rollout",
    about: "A candidate takes over a model's traffic share by share, or gives it back.",
    keys: &[
        Key {
            name: "candidate",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Required,
            about: "The release that is tried; one of the model's, not the stable one.",
        },
        Key {
            name: "steps",
            kind: Kind::Integers(ROLLOUT_STEPS_MAX, 1, 99),
            default: Default::Integers(&[5, 25, 50]),
            about: "The candidate's shares in percent, ascending; after the last it is promoted.",
        },
        Key {
            name: "dwell_s",
            kind: Kind::Integer(0, 604_800),
            default: Default::Integer(60),
            about: "Shortest time at a share, in seconds.",
        },
        Key {
            name: "tick_ms",
            kind: Kind::Integer(50, 3_600_000),
            default: Default::Integer(1_000),
            about: "How often the rollout is assessed, in milliseconds.",
        },
        Key {
            name: "policy",
            kind: Kind::Reference(Collection::Policies),
            default: Default::Words("only a person moves it"),
            about: "The policy that assesses it, with the decision point `rollback`.",
        },
    ],
};

/// Resolves a model; none after a mistake.
pub(super) fn resolve(
    cx: &mut Resolver<'_>,
    name: &Name,
    section: &Section<'_>,
    providers: &BTreeMap<Name, Arc<Provider>>,
    policies: &BTreeMap<Name, Name>,
) -> Option<Model> {
    let breaker = breaker::resolve(cx, &section.section("breaker"));
    let releases = resolve_releases(cx, name, section, providers);
    let names: Vec<Text<'_>> = section
        .list("releases")
        .iter()
        .filter_map(|release| release.text_if_set("name"))
        .collect();
    let stable_name = section.text_if_set("stable");
    let is_known = stable_name.is_none_or(|text| is_release(cx, section, "stable", text, &names));
    let find = |name: &str| {
        releases
            .iter()
            .find(|release| *release.name == *name)
            .cloned()
    };
    let stable = match stable_name {
        Some(text) if is_known => find(text.text),
        _ => releases.first().cloned(),
    };
    let first = names.first().map_or(ONLY_RELEASE, |first| first.text);
    let stable_name = stable_name.map_or(first, |text| text.text);
    let rollout = section.section("rollout");
    let rollout = (rollout.is_present())
        .then(|| resolve_rollout(cx, &rollout, &names, stable_name, &releases, policies));
    Some(Model {
        name: name.clone(),
        stable: stable?,
        releases,
        rollout: rollout.flatten(),
        breaker,
        probe: probe::resolve(&section.section("probe")),
        limit: limit::resolve(cx, &section.section("limit")),
        context_tokens: section.integer_if_set("context_tokens"),
        timeout: section
            .integer_if_set("timeout_ms")
            .map(Duration::from_millis),
    })
}

/// Notes a release that the model does not have.
fn is_release(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    key: &str,
    text: Text<'_>,
    names: &[Text<'_>],
) -> bool {
    let known = || names.iter().map(|name| name.text);
    if known().any(|name| name == text.text) || (names.is_empty() && text.text == ONLY_RELEASE) {
        return true;
    }
    // The check has spoken about an empty text.
    if !text.text.is_empty() {
        let near = nearest(text.text, known());
        let path = section.key_path(key);
        let mut message = format!("`{path}` names unknown release `{}`", shown(text.text));
        if near.is_none() {
            let only = [ONLY_RELEASE];
            let all: Vec<&str> = known().collect();
            let all: &[&str] = if all.is_empty() { &only } else { &all };
            message.push_str(&format!("; the model has {}", listed(all.iter().copied())));
        }
        cx.note(MistakeKind::UnknownName, section, key, message)
            .nearest(near);
    }
    false
}

fn resolve_releases(
    cx: &mut Resolver<'_>,
    name: &Name,
    section: &Section<'_>,
    providers: &BTreeMap<Name, Arc<Provider>>,
) -> Vec<Arc<Release>> {
    let sections = section.list("releases");
    if sections.is_empty() {
        let release = resolve_release(cx, name, ONLY_RELEASE.into(), &[section], providers);
        return release.into_iter().map(Arc::new).collect();
    }
    let mut seen: Vec<Text<'_>> = Vec::new();
    let mut releases = Vec::new();
    for release in &sections {
        let Some(text) = release.text_if_set("name") else {
            continue;
        };
        if let Some(first) = seen.iter().find(|known| known.text == text.text) {
            let message = format!(
                "release `{}` of model `{name}` is defined twice",
                shown(text.text)
            );
            cx.note(MistakeKind::Duplicate, release, "name", message)
                .first(first.place);
            continue;
        }
        seen.push(text);
        let layers = [release, section];
        releases
            .extend(resolve_release(cx, name, text.text.into(), &layers, providers).map(Arc::new));
    }
    releases
}

/// Resolves a release from its own section and the model's behind it.
fn resolve_release(
    cx: &mut Resolver<'_>,
    model: &Name,
    release: Name,
    layers: &[&Section<'_>],
    providers: &BTreeMap<Name, Arc<Provider>>,
) -> Option<Release> {
    let layer = |key: &str| layers.iter().find(|section| section.node(key).is_some());
    let find = |key: &str| {
        let found = layer(key)?;
        Some((*found, found.text_if_set(key)?))
    };
    let price = |key: &Key| -> u64 {
        let set = layer(key.name).and_then(|section| section.integer_if_set(key.name));
        set.unwrap_or_default()
    };
    let price = Price {
        call_micros: price(&price::CALL),
        input_micros: price(&price::INPUT),
        output_micros: price(&price::OUTPUT),
    };
    let text = |key: &str| find(key).map(|(_, text)| Arc::from(text.text));
    let target_of = |provider: Arc<Provider>| Target {
        model: model.clone(),
        release: release.clone(),
        provider,
        upstream_model: text("upstream_model").unwrap_or_else(|| model.clone()),
        path: text("path").unwrap_or_default(),
        pointers: Pointers {
            answer: text("answer_pointer"),
            confidence: text("confidence_pointer"),
            label: text("label_pointer"),
            scores: text("scores_pointer"),
        },
    };
    let Some((_, provider)) = find("provider") else {
        if layers
            .iter()
            .all(|section| section.node("provider").is_none())
        {
            let message = format!("`{}` needs `provider`", layers[0].path);
            cx.note(MistakeKind::MissingKey, layers[0], "provider", message);
        }
        return None;
    };
    // Unknown names are noted by the check, broken providers where they stand.
    let provider = providers.get(provider.text)?;
    if !matches!(provider.kind, ProviderKind::Json(_)) {
        for key in ["path", "answer_pointer"] {
            if let Some((section, _)) = find(key) {
                let message = format!(
                    "`{}` means something only with a provider of kind `json`, but `{}` is of kind `{}`",
                    section.key_path(key),
                    provider.name,
                    provider.kind.as_str()
                );
                cx.note(MistakeKind::Conflict, section, key, message);
            }
        }
    } else {
        if let Some((section, path)) = find("path")
            && !is_path(path.text)
        {
            let message = format!(
                "`{}` is no path: it begins with `/` and holds what a URL may hold",
                section.key_path("path")
            );
            cx.note(MistakeKind::Invalid, section, "path", message);
        }
        for key in [price::INPUT.name, price::OUTPUT.name] {
            if let Some(section) = layer(key) {
                let message = format!(
                    "`{}` is a price of tokens, which nobody counts for provider `{}` of kind `json`; use `{}`",
                    section.key_path(key),
                    provider.name,
                    price::CALL.name
                );
                cx.note(MistakeKind::Conflict, section, key, message);
            }
        }
    }
    Some(Release {
        price,
        target: Arc::new(target_of(provider.clone())),
        name: release,
    })
}

fn is_path(path: &str) -> bool {
    path.is_empty() || path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok()
}

fn resolve_rollout(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    names: &[Text<'_>],
    stable: &str,
    releases: &[Arc<Release>],
    policies: &BTreeMap<Name, Name>,
) -> Option<Rollout> {
    let steps: Vec<u32> = section
        .integers("steps")
        .into_iter()
        .map(|percent| u32::try_from(percent).unwrap_or(u32::MAX))
        .collect();
    if !steps.is_sorted_by(|a, b| a < b) {
        let message = format!("`{}` must ascend", section.key_path("steps"));
        cx.note(MistakeKind::Invalid, section, "steps", message);
    }
    let policy = section.text_if_set("policy");
    let candidate = section.text_if_set("candidate")?;
    if !is_release(cx, section, "candidate", candidate, names) {
        return None;
    }
    if candidate.text == stable {
        let message = format!(
            "`{}` is `{stable}`, which is the stable release already",
            section.key_path("candidate")
        );
        cx.note(MistakeKind::Conflict, section, "candidate", message);
    }
    let is_candidate = |release: &&Arc<Release>| *release.name == *candidate.text;
    Some(Rollout {
        candidate: releases.iter().find(is_candidate)?.clone(),
        steps,
        dwell: Duration::from_secs(section.integer("dwell_s")),
        tick: section.millis("tick_ms"),
        policy: policy.and_then(|text| policies.get(text.text).cloned()),
    })
}
