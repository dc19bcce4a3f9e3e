//! `[models.NAME.probe]`: asking whether a model's servers are well.

use super::schema::{Default, Key, Kind, Schema, TEXT_BYTES_MAX};
use super::section::Section;
use std::sync::Arc;
use std::time::Duration;

/// Longest time between two probes: an hour.
const EVERY_MS_MAX: u64 = 3_600_000;
/// Longest time of one.
const TIMEOUT_MS_MAX: u64 = 60_000;

/// How the releases of a model are probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// How often.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What is asked for, below the base URL.
    pub path: Arc<str>,
    /// Failures in a row after which a release is down.
    pub unhealthy_after: u32,
    /// Successes in a row after which it is up again.
    pub healthy_after: u32,
}

/// `[models.NAME.probe]`.
pub(super) static PROBE: Schema = Schema {
    name: "models.NAME.probe",
    about: "Each release's server is asked with GET whether it is well. While it is not, no step \
            calls the release, and policies see it as unhealthy. Breakers are the other half: they \
            learn from calls. A probe does not open or close them.",
    keys: &[
        Key {
            name: "every_ms",
            kind: Kind::Integer(100, EVERY_MS_MAX),
            default: Default::Integer(10_000),
            about: "Milliseconds between two probes, a tenth more or less.",
        },
        Key {
            name: "timeout_ms",
            kind: Kind::Integer(10, TIMEOUT_MS_MAX),
            default: Default::Integer(2_000),
            about: "Milliseconds of one probe.",
        },
        Key {
            name: "path",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Text("/models"),
            about: "What is asked for below the base URL; any 2xx is well.",
        },
        Key {
            name: "unhealthy_after",
            kind: Kind::Integer(1, 100),
            default: Default::Integer(3),
            about: "Failures in a row after which a release is down.",
        },
        Key {
            name: "healthy_after",
            kind: Kind::Integer(1, 100),
            default: Default::Integer(1),
            about: "Successes in a row after which it is up again.",
        },
    ],
};

/// Resolves `[models.NAME.probe]`; none without it.
pub(super) fn resolve(section: &Section<'_>) -> Option<Probe> {
    let probe = Probe {
        every: section.millis("every_ms"),
        timeout: section.millis("timeout_ms"),
        path: section.text("path").text.into(),
        unhealthy_after: section.integer("unhealthy_after"),
        healthy_after: section.integer("healthy_after"),
    };
    section.is_present().then_some(probe)
}
