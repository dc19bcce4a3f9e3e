//! Streams that the caller sees: passed on, counted and judged at the end.
//!
//! From here on no other model is asked silently: the caller may have seen the
//! first event. Always holds: pieces are passed on as they arrive; a stream
//! that breaks off ends with an error in band and without `[DONE]`, unless the
//! route restarts it: then the plan goes on, and the next answer follows from
//! its beginning, behind a text that says so; what is counted is how the
//! stream ended, not that it began; a caller that goes away early counts
//! against nobody.

use super::Run;
use super::attempt::{self, Begun};
use super::hold::Share;
use super::judge::{self, Item};
use super::keep;
use super::walk::{self, End, Streaming};
use crate::clock::millis;
use crate::http::deliver;
use crate::openai::Api;
use crate::openai::restart::Joint;
use crate::release::Lease;
use crate::telemetry::RequestOutcome;
use crate::trail::Attempting;
use crate::upstream::{ByteStream, Failure, StreamFacts, Watch};
use backstop_core::plan::AfterCut;
use backstop_core::plan_run::{CallId, PlanRun};
use backstop_core::verdict::Outcome;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// A stream on its way to the caller.
pub(crate) struct Passing {
    /// With its share of what may be held.
    first: Option<(Bytes, Share)>,
    rest: Rest,
    /// How another answer may follow: set for routes that restart.
    joint: Option<Joint>,
}

enum Rest {
    /// Pieces follow, and then what is to be done at the end.
    Passing(ByteStream, Box<Ending>),
    /// The plan goes on after a cut.
    Resuming(Pin<Box<dyn Future<Output = (Run, End)> + Send>>),
    /// Nothing follows.
    Over,
}

struct Ending {
    run: Run,
    lease: Lease,
    attempting: Attempting,
    watch: Watch,
    call: CallId,
    plan_run: PlanRun,
    /// True when the whole answer was held, recorded and judged.
    whole: bool,
    /// True when it is remembered for feedback, or not to be.
    remembered: bool,
    first_token: Duration,
    /// When the call began.
    called: Instant,
}

impl Passing {
    /// The stream that `streaming` began.
    pub(crate) fn new(run: Run, streaming: Streaming) -> Self {
        run.first_token();
        let restarts = after_cut(&run, &streaming.plan_run) == AfterCut::Restart;
        let api = run.ask.route.kind().api().unwrap_or(Api::Chat);
        let joint = restarts.then(|| Joint::of(api, &streaming.begun.reply.first));
        let (first, share, rest) = Rest::of(run, streaming);
        Passing {
            first: Some((first, share)),
            rest,
            joint: joint.flatten(),
        }
    }

    /// What follows a break: an error in band, or the plan's next step.
    fn broke(&mut self, failure: Failure) -> Option<Bytes> {
        let Rest::Passing(_, ending) = std::mem::replace(&mut self.rest, Rest::Over) else {
            return None;
        };
        let Ending {
            run,
            mut lease,
            mut attempting,
            watch,
            call,
            plan_run,
            called,
            ..
        } = *ending;
        lease.failed(Some(run.ask.route.series()), &failure);
        attempting.left_out(watch.facts().events_malformed);
        attempting.failed(&failure);
        drop(attempting);
        let can_restart = |joint: &Joint| joint.can_restart(watch.can_restart());
        let restarts = self.joint.as_ref().is_some_and(can_restart)
            && after_cut(&run, &plan_run) == AfterCut::Restart;
        tell_operator(&run, &lease, &failure, restarts);
        if !restarts {
            run.outcome(RequestOutcome::Cut);
            let position = match &self.joint {
                Some(joint) => joint.position(),
                None => watch.facts().events,
            };
            return Some(deliver::in_band(&run, &failure, position));
        }
        drop(lease);
        self.rest = Rest::Resuming(Box::pin(async move {
            let latency_ms = millis(called.elapsed());
            let end = walk::resume(&run, plan_run, call, failure, latency_ms).await;
            (run, end)
        }));
        None
    }

    /// What the plan came to after a cut: a text that says that the answer
    /// starts again and its first piece, or an error in band.
    fn resumed(&mut self, run: Run, end: End) -> Bytes {
        let Some(joint) = &mut self.joint else {
            return Bytes::new();
        };
        let mut out = BytesMut::new();
        let text = run.ask.route.spec().stream.restart_text.clone();
        match end {
            End::Stream(streaming) => {
                run.served(streaming.step(), streaming.release());
                let (first, _, rest) = Rest::of(run, *streaming);
                out.extend_from_slice(&joint.between(&text));
                out.extend_from_slice(&joint.pass(first));
                self.rest = rest;
            }
            End::Rules(position) => {
                let events = deliver::rules_events(&run, position);
                out.extend_from_slice(&joint.between(&text));
                out.extend_from_slice(&joint.pass(events));
                run.outcome(RequestOutcome::Rules);
                self.rest = Rest::Over;
            }
            other => {
                let error = deliver::in_band_end(&run, &other, joint.position());
                out.extend_from_slice(&error);
                run.outcome(RequestOutcome::Cut);
                self.rest = Rest::Over;
            }
        }
        out.freeze()
    }

    /// Remembers the answer before its caller knows that it is whole, so that
    /// feedback cannot come before it.
    fn remember(&mut self) {
        if let Rest::Passing(_, ending) = &mut self.rest {
            ending.remember();
        }
    }

    fn shown(&mut self, piece: Bytes) -> Bytes {
        match &mut self.joint {
            Some(joint) => joint.pass(piece),
            None => piece,
        }
    }
}

/// What follows a cut: what the plan asks for, where the route allows it.
fn after_cut(run: &Run, plan_run: &PlanRun) -> AfterCut {
    match (
        run.ask.route.spec().stream.after_cut,
        plan_run.plan().options.after_cut,
    ) {
        (AfterCut::Restart, None | Some(AfterCut::Restart)) => AfterCut::Restart,
        _ => AfterCut::Error,
    }
}

fn tell_operator(run: &Run, lease: &Lease, failure: &Failure, restarts: bool) {
    let now_ms = run.gateway.clock().now_ms();
    if let Some(left_out) = run.ask.route.complaints().turn(now_ms) {
        tracing::warn!(
            route = &**run.ask.route.name(),
            model = &**lease.release().model(),
            release = &**lease.release().name(),
            class = failure.class.as_str(),
            detail = failure.detail,
            restarts,
            left_out,
            "stream broke off after its caller had begun to see it"
        );
    }
}

impl Rest {
    /// The first piece of a stream, and the rest of it.
    fn of(run: Run, streaming: Streaming) -> (Bytes, Share, Rest) {
        let Streaming {
            call,
            begun,
            plan_run,
        } = streaming;
        let Begun {
            lease,
            attempting,
            reply,
            share,
            whole,
            ..
        } = begun;
        let ending = Ending {
            run,
            lease,
            attempting,
            watch: reply.watch,
            call,
            plan_run,
            whole,
            remembered: false,
            first_token: reply.first_token,
            called: reply.called,
        };
        (
            reply.first,
            share,
            Rest::Passing(reply.rest, Box::new(ending)),
        )
    }
}

impl Stream for Passing {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = self.get_mut();
        if let Some((first, _)) = this.first.take() {
            this.remember();
            return Poll::Ready(Some(first));
        }
        loop {
            let piece = match &mut this.rest {
                Rest::Over => return Poll::Ready(None),
                Rest::Resuming(walk) => {
                    let (run, end) = ready!(walk.as_mut().poll(context));
                    Some(this.resumed(run, end))
                }
                Rest::Passing(rest, _) => match ready!(rest.as_mut().poll_next(context)) {
                    Some(Ok(piece)) => Some(this.shown(piece)),
                    Some(Err(failure)) => this.broke(failure),
                    None => {
                        if let Rest::Passing(_, ending) =
                            std::mem::replace(&mut this.rest, Rest::Over)
                        {
                            ending.completed();
                        }
                        None
                    }
                },
            };
            if piece.is_some() {
                this.remember();
                return Poll::Ready(piece);
            }
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // Many clients hang up as soon as they have read `[DONE]`.
        if self.first.is_none()
            && let Rest::Passing(_, ending) = std::mem::replace(&mut self.rest, Rest::Over)
            && ending.watch.is_complete()
        {
            ending.completed();
        }
    }
}

impl Ending {
    fn remember(&mut self) {
        if !self.remembered && self.run.remembers() && self.watch.is_complete() {
            self.remembered = true;
            let facts = self.watch.facts().facts;
            self.run.remember(self.lease.release(), &facts);
        }
    }

    fn completed(mut self: Box<Self>) {
        self.remember();
        self.run.outcome(RequestOutcome::Answered);
        let seen = self.watch.facts();
        let route = &self.run.ask.route;
        let counting = self.run.gateway.shared().counting();
        counting.streamed(route, self.lease.release(), &seen.text);
        if self.whole {
            return;
        }
        let (called, first_token) = (self.called, self.first_token);
        let Ending {
            run,
            lease,
            attempting,
            ..
        } = &mut *self;
        attempt::streamed(run, lease, attempting, &seen, (called, first_token));
        if run.ask.route.threshold().is_none() {
            return;
        }
        // The caller has everything and must not wait for this.
        let gateway = run.gateway.clone();
        gateway.background(async move {
            self.judge(seen).await;
        });
    }

    async fn judge(mut self: Box<Self>, seen: StreamFacts) {
        let Ending {
            run,
            lease,
            plan_run,
            call,
            ..
        } = &*self;
        let confidence = seen.facts.confidence;
        let candidate = judge::Candidate {
            release: lease.release(),
            step: call.step,
            steps_left: plan_run.steps_left(call.step),
            facts: seen.facts,
            body: seen.text.as_bytes(),
            latency: self.called.elapsed(),
            delivered: true,
            partial: false,
            first_token: Some(self.first_token),
            tokens: Some(seen.tokens),
        };
        // The last attempt is this stream itself.
        let attempts = plan_run.attempts();
        let before = &attempts[..attempts.len().saturating_sub(1)];
        let judged = judge::judge(&run.gateway, &run.ask, before, candidate).await;
        let Some(judged) = judged else {
            return;
        };
        self.attempting.judged(judged.outcome, judged.decision);
        let Ending { run, lease, .. } = &*self;
        if judged.outcome == Outcome::Review && run.ask.route.spec().review {
            let item = Item {
                note: judged.reason,
                decision: Some(judged.decision),
                answer: Some((Bytes::from(seen.text), lease.release().clone())),
                confidence,
            };
            let review = judge::review(run, item);
            let gateway = run.gateway.clone();
            // The request has ended, whatever becomes of its review.
            drop(self);
            keep::keep(&gateway, review).await;
        }
    }
}
