//! An answer while it is being written: watched, timed, passed on untouched.
//!
//! [`EventStream`] hands on whole events as they came, but for ids and models
//! that change from chunk to chunk. On the way it notes what
//! a later judgement needs ([`Watch`]), takes an upstream's error event out
//! and turns it into a failure, leaves out single events that nobody can read,
//! and knows whether the answer was complete: only the finish reasons of all
//! its choices or the API's end make it so. What the events mean is the
//! business of [`dialect`](super::dialect).
//!
//! Always holds: after the whole answer an upstream that forgets to end, or
//! breaks off, is waited for no longer than a moment and spoils nothing; a
//! part of an answer is never taken for the whole.

use super::classify::{exchange_failure, in_band_failure};
use super::dialect::{Dialect, Part};
use super::source::Source;
use super::types::{Extracted, Failure, Path, Timeouts, Usage};
use crate::openai::completion::{Chunk, CompletionError};
use crate::openai::confidence::Logprobs;
use crate::openai::constant::{Constant, Edit, edited};
use crate::openai::sse::{EventSplitter, events};
use backstop_core::fault::FailureClass;
use backstop_core::input::FinishReason;
use backstop_core::text::cut;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::StatusCode;
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Most bytes that are held back while no event with content has come:
/// providers begin with comments and preambles of a few events.
const PREAMBLE_BYTES_MAX: usize = 256 * 1024;
/// Most events of one stream that are left out because nobody can read them.
/// One is an accident on the way; more are an upstream that is not well, and
/// text that the caller would miss.
const EVENTS_MALFORMED_MAX: u64 = 3;
/// How long the end of a stream is waited for after its answer is whole: long
/// enough for the token counts that may follow at once.
const END_WAIT: Duration = Duration::from_secs(2);
/// Stands for "never" where a timeout is too long to add to a clock.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The moments at which an attempt has taken too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) started: Instant,
    pub(super) connect: Instant,
    pub(super) first_token: Instant,
    pub(super) total: Instant,
    idle: Duration,
}

impl Deadlines {
    pub(super) fn new(started: Instant, timeouts: &Timeouts) -> Self {
        Deadlines {
            started,
            connect: after(started, timeouts.connect),
            first_token: after(started, timeouts.first_token),
            total: after(started, timeouts.total),
            idle: timeouts.idle,
        }
    }

    /// When the head, or the first event, has to be there.
    pub(super) fn head(&self) -> Instant {
        self.first_token.min(self.total)
    }

    /// When the next piece has to be there.
    pub(super) fn next_piece(&self) -> Instant {
        after(Instant::now(), self.idle).min(self.total)
    }

    /// The failure of an attempt that is out of time; `answering` is true
    /// once an answer has begun.
    pub(super) fn expired(&self, answering: bool) -> Failure {
        let took = self.started.elapsed().as_millis();
        if Instant::now() >= self.total {
            Failure::new(
                FailureClass::TimeoutTotal,
                format!("not complete after {took} ms"),
            )
        } else if answering {
            Failure::new(
                FailureClass::TimeoutIdle,
                format!("stood still for {} ms", self.idle.as_millis()),
            )
        } else {
            Failure::new(
                FailureClass::TimeoutFirstToken,
                format!("nothing of an answer after {took} ms"),
            )
        }
    }
}

fn after(from: Instant, wait: Duration) -> Instant {
    from + wait.min(NEVER)
}

/// What was seen of a stream so far; shared with whoever waits for its end.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    logprobs: Logprobs,
    finish_reason: Option<FinishReason>,
    served_model: Option<String>,
    usage: Option<Usage>,
    done: bool,
    ended: bool,
    events: u64,
    events_malformed: u64,
    /// Choices that have begun, and that have their finish reason; a bit each.
    choices: u64,
    finished: u64,
    /// How many choices were asked for; at least 1.
    choices_asked: u32,
    /// Something else than text of the first choice has passed.
    other: bool,
    tokens: u32,
    text: String,
    text_bytes: u64,
    text_bytes_max: usize,
}

/// What was seen of a stream so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamFacts {
    /// As of a whole answer; final when `ended`.
    pub facts: Extracted,
    /// True when the finish reason of each choice that began, or the end, has
    /// passed.
    pub complete: bool,
    /// True when the API's end has passed.
    pub done: bool,
    /// True when nothing more will come.
    pub ended: bool,
    /// Events with data, `[DONE]` left out.
    pub events: u64,
    /// Events whose data could not be read; they were left out.
    pub events_malformed: u64,
    /// Events with content, which is a token each for most upstreams.
    pub tokens: u32,
    /// The first `keep_text_bytes` of the answer's text.
    pub text: String,
    /// Length of the whole text in bytes.
    pub text_bytes: u64,
}

impl Watch {
    /// What was seen until now.
    pub fn facts(&self) -> StreamFacts {
        let seen = self.0.lock();
        StreamFacts {
            facts: Extracted {
                confidence: seen.logprobs.confidence(),
                token_logprobs: seen.logprobs.kept().to_vec(),
                finish_reason: seen.finish_reason,
                served_model: seen.served_model.clone(),
                usage: seen.usage,
                ..Extracted::default()
            },
            complete: seen.complete(),
            done: seen.done,
            ended: seen.ended,
            events: seen.events,
            events_malformed: seen.events_malformed,
            tokens: seen.tokens,
            text: seen.text.clone(),
            text_bytes: seen.text_bytes,
        }
    }

    /// How many events with content have passed.
    pub fn tokens(&self) -> u32 {
        self.0.lock().tokens
    }

    /// True when an answer that takes the place of what has passed reads well
    /// behind it: so far there was only text, of one choice, without an end.
    pub fn can_restart(&self) -> bool {
        let seen = self.0.lock();
        !seen.other && seen.finished == 0 && !seen.done && seen.choices_asked == 1
    }

    /// True when the answer is whole.
    pub fn is_complete(&self) -> bool {
        self.0.lock().complete()
    }
}

impl Seen {
    fn complete(&self) -> bool {
        self.done
            || self.finished.count_ones() >= self.choices_asked.clamp(1, 64)
                && self.choices & !self.finished == 0
    }

    fn note(&mut self, chunk: &Chunk<'_>) {
        chunk.add_logprobs(&mut self.logprobs);
        if chunk.finish_reason.is_some() {
            self.finish_reason = chunk.finish_reason;
        }
        self.choices |= chunk.choices;
        self.finished |= chunk.finished;
        self.other |= !chunk.only_text;
        self.tokens = self.tokens.saturating_add(chunk.has_content.into());
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        if let (None, Some(model)) = (&self.served_model, &chunk.served_model) {
            self.served_model = Some(model.to_string());
        }
        if self.text_bytes_max > 0
            && let Some(text) = chunk.text()
        {
            // Nothing is added behind a gap.
            if self.text.len() as u64 == self.text_bytes {
                let room = self.text_bytes_max - self.text.len();
                self.text.push_str(cut(&text, room));
            }
            self.text_bytes += text.len() as u64;
        }
    }
}

/// A stream of whole events. See the module's text.
pub(super) struct EventStream {
    /// None when nothing more will come from it.
    source: Option<Source>,
    dialect: Dialect,
    constant: Constant,
    status: StatusCode,
    splitter: EventSplitter,
    watch: Watch,
    deadlines: Deadlines,
    timer: Pin<Box<Sleep>>,
    /// An event with content has been seen: the answer has begun.
    begun: bool,
    /// The answer is whole, and its end is waited for.
    ending: bool,
    /// To be told after the bytes that came before it.
    failure: Option<Failure>,
}

/// What became of a piece of events.
struct Inspected {
    /// How much of it may pass, but for what is left out.
    passes: usize,
    /// What is changed of it, in order: events that nobody can read are left
    /// out, and all chunks get one id
    /// and one model.
    edits: Vec<Edit>,
    failure: Option<Failure>,
    /// True when there was something of an answer in it.
    moved: bool,
}

impl EventStream {
    pub(super) fn new(
        source: Source,
        path: Path,
        status: StatusCode,
        deadlines: Deadlines,
        keep_text_bytes: usize,
    ) -> Self {
        let watch = Watch::default();
        {
            let mut seen = watch.0.lock();
            seen.text_bytes_max = keep_text_bytes;
            seen.choices_asked = path.choices();
        }
        EventStream {
            source: Some(source),
            dialect: Dialect::of(path),
            constant: Constant::default(),
            status,
            splitter: EventSplitter::default(),
            watch,
            deadlines,
            timer: Box::pin(sleep_until(deadlines.head())),
            begun: false,
            ending: false,
            failure: None,
        }
    }

    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Waits until the answer has begun and returns everything up to there.
    /// An error here is one that nobody has seen anything of yet.
    pub(super) async fn first(&mut self) -> Result<Bytes, Failure> {
        let mut first = Bytes::new();
        while !self.begun && first.len() <= PREAMBLE_BYTES_MAX {
            match poll_fn(|cx| self.poll_events(cx)).await {
                Some(Ok(bytes)) if first.is_empty() => first = bytes,
                Some(Ok(bytes)) => {
                    let mut joined = BytesMut::from(first);
                    joined.extend_from_slice(&bytes);
                    first = joined.freeze();
                }
                Some(Err(failure)) => return Err(failure),
                None => {
                    let empty = "the stream ended without an answer";
                    return Err(
                        Failure::new(FailureClass::Malformed, empty).with_status(self.status)
                    );
                }
            }
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(first),
        }
    }

    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            if let Some(failure) = self.failure.take() {
                self.end();
                return Poll::Ready(Some(Err(failure.with_status(self.status))));
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(None);
            };
            let events = match source.poll_piece(cx) {
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    if self.watch.is_complete() {
                        self.last_event()
                    } else {
                        self.failure = Some(self.deadlines.expired(self.begun));
                        continue;
                    }
                }
                Poll::Ready(Some(Ok(piece))) => match self.splitter.push(piece) {
                    Ok(events) => {
                        if self.begun && !self.ending && self.splitter.is_within_data() {
                            self.timer.as_mut().reset(self.deadlines.next_piece());
                        }
                        self.pass(events)
                    }
                    Err(error) => {
                        self.failure =
                            Some(Failure::new(FailureClass::Malformed, error.to_string()));
                        continue;
                    }
                },
                Poll::Ready(Some(Err(_))) if self.watch.is_complete() => self.last_event(),
                Poll::Ready(Some(Err(error))) => {
                    self.failure = Some(exchange_failure(&error, true));
                    continue;
                }
                Poll::Ready(None) => self.last_event(),
            };
            if !events.is_empty() {
                return Poll::Ready(Some(Ok(events)));
            }
        }
    }

    /// Looks at `events` and returns those that may pass.
    fn pass(&mut self, events: Bytes) -> Bytes {
        if events.is_empty() {
            return events;
        }
        let inspected = self.inspect(&events);
        self.failure = inspected.failure;
        let seen = self.watch.0.lock();
        let (done, complete) = (seen.done, seen.complete());
        drop(seen);
        if done {
            self.end();
        } else if complete && !self.ending {
            self.ending = true;
            let soon = Instant::now() + END_WAIT;
            self.timer
                .as_mut()
                .reset(soon.min(self.deadlines.next_piece()));
        } else if inspected.moved && self.begun && !complete {
            // Comments keep connections alive, and no answer.
            self.timer.as_mut().reset(self.deadlines.next_piece());
        }
        let passes = events.slice(..inspected.passes);
        if inspected.edits.is_empty() {
            return passes;
        }
        edited(&passes, &inspected.edits)
    }

    fn inspect(&mut self, bytes: &[u8]) -> Inspected {
        let mut edits = Vec::new();
        let mut moved = false;
        let mut seen = self.watch.0.lock();
        for event in events(bytes) {
            let Some(data) = event.data.as_deref().filter(|data| !data.is_empty()) else {
                continue;
            };
            let failure = match self.dialect.read(&event, data) {
                Ok(part @ (Part::Done | Part::Last(_))) => {
                    if let Part::Last(chunk) = part {
                        seen.events += 1;
                        self.begun = true;
                        seen.note(&chunk);
                    }
                    seen.done = true;
                    return Inspected {
                        passes: event.end,
                        edits,
                        failure: None,
                        moved,
                    };
                }
                Ok(Part::Chunk(chunk)) => {
                    seen.events += 1;
                    self.begun |= chunk.has_content || chunk.finished != 0;
                    moved = true;
                    seen.note(&chunk);
                    self.constant.keep(&chunk, bytes, &mut edits);
                    continue;
                }
                Err(CompletionError::Error(error)) => in_band_failure(self.status, &error),
                Err(error) => {
                    seen.events_malformed += 1;
                    if seen.events_malformed <= EVENTS_MALFORMED_MAX {
                        edits.push(Edit {
                            range: event.start..event.end,
                            text: Bytes::new(),
                        });
                        continue;
                    }
                    Failure::new(FailureClass::Malformed, error.to_string())
                }
            };
            return Inspected {
                passes: event.start,
                edits,
                failure: Some(failure),
                moved,
            };
        }
        Inspected {
            passes: bytes.len(),
            edits,
            failure: None,
            moved,
        }
    }

    /// The body is over: what is left may be an event whose blank line was
    /// forgotten; else it is the stump of one, which nobody can use. A whole
    /// answer whose upstream forgot to end it is ended here.
    fn last_event(&mut self) -> Bytes {
        let left = self.splitter.finish();
        let mut passes = BytesMut::new();
        if self.is_whole(&left) {
            let whole = self.pass(left);
            if !whole.is_empty() {
                passes.extend_from_slice(&whole);
                passes.extend_from_slice(b"\n\n");
            }
        }
        // The connection went back when the body ended.
        self.source = None;
        let mut seen = self.watch.0.lock();
        seen.ended = true;
        if self.failure.is_none() {
            if !seen.complete() {
                self.failure = Some(Failure::new(
                    FailureClass::CutStream,
                    "the stream ended without a finish reason and without its end",
                ));
            } else if !seen.done {
                passes.extend_from_slice(&self.dialect.end());
            }
        }
        passes.freeze()
    }

    /// True when `left`, the end of a body, is an event that only lacks its
    /// blank line.
    fn is_whole(&self, left: &[u8]) -> bool {
        let mut any = false;
        events(left).all(|event| {
            any = true;
            let Some(data) = event.data.as_deref() else {
                return true;
            };
            !matches!(
                self.dialect.read(&event, data),
                Err(CompletionError::Invalid(_))
            )
        }) && any
    }

    fn end(&mut self) {
        self.watch.0.lock().ended = true;
        if let Some(source) = self.source.take() {
            // After `[DONE]` the connection is as good as new; after a failure
            // it is closed, which cancels what still runs upstream.
            if self.watch.0.lock().done {
                source.let_go();
            }
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_events(cx)
    }
}
