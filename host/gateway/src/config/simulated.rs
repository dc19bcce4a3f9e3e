//! The settings of a simulated provider: how it behaves, and how that changes
//! over time.

use super::Name;
use std::sync::Arc;
use std::time::Duration;

/// A provider that exists only inside the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    /// Seed of everything that is random about it.
    pub seed: u64,
    /// How it behaves until the script says otherwise.
    pub behaviour: Behaviour,
    /// What changes when, in the order of time. Each entry holds the whole
    /// behaviour from its time on.
    pub script: Vec<ScriptEntry>,
}

impl Simulated {
    /// How it behaves `elapsed` after its start.
    pub fn behaviour_at(&self, elapsed: Duration) -> &Behaviour {
        self.script
            .iter()
            .rev()
            .find(|entry| entry.at <= elapsed)
            .map_or(&self.behaviour, |entry| &entry.behaviour)
    }
}

/// One change of behaviour.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptEntry {
    /// When, counted from the provider's start.
    pub at: Duration,
    /// The behaviour from then on.
    pub behaviour: Behaviour,
}

/// How a simulated provider answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Time until the first token or the answer.
    pub latency: Duration,
    /// The latency varies by up to this much in both directions.
    pub latency_jitter: Duration,
    /// Share of calls that fail, 0 to 1.
    pub error_rate: f64,
    /// HTTP status of failed calls, 400 to 599.
    pub status: u16,
    /// Confidence of its answers, 0 to 1.
    pub confidence: f64,
    /// The confidence varies by up to this much in both directions.
    pub confidence_jitter: f64,
    /// Labels to choose from, each as likely as the others; at least one.
    pub labels: Arc<[Name]>,
    /// Tokens of a chat answer, at least 1.
    pub tokens: u32,
    /// Time between two tokens of a stream.
    pub token_interval: Duration,
    /// Whether chat answers carry log-probabilities, from which their
    /// confidence follows.
    pub logprobs: bool,
}
