//! Several keys of one provider: which one a call is made with.
//!
//! Keys are used in their order. One that the provider refuses, or whose
//! account is empty, is set aside for [`OUT_FOR`]; one whose rate is limited
//! rests for as long as the provider says. The same call is then made at once
//! with the next key, which counts as no repetition, and nobody hears of it but
//! the metrics: a failure is the release's only when no key is left.
//!
//! Always holds: a call uses each key once at most; keys are shown as position
//! and a short hash, never as they are; a provider with one key comes nowhere
//! near here.

use super::types::Failure;
use crate::telemetry::KeyMetrics;
use backstop_core::fault::FailureClass;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Most keys of a provider: each is a label of metrics series and a bit of a
/// call's memory.
pub const KEYS_MAX: usize = 16;
/// How long a key is out that the provider refuses: it does not heal by
/// itself, but somebody may mend it there. A reload that changes the provider
/// begins anew.
pub const OUT_FOR: Duration = Duration::from_secs(600);
/// How long a key rests whose rate is limited, where the provider does not say
/// for how long.
const REST_DEFAULT: Duration = Duration::from_secs(5);
/// Longest rest that is believed: keys are not lost to a slip of a clock.
const REST_MAX: Duration = Duration::from_secs(3600);
/// Hexadecimal digits of a key's hash that are shown: enough to tell keys
/// apart, far too few to find one.
const SHOWN_DIGITS: usize = 8;

/// The keys of one provider, in the order in which they are used.
pub struct Keys {
    provider: String,
    header: HeaderName,
    keys: Box<[Key]>,
    /// What the times of the keys are counted from.
    since: Instant,
}

struct Key {
    value: HeaderValue,
    hash: String,
    /// Milliseconds until which it is out, and until which it rests.
    out_until_ms: AtomicU64,
    rests_until_ms: AtomicU64,
    metrics: KeyMetrics,
}

/// How a key is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is used in its turn.
    Usable,
    /// Its rate is limited for so long.
    Rests(Duration),
    /// The provider refused it; it is left alone for so long.
    Out(Duration),
}

impl KeyState {
    /// The words of all states.
    pub const WORDS: [&str; 3] = ["ready", "cooling", "refused"];

    /// The word in the admin API and in metrics.
    pub fn as_str(self) -> &'static str {
        let [ready, cooling, refused] = KeyState::WORDS;
        match self {
            KeyState::Usable => ready,
            KeyState::Rests(_) => cooling,
            KeyState::Out(_) => refused,
        }
    }
}

/// A key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownKey {
    /// From 0, as in the configuration.
    pub position: usize,
    /// The beginning of its SHA-256.
    pub hash: String,
    /// How it is doing.
    pub state: KeyState,
}

impl std::fmt::Debug for Keys {
    /// Leaves out the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("provider", &self.provider)
            .field("keys", &self.shown())
            .finish_non_exhaustive()
    }
}

/// The beginning of the hash of `secret`, as keys are shown.
fn hash(secret: &[u8]) -> String {
    let digest = Sha256::digest(secret);
    let shown = digest.iter().take(SHOWN_DIGITS / 2);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

impl Keys {
    /// `keys`, each with what it is counted by, sent as `header`; at most
    /// [`KEYS_MAX`], further ones are left out. `authorization` carries
    /// `Bearer KEY`, any other header the key alone.
    ///
    /// # Errors
    ///
    /// A key has characters that no header may hold.
    pub fn new<'k>(
        provider: &str,
        header: HeaderName,
        keys: impl IntoIterator<Item = (&'k str, KeyMetrics)>,
    ) -> Result<Self, InvalidHeaderValue> {
        let is_bearer = header == AUTHORIZATION;
        let key = |(secret, metrics): (&str, KeyMetrics)| {
            let mut value = if is_bearer {
                HeaderValue::try_from(format!("Bearer {secret}"))?
            } else {
                HeaderValue::from_str(secret)?
            };
            value.set_sensitive(true);
            Ok(Key {
                hash: hash(secret.as_bytes()),
                value,
                out_until_ms: AtomicU64::new(0),
                rests_until_ms: AtomicU64::new(0),
                metrics,
            })
        };
        Ok(Keys {
            provider: provider.to_owned(),
            header,
            keys: keys
                .into_iter()
                .take(KEYS_MAX)
                .map(key)
                .collect::<Result<_, InvalidHeaderValue>>()?,
            since: Instant::now(),
        })
    }

    /// All keys as they are shown, in their order.
    pub fn shown(&self) -> Vec<ShownKey> {
        let now_ms = self.now_ms();
        let shown = |(position, key): (usize, &Key)| ShownKey {
            position,
            hash: key.hash.clone(),
            state: key.state(now_ms),
        };
        self.keys.iter().enumerate().map(shown).collect()
    }

    /// The header, and the value of the key at `position`.
    pub(super) fn header(&self, position: usize) -> (&HeaderName, &HeaderValue) {
        (&self.header, &self.keys[position].value)
    }

    /// The choice for one call.
    pub(super) fn round(&self) -> Round<'_> {
        Round {
            keys: self,
            tried: 0,
            last: None,
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.since.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Key {
    fn state(&self, now_ms: u64) -> KeyState {
        let left = |until: &AtomicU64| {
            let left = until.load(Ordering::Relaxed).saturating_sub(now_ms);
            (left > 0).then(|| Duration::from_millis(left))
        };
        match (left(&self.out_until_ms), left(&self.rests_until_ms)) {
            (Some(left), _) => KeyState::Out(left),
            (None, Some(left)) => KeyState::Rests(left),
            (None, None) => KeyState::Usable,
        }
    }
}

/// One call on its way through the keys.
pub(super) struct Round<'a> {
    keys: &'a Keys,
    /// A bit for each key that it was made with.
    tried: u64,
    last: Option<Failure>,
}

impl Round<'_> {
    /// The key to make the call with.
    ///
    /// # Errors
    ///
    /// No key is left: what the release is to answer for.
    pub(super) fn next(&mut self) -> Result<usize, Failure> {
        let now_ms = self.keys.now_ms();
        let mut rest: Option<Duration> = None;
        let mut refused: Option<(Duration, usize)> = None;
        for (position, key) in self.keys.keys.iter().enumerate() {
            let tried = self.tried & 1 << position != 0;
            match key.state(now_ms) {
                KeyState::Usable if !tried => {
                    self.tried |= 1 << position;
                    return Ok(position);
                }
                KeyState::Usable => {}
                KeyState::Rests(left) => rest = Some(rest.map_or(left, |least| least.min(left))),
                KeyState::Out(left) if !tried && refused.is_none_or(|(least, _)| left < least) => {
                    refused = Some((left, position));
                }
                KeyState::Out(_) => {}
            }
        }
        // Keys that are all refused may have been mended meanwhile: one is
        // asked, as a provider's only key would be.
        if let (None, None, Some((_, position))) = (rest, &self.last, refused) {
            self.tried |= 1 << position;
            return Ok(position);
        }
        Err(self.none_left(rest))
    }

    /// What the release answers for: the limit that ends first, else what the
    /// last key was told.
    fn none_left(&mut self, rest: Option<Duration>) -> Failure {
        let last = self.last.take();
        let Some(rest) = rest else {
            let nothing = || Failure::new(FailureClass::Auth, "every key was refused");
            return last.unwrap_or_else(nothing);
        };
        let mut failure = last
            .filter(|last| last.class == FailureClass::RateLimit)
            .unwrap_or_else(|| {
                Failure::new(FailureClass::RateLimit, "the rate of every key is limited")
            });
        failure.retry_after = Some(rest);
        failure
    }

    /// The call with the key at `position` was answered.
    pub(super) fn worked(&self, position: usize) {
        let key = &self.keys.keys[position];
        key.metrics.ok();
        // It was asked although it was out, so it has been mended.
        if key.out_until_ms.load(Ordering::Relaxed) > self.keys.now_ms() {
            key.out_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// The call with the key at `position` failed.
    ///
    /// # Errors
    ///
    /// The failure, where another key would not help.
    pub(super) fn failed(&mut self, position: usize, failure: Failure) -> Result<(), Failure> {
        let key = &self.keys.keys[position];
        let now_ms = self.keys.now_ms();
        match failure.class {
            FailureClass::Auth => {
                let until = now_ms.saturating_add(millis(OUT_FOR));
                key.metrics.out();
                if key.out_until_ms.swap(until, Ordering::Relaxed) <= now_ms {
                    tracing::warn!(
                        provider = self.keys.provider,
                        key = position,
                        hash = key.hash,
                        detail = failure.detail,
                        "a provider refused a key, which is set aside"
                    );
                }
            }
            FailureClass::RateLimit => {
                let rest = failure.retry_after.unwrap_or(REST_DEFAULT).min(REST_MAX);
                let until = now_ms.saturating_add(millis(rest));
                key.metrics.rests();
                key.rests_until_ms.fetch_max(until, Ordering::Relaxed);
            }
            _ => {
                key.metrics.failed();
                return Err(failure);
            }
        }
        self.last = Some(failure);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass as F;

    fn keys(count: usize) -> Keys {
        let telemetry = crate::telemetry::Telemetry::new();
        let secrets = ["s3cret-a", "s3cret-b", "s3cret-c"];
        let key = |position| {
            let metrics = telemetry.provider_key("p", position);
            (secrets[position], metrics)
        };
        Keys::new("p", AUTHORIZATION, (0..count).map(key)).unwrap()
    }

    fn fails(class: F, wait_s: Option<u64>) -> Failure {
        let mut failure = Failure::new(class, "said no");
        failure.retry_after = wait_s.map(Duration::from_secs);
        failure
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_key_rests_and_the_next_is_used() {
        let keys = keys(2);
        let mut round = keys.round();
        assert_eq!(round.next().unwrap(), 0);
        round.failed(0, fails(F::RateLimit, Some(30))).unwrap();
        assert_eq!(round.next().unwrap(), 1);
        round.worked(1);
        assert_eq!(keys.round().next().unwrap(), 1);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(keys.round().next().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_wait_is_the_releases() {
        let keys = keys(3);
        let mut round = keys.round();
        for (position, wait_s) in [(0, 30), (1, 10), (2, 20)] {
            assert_eq!(round.next().unwrap(), position);
            let failure = fails(F::RateLimit, Some(wait_s));
            round.failed(position, failure).unwrap();
        }
        let failure = round.next().unwrap_err();
        assert_eq!(failure.class, F::RateLimit);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(10)));
        // Nobody asks the provider while all rest.
        let failure = keys.round().next().unwrap_err();
        assert_eq!(failure.retry_after, Some(Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn refused_keys_are_out_and_one_is_asked_again_when_none_is_left() {
        let keys = keys(2);
        let mut round = keys.round();
        for position in [0, 1] {
            assert_eq!(round.next().unwrap(), position);
            round.failed(position, fails(F::Auth, None)).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(round.next().unwrap_err().class, F::Auth);
        // The one whose time is over first, and no other.
        let mut round = keys.round();
        assert_eq!(round.next().unwrap(), 0);
        round.worked(0);
        assert_eq!(keys.shown()[0].state, KeyState::Usable);
        assert!(matches!(keys.shown()[1].state, KeyState::Out(_)));
        assert_eq!(keys.round().next().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_ends_comes_before_a_refusal() {
        let keys = keys(2);
        let mut round = keys.round();
        round.next().unwrap();
        round.failed(0, fails(F::RateLimit, None)).unwrap();
        round.next().unwrap();
        round.failed(1, fails(F::Auth, None)).unwrap();
        let failure = round.next().unwrap_err();
        assert_eq!(failure.class, F::RateLimit);
        assert_eq!(failure.retry_after, Some(REST_DEFAULT));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_keys_fault_stays_with_the_key() {
        let keys = keys(2);
        let mut round = keys.round();
        round.next().unwrap();
        let failure = round.failed(0, fails(F::ServerError, None)).unwrap_err();
        assert_eq!(failure.class, F::ServerError);
        assert_eq!(keys.round().next().unwrap(), 0);
    }

    #[test]
    fn keys_are_not_shown() {
        let keys = keys(2);
        let shown = format!("{keys:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_ne!(keys.shown()[0].hash, keys.shown()[1].hash);
        assert_eq!(keys.shown()[0].hash.len(), SHOWN_DIGITS);
    }
}
