//! The attribute `#[settings]` of `backstop-sdk`.
//!
//! It derives serde's `Deserialize` and writes the JSON Schema of the type as
//! constant text, so that a component carries no schema machinery. What it
//! reads: doc comments, serde's attributes, and `#[setting(…)]` on fields
//! (removed from the output). Anything that it cannot describe truthfully is a
//! compile error, never a schema that says something else than serde does.

mod attributes;
mod case;
mod json;
mod shape;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct or enum usable as settings: it deserialises with serde and
/// has a JSON Schema.
///
/// On the type: `#[settings]`, or `#[settings(open)]` to accept unknown keys,
/// which are refused otherwise. Doc comments become descriptions.
///
/// On a field, `#[setting(…)]` with any of
/// - `default` or `default = EXPR`: the key may be left out;
/// - `min = N`, `max = N`: bounds of a number, inclusive;
/// - `above = N`, `below = N`: bounds of a number, exclusive;
/// - `min_len = N`, `max_len = N`: characters of a string, items of a list,
///   keys of a map;
/// - `pattern = "REGEX"`: for a string.
///
/// serde's `rename`, `rename_all`, `default`, `skip`, `tag` and `transparent`
/// are understood; attributes of serde that the schema could not follow
/// (`flatten`, `alias`, `untagged`, `content`, `with`, `from`) are refused.
#[proc_macro_attribute]
pub fn settings(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    attributes::is_open(arguments.into())
        .and_then(|open| shape::expand(item, open))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
