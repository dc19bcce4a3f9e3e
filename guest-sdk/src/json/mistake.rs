//! What is wrong with a text; where, is the reader's path.

use serde::de::{self, Unexpected};
use std::fmt;

/// What is wrong; the place is the reader's path.
#[derive(Debug)]
pub(super) struct Mistake(String);

impl Mistake {
    pub(super) fn new(message: &str) -> Self {
        Self(message.to_owned())
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Joins without formatting.
    fn naming(what: &str, name: &str) -> Self {
        let mut text = String::from(what);
        text.push('`');
        text.push_str(name);
        text.push('`');
        Self(text)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

/// Every message without formatting a value: that machinery is what makes
/// error texts heavy.
impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::new(match unexpected {
            Unexpected::Bool(_) => "must not be a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "must not be a whole number",
            Unexpected::Float(_) => "must not be a number with a fraction",
            Unexpected::Str(_) => "must not be a string",
            Unexpected::Unit => "must not be null",
            Unexpected::Seq => "must not be a list",
            Unexpected::Map => "must not be an object",
            _ => "has the wrong type",
        })
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::new("is out of range")
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::new("has the wrong length")
    }

    fn unknown_variant(variant: &str, _: &'static [&'static str]) -> Self {
        Self::naming("must not be ", variant)
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::naming("has no place for ", field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::naming("needs ", field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::naming("has twice ", field)
    }
}
