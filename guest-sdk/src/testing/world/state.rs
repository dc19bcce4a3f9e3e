//! `state`, in memory.

use super::{KEY_BYTES_MAX, WORLD, World, raw};
use raw::state::StateError;

/// Most keys of a policy's state, as in `wit/state.wit`.
const STATE_KEYS_MAX: usize = 1_024;
/// Longest value of state, in bytes.
const VALUE_BYTES_MAX: usize = 4 * 1_024;

fn with<R>(
    key: &str,
    f: impl FnOnce(&mut World) -> Result<R, StateError>,
) -> Result<R, StateError> {
    WORLD.with_borrow_mut(|world| {
        if !world.grants.state {
            return Err(StateError::Denied);
        }
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(StateError::Invalid("key".to_owned()));
        }
        let now_ms = world.now_ms;
        world.values.retain(|_, entry| entry.lives(now_ms));
        world.numbers.retain(|_, entry| entry.lives(now_ms));
        f(world)
    })
}

/// Something with a time after which it is gone.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    value: T,
    gone_at_ms: Option<u64>,
}

impl<T> Entry<T> {
    pub(crate) fn new(value: T, now_ms: u64, ttl_s: u32) -> Self {
        let gone_at_ms = (ttl_s > 0).then(|| now_ms + u64::from(ttl_s) * 1_000);
        Self { value, gone_at_ms }
    }

    fn lives(&self, now_ms: u64) -> bool {
        self.gone_at_ms.is_none_or(|gone| now_ms < gone)
    }
}

fn room(world: &World) -> Result<(), StateError> {
    if world.values.len() + world.numbers.len() < STATE_KEYS_MAX {
        Ok(())
    } else {
        Err(StateError::Full)
    }
}

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
    with(key, |world| {
        Ok(world.values.get(key).map(|entry| entry.value.clone()))
    })
}

pub(crate) fn set(key: &str, value: &[u8], ttl_s: u32) -> Result<(), StateError> {
    with(key, |world| {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StateError::Invalid("value".to_owned()));
        }
        if !world.values.contains_key(key) {
            room(world)?;
        }
        let entry = Entry::new(value.to_vec(), world.now_ms, ttl_s);
        world.values.insert(key.to_owned(), entry);
        Ok(())
    })
}

pub(crate) fn remove(key: &str) -> Result<bool, StateError> {
    with(key, |world| {
        let value = world.values.remove(key).is_some();
        let number = world.numbers.remove(key).is_some();
        Ok(value || number)
    })
}

pub(crate) fn add(key: &str, delta: i64, ttl_s: u32) -> Result<i64, StateError> {
    with(key, |world| {
        if let Some(entry) = world.numbers.get_mut(key) {
            entry.value = entry
                .value
                .checked_add(delta)
                .ok_or(StateError::NotANumber)?;
            return Ok(entry.value);
        }
        room(world)?;
        let entry = Entry::new(delta, world.now_ms, ttl_s);
        world.numbers.insert(key.to_owned(), entry);
        Ok(delta)
    })
}
