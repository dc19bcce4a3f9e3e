//! The six acts: what is done to the gateway, and what has to be seen.
//!
//! An act is observed when its evidence was found in what callers were served
//! and in the decision records. Time passing is never evidence: every wait
//! looks for something and fails when it does not come.

mod canary;
mod confidence;
mod failover;
mod hostile;
mod swap;
mod well;

use super::stage::{Missing, Stage};
use super::view::View;
use std::collections::BTreeMap;

/// One act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// All is well.
    Well,
    /// The primary fails, then the backup, and both recover.
    Failover,
    /// Answers become unsure.
    Confidence,
    /// A bad release is tried.
    Canary,
    /// A policy file is replaced.
    Swap,
    /// A hostile policy is uploaded.
    Hostile,
}

impl Act {
    /// All acts, in their order.
    pub(crate) const ALL: [Act; 6] = [
        Act::Well,
        Act::Failover,
        Act::Confidence,
        Act::Canary,
        Act::Swap,
        Act::Hostile,
    ];

    /// Its name in `--json`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Act::Well => "all_is_well",
            Act::Failover => "failover",
            Act::Confidence => "confidence",
            Act::Canary => "canary",
            Act::Swap => "swap",
            Act::Hostile => "hostile",
        }
    }

    /// What it is about, for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Act::Well => "all is well",
            Act::Failover => "primary and backup fail, and recover",
            Act::Confidence => "answers become unsure",
            Act::Canary => "a bad release is tried and rolled back",
            Act::Swap => "a policy is replaced under traffic",
            Act::Hostile => "hostile policies are refused or taken back",
        }
    }

    /// Plays it, and notes what was seen in `evidence`.
    ///
    /// # Errors
    ///
    /// What was not seen.
    pub(crate) async fn play(
        self,
        stage: &Stage,
        evidence: &mut Evidence<'_>,
    ) -> Result<(), Missing> {
        match self {
            Act::Well => well::play(stage, evidence).await,
            Act::Failover => failover::play(stage, evidence).await,
            Act::Confidence => confidence::play(stage, evidence).await,
            Act::Canary => canary::play(stage, evidence).await,
            Act::Swap => swap::play(stage, evidence).await,
            Act::Hostile => hostile::play(stage, evidence).await,
        }
    }
}

/// What was seen in an act.
pub(crate) struct Evidence<'v> {
    view: &'v View,
    /// In words, in the order in which it was seen.
    pub(crate) seen: Vec<String>,
    /// In numbers.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl<'v> Evidence<'v> {
    pub(crate) fn new(view: &'v View) -> Self {
        Evidence {
            view,
            seen: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Says what is being done; it is no evidence.
    fn doing(&self, text: &str) {
        self.view.doing(text);
    }

    /// Notes something that was seen.
    fn saw(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.view.saw(&text);
        self.seen.push(text);
    }

    /// Notes how often something was seen.
    fn count(&mut self, name: &'static str, count: u64) {
        self.counts.insert(name, count);
    }
}

/// A number as `--json` and the view have it.
fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
