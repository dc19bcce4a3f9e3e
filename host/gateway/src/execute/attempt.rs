//! One attempt: permission, call, attribution, judgement.

use super::Run;
use super::hold::{self, Held, Share};
use super::judge::{self, Judged};
use crate::clock::millis;
use crate::gate::Busy;
use crate::release::{Asks, Lease, Model, NotNow, Release};
use crate::trail::{Attempting, Why};
use crate::upstream::{
    self, Complete, Extracted, Failure, Reply, StreamFacts, StreamReply, Timeouts,
};
use backstop_core::fault::FailureClass;
use backstop_core::input::Attempt;
use backstop_core::plan::Hold;
use backstop_core::plan_run::{Call, CallEnd};
use backstop_core::verdict::Outcome;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Added to a wait that a provider asked for, because its breaker lets the
/// first call pass strictly after it.
const AFTER_THE_WAIT: Duration = Duration::from_millis(2);
/// How much of a stream's text is kept for reviewers and threshold policies:
/// several times the longest answer of a chat model.
const TEXT_BYTES_KEPT: usize = 64 << 10;

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Ended {
    /// A whole answer, and what was made of it where anybody judges.
    Answered {
        release: Arc<Release>,
        complete: Box<Complete>,
        judged: Option<Judged>,
    },
    /// A stream that may be delivered, as far as it is held back. Unless it is
    /// whole, nothing is recorded yet: whoever passes it on says how it ended.
    Streaming(Box<Begun>),
    /// A stream that was judged not good enough: nothing is left of it.
    Rejected,
    /// The call failed, after so many milliseconds.
    Failed(Box<Failure>, u32),
    /// The model was not called.
    NotNow(NotNow),
}

/// A stream that nobody has seen anything of.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) lease: Lease,
    pub(super) attempting: Attempting,
    pub(super) reply: StreamReply,
    /// What it has of the bytes that may be held.
    pub(super) share: Share,
    /// True when all of it is held, and recorded.
    pub(super) whole: bool,
    /// What was made of what is held, where anybody judges.
    pub(super) judged: Option<Judged>,
}

impl Ended {
    /// The same in the words of the plan's run. A review that the route has no
    /// queue for is told as an escalation.
    pub(super) fn told(&self, has_review: bool, idempotent: bool) -> CallEnd {
        match self {
            Ended::Answered {
                complete, judged, ..
            } => CallEnd::Answered {
                outcome: outcome(judged.as_ref(), has_review),
                delivered: false,
                latency_ms: millis(complete.latency),
            },
            Ended::Streaming(begun) => CallEnd::Answered {
                outcome: outcome(begun.judged.as_ref(), has_review),
                delivered: false,
                latency_ms: millis(begun.reply.first_token),
            },
            Ended::Failed(failure, latency_ms) => CallEnd::Failed {
                class: failure.class,
                retry_after_ms: failure.retry_after.map(|wait| {
                    u64::try_from((wait + AFTER_THE_WAIT).as_millis()).unwrap_or(u64::MAX)
                }),
                repeatable: idempotent || !failure.may_have_acted,
                delivered: false,
                latency_ms: *latency_ms,
            },
            Ended::Rejected => CallEnd::Answered {
                outcome: Outcome::Escalate,
                delivered: false,
                latency_ms: 0,
            },
            Ended::NotNow(_) => CallEnd::Refused,
        }
    }
}

fn outcome(judged: Option<&Judged>, has_review: bool) -> Outcome {
    match judged.map(|judged| judged.outcome) {
        None => Outcome::Accept,
        Some(Outcome::Review) if !has_review => Outcome::Escalate,
        Some(outcome) => outcome,
    }
}

/// What an attempt needs to know of the plan's run.
#[derive(Debug)]
pub(super) struct Assignment<'a> {
    pub(super) call: Call,
    pub(super) model: Option<Arc<Model>>,
    pub(super) why: Why,
    /// True when the breaker is not asked.
    pub(super) regardless: bool,
    pub(super) steps_left: u32,
    /// False when a model with as much room has found the request too long.
    pub(super) fits: bool,
    /// How much of a stream is held back.
    pub(super) hold: Hold,
    /// Attempts that have ended before this one.
    pub(super) attempts: Vec<Attempt>,
    /// Ends the wait before a hedge early.
    pub(super) hurry: &'a Notify,
}

/// Makes one attempt, after the wait that belongs to it.
pub(super) async fn make(run: &Run, mut assignment: Assignment<'_>) -> Ended {
    let call = assignment.call;
    // Plans are checked against the route before they get here.
    let Some(model) = &assignment.model else {
        return Ended::NotNow(NotNow::Down);
    };
    let mut attempting = run.trail().attempt(call.id, assignment.why, model.name());
    if !assignment.fits {
        attempting.not_called(NotNow::TooSmall);
        return Ended::NotNow(NotNow::TooSmall);
    }
    if call.id.retry > 0 {
        // What others have used up by then is not known before.
        let now_ms = run.gateway.clock().now_ms();
        if !run.ask.route.retries().take(1, now_ms) {
            attempting.not_called(NotNow::RetryBudget);
            return Ended::NotNow(NotNow::RetryBudget);
        }
        tokio::time::sleep(Duration::from_millis(call.delay_ms)).await;
    } else if call.delay_ms > 0 {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(call.delay_ms)) => {}
            () = assignment.hurry.notified() => {}
        }
    }
    let until = run.ask.arrived + run.ask.deadline;
    let asks = Asks {
        key: &run.ask.key,
        priority: run.ask.route.spec().priority,
        caller: run.ask.caller,
        until,
        regardless: assignment.regardless,
    };
    let lease = match model.lease(asks, run.gateway.clock()).await {
        Ok(lease) => lease,
        Err(reason) => {
            tracing::debug!(model = &**model.name(), %reason, "step passed over");
            attempting.not_called(reason);
            return Ended::NotNow(reason);
        }
    };
    // Its time was counted from when it was to begin; it may have waited.
    let started = Instant::now();
    let left_ms = until.saturating_duration_since(started).as_millis();
    let Some(left_ms) = u64::try_from(left_ms).ok().filter(|left_ms| *left_ms > 0) else {
        attempting.not_called(NotNow::Busy(Busy::Late));
        return Ended::NotNow(NotNow::Busy(Busy::Late));
    };
    let call = &mut assignment.call;
    call.timeout_ms = call.timeout_ms.min(left_ms);
    call.first_token_ms = call.first_token_ms.min(left_ms);
    let call = *call;
    run.calls.fetch_add(1, Ordering::Relaxed);
    attempting.called(lease.release());
    let under_way = (lease, attempting);
    match request(run, model, &under_way, call).await {
        Ok(Reply::Stream(reply)) => begun(run, under_way, reply, &assignment, started).await,
        Ok(Reply::Complete(complete)) => answered(run, under_way, complete, &assignment).await,
        Err(failure) => failed(run, under_way, failure, started),
    }
}

async fn request(
    run: &Run,
    model: &Model,
    (lease, attempting): &UnderWay,
    call: Call,
) -> Result<Reply, Failure> {
    let ask = &run.ask;
    let trace = attempting.trace_headers(ask.trace.as_ref());
    run.gateway
        .upstream()
        .call(upstream::Call {
            target: lease.release().target().clone(),
            path: ask.path,
            body: ask.body.clone(),
            stream: ask.streaming,
            timeouts: timeouts(run, model, lease.release(), call),
            keep_text_bytes: if ask.route.keeps_text() {
                TEXT_BYTES_KEPT
            } else {
                0
            },
            trace,
        })
        .await
}

/// A call that was let pass, and its place in the trail.
type UnderWay = (Lease, Attempting);

fn note_judged(attempting: &mut Attempting, judged: Option<&Judged>) {
    if let Some(judged) = judged {
        attempting.judged(judged.outcome, judged.decision);
    }
}

/// Records a whole answer and has it judged.
async fn answered(
    run: &Run,
    (mut lease, mut attempting): UnderWay,
    mut complete: Complete,
    assignment: &Assignment<'_>,
) -> Ended {
    let route = run.ask.route.series();
    lease.whole(complete.latency);
    lease.succeeded(Some(route));
    attempting.answered(complete.status, &complete.facts);
    let release = lease.release().clone();
    let now_ms = run.gateway.clock().now_ms();
    for series in release.series().into_iter().chain([route]) {
        series.answer(now_ms, complete.latency, complete.facts.confidence);
    }
    let tokens = complete.facts.usage.map(|usage| usage.completion_tokens);
    let facts = kept_facts(run, &mut complete.facts);
    let candidate = judge::Candidate {
        release: &release,
        step: assignment.call.id.step,
        steps_left: assignment.steps_left,
        facts,
        body: &complete.body,
        latency: complete.latency,
        delivered: false,
        partial: false,
        first_token: None,
        tokens: tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
    };
    let judged = judge::judge(&run.gateway, &run.ask, &assignment.attempts, candidate).await;
    note_judged(&mut attempting, judged.as_ref());
    if judged.as_ref().map(|judged| judged.outcome) == Some(Outcome::Escalate) {
        run.passed_over(&release, &complete.facts);
    }
    Ended::Answered {
        release,
        complete: Box::new(complete),
        judged,
    }
}

/// Takes the facts of an answer for its judgement, and leaves those by which
/// it is remembered or reviewed.
fn kept_facts(run: &Run, facts: &mut Extracted) -> Extracted {
    let remembers = run.ask.route.spec().feedback.is_some();
    let left = Extracted {
        confidence: facts.confidence,
        finish_reason: facts.finish_reason,
        label: facts.label.clone().filter(|_| remembers),
        ..Extracted::default()
    };
    std::mem::replace(facts, left)
}

/// Holds a stream back as long as it is to be, and has judged what is held.
async fn begun(
    run: &Run,
    (mut lease, mut attempting): UnderWay,
    mut reply: StreamReply,
    assignment: &Assignment<'_>,
    started: Instant,
) -> Ended {
    attempting.streams(reply.status, reply.first_token);
    lease.first_token(reply.first_token);
    let bytes_max = run.ask.route.spec().stream.hold_bytes_max;
    let until = started + Duration::from_millis(assignment.call.timeout_ms);
    let (whole, share) = match hold::hold(&mut reply, assignment.hold, bytes_max, until).await {
        Ok((held, share)) => (held == Held::Whole, share),
        Err(failure) => return failed(run, (lease, attempting), failure, started),
    };
    let left_out = reply.watch.facts().events_malformed;
    if whole && left_out > 0 && assignment.steps_left > 0 {
        // What could not be read may have been a part of the answer, and
        // nobody has seen any of it.
        let text = format!("{left_out} events of the stream could not be read");
        let failure = Failure::new(FailureClass::Malformed, text);
        return failed(run, (lease, attempting), failure, started);
    }
    if whole {
        let seen = reply.watch.facts();
        let times = (reply.called, reply.first_token);
        streamed(run, &mut lease, &mut attempting, &seen, times);
    }
    let mut judged = None;
    if assignment.hold != Hold::None && run.ask.route.threshold().is_some() {
        let seen = reply.watch.facts();
        let candidate = judge::Candidate {
            release: lease.release(),
            step: assignment.call.id.step,
            steps_left: assignment.steps_left,
            facts: seen.facts,
            body: seen.text.as_bytes(),
            latency: reply.called.elapsed(),
            delivered: false,
            partial: !whole,
            first_token: Some(reply.first_token),
            tokens: Some(seen.tokens),
        };
        judged = judge::judge(&run.gateway, &run.ask, &assignment.attempts, candidate).await;
        note_judged(&mut attempting, judged.as_ref());
    }
    Ended::Streaming(Box::new(Begun {
        lease,
        attempting,
        reply,
        share,
        whole,
        judged,
    }))
}

/// Records a stream that is whole: when its call began, and how long after
/// that the first token came.
pub(super) fn streamed(
    run: &Run,
    lease: &mut Lease,
    attempting: &mut Attempting,
    seen: &StreamFacts,
    (called, first_token): (Instant, Duration),
) {
    let route = run.ask.route.series();
    lease.succeeded(Some(route));
    attempting.streamed(&seen.facts);
    attempting.left_out(seen.events_malformed);
    let now_ms = run.gateway.clock().now_ms();
    let latency = called.elapsed();
    for series in lease.release().series().into_iter().chain([route]) {
        series.first_token(now_ms, first_token);
        series.answer(now_ms, latency, seen.facts.confidence);
    }
}

/// Records a failure.
fn failed(
    run: &Run,
    (mut lease, mut attempting): UnderWay,
    failure: Failure,
    started: Instant,
) -> Ended {
    lease.failed(Some(run.ask.route.series()), &failure);
    attempting.failed(&failure);
    let release = lease.release();
    tracing::debug!(
        route = &**run.ask.route.name(),
        model = &**release.model(),
        release = &**release.name(),
        class = failure.class.as_str(),
        detail = failure.detail,
        "attempt failed"
    );
    Ended::Failed(Box::new(failure), millis(started.elapsed()))
}

/// The time for one attempt: what the plan's run allows, never more than the
/// model is given.
fn timeouts(run: &Run, model: &Model, release: &Release, call: Call) -> Timeouts {
    let ms = Duration::from_millis;
    let whole = ms(call.timeout_ms).min(model.spec().timeout.unwrap_or(Duration::MAX));
    let total = if run.ask.streaming {
        run.ask.route.spec().stream.total
    } else {
        whole
    };
    Timeouts {
        connect: release.connect_timeout().min(total),
        first_token: ms(call.first_token_ms).min(whole),
        idle: run.ask.route.spec().timeouts.idle,
        total,
    }
}
