//! Where a policy's lines come from.

use crate::{Part, Shaped, settings};
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use std::collections::BTreeMap;

/// How lines were found in a history, as `backstop calibrate --write` leaves it
/// in a policy's settings. For people and audits: the host holds it against its
/// schema and keeps it, and the policy reads nothing of it, so that components
/// stay small.
///
/// ```
/// use backstop_sdk::{Provenance, settings};
///
/// #[settings]
/// struct Settings {
///     /// Confidence from which on answers are accepted.
///     #[setting(min = 0.0, max = 1.0)]
///     accept_at: f64,
///     /// Where the line comes from.
///     #[setting(default)]
///     provenance: Option<Provenance>,
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance;

impl<'de> Deserialize<'de> for Provenance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Shaped for Provenance {
    const KEYWORDS: &'static [Part] = Found::KEYWORDS;
}

/// What stands in a [`Provenance`].
#[settings]
#[expect(dead_code, reason = "only its schema is used")]
struct Found {
    /// Name of the history.
    #[setting(default, max_len = 1024)]
    data: String,
    /// SHA-256 of the history, in hexadecimal.
    #[setting(default, max_len = 64)]
    sha256: String,
    /// Answers in the history.
    #[setting(default)]
    rows: u64,
    /// Of these, wrong.
    #[setting(default)]
    wrong: u64,
    /// How the lines were looked for.
    #[setting(default, max_len = 64)]
    method: String,
    /// The largest share of accepted answers that may be wrong.
    #[setting(default)]
    error_max: Option<f64>,
    /// The chance that the lines let more than that through all the same.
    #[setting(default)]
    delta: Option<f64>,
    /// The bound on the error at the general line.
    #[setting(default)]
    bound: Option<f64>,
    /// Share of the history at or above the general line.
    #[setting(default)]
    coverage: Option<f64>,
    /// Labels with a line of their own, and what the bound is there.
    #[setting(default, max_len = 256)]
    label_bounds: BTreeMap<String, f64>,
    /// When, RFC 3339.
    #[setting(default, max_len = 64)]
    chosen_at: String,
    /// The release of the model whose answers the history holds.
    #[setting(default)]
    release: Option<String>,
}
