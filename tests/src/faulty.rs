//! A provider that misbehaves on the wire: what it does is written beat by
//! beat, down to the bytes and the way in which a connection ends.
//!
//! [`Faulty::start`] is given a script for each request, by its number and by
//! whether a stream was asked for. What it was asked is kept, and how many
//! callers hung up on it. It listens until it is dropped; a script that
//! [hangs](Beat::Hang) ends when its caller hangs up.

use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Longest time that a script hangs; nobody should wait for it.
const HANG_MAX: Duration = Duration::from_secs(60);
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Requests that are kept.
const HEARD_MAX: usize = 100_000;

/// What a provider does next.
#[derive(Debug, Clone)]
pub enum Beat {
    /// Writes.
    Say(String),
    /// Writes byte by byte, with this pause between them.
    Drip(String, Duration),
    /// Waits.
    Wait(Duration),
    /// Waits until the caller hangs up.
    Hang,
    /// Goes on writing this, whether or not anybody reads.
    Insist(String, usize),
    /// Resets the connection.
    Reset,
    /// Closes the connection.
    Close,
}

/// What a provider does about one request. Without an end the connection is
/// kept for the next one.
pub type Script = Vec<Beat>;

/// What a provider was asked.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When, since the provider started.
    pub at: Duration,
    /// The request.
    pub request: Value,
}

impl Heard {
    /// True when a stream was asked for.
    pub fn stream(&self) -> bool {
        self.request["stream"] == true
    }
}

type Scripts = dyn Fn(usize, bool) -> Script + Send + Sync;

struct Shared {
    scripts: Box<Scripts>,
    began: Instant,
    heard: Mutex<Vec<Heard>>,
    asked: AtomicUsize,
    hung_up: AtomicUsize,
}

/// A provider; see the module's text.
pub struct Faulty {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faulty {
    /// Starts a provider on a free port. `scripts` is given the number of the
    /// request, from 0, and whether it is for a stream.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start(
        scripts: impl Fn(usize, bool) -> Script + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            scripts: Box::new(scripts),
            began: Instant::now(),
            heard: Mutex::default(),
            asked: AtomicUsize::new(0),
            hung_up: AtomicUsize::new(0),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = connection.set_nodelay(true);
                let shared = serving.clone();
                // A caller that goes away is no failure of the provider.
                tokio::spawn(async move { drop(shared.converse(connection).await) });
            }
        });
        Ok(Self {
            address,
            shared,
            task: task.abort_handle(),
        })
    }

    /// Its `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it was asked so far, oldest first.
    pub fn heard(&self) -> Vec<Heard> {
        let heard = self.shared.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// How many of its callers hung up before their script was over.
    pub fn hung_up(&self) -> usize {
        self.shared.hung_up.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn converse(&self, mut connection: TcpStream) -> io::Result<()> {
        let mut pending = Vec::new();
        while let Some(request) = read(&mut connection, &mut pending).await? {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            let stream = request["stream"] == true;
            {
                let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                if heard.len() < HEARD_MAX {
                    heard.push(Heard {
                        at: self.began.elapsed(),
                        request,
                    });
                }
            }
            for beat in (self.scripts)(number, stream) {
                match beat {
                    Beat::Say(text) => connection.write_all(text.as_bytes()).await?,
                    Beat::Drip(text, pause) => {
                        for byte in text.as_bytes() {
                            connection.write_all(&[*byte]).await?;
                            tokio::time::sleep(pause).await;
                        }
                    }
                    Beat::Wait(wait) => tokio::time::sleep(wait).await,
                    Beat::Hang => {
                        let mut byte = [0];
                        let read = connection.read(&mut byte);
                        let gone = tokio::time::timeout(HANG_MAX, read).await;
                        if matches!(gone, Ok(Ok(0) | Err(_))) {
                            self.hung_up.fetch_add(1, Ordering::SeqCst);
                        }
                        return Ok(());
                    }
                    Beat::Insist(text, times) => {
                        for _ in 0..times {
                            // Nobody may be reading, which it does not mind.
                            if connection.write_all(text.as_bytes()).await.is_err() {
                                self.hung_up.fetch_add(1, Ordering::SeqCst);
                                tokio::time::sleep(Duration::from_millis(200)).await;
                                return Ok(());
                            }
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                    Beat::Reset => {
                        connection.set_zero_linger()?;
                        return Ok(());
                    }
                    Beat::Close => return connection.shutdown().await,
                }
            }
        }
        Ok(())
    }
}

/// The body of the next request; none when the caller has no more.
async fn read(connection: &mut TcpStream, pending: &mut Vec<u8>) -> io::Result<Option<Value>> {
    let mut piece = [0; 4_096];
    loop {
        if let Some((body_at, length)) = head(pending)
            && pending.len() >= body_at + length
        {
            let request = serde_json::from_slice(&pending[body_at..body_at + length]);
            pending.drain(..body_at + length);
            return Ok(Some(request.unwrap_or(Value::Null)));
        }
        let count = connection.read(&mut piece).await?;
        if count == 0 || pending.len() > REQUEST_BYTES_MAX {
            return Ok(None);
        }
        pending.extend_from_slice(&piece[..count]);
    }
}

/// Where the body of the request in `bytes` begins, and how long it is.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok());
    Some((end + 4, length.unwrap_or(0)))
}

/// Words of an answer, with which scripts are written.
pub mod words {
    use super::Beat;
    use serde_json::{Value, json};
    use std::time::Duration;

    /// Between two events: each must have left before what comes next.
    const GAP: Duration = Duration::from_millis(10);

    /// A whole response with a length.
    pub fn response(status: &str, headers: &str, body: &str) -> Beat {
        Beat::Say(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// An error in OpenAI's envelope.
    pub fn error(status: &str, headers: &str, code: &str) -> Vec<Beat> {
        let body = json!({"error": {"message": "no", "type": "t", "param": null, "code": code}});
        vec![response(status, headers, &body.to_string())]
    }

    /// A whole completion.
    pub fn completion(text: &str) -> String {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": text},
                "logprobs": null, "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        })
        .to_string()
    }

    /// The head of a stream.
    pub fn head() -> Beat {
        Beat::Say(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_owned(),
        )
    }

    /// One event of a stream, as a chunk of its body.
    pub fn event(data: &str) -> Beat {
        chunk(&format!("data: {data}\n\n"))
    }

    /// A chunk of a body.
    pub fn chunk(text: &str) -> Beat {
        Beat::Say(format!("{:x}\r\n{text}\r\n", text.len()))
    }

    /// The end of a body in chunks.
    pub fn end() -> Beat {
        Beat::Say("0\r\n\r\n".to_owned())
    }

    /// The data of an event with `delta`.
    pub fn delta(delta: &Value, finish: Option<&str>) -> String {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
        .to_string()
    }

    /// The events of `text`, one for each word, without an end.
    pub fn spoken(text: &str) -> Vec<Beat> {
        let mut beats = vec![
            head(),
            event(&delta(&json!({"role": "assistant", "content": ""}), None)),
        ];
        for word in text.split_inclusive(' ') {
            beats.push(event(&delta(&json!({"content": word}), None)));
            beats.push(Beat::Wait(GAP));
        }
        beats
    }

    /// The event of a finish reason.
    pub fn finish() -> Beat {
        event(&delta(&json!({}), Some("stop")))
    }

    /// A good answer, as a stream or not.
    pub fn good(text: &str, stream: bool) -> Vec<Beat> {
        if !stream {
            return vec![response("200 OK", "", &completion(text))];
        }
        let mut beats = spoken(text);
        beats.extend([finish(), event("[DONE]"), end()]);
        beats
    }
}
