//! Which metric an objective counts, and which of its events are bad.

use super::super::check::{listed, shown};
use super::super::feedback::OutcomeKind;
use super::super::mistake::MistakeKind;
use super::super::nearest::nearest;
use super::super::section::{Resolver, Section};
use super::Bad;
use backstop_core::metric::{base, name};
use std::collections::BTreeMap;

const OUTCOME: &str = "outcome:";
/// Events of these are good.
const GOOD: [&str; 3] = [name::ACCURACY, "precision", "recall"];
const RATES: [&str; 6] = [
    name::ERROR_RATE,
    name::ESCALATION_RATE,
    name::REVIEW_RATE,
    name::ACCURACY,
    "precision",
    "recall",
];
const VALUES: [&str; 4] = [
    name::LATENCY_MS,
    name::FIRST_TOKEN_MS,
    name::CONFIDENCE,
    "rating",
];

/// What is known of a metric from the configuration alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Rate,
    Value,
    /// The gateway knows, or nobody does: a feature, a metric of the process.
    Later,
    No,
}

/// Which events are bad; none after a mistake.
pub(super) fn bad(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    outcomes: &BTreeMap<&str, OutcomeKind>,
) -> Option<Bad> {
    let metric = section.text_if_set("metric")?;
    let name = base(metric.text);
    let known = known(name, outcomes);
    if known == Known::No {
        unknown(cx, section, name, outcomes);
        return None;
    }
    let (above, below) = (
        section.number_if_set("above"),
        section.number_if_set("below"),
    );
    let happened = section.text_if_set("bad").map(|word| word.text);
    let conflict = |cx: &mut Resolver<'_>, key: &str, message: String| {
        cx.note(MistakeKind::Conflict, section, key, message);
        None
    };
    let path = &section.path;
    match (above, below) {
        (Some(_), Some(_)) => {
            let message = format!("`{path}` has both `above` and `below`, and may have one");
            conflict(cx, "below", message)
        }
        (Some(_), None) | (None, Some(_)) if known == Known::Rate => {
            let message = format!(
                "metric `{}` is a rate, which has no bound; set `bad` where needed",
                shown(name)
            );
            conflict(cx, if above.is_some() { "above" } else { "below" }, message)
        }
        (Some(_), None) | (None, Some(_)) if happened.is_some() => {
            let message =
                format!("`{path}` has a bound, so its metric is a value; `bad` is for rates");
            conflict(cx, "bad", message)
        }
        (Some(above), None) => Some(Bad::Above(above)),
        (None, Some(below)) => Some(Bad::Below(below)),
        (None, None) if known == Known::Value => {
            // Where one is of another type that is said already.
            if section.node("above").or(section.node("below")).is_none() {
                let message = format!(
                    "`{path}` needs `above` or `below`: metric `{}` is a value, and an event is bad \
                     beyond a bound",
                    shown(name)
                );
                cx.note(MistakeKind::MissingKey, section, "above", message);
            }
            None
        }
        (None, None) => Some(match happened {
            Some("no") => Bad::Missed,
            None if GOOD.contains(&name) => Bad::Missed,
            _ => Bad::Happened,
        }),
    }
}

fn known(name: &str, outcomes: &BTreeMap<&str, OutcomeKind>) -> Known {
    if let Some(outcome) = name.strip_prefix(OUTCOME) {
        return match outcomes.get(outcome) {
            Some(OutcomeKind::Rate) => Known::Rate,
            Some(OutcomeKind::Value) => Known::Value,
            None => Known::No,
        };
    }
    let meant = RATES.into_iter().chain(VALUES);
    if RATES.contains(&name) {
        Known::Rate
    } else if VALUES.contains(&name) {
        Known::Value
    } else if !name.contains(':') && nearest(name, meant).is_some() {
        Known::No
    } else {
        Known::Later
    }
}

fn unknown(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    name: &str,
    outcomes: &BTreeMap<&str, OutcomeKind>,
) {
    let path = section.key_path("metric");
    let shown = shown(name);
    match name.strip_prefix(OUTCOME) {
        None => {
            let message = format!("`{path}` names unknown metric `{shown}`");
            let near = nearest(name, RATES.into_iter().chain(VALUES));
            cx.note(MistakeKind::UnknownName, section, "metric", message)
                .nearest(near);
        }
        Some(outcome) => {
            let near = nearest(outcome, outcomes.keys().copied());
            let near = near.map(|near| format!("{OUTCOME}{near}"));
            let mut message = format!("`{path}` names `{shown}`, which no route's feedback has");
            if near.is_none() && !outcomes.is_empty() {
                let names = listed(outcomes.keys().copied());
                message.push_str(&format!("; outcomes: {names}"));
            }
            cx.note(MistakeKind::UnknownName, section, "metric", message)
                .nearest(near.as_deref());
        }
    }
}
