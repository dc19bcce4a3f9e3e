//! Images: components that are compiled, linked and ready to be instantiated.
//!
//! An image is what a revision runs. It is made by [`crate::load`] and holds
//! the component in the state that `configure` left behind.

use crate::bindings::{
    AnswerHandle, RequestHandle, RolloutHandle, fallback, rollback, threshold, types,
};
use crate::contract;
use crate::convert::Returned;
use crate::error::{ActivationErrorKind, SandboxError};
use crate::record::DecisionPoint;
use crate::reset;
use crate::run::{Allowance, Epoch, Guest, Path, arm};
use crate::run_state::RunState;
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, Resource,
    TypedFunc,
};
use wasmtime::{Engine, Store};

/// A component that is ready to be instantiated.
pub(crate) struct Image {
    pre: InstancePre<RunState>,
    path: Path,
    fallback: Option<ComponentExportIndex>,
    threshold: Option<ComponentExportIndex>,
    rollback: Option<ComponentExportIndex>,
    /// Puts an instance back; there for components that were given it.
    reset: Option<ComponentExportIndex>,
}

impl Image {
    /// Takes over a linked component. The types of its decision points are
    /// not yet checked; see [`Image::check_types`].
    pub(crate) fn new(pre: InstancePre<RunState>, path: Path) -> Self {
        let component = pre.component();
        let point = |interface, function| contract::export(component, interface, function);
        Image {
            fallback: point("fallback", "decide"),
            threshold: point("threshold", "judge"),
            rollback: point("rollback", "assess"),
            reset: None,
            path,
            pre,
        }
    }

    /// The same image of a component that was given the means to put its
    /// instances back.
    pub(crate) fn with_reset(mut self) -> Self {
        self.reset = self.pre.component().get_export_index(None, reset::EXPORT);
        self
    }

    /// The engine that the image was compiled for.
    pub(crate) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// How the guest is called.
    pub(crate) fn path(&self) -> Path {
        self.path
    }

    /// The export of a decision point.
    pub(crate) fn point(&self, point: DecisionPoint) -> Option<ComponentExportIndex> {
        match point {
            DecisionPoint::Fallback => self.fallback,
            DecisionPoint::Threshold => self.threshold,
            DecisionPoint::Rollback => self.rollback,
        }
    }

    /// The decision points that the component exports.
    pub(crate) fn points(&self) -> Vec<DecisionPoint> {
        DecisionPoint::ALL
            .into_iter()
            .filter(|point| self.point(*point).is_some())
            .collect()
    }

    /// Makes an instance in a store of its own.
    ///
    /// # Errors
    ///
    /// When there is no room in the pool, or the guest fails in its start
    /// function.
    pub(crate) async fn instantiate(
        &self,
        state: RunState,
        allowance: Allowance,
        epoch: Epoch,
    ) -> wasmtime::Result<Guest> {
        let mut store = Store::new(self.engine(), state);
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        arm(&mut store, epoch, allowance.deadline, allowance.fuel)?;
        let instance = match self.path {
            Path::Synchronous => self.pre.instantiate(&mut store)?,
            Path::Waiting => self.pre.instantiate_async(&mut store).await?,
        };
        Ok(Guest {
            memory_bytes: store.data().memory.bytes,
            store,
            instance,
            decisions: 0,
        })
    }

    /// Puts the instance back into the state that it was made in; false when
    /// that did not work and the guest is spent.
    pub(crate) fn reset(&self, guest: &mut Guest, allowance: Allowance) -> bool {
        let Some(index) = self.reset else {
            return false;
        };
        let (store, instance) = (&mut guest.store, guest.instance);
        if arm(store, Epoch::Trap, allowance.deadline, RESET_FUEL).is_err() {
            return false;
        }
        let Some(func) = instance.get_func(&mut *store, index) else {
            return false;
        };
        #[expect(
            unsafe_code,
            reason = "the type was checked when the component was loaded; checking costs at each call"
        )]
        // SAFETY: `Image::check_types` has checked this export.
        let func: TypedFunc<(), (u32,)> = unsafe { TypedFunc::new_unchecked(func) };
        let done = matches!(func.call(&mut *store, ()), Ok((0,)));
        // What a decision asked for and did not get may have been counted.
        store.data_mut().memory.bytes = guest.memory_bytes;
        done
    }

    /// Checks that the decision points have the types of the contract, so
    /// that calls need not.
    ///
    /// # Errors
    ///
    /// When one has another type.
    pub(crate) fn check_types(&self, guest: &mut Guest) -> Result<(), ActivationErrorKind> {
        type Request = Resource<RequestHandle>;
        let Guest {
            store, instance, ..
        } = guest;
        if let Some(index) = self.fallback {
            check::<(types::Context, Request), (Returned<fallback::Plan>,)>(
                store, instance, index,
            )?;
        }
        if let Some(index) = self.threshold {
            type Params = (types::Context, Request, Resource<AnswerHandle>);
            check::<Params, (Returned<threshold::Verdict>,)>(store, instance, index)?;
        }
        if let Some(index) = self.rollback {
            type Params = (types::Context, Resource<RolloutHandle>);
            check::<Params, (Returned<rollback::Assessment>,)>(store, instance, index)?;
        }
        if let Some(index) = self.reset {
            check::<(), (u32,)>(store, instance, index)?;
        }
        Ok(())
    }
}

/// Fuel for putting an instance back, whose largest memory takes about one unit
/// for each byte.
const RESET_FUEL: u64 = 10_000_000;

/// Bytes that one call may bring from the guest to the host: a decision is
/// some KiB, a call of a model has a body of up to 256 KiB, and strings count
/// several times while they are checked.
const HOSTCALL_BYTES_MAX: usize = 4 << 20;

fn check<P, R>(
    store: &mut Store<RunState>,
    instance: &Instance,
    index: ComponentExportIndex,
) -> Result<(), ActivationErrorKind>
where
    P: ComponentNamedList + Lower + 'static,
    R: ComponentNamedList + Lift + 'static,
{
    let typed = instance.get_typed_func::<P, R>(&mut *store, index);
    typed
        .map(drop)
        .map_err(|error| ActivationErrorKind::Link(SandboxError::new(&error)))
}
