//! The state of one run of a guest: what its store holds.
//!
//! Host functions (see [`crate::capability`]) work on this state. It enforces
//! what a run may use up (memory, host calls, time), counts what it did use,
//! and keeps the transcript of host calls. A run is live, a canary, loading,
//! or a replay; only a live one reaches the embedder's sources.

use crate::options::{Grants, Limits, ModelBudget};
use crate::record::{HostCall, Input};
use crate::replay::ReplayCursor;
use crate::services::Services;
use backstop_core::input::{AnswerFacts, RequestFacts, RolloutFacts};
use backstop_core::plan::PlanOptions;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::ResourceLimiter;

/// Most lines that one decision may log; what is more is counted and dropped.
pub(crate) const LOG_LINES_MAX: u32 = 32;
/// Most incidents that one decision may raise.
pub(crate) const INCIDENTS_MAX: u32 = 4;
/// Most bytes of arguments and results of host calls that one decision may
/// leave in its record: eight of the longest model calls.
pub(crate) const TRANSCRIPT_BYTES_MAX: usize = 4 << 20;
/// Most elements of one table. A Rust policy has some hundred functions
/// behind pointers.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 10_000;

/// Why the host stopped a guest. Travels through wasmtime as the error of a
/// host function and is found again when the run has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostStop {
    #[error(
        "linear memory would grow to {wanted} bytes, the limit is {limit} (`limits.memory_bytes`)"
    )]
    Memory { wanted: usize, limit: usize },
    #[error("more than {limit} host calls (`limits.host_calls`)")]
    HostCalls { limit: u32 },
    #[error(
        "`{function}` was called while the policy was being loaded; `describe` and `configure` must not call imports"
    )]
    ImportWhileLoading { function: &'static str },
    #[error("more than {limit} bytes of arguments and results of host calls")]
    Transcript { limit: usize },
    #[error("the run differs from its record")]
    Diverged,
}

/// What kind of run this is.
pub(crate) enum Mode {
    /// `describe` and `configure`: imports may not be called.
    Loading,
    /// The canary call of an activation: imports give neutral answers.
    Canary,
    /// A decision.
    Live,
    /// A recorded decision, answered from its record.
    Replay(ReplayCursor),
}

/// Limits on memory over the whole store, and the most that was used.
pub(crate) struct Memory {
    pub(crate) bytes: usize,
    pub(crate) bytes_peak: usize,
    bytes_max: usize,
}

/// What a guest's store holds.
pub(crate) struct RunState {
    pub(crate) mode: Mode,
    /// What is asked; none while loading.
    pub(crate) input: Option<Input>,
    /// What a `fallback` policy asks for besides its plan.
    pub(crate) plan_options: PlanOptions,
    /// Answers to the policy's own calls of models.
    pub(crate) own_answers: Vec<Arc<AnswerFacts>>,
    pub(crate) policy: Arc<str>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) services: Arc<Services>,
    pub(crate) now_ms: u64,
    pub(crate) deadline: Instant,
    /// The transcript.
    pub(crate) calls: Vec<HostCall>,
    transcript_left: usize,
    pub(crate) host_time: Duration,
    pub(crate) host_calls_left: u32,
    pub(crate) host_calls_max: u32,
    pub(crate) log_lines_left: u32,
    pub(crate) log_lines_dropped: u32,
    pub(crate) incidents_left: u32,
    pub(crate) budget: ModelBudget,
    pub(crate) memory: Memory,
}

impl RunState {
    pub(crate) fn new(
        policy: Arc<str>,
        grants: Arc<Grants>,
        services: Arc<Services>,
        limits: &Limits,
    ) -> Self {
        let budget = grants.model_budget;
        RunState {
            mode: Mode::Loading,
            input: None,
            plan_options: PlanOptions::default(),
            own_answers: Vec::new(),
            policy,
            grants,
            services,
            now_ms: 0,
            deadline: Instant::now(),
            calls: Vec::new(),
            transcript_left: TRANSCRIPT_BYTES_MAX,
            host_time: Duration::ZERO,
            host_calls_left: limits.host_calls,
            host_calls_max: limits.host_calls,
            log_lines_left: LOG_LINES_MAX,
            log_lines_dropped: 0,
            incidents_left: INCIDENTS_MAX,
            budget,
            memory: Memory {
                bytes: 0,
                bytes_peak: 0,
                bytes_max: limits.memory_bytes,
            },
        }
    }

    /// Makes the state ready for one decision. Memory in use stays as it is,
    /// for instances that are used again.
    pub(crate) fn begin(&mut self, mode: Mode, input: Input, now_ms: u64, deadline: Instant) {
        // Incidents carry the policy's name, and a component that replays is
        // loaded under another one.
        if let Mode::Replay(cursor) = &mode {
            self.policy = cursor.policy().clone();
        }
        self.mode = mode;
        self.input = Some(input);
        self.plan_options = PlanOptions::default();
        self.own_answers.clear();
        self.now_ms = now_ms;
        self.deadline = deadline;
        self.calls = Vec::new();
        self.transcript_left = TRANSCRIPT_BYTES_MAX;
        self.host_time = Duration::ZERO;
        self.host_calls_left = self.host_calls_max;
        self.log_lines_left = LOG_LINES_MAX;
        self.log_lines_dropped = 0;
        self.incidents_left = INCIDENTS_MAX;
        self.budget = self.grants.model_budget;
        self.memory.bytes_peak = self.memory.bytes;
    }

    /// Counts one host call.
    ///
    /// # Errors
    ///
    /// Stops the guest when it may not make the call.
    pub(crate) fn enter(&mut self, function: &'static str) -> wasmtime::Result<()> {
        if matches!(self.mode, Mode::Loading) {
            return Err(HostStop::ImportWhileLoading { function }.into());
        }
        self.host_calls_left = match self.host_calls_left.checked_sub(1) {
            Some(left) => left,
            None => {
                return Err(HostStop::HostCalls {
                    limit: self.host_calls_max,
                }
                .into());
            }
        };
        Ok(())
    }

    /// Time until the deadline; none when it has passed. Always some in a
    /// replay, where the record tells what had passed.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// The recorded call at this point of a replay; none in other modes.
    ///
    /// # Errors
    ///
    /// Stops the guest when the record holds no further call.
    pub(crate) fn recorded(
        &mut self,
        function: &'static str,
    ) -> wasmtime::Result<Option<HostCall>> {
        let expected = match &self.mode {
            Mode::Replay(cursor) => cursor.expected().cloned(),
            _ => return Ok(None),
        };
        match expected {
            Some(call) => Ok(Some(call)),
            None => Err(self.unexpected(function).into()),
        }
    }

    /// Notes that a replay called `function` where its record has another
    /// call, or none.
    pub(crate) fn unexpected(&mut self, function: &'static str) -> HostStop {
        match &mut self.mode {
            Mode::Replay(cursor) => cursor.unexpected(function),
            _ => HostStop::Diverged,
        }
    }

    /// Adds a call to the transcript; in a replay, compares it with the record.
    ///
    /// # Errors
    ///
    /// Stops the guest when the replay differs here.
    pub(crate) fn settle(&mut self, call: HostCall) -> wasmtime::Result<()> {
        if let Mode::Replay(cursor) = &mut self.mode {
            cursor.compare(&call)?;
        }
        self.transcript_left = match self.transcript_left.checked_sub(call.weight()) {
            Some(left) => left,
            None => {
                return Err(HostStop::Transcript {
                    limit: TRANSCRIPT_BYTES_MAX,
                }
                .into());
            }
        };
        self.calls.push(call);
        Ok(())
    }

    /// The request of this decision.
    ///
    /// # Errors
    ///
    /// Traps a guest that made up a handle.
    pub(crate) fn request(&self) -> wasmtime::Result<&Arc<RequestFacts>> {
        match &self.input {
            Some(Input::Fallback(request) | Input::Threshold(request, _)) => Ok(request),
            _ => Err(wasmtime::Error::msg("there is no request in this decision")),
        }
    }

    /// The answer behind a handle: 0 is the one that is judged, `n + 1` is
    /// the answer to the policy's own call `n`.
    ///
    /// # Errors
    ///
    /// As [`RunState::request`].
    pub(crate) fn answer(&self, handle: u32) -> wasmtime::Result<&Arc<AnswerFacts>> {
        let found = match (handle, &self.input) {
            (0, Some(Input::Threshold(_, answer))) => Some(answer),
            (0, _) => None,
            (n, _) => self.own_answers.get(n as usize - 1),
        };
        found.ok_or_else(|| wasmtime::Error::msg("there is no such answer in this decision"))
    }

    /// The rollout of this decision.
    ///
    /// # Errors
    ///
    /// As [`RunState::request`].
    pub(crate) fn rollout(&self) -> wasmtime::Result<&Arc<RolloutFacts>> {
        match &self.input {
            Some(Input::Rollback(rollout)) => Ok(rollout),
            _ => Err(wasmtime::Error::msg("there is no rollout in this decision")),
        }
    }

    /// Name of the decision's route.
    pub(crate) fn route(&self) -> Option<&str> {
        self.request().ok().map(|request| &*request.route)
    }
}

impl ResourceLimiter for RunState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memory = &mut self.memory;
        let wanted = memory.bytes.saturating_add(desired.saturating_sub(current));
        if wanted > memory.bytes_max {
            return Err(HostStop::Memory {
                wanted,
                limit: memory.bytes_max,
            }
            .into());
        }
        memory.bytes = wanted;
        memory.bytes_peak = memory.bytes_peak.max(wanted);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        // A component of one module needs three: the module and two shims.
        8
    }

    fn tables(&self) -> usize {
        4
    }

    fn memories(&self) -> usize {
        2
    }
}
