//! Holding streams back: what the caller has not seen can still be replaced.
//!
//! A stream arrives here with its first content. As the route, or the plan,
//! says, its beginning or the whole of it is gathered before anything is
//! handed on, so that a cut, a stall, an upstream's error or the threshold
//! policy's verdict still leads to the plan's next step. Always holds: no more
//! than `hold_bytes_max` of one stream and [`HELD_BYTES_MAX`] of all are held,
//! and a stream that would need more passes; a stream that is dropped while it
//! is held is cancelled.

use crate::upstream::{Failure, StreamReply};
use backstop_core::plan::Hold;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most bytes that all streams of the process hold back together: some
/// thousand answers of usual length. Beyond it streams pass early.
pub(super) const HELD_BYTES_MAX: usize = 512 << 20;

/// Bytes that are held back now.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// A share of what is held back, given back when it is dropped: with the bytes
/// themselves.
#[derive(Debug, Default)]
pub(super) struct Share(usize);

impl Share {
    /// Adds `bytes`; false when all have as much as they may.
    fn grow(&mut self, bytes: usize) -> bool {
        let before = HELD.fetch_add(bytes, Ordering::Relaxed);
        self.0 += bytes;
        before + bytes <= HELD_BYTES_MAX
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// What a stream is when it is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The whole answer is here.
    Whole,
    /// Its beginning is here; the rest follows.
    Beginning,
}

/// Gathers as much of `reply` as `hold` says into its first piece, and no
/// longer than `until`: a stream that goes on then is slow and well, and
/// passes.
///
/// # Errors
///
/// The stream broke off before. Nobody has seen anything of it.
pub(super) async fn hold(
    reply: &mut StreamReply,
    hold: Hold,
    bytes_max: usize,
    until: std::time::Instant,
) -> Result<(Held, Share), Failure> {
    let until = Instant::from_std(until);
    let (tokens, until) = match hold {
        Hold::None => return Ok((Held::Beginning, Share::default())),
        Hold::Begin { tokens, ms } => {
            let begun = Instant::now() + Duration::from_millis(ms.into());
            (tokens, until.min(begun))
        }
        Hold::Whole => (u32::MAX, until),
    };
    let mut share = Share::default();
    let mut room = share.grow(reply.first.len());
    let mut held = Gathered::Piece(std::mem::take(&mut reply.first));
    let mut state = Held::Beginning;
    while room && held.len() < bytes_max && reply.watch.tokens() < tokens {
        // The beginning is over when its time is; what is here is let go.
        let Ok(next) = timeout_at(until, reply.rest.next()).await else {
            break;
        };
        match next {
            Some(Ok(piece)) => {
                room = share.grow(piece.len());
                held.push(&piece);
            }
            Some(Err(failure)) => return Err(failure),
            None => {
                state = Held::Whole;
                break;
            }
        }
    }
    reply.first = held.finish();
    Ok((state, share))
}

/// Pieces of a stream: one as it came, more in one place. Pieces share the
/// buffers that they were read into, which are larger than they are.
enum Gathered {
    Piece(Bytes),
    Copied(BytesMut),
}

impl Gathered {
    fn len(&self) -> usize {
        match self {
            Gathered::Piece(piece) => piece.len(),
            Gathered::Copied(copied) => copied.len(),
        }
    }

    fn push(&mut self, piece: &[u8]) {
        match self {
            Gathered::Copied(copied) => copied.extend_from_slice(piece),
            Gathered::Piece(first) => {
                let mut copied = BytesMut::with_capacity((first.len() + piece.len()).max(4_096));
                copied.extend_from_slice(first);
                copied.extend_from_slice(piece);
                *self = Gathered::Copied(copied);
            }
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Gathered::Piece(piece) => piece,
            Gathered::Copied(copied) => copied.freeze(),
        }
    }
}
