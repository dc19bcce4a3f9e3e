//! Pre-initialisation: keeps the memory that `configure` left behind.
//!
//! The component is instrumented so that its memory and globals can be read
//! from outside, initialised once, and written out again as a component that
//! begins in that state (wasmtime's Wizer). Every decision then starts from a
//! copy-on-write copy: settings are parsed once, isolation stays complete.

use crate::error::SandboxError;
use crate::run_state::RunState;
use futures_util::FutureExt;
use wasmtime::Store;
use wasmtime::component::{Instance, Lift, TypedFunc, WasmList};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

pub(crate) use wasmtime_wizer::ComponentContext;

/// Instrumented form of a component, and what is needed to write it out again.
///
/// # Errors
///
/// When the component is not valid, or of a form that cannot be kept.
pub(crate) fn instrument(wasm: &[u8]) -> Result<(ComponentContext<'_>, Vec<u8>), SandboxError> {
    Wizer::new()
        .instrument_component(wasm)
        .map_err(|error| SandboxError::new(&error))
}

/// The component in the state of `instance`.
///
/// # Errors
///
/// When the state holds something that cannot be kept.
pub(crate) fn snapshot(
    context: &ComponentContext<'_>,
    store: &mut Store<RunState>,
    instance: Instance,
) -> Result<Vec<u8>, SandboxError> {
    let wizer = Wizer::new();
    let mut access = Access {
        store,
        instance,
        error: None,
    };
    // Nothing in `Access` waits, so one poll is enough.
    let written = wizer
        .snapshot_component(context, &mut access)
        .now_or_never();
    if let Some(error) = access.error {
        return Err(SandboxError::new(&error));
    }
    match written {
        Some(written) => written.map_err(|error| SandboxError::new(&error)),
        None => Err(SandboxError::text("reading the state of the guest waited")),
    }
}

/// Reads the state through the accessors that the instrumentation added.
struct Access<'a> {
    store: &'a mut Store<RunState>,
    instance: Instance,
    /// The first error; the trait has no place for one.
    error: Option<wasmtime::Error>,
}

impl Access<'_> {
    fn accessor<R: Lift + 'static>(
        &mut self,
        interface: &str,
        function: &str,
    ) -> wasmtime::Result<TypedFunc<(), (R,)>> {
        let missing =
            || wasmtime::Error::msg(format!("accessor `{interface}#{function}` is missing"));
        let (_, interface) = self
            .instance
            .get_export(&mut *self.store, None, interface)
            .ok_or_else(missing)?;
        let (_, function) = self
            .instance
            .get_export(&mut *self.store, Some(&interface), function)
            .ok_or_else(missing)?;
        self.instance
            .get_typed_func::<(), (R,)>(&mut *self.store, function)
    }

    fn read<R: Lift + Send + Sync + 'static>(
        &mut self,
        interface: &str,
        function: &str,
    ) -> Option<R> {
        if self.error.is_some() {
            return None;
        }
        let value = self
            .accessor::<R>(interface, function)
            .and_then(|accessor| {
                let called = accessor.call_async(&mut *self.store, ()).now_or_never();
                called.unwrap_or_else(|| Err(wasmtime::Error::msg("an accessor waited")))
            });
        match value {
            Ok((value,)) => Some(value),
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

impl ComponentInstanceState for Access<'_> {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        func: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        match self.read::<WasmList<u8>>(instance, func) {
            Some(bytes) => contents(bytes.as_le_slice(&*self.store)),
            None => contents(&[]),
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.read(instance, func).unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.read(instance, func).unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.read::<f32>(instance, func)
            .unwrap_or_default()
            .to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.read::<f64>(instance, func)
            .unwrap_or_default()
            .to_bits()
    }
}
