//! Components to load: real guests, and some that are not what they should be.

/// The guest of `guests/hostile`.
pub const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile.wasm"));

/// The demo's policy that calls the last model of a route first.
pub const BACKUP_FIRST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo-backup-first.wasm"));

/// A component from its text.
///
/// # Panics
///
/// When the text is wrong.
pub fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text of a component")
}
