//! Import `state`: a small key-value store of the policy's own.
//!
//! Shared by all revisions of one policy, kept in memory on one node, lost on
//! restart. Operations are atomic one by one. At most 1,024 keys of 1 to 128
//! bytes, values of at most 4 KiB.

use crate::Abstain;
use crate::backend::state as backend;
use crate::metrics::quoted;

pub use crate::bindings::base::backstop::policy::state::StateError;

/// The value of `key`; none when it was never set or has expired.
///
/// # Errors
/// Not granted, an invalid key, or the deadline.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
    backend::get(key)
}

/// Sets `key` for `ttl_s` seconds; 0 keeps it until the host restarts.
///
/// # Errors
/// Not granted, full, an invalid key or value, or the deadline. Nothing was
/// changed.
pub fn set(key: &str, value: &[u8], ttl_s: u32) -> Result<(), StateError> {
    backend::set(key, value, ttl_s)
}

/// Removes `key`; true when it was there.
///
/// # Errors
/// Not granted, an invalid key, or the deadline. Nothing was changed.
pub fn remove(key: &str) -> Result<bool, StateError> {
    backend::remove(key)
}

/// Adds `delta` to a number, which starts at 0 and is kept apart from the
/// values of [`set`], and returns the sum. A new number expires after `ttl_s`
/// seconds (0: never); adding to one does not prolong it.
///
/// # Errors
/// Not granted, full, an invalid key, past the number's range, or the
/// deadline. Nothing was changed.
pub fn add(key: &str, delta: i64, ttl_s: u32) -> Result<i64, StateError> {
    backend::add(key, delta, ttl_s)
}

impl From<StateError> for Abstain {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Denied => Self::because("state is not granted"),
            StateError::Full => Self::because("state is full"),
            StateError::Invalid(what) => quoted("state operation is invalid: ", &what, ""),
            StateError::NotANumber => {
                Self::because("state holds no number there, or its range is over")
            }
            StateError::Deadline => Self::because("state operation ran past the deadline"),
        }
    }
}
