//! `models`, scripted.

use super::answers::Answer;
use super::{WORLD, matches, raw};
pub(crate) use raw::models::ModelCall;
use raw::models::{Budget, BudgetKind, ModelError};

/// Each call takes the next scripted answer of the model; the last one
/// stays.
pub(crate) fn call(call: ModelCall<'_>) -> Result<Answer, ModelError> {
    WORLD.with_borrow_mut(|world| {
        if !matches(&world.grants.models, call.model) {
            return Err(ModelError::Denied(call.model.to_owned()));
        }
        if world.budget.calls == 0 {
            return Err(ModelError::OverBudget(BudgetKind::Calls));
        }
        world.budget.calls -= 1;
        world
            .model_calls
            .push((call.model.to_owned(), call.body.to_owned()));
        let Some(queue) = world.model_answers.get_mut(call.model) else {
            return Err(ModelError::Unavailable(call.model.to_owned()));
        };
        if queue.len() > 1 {
            queue.pop_front()
        } else {
            queue.front().cloned()
        }
        .unwrap_or_else(|| Err(ModelError::Unavailable(call.model.to_owned())))
    })
}

pub(crate) fn call_many(calls: &[ModelCall<'_>]) -> Vec<Result<Answer, ModelError>> {
    let too_many = calls.len() > crate::models::CALLS_MAX;
    calls
        .iter()
        .map(|one| {
            if too_many {
                Err(ModelError::Invalid("requests".to_owned()))
            } else {
                call(one.clone())
            }
        })
        .collect()
}

pub(crate) fn budget_left() -> Budget {
    WORLD.with_borrow(|world| world.budget)
}
