//! How a simulated model behaves, and how that changes over time.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a simulated provider is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedOptions {
    /// Where its random numbers start.
    pub seed: u64,
    /// The labels of its predictions; without one, they have none.
    pub labels: Vec<String>,
    /// Where a request to predict says what would be right, as a JSON pointer
    /// (RFC 6901): such requests are answered as well as the model knows, see
    /// [`Behaviour::overconfidence`]. Others are answered by chance.
    pub truth: Option<String>,
    /// What it says in chat; none lets it babble `tokens` words.
    pub text: Option<String>,
    /// How it behaves at first.
    pub behaviour: Behaviour,
    /// How that changes, in the order of time.
    pub script: Vec<Change>,
}

impl Default for SimulatedOptions {
    fn default() -> Self {
        SimulatedOptions {
            seed: 1,
            labels: vec!["positive".to_owned(), "negative".to_owned()],
            truth: None,
            text: None,
            behaviour: Behaviour::default(),
            script: Vec::new(),
        }
    }
}

/// What goes wrong when something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Answers `status` with an error envelope.
    #[default]
    Status,
    /// Refuses the connection, at once.
    Refuse,
    /// Accepts and never answers.
    Hang,
    /// Breaks off: a stream half way, a whole answer after its head.
    Cut,
    /// Answers 200 with HTML.
    Malformed,
}

/// How a simulated model behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Milliseconds until the response head.
    pub latency_ms: u32,
    /// Up to this many milliseconds more or less, uniformly.
    pub latency_jitter_ms: u32,
    /// Share of requests that go wrong, 0 to 1.
    pub error_rate: f64,
    /// How they go wrong.
    pub fault: Fault,
    /// HTTP status of [`Fault::Status`].
    pub status: u16,
    /// `Retry-After` of [`Fault::Status`], in seconds.
    pub retry_after_s: Option<u32>,
    /// Confidence of the answers, above 0 to 1.
    pub confidence: f64,
    /// Up to this much more or less, uniformly.
    pub confidence_jitter: f64,
    /// How much more sure it is than right, -1 to 1: of answers with the
    /// confidence `c` to requests that tell the truth, the share
    /// `c - overconfidence` is right. 0 is a calibrated model; a rise is a model
    /// that gets worse and does not show it.
    pub overconfidence: f64,
    /// Share of predictions with the first label, 0 to 1; none makes all
    /// labels equally likely.
    pub label_share: Option<f64>,
    /// Whether chat answers carry log-probabilities, which hold the confidence.
    pub logprobs: bool,
    /// Words of a chat answer.
    pub tokens: u32,
    /// Milliseconds between two words.
    pub token_interval_ms: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            latency_ms: 0,
            latency_jitter_ms: 0,
            error_rate: 0.0,
            fault: Fault::Status,
            status: 503,
            retry_after_s: None,
            confidence: 0.95,
            confidence_jitter: 0.0,
            overconfidence: 0.0,
            label_share: None,
            logprobs: true,
            tokens: 12,
            token_interval_ms: 0,
        }
    }
}

/// A change of behaviour: what is not named stays as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Seconds after the start of the script.
    pub at_s: f64,
    /// Seconds over which numbers move to their new value, evenly: a drift.
    /// With 0 they jump.
    pub ramp_s: f64,
    /// See [`Behaviour::latency_ms`].
    pub latency_ms: Option<u32>,
    /// See [`Behaviour::latency_jitter_ms`].
    pub latency_jitter_ms: Option<u32>,
    /// See [`Behaviour::error_rate`].
    pub error_rate: Option<f64>,
    /// See [`Behaviour::fault`]; jumps.
    pub fault: Option<Fault>,
    /// See [`Behaviour::status`]; jumps.
    pub status: Option<u16>,
    /// See [`Behaviour::retry_after_s`]; jumps.
    pub retry_after_s: Option<u32>,
    /// See [`Behaviour::confidence`].
    pub confidence: Option<f64>,
    /// See [`Behaviour::confidence_jitter`].
    pub confidence_jitter: Option<f64>,
    /// See [`Behaviour::overconfidence`].
    pub overconfidence: Option<f64>,
    /// See [`Behaviour::label_share`].
    pub label_share: Option<f64>,
    /// See [`Behaviour::logprobs`]; jumps.
    pub logprobs: Option<bool>,
    /// See [`Behaviour::tokens`]; jumps.
    pub tokens: Option<u32>,
    /// See [`Behaviour::token_interval_ms`].
    pub token_interval_ms: Option<u32>,
}

impl From<Behaviour> for Change {
    /// The change that ends in `behaviour`, whatever was before, at once.
    fn from(behaviour: Behaviour) -> Self {
        Change {
            at_s: 0.0,
            ramp_s: 0.0,
            latency_ms: Some(behaviour.latency_ms),
            latency_jitter_ms: Some(behaviour.latency_jitter_ms),
            error_rate: Some(behaviour.error_rate),
            fault: Some(behaviour.fault),
            status: Some(behaviour.status),
            retry_after_s: behaviour.retry_after_s,
            confidence: Some(behaviour.confidence),
            confidence_jitter: Some(behaviour.confidence_jitter),
            overconfidence: Some(behaviour.overconfidence),
            label_share: behaviour.label_share,
            logprobs: Some(behaviour.logprobs),
            tokens: Some(behaviour.tokens),
            token_interval_ms: Some(behaviour.token_interval_ms),
        }
    }
}

/// The behaviour `elapsed` after the start of `script`.
pub(super) fn at(start: &Behaviour, script: &[Change], elapsed: Duration) -> Behaviour {
    let mut behaviour = start.clone();
    let elapsed_s = elapsed.as_secs_f64();
    for change in script {
        // NaN compares as not begun.
        if change.at_s <= elapsed_s {
            change.apply(&mut behaviour, elapsed_s - change.at_s);
        }
    }
    behaviour
}

impl Change {
    /// Applies the change as it stands `since_s` seconds after it began.
    fn apply(&self, to: &mut Behaviour, since_s: f64) {
        let progress = if self.ramp_s > 0.0 {
            (since_s / self.ramp_s).min(1.0)
        } else {
            1.0
        };
        let number = |from: &mut f64, target: Option<f64>| {
            if let Some(target) = target {
                *from += (target - *from) * progress;
            }
        };
        number(&mut to.error_rate, self.error_rate);
        number(&mut to.confidence, self.confidence);
        number(&mut to.confidence_jitter, self.confidence_jitter);
        number(&mut to.overconfidence, self.overconfidence);
        if let Some(target) = self.label_share {
            let mut share = to.label_share.unwrap_or(target);
            number(&mut share, Some(target));
            to.label_share = Some(share);
        }
        let whole = |from: &mut u32, target: Option<u32>| {
            if let Some(target) = target {
                *from = between(*from, target, progress);
            }
        };
        whole(&mut to.latency_ms, self.latency_ms);
        whole(&mut to.latency_jitter_ms, self.latency_jitter_ms);
        whole(&mut to.token_interval_ms, self.token_interval_ms);
        to.fault = self.fault.unwrap_or(to.fault);
        to.status = self.status.unwrap_or(to.status);
        to.retry_after_s = self.retry_after_s.or(to.retry_after_s);
        to.logprobs = self.logprobs.unwrap_or(to.logprobs);
        to.tokens = self.tokens.unwrap_or(to.tokens);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lies between two numbers of the same type"
)]
fn between(from: u32, to: u32, progress: f64) -> u32 {
    (f64::from(from) + (f64::from(to) - f64::from(from)) * progress).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_add_up_in_the_order_of_the_script() {
        let script = [
            Change {
                at_s: 10.0,
                error_rate: Some(1.0),
                status: Some(500),
                ..Change::default()
            },
            Change {
                at_s: 20.0,
                error_rate: Some(0.0),
                latency_ms: Some(100),
                ..Change::default()
            },
        ];
        let start = Behaviour::default();
        let at = |s: u64| at(&start, &script, Duration::from_secs(s));
        assert_eq!(at(9), start);
        assert_eq!((at(10).error_rate > 0.5, at(10).status), (true, 500));
        assert_eq!((at(20).error_rate > 0.5, at(20).status), (false, 500));
        assert_eq!((at(19).latency_ms, at(99).latency_ms), (0, 100));
    }

    #[test]
    fn a_ramp_is_a_drift() {
        let script = [Change {
            at_s: 10.0,
            ramp_s: 10.0,
            confidence: Some(0.5),
            latency_ms: Some(100),
            ..Change::default()
        }];
        let start = Behaviour {
            confidence: 0.9,
            ..Behaviour::default()
        };
        let at = |s: u64| at(&start, &script, Duration::from_secs(s));
        assert!((at(10).confidence - 0.9).abs() < 1e-9);
        assert!((at(15).confidence - 0.7).abs() < 1e-9);
        assert_eq!(at(15).latency_ms, 50);
        assert!((at(40).confidence - 0.5).abs() < 1e-9);
    }
}
