//! The self-test: limits prove that they work before the host serves.
//!
//! A limit that silently never fires is found by nobody until it is needed.
//! So a built-in guest loops, grows, recurses, traps and sleeps in the engine
//! and the store that policies get, on both paths that they are called on, and
//! each must be stopped in the way and the time that belongs to it.

use crate::error::StartError;
use crate::options::{Grants, Limits};
use crate::run::{self, Path};
use crate::run_state::{HostStop, RunState};
use crate::services::{PolicyStates, Services};
use crate::sources::{NoIncidents, NoMetrics, NoModels};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, Trap};

/// The guest; see `guest.wat` beside this file.
const GUEST: &[u8] = include_bytes!("guest.wasm");
/// Deadline of the tests of deadlines. The others have as long as they may
/// take: a busy machine must not stop by the clock what another limit is to
/// stop.
const DEADLINE: Duration = Duration::from_millis(10);
/// A guest that still runs after this was not stopped. Far above the deadline,
/// because a busy machine is no broken limit.
const PATIENCE: Duration = Duration::from_secs(2);
/// Memory of the guest, in bytes: below what it tries to get.
const MEMORY_BYTES_MAX: usize = 1 << 20;
/// Fuel for the tests that are not about fuel: more than is used up within
/// [`PATIENCE`].
const FUEL_ENOUGH: u64 = u64::MAX / 2;
/// Fuel for the test of fuel: used up long before the deadline.
const FUEL_LITTLE: u64 = 10_000;

/// Runs the self-test on a thread and a runtime of its own, so that it works
/// wherever the host is built.
///
/// # Errors
///
/// Names the limit that did not do its work.
pub(crate) fn run(engine: &Engine) -> Result<(), StartError> {
    let engine = engine.clone();
    let thread = std::thread::Builder::new()
        .name("backstop-selftest".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map_err(|error| format!("start a runtime: {error}"))?;
            runtime.block_on(all(&engine))
        });
    let outcome = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(error) => Err(format!("start a thread: {error}")),
    };
    outcome.map_err(StartError::SelfTest)
}

/// What one guest does, and what must stop it.
struct Trial {
    export: &'static str,
    path: Path,
    fuel: u64,
    deadline: Duration,
    limit: &'static str,
    stopped: fn(&wasmtime::Error) -> bool,
}

async fn all(engine: &Engine) -> Result<(), String> {
    let test = Test::new(engine)?;
    let trial = |export, fuel, limit, stopped| Trial {
        export,
        path: Path::Synchronous,
        fuel,
        deadline: PATIENCE,
        limit,
        stopped,
    };
    let timed = |export, limit| Trial {
        deadline: DEADLINE,
        ..trial(export, FUEL_ENOUGH, limit, over_time)
    };
    for path in [Path::Synchronous, Path::Waiting] {
        for trial in [
            timed("loop", "the deadline"),
            trial("loop", FUEL_LITTLE, "fuel", |error| {
                trapped(error, Trap::OutOfFuel)
            }),
            trial("grow", FUEL_ENOUGH, "the limit on memory", |error| {
                matches!(error.downcast_ref(), Some(HostStop::Memory { .. }))
            }),
            trial("recurse", FUEL_ENOUGH, "the limit on stack", |error| {
                trapped(error, Trap::StackOverflow)
            }),
            trial("trap", FUEL_ENOUGH, "a trap", |error| {
                trapped(error, Trap::UnreachableCodeReached)
            }),
        ] {
            test.expect(Trial { path, ..trial }).await?;
        }
    }
    let sleep = timed("sleep", "the deadline on host calls");
    let path = Path::Waiting;
    test.expect(Trial { path, ..sleep }).await
}

fn trapped(error: &wasmtime::Error, expected: Trap) -> bool {
    error.downcast_ref::<Trap>() == Some(&expected)
}

fn over_time(error: &wasmtime::Error) -> bool {
    trapped(error, Trap::Interrupt)
}

struct Test<'a> {
    engine: &'a Engine,
    component: Component,
    services: Arc<Services>,
}

impl<'a> Test<'a> {
    fn new(engine: &'a Engine) -> Result<Self, String> {
        let component =
            Component::new(engine, GUEST).map_err(|error| format!("load the guest: {error:#}"))?;
        Ok(Test {
            engine,
            component,
            services: Arc::new(Services {
                metrics: Arc::new(NoMetrics),
                models: Arc::new(NoModels),
                incidents: Arc::new(NoIncidents),
                states: PolicyStates::default(),
            }),
        })
    }

    /// Runs one export and checks that the right limit stopped it.
    async fn expect(&self, trial: Trial) -> Result<(), String> {
        let Trial {
            export,
            path,
            limit,
            ..
        } = trial;
        let begun = Instant::now();
        match self.call(&trial).await {
            Ok(()) => Err(format!(
                "{limit} did not stop a guest that does `{export}` ({path:?})"
            )),
            Err(error) if !(trial.stopped)(&error) => Err(format!(
                "a guest that does `{export}` ({path:?}) was stopped by something else than {limit}: {error:#}"
            )),
            Err(_) if begun.elapsed() > PATIENCE => Err(format!(
                "{limit} took {:?} to stop a guest that does `{export}` ({path:?})",
                begun.elapsed()
            )),
            Err(_) => Ok(()),
        }
    }

    async fn call(&self, trial: &Trial) -> wasmtime::Result<()> {
        let limits = Limits {
            memory_bytes: MEMORY_BYTES_MAX,
            ..Limits::default()
        };
        let grants = Arc::new(Grants::default());
        let state = RunState::new("self-test".into(), grants, self.services.clone(), &limits);
        let mut store = Store::new(self.engine, state);
        store.limiter(|state| state);
        run::arm(&mut store, trial.path.into(), trial.deadline, trial.fuel)?;

        let mut linker = Linker::new(self.engine);
        match trial.path {
            Path::Synchronous => {
                linker.root().func_wrap("sleep", |_, (): ()| Ok(()))?;
                let instance = linker.instantiate(&mut store, &self.component)?;
                let function = instance.get_typed_func::<(), ()>(&mut store, trial.export)?;
                function.call(&mut store, ())
            }
            Path::Waiting => {
                linker.root().func_wrap_async("sleep", |_, (): ()| {
                    Box::new(async {
                        tokio::time::sleep(PATIENCE * 2).await;
                        Ok(())
                    })
                })?;
                let instance = linker
                    .instantiate_async(&mut store, &self.component)
                    .await?;
                let function = instance.get_typed_func::<(), ()>(&mut store, trial.export)?;
                let called = function.call_async(&mut store, ());
                let called = tokio::time::timeout(trial.deadline, called).await;
                called.unwrap_or_else(|_| Err(Trap::Interrupt.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::HostOptions;

    #[test]
    fn the_guest_is_its_text_in_binary_form() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/selftest/guest");
        let binary = wat::parse_file(format!("{path}.wat")).unwrap();
        if binary != GUEST {
            std::fs::write(format!("{path}.wasm"), binary).unwrap();
            panic!("guest.wasm was out of date; it has been written anew, run the test again");
        }
    }

    #[test]
    fn the_limits_of_a_new_engine_hold() {
        let engine = crate::engine::build(&HostOptions::default()).unwrap();
        run(&engine).unwrap();
    }

    #[test]
    fn a_limit_that_does_not_fire_is_found() {
        // An engine without the hardening: no clock advances its epoch.
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true).consume_fuel(true);
        let engine = Engine::new(&config).unwrap();
        engine.increment_epoch();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let test = Test::new(&engine).unwrap();
        // With the clock standing still, fuel is what stops the loop.
        let verdict = runtime.block_on(test.expect(Trial {
            export: "loop",
            path: Path::Synchronous,
            fuel: FUEL_LITTLE,
            deadline: DEADLINE,
            limit: "the deadline",
            stopped: over_time,
        }));
        assert!(
            verdict
                .unwrap_err()
                .contains("something else than the deadline")
        );
    }
}
