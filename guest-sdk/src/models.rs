//! Import `models`: calls of models by the policy itself (a judge, a second
//! opinion).
//!
//! Such a call never runs policies. The grant names the models and bounds
//! calls, time and cost for each decision. A policy that uses this module
//! runs on its own stack, which makes each of its decisions dearer.

use crate::backend::models as backend;
use crate::metrics::quoted;
use crate::{Abstain, Answer};

pub use crate::bindings::base::backstop::policy::models::{Budget, BudgetKind, ModelError};

/// Most calls at once.
pub const CALLS_MAX: usize = 8;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall {
    /// Name of a granted model.
    pub model: String,
    /// Request body, the text of a JSON value in the model's own format; at
    /// most 256 KiB.
    pub body: String,
    /// Milliseconds for the call; 0 takes what the decision has left.
    pub timeout_ms: u32,
}

impl ModelCall {
    /// A call that may take all the time that the decision has left.
    pub fn new(model: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            body: body.into(),
            timeout_ms: 0,
        }
    }

    /// Bounds the call's time in milliseconds.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u32) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }

    fn as_raw(&self) -> backend::ModelCall<'_> {
        backend::ModelCall {
            model: &self.model,
            body: &self.body,
            timeout_ms: self.timeout_ms,
        }
    }
}

/// Calls one model and waits for the whole answer.
///
/// # Errors
/// Not granted, an argument out of range, the deadline, the budget (nothing
/// was sent), the model failed or cannot be called now; with `?` an abstention
/// that says so.
pub fn call(call: &ModelCall) -> Result<Answer, ModelError> {
    backend::call(call.as_raw()).map(Answer)
}

/// Calls several models at once, at most [`CALLS_MAX`], and waits for all of
/// them. The results are in the order of the calls.
pub fn call_many(calls: &[ModelCall]) -> Vec<Result<Answer, ModelError>> {
    let raw: Vec<_> = calls.iter().map(ModelCall::as_raw).collect();
    backend::call_many(&raw)
        .into_iter()
        .map(|result| result.map(Answer))
        .collect()
}

/// What this decision may still spend.
pub fn budget_left() -> Budget {
    backend::budget_left()
}

impl From<ModelError> for Abstain {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Denied(name) => quoted("model `", &name, "` is not granted"),
            ModelError::Invalid(what) => quoted("model call is invalid: ", &what, ""),
            ModelError::Deadline => Self::because("model call ran past the deadline"),
            ModelError::OverBudget(BudgetKind::Calls) => {
                Self::because("model call is over the budget of calls")
            }
            ModelError::OverBudget(BudgetKind::Time) => {
                Self::because("model call is over the budget of time")
            }
            ModelError::OverBudget(BudgetKind::Cost) => {
                Self::because("model call is over the budget of cost")
            }
            ModelError::Failed(class) => quoted("model call failed: ", class.name(), ""),
            ModelError::Unavailable(why) => quoted("model is not available: ", &why, ""),
        }
    }
}
