//! `[routes.NAME.stream]`: how much of a stream is held back, and what follows
//! a cut.

use super::schema::{Default, Key, Kind, Schema};
use super::section::Section;
use backstop_core::plan::{AfterCut, HOLD_MS_MAX, HOLD_TOKENS_MAX, Hold};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of one stream that can be held back: an answer of 128 Ki tokens
/// with its events around it.
const HOLD_BYTES_MAX: u64 = 64 << 20;
/// Longest time of a stream: an hour.
const TOTAL_MS_MAX: u64 = 3_600_000;
/// Longest text between an answer that was cut and the one that replaces it.
const RESTART_TEXT_BYTES_MAX: usize = 1_024;

/// What a caller reads where an answer starts again.
const RESTART_TEXT: &str = " [The answer was interrupted and starts again:] ";

/// How a route streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// How much of an answer is held back before the caller sees any of it.
    pub hold: Hold,
    /// Bytes from which a stream passes, whatever `hold` says.
    pub hold_bytes_max: usize,
    /// How long a stream may take as a whole.
    pub total: Duration,
    /// What follows when a stream is cut that the caller has begun to see.
    pub after_cut: AfterCut,
    /// What the caller reads before an answer that starts again.
    pub restart_text: Arc<str>,
}

/// `[routes.NAME.stream]`.
pub(super) static STREAM: Schema = Schema {
    name: "routes.NAME.stream",
    about: "How much of a streamed answer is held back before its caller sees any of it. What \
            is held can still be replaced: by another model after a cut, a stall or an error, \
            or after the threshold policy has escalated. The price is time: with `whole`, the \
            default, no answer is lost to an upstream that breaks off, and the first token \
            comes when the last one is there; with `none` it comes at once, and what follows a \
            cut is an error, or a second answer.",
    keys: &[
        Key {
            name: "hold",
            kind: Kind::Choice(&["whole", "begin", "none"]),
            default: Default::Text("whole"),
            about: "`whole` holds the whole answer, `begin` its beginning, `none` only what comes \
                    before its first content.",
        },
        Key {
            name: "hold_tokens",
            kind: Kind::Integer(1, HOLD_TOKENS_MAX as u64),
            default: Default::Integer(32),
            about: "With `begin`: the beginning ends after so many events with content, a token \
                    each for most providers.",
        },
        Key {
            name: "hold_ms",
            kind: Kind::Integer(1, HOLD_MS_MAX as u64),
            default: Default::Integer(2_000),
            about: "With `begin`: the beginning ends so many milliseconds after the first token.",
        },
        Key {
            name: "hold_bytes_max",
            kind: Kind::Integer(1_024, HOLD_BYTES_MAX),
            default: Default::Integer(4 << 20),
            about: "Bytes of one stream from which it passes, whatever `hold` says.",
        },
        Key {
            name: "total_ms",
            kind: Kind::Integer(1, TOTAL_MS_MAX),
            default: Default::Integer(600_000),
            about: "Milliseconds of a streamed answer as a whole. A stream that goes on is not \
                    bounded by `timeout_ms`: what is held of it after that time passes.",
        },
        Key {
            name: "after_cut",
            kind: Kind::Choice(&["error", "restart"]),
            default: Default::Text("error"),
            about: "What follows when a stream is cut that its caller has begun to see: an error \
                    in band, or `restart_text` and the answer of the plan's next step. \
                    A response closes the message that was cut as an `incomplete` item, says the \
                    text in an item of its own and goes on with those of the answer; its `id` \
                    stays that of the first. Only text restarts: calls of tools and such end \
                    with the error.",
        },
        Key {
            name: "restart_text",
            kind: Kind::Text(RESTART_TEXT_BYTES_MAX),
            default: Default::Text(RESTART_TEXT),
            about: "With `restart`: what the caller reads between the two.",
        },
    ],
};

/// Resolves `[routes.NAME.stream]`.
pub(super) fn resolve(section: &Section<'_>) -> Stream {
    let beginning = Hold::Begin {
        tokens: section.integer("hold_tokens"),
        ms: section.integer("hold_ms"),
    };
    Stream {
        hold: match section.text("hold").text {
            "none" => Hold::None,
            "begin" => beginning,
            _ => Hold::Whole,
        },
        hold_bytes_max: section.integer("hold_bytes_max"),
        total: section.millis("total_ms"),
        after_cut: match section.text("after_cut").text {
            "restart" => AfterCut::Restart,
            _ => AfterCut::Error,
        },
        restart_text: section.text("restart_text").text.into(),
    }
}
