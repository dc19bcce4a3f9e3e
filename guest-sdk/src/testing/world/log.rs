//! `log`, collected.

use super::{WORLD, raw};

/// Most log lines of one decision.
const LOG_LINES_MAX: usize = 32;
/// Longest log line, in bytes.
const LOG_LINE_BYTES_MAX: usize = 1_024;

pub(crate) fn write(level: raw::log::Level, message: &str) {
    WORLD.with_borrow_mut(|world| {
        if world.log.len() < LOG_LINES_MAX {
            let end = message.floor_char_boundary(LOG_LINE_BYTES_MAX);
            world.log.push((level, message[..end].to_owned()));
        }
    });
}
