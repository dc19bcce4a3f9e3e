//! The HTTP/1.1 client: one [`Origin`] per server, with its idle connections.
//!
//! Protocol, name resolution and TLS are hyper's, hyper-util's and rustls's.
//! What is our own is who drives a connection: not a task of its own, as in
//! hyper-util's pooled client, but the task that waits for the answer. So a
//! request costs no task, no channel between threads and no wake-up of one;
//! dropping the call drops the connection, which is the only way in which
//! HTTP/1.1 can cancel; and the time to connect is a phase that can be timed
//! per call.
//!
//! - [`connect`]: TCP and TLS;
//! - [`exchange`]: one request and its response on one connection;
//! - [`gate`]: keeps a task that does both sides from waking itself;
//! - [`idle`]: which connections are kept, and for how long.

mod connect;
mod exchange;
mod gate;
mod idle;

pub(super) use connect::{OriginError, Origins};
pub(super) use exchange::{Exchange, ExchangeError};

use self::connect::Connector;
use self::exchange::Connection;
use self::idle::Idle;
use http::Uri;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Time between two looks at the idle connections, as long as there are any.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most exchanges under way per server. Below the usual limit of 64 Ki local
/// ports and descriptors; those beyond wait within their connect timeout.
const EXCHANGES_MAX: usize = 16 * 1024;

/// One server: scheme, host and port, with the connections to it.
pub(super) struct Origin {
    connector: Connector,
    uri: Uri,
    pool: Mutex<Pool>,
    exchanges: Arc<Semaphore>,
}

#[derive(Default)]
struct Pool {
    idle: Idle<Connection>,
    /// A task looks after them.
    swept: bool,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl Origin {
    pub(super) fn new(connector: Connector, uri: Uri) -> Self {
        Origin {
            connector,
            uri,
            pool: Mutex::default(),
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
        }
    }

    /// The newest idle connection that is still open. The newest, so that the
    /// others may grow old and go.
    fn check_out(&self) -> Option<Connection> {
        loop {
            let mut connection = self.pool.lock().idle.take(Instant::now())?;
            // Looking at it reads what the server sent meanwhile: its goodbye.
            if connection.settle() {
                return Some(connection);
            }
        }
    }

    /// Takes back a connection after its exchange; closes it when it cannot
    /// serve another one or there are enough.
    fn check_in(self: &Arc<Self>, mut connection: Connection) {
        if !connection.settle() {
            return;
        }
        let mut pool = self.pool.lock();
        let surplus = pool.idle.put(connection, Instant::now());
        let sweeps = !std::mem::replace(&mut pool.swept, true);
        drop(pool);
        // Closing sockets is a system call each; nobody waits for it.
        drop(surplus);
        if sweeps {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that nobody needs any more, also when nobody asks for
/// one, until there is none left.
async fn sweep(origin: Weak<Origin>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(origin) = origin.upgrade() else {
            return;
        };
        let mut pool = origin.pool.lock();
        let surplus = pool.idle.surplus(Instant::now());
        pool.swept = !pool.idle.is_empty();
        let over = !pool.swept;
        drop(pool);
        drop(surplus);
        if over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{pause, resume, sleep, timeout};

    /// How many of these the other side has closed.
    async fn closed(peers: &mut [TcpStream]) -> usize {
        let shortly = Duration::from_millis(200);
        let reads = peers.iter_mut().map(|peer| async move {
            let read = timeout(shortly, peer.read_u8()).await;
            usize::from(matches!(read, Ok(Err(_))))
        });
        join_all(reads).await.into_iter().sum()
    }

    #[tokio::test]
    async fn what_a_burst_leaves_is_closed_though_nobody_asks_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let origin = Origins::default().get(&uri.parse().unwrap()).unwrap();
        let mut peers = Vec::new();
        for _ in 0..idle::STOCK + 8 {
            let (connection, peer) = tokio::join!(origin.connect(), listener.accept());
            origin.check_in(connection.unwrap());
            peers.push(peer.unwrap().0);
        }
        assert_eq!(closed(&mut peers).await, 0);
        for (quiet, gone) in [(idle::SPARE_FOR_MAX, 8), (idle::IDLE_FOR_MAX, peers.len())] {
            pause();
            sleep(quiet + 2 * SWEEP_EVERY).await;
            resume();
            assert_eq!(closed(&mut peers).await, gone, "after {quiet:?}");
        }
        assert!(!origin.pool.lock().swept, "nothing is left to look after");
    }
}
