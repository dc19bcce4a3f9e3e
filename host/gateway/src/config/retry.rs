//! `[routes.NAME.retry]` and `[routes.NAME.hedge]`: calls beyond the first.

use super::schema::{Default, Key, Kind, Schema, TIMEOUT_MS_MAX};
use super::section::Section;
use backstop_core::budget::BudgetOptions;
use backstop_core::fault::FailureClass;
use backstop_core::plan::{RETRIES_MAX, STAGGER_MS_MAX};
use std::time::Duration;

/// How a call is repeated before the plan goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Repetitions of each call of the default plan, 0 to 5. Plans of
    /// policies say their own.
    pub retries: u8,
    /// Wait before the first repetition.
    pub backoff: Duration,
    /// What each further wait is multiplied by, at least 1.
    pub backoff_multiplier: f64,
    /// No wait is longer, unless the provider asked for it.
    pub backoff_max: Duration,
    /// Share of a wait by which it is lengthened or shortened at random, 0 to 1.
    pub backoff_jitter: f64,
    /// A provider that asks for a longer wait (`Retry-After`) is not called
    /// again; the plan goes on.
    pub retry_after_max: Duration,
    /// Most repetitions after failures of single classes, by their position.
    pub classes: [Option<u8>; FailureClass::ALL.len()],
    /// How many repetitions the route's requests may have together.
    pub budget: BudgetOptions,
}

/// How a second model is asked while the first one is still at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedge {
    /// In the default plan: how long the first model has for itself; none
    /// hedges nothing.
    pub after: Option<Duration>,
    /// How many further calls the route's requests may have together.
    pub budget: BudgetOptions,
}

const PERCENT: Kind = Kind::Integer(0, 1_000);
const PER_SECOND: Kind = Kind::Integer(0, 1_000);

/// `[routes.NAME.retry]`.
pub(super) static RETRY: Schema = Schema {
    name: "routes.NAME.retry",
    about: "How a call is repeated before the plan goes on.",
    keys: &[
        Key {
            name: "retries",
            kind: Kind::Integer(0, RETRIES_MAX as u64),
            default: Default::Integer(1),
            about: "Repetitions of each call, where no policy plans.",
        },
        Key {
            name: "backoff_ms",
            kind: Kind::Integer(0, 60_000),
            default: Default::Integer(250),
            about: "Milliseconds before the first repetition.",
        },
        Key {
            name: "backoff_multiplier",
            kind: Kind::Number(1.0, 10.0),
            default: Default::Number(2.0),
            about: "What each further wait is multiplied by.",
        },
        Key {
            name: "backoff_ms_max",
            kind: Kind::Integer(0, TIMEOUT_MS_MAX),
            default: Default::Integer(8_000),
            about: "Milliseconds that no wait exceeds, unless the provider asks for it.",
        },
        Key {
            name: "backoff_jitter",
            kind: Kind::Number(0.0, 1.0),
            default: Default::Number(0.2),
            about: "Share of a wait by which it is lengthened or shortened at random.",
        },
        Key {
            name: "retry_after_ms_max",
            kind: Kind::Integer(0, TIMEOUT_MS_MAX),
            default: Default::Integer(5_000),
            about: "A provider that asks for a longer wait is not called again; the plan goes on.",
        },
        Key {
            name: "budget_percent",
            kind: PERCENT,
            default: Default::Integer(20),
            about: "Repetitions that the route's requests may have together, in percent of the \
                    requests: an outage then multiplies no load. Beyond it the plan goes on at \
                    once.",
        },
        Key {
            name: "budget_per_s_min",
            kind: PER_SECOND,
            default: Default::Integer(3),
            about: "Repetitions that are allowed in each second anyway.",
        },
        Key {
            name: "classes",
            kind: Kind::Table(&CLASSES),
            default: Default::Words("as often as `retries` or the plan says, where it may help"),
            about: "Most repetitions after failures of single classes.",
        },
    ],
};

/// A key of [`CLASSES`].
const fn class(name: &'static str, default: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Integer(0, RETRIES_MAX as u64),
        default: Default::Words(default),
        about: "Most repetitions after such a failure.",
    }
}

const AS_OTHERS: &str = "as often as the others";
const NOT_AT_ALL: &str = "0";

/// `[routes.NAME.retry.classes]`: the classes after which the same call may
/// come to something else.
static CLASSES: Schema = Schema {
    name: "routes.NAME.retry.classes",
    about: "Most repetitions of a call after a failure of one class; see `faults.md`.",
    keys: &[
        class("rate-limit", AS_OTHERS),
        class("overload", AS_OTHERS),
        class("server-error", AS_OTHERS),
        class("connection", AS_OTHERS),
        class("timeout-connect", AS_OTHERS),
        class("timeout-first-token", NOT_AT_ALL),
        class("timeout-idle", NOT_AT_ALL),
        class("timeout-total", NOT_AT_ALL),
        class("cut-stream", NOT_AT_ALL),
        class("malformed", NOT_AT_ALL),
    ],
};

/// `[routes.NAME.hedge]`.
pub(super) static HEDGE: Schema = Schema {
    name: "routes.NAME.hedge",
    about: "How a second model is asked while the first one is still at it, for the first good \
            answer of the two.",
    keys: &[
        Key {
            name: "after_ms",
            kind: Kind::Integer(0, STAGGER_MS_MAX as u64),
            default: Default::Words("no hedging"),
            about: "Where no policy plans: milliseconds that the route's first model has for \
                    itself before its second one is asked too; 0 asks both at once.",
        },
        Key {
            name: "budget_percent",
            kind: PERCENT,
            default: Default::Integer(10),
            about: "Further calls that the route's requests may have together, in percent of the \
                    requests. Beyond it a model is asked only when the one before it has failed.",
        },
        Key {
            name: "budget_per_s_min",
            kind: PER_SECOND,
            default: Default::Integer(1),
            about: "Further calls that are allowed in each second anyway.",
        },
    ],
};

fn budget(section: &Section<'_>) -> BudgetOptions {
    BudgetOptions {
        percent: section.integer("budget_percent"),
        per_second_min: section.integer("budget_per_s_min"),
    }
}

/// Resolves `[routes.NAME.retry]`.
pub(super) fn resolve(section: &Section<'_>) -> Retry {
    let classes = section.section("classes");
    Retry {
        retries: section.integer("retries"),
        backoff: section.millis("backoff_ms"),
        backoff_multiplier: section.number("backoff_multiplier"),
        backoff_max: section.millis("backoff_ms_max"),
        backoff_jitter: section.number("backoff_jitter"),
        retry_after_max: section.millis("retry_after_ms_max"),
        classes: FailureClass::ALL.map(|class| {
            let known = CLASSES.keys.iter().any(|key| key.name == class.as_str());
            known
                .then(|| classes.integer_if_set(class.as_str()))
                .flatten()
        }),
        budget: budget(section),
    }
}

/// Resolves `[routes.NAME.hedge]`.
pub(super) fn resolve_hedge(section: &Section<'_>) -> Hedge {
    Hedge {
        after: section
            .integer_if_set("after_ms")
            .map(Duration::from_millis),
        budget: budget(section),
    }
}
