//! Bodies: reading the caller's within bounds, and the two kinds that are sent.
//!
//! A request's body is read whole, because policies and retries need it, but
//! never beyond the configured size and never slower than
//! [`BODY_TIMEOUT`]. Answers are either one piece of memory or a stream that
//! passes through; neither is copied here.

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longest time for a caller to send a whole body. Slower callers hold a
/// connection and memory without getting anywhere.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a body that is too large is read and thrown away, so
/// that the caller, who is still sending, gets to read the refusal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of such a body is thrown away before the connection is closed.
const DRAIN_BYTES_MAX: u64 = 256 << 20;

/// A stream of pieces of an answer. Failures have been turned into in-band
/// errors before they get here.
pub(crate) type PieceStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The body of an answer.
pub(crate) enum Body {
    /// All of it; empty when taken.
    Whole(Bytes),
    /// Piece by piece, as it arrives.
    Pieces(PieceStream),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Pieces(pieces) => pieces
                .as_mut()
                .poll_next(context)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Pieces(_) => SizeHint::default(),
        }
    }
}

/// Why a caller's body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It is larger than is allowed.
    #[error("the request body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    /// It did not come in time.
    #[error("the request body did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    TooSlow,
    /// The connection broke, or its framing is wrong.
    #[error("the request body could not be read")]
    Broken(#[source] hyper::Error),
}

/// Reads `body`, at most `bytes_max` of it. A body that came in one piece is
/// handed on without a copy.
///
/// # Errors
///
/// See [`ReadError`]. A body that is too large is not kept, not even in part.
pub(crate) async fn read(mut body: Incoming, bytes_max: usize) -> Result<Bytes, ReadError> {
    let hint = body.size_hint();
    if hint.lower() > bytes_max as u64 {
        drain(body);
        return Err(ReadError::TooLarge { bytes_max });
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, collect(&mut body, &hint, bytes_max)).await;
    match read {
        Ok(Err(error @ ReadError::TooLarge { .. })) => {
            drain(body);
            Err(error)
        }
        Ok(result) => result,
        Err(_elapsed) => Err(ReadError::TooSlow),
    }
}

async fn collect(
    body: &mut Incoming,
    hint: &SizeHint,
    bytes_max: usize,
) -> Result<Bytes, ReadError> {
    let Some(first) = next_data(body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() as u64 == hint.exact().unwrap_or(u64::MAX) || body.is_end_stream() {
        return if first.len() > bytes_max {
            Err(ReadError::TooLarge { bytes_max })
        } else {
            Ok(first)
        };
    }
    // The size that the caller claims is no reason to reserve it all at once.
    let reserve = (hint.lower() as usize).min(64 << 10).max(first.len());
    let mut all = BytesMut::with_capacity(reserve);
    let mut piece = Some(first);
    while let Some(data) = piece {
        if all.len() + data.len() > bytes_max {
            return Err(ReadError::TooLarge { bytes_max });
        }
        all.extend_from_slice(&data);
        piece = next_data(body).await?;
    }
    Ok(all.freeze())
}

async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, ReadError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Throws away what the caller still sends, within bounds and beside the
/// answer. Closing at once would reset the connection, and the caller would
/// often lose the answer that says why.
fn drain(mut body: Incoming) {
    tokio::spawn(async move {
        let mut left = DRAIN_BYTES_MAX;
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while let Ok(Some(data)) = next_data(&mut body).await {
                left = left.saturating_sub(data.len() as u64);
                if left == 0 {
                    break;
                }
            }
        })
        .await;
    });
}
