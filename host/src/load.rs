//! Loading: from the bytes of a component to an image that may serve.
//!
//! The steps of an activation before the swap: inspect, compile, check world
//! and imports against the grants, `describe`, check settings, `configure`,
//! keep the state, canary call. Nothing in here touches what serves now. It
//! blocks, so it runs off the threads that decide.

use crate::bindings::lifecycle;
use crate::cache::CodeCache;
use crate::capability::{self, OPEN_INTERFACES};
use crate::complexity;
use crate::contract;
use crate::convert::{self, Description};
use crate::error::{ActivationErrorKind as Kind, SandboxError, SettingsProblem};
use crate::image::Image;
use crate::options::{Grants, Isolation, Limits, PolicyOptions};
use crate::preinit;
use crate::record::{DecisionPoint, FailureKind, Input, Moment, RunOutcome};
use crate::reset;
use crate::run::{self, Allowance, Epoch, Guest, Path};
use crate::run_state::{Mode, RunState};
use crate::services::Services;
use crate::settings;
use backstop_core::input::{
    AnswerFacts, BreakerState, Candidate, FinishReason, RequestFacts, RolloutFacts, RolloutStage,
};
use backstop_core::text::{REASON_BYTES_MAX, sanitize};
use futures_util::FutureExt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

/// Times that guest code runs in one load, each within its own deadline: start,
/// `describe`, `configure`, start, and a start and a canary call for each point.
pub(crate) const GUEST_STEPS: u64 = 4 + 2 * DecisionPoint::ALL.len() as u64;
/// Most mistakes in settings that are kept; see the contract.
const PROBLEMS_MAX: usize = 256;

/// What loading needs.
pub(crate) struct Loader {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<CodeCache>,
    pub(crate) services: Arc<Services>,
    pub(crate) component_bytes_max: usize,
}

/// What loading yields.
pub(crate) struct Loaded {
    pub(crate) image: Image,
    pub(crate) description: Description,
}

impl Loader {
    /// Goes through all steps for `component` under the name `policy`.
    ///
    /// # Errors
    ///
    /// The first step that fails, by its own variant.
    pub(crate) fn load(
        &self,
        policy: &Arc<str>,
        component: &[u8],
        options: &PolicyOptions,
    ) -> Result<Loaded, Kind> {
        self.inspect(component)?;
        complexity::check(component)?;
        let (context, instrumented) = preinit::instrument(component).map_err(Kind::Invalid)?;
        let instrumented = self.compile(&instrumented)?;
        check_world(&self.engine, &instrumented, &options.grants)?;
        let image = self.link(&instrumented, &options.grants)?;

        let mut guest = self.start(policy, &image, options)?;
        let description = describe(&mut guest, &instrumented, &options.limits)?;
        let text = settings::check(&options.settings, &description.settings_schema)?;
        configure(&mut guest, &instrumented, &options.limits, &text)?;
        let snapshot = preinit::snapshot(&context, &mut guest.store, guest.instance)
            .map_err(Kind::Snapshot)?;
        drop(guest);

        let image = match options.isolation {
            Isolation::Fresh | Isolation::Warm => {
                self.link(&self.compile(&snapshot)?, &options.grants)?
            }
            Isolation::Reset => {
                let snapshot = with_reset(&snapshot, &image)?;
                let image = self.link(&self.compile(&snapshot)?, &options.grants)?;
                image.with_reset()
            }
        };
        let mut guest = self.start(policy, &image, options)?;
        image.check_types(&mut guest)?;
        drop(guest);
        for point in image.points() {
            self.canary(policy, &image, options, point)?;
        }
        Ok(Loaded { image, description })
    }

    /// What can be told without compiling.
    fn inspect(&self, component: &[u8]) -> Result<(), Kind> {
        let bytes_max = self.component_bytes_max;
        if component.len() > bytes_max {
            return Err(Kind::TooLarge {
                bytes: component.len(),
                bytes_max,
            });
        }
        match component {
            [] => Err(Kind::Empty),
            // The preamble: magic, version, layer (0 is a module, 1 a component).
            [0, b'a', b's', b'm', _, _, 0, 0, ..] => Err(Kind::CoreModule),
            [0, b'a', b's', b'm', ..] => Ok(()),
            _ => Err(Kind::NotWasm(hex::encode(
                &component[..component.len().min(4)],
            ))),
        }
    }

    fn compile(&self, wasm: &[u8]) -> Result<Component, Kind> {
        let compiled = match &self.cache {
            Some(cache) => cache.compile(&self.engine, wasm),
            None => Component::new(&self.engine, wasm),
        };
        compiled.map_err(|error| Kind::Invalid(SandboxError::new(&error)))
    }

    fn link(&self, component: &Component, grants: &Grants) -> Result<Image, Kind> {
        let failed = |error: wasmtime::Error| Kind::Link(SandboxError::new(&error));
        let mut linker = Linker::new(&self.engine);
        capability::link(&mut linker, grants).map_err(failed)?;
        let pre = linker.instantiate_pre(component).map_err(failed)?;
        let path = if imports(&self.engine, component)
            .any(|name| contract::interface(&name) == Some("models"))
        {
            Path::Waiting
        } else {
            Path::Synchronous
        };
        Ok(Image::new(pre, path))
    }

    fn start(
        &self,
        policy: &Arc<str>,
        image: &Image,
        options: &PolicyOptions,
    ) -> Result<Guest, Kind> {
        let state = self.state(policy, options);
        let allowance = Allowance::of_load(&options.limits);
        let started = finish(image.instantiate(state, allowance, Epoch::Trap));
        started.map_err(|error| guest_failed("start", &error, allowance))
    }

    fn state(&self, policy: &Arc<str>, options: &PolicyOptions) -> RunState {
        RunState::new(
            policy.clone(),
            Arc::new(options.grants.clone()),
            self.services.clone(),
            &options.limits,
        )
    }

    /// One call with made-up input: a policy that cannot even answer that
    /// does not get to serve.
    fn canary(
        &self,
        policy: &Arc<str>,
        image: &Image,
        options: &PolicyOptions,
        point: DecisionPoint,
    ) -> Result<(), Kind> {
        let allowance = Allowance::of_load(&options.limits);
        let mut guest = self.start(policy, image, options)?;
        let moment = Moment {
            now_ms: 0,
            seed: 0,
            time_left_us: u64::from(options.limits.load_deadline_ms) * 1_000,
        };
        let asked = run::ask(
            image,
            &mut guest,
            Mode::Canary,
            canary_input(point),
            moment,
            allowance,
            Instant::now(),
        );
        let Some((run, _)) = asked.now_or_never() else {
            return Err(Kind::Guest {
                step: "canary",
                kind: FailureKind::Deadline,
                detail: "waited for a host call".to_owned(),
            });
        };
        match run.outcome {
            RunOutcome::Failed { kind, detail, .. } => Err(Kind::Guest {
                step: "canary",
                kind,
                detail,
            }),
            _ => Ok(()),
        }
    }
}

/// Drives a step of the load. Host functions do not wait while loading, and
/// the guest is stopped by its epoch, so it is ready at once.
fn finish<T>(step: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    step.now_or_never()
        .unwrap_or_else(|| Err(wasmtime::Trap::Interrupt.into()))
}

/// The component with the means to put its instances back.
fn with_reset(component: &[u8], image: &Image) -> Result<Vec<u8>, Kind> {
    if image.path() == Path::Waiting {
        // Answers that it has not dropped stay with the instance.
        return Err(Kind::NoReset("it may call models".to_owned()));
    }
    if image.point(DecisionPoint::Threshold).is_some() {
        // See `reset`: of two handles, the guest chooses the order.
        return Err(Kind::NoReset("it decides at `threshold`".to_owned()));
    }
    reset::instrument(component).map_err(|unfit| Kind::NoReset(unfit.to_string()))
}

fn guest_failed(step: &'static str, error: &wasmtime::Error, allowance: Allowance) -> Kind {
    let failure = run::classify(error, allowance);
    Kind::Guest {
        step,
        kind: failure.kind,
        detail: failure.detail,
    }
}

fn imports(engine: &Engine, component: &Component) -> impl Iterator<Item = String> {
    let imports: Vec<_> = component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name.to_string())
        .collect();
    imports.into_iter()
}

/// Checks what the component imports and exports.
fn check_world(engine: &Engine, component: &Component, grants: &Grants) -> Result<(), Kind> {
    let exports: Vec<String> = component
        .component_type()
        .exports(engine)
        .filter(|(name, _)| !name.to_string().starts_with("wasmtime:wizer/"))
        .map(|(name, _)| name.to_string())
        .collect();
    let names: Vec<String> = imports(engine, component)
        .chain(exports.iter().cloned())
        .collect();
    for name in &names {
        if let Some((_, version)) = contract::parse(name)
            && !contract::accepts(version)
        {
            return Err(Kind::ContractVersion {
                found: version.to_owned(),
                offered: contract::VERSION,
            });
        }
    }
    check_imports(engine, component, grants)?;
    let lifecycle = ["describe", "configure"]
        .iter()
        .all(|function| contract::export(component, "lifecycle", function).is_some());
    if !lifecycle {
        return Err(Kind::World {
            missing: contract::name("lifecycle"),
            exports,
        });
    }
    let is_point = |export: &String| {
        contract::interface(export)
            .is_some_and(|interface| ["fallback", "threshold", "rollback"].contains(&interface))
    };
    if !exports.iter().any(is_point) {
        let missing = contract::name("{fallback,threshold,rollback}");
        return Err(Kind::World { missing, exports });
    }
    Ok(())
}

fn check_imports(engine: &Engine, component: &Component, grants: &Grants) -> Result<(), Kind> {
    let mut refused = Vec::new();
    let mut missing = Vec::new();
    for (name, item) in component.component_type().imports(engine) {
        let name = name.to_string();
        let known = contract::interface(&name)
            .filter(|_| matches!(item.ty, ComponentItem::ComponentInstance(_)));
        match known {
            Some(interface) if OPEN_INTERFACES.contains(&interface) => {}
            Some(interface) => match capability::granted(interface, grants) {
                Some((_, true)) => {}
                Some((grant, false)) => {
                    missing.push(grant.to_owned());
                    refused.push(name);
                }
                None => return Err(unknown_import(name)),
            },
            None => return Err(unknown_import(name)),
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Kind::NotGranted {
            imports: refused,
            grants: missing,
        })
    }
}

fn unknown_import(import: String) -> Kind {
    let hint = if import.starts_with("wasi:") {
        "policies get time and randomness from their input; build for wasm32-unknown-unknown with `backstop policy build`"
    } else {
        "remove it"
    };
    Kind::UnknownImport {
        import: sanitize(import, REASON_BYTES_MAX),
        hint,
    }
}

fn describe(
    guest: &mut Guest,
    component: &Component,
    limits: &Limits,
) -> Result<Description, Kind> {
    let allowance = Allowance::of_load(limits);
    let called = lifecycle_call::<(), (lifecycle::Description,)>(
        guest,
        component,
        "describe",
        (),
        allowance,
    );
    let (description,) = called.map_err(|error| guest_failed("describe", &error, allowance))?;
    convert::description(description).map_err(Kind::Description)
}

fn configure(
    guest: &mut Guest,
    component: &Component,
    limits: &Limits,
    text: &str,
) -> Result<(), Kind> {
    let allowance = Allowance::of_load(limits);
    type Configured = (Result<(), Vec<lifecycle::Problem>>,);
    let called =
        lifecycle_call::<(&str,), Configured>(guest, component, "configure", (text,), allowance);
    let (configured,) = called.map_err(|error| guest_failed("configure", &error, allowance))?;
    configured.map_err(|problems| Kind::Settings {
        problems: problems
            .into_iter()
            .take(PROBLEMS_MAX)
            .map(|problem| SettingsProblem {
                path: sanitize(problem.path, REASON_BYTES_MAX),
                message: sanitize(problem.message, REASON_BYTES_MAX),
            })
            .collect(),
    })
}

fn lifecycle_call<P, R>(
    guest: &mut Guest,
    component: &Component,
    function: &str,
    params: P,
    allowance: Allowance,
) -> wasmtime::Result<R>
where
    P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower + Send + Sync,
    R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift + Send + Sync + 'static,
{
    let index = contract::export(component, "lifecycle", function)
        .ok_or_else(|| wasmtime::Error::msg(format!("the policy does not export `{function}`")))?;
    let typed = guest
        .instance
        .get_typed_func::<P, R>(&mut guest.store, index)?;
    // Stopped by the epoch on either path: nothing waits while loading.
    run::arm(
        &mut guest.store,
        Epoch::Trap,
        allowance.deadline,
        allowance.fuel,
    )?;
    finish(typed.call_async(&mut guest.store, params))
}

fn canary_input(point: DecisionPoint) -> Input {
    let name = |text: &str| -> Arc<str> { Arc::from(text) };
    let request = || {
        Arc::new(RequestFacts {
            route: name("canary"),
            candidates: ["canary-a", "canary-b"]
                .map(|model| Candidate {
                    model: name(model),
                    breaker: BreakerState::Closed,
                    healthy: true,
                    ..Candidate::default()
                })
                .to_vec(),
            rules: Arc::new([name("canary-rules")]),
            has_review: true,
            streaming: false,
            attempts: Vec::new(),
            tags: Vec::new(),
            body_bytes: 2,
            body: None,
            ..RequestFacts::default()
        })
    };
    match point {
        DecisionPoint::Fallback => Input::Fallback(request()),
        DecisionPoint::Threshold => {
            let answer = AnswerFacts {
                model: name("canary-a"),
                release: name("canary"),
                step: 0,
                steps_left: 1,
                confidence: Some(0.5),
                label: Some("canary".to_owned()),
                scores: Vec::new(),
                token_logprobs: Vec::new(),
                finish_reason: Some(FinishReason::Stop),
                latency_ms: 1,
                delivered: false,
                body_bytes: 2,
                body: None,
                ..AnswerFacts::default()
            };
            Input::Threshold(request(), Arc::new(answer))
        }
        DecisionPoint::Rollback => Input::Rollback(Arc::new(RolloutFacts {
            model: name("canary-a"),
            candidate: name("r2"),
            stable: name("r1"),
            stage: RolloutStage::Canary,
            share_percent: 5,
            next_share_percent: Some(25),
            age_ms: 1_000,
            step_age_ms: 1_000,
            ready_releases: vec![name("r1")],
        })),
    }
}
