//! `[routes.NAME.feedback]`: what becomes of what is said about answers later.

use super::Name;
use super::mistake::MistakeKind;
use super::nearest::nearest;
use super::schema::{Default, Key, Kind, NAME_BYTES_MAX, Schema};
use super::section::{Resolver, Section, Text};
use backstop_core::window::RETENTION_MS;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// As far as windows reach: feedback on older answers would count nowhere.
const KEEP_S_MAX: u64 = RETENTION_MS / 1_000;
/// Most answers of one route: at some 300 bytes each, 300 MB of disk.
const ANSWERS_MAX: u64 = 1_000_000;
/// Most outcomes of one route: each is a metric.
pub(crate) const OUTCOMES_MAX: usize = 16;
/// Most tags by which evidence is told apart: each multiplies the series.
const SEGMENTS_MAX: usize = 4;
/// Most different outcomes of all routes: half of the metrics that there may
/// be at all.
const NAMES_MAX: usize = backstop_core::evidence::METRICS_MAX / 2;

/// How a route takes feedback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The label that precision and recall are about; neither is counted
    /// without it.
    pub positive_label: Option<Arc<str>>,
    /// How long answers are remembered.
    pub keep: Duration,
    /// How many answers are remembered, but for some that are new; the oldest
    /// go first.
    pub answers_max: u64,
    /// Business outcomes that callers may report, by name.
    pub outcomes: BTreeMap<Name, OutcomeKind>,
    /// Tags of the route by which evidence is told apart.
    pub segments: Vec<Name>,
}

/// What is reported of a business outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// Whether it happened.
    Rate,
    /// A number.
    Value,
}

impl OutcomeKind {
    const ALL: [OutcomeKind; 2] = [OutcomeKind::Rate, OutcomeKind::Value];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            OutcomeKind::Rate => "rate",
            OutcomeKind::Value => "value",
        }
    }
}

/// `[routes.NAME.feedback]`.
pub(super) static FEEDBACK: Schema = Schema {
    name: "routes.NAME.feedback",
    about: "Where this table stands, the route's answers are remembered, and \
            `POST /v1/feedback` takes what is found out about them later: see \
            `docs/feedback.md`.",
    keys: &[
        Key {
            name: "positive_label",
            kind: Kind::Text(NAME_BYTES_MAX),
            default: Default::Words("precision and recall are not counted"),
            about: "The label that precision and recall are about, such as `fraud`.",
        },
        Key {
            name: "keep_s",
            kind: Kind::Integer(60, KEEP_S_MAX),
            default: Default::Integer(KEEP_S_MAX),
            about: "Seconds for which an answer is remembered. The longest is as far as windows \
                    of evidence reach.",
        },
        Key {
            name: "answers_max",
            kind: Kind::Integer(100, ANSWERS_MAX),
            default: Default::Integer(100_000),
            about: "Answers that are remembered, and those of the last few seconds; the oldest go \
                    first. Each takes some 300 bytes of disk.",
        },
        Key {
            name: "outcomes",
            kind: Kind::Pairs(OUTCOMES_MAX),
            default: Default::Words("none"),
            about: "Business outcomes that may be reported, by name: `rate` for what happens or \
                    does not, `value` for a number. Policies read them as `outcome:NAME`. A name \
                    means the same for all routes.",
        },
        Key {
            name: "segments",
            kind: Kind::Texts(0, SEGMENTS_MAX),
            default: Default::Texts(&[]),
            about: "Names of the route's `tags` by which evidence is also kept apart: with `tier`, \
                    policies read `accuracy{tier=gold}`. Of each, 16 values are told apart; \
                    others are `other`.",
        },
    ],
};

/// Resolves `[routes.NAME.feedback]` of a route with `tags`; none without it.
pub(super) fn resolve(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    tags: &[&str],
) -> Option<Arc<Feedback>> {
    let feedback = Feedback {
        positive_label: section
            .text_if_set("positive_label")
            .map(|label| label.text.into()),
        keep: Duration::from_secs(section.integer("keep_s")),
        answers_max: section.integer("answers_max"),
        outcomes: section
            .pairs("outcomes")
            .into_iter()
            .filter_map(|(name, word)| {
                let kind = outcome_kind(cx, section, name, word)?;
                Some((Name::from(name.text), kind))
            })
            .collect(),
        segments: segments(cx, section, tags),
    };
    section.is_present().then(|| Arc::new(feedback))
}

fn outcome_kind(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    name: Text<'_>,
    word: Text<'_>,
) -> Option<OutcomeKind> {
    let mut all = OutcomeKind::ALL.into_iter();
    let kind = all.find(|kind| kind.as_str() == word.text);
    if kind.is_none() && !word.text.is_empty() {
        let path = super::check::below(&section.key_path("outcomes"), name.text);
        let message = format!(
            "`{path}` is `{}`, must be `rate` or `value`",
            super::check::shown(word.text)
        );
        let near = nearest(word.text, OutcomeKind::ALL.map(OutcomeKind::as_str));
        cx.mistakes
            .add(MistakeKind::UnknownValue, word.place, path, message)
            .nearest(near);
    }
    kind
}

fn segments(cx: &mut Resolver<'_>, section: &Section<'_>, tags: &[&str]) -> Vec<Name> {
    let mut segments: Vec<Name> = Vec::new();
    for text in section.texts("segments") {
        let path = section.key_path("segments");
        if !tags.contains(&text.text) && !text.text.is_empty() {
            let message = format!(
                "`{path}` names `{}`, which is none of the route's `tags`",
                super::check::shown(text.text)
            );
            let near = nearest(text.text, tags.iter().copied());
            cx.mistakes
                .add(MistakeKind::UnknownName, text.place, path, message)
                .nearest(near);
        } else if segments.iter().any(|known| **known == *text.text) {
            let message = format!("`{path}` names `{}` twice", text.text);
            cx.mistakes
                .add(MistakeKind::Duplicate, text.place, path, message);
        } else {
            segments.push(text.text.into());
        }
    }
    segments
}

/// Checks what concerns the outcomes of all routes together.
pub(super) fn check_outcomes(cx: &mut Resolver<'_>, routes: &[(&str, Section<'_>)]) {
    let mut known: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (route, section) in routes {
        let section = section.section("feedback");
        for (name, kind) in section.pairs("outcomes") {
            let is_new = !known.contains_key(name.text);
            let (first, its_kind) = *known.entry(name.text).or_insert((route, kind.text));
            let path = super::check::below(&section.key_path("outcomes"), name.text);
            if its_kind != kind.text {
                let message = format!(
                    "`{path}` is `{}`, but `{its_kind}` for route `{first}`; an outcome means the \
                     same for all routes",
                    super::check::shown(kind.text)
                );
                cx.mistakes
                    .add(MistakeKind::Conflict, kind.place, path, message);
            } else if is_new && known.len() == NAMES_MAX + 1 {
                let message =
                    format!("`{path}` is one more than the {NAMES_MAX} outcomes of all routes");
                cx.mistakes
                    .add(MistakeKind::TooMany, name.place, path, message);
            }
        }
    }
}
