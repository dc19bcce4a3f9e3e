//! The kit of these tests: models that misbehave on request, a gateway on real
//! sockets, and a client that sees everything.

use backstop::BoxFuture;
use backstop_gateway::admin::{AdminParts, AdminState};
use backstop_gateway::config::Config;
use backstop_gateway::gateway::{Gateway, GatewayParts};
use backstop_gateway::reload::{Applied, Refused, Reload, Reloader, ReloaderOptions};
use backstop_gateway::server::{Server, Stopped};
use backstop_gateway::store::{Incidents, SqliteStore, Store, StoreOptions};
use backstop_gateway::telemetry::Telemetry;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// How a fake model answers.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// A chat completion with this text.
    Text(&'static str),
    /// This JSON.
    Json(Value),
    /// A status with an error envelope, and perhaps `Retry-After` in seconds.
    Status(u16, Option<u32>),
    /// A status with this JSON.
    Error(u16, &'static str),
    /// Nothing, ever.
    Hang,
    /// Closes the connection.
    Reset,
    /// 200 with HTML.
    Html,
    /// A stream of these tokens with finish reason and `[DONE]`. Each token
    /// waits for a permit when there is a gate.
    Stream(&'static [&'static str], Option<Arc<Semaphore>>),
    /// A stream of these tokens, each with this probability.
    Sure(&'static [&'static str], f64),
    /// A stream that breaks off after these tokens.
    CutStream(&'static [&'static str]),
    /// These events as they stand, and the end of the body.
    Events(&'static str),
    /// The same, each in a piece of its own.
    EachEvent(&'static str),
}

/// A fake model on a real socket.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) addr: SocketAddr,
    says: Arc<Mutex<Says>>,
    calls: Arc<AtomicU32>,
    /// Whether probes are told that it is ill.
    ill: Arc<AtomicBool>,
    /// The last request body.
    heard: Arc<Mutex<Bytes>>,
    /// The headers of the last request.
    headers: Arc<Mutex<HeaderMap>>,
    /// The path of the last request.
    path: Arc<Mutex<String>>,
}

type ModelBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

impl Model {
    pub(crate) async fn start(says: Says) -> Model {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let model = Model {
            addr: listener.local_addr().unwrap(),
            says: Arc::new(Mutex::new(says)),
            calls: Arc::default(),
            ill: Arc::default(),
            heard: Arc::default(),
            headers: Arc::default(),
            path: Arc::default(),
        };
        let serving = model.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let model = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let model = model.clone();
                        async move { model.answer(request).await }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        model
    }

    /// An address where nobody listens.
    pub(crate) async fn refusing() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    pub(crate) fn say(&self, says: Says) {
        *self.says.lock() = says;
    }

    /// Says what probes are told from now on.
    pub(crate) fn probed(&self, well: bool) {
        self.ill.store(!well, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn heard(&self) -> Value {
        serde_json::from_slice(&self.heard.lock()).unwrap()
    }

    /// The path of the last request, with its query.
    pub(crate) fn heard_path(&self) -> String {
        self.path.lock().clone()
    }

    /// The body of the last request as it came.
    pub(crate) fn heard_text(&self) -> String {
        String::from_utf8(self.heard.lock().to_vec()).unwrap()
    }

    /// A header of the last request.
    pub(crate) fn heard_header(&self, name: &str) -> Option<String> {
        let headers = self.headers.lock();
        Some(headers.get(name)?.to_str().unwrap().to_owned())
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<ModelBody>, std::io::Error> {
        if request.method() == http::Method::GET {
            let status = if self.ill.load(Ordering::SeqCst) {
                503
            } else {
                200
            };
            return Ok(whole(status, "application/json", "{}".to_owned()));
        }
        *self.headers.lock() = request.headers().clone();
        *self.path.lock() = request.uri().to_string();
        let body = request
            .into_body()
            .collect()
            .await
            .map_err(std::io::Error::other)?;
        *self.heard.lock() = body.to_bytes();
        self.calls.fetch_add(1, Ordering::SeqCst);
        let says = self.says.lock().clone();
        let (status, kind, body) = match says {
            Says::Text(text) => (200, "application/json", completion(text).to_string()),
            Says::Json(value) => (200, "application/json", value.to_string()),
            Says::Status(status, retry_after) => {
                let error =
                    json!({"error": {"message": "no", "type": "t", "param": null, "code": null}});
                let mut response = whole(status, "application/json", error.to_string());
                if let Some(seconds) = retry_after {
                    let headers = response.headers_mut();
                    headers.insert("retry-after", seconds.to_string().parse().unwrap());
                }
                return Ok(response);
            }
            Says::Error(status, body) => (status, "application/json", body.to_owned()),
            Says::Hang => std::future::pending().await,
            Says::Reset => return Err(std::io::Error::other("reset")),
            Says::Events(events) => (200, "text/event-stream", events.to_owned()),
            Says::EachEvent(events) => return Ok(each(events)),
            Says::Html => (200, "text/html", "<html>sorry</html>".to_owned()),
            Says::Stream(tokens, gate) => return Ok(stream(tokens, gate, true, None)),
            Says::Sure(tokens, sure) => return Ok(stream(tokens, None, true, Some(sure))),
            Says::CutStream(tokens) => return Ok(stream(tokens, None, false, None)),
        };
        Ok(whole(status, kind, body))
    }
}

fn whole(status: u16, kind: &str, body: String) -> Response<ModelBody> {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(
            Full::new(Bytes::from(body))
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
        .unwrap()
}

fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-name",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                     "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "x_unknown": {"kept": true},
    })
}

fn stream(
    tokens: &'static [&'static str],
    gate: Option<Arc<Semaphore>>,
    complete: bool,
    sure: Option<f64>,
) -> Response<ModelBody> {
    let id = format!("chatcmpl-{}", fastrand::u32(..));
    let chunk = |delta: Value, finish: Value| {
        let mut choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        if let Some(sure) = sure.filter(|_| choice["delta"]["content"].is_string()) {
            choice["logprobs"] = json!({"content": [{"token": "t", "logprob": sure.ln()}]});
        }
        let chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": 1,
            "model": "upstream-name",
            "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let mut events: Vec<Option<String>> = tokens
        .iter()
        .map(|token| Some(chunk(json!({"content": token}), Value::Null)))
        .collect();
    if complete {
        events.push(Some(chunk(json!({}), json!("stop")) + "data: [DONE]\n\n"));
    } else {
        events.push(None);
    }
    let frames = futures_util::stream::iter(events).then(move |event| {
        let gate = gate.clone();
        async move {
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            match event {
                Some(event) => Ok(Frame::data(Bytes::from(event))),
                None => Err(std::io::Error::other("cut")),
            }
        }
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}

fn each(events: &'static str) -> Response<ModelBody> {
    let frames = futures_util::stream::iter(events.split_inclusive("\n\n")).then(async |event| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(Frame::data(Bytes::from(event)))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}

/// A gateway on a real socket.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) gateway: Gateway,
    pub(crate) store: Arc<dyn Store>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Stopped>,
    client: Client<HttpConnector, Full<Bytes>>,
    dir: Arc<tempfile::TempDir>,
}

/// An answer as a caller sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// True when the body ended as HTTP says it should.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// What a chat answer says.
    pub(crate) fn says(&self) -> String {
        let body = self.json();
        body["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_else(|| panic!("no text in {body}"))
            .to_owned()
    }

    /// `error.code` of an error.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        for key in ["message", "type", "param", "code"] {
            assert!(body["error"].get(key).is_some(), "no `{key}` in {body}");
        }
        body["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// The configuration `text`, with a data folder of its own.
pub(crate) fn config(text: &str, dir: &Path) -> Config {
    let data_dir = dir.join("data");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndata_dir = {data_dir:?}\n\
         shutdown_grace_s = 5\nbody_bytes_max = 1048576\n{text}"
    );
    Config::from_str(&text, "test.toml", dir, &|_| None).unwrap_or_else(|error| panic!("{error}"))
}

impl Running {
    pub(crate) async fn start(text: &str) -> Running {
        Running::start_in(text, Arc::new(tempfile::tempdir().unwrap())).await
    }

    pub(crate) async fn start_in(text: &str, dir: Arc<tempfile::TempDir>) -> Running {
        let config = config(text, dir.path());
        let data_dir = &config.server.data_dir;
        let store = Arc::new(SqliteStore::open(data_dir, StoreOptions::default()).unwrap());
        Running::start_on(store, text, dir).await
    }

    /// A gateway that keeps things in `store`.
    pub(crate) async fn start_on(
        store: Arc<dyn Store>,
        text: &str,
        dir: Arc<tempfile::TempDir>,
    ) -> Running {
        let config = config(text, dir.path());
        let parts = GatewayParts {
            store: store.clone(),
            incidents: Incidents::start(store.clone()).await.unwrap(),
            telemetry: Arc::new(Telemetry::new()),
        };
        let gateway = Gateway::start(config, parts).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = Server::new(gateway.clone(), listener);
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Running {
            addr,
            gateway,
            store,
            stop,
            task,
            client: Client::builder(TokioExecutor::new()).build_http(),
            dir,
        }
    }

    /// Applies another configuration in the same folder.
    pub(crate) async fn reload(&self, text: &str) {
        let config = config(text, self.dir.path());
        self.gateway.apply(config).await.unwrap();
    }

    /// Stops it and returns its folder, for the next one.
    pub(crate) async fn stop(self) -> (Arc<tempfile::TempDir>, Stopped) {
        let _ = self.stop.send(());
        (self.dir, self.task.await.unwrap())
    }

    /// Begins to stop it; the returned future is over when it has.
    pub(crate) fn begin_stop(self) -> tokio::task::JoinHandle<Stopped> {
        let _ = self.stop.send(());
        self.task
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::post(format!("http://{}{path}", self.addr))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        read(self.send(request).await).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_with(path, &[], body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(format!("http://{}{path}", self.addr))
            .body(Full::default())
            .unwrap();
        read(self.send(request).await).await
    }

    pub(crate) async fn chat(&self, route: &str) -> Answer {
        self.post("/v1/chat/completions", chat(route, false)).await
    }

    pub(crate) async fn chat_stream(&self, route: &str) -> Answer {
        self.post("/v1/chat/completions", chat(route, true)).await
    }
}

/// The admin plane of `gateway`, without a token and without reloads.
pub(crate) async fn admin(gateway: &Running) -> axum::Router {
    let applied = Applied {
        digest: String::new(),
        files: Vec::new(),
        needs_restart: Vec::new(),
    };
    let telemetry = gateway.gateway.telemetry().clone();
    let options = ReloaderOptions {
        applied: Some(applied),
        read_at: std::time::SystemTime::now(),
        watch: false,
        signal: false,
    };
    backstop_gateway::admin::router(AdminState::new(AdminParts {
        host: gateway.gateway.host().clone(),
        control: Arc::new(gateway.gateway.clone()),
        store: gateway.store.clone(),
        incidents: Incidents::start(gateway.store.clone()).await.unwrap(),
        telemetry: telemetry.clone(),
        evidence: gateway.gateway.evidence().clone(),
        baselines: gateway.gateway.baselines().clone(),
        clock: gateway.gateway.clock(),
        reloader: Reloader::start(Arc::new(NoReload), telemetry, options),
        token: None,
        component_bytes_max: 1 << 20,
    }))
}

struct NoReload;

impl Reload for NoReload {
    fn reload(&self) -> BoxFuture<'_, Result<Applied, Refused>> {
        Box::pin(std::future::pending())
    }
}

/// A chat request.
pub(crate) fn chat(route: &str, stream: bool) -> Value {
    json!({
        "model": route, "stream": stream, "x_unknown": 1.50,
        "messages": [{"role": "user", "content": "hello"}],
    })
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(text).unwrap(),
        whole,
    }
}

/// Waits until `holds`, at most five seconds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(ended.is_ok(), "not within 5 s: {what}");
}
