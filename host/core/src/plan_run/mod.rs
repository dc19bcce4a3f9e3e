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

#[cfg(test)]
mod tests;

use crate::fault::{FailureClass, FailureClasses};
use crate::input::Attempt;
use crate::plan::{Action, CallStep, Plan};
use crate::verdict::Outcome;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A route's limits on repeating a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryLimits {
    /// Most repetitions of one call, whatever the plan says.
    pub retries_max: u8,
    /// Milliseconds before the first repetition.
    pub backoff_ms: u64,
    /// What each further wait is multiplied by, at least 1.
    pub backoff_multiplier: f64,
    /// Milliseconds that a wait never exceeds, unless the provider asks for it.
    pub backoff_ms_max: u64,
    /// Share of a wait by which it is lengthened or shortened at random, 0 to 1.
    pub backoff_jitter: f64,
    /// Milliseconds above which a provider's `Retry-After` is not waited for:
    /// the run goes on to the next step instead.
    pub retry_after_ms_max: u64,
    /// Most repetitions after failures of single classes, by the position of
    /// the class in [`FailureClass::ALL`]. Classes without one are repeated as
    /// often as the others, or not at all where that is not worth it
    /// ([`Effect::repeats`](crate::fault::Effect::repeats)).
    pub classes: [Option<u8>; FailureClass::ALL.len()],
}

impl Default for RetryLimits {
    /// Up to five, 0.5 s and then twice as long each time up to 8 s, a fifth
    /// more or less, and no provider is waited for longer than 10 s.
    fn default() -> Self {
        RetryLimits {
            retries_max: 5,
            backoff_ms: 500,
            backoff_multiplier: 2.0,
            backoff_ms_max: 8_000,
            backoff_jitter: 0.2,
            retry_after_ms_max: 10_000,
            classes: [None; FailureClass::ALL.len()],
        }
    }
}

impl RetryLimits {
    /// Most repetitions after a failure of `class`.
    pub fn after(&self, class: FailureClass) -> u8 {
        match self.classes[class as usize] {
            Some(own) => own.min(self.retries_max),
            None if class.effect().repeats => self.retries_max,
            None => 0,
        }
    }

    /// Milliseconds before repetition number `retry` (from 0): exponential
    /// with jitter, never sooner than the provider asked for. None when the
    /// provider asks for too much. `random` is uniform in `[0, 1)`.
    pub fn delay_ms(&self, retry: u32, retry_after_ms: Option<u64>, random: f64) -> Option<u64> {
        let floor = retry_after_ms.unwrap_or(0);
        if floor > self.retry_after_ms_max {
            return None;
        }
        let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
        let grown = self.backoff_ms as f64 * self.backoff_multiplier.powi(exponent);
        let jitter = 1.0 + self.backoff_jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        let wait = grown.min(self.backoff_ms_max as f64) * jitter;
        Some((wait as u64).max(floor))
    }
}

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

/// Which call: of which step, which of a race, which repetition; all from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallId {
    /// Position of the step.
    pub step: u32,
    /// Position in the race; 0 for a step that is none.
    pub racer: u32,
    /// 0 for the first attempt, then the number of the repetition.
    pub retry: u32,
}

/// One call to make. [`PlanRun::model`] names the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub id: CallId,
    /// Milliseconds to wait before it.
    pub delay_ms: u64,
    /// Milliseconds for the attempt, from its start; at least 1.
    pub timeout_ms: u64,
    /// Milliseconds until the first token or the response head; at most
    /// `timeout_ms`.
    pub first_token_ms: u64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a run goes on with this move"]
pub enum Move {
    /// Make this call and tell how it ended. In a race: besides those under way.
    Call(Call),
    /// Make these calls at once, each after its own delay, and tell how each
    /// ended until told to do something else.
    Race(Vec<Call>),
    /// Calls of the race are still under way: wait for the next to end.
    Wait {
        /// A call whose delay need not be waited out, since no other is left
        /// in flight.
        hurry: Option<CallId>,
    },
    /// Ends the run: deliver this answer and cancel what is under way.
    Deliver(CallId),
    /// Ends the run: answer with the rules of this step.
    Rules {
        /// Position of the step.
        step: u32,
    },
    /// Ends the run: send to review.
    Review {
        /// Position of the step.
        step: u32,
        /// The answer that was judged to need it; none when the plan says so.
        answer: Option<CallId>,
    },
    /// Ends the run: decline as this step says.
    Refuse {
        /// Position of the step.
        step: u32,
    },
    /// Ends the run: tell the caller of this failure, which another model would
    /// not mend or may no longer replace.
    Fail {
        /// The call.
        call: CallId,
        /// Its failure.
        class: FailureClass,
    },
    /// Ends the run: no step is left; use the route's last resort.
    Exhausted(Exhausted),
}

impl Move {
    /// True when the run has ended.
    pub fn is_end(&self) -> bool {
        !matches!(self, Move::Call(_) | Move::Race(_) | Move::Wait { .. })
    }
}

/// Why no step is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exhausted {
    /// The last call failed.
    Failed(FailureClass),
    /// The last answer was judged not good enough.
    Escalated,
    /// The breaker of the last model refused.
    Refused,
    /// There was no time for another call.
    Deadline,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// It answered, and the answer was judged.
    Answered {
        /// The judgement.
        outcome: Outcome,
        /// True when the caller already has the answer: it is then the one
        /// that is delivered, whatever the judgement.
        delivered: bool,
        /// Milliseconds that it took.
        latency_ms: u32,
    },
    /// It failed.
    Failed {
        /// Why.
        class: FailureClass,
        /// What the provider said about when to come back.
        retry_after_ms: Option<u64>,
        /// False when the call must not be repeated, whatever its class: the
        /// model may have acted on it.
        repeatable: bool,
        /// True when the caller has already seen something of the answer: the
        /// failure is then the caller's to know.
        delivered: bool,
        /// Milliseconds that it took.
        latency_ms: u32,
    },
    /// It was not made: the breaker refused, no release could serve, or a
    /// repetition was not allowed. What the attempt before a repetition failed
    /// of then holds.
    Refused,
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
