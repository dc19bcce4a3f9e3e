//! What host functions reach outside of the run: the embedder's sources, and
//! the policies' own state.

use crate::record::StateError;
use crate::sources::{IncidentSink, MetricsSource, ModelCaller};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The embedder's sources, shared by all runs.
pub(crate) struct Services {
    pub(crate) metrics: Arc<dyn MetricsSource>,
    pub(crate) models: Arc<dyn ModelCaller>,
    pub(crate) incidents: Arc<dyn IncidentSink>,
    pub(crate) states: PolicyStates,
}

/// The state of every policy, by name. Revisions of one policy share it.
#[derive(Default)]
pub(crate) struct PolicyStates {
    by_policy: Mutex<HashMap<Arc<str>, Arc<PolicyState>>>,
}

impl PolicyStates {
    pub(crate) fn of(&self, policy: &Arc<str>) -> Arc<PolicyState> {
        self.by_policy
            .lock()
            .entry(policy.clone())
            .or_default()
            .clone()
    }

    pub(crate) fn remove(&self, policy: &str) {
        self.by_policy.lock().remove(policy);
    }
}

/// Most keys of one policy: enough for a counter for each of some hundred
/// models and segments, little enough (4 MiB) for every policy of a host.
pub(crate) const STATE_KEYS_MAX: usize = 1_024;
/// Longest key in bytes.
pub(crate) const STATE_KEY_BYTES_MAX: usize = 128;
/// Longest value in bytes.
pub(crate) const STATE_VALUE_BYTES_MAX: usize = 4_096;

/// The key-value store of one policy.
#[derive(Default)]
pub(crate) struct PolicyState {
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    value: Value,
    /// Milliseconds since the Unix epoch; 0 never.
    expires_ms: u64,
}

enum Value {
    Bytes(Vec<u8>),
    Number(i64),
}

impl Entry {
    fn live(&self, now_ms: u64) -> bool {
        self.expires_ms == 0 || self.expires_ms > now_ms
    }
}

fn expiry(now_ms: u64, ttl_s: u32) -> u64 {
    if ttl_s == 0 {
        0
    } else {
        now_ms.saturating_add(u64::from(ttl_s) * 1_000)
    }
}

fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
        return Err(StateError::Invalid(format!(
            "a key has 1 to {STATE_KEY_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

impl PolicyState {
    pub(crate) fn get(&self, now_ms: u64, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        check_key(key)?;
        match self
            .entries
            .lock()
            .get(key)
            .filter(|entry| entry.live(now_ms))
        {
            Some(Entry {
                value: Value::Bytes(bytes),
                ..
            }) => Ok(Some(bytes.clone())),
            Some(Entry {
                value: Value::Number(_),
                ..
            })
            | None => Ok(None),
        }
    }

    pub(crate) fn set(
        &self,
        now_ms: u64,
        key: &str,
        value: &[u8],
        ttl_s: u32,
    ) -> Result<(), StateError> {
        check_key(key)?;
        if value.len() > STATE_VALUE_BYTES_MAX {
            return Err(StateError::Invalid(format!(
                "a value has at most {STATE_VALUE_BYTES_MAX} bytes"
            )));
        }
        let entry = Entry {
            value: Value::Bytes(value.to_vec()),
            expires_ms: expiry(now_ms, ttl_s),
        };
        self.insert(now_ms, key, entry)
    }

    pub(crate) fn remove(&self, now_ms: u64, key: &str) -> Result<bool, StateError> {
        check_key(key)?;
        Ok(self
            .entries
            .lock()
            .remove(key)
            .is_some_and(|entry| entry.live(now_ms)))
    }

    pub(crate) fn add(
        &self,
        now_ms: u64,
        key: &str,
        delta: i64,
        ttl_s: u32,
    ) -> Result<i64, StateError> {
        check_key(key)?;
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(key).filter(|entry| entry.live(now_ms)) {
            let Value::Number(number) = &mut entry.value else {
                return Err(StateError::NotANumber);
            };
            *number = number.checked_add(delta).ok_or(StateError::NotANumber)?;
            return Ok(*number);
        }
        drop(entries);
        let entry = Entry {
            value: Value::Number(delta),
            expires_ms: expiry(now_ms, ttl_s),
        };
        self.insert(now_ms, key, entry).map(|()| delta)
    }

    fn insert(&self, now_ms: u64, key: &str, entry: Entry) -> Result<(), StateError> {
        let mut entries = self.entries.lock();
        if entries.len() >= STATE_KEYS_MAX && !entries.contains_key(key) {
            entries.retain(|_, entry| entry.live(now_ms));
            if entries.len() >= STATE_KEYS_MAX {
                return Err(StateError::Full);
            }
        }
        entries.insert(key.to_owned(), entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_expire_and_make_room() {
        let state = PolicyState::default();
        for key in 0..STATE_KEYS_MAX {
            state.set(0, &key.to_string(), b"x", 1).unwrap();
        }
        assert_eq!(state.set(0, "one more", b"x", 1), Err(StateError::Full));
        assert_eq!(state.get(999, "0"), Ok(Some(b"x".to_vec())));
        assert_eq!(state.get(1_000, "0"), Ok(None));
        assert_eq!(state.set(1_000, "one more", b"x", 0), Ok(()));
    }

    #[test]
    fn numbers_add_up_and_never_wrap() {
        let state = PolicyState::default();
        assert_eq!(state.add(0, "n", 2, 0), Ok(2));
        assert_eq!(state.add(0, "n", -5, 0), Ok(-3));
        assert_eq!(state.add(0, "n", i64::MIN, 0), Err(StateError::NotANumber));
        assert_eq!(state.add(0, "n", 0, 0), Ok(-3));
        state.set(0, "text", b"x", 0).unwrap();
        assert_eq!(state.add(0, "text", 1, 0), Err(StateError::NotANumber));
    }

    #[test]
    fn keys_and_values_are_bounded() {
        let state = PolicyState::default();
        assert!(matches!(
            state.set(0, "", b"", 0),
            Err(StateError::Invalid(_))
        ));
        assert!(matches!(
            state.get(0, &"k".repeat(129)),
            Err(StateError::Invalid(_))
        ));
        assert!(matches!(
            state.set(0, "k", &[0; 4_097], 0),
            Err(StateError::Invalid(_))
        ));
    }
}
