//! `state`: the policy's own key-value store.

use super::{replayed, timed};
use crate::bindings::state as wit;
use crate::record::{HostCall, StateError};
use crate::run_state::{Mode, RunState};
use crate::services::PolicyState;
use wasmtime::Result;

type Answer<T> = std::result::Result<T, wit::StateError>;

impl RunState {
    /// Runs an operation on the policy's store; in a canary call, on an empty
    /// one that is thrown away.
    fn on_state<T>(
        &mut self,
        operation: impl FnOnce(&PolicyState, u64) -> std::result::Result<T, StateError>,
    ) -> std::result::Result<T, StateError> {
        if matches!(self.mode, Mode::Canary) {
            return operation(&PolicyState::default(), self.now_ms);
        }
        if self.time_left().is_none() {
            return Err(StateError::Deadline);
        }
        timed!(
            self,
            operation(&self.services.states.of(&self.policy), self.now_ms)
        )
    }
}

impl wit::Host for RunState {
    fn get(&mut self, key: String) -> Result<Answer<Option<Vec<u8>>>> {
        self.enter("state.get")?;
        let result = match replayed!(self, "state.get", HostCall::StateGet { result, .. } => result)
        {
            Some(result) => result,
            None => self.on_state(|state, now_ms| state.get(now_ms, &key)),
        };
        self.settle(HostCall::StateGet {
            key,
            result: result.clone(),
        })?;
        Ok(result.map_err(error_to))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_s: u32) -> Result<Answer<()>> {
        self.enter("state.set")?;
        let result = match replayed!(self, "state.set", HostCall::StateSet { result, .. } => result)
        {
            Some(result) => result,
            None => self.on_state(|state, now_ms| state.set(now_ms, &key, &value, ttl_s)),
        };
        self.settle(HostCall::StateSet {
            key,
            value,
            ttl_s,
            result: result.clone(),
        })?;
        Ok(result.map_err(error_to))
    }

    fn remove(&mut self, key: String) -> Result<Answer<bool>> {
        self.enter("state.remove")?;
        let result = match replayed!(self, "state.remove", HostCall::StateRemove { result, .. } => result)
        {
            Some(result) => result,
            None => self.on_state(|state, now_ms| state.remove(now_ms, &key)),
        };
        self.settle(HostCall::StateRemove {
            key,
            result: result.clone(),
        })?;
        Ok(result.map_err(error_to))
    }

    fn add(&mut self, key: String, delta: i64, ttl_s: u32) -> Result<Answer<i64>> {
        self.enter("state.add")?;
        let result = match replayed!(self, "state.add", HostCall::StateAdd { result, .. } => result)
        {
            Some(result) => result,
            None => self.on_state(|state, now_ms| state.add(now_ms, &key, delta, ttl_s)),
        };
        self.settle(HostCall::StateAdd {
            key,
            delta,
            ttl_s,
            result: result.clone(),
        })?;
        Ok(result.map_err(error_to))
    }
}

fn error_to(error: StateError) -> wit::StateError {
    match error {
        StateError::Full => wit::StateError::Full,
        StateError::Invalid(what) => wit::StateError::Invalid(what),
        StateError::NotANumber => wit::StateError::NotANumber,
        StateError::Deadline => wit::StateError::Deadline,
    }
}
