//! One request and its response on one connection, driven by whoever waits.

use super::Origin;
use super::gate::Gate;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// Longest time that the end of a body is waited for after the caller has all
/// it needs. Past it, closing the connection is cheaper than keeping it.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Most pieces of a body that are read for the same purpose.
const DRAIN_PIECES_MAX: usize = 64;

pub(super) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;
type RequestBody = Full<Bytes>;

/// What went wrong between two machines. The data tells the operator.
#[derive(Debug, thiserror::Error)]
pub(in crate::upstream) enum ExchangeError {
    /// No connection could be made.
    #[error("connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// The connection did not stand in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// There are too many exchanges under way with this server.
    #[error("no free connection in time: {0} exchanges are under way")]
    Busy(usize),
    /// The exchange broke.
    #[error("http")]
    Http(#[source] hyper::Error),
    /// A simulated exchange broke.
    #[error("the simulated connection was reset")]
    Simulated,
}

/// An open connection. Exactly one exchange has it, or the pool.
pub(super) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: Driver,
    gate: Gate,
}

/// What reads and writes on the connection.
struct Driver {
    /// Boxed: it is large, and moves between exchanges and the pool.
    http: Pin<Box<http1::Connection<Io, RequestBody>>>,
    /// It has finished and must not be polled again.
    over: bool,
}

impl Driver {
    /// Reads and writes what can be read and written. Errors also reach
    /// whoever waits for the response, and are told there.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.over {
            self.over = self.http.as_mut().poll(cx).is_ready();
        }
    }
}

impl Connection {
    pub(super) async fn handshake(io: Io) -> Result<Self, ExchangeError> {
        let (sender, http) = http1::handshake(io).await.map_err(ExchangeError::Http)?;
        Ok(Connection {
            sender,
            driver: Driver {
                http: Box::pin(http),
                over: false,
            },
            gate: Gate::new(),
        })
    }

    /// Brings an exchange that has ended to its end; true when the connection
    /// is open and can take the next request. Wakes nobody later on.
    pub(super) fn settle(&mut self) -> bool {
        let driver = &mut self.driver;
        let _ = self.gate.poll_unattended(|cx| {
            driver.drive(cx);
            Poll::<()>::Pending
        });
        !self.driver.over && self.sender.is_ready()
    }

    /// Sends `request` and waits for the response head. Gives the request back
    /// when nothing of it was sent.
    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<RequestBody>>)> {
        let mut head = pin!(self.sender.try_send_request(request));
        let (driver, gate) = (&mut self.driver, &self.gate);
        let sent = poll_fn(|cx| {
            gate.poll(cx, |cx| {
                // The driver first: it writes what was just queued.
                driver.drive(cx);
                head.as_mut().poll(cx)
            })
        });
        sent.await.map_err(|mut error| {
            let request = error.take_message();
            (error.into_error(), request)
        })
    }

    /// The next frame of `body`, which came over this connection.
    fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let driver = &mut self.driver;
        self.gate.poll(cx, |cx| {
            // Often it came with the head.
            let polled = Pin::new(&mut *body).poll_frame(cx);
            if polled.is_ready() {
                return polled;
            }
            driver.drive(cx);
            Pin::new(&mut *body).poll_frame(cx)
        })
    }
}

/// A response whose body is still to be read. Dropping it closes the
/// connection, unless the body has ended.
pub(in crate::upstream) struct Exchange {
    /// None when the body is over: the connection is in the pool or closed.
    connection: Option<Connection>,
    body: Incoming,
    origin: Arc<Origin>,
    _permit: OwnedSemaphorePermit,
}

impl Exchange {
    /// Sends `request` to `origin` and waits for the response head, for which
    /// the caller has the clock. Connecting ends at `connect_by`.
    ///
    /// A request is sent again, on a new connection, only when an idle one
    /// turned out to be closed before anything was written to it.
    pub(in crate::upstream) async fn start(
        origin: Arc<Origin>,
        mut request: Request<RequestBody>,
        connect_by: Instant,
    ) -> Result<(http::response::Parts, Self), ExchangeError> {
        let permit = permit(&origin, connect_by).await?;
        loop {
            let (mut connection, reused) = match origin.check_out() {
                Some(connection) => (connection, true),
                None => {
                    let connected = timeout_at(connect_by, origin.connect()).await;
                    (
                        connected.map_err(|_| ExchangeError::ConnectTimeout)??,
                        false,
                    )
                }
            };
            match connection.send(request).await {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    let exchange = Exchange {
                        connection: Some(connection),
                        body,
                        origin,
                        _permit: permit,
                    };
                    return Ok((parts, exchange));
                }
                Err((_, Some(unsent))) if reused => request = unsent,
                Err((error, _)) => return Err(ExchangeError::Http(error)),
            }
        }
    }

    /// The next piece of the body. After `None` the connection is back in the
    /// pool.
    pub(in crate::upstream) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            match ready!(connection.poll_frame(&mut self.body, cx)) {
                Some(Ok(frame)) => {
                    // Trailers carry nothing that is relayed.
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Some(Err(error)) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(ExchangeError::Http(error))));
                }
                None => {
                    if let Some(connection) = self.connection.take() {
                        self.origin.check_in(connection);
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Length of the body, where the head told it.
    pub(in crate::upstream) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// For a caller who needs no more of the body: waits aside, for a moment,
    /// until it ends, so that the connection can be used again.
    pub(in crate::upstream) fn let_go(mut self) {
        let noop = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(None | Some(Err(_))) = self.poll_piece(noop) {
            return;
        }
        tokio::spawn(async move {
            let until = Instant::now() + DRAIN_MAX;
            for _ in 0..DRAIN_PIECES_MAX {
                let piece = timeout_at(until, poll_fn(|cx| self.poll_piece(cx))).await;
                if !matches!(piece, Ok(Some(Ok(_)))) {
                    break;
                }
            }
        });
    }
}

async fn permit(
    origin: &Arc<Origin>,
    connect_by: Instant,
) -> Result<OwnedSemaphorePermit, ExchangeError> {
    let busy = || ExchangeError::Busy(super::EXCHANGES_MAX);
    match Arc::clone(&origin.exchanges).try_acquire_owned() {
        Ok(permit) => Ok(permit),
        Err(_) => timeout_at(connect_by, Arc::clone(&origin.exchanges).acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy()),
    }
}
