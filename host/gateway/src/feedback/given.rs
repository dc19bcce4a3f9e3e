//! Feedback as a caller writes it: read strictly, with all mistakes at once.

use super::count::kind;
use crate::config::{self, OutcomeKind};
use crate::store::{Fact, RememberedAnswer, TEXT_BYTES_MAX};
use backstop_core::evidence::VALUE_MAX;
use backstop_core::text::sanitize;
use serde_json::{Map, Value, json};

/// What may stand in one piece of feedback.
const FIELDS: [&str; 7] = [
    "id", "label", "correct", "answer", "rating", "outcomes", "by",
];
/// Longest id: the longest that is kept of a caller's.
pub(crate) const ID_BYTES_MAX: usize = 128;
/// Longest label.
const LABEL_BYTES_MAX: usize = 256;
/// Longest corrected answer, as JSON.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest part of what a caller wrote that a mistake shows.
const SHOWN_BYTES_MAX: usize = 64;

/// One piece of feedback. At least one of what may be said is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    /// The request, its decision, or the caller's own id.
    pub(crate) id: String,
    label: Option<String>,
    correct: Option<bool>,
    answer: Option<Value>,
    rating: Option<f64>,
    outcomes: Vec<(String, Value)>,
    pub(crate) by: Option<String>,
}

/// A mistake in feedback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The field.
    pub(crate) field: String,
    /// What is wrong with it, after its name.
    pub(crate) rule: String,
}

fn wrong(field: impl Into<String>, rule: impl Into<String>) -> Wrong {
    Wrong {
        field: field.into(),
        rule: rule.into(),
    }
}

fn shown(text: &str) -> String {
    sanitize(text.to_owned(), SHOWN_BYTES_MAX)
}

/// A field that is there; null is as good as not.
fn field<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.get(name).filter(|value| !value.is_null())
}

impl Given {
    /// Reads one piece of feedback.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub(crate) fn read(value: &Value) -> Result<Given, Vec<Wrong>> {
        let Value::Object(object) = value else {
            return Err(vec![wrong("feedback", "must be an object")]);
        };
        let mut mistakes = Vec::new();
        for name in object.keys().filter(|name| !FIELDS.contains(&&***name)) {
            let rule = match near(name, FIELDS) {
                Some(near) => format!("is unknown; did you mean `{near}`?"),
                None => format!("is unknown; there are {}", FIELDS.join(", ")),
            };
            mistakes.push(wrong(shown(name), rule));
        }
        let id = match field(object, "id").map(Value::as_str) {
            None => {
                let rule = "is missing: the id of the request (`x-backstop-request`), your own \
                            (`x-request-id`) or that of its decision (`x-backstop-decision`)";
                mistakes.push(wrong("id", rule));
                ""
            }
            Some(Some(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => id,
            Some(_) => {
                let rule = format!("must be a string of 1 to {ID_BYTES_MAX} bytes");
                mistakes.push(wrong("id", rule));
                ""
            }
        };
        let given = Given {
            id: id.to_owned(),
            label: field(object, "label").and_then(|value| label(value, &mut mistakes)),
            correct: field(object, "correct").and_then(|value| {
                let correct = value.as_bool();
                if correct.is_none() {
                    mistakes.push(wrong("correct", "must be true or false"));
                }
                correct
            }),
            answer: field(object, "answer")
                .filter(|value| {
                    let fits = value.to_string().len() <= ANSWER_BYTES_MAX;
                    if !fits {
                        let rule = format!("is longer than {ANSWER_BYTES_MAX} bytes");
                        mistakes.push(wrong("answer", rule));
                    }
                    fits
                })
                .cloned(),
            rating: field(object, "rating").and_then(|value| {
                let rating = value.as_f64().filter(|rating| (0.0..=1.0).contains(rating));
                if rating.is_none() {
                    mistakes.push(wrong("rating", "must be a number from 0 to 1"));
                }
                rating
            }),
            outcomes: field(object, "outcomes")
                .map(|value| outcomes(value, &mut mistakes))
                .unwrap_or_default(),
            by: field(object, "by").and_then(|value| {
                let by = value.as_str().filter(|by| by.len() <= TEXT_BYTES_MAX);
                if by.is_none() {
                    let rule = format!("must be a string of at most {TEXT_BYTES_MAX} bytes");
                    mistakes.push(wrong("by", rule));
                }
                by.map(str::to_owned)
            }),
        };
        if given.answer.is_some() && given.correct == Some(true) {
            let rule = "says what would have been right, but `correct` is true";
            mistakes.push(wrong("answer", rule));
        }
        let says_nothing = FIELDS[1..6]
            .iter()
            .all(|name| field(object, name).is_none());
        if says_nothing {
            let rule = "says nothing: give `label`, `correct`, `answer`, `rating` or `outcomes`";
            mistakes.push(wrong("feedback", rule));
        }
        if mistakes.is_empty() {
            Ok(given)
        } else {
            Err(mistakes)
        }
    }

    /// What a person found out about a reviewed answer.
    pub(crate) fn of_review(
        id: String,
        correct: bool,
        label: Option<String>,
        answer: Option<Value>,
        by: Option<String>,
    ) -> Given {
        Given {
            id,
            label,
            correct: Some(correct),
            answer: answer.filter(|_| !correct),
            rating: None,
            outcomes: Vec::new(),
            by,
        }
    }

    /// What it says about `answer`, whose route takes feedback as `spec` says.
    ///
    /// # Errors
    ///
    /// Everything that does not fit the answer or its route.
    pub(super) fn facts(
        &self,
        answer: &RememberedAnswer,
        spec: &config::Feedback,
    ) -> Result<Vec<Fact>, Vec<Wrong>> {
        let mut mistakes = Vec::new();
        let by_label = self.label.as_ref().zip(answer.label.as_ref());
        let by_label = by_label.map(|(label, predicted)| label == predicted);
        let by_answer = self.answer.as_ref().map(|_| false);
        // The first that says so decides; the others must agree.
        let said = [self.correct, by_label, by_answer];
        let right = said.into_iter().flatten().next();
        if let (Some(label), Some(predicted), Some(by_label)) =
            (&self.label, &answer.label, by_label)
            && said.into_iter().flatten().any(|said| said != by_label)
        {
            let rule = format!(
                "is `{}` where `{}` was answered, which is {} what else is said: that the answer \
                 was {}",
                shown(label),
                shown(predicted),
                "at odds with",
                if by_label { "wrong" } else { "right" },
            );
            mistakes.push(wrong("label", rule));
        }
        let mut facts = Vec::new();
        let mut say = |kind: &str, value: Value| {
            facts.push(Fact {
                kind: kind.to_owned(),
                value,
            });
        };
        if let Some(label) = &self.label {
            say(kind::LABEL, json!(label));
        }
        if let Some(right) = right {
            say(kind::CORRECT, json!(right));
        }
        if let Some(answer) = &self.answer {
            say(kind::ANSWER, answer.clone());
        }
        if let Some(rating) = self.rating {
            say(kind::RATING, json!(rating));
        }
        for (name, value) in &self.outcomes {
            let field = format!("outcomes.{}", shown(name));
            match (spec.outcomes.get(&**name), value) {
                (None, _) => mistakes.push(wrong(field, unknown_outcome(name, answer, spec))),
                (Some(OutcomeKind::Rate), Value::Bool(_))
                | (Some(OutcomeKind::Value), Value::Number(_)) => {
                    say(&format!("{}{name}", kind::OUTCOME), value.clone());
                }
                (Some(OutcomeKind::Rate), _) => {
                    mistakes.push(wrong(field, "is a rate: must be true or false"));
                }
                (Some(OutcomeKind::Value), _) => {
                    mistakes.push(wrong(field, "is a value: must be a number"));
                }
            }
        }
        if mistakes.is_empty() {
            Ok(facts)
        } else {
            Err(mistakes)
        }
    }
}

fn unknown_outcome(name: &str, answer: &RememberedAnswer, spec: &config::Feedback) -> String {
    let known = spec.outcomes.keys().map(|name| &**name);
    match near(name, known.clone()) {
        Some(near) => format!("is unknown; did you mean `{near}`?"),
        None if spec.outcomes.is_empty() => format!(
            "is unknown: `routes.{}.feedback.outcomes` names none",
            answer.route
        ),
        None => format!(
            "is unknown; `routes.{}.feedback.outcomes` has {}",
            answer.route,
            known.collect::<Vec<_>>().join(", ")
        ),
    }
}

fn near<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let name = backstop_core::text::cut(name, SHOWN_BYTES_MAX);
    let likeness = |known: &'k str| (strsim::jaro_winkler(name, known), known);
    let best = known.into_iter().map(likeness);
    let best = best.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= 0.8)
        .map(|(_, known)| known)
}

/// A label: what a JSON model may answer as one.
fn label(value: &Value, mistakes: &mut Vec<Wrong>) -> Option<String> {
    let label = match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let label = label.filter(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()));
    if label.is_none() {
        let rule =
            format!("must be a string of 1 to {LABEL_BYTES_MAX} bytes, a number or a boolean");
        mistakes.push(wrong("label", rule));
    }
    label
}

fn outcomes(value: &Value, mistakes: &mut Vec<Wrong>) -> Vec<(String, Value)> {
    let outcomes_max = config::feedback::OUTCOMES_MAX;
    let object = match value {
        Value::Object(object) if (1..=outcomes_max).contains(&object.len()) => object,
        _ => {
            let rule = format!("must be an object with 1 to {outcomes_max} outcomes by name");
            mistakes.push(wrong("outcomes", rule));
            return Vec::new();
        }
    };
    let mut outcomes = Vec::new();
    for (name, value) in object {
        let number = value.as_f64().map(f64::abs);
        if value.is_boolean() || number.is_some_and(|number| number <= VALUE_MAX) {
            outcomes.push((name.clone(), value.clone()));
        } else {
            let rule = "must be true, false or a number of at most 1e100";
            mistakes.push(wrong(format!("outcomes.{}", shown(name)), rule));
        }
    }
    outcomes
}
