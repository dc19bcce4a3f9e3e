//! `[models.NAME.limit]`: how many calls of each release may be under way.

use super::mistake::MistakeKind;
use super::schema::{Default, Key, Kind, Schema};
use super::section::{Resolver, Section};
use backstop_core::limit::{GradientOptions, Shares};
use std::time::Duration;

/// Most calls of one release at once.
const IN_FLIGHT_MAX: u64 = 16_384;
/// Most that wait for one release.
const QUEUE_MAX: u64 = 100_000;
/// Longest wait for a place.
const QUEUE_MS_MAX: u64 = 600_000;
/// Share of a change of the limit that is made at once; Netflix's.
const SMOOTHING: f64 = 0.2;

/// How many calls of a release may be under way, and how long others wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// How the limit is found.
    pub kind: LimitKind,
    /// Its bounds.
    pub gradient: GradientOptions,
    /// How many may wait.
    pub queue: usize,
    /// How much of the queue the lower levels may fill.
    pub shares: Shares,
    /// How long each may wait.
    pub queue_wait: Duration,
}

/// How a limit is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// There is none.
    None,
    /// It is `max`.
    Fixed,
    /// It follows what the release can do.
    Adaptive,
}

/// `[models.NAME.limit]`.
pub(super) static LIMIT: Schema = Schema {
    name: "models.NAME.limit",
    about: "How many calls of each release of the model may be under way. Beyond that a call \
            waits in a bounded queue and then the plan goes on to its next step; where there \
            is none, the caller reads 503, or 429 where it has its share of the queue already, \
            with `Retry-After`. Requests of a route with a higher `priority` are served first, \
            caller by caller within one priority; in a full queue the last to come of the lowest \
            gives way to a higher one, and goes on at once. Streams hold their place until they \
            end.",
    keys: &[
        Key {
            name: "kind",
            kind: Kind::Choice(&["fixed", "adaptive", "none"]),
            default: Default::Text("fixed"),
            about: "`fixed`: the limit is `max`. `adaptive`: it follows what the release can do, \
                    by how much slower its first tokens come than when it has little to do, and \
                    by what it turns away; for models that you run yourself. `none`: no limit.",
        },
        Key {
            name: "initial",
            kind: Kind::Integer(1, IN_FLIGHT_MAX),
            default: Default::Integer(20),
            about: "With `adaptive`: the limit in the beginning; it doubles until there is an \
                    overload.",
        },
        Key {
            name: "min",
            kind: Kind::Integer(1, IN_FLIGHT_MAX),
            default: Default::Integer(2),
            about: "With `adaptive`: the limit never falls below this.",
        },
        Key {
            name: "max",
            kind: Kind::Integer(1, IN_FLIGHT_MAX),
            default: Default::Integer(4_096),
            about: "The limit, or what it never rises above.",
        },
        Key {
            name: "tolerance",
            kind: Kind::Number(1.0, 10.0),
            default: Default::Number(1.5),
            about: "With `adaptive`: how many times the latency at rest is still no overload.",
        },
        Key {
            name: "queue",
            kind: Kind::Integer(0, QUEUE_MAX),
            default: Default::Integer(1_000),
            about: "How many may wait for a place.",
        },
        Key {
            name: "queue_normal_percent",
            kind: Kind::Integer(0, 100),
            default: Default::Integer(100),
            about: "Share of the queue that requests of routes with `priority = \"normal\"` may \
                    fill.",
        },
        Key {
            name: "queue_sheddable_percent",
            kind: Kind::Integer(0, 100),
            default: Default::Integer(50),
            about: "Share of the queue that requests of routes with `priority = \"sheddable\"` \
                    may fill, no more than `normal` ones; with 0 they never wait.",
        },
        Key {
            name: "queue_ms",
            kind: Kind::Integer(0, QUEUE_MS_MAX),
            default: Default::Integer(1_000),
            about: "Milliseconds that each may wait; then the plan goes on. 0 sheds to the next \
                    step at once, whatever its priority.",
        },
    ],
};

/// Resolves `[models.NAME.limit]`.
pub(super) fn resolve(cx: &mut Resolver<'_>, section: &Section<'_>) -> Limit {
    let kind = match section.text("kind").text {
        "adaptive" => LimitKind::Adaptive,
        "none" => LimitKind::None,
        _ => LimitKind::Fixed,
    };
    let gradient = GradientOptions {
        initial: section.integer("initial"),
        min: section.integer("min"),
        max: section.integer("max"),
        tolerance: section.number("tolerance"),
        smoothing: SMOOTHING,
    };
    if kind == LimitKind::Adaptive && gradient.min > gradient.max {
        let message = format!(
            "`{}` is {}, more than `max` = {}",
            section.key_path("min"),
            gradient.min,
            gradient.max
        );
        cx.note(MistakeKind::Conflict, section, "min", message);
    }
    let normal = section.integer("queue_normal_percent");
    let sheddable = section.integer("queue_sheddable_percent");
    let shares = Shares {
        normal,
        sheddable: normal.min(sheddable),
    };
    if sheddable > normal && section.node("queue_sheddable_percent").is_some() {
        let message = format!(
            "`{}` is {}, more than `queue_normal_percent` = {}",
            section.key_path("queue_sheddable_percent"),
            sheddable,
            normal
        );
        let key = "queue_sheddable_percent";
        cx.note(MistakeKind::Conflict, section, key, message);
    }
    Limit {
        kind,
        gradient,
        queue: section.integer("queue"),
        shares,
        queue_wait: section.millis("queue_ms"),
    }
}
