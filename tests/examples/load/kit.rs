//! What the load runs share: a model that answers at once, connections that
//! are kept, a gateway in a folder of its own, quantiles.

use anyhow::{Context, bail};
use backstop_tests::gateway::Running;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// What everything here returns.
pub(crate) type Fallible<T> = anyhow::Result<T>;

/// Operators' token.
const TOKEN: &str = "load";
/// What every configuration begins with.
const SERVER: &str = "\
server.listen = \"127.0.0.1:0\"
server.admin = \"127.0.0.1:0\"
server.admin_token = \"load\"
";
/// No answer takes longer, or the run has come to a standstill.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there, how can I help you today?"},"logprobs":{"content":[{"token":"Hello","logprob":-0.01,"bytes":null,"top_logprobs":[]}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;

/// A question to a chat route.
pub(crate) fn question(route: &str) -> Bytes {
    let messages = r#"[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Hello! What can you do for me?"}]"#;
    format!(r#"{{"model":"{route}","messages":{messages}}}"#).into()
}

/// How a model behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// Answers any question at once.
    Answers,
    /// Takes every question and answers none.
    Silent,
}

impl Model {
    /// Serves on a free port for as long as the program runs.
    pub(crate) async fn serve(self) -> Fallible<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(self.converse(stream));
            }
        });
        Ok(address)
    }

    async fn converse(self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| async move {
            request.into_body().collect().await?;
            if self == Model::Silent {
                std::future::pending::<()>().await;
            }
            let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
            response.headers_mut().insert(
                "content-type",
                http::HeaderValue::from_static("application/json"),
            );
            Ok::<_, hyper::Error>(response)
        });
        let builder = hyper::server::conn::http1::Builder::new();
        // Whoever hangs up has had enough.
        let _ = builder
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

/// A connection that is kept.
pub(crate) struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Fallible<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Fallible<Response<Bytes>> {
        let exchange = async {
            self.0.ready().await?;
            let (head, body) = self.0.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Fallible::Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(ANSWER_WAIT_MAX, exchange)
            .await
            .context("no answer")?
    }

    async fn send_well(&mut self, request: Request<Full<Bytes>>) -> Fallible<Response<Bytes>> {
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            let text = String::from_utf8_lossy(response.body());
            bail!("{}: {text}", response.status());
        }
        Ok(response)
    }

    /// Asks a chat route; anything but status 200 is an error.
    pub(crate) async fn ask(&mut self, question: &Bytes) -> Fallible<Response<Bytes>> {
        self.send_well(chat(question)?).await
    }

    /// The same, whatever the status.
    pub(crate) async fn ask_any(&mut self, question: &Bytes) -> Fallible<Response<Bytes>> {
        self.send(chat(question)?).await
    }

    /// Posts JSON to the data plane, whatever the status.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Fallible<Response<Bytes>> {
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body.to_string().into()))?;
        self.send(request).await
    }

    /// What an operator asks of a policy: `action` is `activate` or
    /// `rollback`. Returns the reply.
    pub(crate) async fn operate(
        &mut self,
        policy: &str,
        action: &str,
        body: &Value,
    ) -> Fallible<Value> {
        let request = Request::post(format!("/admin/v1/policies/{policy}/{action}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Full::new(body.to_string().into()))?;
        let reply = self.send_well(request).await;
        let reply = reply.with_context(|| format!("{action} `{policy}`"))?;
        Ok(serde_json::from_slice(reply.body())?)
    }
}

fn chat(question: &Bytes) -> Fallible<Request<Full<Bytes>>> {
    Ok(Request::post("/v1/chat/completions")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(question.clone()))?)
}

/// Where gateways run: threads apart from those of callers and models.
pub(crate) struct Inside(pub(crate) Handle);

/// A gateway, and the folder of its files, which goes with it.
pub(crate) struct Gateway {
    /// The gateway.
    pub(crate) running: Running,
    /// Its folder.
    pub(crate) folder: TempDir,
}

impl Inside {
    /// Launches a gateway on `config`, with `files` beside it.
    pub(crate) async fn launch(&self, config: &str, files: &[(&str, &[u8])]) -> Fallible<Gateway> {
        let folder = TempDir::new()?;
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes)?;
        }
        let path = folder.path().join("backstop.toml");
        std::fs::write(&path, format!("{SERVER}{config}"))?;
        let launched = self
            .0
            .spawn(async move { Running::launch(&path, true).await });
        Ok(Gateway {
            running: launched.await??,
            folder,
        })
    }
}

impl Gateway {
    /// Puts another file in place of one, as a build does: whole, by renaming.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Fallible<()> {
        let fresh = self.path("fresh");
        std::fs::write(&fresh, bytes)?;
        Ok(std::fs::rename(fresh, self.path(name))?)
    }

    /// Where a file of its folder is.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.folder.path(), name)
    }
}

/// The `q`-quantile in microseconds; 0 of nothing. Sorts what it is given.
pub(crate) fn quantile_us(took: &mut [Duration], q: f64) -> f64 {
    took.sort_unstable();
    let index = (took.len() as f64 * q) as usize;
    let found = took.get(index.min(took.len().saturating_sub(1)));
    found.map_or(0.0, |took| took.as_secs_f64() * 1e6)
}

/// The median; 0 of nothing. Sorts what it is given.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
