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
//! - [`gate`]: keeps a task that does both sides from waking itself.

mod connect;
mod exchange;
mod gate;

pub(super) use connect::{OriginError, Origins};
pub(super) use exchange::{Exchange, ExchangeError};

use self::connect::Connector;
use self::exchange::Connection;
use http::Uri;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most idle connections that are kept per server. At some 10 KiB each they
/// stay within a few megabytes; a gateway that has more requests under way at
/// once connects anew for those beyond.
const IDLE_MAX: usize = 512;
/// Longest time that a connection is kept idle. Below the 60 to 75 seconds
/// after which common servers close, so that a request seldom meets a
/// connection that is just being closed.
const IDLE_FOR_MAX: Duration = Duration::from_secs(45);
/// Most exchanges under way per server. Below the usual limit of 64 Ki local
/// ports and descriptors; those beyond wait within their connect timeout.
const EXCHANGES_MAX: usize = 16 * 1024;

/// One server: scheme, host and port, with the connections to it.
pub(super) struct Origin {
    connector: Connector,
    uri: Uri,
    idle: Mutex<VecDeque<Idle>>,
    exchanges: Arc<Semaphore>,
}

struct Idle {
    connection: Connection,
    since: Instant,
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
            idle: Mutex::new(VecDeque::new()),
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
        }
    }

    /// The newest idle connection that is still open. The newest, so that the
    /// others may grow old and go.
    fn check_out(&self) -> Option<Connection> {
        loop {
            let Idle {
                mut connection,
                since,
            } = self.idle.lock().pop_back()?;
            // Looking at it reads what the server sent meanwhile: its goodbye.
            if since.elapsed() < IDLE_FOR_MAX && connection.settle() {
                return Some(connection);
            }
        }
    }

    /// Takes back a connection after its exchange; closes it when it cannot
    /// serve another one or there are enough.
    fn check_in(&self, mut connection: Connection) {
        if !connection.settle() {
            return;
        }
        let now = Instant::now();
        let mut old = Vec::new();
        let mut idle = self.idle.lock();
        while idle.len() >= IDLE_MAX
            || idle
                .front()
                .is_some_and(|first| now.duration_since(first.since) >= IDLE_FOR_MAX)
        {
            old.extend(idle.pop_front());
        }
        idle.push_back(Idle {
            connection,
            since: now,
        });
        drop(idle);
        // Closing sockets is a system call each; nobody waits for it.
        drop(old);
    }
}
