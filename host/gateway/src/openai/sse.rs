//! Server-sent events: finds the events of a stream without copying it.
//!
//! [`EventSplitter`] turns arbitrary pieces of a body into pieces that hold
//! whole events, byte for byte the same. What is handed on therefore never
//! ends inside an event, and an error event may follow at any point. Pieces
//! that end with an event, the usual case, are passed on without a copy; the
//! beginning of an unfinished event is kept, up to [`EVENT_BYTES_MAX`].
//!
//! Lines end with LF or CRLF. A lone CR, which the specification also allows
//! and no model server sends, does not end a line here.

use bytes::{Bytes, BytesMut};
use std::borrow::Cow;

/// Longest event. A chunk of a completion is some hundred bytes; audio deltas
/// reach some hundred kilobytes.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// An event is longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {EVENT_BYTES_MAX} bytes")]
pub struct EventTooLong;

/// Cuts a body into pieces that hold whole events.
#[derive(Debug, Default)]
pub struct EventSplitter {
    pending: BytesMut,
}

impl EventSplitter {
    /// Takes the next piece of the body and returns all events that are whole
    /// by now; often the piece itself, sometimes nothing.
    ///
    /// # Errors
    ///
    /// The unfinished event has become too long. The stream is to be given up.
    pub fn push(&mut self, piece: Bytes) -> Result<Bytes, EventTooLong> {
        if self.pending.is_empty() {
            let end = boundary(&piece, 0).unwrap_or(0);
            if end < piece.len() {
                self.keep(&piece[end..])?;
            }
            return Ok(piece.slice(..end));
        }
        // A blank line may straddle the seam, as CR LF CR | LF.
        let from = self.pending.len().saturating_sub(3);
        self.keep(&piece)?;
        Ok(match boundary(&self.pending, from) {
            Some(end) => self.pending.split_to(end).freeze(),
            None => Bytes::new(),
        })
    }

    /// True while an event is on its way that is more than a comment.
    pub fn is_within_data(&self) -> bool {
        !self.pending.is_empty() && !self.pending.starts_with(b":")
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        // A piece may itself hold many whole events behind the pending one, so
        // the bound is checked against what could be one event at most.
        if self.pending.len() > EVENT_BYTES_MAX || bytes.len() > 2 * EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// What is left at the end of the body: an event without its blank line,
    /// or a part of one.
    pub fn finish(&mut self) -> Bytes {
        self.pending.split().freeze()
    }
}

/// Position after the last blank line of `bytes`, which begins with an event.
/// Only line ends from `from` on are looked at.
fn boundary(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memrchr_iter(b'\n', &bytes[from..])
        .map(|at| from + at)
        .find(|&at| {
            let line = match at.checked_sub(1) {
                Some(before) if bytes[before] == b'\r' => before,
                _ => at,
            };
            line == 0 || bytes[line - 1] == b'\n'
        })
        .map(|at| at + 1)
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Where it begins in the bytes that it was found in.
    pub start: usize,
    /// Where the next one begins.
    pub end: usize,
    /// Its `data`, several lines joined by LF; none for a comment.
    pub data: Option<Cow<'a, [u8]>>,
    /// Its `event` field.
    pub name: Option<&'a [u8]>,
}

/// The events of `bytes`, which begin with an event. A last one without a
/// blank line counts too.
pub fn events(bytes: &[u8]) -> Events<'_> {
    Events { bytes, at: 0 }
}

/// Iterator of [`events`].
#[derive(Debug)]
pub struct Events<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let mut event = Event {
            start: self.at,
            end: self.at,
            data: None,
            name: None,
        };
        let mut empty = true;
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            let (line, taken) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1),
                None => (rest, rest.len()),
            };
            self.at += taken;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                empty = false;
                event.take_line(line);
            } else if !empty {
                break;
            }
        }
        event.end = self.at;
        (!empty).then_some(event)
    }
}

impl<'a> Event<'a> {
    fn take_line(&mut self, line: &'a [u8]) {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.data {
                None => self.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => self.name = Some(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&'static str]) -> Vec<String> {
        let mut splitter = EventSplitter::default();
        let mut out: Vec<String> = pieces
            .iter()
            .map(|piece| splitter.push(Bytes::from_static(piece.as_bytes())).unwrap())
            .map(|whole| String::from_utf8(whole.to_vec()).unwrap())
            .collect();
        out.push(String::from_utf8(splitter.finish().to_vec()).unwrap());
        out
    }

    #[test]
    fn pieces_end_where_events_end() {
        assert_eq!(split(&["data: a\n\n"]), ["data: a\n\n", ""]);
        assert_eq!(
            split(&["data: a\n\ndata: b", "\n", "\ndata: c\n\n"]),
            ["data: a\n\n", "", "data: b\n\ndata: c\n\n", ""]
        );
        assert_eq!(
            split(&["data: a\r\n\r", "\ndata: b\r\n", "\r\n"]),
            ["", "data: a\r\n\r\n", "data: b\r\n\r\n", ""]
        );
        assert_eq!(split(&["\n", "data: a\n"]), ["\n", "", "data: a\n"]);
        assert_eq!(
            split(&["data: a\ndata: b\n\n: x"]),
            ["data: a\ndata: b\n\n", ": x"]
        );
    }

    #[test]
    fn nothing_is_lost_or_changed_wherever_the_body_is_cut() {
        let body =
            ": hello\n\ndata: {\"a\":1}\n\nevent: e\r\ndata: x\r\ndata: y\r\n\r\ndata: [DONE]\n\n";
        for first in 0..body.len() {
            for second in first..body.len() {
                let pieces = [&body[..first], &body[first..second], &body[second..]];
                let out = split(&pieces);
                assert_eq!(out.concat(), body);
                assert!(out[3].is_empty());
                assert!(
                    out.iter()
                        .all(|o| o.is_empty() || o.ends_with("\n\n") || o.ends_with("\r\n\r\n"))
                );
            }
        }
    }

    #[test]
    fn a_whole_piece_is_not_copied() {
        let piece = Bytes::from_static(b"data: a\n\n");
        let out = EventSplitter::default().push(piece.clone()).unwrap();
        assert_eq!(out.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut splitter = EventSplitter::default();
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        let pushed = (0..64).find_map(|at| splitter.push(piece.clone()).err().map(|_| at));
        assert_eq!(pushed, Some(17));
    }

    #[test]
    fn events_are_read_as_the_specification_says() {
        let body = b"\n: comment\n\nevent: error\ndata:1\ndata: 2\nid: 7\n\ndata\n\ndata: last";
        let found: Vec<_> = events(body).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].data, None);
        assert_eq!(found[1].data.as_deref(), Some(&b"1\n2"[..]));
        assert_eq!(found[1].name, Some(&b"error"[..]));
        assert_eq!(found[2].data.as_deref(), Some(&b""[..]));
        assert_eq!(found[3].data.as_deref(), Some(&b"last"[..]));
        assert_eq!(found[0].start, 0);
        assert!(found.windows(2).all(|two| two[0].end == two[1].start));
        assert_eq!(found[3].end, body.len());
    }
}
