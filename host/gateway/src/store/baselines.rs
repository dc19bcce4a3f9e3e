//! Baselines as they are kept: named, versioned, one version of each in use.

use backstop_core::evidence::baseline::Baseline;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most names of baselines.
pub const BASELINES_MAX: u32 = 64;
/// Most versions of one; the oldest that is not in use goes first.
pub const BASELINE_VERSIONS_MAX: u32 = 20;
/// Longest name of a baseline, in bytes.
pub const BASELINE_NAME_BYTES_MAX: usize = 64;

/// A version of a baseline that is to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBaseline {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub at_ms: u64,
    /// By whom, where they said.
    pub by: String,
    /// Where it comes from, for people: a window of a subject, or a file.
    pub source: String,
    /// What else there is to say.
    pub note: String,
    /// The references.
    pub baseline: Baseline,
}

/// A version of a baseline without its references.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BaselineHead {
    /// Its name.
    pub name: String,
    /// Its number, counted from 1.
    pub version: u32,
    /// True for the version that queries are answered with.
    pub in_use: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// By whom, where they said.
    pub by: String,
    /// Where it comes from.
    pub source: String,
    /// What else there is to say.
    pub note: String,
    /// The metrics that it holds, in order.
    pub metrics: Vec<String>,
}

/// A version of a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptBaseline {
    /// All but the references.
    pub head: BaselineHead,
    /// The references.
    pub baseline: Baseline,
}
