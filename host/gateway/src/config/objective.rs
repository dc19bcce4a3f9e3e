//! `[objectives.NAME]`: the share of good events that is promised, and when to
//! alert because it will not be kept.
//!
//! What an objective is and when it alerts is `backstop_core::slo`'s; this turns
//! keys into its configuration, and its mistakes into mistakes with a line. Only
//! the running gateway knows every metric: one that is not standard, nor an
//! outcome, is looked for when the configuration is applied.

mod metric;
mod mistakes;

use super::Name;
use super::feedback::OutcomeKind;
use super::mistake::MistakeKind;
use super::schema::{Collection, Default, Key, Kind, Schema, TEXT_BYTES_MAX};
use super::section::{Resolver, Section};
use backstop_core::slo::{
    BurnWindow, EVENTS_MIN_DEFAULT, PERIOD_MS_DEFAULT, PERIOD_MS_MAX, SloConfig, Urgency,
    WINDOWS_MAX, default_windows, pyrra_windows,
};
use std::collections::BTreeMap;

/// Most objectives: each takes some 24 KiB and is evaluated every few seconds.
pub(super) const OBJECTIVES_MAX: usize = 64;
/// Shortest period, ten minutes.
const PERIOD_MS_MIN: u64 = 600_000;
/// Longest wait before an alert fires, a week: longer than any usual window.
const FOR_S_MAX: u64 = 7 * 86_400;
/// Shortest windows: some ticks of the history that they are read from.
const LONG_S_MIN: u64 = 60;
const SHORT_S_MIN: u64 = 30;
const WORDS: [&str; 2] = ["workbook", "pyrra"];

/// A promise about a route or a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Its name in the configuration.
    pub name: Name,
    /// Whose events count.
    pub of: ObjectiveOf,
    /// The metric, with its segment where it has one.
    pub metric: Box<str>,
    /// Which events are bad.
    pub bad: Bad,
    /// What is promised, and when to alert.
    pub slo: SloConfig,
    /// Whether an alert that fires opens an incident.
    pub incident: bool,
}

/// Whose events count for an objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectiveOf {
    /// Those of a route.
    Route(Name),
    /// Those of a model, over all its releases.
    Model(Name),
}

/// Which events are bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bad {
    /// Of a rate: those that happened.
    Happened,
    /// Of a rate: those that did not happen.
    Missed,
    /// Of a value: those above.
    Above(f64),
    /// Of a value: those below.
    Below(f64),
}

/// `[[objectives.NAME.windows]]`.
static WINDOW: Schema = Schema {
    name: "objectives.NAME.windows[]",
    about: "A pair of windows and when it alerts: when the burn rate is above `factor` in both.",
    keys: &[
        Key {
            name: "long_s",
            kind: Kind::Integer(LONG_S_MIN, PERIOD_MS_MAX / 1_000),
            default: Default::Required,
            about: "Seconds of the long window, which keeps a blip from alerting.",
        },
        Key {
            name: "short_s",
            kind: Kind::Integer(SHORT_S_MIN, PERIOD_MS_MAX / 1_000),
            default: Default::Required,
            about: "Seconds of the short window, which lets the alert end soon after the trouble; \
                    usually a twelfth of the long one.",
        },
        Key {
            name: "factor",
            kind: Kind::Number(0.0, 1e9),
            default: Default::Required,
            about: "Burn rate above which it alerts: how many times faster than allowed the error \
                    budget is spent.",
        },
        Key {
            name: "for_s",
            kind: Kind::Integer(0, FOR_S_MAX),
            default: Default::Integer(0),
            about: "Seconds that it has to last before it fires; until then it is pending.",
        },
        Key {
            name: "urgency",
            kind: Kind::Choice(&["page", "ticket"]),
            default: Default::Text("page"),
            about: "`page`: somebody looks now, severity `critical`; `ticket`: somebody looks in \
                    working hours, severity `warning`.",
        },
    ],
};

/// `[objectives.NAME]`.
pub(super) static OBJECTIVE: Schema = Schema {
    name: "objectives.NAME",
    about: "A share of good events that is promised over a period, with alerts on how fast its \
            error budget is spent: see `docs/objectives.md`. Of a route or of a model.",
    keys: &[
        Key {
            name: "route",
            kind: Kind::Reference(Collection::Routes),
            default: Default::Words("`model`"),
            about: "The route whose events count.",
        },
        Key {
            name: "model",
            kind: Kind::Reference(Collection::Models),
            default: Default::Words("`route`"),
            about: "The model whose events count, over all its releases.",
        },
        Key {
            name: "metric",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Required,
            about: "The rate or value that is counted, as policies name it: `error-rate`, \
                    `latency-ms`, `outcome:refunded`, or a segment, `accuracy{tier=gold}`.",
        },
        Key {
            name: "bad",
            kind: Kind::Choice(&["yes", "no"]),
            default: Default::Words("`yes`; `no` for `accuracy`, `precision` and `recall`"),
            about: "Of a rate: `yes` when an event that happens is bad, `no` when one that does not \
                    happen is.",
        },
        Key {
            name: "above",
            kind: Kind::Number(-1e100, 1e100),
            default: Default::Words("no such bound"),
            about: "Of a value: an event is bad when it is larger than this.",
        },
        Key {
            name: "below",
            kind: Kind::Number(-1e100, 1e100),
            default: Default::Words("no such bound"),
            about: "Of a value: an event is bad when it is smaller than this.",
        },
        Key {
            name: "target",
            kind: Kind::Number(0.0, 1.0),
            default: Default::Required,
            about: "Share of events that are good, above 0 and below 1: 0.999 is 99.9 %. The rest \
                    is the error budget.",
        },
        Key {
            name: "period_s",
            kind: Kind::Integer(PERIOD_MS_MIN / 1_000, PERIOD_MS_MAX / 1_000),
            default: Default::Integer(PERIOD_MS_DEFAULT / 1_000),
            about: "Seconds over which the share is promised.",
        },
        Key {
            name: "windows",
            kind: Kind::ChoiceOrList(&WORDS, &WINDOW, WINDOWS_MAX),
            default: Default::Text(WORDS[0]),
            about: "When to alert. `workbook`: 2 % of the budget in an hour or 5 % in six are a \
                    page, 10 % in a day or in three a ticket. `pyrra`: burn rates of 14, 7, 2 and 1 \
                    over windows that grow with the period. Or the windows themselves.",
        },
        Key {
            name: "events_min",
            kind: Kind::Integer(1, 1_000_000_000),
            default: Default::Integer(EVENTS_MIN_DEFAULT),
            about: "Fewest events in a long window before it says anything.",
        },
        Key {
            name: "incident",
            kind: Kind::Bool,
            default: Default::Bool(true),
            about: "Open an incident when an alert begins to fire.",
        },
    ],
};

/// Resolves an objective; none after a mistake.
pub(super) fn resolve(
    cx: &mut Resolver<'_>,
    name: Name,
    section: &Section<'_>,
    outcomes: &BTreeMap<&str, OutcomeKind>,
) -> Option<Objective> {
    let of = of(cx, section);
    let bad = metric::bad(cx, section, outcomes);
    let slo = slo(section);
    for mistake in slo.mistakes() {
        mistakes::note(cx, section, &slo, mistake);
    }
    Some(Objective {
        name,
        of: of?,
        metric: section.text("metric").text.into(),
        bad: bad?,
        slo,
        incident: section.boolean("incident"),
    })
}

fn of(cx: &mut Resolver<'_>, section: &Section<'_>) -> Option<ObjectiveOf> {
    let (route, model) = (section.text_if_set("route"), section.text_if_set("model"));
    match (route, model) {
        (Some(route), None) => Some(ObjectiveOf::Route(route.text.into())),
        (None, Some(model)) => Some(ObjectiveOf::Model(model.text.into())),
        (Some(route), Some(_)) => {
            let message = format!(
                "`{}` has both `route` and `model`, and may have one",
                section.path
            );
            cx.note(MistakeKind::Conflict, section, "model", message)
                .first(route.place);
            None
        }
        (None, None) => {
            // Where one is of another type that is said already.
            let said = section.node("route").or(section.node("model")).is_some();
            if !said {
                let message = format!("`{}` needs `route` or `model`", section.path);
                cx.note(MistakeKind::MissingKey, section, "route", message);
            }
            None
        }
    }
}

fn slo(section: &Section<'_>) -> SloConfig {
    let period_ms = section.integer::<u64>("period_s") * 1_000;
    let windows = match section.text_if_set("windows").map(|word| word.text) {
        Some("pyrra") => pyrra_windows(period_ms),
        Some(_) => default_windows(period_ms),
        None if section.node("windows").is_none() => default_windows(period_ms),
        None => section.list("windows").iter().map(window).collect(),
    };
    SloConfig {
        objective: section.number("target"),
        period_ms,
        windows,
        events_min: section.integer("events_min"),
    }
}

fn window(section: &Section<'_>) -> BurnWindow {
    let ms = |key| section.integer::<u64>(key) * 1_000;
    BurnWindow {
        urgency: match section.text("urgency").text {
            "ticket" => Urgency::Ticket,
            _ => Urgency::Page,
        },
        long_ms: ms("long_s"),
        short_ms: ms("short_s"),
        factor: section.number("factor"),
        for_ms: ms("for_s"),
    }
}
