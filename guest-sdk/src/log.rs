//! Import `log`: the host's log, under the policy's name.
//!
//! At most 32 lines of 1,024 bytes for each decision; what is more is counted
//! and dropped. Needs no grant. Reasons that belong to a decision go into the
//! decision, not here.

use crate::backend::log as backend;

pub use crate::bindings::base::backstop::policy::log::Level;

/// Writes one line. Never fails and never waits.
pub fn write(level: Level, message: &str) {
    backend::write(level, message);
}

/// Details for the author.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something is not as it should be.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something failed.
pub fn error(message: &str) {
    write(Level::Error, message);
}
