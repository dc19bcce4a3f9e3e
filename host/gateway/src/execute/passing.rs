//! Streams after their first event: passed on, counted and judged at the end.
//!
//! From here on no other model is asked: the caller may have seen the first
//! event. Always holds: pieces are passed on as they arrive; a stream that
//! breaks off ends with an error in band and without `[DONE]`; what is
//! counted is how the stream ended, not that it began; a caller that goes away
//! early counts against nobody.

use super::Run;
use super::judge::{self, Item};
use super::keep;
use super::walk::Streaming;
use crate::release::Lease;
use crate::telemetry::RequestOutcome;
use crate::upstream::{ByteStream, Extracted, Failure, Watch};
use backstop_core::input::Attempt;
use backstop_core::verdict::Outcome;
use bytes::Bytes;
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A stream on its way to the caller.
pub(crate) struct Passing {
    first: Option<Bytes>,
    rest: ByteStream,
    /// What is to be done at the end; taken when it has come.
    ending: Option<Box<Ending>>,
}

struct Ending {
    run: Run,
    lease: Lease,
    watch: Watch,
    step: u32,
    steps_left: u32,
    attempts: Vec<Attempt>,
    first_token: Duration,
    /// When the call began.
    called: Instant,
}

impl Passing {
    /// The stream that `streaming` began.
    pub(crate) fn new(run: Run, streaming: Streaming) -> Self {
        let Streaming {
            lease,
            step,
            steps_left,
            attempts,
            reply,
        } = streaming;
        run.count.metrics.first_token(run.ask.arrived.elapsed());
        Passing {
            first: Some(reply.first),
            rest: reply.rest,
            ending: Some(Box::new(Ending {
                run,
                lease,
                watch: reply.watch,
                step,
                steps_left,
                attempts,
                first_token: reply.first_token,
                called: Instant::now()
                    .checked_sub(reply.first_token)
                    .unwrap_or_else(Instant::now),
            })),
        }
    }

    /// Notes a break, and says so in band.
    fn broke(&mut self, failure: &Failure) -> Option<Bytes> {
        let mut ending = self.ending.take()?;
        ending.run.outcome(RequestOutcome::Cut);
        ending
            .lease
            .failed(Some(ending.run.ask.route.series()), failure);
        let run = &ending.run;
        let now_ms = run.gateway.clock().now_ms();
        if let Some(left_out) = run.ask.route.complaints().turn(now_ms) {
            tracing::warn!(
                route = &**run.ask.route.name(),
                model = &**ending.lease.release().model(),
                release = &**ending.lease.release().name(),
                class = failure.class.as_str(),
                detail = failure.detail,
                left_out,
                "stream broke off after its first event"
            );
        }
        Some(crate::http::deliver::in_band(failure))
    }

    /// Notes that the stream is complete, and has it judged.
    fn completed(&mut self) {
        if let Some(ending) = self.ending.take() {
            ending.completed();
        }
    }
}

impl Stream for Passing {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        if this.ending.is_none() {
            return Poll::Ready(None);
        }
        match std::task::ready!(this.rest.as_mut().poll_next(context)) {
            Some(Ok(piece)) => Poll::Ready(Some(piece)),
            Some(Err(failure)) => Poll::Ready(this.broke(&failure)),
            None => {
                this.completed();
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // Many clients hang up as soon as they have read `[DONE]`.
        if let Some(ending) = self.ending.take()
            && self.first.is_none()
            && ending.watch.facts().complete
        {
            ending.completed();
        }
    }
}

impl Ending {
    fn completed(mut self: Box<Self>) {
        let run = &self.run;
        let route = run.ask.route.series();
        self.lease.succeeded(Some(route));
        run.outcome(RequestOutcome::Answered);
        let facts = self.watch.facts();
        let confidence = facts.facts.confidence;
        let now_ms = run.gateway.clock().now_ms();
        let latency = self.called.elapsed();
        for series in self.lease.release().series().into_iter().chain([route]) {
            series.first_token(now_ms, self.first_token);
            series.answer(now_ms, latency, confidence);
        }
        if run.ask.route.threshold().is_none() {
            return;
        }
        // The caller has everything and must not wait for this.
        let gateway = run.gateway.clone();
        gateway.background(async move {
            self.judge(facts.facts, facts.text, latency).await;
        });
    }

    async fn judge(self: Box<Self>, facts: Extracted, text: String, latency: Duration) {
        let Ending { run, lease, .. } = &*self;
        let candidate = judge::Candidate {
            release: lease.release(),
            step: self.step,
            steps_left: self.steps_left,
            facts,
            body: text.as_bytes(),
            latency,
            delivered: true,
        };
        let judged = judge::judge(&run.gateway, &run.ask, &self.attempts, candidate).await;
        if let Some(judged) = judged
            && judged.outcome == Outcome::Review
            && run.ask.route.spec().review
        {
            let item = Item {
                note: judged.reason,
                decision: Some(judged.decision),
                answer: Some((Bytes::from(text), lease.release().clone())),
            };
            let review = judge::review(&run.gateway, &run.ask, item);
            keep::keep(&run.gateway, review).await;
        }
    }
}
