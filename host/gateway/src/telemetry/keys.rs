//! What a key of a provider counts, and the state that it is in, by its
//! position.

use super::Telemetry;
use super::labels::Three;
use crate::upstream::KeyState;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// What one key of a provider counts.
#[derive(Debug, Clone)]
pub struct KeyMetrics {
    ok: Counter,
    failed: Counter,
    rests: Counter,
    out: Counter,
}

impl KeyMetrics {
    /// Counts a call that was answered.
    pub fn ok(&self) {
        self.ok.inc();
    }

    /// Counts a call that failed for another reason than the key.
    pub fn failed(&self) {
        self.failed.inc();
    }

    /// Counts a call that was told that the key's rate is limited.
    pub fn rests(&self) {
        self.rests.inc();
    }

    /// Counts a call whose key was refused.
    pub fn out(&self) {
        self.out.inc();
    }
}

impl Telemetry {
    /// The counters of the key of `provider` at `position`.
    pub fn provider_key(&self, provider: &str, position: usize) -> KeyMetrics {
        let counter = |end: &str| {
            self.provider_key_calls.get_or_create_owned(&[
                ("provider", provider.to_owned()),
                ("key", position.to_string()),
                ("end", end.to_owned()),
            ])
        };
        KeyMetrics {
            ok: counter("ok"),
            failed: counter("failed"),
            rests: counter("rate-limit"),
            out: counter("auth"),
        }
    }
}

/// Sets `gauges` from the providers' keys, and leaves no others.
pub(super) fn refresh(gauges: &Family<Three, Gauge>, keys: &[(String, usize, &'static str)]) {
    gauges.clear();
    for (provider, position, state) in keys {
        for word in KeyState::WORDS {
            gauges
                .get_or_create(&[
                    ("provider", provider.clone()),
                    ("key", position.to_string()),
                    ("state", word.to_owned()),
                ])
                .set(i64::from(word == *state));
        }
    }
}
