//! The self-test: limits prove that they work before the host serves.
//!
//! A limit that silently never fires is found by nobody until it is needed.
//! So a built-in guest loops, grows, recurses, traps and sleeps in the engine
//! that policies get, and each must be stopped in the way and the time that
//! belongs to it. Memory is held by a limiter of the test's own; that of
//! policies is in `run_state`.

use crate::engine::ticks;
use crate::error::StartError;
use crate::run_state::TABLE_ELEMENTS_MAX;
use std::time::{Duration, Instant};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, ResourceLimiter, Store, Trap};

/// The guest; see `guest.wat` beside this file.
const GUEST: &[u8] = include_bytes!("guest.wasm");
/// Deadline of each test.
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

struct Limit;

impl ResourceLimiter for Limit {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > MEMORY_BYTES_MAX {
            Err(wasmtime::Error::msg(OVER_MEMORY))
        } else {
            Ok(true)
        }
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

const OVER_MEMORY: &str = "self-test: over memory";

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

async fn all(engine: &Engine) -> Result<(), String> {
    let component =
        Component::new(engine, GUEST).map_err(|error| format!("load the guest: {error:#}"))?;
    let test = Test { engine, component };
    test.expect("loop", FUEL_ENOUGH, "the deadline", |error| {
        trapped(error, Trap::Interrupt)
    })
    .await?;
    test.expect("loop", FUEL_LITTLE, "fuel", |error| {
        trapped(error, Trap::OutOfFuel)
    })
    .await?;
    test.expect("grow", FUEL_ENOUGH, "the limit on memory", |error| {
        format!("{error:#}").contains(OVER_MEMORY)
    })
    .await?;
    test.expect("recurse", FUEL_ENOUGH, "the limit on stack", |error| {
        trapped(error, Trap::StackOverflow)
    })
    .await?;
    test.expect("trap", FUEL_ENOUGH, "a trap", |error| {
        trapped(error, Trap::UnreachableCodeReached)
    })
    .await?;
    test.expect(
        "sleep",
        FUEL_ENOUGH,
        "the deadline on host calls",
        |error| trapped(error, Trap::Interrupt),
    )
    .await
}

fn trapped(error: &wasmtime::Error, expected: Trap) -> bool {
    error.downcast_ref::<Trap>() == Some(&expected)
}

struct Test<'a> {
    engine: &'a Engine,
    component: Component,
}

impl Test<'_> {
    /// Runs one export and checks that the right limit stopped it.
    async fn expect(
        &self,
        export: &str,
        fuel: u64,
        limit: &str,
        right: impl Fn(&wasmtime::Error) -> bool,
    ) -> Result<(), String> {
        let begun = Instant::now();
        match self.call(export, fuel).await {
            Ok(()) => Err(format!("{limit} did not stop a guest that does `{export}`")),
            Err(error) if !right(&error) => Err(format!(
                "a guest that does `{export}` was stopped by something else than {limit}: {error:#}"
            )),
            Err(_) if begun.elapsed() > PATIENCE => Err(format!(
                "{limit} took {:?} to stop a guest that does `{export}`",
                begun.elapsed()
            )),
            Err(_) => Ok(()),
        }
    }

    async fn call(&self, export: &str, fuel: u64) -> wasmtime::Result<()> {
        let mut linker = Linker::new(self.engine);
        linker.root().func_wrap_async("sleep", |_, (): ()| {
            Box::new(async {
                tokio::time::sleep(PATIENCE * 2).await;
                Ok(())
            })
        })?;
        let mut store = Store::new(self.engine, Limit);
        store.limiter(|limit| limit);
        store.set_fuel(fuel)?;
        store.epoch_deadline_trap();
        store.set_epoch_deadline(ticks(DEADLINE));
        let instance = linker
            .instantiate_async(&mut store, &self.component)
            .await?;
        let function = instance.get_typed_func::<(), ()>(&mut store, export)?;
        let called = tokio::time::timeout(DEADLINE * 2, function.call_async(&mut store, ())).await;
        called.unwrap_or_else(|_| Err(Trap::Interrupt.into()))
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
        let component = Component::new(&engine, GUEST).unwrap();
        let test = Test {
            engine: &engine,
            component,
        };
        // With the clock standing still, fuel is what stops the loop.
        let verdict = runtime.block_on(test.expect("loop", FUEL_LITTLE, "the deadline", |error| {
            trapped(error, Trap::Interrupt)
        }));
        assert!(
            verdict
                .unwrap_err()
                .contains("something else than the deadline")
        );
    }
}
