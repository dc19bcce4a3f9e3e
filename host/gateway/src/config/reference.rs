//! The reference of all keys, written from the tables that files are checked
//! against. A test keeps `docs/config.md` the same.

use super::schema::{Default, Kind, ROOT, Schema};
use std::fmt::Write;

const INTRODUCTION: &str = "\
# Configuration

One TOML file holds everything. `backstop serve --config FILE` reads it, `backstop check FILE` \
tells what is wrong with it: every mistake at once, each with its line, its key and what was \
probably meant. Without a file, the embedded demo configuration serves; it is also the commented \
example: [default-config.toml](../default-config.toml).

Three lines are a complete configuration:

```toml
include = \"builtin:demo\"
policies.my-policy.component = \"my_policy.wasm\"
routes.chat.fallback = \"my-policy\"
```

- `_ms`, `_s` and `_bytes` at the end of a key, or before `_max`, tell its unit.
- Names have 1 to 64 letters, digits, `-`, `_` or `.`; those of policies only lower-case letters, \
digits, `-` and `_`.
- Where a value may hold environment variables, `${NAME}` stands for one. A variable that is \
missing or empty is a mistake. Secrets are never printed.
- Relative paths are relative to the folder of the file.

This page is written by a test from the tables that files are checked against.
";

/// All keys as Markdown: type, default, range and meaning.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, &ROOT);
    page
}

fn section(page: &mut String, schema: &Schema) {
    let heading = match schema.name {
        "" => "The file".to_owned(),
        name => match (name.split_once(" ("), name.strip_suffix("[]")) {
            (Some((name, kind)), _) => format!("`[{name}]` with `{}`", kind.trim_end_matches(')')),
            (_, Some(name)) => format!("`[[{name}]]`"),
            _ => format!("`[{name}]`"),
        },
    };
    let rows: String = schema
        .keys
        .iter()
        .map(|key| {
            let (kind, range) = kind_and_range(&key.kind);
            let default = default_of(&key.default);
            format!(
                "| `{}` | {kind} | {default} | {range} | {} |\n",
                key.name, key.about
            )
        })
        .collect();
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "\n## {heading}\n\n{}\n\n| key | type | default | range | meaning |\n\
         |---|---|---|---|---|\n{rows}",
        schema.about
    );
    for key in schema.keys {
        match &key.kind {
            Kind::Table(inner)
            | Kind::List(inner, _)
            | Kind::ChoiceOrList(_, inner, _)
            | Kind::Map(inner, _) => section(page, inner),
            Kind::Variants(kinds, _) => kinds.iter().for_each(|(_, inner)| section(page, inner)),
            _ => {}
        }
    }
}

fn kind_and_range(kind: &Kind) -> (&'static str, String) {
    match kind {
        Kind::Text(max) => ("string", format!("1 to {max} bytes")),
        Kind::Environment => ("string", "may hold `${NAME}`".into()),
        Kind::Secret => ("secret", "may hold `${NAME}`".into()),
        Kind::Name => ("string", "a name".into()),
        Kind::Pointer => ("string", "a JSON pointer".into()),
        Kind::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            ("string", words.join(", "))
        }
        Kind::Integer(min, max) => ("integer", format!("{min} to {max}")),
        Kind::Number(min, max) => ("number", format!("{min} to {max}")),
        Kind::Bool => ("boolean", String::new()),
        Kind::Texts(min, max) => ("array of strings", format!("{min} to {max}")),
        Kind::SecretList(max) => (
            "array of secrets",
            format!("1 to {max}, which may hold `${{NAME}}`"),
        ),
        Kind::Integers(count, min, max) => (
            "array of integers",
            format!("1 to {count}, each {min} to {max}"),
        ),
        Kind::Reference(collection) => {
            let (section, _) = collection.words();
            ("string", format!("a name from `[{section}]`"))
        }
        Kind::References(collection, max) => {
            let (section, _) = collection.words();
            (
                "array of strings",
                format!("up to {max} names from `[{section}]`"),
            )
        }
        Kind::Pairs(max) => ("table of strings", format!("up to {max}")),
        Kind::Secrets(max) => (
            "table of secrets",
            format!("up to {max}, which may hold `${{NAME}}`"),
        ),
        Kind::Any => ("any", String::new()),
        Kind::AnyTable => ("table", String::new()),
        Kind::Table(_) => ("table", String::new()),
        Kind::List(_, max) => ("array of tables", format!("up to {max}")),
        Kind::ChoiceOrList(words, _, max) => {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            let range = format!("{}; or 1 to {max} tables", words.join(", "));
            ("string or array of tables", range)
        }
        Kind::Map(_, max) | Kind::Variants(_, max) => ("tables by name", format!("up to {max}")),
    }
}

fn default_of(default: &Default) -> String {
    match default {
        Default::Required => "**required**".into(),
        Default::Words(words) => (*words).into(),
        Default::Text(text) => format!("`\"{text}\"`"),
        Default::Integer(number) => format!("`{number}`"),
        Default::Number(number) => format!("`{number}`"),
        Default::Bool(boolean) => format!("`{boolean}`"),
        Default::Texts(texts) => format!("`{texts:?}`"),
        Default::Integers(integers) => format!("`{integers:?}`"),
    }
}
