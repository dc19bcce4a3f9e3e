//! A provider on loopback that speaks OpenAI's chat completions, well or ill.
//!
//! What it does is fixed when it starts ([`Manner`]); what it was asked is
//! kept. It takes connections until it is dropped. [`Refusing`] is the address
//! of one that is not there.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;

/// Between two pieces of a body: each must have left before the next one, or
/// before a break that would take it along.
const GAP: Duration = Duration::from_millis(30);
/// Words that a stream has before it breaks off.
const WORDS_BEFORE_CUT: usize = 2;
/// Questions that are kept; a test that asks more has lost count.
const ASKED_MAX: usize = 10_000;

/// What a provider does when it is asked.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// Answers `text`, with `logprob` for each word.
    Answers {
        /// The answer.
        text: &'static str,
        /// Natural logarithm of each word's probability.
        logprob: f64,
    },
    /// Answers 503 with an error in OpenAI's envelope.
    Overloaded,
    /// Breaks the connection off in the middle of this answer: of a stream
    /// after two words.
    Cuts(&'static str),
    /// Breaks the connection off after the headers.
    CutsAtOnce,
}

/// What a provider was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The request's `model`.
    pub model: String,
    /// The request's `stream`.
    pub stream: bool,
    /// The header `authorization`.
    pub authorization: Option<String>,
}

struct Shared {
    manner: Manner,
    asked: Mutex<Vec<Asked>>,
}

/// A provider; see the module's text.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Starts a provider on a free port.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start(manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            manner,
            asked: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            address,
            shared,
            task: serving.abort_handle(),
        })
    }

    /// Its `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it was asked so far, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.shared.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An address that refuses every connection for as long as this lives: the
/// port is taken, so that nobody else gets it, and nobody listens.
pub struct Refusing {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Refusing {
    /// Takes a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self {
            address: socket.local_addr()?,
            _socket: socket,
        })
    }

    /// Its `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

async fn chat(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    let model = request["model"].as_str().unwrap_or_default();
    let stream = request["stream"].as_bool().unwrap_or_default();
    note(&shared, model, stream, &headers);
    match shared.manner {
        Manner::Answers { text, logprob } if stream => {
            let mut events = words(model, text, logprob);
            events.push(Ok(event(&chunk(model, json!({}), None, Some("stop")))));
            events.push(Ok("data: [DONE]\n\n".into()));
            body("text/event-stream", events)
        }
        Manner::Answers { text, logprob } => {
            let answer = completion(model, text, logprob).to_string();
            body("application/json", vec![Ok(answer.into())])
        }
        Manner::Overloaded => {
            let error = json!({
                "message": "too many requests right now",
                "type": "server_error",
                "param": null,
                "code": null,
            });
            let envelope = Json(json!({ "error": error }));
            (StatusCode::SERVICE_UNAVAILABLE, envelope).into_response()
        }
        Manner::Cuts(text) if stream => {
            let mut events = words(model, text, 0.0);
            events.truncate(WORDS_BEFORE_CUT);
            events.push(Err(broken()));
            body("text/event-stream", events)
        }
        Manner::Cuts(text) => {
            let mut answer = completion(model, text, 0.0).to_string();
            answer.truncate(answer.len() / 2);
            body("application/json", vec![Ok(answer.into()), Err(broken())])
        }
        Manner::CutsAtOnce if stream => body("text/event-stream", vec![Err(broken())]),
        Manner::CutsAtOnce => body("application/json", vec![Err(broken())]),
    }
}

fn note(shared: &Shared, model: &str, stream: bool, headers: &HeaderMap) {
    let authorization = headers.get(header::AUTHORIZATION);
    let asked = Asked {
        model: model.to_owned(),
        stream,
        authorization: authorization
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
    };
    let mut list = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
    if list.len() < ASKED_MAX {
        list.push(asked);
    }
}

type Piece = Result<Bytes, io::Error>;

fn broken() -> io::Error {
    io::Error::other("broken off, as the test wants it")
}

/// A body of these pieces, one after the other; an error ends the connection.
fn body(content_type: &'static str, pieces: Vec<Piece>) -> Response {
    let slowly = stream::iter(pieces).then(|piece| async {
        tokio::time::sleep(GAP).await;
        piece
    });
    let headers = [(header::CONTENT_TYPE, content_type)];
    (headers, Body::from_stream(slowly)).into_response()
}

fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

/// One event for each word.
fn words(model: &str, text: &str, logprob: f64) -> Vec<Piece> {
    text.split_inclusive(' ')
        .map(|word| {
            let delta = json!({ "role": "assistant", "content": word });
            Ok(event(&chunk(model, delta, Some((word, logprob)), None)))
        })
        .collect()
}

fn chunk(model: &str, delta: Value, word: Option<(&str, f64)>, finish: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-test",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [{
            "index": 0,
            "delta": delta,
            "logprobs": word.map(|(word, logprob)| logprobs(&[word], logprob)),
            "finish_reason": finish,
        }],
    })
}

fn completion(model: &str, text: &str, logprob: f64) -> Value {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    json!({
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": logprobs(&words, logprob),
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": words.len(),
            "total_tokens": words.len() + 1,
        },
    })
}

fn logprobs(words: &[&str], logprob: f64) -> Value {
    let tokens = words.iter().map(
        |word| json!({ "token": word, "logprob": logprob, "bytes": null, "top_logprobs": [] }),
    );
    json!({ "content": tokens.collect::<Vec<_>>(), "refusal": null })
}
