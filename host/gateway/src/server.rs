//! Listeners: accepting connections, and stopping without losing a request.
//!
//! [`Server`] takes listeners that are bound already, so that tests and the
//! demo use port 0, and a future that says when to stop. The data plane runs
//! on hyper directly, because its routing is a handful of fixed paths; the
//! admin plane is whatever axum router it is given.
//!
//! Always holds: the number of open data-plane connections is bounded; a
//! caller that sends its head too slowly, or nothing at all, is dropped; after
//! the stop signal no connection is accepted, requests and streams get the
//! grace period to finish, and what is left then is cut.

use crate::gateway::Gateway;
use crate::http;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

/// Longest time for a caller to take the next piece of its answer. Slower ones
/// hold a connection, and a place at a model, without getting anywhere.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Most connections of the data plane at one time. More callers wait in the
/// kernel's queue. At some 70 KiB each, most of them buffers of the two
/// connections, this bounds what waiting costs to about 1.1 GiB.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Most connections of the admin plane at one time: operators, probes and
/// scrapers.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// Longest time for a caller to send the head of a request, from when the
/// connection was opened or the last answer was sent; for HTTP/2, the longest
/// time to the first request, and to an answer to a ping thereafter.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the end of a server waits for judgements of streams that have
/// passed, and for changes of rollouts. They take microseconds, or as long as
/// the store takes; a review that it has not taken by then is lost.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the system refused to accept a connection (no file handles
/// left): asking again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A gateway on its sockets.
#[derive(Debug)]
pub struct Server {
    gateway: Gateway,
    data: TcpListener,
    admin: Option<(TcpListener, axum::Router)>,
    grace: Option<Duration>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections whose request or stream was cut when the grace period was
    /// over; 0 when everything was finished.
    pub cut: usize,
}

impl Server {
    /// A server for the data plane on `data`.
    pub fn new(gateway: Gateway, data: TcpListener) -> Self {
        Server {
            gateway,
            data,
            admin: None,
            grace: None,
        }
    }

    /// The same server, with the admin plane `router` on `listener`.
    #[must_use]
    pub fn with_admin(mut self, listener: TcpListener, router: axum::Router) -> Self {
        self.admin = Some((listener, router));
        self
    }

    /// The same server, with another grace period than the configuration's.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Serves until `shutdown` resolves, then stops accepting and gives what
    /// is running the grace period to finish. The admin plane is the last to
    /// go, so that readiness can be watched while the data plane drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Stopped {
        let Server {
            gateway,
            data,
            admin,
            grace,
        } = self;
        let mut plane = Plane::new(CONNECTIONS_MAX);
        let mut admin_plane = Plane::new(ADMIN_CONNECTIONS_MAX);
        let serve_data = |plane: &mut Plane, stream| plane.serve_data(&gateway, stream);
        let mut shutdown = std::pin::pin!(shutdown);
        match &admin {
            None => loop {
                tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    stream = plane.accept(&data) => serve_data(&mut plane, stream),
                }
            },
            Some((listener, router)) => loop {
                tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    stream = plane.accept(&data) => serve_data(&mut plane, stream),
                    stream = admin_plane.accept(listener) => admin_plane.serve_admin(router, stream),
                }
            },
        }
        drop(data);
        gateway.begin_shutdown();
        let grace = grace.unwrap_or_else(|| gateway.shutdown_grace());
        let cut = match &admin {
            None => plane.finish(grace).await,
            Some((listener, router)) => {
                let mut finish = std::pin::pin!(plane.finish(grace));
                loop {
                    tokio::select! {
                        cut = &mut finish => break cut,
                        stream = admin_plane.accept(listener) => admin_plane.serve_admin(router, stream),
                    }
                }
            }
        };
        // What was delivered is still judged, and what is to be reviewed kept.
        let settle = tokio::time::timeout(SETTLE_TIMEOUT, gateway.settle());
        let _ = tokio::join!(settle, gateway.finish_outbox());
        tokio::join!(gateway.finish_evidence(), gateway.finish_spans());
        drop(admin);
        // A scraper that is in the middle of a page gets the page.
        admin_plane.finish(Duration::from_secs(1).min(grace)).await;
        Stopped { cut }
    }
}

/// The connections of one plane.
struct Plane {
    slots: Arc<Semaphore>,
    builder: auto::Builder<TokioExecutor>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

impl Plane {
    fn new(connections_max: usize) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        // What keeps a connection open without asking for anything must at
        // least be there.
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HEADER_TIMEOUT);
        Plane {
            slots: Arc::new(Semaphore::new(connections_max)),
            builder,
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
        }
    }

    /// The next connection, once there is a slot for it.
    async fn accept(&mut self, listener: &TcpListener) -> Accepted {
        loop {
            // Finished connections must leave the set, or it would grow.
            while self.tasks.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
                // Never closed; waiting for ever is what a closed one means.
                std::future::pending::<()>().await;
                continue;
            };
            let accepted = loop {
                tokio::select! {
                    biased;
                    accepted = listener.accept() => break accepted,
                    // What is finished keeps its memory until it has left.
                    Some(_) = self.tasks.join_next() => {}
                }
            };
            match accepted {
                Ok((stream, _peer)) => return Accepted { stream, slot },
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve_data(&mut self, gateway: &Gateway, accepted: Accepted) {
        let Accepted { stream, slot } = accepted;
        no_delay(&stream);
        let gateway = gateway.clone();
        let asked = Asked::default();
        let first = asked.clone();
        let service = service_fn(move |request| {
            first.note();
            let gateway = gateway.clone();
            // Boxed, so that it goes when the head is there: in place it would
            // take its 12 KiB for as long as the connection, and its stream, last.
            Box::pin(async move { Ok::<_, Infallible>(http::handle(&gateway, request).await) })
        });
        let connection = self
            .builder
            .serve_connection(TokioIo::new(patient(stream)), service)
            .into_owned();
        let connection = self.graceful.watch(connection);
        self.tasks.spawn(async move {
            asked.serve(connection).await;
            drop(slot);
        });
    }

    fn serve_admin(&mut self, router: &axum::Router, accepted: Accepted) {
        let Accepted { stream, slot } = accepted;
        no_delay(&stream);
        let router = TowerToHyperService::new(router.clone());
        let asked = Asked::default();
        let first = asked.clone();
        let service = service_fn(move |request| {
            first.note();
            router.call(request)
        });
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = self.graceful.watch(connection);
        self.tasks.spawn(async move {
            asked.serve(connection).await;
            drop(slot);
        });
    }

    /// Lets running requests finish within `grace`; returns how many
    /// connections were cut after that.
    async fn finish(mut self, grace: Duration) -> usize {
        let _ = tokio::time::timeout(grace, self.graceful.shutdown()).await;
        while self.tasks.try_join_next().is_some() {}
        let cut = self.tasks.len();
        self.tasks.shutdown().await;
        cut
    }
}

struct Accepted {
    stream: TcpStream,
    slot: tokio::sync::OwnedSemaphorePermit,
}

/// Whether a connection has asked for anything yet. The timeouts of the HTTP
/// versions begin only once the version is known, which the first bytes tell,
/// so that a caller who sends none would be kept for ever.
#[derive(Clone, Default)]
struct Asked(Arc<AtomicBool>);

impl Asked {
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Serves a connection to its end, or to the time at which it should have
    /// asked for something.
    async fn serve(&self, connection: impl Future) {
        let mut connection = std::pin::pin!(connection);
        let opening = tokio::time::timeout(HEADER_TIMEOUT, &mut connection).await;
        if opening.is_err() && self.0.load(Ordering::Relaxed) {
            // A caller that breaks its connection is no event.
            let _ = connection.await;
        }
    }
}

/// A stream whose writes do not wait for ever: a caller that reads nothing
/// would keep its answer, and the call behind it, from ending.
fn patient(stream: TcpStream) -> Pin<Box<TimeoutStream<TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}

/// Small answers and stream events must leave at once.
fn no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
}
