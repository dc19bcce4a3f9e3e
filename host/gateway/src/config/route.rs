//! `[routes.NAME]`: what callers ask for.

use super::Name;
use super::callback::{self, AllowedUrl};
use super::check::{is_pointer, shown};
use super::feature::{self, Feature};
use super::feedback::{self, Feedback};
use super::mistake::MistakeKind;
use super::model::Model;
use super::provider::ProviderKind;
use super::retry::{self, Hedge, Retry};
use super::rules::{Rules, RulesBody};
use super::schema::{
    Collection, Default, Key, Kind, ROUTE_MODELS_MAX, ROUTE_RULES_MAX, Schema, TAGS_MAX,
    TEXT_BYTES_MAX, TIMEOUT_MS_MAX,
};
use super::section::{Resolver, Section};
use super::source::Place;
use super::stream::{self, Stream};
use crate::openai::Api;
use backstop_core::fault::FailureClasses;
use backstop_core::limit::Priority;
use backstop_core::plan::{Action, CallStep, Plan, RaceStep, STAGGER_MS_MAX, STEPS_MAX, Step};
use http::HeaderName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A named AI capability.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name: the `model` of a chat request, or the last part of
    /// `/v1/predict/{route}`.
    pub name: Name,
    /// What it speaks.
    pub kind: RouteKind,
    /// Its models in the order of preference.
    pub models: Vec<Arc<Model>>,
    /// Its rules in the order of preference.
    pub rules: Vec<Arc<Rules>>,
    /// Whether requests may be sent to people.
    pub review: bool,
    /// How much its requests matter where a model cannot serve all.
    pub priority: Priority,
    /// Where its callers may be called back about reviews; none where
    /// [`Callbacks::allow`](super::Callbacks::allow) says so.
    pub callback_allow: Option<Vec<AllowedUrl>>,
    /// The policy that plans; without one the default plan is executed.
    pub fallback: Option<Name>,
    /// The policy that judges answers; without one all are accepted.
    pub threshold: Option<Name>,
    /// Longest times of one attempt.
    pub timeouts: Timeouts,
    /// How long a request may take until its answer begins to reach the
    /// caller, over all steps.
    pub deadline: Duration,
    /// How calls are repeated.
    pub retry: Retry,
    /// How a second model is asked while the first one is at it.
    pub hedge: Hedge,
    /// Whether a call may be repeated that the model may have acted on.
    pub idempotent: bool,
    /// What is done when no model of a plan can be called.
    pub when_unavailable: Unavailable,
    /// Whether plans may go on to another model after one has declined the
    /// content of a request.
    pub route_round_refusals: bool,
    /// How answers are streamed.
    pub stream: Stream,
    /// Facts that policies see, by name.
    pub tags: Vec<(Name, FactSource)>,
    /// How it takes feedback; none where its answers are not remembered.
    pub feedback: Option<Arc<Feedback>>,
    /// What is watched in its requests and answers.
    pub features: Vec<Feature>,
    /// What ties a caller to a release; without it, or where it is absent from
    /// a request, each request is split on its own.
    pub sticky: Option<FactSource>,
    /// The plan of a route without a fallback policy, and of one whose policy
    /// failed: the models in order, then the first rules, else review. Passes
    /// [`Plan::check`]; with neither models, rules nor review there is no route.
    pub default_plan: Arc<Plan>,
}

/// What a route speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// An operation of OpenAI's API.
    OpenAi(Api),
    /// Any JSON.
    Json,
}

impl RouteKind {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteKind::OpenAi(api) => api.as_str(),
            RouteKind::Json => "json",
        }
    }

    /// The operation of OpenAI's API that it is; none for JSON.
    pub fn api(self) -> Option<Api> {
        match self {
            RouteKind::OpenAi(api) => Some(api),
            RouteKind::Json => None,
        }
    }
}

/// What is done when no model of a plan can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The caller is told, and when to come again.
    Fail,
    /// The first that may be back is waited for, so long at most.
    Wait(Duration),
    /// The one that fails least is called, one request at a time.
    LeastBad,
}

/// Longest times of one attempt; a plan's step may ask for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The attempt as a whole.
    pub total: Duration,
    /// Until the first token of a stream or the head of a response.
    pub first_token: Duration,
    /// Between two pieces of a stream.
    pub idle: Duration,
}

/// Where a fact about a request is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactSource {
    /// In a header.
    Header(HeaderName),
    /// In the JSON body, at this pointer (RFC 6901).
    Body(Arc<str>),
}

impl FactSource {
    /// `header:NAME`, or `body:` and a JSON pointer.
    pub(super) fn read(text: &str) -> Option<FactSource> {
        match text.split_once(':')? {
            ("header", name) => HeaderName::from_bytes(name.as_bytes())
                .ok()
                .map(FactSource::Header),
            ("body", pointer) if is_pointer(pointer) => Some(FactSource::Body(pointer.into())),
            _ => None,
        }
    }
}

/// The plan of a route on its own: see [`Route::default_plan`]. A plan holds
/// 16 steps, so that of more models the first 15 are tried.
pub(super) fn default_plan(
    models: &[Arc<Model>],
    rules: &[Arc<Rules>],
    review: bool,
    retries: u8,
    hedge: Option<Duration>,
) -> Plan {
    let mut calls = models.iter().map(|model| CallStep {
        model: model.name.clone(),
        timeout_ms: 0,
        first_token_ms: 0,
        retries,
        move_on: FailureClasses::MODEL_FAULTS,
    });
    let mut steps = Vec::new();
    if let (Some(after), true) = (hedge, models.len() > 1) {
        steps.push(Step {
            action: Action::Race(RaceStep {
                calls: calls.by_ref().take(2).collect(),
                stagger_ms: u32::try_from(after.as_millis()).unwrap_or(STAGGER_MS_MAX),
            }),
            reason: "default plan: the route's first two models".into(),
        });
    }
    steps.extend(calls.take(STEPS_MAX - 1 - steps.len()).map(|call| Step {
        reason: format!("default plan: model `{}` of the route", call.model),
        action: Action::Call(call),
    }));
    if let Some(rules) = rules.first() {
        steps.push(Step {
            action: Action::Rules(rules.name.clone()),
            reason: "default plan: no model answered".into(),
        });
    } else if review {
        steps.push(Step {
            action: Action::Review {
                note: "no model answered".into(),
            },
            reason: "default plan: no model answered".into(),
        });
    }
    steps.into()
}

/// `[routes.NAME]`.
pub(super) static ROUTE: Schema = Schema {
    name: "routes.NAME",
    about: "What callers ask for: a chat route by the `model` of the request, a JSON route at \
            `/v1/predict/NAME`. It needs a model, rules or review.",
    keys: &[
        Key {
            name: "kind",
            kind: Kind::Choice(&["chat", "completions", "embeddings", "responses", "json"]),
            default: Default::Required,
            about: "`chat` speaks OpenAI's `/v1/chat/completions`, and `completions`, `embeddings` and \
                `responses` what is at these paths of it; `json` any JSON.",
        },
        Key {
            name: "models",
            kind: Kind::References(Collection::Models, ROUTE_MODELS_MAX),
            default: Default::Words("none"),
            about: "Its models in the order of preference.",
        },
        Key {
            name: "rules",
            kind: Kind::References(Collection::Rules, ROUTE_RULES_MAX),
            default: Default::Words("none"),
            about: "Its rules in the order of preference.",
        },
        Key {
            name: "review",
            kind: Kind::Bool,
            default: Default::Bool(false),
            about: "Whether requests may be sent to people.",
        },
        callback::ROUTE_KEY,
        Key {
            name: "priority",
            kind: Kind::Choice(&["critical", "normal", "sheddable"]),
            default: Default::Text("normal"),
            about: "How much its requests matter where a model has as many calls as its `limit` \
                    lets it: `critical` ones are served first and shed last, `sheddable` ones \
                    served last and shed first.",
        },
        Key {
            name: "fallback",
            kind: Kind::Reference(Collection::Policies),
            default: Default::Words("the models in order, then the first rules, else review"),
            about: "The policy that plans, with the decision point `fallback`.",
        },
        Key {
            name: "threshold",
            kind: Kind::Reference(Collection::Policies),
            default: Default::Words("every answer is accepted"),
            about: "The policy that judges answers, with the decision point `threshold`.",
        },
        Key {
            name: "timeout_ms",
            kind: Kind::Integer(1, TIMEOUT_MS_MAX),
            default: Default::Integer(120_000),
            about: "Milliseconds of one attempt.",
        },
        Key {
            name: "first_token_ms",
            kind: Kind::Integer(1, TIMEOUT_MS_MAX),
            default: Default::Integer(30_000),
            about: "Milliseconds until the first token of a stream, or the head of a response.",
        },
        Key {
            name: "idle_ms",
            kind: Kind::Integer(1, TIMEOUT_MS_MAX),
            default: Default::Integer(30_000),
            about: "Milliseconds between two pieces of a stream.",
        },
        Key {
            name: "deadline_ms",
            kind: Kind::Integer(1, DEADLINE_MS_MAX),
            default: Default::Integer(300_000),
            about: "Milliseconds until an answer begins to reach its caller, over all steps: half \
                    of what OpenAI's clients wait. Callers may shorten it with the header \
                    `x-backstop-timeout-ms`.",
        },
        Key {
            name: "idempotent",
            kind: Kind::Bool,
            default: Default::Words("false for `json`, else true"),
            about: "Whether a call may be repeated that the model may have acted on. What chat \
                    models do has no effect but its cost; of other models only you know.",
        },
        Key {
            name: "when_unavailable",
            kind: Kind::Choice(&["fail", "wait", "least-bad"]),
            default: Default::Text("fail"),
            about: "What is done when no model of a plan can be called and nothing else answers: \
                    `fail` with 503 and `Retry-After`; `wait` for the first that may be back and \
                    try once more; call the `least-bad` past its breaker, one request at a time.",
        },
        Key {
            name: "unavailable_wait_ms",
            kind: Kind::Integer(1, TIMEOUT_MS_MAX),
            default: Default::Integer(5_000),
            about: "With `wait`: milliseconds beyond which it is not waited.",
        },
        Key {
            name: "route_round_refusals",
            kind: Kind::Bool,
            default: Default::Bool(false),
            about: "Whether a plan that says so goes on to another model after one has declined \
                    the content of a request.",
        },
        Key {
            name: "retry",
            kind: Kind::Table(&retry::RETRY),
            default: Default::Words("its defaults"),
            about: "How calls are repeated.",
        },
        Key {
            name: "hedge",
            kind: Kind::Table(&retry::HEDGE),
            default: Default::Words("its defaults"),
            about: "How a second model is asked while the first one is still at it.",
        },
        Key {
            name: "stream",
            kind: Kind::Table(&stream::STREAM),
            default: Default::Words("its defaults"),
            about: "How answers are streamed.",
        },
        Key {
            name: "tags",
            kind: Kind::Pairs(TAGS_MAX),
            default: Default::Words("none"),
            about: "Facts that policies see, by name: `header:NAME`, or `body:` and a JSON pointer.",
        },
        Key {
            name: "feedback",
            kind: Kind::Table(&feedback::FEEDBACK),
            default: Default::Words("no feedback is taken"),
            about: "How answers are remembered, and what is counted of what is said about them.",
        },
        Key {
            name: "features",
            kind: Kind::Map(&feature::FEATURE, feature::FEATURES_MAX),
            default: Default::Words("none"),
            about: "Parts of requests and answers whose quality and drift are watched.",
        },
        Key {
            name: "sticky",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Words("each request is split on its own"),
            about: "What ties a caller to a release: `header:NAME`, or `body:` and a JSON pointer.",
        },
    ],
};

/// Longest deadline of a request: an hour.
const DEADLINE_MS_MAX: u64 = 3_600_000;

/// What routes refer to. A name with nothing behind it was noted elsewhere.
pub(super) struct Known<'k> {
    pub(super) models: &'k BTreeMap<Name, Arc<Model>>,
    pub(super) rules: &'k BTreeMap<Name, Arc<Rules>>,
    pub(super) policies: &'k BTreeMap<Name, Name>,
    pub(super) has_callback_secret: bool,
}

/// Resolves a route.
pub(super) fn resolve(
    cx: &mut Resolver<'_>,
    name: Name,
    section: &Section<'_>,
    known: &Known<'_>,
) -> Route {
    let word = section.text("kind").text;
    let api = Api::ALL.into_iter().find(|api| api.as_str() == word);
    let kind = match (word, api) {
        ("json", _) => RouteKind::Json,
        (_, api) => RouteKind::OpenAi(api.unwrap_or(Api::Chat)),
    };
    let review = section.boolean("review");
    let model_names = section.texts("models");
    let models: Vec<Arc<Model>> = model_names
        .iter()
        .filter_map(|text| known.models.get(text.text).cloned())
        .collect();
    if word == "json" || api.is_some() {
        for text in &model_names {
            if let Some(model) = known.models.get(text.text) {
                check_kinds(cx, section, kind, model, text.place);
            }
        }
    }
    let rule_names = section.texts("rules");
    let rules: Vec<Arc<Rules>> = rule_names
        .iter()
        .filter_map(|text| known.rules.get(text.text).cloned())
        .collect();
    if kind == RouteKind::OpenAi(Api::Embeddings) {
        check_vectors(cx, section, &rules);
    }
    let is_empty = |key| {
        section.node(key).is_none() || section.texts_if_set(key).is_some_and(|t| t.is_empty())
    };
    if is_empty("models") && is_empty("rules") && !review {
        let message = format!(
            "`{}` needs `models`, `rules` or `review = true`",
            section.path
        );
        cx.note(MistakeKind::MissingKey, section, "models", message);
    }
    let policy = |key| {
        let text = section.text_if_set(key)?;
        known.policies.get(text.text).cloned()
    };
    let unavailable_wait = section.millis("unavailable_wait_ms");
    let retry = retry::resolve(&section.section("retry"));
    let hedge = retry::resolve_hedge(&section.section("hedge"));
    let default_plan = default_plan(&models, &rules, review, retry.retries, hedge.after);
    Route {
        name,
        kind,
        models,
        rules,
        review,
        priority: priority(section.text("priority").text),
        callback_allow: callback::resolve_route(cx, section, known.has_callback_secret),
        fallback: policy("fallback"),
        threshold: policy("threshold"),
        timeouts: resolve_timeouts(cx, section),
        deadline: section.millis("deadline_ms"),
        retry,
        hedge,
        idempotent: section
            .boolean_if_set("idempotent")
            .unwrap_or(kind != RouteKind::Json),
        when_unavailable: match section.text("when_unavailable").text {
            "wait" => Unavailable::Wait(unavailable_wait),
            "least-bad" => Unavailable::LeastBad,
            _ => Unavailable::Fail,
        },
        route_round_refusals: section.boolean("route_round_refusals"),
        stream: stream::resolve(&section.section("stream")),
        feedback: {
            let tags: Vec<_> = section
                .pairs("tags")
                .iter()
                .map(|(name, _)| name.text)
                .collect();
            feedback::resolve(cx, &section.section("feedback"), &tags)
        },
        tags: resolve_tags(cx, section),
        features: feature::resolve(cx, section),
        sticky: section.text_if_set("sticky").and_then(|text| {
            let path = section.key_path("sticky");
            fact_source(cx, text.text, text.place, &path)
        }),
        default_plan: Arc::new(default_plan),
    }
}

fn priority(word: &str) -> Priority {
    let mut all = Priority::ALL.into_iter();
    all.find(|priority| priority.as_str() == word)
        .unwrap_or_default()
}

/// A text is no vector: rules of an embeddings route say the whole answer.
fn check_vectors(cx: &mut Resolver<'_>, section: &Section<'_>, rules: &[Arc<Rules>]) {
    let text = rules
        .iter()
        .find(|rules| matches!(rules.body, RulesBody::Text(_)));
    if let Some(rules) = text {
        let message = format!(
            "`{}` is an embeddings route, but its rules `{}` are a text; say the whole answer in `json`",
            section.path, rules.name
        );
        cx.note(MistakeKind::Conflict, section, "rules", message);
    }
}

/// Every release of a model has to speak what the route speaks.
fn check_kinds(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    kind: RouteKind,
    model: &Model,
    place: Place,
) {
    for release in &model.releases {
        let provider = &release.target.provider;
        let fits = match provider.kind {
            ProviderKind::Openai(_) => kind.api().is_some(),
            ProviderKind::Json(_) => kind == RouteKind::Json,
            ProviderKind::Simulated(_) => true,
        };
        if !fits {
            let path = section.key_path("models");
            let message = format!(
                "`{}` is a {} route, but release `{}` of its model `{}` has provider `{}` of kind `{}`",
                section.path,
                kind.as_str(),
                release.name,
                model.name,
                provider.name,
                provider.kind.as_str()
            );
            cx.mistakes.add(MistakeKind::Conflict, place, path, message);
            return;
        }
    }
}

fn resolve_timeouts(cx: &mut Resolver<'_>, section: &Section<'_>) -> Timeouts {
    let total = section.millis("timeout_ms");
    let mut within = |key: &str| {
        let time = section.millis(key);
        let both_set = section.node(key).is_some() && section.node("timeout_ms").is_some();
        let is_in_range = time.as_millis() <= u128::from(TIMEOUT_MS_MAX) && !total.is_zero();
        if time > total && both_set && is_in_range {
            let path = section.key_path(key);
            let message = format!(
                "`{path}` is {}, longer than the attempt as a whole, `timeout_ms` = {}",
                time.as_millis(),
                total.as_millis()
            );
            cx.note(MistakeKind::Conflict, section, key, message);
        }
        time.min(total)
    };
    Timeouts {
        total,
        first_token: within("first_token_ms"),
        idle: within("idle_ms"),
    }
}

fn resolve_tags(cx: &mut Resolver<'_>, section: &Section<'_>) -> Vec<(Name, FactSource)> {
    let path = section.key_path("tags");
    section
        .pairs("tags")
        .into_iter()
        .filter_map(|(name, source)| {
            let path = super::check::below(&path, name.text);
            let source = fact_source(cx, source.text, source.place, &path)?;
            Some((Name::from(name.text), source))
        })
        .collect()
}

fn fact_source(cx: &mut Resolver<'_>, text: &str, place: Place, path: &str) -> Option<FactSource> {
    let found = FactSource::read(text);
    if found.is_none() && !text.is_empty() {
        let message = format!(
            "`{path}` is `{}`, must be `header:NAME`, or `body:` and a JSON pointer such as `body:/user`",
            shown(text)
        );
        cx.mistakes.add(MistakeKind::Invalid, place, path, message);
    }
    found
}
