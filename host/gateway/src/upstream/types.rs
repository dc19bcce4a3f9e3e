//! The seam between the data plane and the models: what a call is, and what
//! comes back.
//!
//! Nothing in here does anything. The data plane builds a [`Call`], the
//! providers answer with a [`Reply`] or with a [`Failure`] that has exactly
//! one class. Dropping the future of a call, or the stream of a reply, cancels
//! what runs upstream.

use super::stream::Watch;
use super::target::Target;
use crate::openai::{Api, RequestLayout};
use backstop_core::fault::FailureClass;
use backstop_core::input::{FinishReason, Score};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most scores that are kept of an answer; the contract's bound.
pub const SCORES_MAX: usize = 256;
/// Most token log-probabilities that are kept of an answer; the contract's
/// bound. The confidence is computed over all of them.
pub const TOKEN_LOGPROBS_MAX: usize = 4096;

/// One attempt at one release of a model.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which endpoint, and how its answers are read.
    pub target: Arc<Target>,
    /// What kind of request `body` is.
    pub path: Path,
    /// The caller's request body, untouched.
    pub body: Bytes,
    /// True when the answer is to come as server-sent events. For OpenAI this
    /// must be what the body says ([`crate::openai::OpenAiRequest::stream`]).
    pub stream: bool,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// How many bytes of a stream's text are kept in its [`Watch`], for a
    /// threshold policy or a reviewer; 0 keeps none.
    pub keep_text_bytes: usize,
    /// Where the call stands in a trace, for the upstream to go on with.
    pub trace: Option<TraceHeaders>,
}

/// Headers of W3C Trace Context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeaders {
    /// The span that calls.
    pub traceparent: HeaderValue,
    /// What tracing systems keep there.
    pub tracestate: Option<HeaderValue>,
}

/// What kind of request a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// A request of OpenAI's API. The layout, found once by
    /// [`crate::openai::OpenAiRequest::parse`], says where the model's name
    /// stands, so that each attempt can replace it without parsing again.
    OpenAi(Api, RequestLayout),
    /// Any JSON document.
    Json,
}

impl Path {
    /// How many choices the answer is to have.
    pub fn choices(&self) -> u32 {
        match self {
            Path::OpenAi(_, layout) => layout.choices(),
            Path::Json => 1,
        }
    }

    /// What is asked for, in OpenTelemetry's words where it has one.
    pub fn operation(&self) -> &'static str {
        match self {
            Path::OpenAi(api, _) => api.operation(),
            Path::Json => "predict",
        }
    }
}

/// How long each phase of an attempt may take. Each phase has its own failure
/// class. [`Duration::MAX`] means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands (name resolution and TLS included). Costs
    /// nothing when an idle connection is there.
    pub connect: Duration,
    /// From the start of the attempt until the response head, and for a
    /// stream until its first event.
    pub first_token: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
    /// For the attempt as a whole, a stream included.
    pub total: Duration,
}

/// What a model answered.
#[derive(Debug)]
pub enum Reply {
    /// The whole answer.
    Complete(Complete),
    /// An answer that is still being written. Its first event is here.
    Stream(StreamReply),
}

/// A whole answer.
#[derive(Debug)]
pub struct Complete {
    /// 200 to 299.
    pub status: StatusCode,
    /// The headers that may be relayed to the caller.
    pub headers: HeaderMap,
    /// The body, untouched.
    pub body: Bytes,
    /// What was read out of it.
    pub facts: Extracted,
    /// From the call to the last byte.
    pub latency: Duration,
}

/// A boxed stream of body bytes. After an error it is over.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>;

/// An answer that is still being written.
pub struct StreamReply {
    /// 200 to 299.
    pub status: StatusCode,
    /// The headers that may be relayed to the caller.
    pub headers: HeaderMap,
    /// Whole events, at least one with content. Until these bytes are handed
    /// to the caller, another model may still be asked instead.
    pub first: Bytes,
    /// Whole events only, so that an error event may follow any item. Ends
    /// with `None` only when the answer is complete; else its last item is a
    /// failure, which the caller has to be told in band.
    pub rest: ByteStream,
    /// What was seen while the stream passed.
    pub watch: Watch,
    /// When the call began.
    pub called: Instant,
    /// From the call to the first event with content.
    pub first_token: Duration,
}

impl std::fmt::Debug for StreamReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamReply")
            .field("status", &self.status)
            .field("first", &self.first)
            .field("first_token", &self.first_token)
            .finish_non_exhaustive()
    }
}

/// What was read out of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extracted {
    /// In `[0, 1]`: the geometric mean of the token probabilities, else what
    /// stands at the configured place, else none.
    pub confidence: Option<f64>,
    /// The predicted label.
    pub label: Option<String>,
    /// Scores per label, highest first, at most [`SCORES_MAX`].
    pub scores: Vec<Score>,
    /// Natural log-probabilities, at most [`TOKEN_LOGPROBS_MAX`].
    pub token_logprobs: Vec<f64>,
    /// Why the model stopped.
    pub finish_reason: Option<FinishReason>,
    /// The model's name in the provider's words.
    pub served_model: Option<String>,
    /// What stands at the configured `answer_pointer`, as JSON text.
    pub answer: Option<String>,
    /// Token counts.
    pub usage: Option<Usage>,
}

/// Token counts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
pub struct Usage {
    /// Tokens of the request; `input_tokens` in responses.
    #[serde(default, alias = "input_tokens")]
    pub prompt_tokens: u64,
    /// Tokens of the answer; `output_tokens` in responses.
    #[serde(default, alias = "output_tokens")]
    pub completion_tokens: u64,
    /// Both together.
    #[serde(default)]
    pub total_tokens: u64,
}

/// Why an attempt gave no answer, or no complete one.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{class}: {detail}")]
pub struct Failure {
    /// The one class that decides breaker, retry and fallback.
    pub class: FailureClass,
    /// The upstream's status, when a response head came.
    pub status: Option<StatusCode>,
    /// How long the upstream asked to be left alone, at most
    /// [`super::retry_after::RETRY_AFTER_MAX`].
    pub retry_after: Option<Duration>,
    /// False when it is certain that the model did nothing about the request:
    /// nothing was sent, or it was turned away.
    pub may_have_acted: bool,
    /// What the upstream said, for failures that are the caller's business
    /// (client fault, context length, content policy): to be relayed verbatim
    /// when the plan ends here.
    pub relay: Option<Box<Relay>>,
    /// For the operator's log, never for the caller. One line, bounded.
    pub detail: String,
}

/// An upstream's answer that is relayed as it is.
#[derive(Debug, Clone)]
pub struct Relay {
    /// The upstream's status.
    pub status: StatusCode,
    /// The headers that may be relayed.
    pub headers: HeaderMap,
    /// The body, untouched.
    pub body: Bytes,
}

/// Longest [`Failure::detail`], so that an upstream cannot flood the log.
const DETAIL_BYTES_MAX: usize = 512;

impl Failure {
    /// A failure of `class` with a text for the operator, which is cut and
    /// made safe to show.
    pub fn new(class: FailureClass, detail: impl Into<String>) -> Self {
        Failure {
            class,
            status: None,
            retry_after: None,
            may_have_acted: class.effect().may_have_acted,
            relay: None,
            detail: backstop_core::text::sanitize(detail.into(), DETAIL_BYTES_MAX),
        }
    }

    /// The same failure, with the status that the upstream answered.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
}
