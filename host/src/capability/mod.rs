//! Host functions: one file per interface of the contract.
//!
//! The interfaces `requests`, `answers` and `rollouts` are answered from the
//! decision's input and, like `delivery`, always linked. The others are linked only for policies
//! that were granted them ([`link`]), and each call is held against the grant
//! again. Host functions never panic on what a guest passes, never wait except
//! in `models`, and put every exchange into the transcript.

mod delivery;
mod evidence;
mod incident;
mod input;
mod log;
mod metrics;
mod models;
mod state;

use crate::bindings as wit;
use crate::options::Grants;
use crate::run_state::RunState;
use wasmtime::component::{HasData, Linker};

/// Tells generated code where its host state is.
pub(crate) struct Host;

impl HasData for Host {
    type Data<'a> = &'a mut RunState;
}

/// Interfaces of the contract that need a grant: name, the grant's name in
/// options and configuration, and whether `grants` has it.
pub(crate) fn granted(interface: &str, grants: &Grants) -> Option<(&'static str, bool)> {
    match interface {
        "metrics" | "evidence" => Some(("grants.metrics", !grants.metrics.is_empty())),
        "models" => Some(("grants.models", !grants.models.is_empty())),
        "state" => Some(("grants.state", grants.state)),
        "log" => Some(("grants.log", grants.log)),
        "incident" => Some(("grants.incident", grants.incident)),
        _ => None,
    }
}

/// Interfaces that are always linked.
pub(crate) const OPEN_INTERFACES: [&str; 5] =
    ["types", "requests", "answers", "rollouts", "delivery"];

/// Links what is granted.
///
/// # Errors
///
/// Never for the interfaces of this contract; the type is wasmtime's.
pub(crate) fn link(linker: &mut Linker<RunState>, grants: &Grants) -> wasmtime::Result<()> {
    fn state(state: &mut RunState) -> &mut RunState {
        state
    }
    wit::requests::add_to_linker::<_, Host>(linker, state)?;
    wit::answers::add_to_linker::<_, Host>(linker, state)?;
    wit::rollouts::add_to_linker::<_, Host>(linker, state)?;
    wit::delivery::add_to_linker::<_, Host>(linker, state)?;
    if !grants.metrics.is_empty() {
        wit::metrics::add_to_linker::<_, Host>(linker, state)?;
        wit::evidence::add_to_linker::<_, Host>(linker, state)?;
    }
    if !grants.models.is_empty() {
        wit::models::add_to_linker::<_, Host>(linker, state)?;
    }
    if grants.state {
        wit::state::add_to_linker::<_, Host>(linker, state)?;
    }
    if grants.log {
        wit::log::add_to_linker::<_, Host>(linker, state)?;
    }
    if grants.incident {
        wit::incident::add_to_linker::<_, Host>(linker, state)?;
    }
    Ok(())
}

/// True when one of `patterns` (a name, or a prefix followed by `*`) covers
/// `name`.
pub(crate) fn covered(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => pattern == name,
        })
}

/// Calls a source outside of the sandbox and counts the time, in runs that
/// are live.
macro_rules! timed {
    ($state:expr, $call:expr) => {{
        let begun = std::time::Instant::now();
        let result = $call;
        $state.host_time += begun.elapsed();
        result
    }};
}
pub(crate) use timed;

/// The result of a recorded call, where this is a replay; else leaves it to
/// the live path. `$pattern` names the record's variant and binds its result.
macro_rules! replayed {
    ($state:expr, $function:literal, $pattern:pat => $result:expr) => {
        match $state.recorded($function)? {
            None => None,
            Some($pattern) => Some($result),
            Some(_) => return Err($state.unexpected($function).into()),
        }
    };
}
pub(crate) use replayed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_names_and_prefixes() {
        let patterns = ["error-rate".to_owned(), "latency*".to_owned()];
        assert!(covered(&patterns, "error-rate"));
        assert!(covered(&patterns, "latency-ms"));
        assert!(!covered(&patterns, "error-rates"));
        assert!(!covered(&[], "error-rate"));
        assert!(covered(&["*".to_owned()], "anything"));
    }
}
