//! One attempt, from its request to its reply.

use super::classify::{Kind, exchange_failure, in_band_failure, response_failure};
use super::client::Exchange;
use super::extract::{self, ReadError};
use super::headers::relayable;
use super::source::Source;
use super::stream::{Deadlines, EventStream};
use super::target::{Endpoint, ReadingOptions, Server};
use super::types::{Call, Complete, Extracted, Failure, Path, Reply, StreamReply};
use crate::openai::{Api, OpenAiRequest};
use crate::trail::{TRACEPARENT, TRACESTATE};
use backstop_core::fault::FailureClass;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

/// Longest wait for the body of an error: its status is known, and the next
/// step of the plan waits for it.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(2);

/// See [`super::Upstream::call`]. With several keys the attempt is made again
/// with the next one while that may help.
pub(super) async fn call(call: Call) -> Result<Reply, Failure> {
    let deadlines = Deadlines::new(Instant::now(), &call.timeouts);
    let Some(keys) = &call.target.keys else {
        return attempt(&call, deadlines, None).await;
    };
    let mut round = keys.round();
    loop {
        let key = round.next()?;
        match attempt(&call, deadlines, Some(keys.header(key))).await {
            Ok(reply) => {
                round.worked(key);
                return Ok(reply);
            }
            Err(failure) => round.failed(key, failure)?,
        }
    }
}

/// The header of a key.
type KeyHeader<'a> = (&'a HeaderName, &'a HeaderValue);

async fn attempt(
    call: &Call,
    deadlines: Deadlines,
    key: Option<KeyHeader<'_>>,
) -> Result<Reply, Failure> {
    if call.stream && matches!(call.target.endpoint, Endpoint::Json(_)) {
        let error = "a stream was asked of a JSON model, which cannot stream";
        return Err(Failure::new(FailureClass::ClientFault, error));
    }
    let opened = timeout_at(deadlines.head(), open(call, &deadlines, key)).await;
    let (status, headers, source) = opened.map_err(|_| deadlines.expired(false))??;
    if !status.is_success() {
        return Err(refused(call, status, &headers, source, &deadlines).await);
    }
    if call.stream {
        stream(call, status, &headers, source, deadlines).await
    } else {
        complete(call, status, &headers, source, deadlines).await
    }
}

/// Sends the request and waits for the response head.
async fn open(
    call: &Call,
    deadlines: &Deadlines,
    key: Option<KeyHeader<'_>>,
) -> Result<(StatusCode, HeaderMap, Source), Failure> {
    match &call.target.endpoint {
        Endpoint::OpenAi {
            server,
            paths,
            model_json,
            request_logprobs,
        } => {
            let (api, body) = openai_body(call, model_json.as_deref(), *request_logprobs)?;
            let request = request(server, paths.of(api), body, call, key);
            exchange(server, request, deadlines).await
        }
        Endpoint::Json(server) => {
            let request = request(server, &server.path, call.body.clone(), call, key);
            exchange(server, request, deadlines).await
        }
        Endpoint::Simulated {
            simulated,
            served_model,
        } => simulated
            .answer(served_model, call.path, &call.body, call.stream)
            .await
            .map_err(|error| exchange_failure(&error, false)),
    }
}

fn openai_body(
    call: &Call,
    model_json: Option<&str>,
    request_logprobs: bool,
) -> Result<(Api, Bytes), Failure> {
    let no_request = |error: String| Failure::new(FailureClass::ClientFault, error);
    let (api, layout) = match call.path {
        Path::OpenAi(api, layout) => (api, layout),
        Path::Json => {
            let request = OpenAiRequest::parse(Api::Chat, &call.body)
                .map_err(|error| no_request(error.to_string()))?;
            (Api::Chat, request.layout)
        }
    };
    layout
        .rewrite(&call.body, model_json, request_logprobs)
        .map(|body| (api, body))
        .ok_or_else(|| no_request("the layout belongs to another body".to_owned()))
}

fn request(
    server: &Server,
    path: &PathAndQuery,
    body: Bytes,
    call: &Call,
    key: Option<KeyHeader<'_>>,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.clone().into();
    let mut headers = server.headers.clone();
    if let Some((name, value)) = key {
        headers.insert(name, value.clone());
    }
    if call.stream {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    }
    if let Some(trace) = &call.trace {
        headers.insert(TRACEPARENT, trace.traceparent.clone());
        if let Some(state) = &trace.tracestate {
            headers.insert(TRACESTATE, state.clone());
        }
    }
    *request.headers_mut() = headers;
    request
}

async fn exchange(
    server: &Server,
    request: Request<Full<Bytes>>,
    deadlines: &Deadlines,
) -> Result<(StatusCode, HeaderMap, Source), Failure> {
    let (head, exchange) = Exchange::start(Arc::clone(&server.origin), request, deadlines.connect)
        .await
        .map_err(|error| exchange_failure(&error, false))?;
    Ok((head.status, head.headers, Source::Network(exchange)))
}

/// Why a body could not be had.
enum BodyError {
    TooLong,
    Broken(Failure),
}

/// The whole body. One piece, the usual case, is not copied.
async fn collect(
    mut source: Source,
    bytes_max: usize,
    until: impl Fn() -> Instant,
    expired: impl Fn() -> Failure,
) -> Result<Bytes, BodyError> {
    let announced = source.length().unwrap_or(0);
    if announced > bytes_max as u64 {
        return Err(BodyError::TooLong);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let piece = timeout_at(until(), poll_fn(|cx| source.poll_piece(cx))).await;
        let piece = match piece.map_err(|_| BodyError::Broken(expired()))? {
            None => break,
            Some(piece) => {
                piece.map_err(|error| BodyError::Broken(exchange_failure(&error, true)))?
            }
        };
        if first.len() + all.len() + piece.len() > bytes_max {
            return Err(BodyError::TooLong);
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(
                usize::try_from(announced)
                    .unwrap_or(0)
                    .max(first.len() + piece.len()),
            );
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&piece);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The failure of a response with a status other than 2xx.
async fn refused(
    call: &Call,
    status: StatusCode,
    headers: &HeaderMap,
    source: Source,
    deadlines: &Deadlines,
) -> Failure {
    let until = deadlines.next_piece().min(Instant::now() + ERROR_BODY_WAIT);
    let bytes_max = call.target.answer_bytes_max;
    let body = collect(source, bytes_max, || until, || deadlines.expired(true)).await;
    response_failure(status, headers, body.ok(), kind(call), SystemTime::now())
}

async fn complete(
    call: &Call,
    status: StatusCode,
    headers: &HeaderMap,
    source: Source,
    deadlines: Deadlines,
) -> Result<Reply, Failure> {
    let body = read_body(call, status, source, &deadlines).await?;
    let facts = read(call, &body).map_err(|error| read_failure(status, &error))?;
    Ok(Reply::Complete(Complete {
        status,
        headers: relayable(headers),
        body,
        facts,
        latency: deadlines.started.elapsed(),
    }))
}

async fn read_body(
    call: &Call,
    status: StatusCode,
    source: Source,
    deadlines: &Deadlines,
) -> Result<Bytes, Failure> {
    let bytes_max = call.target.answer_bytes_max;
    let next_piece = || deadlines.next_piece();
    collect(source, bytes_max, next_piece, || deadlines.expired(true))
        .await
        .map_err(|error| match error {
            BodyError::TooLong => {
                let text = format!("the answer is longer than {bytes_max} bytes");
                Failure::new(FailureClass::Malformed, text)
            }
            BodyError::Broken(failure) => failure,
        })
        .map_err(|failure| failure.with_status(status))
}

fn read(call: &Call, body: &[u8]) -> Result<Extracted, ReadError> {
    let reading = &call.target.reading;
    match (kind(call), &call.target.endpoint) {
        (Kind::OpenAi(api), _) => extract::openai(api, body, reading),
        // A simulated prediction is read without configuration.
        (Kind::Json, Endpoint::Simulated { .. }) if !reading.any() => {
            let pointer = |at: &str| Some(at.to_owned());
            let reading = ReadingOptions {
                answer_pointer: None,
                confidence_pointer: pointer("/confidence"),
                label_pointer: pointer("/label"),
                scores_pointer: pointer("/scores"),
            };
            extract::json(body, &reading)
        }
        (Kind::Json, _) => extract::json(body, reading),
    }
}

fn read_failure(status: StatusCode, error: &ReadError) -> Failure {
    match error {
        ReadError::Malformed(text) => {
            Failure::new(FailureClass::Malformed, text.as_str()).with_status(status)
        }
        ReadError::Error(error) => in_band_failure(status, error),
    }
}

async fn stream(
    call: &Call,
    status: StatusCode,
    headers: &HeaderMap,
    source: Source,
    deadlines: Deadlines,
) -> Result<Reply, Failure> {
    if let Some(other) = headers
        .get(CONTENT_TYPE)
        .filter(|value| !is_event_stream(value.as_bytes()))
    {
        // It may be an error in disguise, which says more than its type.
        let body = read_body(call, status, source, &deadlines).await?;
        return Err(
            match extract::openai(Api::Chat, &body, &ReadingOptions::default()) {
                Err(ReadError::Error(error)) => in_band_failure(status, &error),
                _ => {
                    let text = format!("a stream was asked for, the answer is {other:?}");
                    Failure::new(FailureClass::Malformed, text).with_status(status)
                }
            },
        );
    }
    let mut events = EventStream::new(source, call.path, status, deadlines, call.keep_text_bytes);
    let first = events.first().await?;
    Ok(Reply::Stream(StreamReply {
        status,
        headers: relayable(headers),
        first,
        watch: events.watch(),
        rest: Box::pin(events),
        called: deadlines.started.into_std(),
        first_token: deadlines.started.elapsed(),
    }))
}

/// True for the type of event streams, whatever its parameters.
fn is_event_stream(content_type: &[u8]) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    content_type
        .get(..EVENTS.len())
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS))
}

/// How an answer is read: as the endpoint speaks, and a simulated one speaks
/// both.
fn kind(call: &Call) -> Kind {
    match (&call.target.endpoint, call.path) {
        (Endpoint::OpenAi { .. } | Endpoint::Simulated { .. }, Path::OpenAi(api, _)) => {
            Kind::OpenAi(api)
        }
        (Endpoint::OpenAi { .. }, Path::Json) => Kind::OpenAi(Api::Chat),
        (Endpoint::Json(_), _) | (Endpoint::Simulated { .. }, Path::Json) => Kind::Json,
    }
}
