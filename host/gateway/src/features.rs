//! Features of requests and answers: looked at as they pass, and recorded as
//! evidence.
//!
//! What is declared and how it is judged is `backstop_core::feature`'s; here is
//! where values come from and where what was seen goes: the metrics
//! `feature:NAME`, `feature:NAME:missing` and `feature:NAME:invalid`, of the route
//! and, for answers, of their model and release, and a counter of what is wrong.
//!
//! Always holds: a request is served whatever its features are; a route without
//! features pays nothing; a body is parsed once for all of them.

mod detector;
mod judges;

pub(crate) use judges::Judges;

use crate::clock::Clock;
use crate::config::{self, FactSource, FeatureAt, FeatureOf, RouteKind};
use crate::evidence::Evidence;
use crate::openai::Api;
use crate::plant::Route;
use crate::release::Release;
use crate::store::Incidents;
use crate::telemetry::Telemetry;
use backstop_core::evidence::{MetricKind, Series, SeriesError, SubjectRef};
use backstop_core::feature::{FeatureKind, Found, Looked, Problem, Texts};
use detector::Detector;
use http::HeaderMap;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Longest text that is looked at: where more of it counts for nothing but its
/// length, that is this.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;

/// The features of a route, with its own series.
#[derive(Debug, Default)]
pub(crate) struct Features {
    of_requests: Vec<Watched>,
    of_answers: Vec<Watched>,
}

/// A feature and where it is recorded.
#[derive(Debug)]
struct Watched {
    spec: config::Feature,
    series: FeatureSeries,
    detector: Option<Detector>,
}

/// The series of a feature for one subject.
#[derive(Debug)]
struct FeatureSeries {
    value: Option<Arc<Series>>,
    missing: Option<Arc<Series>>,
    invalid: Option<Arc<Series>>,
}

fn metric(name: &str, of: &str) -> String {
    format!("feature:{name}{of}")
}

/// The kind of a feature's own metric; none where there is nothing but right
/// and wrong.
fn kind(feature: &config::Feature) -> Option<MetricKind> {
    match feature.declared.kind {
        FeatureKind::Number { .. } | FeatureKind::Length | FeatureKind::Judged => {
            Some(MetricKind::Value)
        }
        FeatureKind::Category { .. } | FeatureKind::Refusal { .. } | FeatureKind::Language => {
            Some(MetricKind::Category)
        }
        FeatureKind::Json => None,
    }
}

/// Makes the metrics of `features` known.
///
/// # Errors
///
/// The first that is known as of another kind, or is one too many.
pub(crate) fn declare(
    evidence: &Evidence,
    features: &[config::Feature],
) -> Result<(), SeriesError> {
    let store = evidence.store();
    for feature in features {
        if let Some(kind) = kind(feature) {
            store.declare(&metric(&feature.name, ""), kind)?;
        }
        for of in [":missing", ":invalid"] {
            store.declare(&metric(&feature.name, of), MetricKind::Rate)?;
        }
    }
    Ok(())
}

impl FeatureSeries {
    fn of(evidence: &Evidence, feature: &config::Feature, subject: SubjectRef<'_>) -> Self {
        let store = evidence.store();
        let name = &feature.name;
        let rate = |of| store.rate_series(&metric(name, of), subject).ok();
        let value = metric(name, "");
        FeatureSeries {
            value: match kind(feature) {
                Some(MetricKind::Value) => store.value_series(&value, subject).ok(),
                Some(_) => store.category_series(&value, subject).ok(),
                None => None,
            },
            missing: rate(":missing"),
            invalid: rate(":invalid"),
        }
    }

    fn record(&self, now_ms: u64, looked: &Looked<'_>, required: bool) {
        let is_missing = *looked == Looked::Missing;
        let is_wrong = matches!(looked, Looked::Wrong(_)) || (is_missing && required);
        for (series, event) in [(&self.missing, is_missing), (&self.invalid, is_wrong)] {
            if let Some(series) = series {
                series.record_rate(now_ms, event);
            }
        }
        match (&self.value, looked) {
            (Some(series), Looked::Number(number)) => {
                series.record_value(now_ms, *number);
            }
            (Some(series), Looked::Category(category)) => {
                series.record_category(now_ms, now_ms, category);
            }
            _ => {}
        }
    }
}

impl Features {
    /// The features of a route, with their series. What does not fit into the
    /// store is not kept, and the store counts that.
    pub(crate) fn build(spec: &config::Route, evidence: &Evidence) -> Self {
        let of = |of: FeatureOf| {
            let route = SubjectRef::Route(&spec.name);
            let watched = |feature: &config::Feature| Watched {
                series: FeatureSeries::of(evidence, feature, route),
                detector: feature.detector.map(Detector::new),
                spec: feature.clone(),
            };
            let features = spec.features.iter().filter(|feature| feature.of == of);
            features.map(watched).collect()
        };
        Features {
            of_requests: of(FeatureOf::Request),
            of_answers: of(FeatureOf::Answer),
        }
    }

    /// True when something of a request's body is looked at.
    pub(crate) fn needs_request_body(&self) -> bool {
        let header = |at: &FeatureAt| matches!(at, FeatureAt::Fact(FactSource::Header(_)));
        self.of_requests.iter().any(|one| !header(&one.spec.at))
    }

    /// True when the text of answers is needed after they have passed.
    pub(crate) fn needs_answer_text(&self) -> bool {
        !self.of_answers.is_empty()
    }
}

/// Where what is seen is counted.
pub(crate) struct Counting<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) telemetry: &'a Telemetry,
    pub(crate) judges: &'a Judges,
    pub(crate) incidents: &'a Incidents,
    pub(crate) clock: Clock,
}

impl Counting<'_> {
    /// Looks at a request to `route`, of which `body` is the document, where it
    /// is one.
    pub(crate) fn request(&self, route: &Route, headers: &HeaderMap, body: Option<&Value>) {
        for one in &route.features().of_requests {
            let text;
            let found = match &one.spec.at {
                FeatureAt::Fact(FactSource::Header(name)) => headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .map_or(Found::Nothing, |text| in_header(&one.spec, text)),
                FeatureAt::Fact(FactSource::Body(pointer)) => at(body, pointer),
                FeatureAt::Text => {
                    text = body.and_then(said);
                    text.as_deref().map_or(Found::Nothing, Found::Text)
                }
            };
            self.look(route, one, found, None);
        }
    }

    /// Looks at an answer that is delivered whole.
    pub(crate) fn answer(&self, route: &Route, release: &Release, body: &[u8]) {
        let features = &route.features().of_answers;
        if features.is_empty() {
            return;
        }
        let body: Option<Value> = serde_json::from_slice(body).ok();
        for one in features {
            let text;
            let found = match &one.spec.at {
                FeatureAt::Fact(FactSource::Body(pointer)) => at(body.as_ref(), pointer),
                FeatureAt::Fact(FactSource::Header(_)) => Found::Nothing,
                FeatureAt::Text => {
                    text = body.as_ref().and_then(|body| answered(route.kind(), body));
                    text.as_deref().map_or(Found::Nothing, Found::Text)
                }
            };
            self.look(route, one, found, Some(release));
        }
    }

    /// Looks at an answer whose stream has passed, of which this is the text.
    /// What is in a body is not looked for: it has none.
    pub(crate) fn streamed(&self, route: &Route, release: &Release, text: &str) {
        for one in &route.features().of_answers {
            if one.spec.at == FeatureAt::Text {
                self.look(route, one, Found::Text(text), Some(release));
            }
        }
    }

    fn look(&self, route: &Route, one: &Watched, found: Found<'_>, release: Option<&Release>) {
        let found = match found {
            Found::Text(text) => Found::Text(backstop_core::text::cut(text, TEXT_BYTES_MAX)),
            other => other,
        };
        let declared = &one.spec.declared;
        let looked = declared.look(found, &Libraries);
        let now_ms = self.clock.now_ms();
        let record = |series: &FeatureSeries| {
            series.record(now_ms, &looked, declared.required);
        };
        record(&one.series);
        if let Some(release) = release {
            let (model, release) = (release.model(), release.name());
            let of_model = SubjectRef::Model(model);
            let of_release = SubjectRef::Release { model, release };
            for of in [of_model, of_release] {
                record(&FeatureSeries::of(self.evidence, &one.spec, of));
            }
        }
        if let (Some(detector), Looked::Number(number)) = (&one.detector, &looked)
            && let Some(shift) = detector.see(*number)
        {
            let of = (&**route.name(), &*one.spec.name);
            detector::tell(shift, of, self.telemetry, self.incidents);
        }
        if let (Some(release), Some(judge), Found::Text(text)) = (release, &one.spec.judge, found)
            && fastrand::f64() < judge.sample
        {
            self.judges.hear(judges::Case {
                feature: one.spec.name.clone(),
                judge: judge.model.clone(),
                prompt: judge.prompt.clone(),
                text: text.to_owned(),
                route: route.name().clone(),
                model: release.model().clone(),
                release: release.name().clone(),
                at_ms: now_ms,
            });
        }
        let problem = match looked {
            Looked::Wrong(problem) => Some(problem),
            Looked::Missing if declared.required => Some(Problem::Missing),
            _ => None,
        };
        if let Some(problem) = problem {
            let name = &one.spec.name;
            self.telemetry
                .violation(route.name(), name, problem.as_str());
        }
    }
}

/// What libraries say about texts.
struct Libraries;

/// Of a text that is too short, or of none that is known.
const UNKNOWN: &str = "unknown";

impl Texts for Libraries {
    fn is_json(&self, text: &str) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }

    fn language(&self, text: &str) -> &'static str {
        let told = whatlang::detect(text).filter(whatlang::Info::is_reliable);
        told.map_or(UNKNOWN, |told| told.lang().code())
    }
}

/// What stands in a header: a number where one is declared, for headers have
/// nothing but text.
fn in_header<'a>(feature: &config::Feature, text: &'a str) -> Found<'a> {
    match (&feature.declared.kind, text.trim().parse()) {
        (FeatureKind::Number { .. }, Ok(number)) => Found::Number(number),
        _ => Found::Text(text),
    }
}

fn at<'a>(body: Option<&'a Value>, pointer: &str) -> Found<'a> {
    match body.and_then(|body| body.pointer(pointer)) {
        None | Some(Value::Null) => Found::Nothing,
        Some(Value::Bool(is)) => Found::Bool(*is),
        Some(Value::Number(number)) => number.as_f64().map_or(Found::Nested, Found::Number),
        Some(Value::String(text)) => Found::Text(text),
        Some(Value::Array(_) | Value::Object(_)) => Found::Nested,
    }
}

/// The text of the user's last message, of the prompt, or of the input.
fn said(body: &Value) -> Option<Cow<'_, str>> {
    let list = |of: &'static str| body.get(of).and_then(Value::as_array);
    let messages = list("messages").or_else(|| list("input"));
    if let Some(messages) = messages {
        let user = |message: &&Value| message.get("role").is_some_and(|role| role == "user");
        return texts(messages.iter().rev().find(user)?.get("content")?);
    }
    texts(body.get("prompt").or_else(|| body.get("input"))?)
}

/// A text, or the texts of parts.
fn texts(content: &Value) -> Option<Cow<'_, str>> {
    match content {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            Some(Cow::Owned(texts.collect()))
        }
        _ => None,
    }
}

/// The text of an answer.
fn answered(kind: RouteKind, body: &Value) -> Option<Cow<'_, str>> {
    match kind.api() {
        Some(Api::Chat) => texts(body.pointer("/choices/0/message/content")?),
        Some(Api::Completions) => texts(body.pointer("/choices/0/text")?),
        Some(Api::Responses) => {
            let items = body.get("output")?.as_array()?;
            let message = |item: &&Value| item.get("type").is_some_and(|kind| kind == "message");
            texts(items.iter().rev().find(message)?.get("content")?)
        }
        Some(Api::Embeddings) | None => None,
    }
}
