//! `[routes.NAME.features.FEATURE]`: what is watched in requests and answers.

use super::Name;
use super::check::shown;
use super::mistake::MistakeKind;
use super::route::FactSource;
use super::schema::{Collection, Default, Key, Kind, NAME_BYTES_MAX, Schema, TEXT_BYTES_MAX};
use super::section::{Resolver, Section};
use backstop_core::feature::{self, DECLARED_CATEGORIES_MAX, FeatureKind};
use std::sync::Arc;

/// Most features of one route: each is up to three series of the route, and of
/// each model and release where it is of answers.
pub(super) const FEATURES_MAX: usize = 32;
/// Most words of refusals besides the usual ones.
const PHRASES_MAX: usize = 32;

/// A feature of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its name; policies read `feature:NAME`.
    pub name: Name,
    /// Whose it is.
    pub of: FeatureOf,
    /// Where it is found.
    pub at: FeatureAt,
    /// What is declared about it.
    pub declared: feature::Feature,
    /// What tells when it shifts; none where nothing does.
    pub detector: Option<DetectorKind>,
    /// Who judges it; some for [`FeatureKind::Judged`].
    pub judge: Option<Judge>,
}

/// What tells when a number shifts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DetectorKind {
    /// Bifet and Gavaldà's adaptive window, with river's parameters.
    Adwin,
    /// Page and Hinkley's test.
    PageHinkley {
        /// How far values may run, in the number's unit times values.
        threshold: f64,
    },
}

/// A model that scores answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// Its name.
    pub model: Name,
    /// What it is told.
    pub prompt: Arc<str>,
    /// Share of the answers that it is asked about.
    pub sample: f64,
}

/// Whose feature it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureOf {
    /// The request's.
    Request,
    /// The answer's.
    Answer,
}

/// Where a feature is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureAt {
    /// The text of the answer, or of the last message of the user.
    Text,
    /// In a header, or in the body.
    Fact(FactSource),
}

/// `[routes.NAME.features.FEATURE]`.
pub(super) static FEATURE: Schema = Schema {
    name: "routes.NAME.features.FEATURE",
    about: "A part of requests or answers whose quality and drift are watched: see \
            `docs/features.md`. The name means the same for all routes.",
    keys: &[
        Key {
            name: "of",
            kind: Kind::Choice(&["request", "answer"]),
            default: Default::Text("request"),
            about: "Whether it is of requests, or of answers that are delivered.",
        },
        Key {
            name: "at",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Required,
            about: "Where it is: `body:` and a JSON pointer, `header:NAME` (of requests), or `text`: \
                    the text of the answer, or of the user's last message.",
        },
        Key {
            name: "kind",
            kind: Kind::Choice(&[
                "number", "category", "length", "refusal", "language", "json", "judged",
            ]),
            default: Default::Required,
            about: "`number`; `category`, a text or a boolean out of few; `length` of a text in \
                    characters; `refusal`, whether a text refuses; `language` of a text; `json`, whether a text is JSON; \
                    `judged`, how a model scores a text, 0 to 1.",
        },
        Key {
            name: "required",
            kind: Kind::Bool,
            default: Default::Bool(true),
            about: "Whether one that is missing counts as invalid, too.",
        },
        Key {
            name: "min",
            kind: Kind::Number(-1e100, 1e100),
            default: Default::Words("any"),
            about: "Of a number: lower ones are invalid.",
        },
        Key {
            name: "max",
            kind: Kind::Number(-1e100, 1e100),
            default: Default::Words("any"),
            about: "Of a number: higher ones are invalid.",
        },
        Key {
            name: "values",
            kind: Kind::Texts(1, DECLARED_CATEGORIES_MAX),
            default: Default::Words("any"),
            about: "Of a category: others are invalid.",
        },
        Key {
            name: "phrases",
            kind: Kind::Texts(1, PHRASES_MAX),
            default: Default::Words("the usual ones, in English"),
            about: "Of a refusal: words that tell one besides the usual ones.",
        },
        Key {
            name: "detector",
            kind: Kind::Choice(&["off", "adwin", "page-hinkley"]),
            default: Default::Text("off"),
            about: "Of a number or a length: what opens an incident when it shifts, whether or not a \
                    policy looks.",
        },
        Key {
            name: "threshold",
            kind: Kind::Number(1e-9, 1e100),
            default: Default::Words("needed with `page-hinkley`"),
            about: "Of `page-hinkley`: how far values may run away from their mean, in sum.",
        },
        Key {
            name: "model",
            kind: Kind::Reference(Collection::Models),
            default: Default::Words("needed where a model judges"),
            about: "Of what is judged: the chat model that judges.",
        },
        Key {
            name: "prompt",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Text(PROMPT),
            about: "Of what is judged: what the model is told before the text.",
        },
        Key {
            name: "sample",
            kind: Kind::Number(0.0, 1.0),
            default: Default::Number(0.1),
            about: "Of what is judged: the share of the answers; each is a call that costs.",
        },
    ],
};

/// What a judge is told, unless set.
const PROMPT: &str = "You judge an answer of an assistant. Reply with one number from 0 (useless or \
                      wrong) to 1 (helpful and right) and nothing else.";

/// Which keys belong to which kinds.
const KEYS_OF: [(&str, &str); 7] = [
    ("min", "number"),
    ("max", "number"),
    ("values", "category"),
    ("phrases", "refusal"),
    ("model", "judged"),
    ("prompt", "judged"),
    ("sample", "judged"),
];

/// Resolves `[routes.NAME.features]`.
pub(super) fn resolve(cx: &mut Resolver<'_>, route: &Section<'_>) -> Vec<Feature> {
    let sections = route.entries("features");
    sections
        .iter()
        .filter_map(|(name, section)| one(cx, name, section))
        .collect()
}

fn one(cx: &mut Resolver<'_>, name: &str, section: &Section<'_>) -> Option<Feature> {
    let of = match section.text("of").text {
        "answer" => FeatureOf::Answer,
        _ => FeatureOf::Request,
    };
    let kind = section.text("kind").text;
    for (key, belongs_to) in KEYS_OF {
        if section.node(key).is_some() && kind != belongs_to && !kind.is_empty() {
            let message = format!(
                "`{}` is for features of kind `{belongs_to}`, and this is of kind `{}`",
                section.key_path(key),
                shown(kind)
            );
            cx.note(MistakeKind::Conflict, section, key, message);
        }
    }
    let (min, max) = (section.number_if_set("min"), section.number_if_set("max"));
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        let message = format!("`{}` is above `max`", section.key_path("min"));
        cx.note(MistakeKind::Conflict, section, "min", message);
    }
    let texts = |key: &str| section.texts_if_set(key).unwrap_or_default();
    let known: Vec<String> = texts("values")
        .iter()
        .map(|text| text.text.to_owned())
        .collect();
    let phrases: Vec<String> = texts("phrases")
        .iter()
        .map(|text| text.text.to_lowercase())
        .collect();
    let declared = feature::Feature {
        kind: match kind {
            "number" => FeatureKind::Number { min, max },
            "category" => FeatureKind::Category { known },
            "length" => FeatureKind::Length,
            "refusal" => FeatureKind::Refusal { phrases },
            "judged" => FeatureKind::Judged,
            "language" => FeatureKind::Language,
            _ => FeatureKind::Json,
        },
        required: section.boolean("required"),
    };
    let at = section.text("at");
    let at = match at.text {
        "text" => Some(FeatureAt::Text),
        "" => None,
        _ => {
            let read = FactSource::read(at.text).map(FeatureAt::Fact);
            if read.is_none() {
                let message = format!(
                    "`{}` is `{}`, must be `body:` and a JSON pointer such as `body:/user`, \
                     `header:NAME`, or `text`",
                    section.key_path("at"),
                    shown(at.text)
                );
                cx.note(MistakeKind::Invalid, section, "at", message);
            }
            read
        }
    };
    if let (FeatureOf::Answer, Some(FeatureAt::Fact(FactSource::Header(_)))) = (of, &at) {
        let message = format!(
            "`{}` is a header, and features of answers are in the body",
            section.key_path("at")
        );
        cx.note(MistakeKind::Conflict, section, "at", message);
    }
    let detector = detector(cx, section, kind);
    let judge = judge(cx, section, kind, of);
    debug_assert!(name.len() <= NAME_BYTES_MAX, "names are checked");
    Some(Feature {
        name: name.into(),
        of,
        at: at?,
        declared,
        detector: detector?,
        judge: judge?,
    })
}

/// Who judges; none for what is not judged, and nothing after a mistake.
fn judge(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    kind: &str,
    of: FeatureOf,
) -> Option<Option<Judge>> {
    let model = section.text_if_set("model");
    let (prompt, sample) = (section.text("prompt"), section.number("sample"));
    if kind != "judged" {
        return Some(None);
    }
    if of == FeatureOf::Request {
        let message = format!("`{}` is of requests; only answers are judged", section.path);
        cx.note(MistakeKind::Conflict, section, "of", message);
        return None;
    }
    let Some(model) = model else {
        let message = format!("`{}` needs a `model` that judges", section.path);
        cx.note(MistakeKind::MissingKey, section, "model", message);
        return None;
    };
    Some(Some(Judge {
        model: model.text.into(),
        prompt: prompt.text.into(),
        sample,
    }))
}

/// What tells of shifts; none for nothing, and nothing after a mistake.
fn detector(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    kind: &str,
) -> Option<Option<DetectorKind>> {
    let threshold = section.number_if_set("threshold");
    let word = section.text("detector").text;
    if !matches!(kind, "number" | "length" | "") && matches!(word, "adwin" | "page-hinkley") {
        let message = format!(
            "`{}` is for numbers and lengths, and this is of kind `{}`",
            section.key_path("detector"),
            shown(kind)
        );
        cx.note(MistakeKind::Conflict, section, "detector", message);
        return None;
    }
    match (word, threshold) {
        ("page-hinkley", Some(threshold)) => Some(Some(DetectorKind::PageHinkley { threshold })),
        ("page-hinkley", None) => {
            let message = format!(
                "`{}` needs a `threshold` for it",
                section.key_path("detector")
            );
            cx.note(MistakeKind::MissingKey, section, "detector", message);
            None
        }
        (_, Some(_)) => {
            let message = format!(
                "`{}` is for the detector `page-hinkley`",
                section.key_path("threshold")
            );
            cx.note(MistakeKind::Conflict, section, "threshold", message);
            None
        }
        ("adwin", None) => Some(Some(DetectorKind::Adwin)),
        (_, None) => Some(None),
    }
}
