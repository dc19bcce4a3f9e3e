//! One run of a guest: instance, call, and what came of it.
//!
//! A run never fails: whatever happens inside the sandbox ends as a
//! [`RunOutcome`]. What is then decided is not settled here but in
//! [`crate::failure`].

use crate::bindings::{
    AnswerHandle, RequestHandle, RolloutHandle, fallback, rollback, threshold, types,
};
use crate::convert::{self, Returned};
use crate::engine::ticks;
use crate::image::Image;
use crate::options::Limits;
use crate::record::{Cost, FailureKind, Fault, HostCall, Input, Moment, Output, Over, RunOutcome};
use crate::replay::ReplayCursor;
use crate::run_state::{HostStop, Mode, RunState};
use backstop_core::text::{REASON_BYTES_MAX, sanitize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, Resource, TypedFunc,
};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

/// What came of one run.
pub(crate) struct Run {
    pub(crate) outcome: RunOutcome,
    pub(crate) returned: Option<Arc<Output>>,
    pub(crate) calls: Vec<HostCall>,
    pub(crate) cost: Cost,
}

impl Run {
    /// A run that did not begin, by the host's fault.
    pub(crate) fn not_begun(detail: String) -> Self {
        Run {
            outcome: RunOutcome::Failed {
                kind: FailureKind::Load,
                fault: Fault::Host,
                over: None,
                detail,
            },
            returned: None,
            calls: Vec::new(),
            cost: Cost::default(),
        }
    }
}

/// An instance with its store.
pub(crate) struct Guest {
    pub(crate) store: Store<RunState>,
    pub(crate) instance: Instance,
    /// Bytes of linear memory that it began with.
    pub(crate) memory_bytes: usize,
    /// Decisions that it has made.
    pub(crate) decisions: u32,
}

/// What one run may use up.
#[derive(Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) deadline: Duration,
    pub(crate) fuel: u64,
}

impl Allowance {
    pub(crate) fn of_decision(limits: &Limits, waits: bool) -> Self {
        let usual = if waits {
            Limits::DEADLINE_WITH_MODELS
        } else {
            Limits::DEADLINE
        };
        let deadline = limits
            .deadline_ms
            .map_or(usual, |ms| Duration::from_millis(ms.into()));
        Allowance {
            deadline,
            fuel: limits.fuel,
        }
    }

    pub(crate) fn of_load(limits: &Limits) -> Self {
        Allowance {
            deadline: Duration::from_millis(limits.load_deadline_ms.into()),
            fuel: limits.load_fuel,
        }
    }
}

/// The guest's function is called on the thread, or on a stack of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// The policy cannot wait: no fiber.
    Synchronous,
    /// The policy may wait for models.
    Waiting,
}

/// What happens when the epoch says that time is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epoch {
    /// The guest traps at the deadline.
    Trap,
    /// The guest yields at every tick, and whoever waits for it gives up at
    /// the deadline.
    Yield,
}

impl From<Path> for Epoch {
    fn from(path: Path) -> Self {
        match path {
            Path::Synchronous => Epoch::Trap,
            Path::Waiting => Epoch::Yield,
        }
    }
}

/// Sets fuel and epoch for a run that must end within `left`.
pub(crate) fn arm(
    store: &mut Store<RunState>,
    epoch: Epoch,
    left: Duration,
    fuel: u64,
) -> wasmtime::Result<()> {
    store.set_fuel(fuel)?;
    match epoch {
        Epoch::Trap => {
            store.epoch_deadline_trap();
            store.set_epoch_deadline(ticks(left));
        }
        Epoch::Yield => {
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
        }
    }
    Ok(())
}

/// Asks an instance for a decision. The guest is spent (and must be dropped)
/// unless the outcome is an answer or an abstention.
pub(crate) async fn ask(
    image: &Image,
    guest: &mut Guest,
    mode: Mode,
    input: Input,
    moment: Moment,
    allowance: Allowance,
    begun: Instant,
) -> (Run, Option<ReplayCursor>) {
    let canary = matches!(mode, Mode::Canary);
    let deadline = begun + allowance.deadline;
    guest
        .store
        .data_mut()
        .begin(mode, input.clone(), moment.now_ms, deadline);
    let left = deadline.saturating_duration_since(Instant::now());
    // Loading drives the guest without a runtime, so it must not yield.
    let epoch = if canary {
        Epoch::Trap
    } else {
        image.path().into()
    };
    let result = match arm(&mut guest.store, epoch, left, allowance.fuel) {
        Ok(()) => call(image, guest, &input, moment, left).await,
        Err(error) => Err(error),
    };
    guest.decisions += 1;
    let fuel_left = guest.store.get_fuel().unwrap_or(0);
    let state = guest.store.data_mut();
    let (outcome, returned) = match result {
        Ok(Ok(output)) => match check(&output, &input) {
            Ok(()) => (RunOutcome::Answered, Some(Arc::new(output))),
            // The names in a canary call are made up.
            Err(_) if canary => (RunOutcome::Answered, Some(Arc::new(output))),
            Err(detail) => {
                // It may quote what the guest wrote.
                let detail = sanitize(detail, REASON_BYTES_MAX);
                let failure = Failure::of_policy(FailureKind::InvalidOutput, detail);
                (failure.into(), None)
            }
        },
        Ok(Err(reason)) => (RunOutcome::Abstained { reason }, None),
        Err(error) => (classify(&error, allowance).into(), None),
    };
    let total = begun.elapsed();
    let cost = Cost {
        fuel: allowance.fuel.saturating_sub(fuel_left),
        guest_ns: nanos(total.saturating_sub(state.host_time)),
        host_ns: nanos(state.host_time),
        memory_bytes: state.memory.bytes_peak as u64,
    };
    let cursor = match std::mem::replace(&mut state.mode, Mode::Loading) {
        Mode::Replay(cursor) => Some(cursor),
        _ => None,
    };
    let calls = std::mem::take(&mut state.calls);
    (
        Run {
            outcome,
            returned,
            calls,
            cost,
        },
        cursor,
    )
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn check(output: &Output, input: &Input) -> Result<(), String> {
    match (output, input) {
        (Output::Plan(plan), Input::Fallback(request)) => {
            plan.check(request).map_err(|e| e.to_string())
        }
        (Output::Verdict(verdict), _) => verdict.check().map_err(|e| e.to_string()),
        (Output::Assessment(assessment), Input::Rollback(rollout)) => {
            assessment.check(rollout).map_err(|e| e.to_string())
        }
        _ => Err("the decision is of another kind than the question".to_owned()),
    }
}

type Decided = Result<Output, String>;

async fn call(
    image: &Image,
    guest: &mut Guest,
    input: &Input,
    moment: Moment,
    left: Duration,
) -> wasmtime::Result<Decided> {
    let point = input.point();
    let Some(index) = image.point(point) else {
        return Err(wasmtime::Error::msg(format!(
            "the policy does not export `{point}`"
        )));
    };
    let context = types::Context {
        now_ms: moment.now_ms,
        seed: moment.seed,
        time_left_us: moment.time_left_us,
    };
    let request = Resource::<RequestHandle>::new_borrow(0);
    match input {
        Input::Fallback(facts) => {
            type F = (Returned<fallback::Plan>,);
            let (plan,) = invoke::<_, F>(image, guest, index, (context, request), left).await?;
            let options = std::mem::take(&mut guest.store.data_mut().plan_options);
            Ok(plan
                .map(|plan| convert::plan(plan, options, facts))
                .map_err(convert::abstention))
        }
        Input::Threshold(..) => {
            type F = (Returned<threshold::Verdict>,);
            let answer = Resource::<AnswerHandle>::new_borrow(0);
            let (verdict,) =
                invoke::<_, F>(image, guest, index, (context, request, answer), left).await?;
            Ok(verdict.map(convert::verdict).map_err(convert::abstention))
        }
        Input::Rollback(_) => {
            type F = (Returned<rollback::Assessment>,);
            let rollout = Resource::<RolloutHandle>::new_borrow(0);
            let (assessment,) =
                invoke::<_, F>(image, guest, index, (context, rollout), left).await?;
            Ok(assessment
                .map(convert::assessment)
                .map_err(convert::abstention))
        }
    }
}

async fn invoke<P, R>(
    image: &Image,
    guest: &mut Guest,
    index: ComponentExportIndex,
    params: P,
    left: Duration,
) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    let func = guest
        .instance
        .get_func(&mut guest.store, index)
        .ok_or_else(|| wasmtime::Error::msg("an export is missing that was there at load"))?;
    #[expect(
        unsafe_code,
        reason = "the type was checked when the component was loaded; checking costs at each call"
    )]
    // SAFETY: `Image::check_types` has checked this export against `P` and `R`.
    let func: TypedFunc<P, R> = unsafe { TypedFunc::new_unchecked(func) };
    match image.path() {
        Path::Synchronous => func.call(&mut guest.store, params),
        Path::Waiting => {
            let called =
                tokio::time::timeout(left, func.call_async(&mut guest.store, params)).await;
            called.unwrap_or_else(|_| Err(Trap::Interrupt.into()))
        }
    }
}

/// How a run failed.
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    fault: Fault,
    over: Option<Over>,
    pub(crate) detail: String,
}

impl Failure {
    /// A failure by the policy's fault.
    fn of_policy(kind: FailureKind, detail: String) -> Self {
        Failure {
            kind,
            fault: Fault::Policy,
            over: None,
            detail,
        }
    }

    /// A run that was over one of the bounds on its length.
    fn too_long(over: Over, detail: String) -> Self {
        Failure {
            over: Some(over),
            ..Failure::of_policy(FailureKind::Deadline, detail)
        }
    }
}

impl From<Failure> for RunOutcome {
    fn from(failure: Failure) -> Self {
        let Failure {
            kind,
            fault,
            over,
            detail,
        } = failure;
        RunOutcome::Failed {
            kind,
            fault,
            over,
            detail,
        }
    }
}

/// How a run failed, by the error that ended it.
pub(crate) fn classify(error: &wasmtime::Error, allowance: Allowance) -> Failure {
    if let Some(stop) = error.downcast_ref::<HostStop>() {
        let detail = stop.to_string();
        return match stop {
            HostStop::Memory { .. } | HostStop::Transcript { .. } => {
                Failure::of_policy(FailureKind::Memory, detail)
            }
            HostStop::HostCalls { .. } => Failure::too_long(Over::HostCalls, detail),
            HostStop::ImportWhileLoading { .. } | HostStop::Diverged => {
                Failure::of_policy(FailureKind::Trap, detail)
            }
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Failure {
            kind: FailureKind::Load,
            fault: Fault::Host,
            over: None,
            detail: "no instance was free (`instances_max`)".to_owned(),
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let deadline_ms = allowance.deadline.as_millis();
            let detail = format!("over its deadline of {deadline_ms} ms (`limits.deadline_ms`)");
            Failure::too_long(Over::Clock, detail)
        }
        Some(Trap::OutOfFuel) => {
            let detail = format!("over its fuel of {} (`limits.fuel`)", allowance.fuel);
            Failure::too_long(Over::Fuel, detail)
        }
        Some(trap) => Failure::of_policy(FailureKind::Trap, trap.to_string()),
        // What a guest passes or returns is read by wasmtime; what cannot be
        // read (invalid UTF-8, a pointer out of bounds, too much of it) ends
        // in an error that is no trap.
        None => {
            let detail = sanitize(format!("{error:#}"), REASON_BYTES_MAX);
            Failure::of_policy(FailureKind::InvalidOutput, detail)
        }
    }
}
