//! A small reader of JSON for settings: serde's `Deserialize` over text.
//!
//! `serde_json` would do the same and weigh as much as the rest of a small
//! policy twice over, for error texts with formatted numbers; the smaller
//! libraries cannot read escapes or tagged enums. The host has parsed and
//! checked the settings before they arrive here, so what matters is that every
//! valid text is read and that an error says where it is.
//!
//! Numbers with at most 15 digits and exponents up to 22 are read exactly;
//! others may be off by a few units in the last place, as in `serde_json`.
//!
//! `scan` takes the text apart, `decode` hands its values to serde, `mistake`
//! holds the error texts. Nothing here formats a number or a value: that
//! machinery is what makes a component heavy.

mod decode;
mod mistake;
mod scan;
#[cfg(test)]
mod tests;

use mistake::Mistake;
use scan::{Reader, pointer};
use serde::de::DeserializeOwned;

type Read<T> = Result<T, Mistake>;

/// Reads one value, with nothing but space after it.
///
/// # Errors
/// A JSON pointer to the place, and what is wrong there.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, (String, String)> {
    let mut reader = Reader::new(text);
    let value = T::deserialize(&mut reader).and_then(|value| {
        if reader.peek() == 0 {
            Ok(value)
        } else {
            Err(Mistake::new("unexpected text after the value"))
        }
    });
    value.map_err(|mistake| (pointer(&reader.path), mistake.into_text()))
}
