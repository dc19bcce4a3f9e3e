//! A server that plays a script.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the server does next on a connection.
#[derive(Debug, Clone)]
pub(super) enum Beat {
    /// Writes.
    Say(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Resets the connection.
    Reset,
    /// Closes the connection.
    Close,
    /// Does nothing until the client goes away.
    Hang,
}

pub(super) fn say(text: impl Into<Vec<u8>>) -> Beat {
    Beat::Say(text.into())
}

/// A whole response.
pub(super) fn respond(status: &str, headers: &str, body: &str) -> Vec<Beat> {
    vec![say(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    ))]
}

/// A head of a response that comes in chunks.
pub(super) fn head(content_type: &str) -> Beat {
    say(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    ))
}

/// One chunk of a body.
pub(super) fn chunk(text: &str) -> Beat {
    say(format!("{:x}\r\n{text}\r\n", text.len()))
}

/// The end of a body in chunks.
pub(super) fn end() -> Beat {
    say("0\r\n\r\n")
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: String,
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Connections that ended before the script did.
    abandoned: AtomicUsize,
    changed: Notify,
}

/// See the module's text.
pub(super) struct Server {
    address: SocketAddr,
    log: Arc<Log>,
}

impl Server {
    /// Plays `script(n)` for the n-th request, counted over all connections.
    pub(super) async fn start(script: impl Fn(usize) -> Vec<Beat> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let (script, shared) = (Arc::new(script), Arc::clone(&log));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&shared)));
            }
        });
        Server { address, log }
    }

    /// Plays the same script for each request.
    pub(super) async fn always(script: Vec<Beat>) -> Self {
        Self::start(move |_| script.clone()).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.log.requests.lock().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// Waits until a client has gone away in the middle of a script.
    pub(super) async fn abandoned(&self) {
        let abandoned = async {
            while self.log.abandoned.load(Ordering::SeqCst) == 0 {
                self.log.changed.notified().await;
            }
        };
        let waited = tokio::time::timeout(super::LONG, abandoned).await;
        assert!(waited.is_ok(), "the client has not gone away");
    }
}

async fn serve(mut stream: TcpStream, script: Arc<impl Fn(usize) -> Vec<Beat>>, log: Arc<Log>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let number = {
            let mut requests = log.requests.lock();
            requests.push(request);
            requests.len() - 1
        };
        for beat in script(number) {
            let alive = match beat {
                Beat::Say(bytes) => stream.write_all(&bytes).await.is_ok(),
                Beat::Wait(time) => {
                    tokio::time::sleep(time).await;
                    true
                }
                Beat::Reset => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
                Beat::Close => return,
                Beat::Hang => !matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)),
            };
            if !alive {
                log.abandoned.fetch_add(1, Ordering::SeqCst);
                log.changed.notify_one();
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let total = end + 4 + length;
            if buffer.len() >= total {
                let rest = buffer.split_off(total);
                let whole = std::mem::replace(buffer, rest);
                let body = String::from_utf8(whole[end + 4..].to_vec()).unwrap();
                return Some(Seen { head, body });
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&piece[..read]),
        }
    }
}
