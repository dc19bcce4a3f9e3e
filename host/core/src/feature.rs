//! Features: what is declared about a part of requests or answers, and how what
//! is there measures up to it.
//!
//! A [`Feature`] looks at one value ([`Feature::look`]) and says what there is to
//! record ([`Looked`]): a number, a category, or that it is missing or wrong, and
//! how ([`Problem`]). Where values come from is the gateway's business.
//!
//! Always holds: what is wrong is never recorded as a value; numbers are finite;
//! looking depends on the value alone.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Most categories that may be declared: one less than evidence tells apart.
pub const DECLARED_CATEGORIES_MAX: usize = 63;
/// The categories of [`FeatureKind::Refusal`].
pub const REFUSAL: &str = "refusal";
/// See [`REFUSAL`].
pub const ANSWER: &str = "answer";
/// How far into a text a refusal is looked for, in characters: who refuses begins
/// with it.
const REFUSAL_WITHIN: usize = 300;
/// How models of today begin to refuse, in lower case. Lists like it are in
/// wide use for judging red-team prompts; they know English, and miss what is
/// said otherwise.
const REFUSALS: [&str; 14] = [
    "i can't help with",
    "i cannot help with",
    "i can't assist",
    "i cannot assist",
    "i'm not able to help",
    "i am not able to help",
    "i'm unable to",
    "i am unable to",
    "i can't provide",
    "i cannot provide",
    "i can't comply",
    "i cannot comply",
    "i won't be able to",
    "i must decline",
];

/// What is declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Of what kind it is.
    pub kind: FeatureKind,
    /// Whether one that is missing is wrong, too.
    pub required: bool,
}

/// Of what kind a feature is.
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureKind {
    /// A number, from `min` to `max` where they are given.
    Number {
        /// The lowest that is right.
        min: Option<f64>,
        /// The highest that is right.
        max: Option<f64>,
    },
    /// A text or a boolean out of few; out of `known` where that is not empty.
    Category {
        /// What is right.
        known: Vec<String>,
    },
    /// A text of which the length counts, in characters.
    Length,
    /// A text that is a refusal or not.
    Refusal {
        /// Words of refusals besides the usual ones, in lower case.
        phrases: Vec<String>,
    },
    /// The language of a text.
    Language,
    /// A text that must be JSON.
    Json,
    /// A text that somebody else judges: here it is only seen to be there.
    Judged,
}

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    /// Nothing, or null.
    Nothing,
    /// A number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(&'a str),
    /// A list or an object.
    Nested,
}

/// What there is to record.
#[derive(Debug, Clone, PartialEq)]
pub enum Looked<'a> {
    /// A number.
    Number(f64),
    /// A category.
    Category(Cow<'a, str>),
    /// It is as it should be, and there is nothing to record of it.
    Right,
    /// It is missing; wrong where it is required.
    Missing,
    /// It is wrong.
    Wrong(Problem),
}

/// What can be wrong with a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// It is required and not there.
    Missing,
    /// It is of another type.
    Type,
    /// The number is out of its range, or not finite.
    Range,
    /// The category is not one that is known.
    Category,
    /// It is not JSON.
    Format,
}

impl Problem {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Problem::Missing => "missing",
            Problem::Type => "type",
            Problem::Range => "range",
            Problem::Category => "category",
            Problem::Format => "format",
        }
    }
}

/// What is found out about texts with the help of others.
pub trait Texts {
    /// Whether it is JSON.
    fn is_json(&self, text: &str) -> bool;
    /// The code of its language, or a word for not knowing.
    fn language(&self, text: &str) -> &'static str;
}

impl Feature {
    /// Looks at a value; `texts` is asked only where the feature needs it.
    pub fn look<'a>(&self, found: Found<'a>, texts: &impl Texts) -> Looked<'a> {
        match (&self.kind, found) {
            (_, Found::Nothing) => Looked::Missing,
            (FeatureKind::Number { min, max }, Found::Number(number)) => {
                let low = min.is_none_or(|min| number >= min);
                let high = max.is_none_or(|max| number <= max);
                match number.is_finite() && low && high {
                    true => Looked::Number(number),
                    false => Looked::Wrong(Problem::Range),
                }
            }
            (FeatureKind::Category { known }, Found::Text(text)) => {
                category(known, Cow::Borrowed(text))
            }
            (FeatureKind::Category { known }, Found::Bool(is)) => {
                category(known, Cow::Borrowed(if is { "true" } else { "false" }))
            }
            (FeatureKind::Length, Found::Text(text)) => Looked::Number(text.chars().count() as f64),
            (FeatureKind::Refusal { phrases }, Found::Text(text)) => {
                let refuses = refuses(text, phrases);
                Looked::Category(Cow::Borrowed(if refuses { REFUSAL } else { ANSWER }))
            }
            (FeatureKind::Language, Found::Text(text)) => {
                Looked::Category(Cow::Borrowed(texts.language(text)))
            }
            (FeatureKind::Json, Found::Text(text)) => match texts.is_json(text) {
                true => Looked::Right,
                false => Looked::Wrong(Problem::Format),
            },
            (FeatureKind::Judged, Found::Text(_)) => Looked::Right,
            // It is JSON already.
            (FeatureKind::Json, Found::Nested) => Looked::Right,
            _ => Looked::Wrong(Problem::Type),
        }
    }
}

fn category<'a>(known: &[String], text: Cow<'a, str>) -> Looked<'a> {
    match known.is_empty() || known.iter().any(|one| *one == text) {
        true => Looked::Category(text),
        false => Looked::Wrong(Problem::Category),
    }
}

fn refuses(text: &str, phrases: &[String]) -> bool {
    let begin: String = text.chars().take(REFUSAL_WITHIN).collect();
    // A typographer's apostrophe is one, too.
    let begin = begin.to_lowercase().replace('\u{2019}', "'");
    REFUSALS.iter().any(|words| begin.contains(words))
        || phrases.iter().any(|words| begin.contains(words.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look<'a>(kind: FeatureKind, found: Found<'a>) -> Looked<'a> {
        let feature = Feature {
            kind,
            required: true,
        };
        feature.look(found, &Simple)
    }

    struct Simple;

    impl Texts for Simple {
        fn is_json(&self, text: &str) -> bool {
            text == "{}"
        }

        fn language(&self, _: &str) -> &'static str {
            "eng"
        }
    }

    fn number(min: Option<f64>, max: Option<f64>) -> FeatureKind {
        FeatureKind::Number { min, max }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let known = || FeatureKind::Category {
            known: vec!["gold".into(), "true".into()],
        };
        let any = || FeatureKind::Category { known: Vec::new() };
        let wrong = Looked::Wrong;
        for (kind, found, expected) in [
            (number(None, None), Found::Number(3.0), Looked::Number(3.0)),
            (
                number(Some(0.0), None),
                Found::Number(-1.0),
                wrong(Problem::Range),
            ),
            (
                number(None, Some(5.0)),
                Found::Number(5.1),
                wrong(Problem::Range),
            ),
            (
                number(None, Some(5.0)),
                Found::Number(5.0),
                Looked::Number(5.0),
            ),
            (
                number(None, None),
                Found::Number(f64::NAN),
                wrong(Problem::Range),
            ),
            (number(None, None), Found::Text("3"), wrong(Problem::Type)),
            (number(None, None), Found::Nothing, Looked::Missing),
            (
                known(),
                Found::Text("gold"),
                Looked::Category("gold".into()),
            ),
            (known(), Found::Bool(true), Looked::Category("true".into())),
            (known(), Found::Text("tin"), wrong(Problem::Category)),
            (known(), Found::Number(1.0), wrong(Problem::Type)),
            (any(), Found::Text("tin"), Looked::Category("tin".into())),
            (FeatureKind::Length, Found::Text("häh"), Looked::Number(3.0)),
            (FeatureKind::Length, Found::Nested, wrong(Problem::Type)),
            (FeatureKind::Json, Found::Text("{}"), Looked::Right),
            (FeatureKind::Json, Found::Text("{"), wrong(Problem::Format)),
            (FeatureKind::Json, Found::Nested, Looked::Right),
            (
                FeatureKind::Language,
                Found::Text("a"),
                Looked::Category("eng".into()),
            ),
            (
                FeatureKind::Language,
                Found::Bool(true),
                wrong(Problem::Type),
            ),
        ] {
            let shown = format!("{kind:?} {found:?}");
            assert_eq!(look(kind, found), expected, "{shown}");
        }
    }

    #[test]
    fn refusals_are_known_by_how_they_begin() {
        let refusal = |text: &str| {
            let phrases = vec!["kann ich nicht helfen".to_owned()];
            let looked = look(FeatureKind::Refusal { phrases }, Found::Text(text));
            looked == Looked::Category(REFUSAL.into())
        };
        for text in [
            "I'm sorry, but I can\u{2019}t help with that.",
            "Sorry, I CANNOT ASSIST with this request",
            "Dabei kann ich nicht helfen.",
        ] {
            assert!(refusal(text), "{text}");
        }
        let late = format!("{} I can't help with", "word ".repeat(100));
        for text in ["", "Here is how you can help with it.", &late] {
            assert!(!refusal(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_number_out_of_range_is_recorded(
            value in any::<f64>(), min in any::<Option<i32>>(), max in any::<Option<i32>>()
        ) {
            let (min, max) = (min.map(f64::from), max.map(f64::from));
            match look(number(min, max), Found::Number(value)) {
                Looked::Number(number) => {
                    prop_assert!(number.is_finite());
                    prop_assert!(min.is_none_or(|min| min <= number));
                    prop_assert!(max.is_none_or(|max| number <= max));
                }
                other => prop_assert_eq!(other, Looked::Wrong(Problem::Range)),
            }
        }
    }
}
