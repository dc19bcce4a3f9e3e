//! Where the bytes of an answer come from: a socket, or the simulation.

use super::client::{Exchange, ExchangeError};
use super::simulated::Pieces;
use bytes::Bytes;
use std::task::{Context, Poll};

/// A response whose body is still to be read. Dropping it cancels.
pub(super) enum Source {
    Network(Exchange),
    Simulated(Pieces),
}

impl Source {
    /// The next piece of the body.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        match self {
            Source::Network(exchange) => exchange.poll_piece(cx),
            Source::Simulated(pieces) => pieces.poll_piece(cx),
        }
    }

    /// Length of the body, where it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Source::Network(exchange) => exchange.length(),
            Source::Simulated(_) => None,
        }
    }

    /// For a reader who has all that is needed.
    pub(super) fn let_go(self) {
        match self {
            Source::Network(exchange) => exchange.let_go(),
            Source::Simulated(_) => {}
        }
    }
}
