//! `models`: calls of models by the policy itself, within grant and budget.
//!
//! The only host functions that wait. A call never runs policies: the
//! embedder's [`ModelCaller`](crate::ModelCaller) goes to the model directly.

use super::input::failure_class;
use super::{covered, replayed};
use crate::bindings::{AnswerHandle, models as wit};
use crate::record::{HostCall, RecordedAnswer};
use crate::run_state::{Mode, RunState};
use crate::sources::{BudgetKind, ModelAnswer, ModelCall, ModelError};
use futures_util::future::{Either, join_all, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Result;
use wasmtime::component::Resource;

/// Longest body of a call, in bytes; see the contract.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Most calls at once; see the contract.
const CALLS_MAX: usize = 8;
/// Longest body of an answer that a record keeps and a policy may read.
const ANSWER_BYTES_MAX: usize = 256 << 10;

type Answer = std::result::Result<Resource<AnswerHandle>, wit::ModelError>;
type Outcome = std::result::Result<Box<RecordedAnswer>, ModelError>;

/// What one call may use up, taken from the budget.
struct Reserved {
    timeout: Duration,
    /// Asked for once: prices may change while the call is made.
    cost_micros: u64,
}

impl RunState {
    /// Reserves budget for one call.
    fn reserve(&mut self, call: &wit::ModelCall) -> std::result::Result<Reserved, ModelError> {
        if !covered(&self.grants.models, &call.model) {
            return Err(ModelError::Denied(call.model.clone()));
        }
        if call.body.len() > BODY_BYTES_MAX {
            return Err(ModelError::Invalid(format!(
                "`body` has at most {BODY_BYTES_MAX} bytes"
            )));
        }
        let cost_micros = self
            .services
            .models
            .cost_micros_max(&call.model, &call.body);
        let left = self.time_left().ok_or(ModelError::Deadline)?;
        let budget = &mut self.budget;
        if budget.calls == 0 {
            return Err(ModelError::OverBudget(BudgetKind::Calls));
        }
        if budget.time_ms == 0 {
            return Err(ModelError::OverBudget(BudgetKind::Time));
        }
        if budget.cost_micros < cost_micros {
            return Err(ModelError::OverBudget(BudgetKind::Cost));
        }
        budget.calls -= 1;
        budget.cost_micros -= cost_micros;
        let asked = match call.timeout_ms {
            0 => left,
            ms => Duration::from_millis(ms.into()),
        };
        let timeout = asked
            .min(left)
            .min(Duration::from_millis(budget.time_ms.into()));
        Ok(Reserved {
            timeout,
            cost_micros,
        })
    }

    /// Makes all calls at once and waits for all of them.
    async fn call_models(&mut self, calls: Vec<wit::ModelCall>) -> Result<Vec<Answer>> {
        let outcomes = match self.mode {
            Mode::Live => self.call_live(&calls).await,
            _ => Vec::new(),
        };
        let mut outcomes = outcomes.into_iter();
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            let recorded = replayed!(self, "models.call", HostCall::Model { result, .. } => result);
            let result = match recorded {
                Some(result) => result,
                None => outcomes.next().unwrap_or_else(|| {
                    Err(ModelError::Unavailable(
                        "models are not called while a policy is loaded".to_owned(),
                    ))
                }),
            };
            answers.push(self.keep(&result));
            self.settle(HostCall::Model {
                model: call.model,
                body: call.body,
                timeout_ms: call.timeout_ms,
                result,
            })?;
        }
        Ok(answers)
    }

    async fn call_live(&mut self, calls: &[wit::ModelCall]) -> Vec<Outcome> {
        let begun = Instant::now();
        let services = self.services.clone();
        let waits: Vec<_> = calls
            .iter()
            .map(|call| match self.reserve(call) {
                Err(error) => Either::Left(ready((0, Err(error)))),
                Ok(Reserved {
                    timeout,
                    cost_micros,
                }) => {
                    let call = ModelCall {
                        model: call.model.clone(),
                        body: call.body.clone(),
                        timeout,
                    };
                    let models = services.models.clone();
                    Either::Right(async move {
                        let answer = tokio::time::timeout(timeout, models.call(call)).await;
                        (cost_micros, answer.unwrap_or(Err(ModelError::Deadline)))
                    })
                }
            })
            .collect();
        let done = join_all(waits).await;
        let elapsed = begun.elapsed();
        self.host_time += elapsed;
        let elapsed_ms = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
        self.budget.time_ms = self.budget.time_ms.saturating_sub(elapsed_ms);
        done.into_iter()
            .map(|(reserved, outcome)| {
                outcome.map(|answer| {
                    // What was reserved and not used goes back; what was used
                    // beyond it is taken from what is left.
                    let left = self.budget.cost_micros.saturating_add(reserved);
                    self.budget.cost_micros = left.saturating_sub(answer.cost_micros);
                    recorded_answer(answer)
                })
            })
            .collect()
    }

    /// Keeps an answer for the guest and returns its handle.
    fn keep(&mut self, result: &Outcome) -> Answer {
        match result {
            Ok(answer) => {
                let mut facts = answer.facts.clone();
                facts.body = Some(Arc::from(answer.body.as_str()));
                self.own_answers.push(Arc::new(facts));
                let handle = u32::try_from(self.own_answers.len()).unwrap_or(u32::MAX);
                Ok(Resource::new_own(handle))
            }
            Err(error) => Err(error_to(error)),
        }
    }
}

impl wit::Host for RunState {
    async fn call(&mut self, request: wit::ModelCall) -> Result<Answer> {
        self.enter("models.call")?;
        let mut answers = self.call_models(vec![request]).await?;
        answers
            .pop()
            .ok_or_else(|| wasmtime::Error::msg("a call has one result"))
    }

    async fn call_many(&mut self, requests: Vec<wit::ModelCall>) -> Result<Vec<Answer>> {
        self.enter("models.call-many")?;
        if requests.len() > CALLS_MAX {
            let error = format!(
                "{} calls at once, at most {CALLS_MAX} are allowed",
                requests.len()
            );
            return Ok(requests
                .iter()
                .map(|_| Err(wit::ModelError::Invalid(error.clone())))
                .collect());
        }
        self.call_models(requests).await
    }

    fn budget_left(&mut self) -> Result<wit::Budget> {
        self.enter("models.budget-left")?;
        let recorded = replayed!(
            self,
            "models.budget-left",
            HostCall::BudgetLeft { calls, time_ms, cost_micros } => (calls, time_ms, cost_micros)
        );
        let (calls, time_ms, cost_micros) = recorded.unwrap_or((
            self.budget.calls,
            self.budget.time_ms,
            self.budget.cost_micros,
        ));
        self.settle(HostCall::BudgetLeft {
            calls,
            time_ms,
            cost_micros,
        })?;
        Ok(wit::Budget {
            calls,
            time_ms,
            cost_micros,
        })
    }
}

fn recorded_answer(mut answer: ModelAnswer) -> Box<RecordedAnswer> {
    // Kept once, and only as much as the record shows.
    let body = answer.facts.body.take();
    let body = body.as_deref().unwrap_or_default();
    Box::new(RecordedAnswer {
        body: backstop_core::text::cut(body, ANSWER_BYTES_MAX).to_owned(),
        cost_micros: answer.cost_micros,
        facts: answer.facts,
    })
}

fn error_to(error: &ModelError) -> wit::ModelError {
    match error {
        ModelError::Denied(model) => wit::ModelError::Denied(model.clone()),
        ModelError::Invalid(what) => wit::ModelError::Invalid(what.clone()),
        ModelError::Deadline => wit::ModelError::Deadline,
        ModelError::OverBudget(kind) => wit::ModelError::OverBudget(match kind {
            BudgetKind::Calls => wit::BudgetKind::Calls,
            BudgetKind::Time => wit::BudgetKind::Time,
            BudgetKind::Cost => wit::BudgetKind::Cost,
        }),
        ModelError::Failed(class) => wit::ModelError::Failed(failure_class(*class)),
        ModelError::Unavailable(why) => wit::ModelError::Unavailable(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Grants, Limits, ModelBudget};
    use crate::services::Services;
    use crate::sources::{BoxFuture, ModelCaller, NoIncidents, NoMetrics};
    use backstop_core::input::AnswerFacts;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A model that is 6 dearer each time that somebody asks for its price;
    /// a call costs 1.
    #[derive(Default)]
    struct Dearer {
        asked: AtomicU64,
    }

    impl ModelCaller for Dearer {
        fn cost_micros_max(&self, _: &str, _: &str) -> u64 {
            4 + 6 * self.asked.fetch_add(1, Ordering::Relaxed)
        }

        fn call(
            &self,
            call: ModelCall,
        ) -> BoxFuture<'_, std::result::Result<ModelAnswer, ModelError>> {
            let facts = AnswerFacts {
                model: call.model.into(),
                release: "r".into(),
                step: 0,
                steps_left: 0,
                confidence: None,
                label: None,
                scores: Vec::new(),
                token_logprobs: Vec::new(),
                finish_reason: None,
                latency_ms: 0,
                delivered: false,
                body_bytes: 0,
                body: None,
                ..AnswerFacts::default()
            };
            Box::pin(ready(Ok(ModelAnswer {
                facts,
                cost_micros: 1,
            })))
        }
    }

    #[tokio::test]
    async fn a_price_that_changes_during_a_call_gives_back_what_was_reserved() {
        let models = Arc::new(Dearer::default());
        let services = Arc::new(Services {
            metrics: Arc::new(NoMetrics),
            models: models.clone(),
            incidents: Arc::new(NoIncidents),
            states: Default::default(),
        });
        let grants = Arc::new(Grants {
            models: vec!["*".to_owned()],
            model_budget: ModelBudget {
                calls: 1,
                time_ms: 1_000,
                cost_micros: 20,
            },
            ..Grants::default()
        });
        let mut state = RunState::new("p".into(), grants, services, &Limits::default());
        state.deadline = Instant::now() + Duration::from_secs(60);
        let call = wit::ModelCall {
            model: "m".to_owned(),
            body: "{}".to_owned(),
            timeout_ms: 0,
        };
        let outcomes = state.call_live(&[call]).await;
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
        assert_eq!(state.budget.cost_micros, 19);
        assert_eq!(models.asked.load(Ordering::Relaxed), 1);
    }
}
