//! Settings of a policy: how they are read, and how their JSON Schema is made.
//!
//! [`#[settings]`](macro@crate::settings) writes the schema of a type as
//! constant text at compile time, piece by piece, so that a component carries
//! no schema machinery; `describe` only joins the pieces. The host has checked
//! settings against the schema before `configure` is called, so the texts of
//! deserialisation errors here are a second line of defence.

use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A piece of a schema's text.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// JSON text as it is.
    Text(&'static str),
    /// The pieces of another type's schema.
    Of(&'static [Part]),
}

/// A type whose JSON Schema is known at compile time.
///
/// Implemented by [`#[settings]`](macro@crate::settings) and for the usual
/// types of the standard library.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no settings schema",
    note = "mark it with `#[backstop_sdk::settings]`, or use a type of the standard library"
)]
pub trait Shaped {
    /// The schema's keywords, without the braces around them and without those
    /// below.
    const KEYWORDS: &'static [Part];
    /// `,"minimum":…`, or nothing. Kept apart because a field may narrow it.
    const MINIMUM: &'static str = "";
    /// `,"maximum":…`, or nothing.
    const MAXIMUM: &'static str = "";
    /// `,"description":…`, or nothing; a field's own description replaces it.
    const ABOUT: &'static str = "";
    /// All of the above.
    const WHOLE: &'static [Part] = &[
        Part::Of(Self::KEYWORDS),
        Part::Text(Self::MINIMUM),
        Part::Text(Self::MAXIMUM),
        Part::Text(Self::ABOUT),
    ];
}

/// What a policy takes as settings: any type with a schema that deserialises.
pub trait Settings: Shaped + DeserializeOwned {}

impl<T: Shaped + DeserializeOwned> Settings for T {}

/// For policies without settings: takes `{}` and nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

impl Shaped for NoSettings {
    const KEYWORDS: &'static [Part] = &[Part::Text(
        r#""type":"object","properties":{},"additionalProperties":false"#,
    )];
}

/// The JSON Schema (draft 2020-12) of `T`.
pub(crate) fn schema_text<T: Shaped>() -> String {
    let mut text = String::from(r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","#);
    join(T::WHOLE, &mut text);
    text.push('}');
    text
}

fn join(parts: &[Part], text: &mut String) {
    for part in parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::Of(parts) => join(parts, text),
        }
    }
}

macro_rules! shaped {
    ($($type:ty: $keywords:literal $(, $min:literal, $max:literal)?;)+) => {$(
        impl Shaped for $type {
            const KEYWORDS: &'static [Part] = &[Part::Text($keywords)];
            $(
                const MINIMUM: &'static str = concat!(",\"minimum\":", $min);
                const MAXIMUM: &'static str = concat!(",\"maximum\":", $max);
            )?
        }
    )+};
}

shaped! {
    bool: r#""type":"boolean""#;
    String: r#""type":"string""#;
    f64: r#""type":"number""#;
    f32: r#""type":"number""#;
    u8: r#""type":"integer""#, "0", "255";
    u16: r#""type":"integer""#, "0", "65535";
    u32: r#""type":"integer""#, "0", "4294967295";
    u64: r#""type":"integer""#, "0", "18446744073709551615";
    usize: r#""type":"integer""#, "0", "4294967295";
    i8: r#""type":"integer""#, "-128", "127";
    i16: r#""type":"integer""#, "-32768", "32767";
    i32: r#""type":"integer""#, "-2147483648", "2147483647";
    i64: r#""type":"integer""#, "-9223372036854775808", "9223372036854775807";
}

impl<T: Shaped> Shaped for Option<T> {
    const KEYWORDS: &'static [Part] = &[
        Part::Text(r#""anyOf":[{"#),
        Part::Of(T::WHOLE),
        Part::Text(r#"},{"type":"null"}]"#),
    ];
}

impl<T: Shaped> Shaped for Vec<T> {
    const KEYWORDS: &'static [Part] = &[
        Part::Text(r#""type":"array","items":{"#),
        Part::Of(T::WHOLE),
        Part::Text("}"),
    ];
}

impl<T: Shaped> Shaped for BTreeMap<String, T> {
    const KEYWORDS: &'static [Part] = &[
        Part::Text(r#""type":"object","additionalProperties":{"#),
        Part::Of(T::WHOLE),
        Part::Text("}"),
    ];
}

impl<T: Shaped> Shaped for Box<T> {
    const KEYWORDS: &'static [Part] = T::KEYWORDS;
    const MINIMUM: &'static str = T::MINIMUM;
    const MAXIMUM: &'static str = T::MAXIMUM;
    const ABOUT: &'static str = T::ABOUT;
}
