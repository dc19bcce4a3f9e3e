//! Executing a plan: what to do next, given how the calls went.
//!
//! Whoever executes a plan asks [`PlanRun::begin`] for the first move, does it,
//! and tells each call's end to [`PlanRun::told`], which answers with the next
//! move, until a move ends the run. Time and randomness come in with every
//! question; waiting, calling, breakers and threshold policies are the
//! executor's.
//!
//! Always holds, for every plan that passed [`Plan::check`]:
//!
//! - a run ends after at most the sum of `1 + retries` over all calls of its
//!   plan, whatever it is told;
//! - no call is made at or after the deadline, and none is given longer than
//!   what is left. Rules, review and refusal cost no time and are still reached
//!   when the deadline has passed;
//! - an attempt that the caller has already seen something of is neither
//!   repeated nor replaced.

mod moves;
mod retry;
#[cfg(test)]
mod tests;

pub use moves::{Call, CallEnd, CallId, Exhausted, Move};
pub use retry::RetryLimits;

use crate::fault::{FailureClass, FailureClasses};
use crate::input::Attempt;
use crate::plan::{Action, CallStep, Plan};
use crate::verdict::Outcome;
use std::sync::Arc;

/// What a run is bound by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunOptions {
    /// The moment from which no call is made, on the clock of `now_ms`.
    pub deadline_ms: u64,
    /// Milliseconds for attempts whose step does not say.
    pub timeout_ms: u64,
    /// Milliseconds until the first token for attempts whose step does not
    /// say; 0 gives them as long as the attempt.
    pub first_token_ms: u64,
    /// Limits on repeating.
    pub retry: RetryLimits,
    /// Failures that the route does not go on after, whatever a step says.
    pub stays: FailureClasses,
}

/// The state of one plan's execution.
#[derive(Debug, Clone)]
pub struct PlanRun {
    plan: Arc<Plan>,
    options: RunOptions,
    step: usize,
    racers: Vec<Racer>,
    /// The answer of the present step that was sent to review.
    review: Option<CallId>,
    /// The failure of the present step that ends the plan.
    fatal: Option<(CallId, FailureClass)>,
    last: Exhausted,
    attempts: Vec<Attempt>,
    calls: u32,
    ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Racer {
    retry: u32,
    starts_ms: u64,
    done: bool,
    /// What the attempt before a repetition failed of.
    failed: Option<FailureClass>,
}

impl PlanRun {
    /// A run of `plan`, which has passed [`Plan::check`].
    pub fn new(plan: Arc<Plan>, options: RunOptions) -> PlanRun {
        PlanRun {
            plan,
            options,
            step: 0,
            racers: Vec::new(),
            review: None,
            fatal: None,
            last: Exhausted::Deadline,
            attempts: Vec::new(),
            calls: 0,
            ended: false,
        }
    }

    /// The first move.
    pub fn begin(&mut self, now_ms: u64) -> Move {
        self.enter(0, now_ms)
    }

    /// The next move, after the call `id` ended at `now_ms` as `end` says.
    /// `random` is uniform in `[0, 1)`. A call that is not under way (it was
    /// cancelled, or told before) changes nothing.
    pub fn told(&mut self, id: CallId, end: CallEnd, now_ms: u64, random: f64) -> Move {
        if self.ended || !self.is_under_way(id) {
            return Move::Wait { hurry: None };
        }
        self.remember(id, end);
        let racer = id.racer as usize;
        match end {
            CallEnd::Answered {
                outcome, delivered, ..
            } => {
                if delivered || outcome == Outcome::Accept {
                    return self.end(Move::Deliver(id));
                }
                if outcome == Outcome::Review {
                    self.review.get_or_insert(id);
                }
                self.last = Exhausted::Escalated;
            }
            CallEnd::Refused => match self.racers[racer].failed {
                Some(class) => self.failed(id, class),
                None => self.last = Exhausted::Refused,
            },
            CallEnd::Failed {
                class,
                retry_after_ms,
                repeatable,
                delivered,
                ..
            } => {
                if delivered {
                    return self.end(Move::Fail { call: id, class });
                }
                if repeatable
                    && let Some(call) = self.repeat(id, class, retry_after_ms, now_ms, random)
                {
                    return Move::Call(call);
                }
                self.failed(id, class);
            }
        }
        self.racers[racer].done = true;
        self.after_racer(now_ms)
    }

    /// The next move after a run that ended with the delivery of `id`, whose
    /// answer then broke off with `class`: the step after it where the plan
    /// goes on after such a failure, else the end. The caller has seen a part
    /// of the answer; whether it may be given another one is for whoever asks.
    pub fn broke(&mut self, id: CallId, class: FailureClass, now_ms: u64) -> Move {
        let model = self.call_step(id).map(|call| call.model.clone());
        let answered =
            self.attempts.iter_mut().rev().find(|attempt| {
                attempt.failure.is_none() && Some(&attempt.model) == model.as_ref()
            });
        if let Some(attempt) = answered {
            attempt.failure = Some(class);
        }
        self.last = Exhausted::Failed(class);
        if self.goes_on(id, class) {
            self.ended = false;
            self.enter(self.step + 1, now_ms)
        } else {
            Move::Fail { call: id, class }
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The call's part of the plan; none for a call that the plan does not have.
    pub fn call_step(&self, id: CallId) -> Option<&CallStep> {
        match &self.plan.steps.get(id.step as usize)?.action {
            Action::Call(call) => (id.racer == 0).then_some(call),
            Action::Race(race) => race.calls.get(id.racer as usize),
            Action::Rules(_) | Action::Review { .. } | Action::Refuse { .. } => None,
        }
    }

    /// The model that the call is for; empty for a call that the plan does not
    /// have.
    pub fn model(&self, id: CallId) -> &str {
        self.call_step(id).map_or("", |call| &call.model)
    }

    /// How many steps come after `step`.
    pub fn steps_left(&self, step: u32) -> u32 {
        (self.plan.steps.len() as u32).saturating_sub(step + 1)
    }

    /// The attempts so far, oldest first. Calls that a breaker refused are none.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// The first failure: what most likely started it all, and what the caller
    /// is told of when everything failed.
    pub fn first_failure(&self) -> Option<FailureClass> {
        self.attempts.iter().find_map(|attempt| attempt.failure)
    }

    /// How many calls were handed out so far.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Leaves all but the first call of the race that was just begun waiting
    /// until no other is left in flight: there is no budget for more at once.
    pub fn one_at_a_time(&mut self) {
        for racer in self.racers.iter_mut().skip(1) {
            racer.starts_ms = u64::MAX;
        }
    }

    /// Notes that the call is over for good, having failed of `class`.
    fn failed(&mut self, id: CallId, class: FailureClass) {
        if !self.goes_on(id, class) {
            self.fatal.get_or_insert((id, class));
        }
        self.last = Exhausted::Failed(class);
    }

    /// True when the plan goes on after the call failed of `class`.
    fn goes_on(&self, id: CallId, class: FailureClass) -> bool {
        !self.options.stays.contains(class)
            && self
                .call_step(id)
                .is_some_and(|call| call.move_on.contains(class))
    }

    fn end(&mut self, last: Move) -> Move {
        self.ended = true;
        last
    }

    fn is_under_way(&self, id: CallId) -> bool {
        id.step as usize == self.step
            && self
                .racers
                .get(id.racer as usize)
                .is_some_and(|racer| !racer.done && racer.retry == id.retry)
    }

    fn remember(&mut self, id: CallId, end: CallEnd) {
        let (failure, latency_ms) = match end {
            CallEnd::Answered { latency_ms, .. } => (None, latency_ms),
            CallEnd::Failed {
                class, latency_ms, ..
            } => (Some(class), latency_ms),
            CallEnd::Refused => return,
        };
        let model = Arc::from(self.model(id));
        self.attempts.push(Attempt {
            model,
            failure,
            latency_ms,
        });
    }

    /// The same call again, where that is worth it, allowed and in time.
    fn repeat(
        &mut self,
        id: CallId,
        class: FailureClass,
        retry_after_ms: Option<u64>,
        now_ms: u64,
        random: f64,
    ) -> Option<Call> {
        let limits = self.options.retry;
        let asked = match self.plan.options.retries_after(class) {
            Some(retries) => retries,
            None => self.call_step(id)?.retries,
        };
        if id.retry >= u32::from(asked.min(limits.after(class))) {
            return None;
        }
        let delay_ms = limits.delay_ms(id.retry, retry_after_ms, random)?;
        let again = CallId {
            retry: id.retry + 1,
            ..id
        };
        let call = self.call(again, delay_ms, now_ms)?;
        self.racers[id.racer as usize] = Racer {
            retry: again.retry,
            starts_ms: now_ms.saturating_add(delay_ms),
            done: false,
            failed: Some(class),
        };
        self.calls += 1;
        Some(call)
    }

    /// A call within its own limits and the deadline; none when it would begin
    /// at the deadline or after it.
    fn call(&self, id: CallId, delay_ms: u64, now_ms: u64) -> Option<Call> {
        let step = self.call_step(id)?;
        let starts_ms = now_ms.saturating_add(delay_ms);
        let left_ms = self.options.deadline_ms.saturating_sub(starts_ms);
        if left_ms == 0 {
            return None;
        }
        let or = |own: u32, default: u64| match own {
            0 => default,
            own => own.into(),
        };
        let timeout_ms = or(step.timeout_ms, self.options.timeout_ms).clamp(1, left_ms);
        let first_token_ms = match or(step.first_token_ms, self.options.first_token_ms) {
            0 => timeout_ms,
            own => own.min(timeout_ms),
        };
        Some(Call {
            id,
            delay_ms,
            timeout_ms,
            first_token_ms,
        })
    }

    /// The first move of the step at `index` or, where there is no time for its
    /// calls, of the next one that can be done.
    fn enter(&mut self, index: usize, now_ms: u64) -> Move {
        let plan = self.plan.clone();
        for (position, step) in plan.steps.iter().enumerate().skip(index) {
            self.step = position;
            let step_number = position as u32;
            let first = |racer: usize| CallId {
                step: step_number,
                racer: racer as u32,
                retry: 0,
            };
            let (racers, stagger_ms) = match &step.action {
                Action::Call(_) => (1, 0),
                Action::Race(race) => (race.calls.len(), u64::from(race.stagger_ms)),
                Action::Rules(_) => return self.end(Move::Rules { step: step_number }),
                Action::Refuse { .. } => return self.end(Move::Refuse { step: step_number }),
                Action::Review { .. } => {
                    return self.end(Move::Review {
                        step: step_number,
                        answer: None,
                    });
                }
            };
            let calls: Vec<Call> = (0..racers)
                .filter_map(|racer| self.call(first(racer), stagger_ms * racer as u64, now_ms))
                .collect();
            if calls.is_empty() {
                self.last = Exhausted::Deadline;
                continue;
            }
            self.racers.clear();
            self.racers.extend(calls.iter().map(|call| Racer {
                retry: 0,
                starts_ms: now_ms.saturating_add(call.delay_ms),
                done: false,
                failed: None,
            }));
            self.calls += calls.len() as u32;
            return match calls[..] {
                [call] => Move::Call(call),
                _ => Move::Race(calls),
            };
        }
        self.end(Move::Exhausted(self.last))
    }

    /// The move after a call of the step is over for good.
    fn after_racer(&mut self, now_ms: u64) -> Move {
        if self.racers.iter().any(|racer| !racer.done) {
            return Move::Wait {
                hurry: self.hurry(now_ms),
            };
        }
        if let Some(answer) = self.review.take() {
            let step = self.step as u32;
            return self.end(Move::Review {
                step,
                answer: Some(answer),
            });
        }
        if let Some((call, class)) = self.fatal.take() {
            return self.end(Move::Fail { call, class });
        }
        self.enter(self.step + 1, now_ms)
    }

    /// The next call of a race that has not begun, when none is in flight. A
    /// repetition is never hurried: its delay is the provider's peace.
    fn hurry(&mut self, now_ms: u64) -> Option<CallId> {
        let step = self.step as u32;
        if self
            .racers
            .iter()
            .any(|racer| !racer.done && racer.starts_ms <= now_ms)
        {
            return None;
        }
        let (index, racer) = self
            .racers
            .iter_mut()
            .enumerate()
            .find(|(_, racer)| !racer.done && racer.retry == 0)?;
        racer.starts_ms = now_ms;
        Some(CallId {
            step,
            racer: index as u32,
            retry: 0,
        })
    }
}
