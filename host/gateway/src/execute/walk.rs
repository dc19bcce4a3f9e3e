//! Walking through a plan: what [`PlanRun`] says is to be done next is done.
//!
//! The run decides (steps, repeats, races, what ends a plan); this module
//! makes the calls, waits for them and remembers their answers until the run
//! has said which of them matters. A walk that ended with a stream can be
//! taken up again when the stream is cut ([`resume`]). A step without a race is awaited in place;
//! the calls of a race run together, and those that are not needed any more
//! are dropped, which cancels them and counts against nobody.

use super::Run;
use super::attempt::{self, Assignment, Begun, Ended};
use super::judge::{self, Item};
use crate::release::{Model, NotNow, Release};
use crate::store::StoreError;
use crate::trail::Why;
use crate::upstream::{Complete, Failure, StreamReply};
use backstop_core::fault::{FailureClass, FailureClasses, MovesOn};
use backstop_core::plan::{Action, Plan, RACERS_MAX, RETRIES_MAX};
use backstop_core::plan_run::{
    Call, CallEnd, CallId, Exhausted, Move, PlanRun, RetryLimits, RunOptions,
};
use backstop_core::verdict::Outcome;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What the walk through a plan came to.
#[derive(Debug)]
pub(crate) enum End {
    /// A model answered.
    Answer(Box<Answer>),
    /// A model answers with a stream.
    Stream(Box<Streaming>),
    /// Rules answer; their position among the route's.
    Rules(usize),
    /// People will answer.
    Review {
        /// Id of the item.
        id: String,
        /// True when a model's answer was judged, false for a plan's step.
        judged: bool,
    },
    /// The plan declines.
    Refused {
        /// HTTP status, 400 to 599.
        status: u16,
        /// For the caller.
        message: String,
    },
    /// Nothing gave an answer.
    Failed(LastFailure),
}

/// A model's answer, accepted.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) release: Arc<Release>,
    pub(crate) step: u32,
    pub(crate) complete: Complete,
    /// True when a threshold policy accepted it.
    pub(crate) judged: bool,
}

/// A stream that is delivered.
#[derive(Debug)]
pub(crate) struct Streaming {
    pub(super) call: CallId,
    pub(super) begun: Begun,
    /// Where the walk stands, for taking it up again.
    pub(super) plan_run: PlanRun,
}

impl Streaming {
    /// Position of the plan's step.
    pub(crate) fn step(&self) -> u32 {
        self.call.step
    }

    /// The release that answers.
    pub(crate) fn release(&self) -> &Arc<Release> {
        self.begun.lease.release()
    }

    /// The upstream's answer.
    pub(crate) fn reply(&self) -> &StreamReply {
        &self.begun.reply
    }

    /// True when a threshold policy accepted what is held of it.
    pub(crate) fn judged(&self) -> bool {
        self.begun.judged.is_some()
    }
}

/// Why no step gave an answer: the last thing that went wrong.
#[derive(Debug)]
pub(crate) enum LastFailure {
    /// A call failed.
    Failed(Box<Failure>),
    /// A model could not be called.
    NotNow(NotNow),
    /// There was no time for a call.
    Deadline,
    /// An answer was judged not good enough, and no step was left.
    NotGoodEnough,
    /// It was to go to people, but the queue did not take it.
    Review(StoreError),
}

/// Walks through `plan`, which has been checked for this request.
pub(super) async fn walk(run: &Run, plan: Arc<Plan>) -> End {
    let mut walk = Walk::new(run, PlanRun::new(plan, options(run)));
    let first = walk.plan_run.begin(walk.now_ms());
    go(walk, first).await
}

/// The same past breakers that refuse.
pub(super) async fn walk_regardless(run: &Run, plan: Arc<Plan>) -> End {
    let mut walk = Walk::new(run, PlanRun::new(plan, options(run)));
    walk.regardless = true;
    let first = walk.plan_run.begin(walk.now_ms());
    go(walk, first).await
}

/// Goes on after `call`, whose answer was being delivered when it failed.
pub(super) async fn resume(
    run: &Run,
    mut plan_run: PlanRun,
    call: CallId,
    failure: Failure,
    latency_ms: u32,
) -> End {
    let next = plan_run.broke(call, failure.class, run.gateway.clock().now_ms());
    let walk = Walk {
        kept: vec![(call, Ended::Failed(Box::new(failure), latency_ms))],
        resumed: true,
        ..Walk::new(run, plan_run)
    };
    go(walk, next).await
}

async fn go(mut walk: Walk<'_>, mut next: Move) -> End {
    let run = walk.run;
    let hurries = [const { Notify::const_new() }; RACERS_MAX];
    let mut racing = None;
    let mut paid = Paid::default();
    loop {
        next = match next {
            Move::Call(call) if racing.is_none() => {
                let ended = attempt::make(run, walk.assignment(call, &hurries)).await;
                walk.told(call.id, ended)
            }
            Move::Call(call) => {
                let racing = racing.get_or_insert_with(FuturesUnordered::new);
                racing.push(one(run, walk.assignment(call, &hurries)));
                walk.next_of(racing).await
            }
            Move::Race(mut calls) => {
                walk.one_by_one = false;
                let racing = racing.insert(FuturesUnordered::new());
                let more = u32::try_from(calls.len()).unwrap_or(u32::MAX) - 1;
                paid = Paid::take(run, more, walk.now_ms());
                if paid.calls < more {
                    run.trail().hedges_refused();
                    walk.one_by_one = true;
                    walk.plan_run.one_at_a_time();
                    for call in calls.iter_mut().skip(1) {
                        call.delay_ms = u64::MAX;
                    }
                }
                for call in calls {
                    racing.push(one(run, walk.assignment(call, &hurries)));
                }
                walk.next_of(racing).await
            }
            Move::Wait { hurry } => {
                if let Some(id) = hurry
                    && let Some(hurry) = hurries.get(id.racer as usize)
                {
                    hurry.notify_one();
                }
                let racing = racing.get_or_insert_with(FuturesUnordered::new);
                walk.next_of(racing).await
            }
            end => {
                drop(racing);
                paid.settle(run);
                return walk.end(end).await;
            }
        };
        if racing.as_ref().is_some_and(FuturesUnordered::is_empty) {
            racing = None;
            paid.settle(run);
        }
    }
}

/// Calls of a race beyond the first that were paid for.
#[derive(Default)]
struct Paid {
    calls: u32,
    /// Calls of the request before the race.
    before: u32,
}

impl Paid {
    fn take(run: &Run, calls: u32, now_ms: u64) -> Self {
        let before = run.calls();
        let taken = run.ask.route.hedges().take(calls, now_ms);
        let calls = if taken { calls } else { 0 };
        Paid { calls, before }
    }

    /// Gives back what was paid for calls that did not begin.
    fn settle(&mut self, run: &Run) {
        let begun = run.calls().saturating_sub(self.before + 1);
        run.ask
            .route
            .hedges()
            .give_back(self.calls.saturating_sub(begun));
        self.calls = 0;
    }
}

/// One call of a race, with its name.
async fn one(run: &Run, assignment: Assignment<'_>) -> (CallId, Ended) {
    let id = assignment.call.id;
    (id, attempt::make(run, assignment).await)
}

/// The limits of a plan's run.
fn options(run: &Run) -> RunOptions {
    let spec = run.ask.route.spec();
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let arrived_ms = run.gateway.clock().at_ms(run.ask.arrived);
    RunOptions {
        deadline_ms: arrived_ms.saturating_add(ms(run.ask.deadline)),
        timeout_ms: ms(spec.timeouts.total),
        first_token_ms: ms(spec.timeouts.first_token),
        retry: RetryLimits {
            retries_max: RETRIES_MAX,
            backoff_ms: ms(spec.retry.backoff),
            backoff_multiplier: spec.retry.backoff_multiplier,
            backoff_ms_max: ms(spec.retry.backoff_max),
            backoff_jitter: spec.retry.backoff_jitter,
            retry_after_ms_max: ms(spec.retry.retry_after_max),
            classes: spec.retry.classes,
        },
        stays: if spec.route_round_refusals {
            FailureClasses::NONE
        } else {
            FailureClass::ALL
                .into_iter()
                .filter(|class| class.effect().moves_on == MovesOn::WhereAllowed)
                .collect()
        },
    }
}

struct Walk<'a> {
    run: &'a Run,
    plan_run: PlanRun,
    /// What calls of the present step came to, oldest first.
    kept: Vec<(CallId, Ended)>,
    /// Models that found the request too long.
    too_long: Vec<Arc<Model>>,
    /// True after a cut that the caller has seen.
    resumed: bool,
    /// True in a race without a budget for more than one call at a time.
    one_by_one: bool,
    /// True when breakers are not asked.
    regardless: bool,
}

impl<'a> Walk<'a> {
    fn new(run: &'a Run, plan_run: PlanRun) -> Self {
        Walk {
            run,
            plan_run,
            kept: Vec::new(),
            too_long: Vec::new(),
            resumed: false,
            one_by_one: false,
            regardless: false,
        }
    }

    /// False for models that would find the request too long, since one with
    /// as much room has. Where a window is not known, only the same model
    /// would.
    fn fits(&self, model: &Model) -> bool {
        self.too_long.iter().all(|failed| {
            let room = (failed.spec().context_tokens, model.spec().context_tokens);
            failed.name() != model.name()
                && !matches!(room, (Some(failed), Some(own)) if own <= failed)
        })
    }

    fn now_ms(&self) -> u64 {
        self.run.gateway.clock().now_ms()
    }

    fn assignment<'h>(&self, call: Call, hurries: &'h [Notify; RACERS_MAX]) -> Assignment<'h> {
        let model = self.run.ask.route.model(self.plan_run.model(call.id));
        Assignment {
            call,
            fits: self.too_long.is_empty() || model.is_none_or(|model| self.fits(model)),
            model: model.cloned(),
            why: self.why(call.id),
            regardless: self.regardless,
            steps_left: self.plan_run.steps_left(call.id.step),
            hold: match self.plan_run.plan().options.hold {
                Some(hold) => hold,
                None => self.run.ask.route.spec().stream.hold,
            },
            attempts: self.plan_run.attempts().to_vec(),
            hurry: &hurries[call.id.racer as usize % RACERS_MAX],
        }
    }

    fn why(&self, id: CallId) -> Why {
        let hedges =
            matches!(self.action(id.step), Some(Action::Race(race)) if race.stagger_ms > 0);
        match id {
            CallId { retry: 1.., .. } => Why::Retry,
            _ if self.resumed => Why::Rescue,
            _ if self.regardless => Why::LeastBad,
            CallId { racer: 1.., .. } if hedges && !self.one_by_one => Why::Hedge,
            _ => Why::Plan,
        }
    }

    /// Waits for the next call of a race to end, and tells the run.
    async fn next_of<F>(&mut self, racing: &mut FuturesUnordered<F>) -> Move
    where
        F: Future<Output = (CallId, Ended)>,
    {
        match racing.next().await {
            Some((id, ended)) => self.told(id, ended),
            // A run that waits for calls that nobody makes; it never does.
            None => Move::Exhausted(Exhausted::Refused),
        }
    }

    /// Tells the run how a call ended, and keeps what it came to.
    fn told(&mut self, id: CallId, ended: Ended) -> Move {
        let spec = self.run.ask.route.spec();
        let end = ended.told(spec.review, spec.idempotent);
        if let Ended::Failed(failure, _) = &ended
            && failure.class == FailureClass::ContextLength
            && let Some(model) = self.run.ask.route.model(self.plan_run.model(id))
        {
            self.too_long.push(model.clone());
        }
        if self
            .kept
            .last()
            .is_some_and(|(last, _)| last.step != id.step)
            && !matches!(ended, Ended::NotNow(NotNow::TooSmall))
        {
            self.kept.clear();
        }
        // A stream that is not delivered is cancelled, and gives back its place.
        let ended = match (ended, end) {
            (
                Ended::Streaming(_),
                CallEnd::Answered {
                    outcome: Outcome::Escalate,
                    ..
                },
            ) => Ended::Rejected,
            (ended, _) => ended,
        };
        self.kept.push((id, ended));
        self.plan_run.told(id, end, self.now_ms(), fastrand::f64())
    }

    /// What `call` came to.
    fn take(&mut self, call: CallId) -> Option<Ended> {
        let position = self.kept.iter().position(|(id, _)| *id == call)?;
        Some(self.kept.swap_remove(position).1)
    }

    /// Carries out the move that ended the run.
    async fn end(mut self, end: Move) -> End {
        match end {
            Move::Deliver(id) => self.deliver(id),
            Move::Rules { step } => match self.action(step) {
                Some(Action::Rules(name)) => match self.run.ask.route.rules_position(name) {
                    Some(position) => End::Rules(position),
                    None => self.exhausted(),
                },
                _ => self.exhausted(),
            },
            Move::Refuse { step } => match self.action(step) {
                Some(Action::Refuse { status, message }) => End::Refused {
                    status: *status,
                    message: message.clone(),
                },
                _ => self.exhausted(),
            },
            Move::Review { step, answer } => self.review(step, answer).await,
            Move::Fail { call, .. } => match self.take(call) {
                Some(Ended::Failed(failure, _)) => End::Failed(LastFailure::Failed(failure)),
                _ => self.exhausted(),
            },
            Move::Exhausted(_) | Move::Call(_) | Move::Race(_) | Move::Wait { .. } => {
                self.exhausted()
            }
        }
    }

    fn action(&self, step: u32) -> Option<&Action> {
        let steps = &self.plan_run.plan().steps;
        steps.get(step as usize).map(|step| &step.action)
    }

    fn deliver(mut self, id: CallId) -> End {
        match self.take(id) {
            Some(Ended::Answered {
                release,
                complete,
                judged,
            }) => End::Answer(Box::new(Answer {
                release,
                step: id.step,
                complete: *complete,
                judged: judged.is_some(),
            })),
            Some(Ended::Streaming(begun)) => End::Stream(Box::new(Streaming {
                call: id,
                begun: *begun,
                plan_run: self.plan_run,
            })),
            _ => self.exhausted(),
        }
    }

    /// The last thing that went wrong.
    fn exhausted(&mut self) -> End {
        // A call that was not made for want of budget or room says less than
        // the failure before it.
        let says_little =
            |ended: &Ended| matches!(ended, Ended::NotNow(NotNow::RetryBudget | NotNow::TooSmall));
        while self.kept.len() > 1
            && let Some((_, last)) = self.kept.last()
            && says_little(last)
        {
            self.kept.pop();
        }
        End::Failed(match self.kept.pop() {
            Some((_, Ended::Failed(failure, _))) => LastFailure::Failed(failure),
            Some((_, Ended::NotNow(reason))) => LastFailure::NotNow(reason),
            Some(_) => LastFailure::NotGoodEnough,
            None => LastFailure::Deadline,
        })
    }

    /// Sends the request to people: with the answer that was judged to need
    /// it, or because the plan says so.
    async fn review(&mut self, step: u32, answer: Option<CallId>) -> End {
        let answered = answer.and_then(|id| self.take(id));
        let judged = answered.is_some();
        let item = match (answered, self.action(step)) {
            (
                Some(Ended::Answered {
                    release,
                    complete,
                    judged,
                }),
                _,
            ) => {
                let (note, decision) = judged
                    .map(|judged| (judged.reason, judged.decision))
                    .unzip();
                Item {
                    note: note.unwrap_or_default(),
                    decision,
                    confidence: complete.facts.confidence,
                    answer: Some((complete.body, release)),
                }
            }
            (Some(Ended::Streaming(begun)), _) => {
                let seen = begun.reply.watch.facts();
                let (note, decision) = begun
                    .judged
                    .map(|judged| (judged.reason, judged.decision))
                    .unzip();
                Item {
                    note: note.unwrap_or_default(),
                    decision,
                    confidence: seen.facts.confidence,
                    answer: Some((seen.text.into(), begun.lease.release().clone())),
                }
            }
            (_, Some(Action::Review { note })) => Item {
                note: note.clone(),
                decision: self.run.decision,
                answer: None,
                confidence: None,
            },
            _ => Item::default(),
        };
        match judge::send_to_review(self.run, item).await {
            Ok(id) => End::Review { id, judged },
            Err(error) => End::Failed(LastFailure::Review(error)),
        }
    }
}
