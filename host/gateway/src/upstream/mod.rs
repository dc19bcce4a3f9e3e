//! Models, as the data plane calls them: one [`Call`] in, one [`Reply`] or one
//! classified [`Failure`] out.
//!
//! In the order in which a call passes:
//!
//! - [`types`]: the seam to the data plane;
//! - [`target`]: what the operator configured, checked and made ready;
//! - [`keys`]: which of a provider's keys a call is made with;
//! - `call`: one attempt from its request to its reply;
//! - `client`: HTTP/1.1 connections and exchanges;
//! - [`simulated`]: models that are made up;
//! - `stream`, `extract`: what is read of an answer while it passes, or when
//!   it is whole;
//! - [`classify`], [`retry_after`]: whose fault a failure is, and how long to
//!   stay away.
//!
//! Always true: a failure has exactly one class; an answer that is not
//! complete is never handed over as complete; bodies and unknown fields pass
//! untouched; dropping a future or a stream cancels what runs upstream; every
//! buffer and every wait has a bound.

mod call;
pub mod classify;
mod client;
mod dialect;
mod extract;
mod headers;
pub mod keys;
mod probe;
pub mod retry_after;
pub mod simulated;
mod source;
mod stream;
pub mod target;
pub mod types;

#[cfg(test)]
mod tests;

pub use keys::{KEYS_MAX, KeyState, Keys};
pub use probe::probe;
pub use simulated::{Behaviour, Change, Fault, Simulated, SimulatedOptions};
pub use stream::{StreamFacts, Watch};
pub use target::{EndpointOptions, ReadingOptions, Target, TargetError, TargetOptions};
pub use types::{
    ByteStream, Call, Complete, Extracted, Failure, Path, Relay, Reply, SCORES_MAX, StreamReply,
    TOKEN_LOGPROBS_MAX, Timeouts, TraceHeaders, Usage,
};

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The client of all models. One per process, kept across reloads, so that
/// connections and simulated providers outlive a change of configuration.
#[derive(Clone, Default)]
pub struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    origins: client::Origins,
    simulated: Mutex<HashMap<String, Arc<Simulated>>>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}

impl Upstream {
    /// A client without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a release callable. Nothing is sent; targets of one server share
    /// its connections. Reads the system's certificates when it is the first
    /// with `https`, which takes some milliseconds.
    ///
    /// # Errors
    ///
    /// What is wrong with `options`. Nothing else changes.
    pub fn target(&self, options: TargetOptions) -> Result<Arc<Target>, TargetError> {
        Target::new(options, |uri| self.shared.origins.get(uri)).map(Arc::new)
    }

    /// The simulated provider of this name. With the same options as before
    /// it is the same one, and its script plays on; with others it starts anew.
    pub fn simulate(&self, provider: &str, options: SimulatedOptions) -> Arc<Simulated> {
        let mut known = self.shared.simulated.lock();
        match known.get(provider) {
            Some(simulated) if *simulated.options() == options => Arc::clone(simulated),
            _ => {
                let simulated = Arc::new(Simulated::new(options));
                known.insert(provider.to_owned(), Arc::clone(&simulated));
                simulated
            }
        }
    }

    /// The simulated provider that was last made under this name, to change it
    /// while it runs.
    pub fn simulated(&self, provider: &str) -> Option<Arc<Simulated>> {
        self.shared.simulated.lock().get(provider).cloned()
    }

    /// Makes one attempt.
    ///
    /// # Errors
    ///
    /// The attempt failed before anything of an answer could be handed over:
    /// another model may be asked. Later failures come out of the stream.
    pub async fn call(&self, call: Call) -> Result<Reply, Failure> {
        call::call(call).await
    }
}
