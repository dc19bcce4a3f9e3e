//! How the events of a stream are read: what each API's events mean.
//!
//! [`stream`](super::stream) passes, times and counts; what it needs to know
//! of an event it asks here, so that another API is one more variant. Always
//! holds: an event is either the end, a part of an answer, an upstream's error,
//! or malformed; nothing in here changes it.

use super::types::Path;
use crate::openai::completion::{Chunk, CompletionError};
use crate::openai::error::UpstreamError;
use crate::openai::sse::Event;
use crate::openai::{Api, responses};
use bytes::Bytes;

/// What the end of a chat stream looks like.
const DONE: &[u8] = b"[DONE]";

/// The API whose events a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenAI's completions of chats and texts: chunks, then `[DONE]`.
    Chat,
    /// OpenAI's responses: typed events, of which one is the last.
    Responses,
}

/// What an event with data is.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// The end: nothing of the answer follows.
    Done,
    /// The end, which says something of the answer.
    Last(Chunk<'a>),
    /// A part of the answer, or something beside it.
    Chunk(Chunk<'a>),
}

impl Dialect {
    /// The dialect of answers to requests of `path`.
    pub(super) fn of(path: Path) -> Self {
        match path {
            Path::OpenAi(Api::Responses, _) => Dialect::Responses,
            Path::OpenAi(..) | Path::Json => Dialect::Chat,
        }
    }

    /// Reads `event`, whose data is `data`.
    ///
    /// # Errors
    ///
    /// The event is an upstream's error, or not what this API sends.
    pub(super) fn read<'a>(
        self,
        event: &Event<'_>,
        data: &'a [u8],
    ) -> Result<Part<'a>, CompletionError> {
        match self {
            Dialect::Chat => {
                if data.trim_ascii() == DONE {
                    return Ok(Part::Done);
                }
                if event.name == Some(b"error") {
                    return Err(CompletionError::Error(UpstreamError::from_body(data)));
                }
                Chunk::parse(data).map(Part::Chunk)
            }
            Dialect::Responses => match responses::event(data)? {
                (chunk, true) => Ok(Part::Last(chunk)),
                (chunk, false) => Ok(Part::Chunk(chunk)),
            },
        }
    }

    /// What ends a stream of this API whose upstream wrote the whole answer
    /// and forgot to say so.
    pub(super) fn end(self) -> Bytes {
        match self {
            Dialect::Chat => Bytes::from_static(b"data: [DONE]\n\n"),
            // Only its last event makes an answer whole.
            Dialect::Responses => Bytes::new(),
        }
    }
}
