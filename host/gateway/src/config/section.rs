//! Reads values out of a checked tree.
//!
//! A [`Section`] answers with the value, or the default of the table of keys,
//! or (where a mistake was noted) something harmless that is thrown away with
//! the rest. So resolving goes on after a mistake and finds the others. What
//! only resolving can see is noted in the [`Resolver`].

use super::check::{below, number_of};
use super::mistake::{Collector, MistakeKind, Noted};
use super::schema::{Default, Key, Kind, Schema};
use super::secret::Secret;
use super::source::Place;
use super::tree::{Node, Table, Value};
use std::path::Path;
use std::time::Duration;

/// Looks up an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// What resolving needs to know beside the values, and where it notes mistakes.
pub(super) struct Resolver<'r> {
    pub(super) mistakes: &'r mut Collector,
    pub(super) env: Environment<'r>,
    /// What relative paths are relative to.
    pub(super) base_dir: &'r Path,
    /// Whether components have to be there.
    pub(super) look_for_files: bool,
}

/// A string and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t> {
    pub(super) text: &'t str,
    pub(super) place: Place,
}

/// One table, seen through its schema; it may be absent.
#[derive(Debug, Clone)]
pub(super) struct Section<'t> {
    schema: &'static Schema,
    table: Option<&'t Table>,
    /// Where the table is named.
    pub(super) place: Place,
    /// Its path in the file.
    pub(super) path: String,
}

impl<'t> Section<'t> {
    /// The root.
    pub(super) fn root(schema: &'static Schema, table: &'t Table, place: Place) -> Section<'t> {
        Section {
            schema,
            table: Some(table),
            place,
            path: String::new(),
        }
    }

    /// The path of a key.
    pub(super) fn key_path(&self, key: &str) -> String {
        below(&self.path, key)
    }

    /// True when the file holds the section.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The value of a key, if the file holds one.
    pub(super) fn node(&self, key: &str) -> Option<&'t Node> {
        debug_assert!(
            self.schema.key(key).is_some(),
            "no key {key} in {}",
            self.schema.name
        );
        #[cfg(test)]
        tests::note_read(self.schema.name, key);
        self.table?.get(key).map(|entry| &entry.node)
    }

    /// Where a key's value stands, or else the section.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.node(key).map_or(self.place, |node| node.place)
    }

    fn default(&self, key: &str) -> &'static Default {
        self.schema
            .key(key)
            .map_or(&Default::Required, |key| &key.default)
    }

    /// A number that may be absent.
    pub(super) fn integer_if_set<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        let number = match &self.node(key)?.value {
            Value::Integer(integer) => u64::try_from(*integer).ok(),
            _ => None,
        };
        number.and_then(|number| T::try_from(number).ok())
    }

    /// A number, or its default.
    pub(super) fn integer<T: TryFrom<u64> + std::default::Default>(&self, key: &str) -> T {
        let default = match self.default(key) {
            Default::Integer(number) => T::try_from(*number).ok(),
            _ => None,
        };
        self.integer_if_set(key).or(default).unwrap_or_default()
    }

    /// Milliseconds, or their default.
    pub(super) fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.integer(key))
    }

    /// A number that may have a fraction and may be absent.
    pub(super) fn number_if_set(&self, key: &str) -> Option<f64> {
        number_of(&self.node(key)?.value)
    }

    /// A number that may have a fraction, or its default.
    pub(super) fn number(&self, key: &str) -> f64 {
        self.number_if_set(key).unwrap_or(match self.default(key) {
            Default::Number(number) => *number,
            _ => 0.0,
        })
    }

    /// A boolean that may be absent.
    pub(super) fn boolean_if_set(&self, key: &str) -> Option<bool> {
        match &self.node(key)?.value {
            Value::Bool(boolean) => Some(*boolean),
            _ => None,
        }
    }

    /// A boolean, or its default.
    pub(super) fn boolean(&self, key: &str) -> bool {
        let default = matches!(self.default(key), Default::Bool(true));
        self.boolean_if_set(key).unwrap_or(default)
    }

    /// A string that may be absent.
    pub(super) fn text_if_set(&self, key: &str) -> Option<Text<'t>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) => Some(Text {
                text,
                place: node.place,
            }),
            _ => None,
        }
    }

    /// A string, or its default.
    pub(super) fn text(&self, key: &str) -> Text<'t> {
        let default = match self.default(key) {
            Default::Text(text) => *text,
            _ => "",
        };
        self.text_if_set(key).unwrap_or(Text {
            text: default,
            place: self.place,
        })
    }

    /// Strings; none where the key is absent and has no default.
    pub(super) fn texts_if_set(&self, key: &str) -> Option<Vec<Text<'t>>> {
        let Value::Array(nodes) = &self.node(key)?.value else {
            return None;
        };
        let text = |node: &'t Node| match &node.value {
            Value::Text(text) => Some(Text {
                text,
                place: node.place,
            }),
            _ => None,
        };
        Some(nodes.iter().filter_map(text).collect())
    }

    /// Strings, or their default.
    pub(super) fn texts(&self, key: &str) -> Vec<Text<'t>> {
        let default: &[&str] = match self.default(key) {
            Default::Texts(texts) => texts,
            _ => &[],
        };
        let place = self.place;
        let default = || default.iter().map(|&text| Text { text, place }).collect();
        self.texts_if_set(key).unwrap_or_else(default)
    }

    /// Whole numbers, or their default.
    pub(super) fn integers(&self, key: &str) -> Vec<u64> {
        let integer = |node: &Node| match &node.value {
            Value::Integer(integer) => u64::try_from(*integer).ok(),
            _ => None,
        };
        match (self.node(key).map(|node| &node.value), self.default(key)) {
            (Some(Value::Array(nodes)), _) => nodes.iter().filter_map(integer).collect(),
            (_, Default::Integers(integers)) => integers.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Strings by name, in the order of the file.
    pub(super) fn pairs(&self, key: &str) -> Vec<(Text<'t>, Text<'t>)> {
        let Some(Value::Table(table)) = self.node(key).map(|node| &node.value) else {
            return Vec::new();
        };
        let pair = |entry: &'t super::tree::Entry| match &entry.node.value {
            Value::Text(text) => {
                let name = Text {
                    text: &entry.key,
                    place: entry.key_place,
                };
                let value = Text {
                    text,
                    place: entry.node.place,
                };
                Some((name, value))
            }
            _ => None,
        };
        table.entries.iter().filter_map(pair).collect()
    }

    /// A table within this one; absent where the file has none.
    pub(super) fn section(&self, key: &str) -> Section<'t> {
        let node = self.node(key);
        let schema = match self.schema.key(key) {
            Some(Key {
                kind: Kind::Table(schema),
                ..
            }) => schema,
            _ => self.schema,
        };
        let table = node.and_then(|node| match &node.value {
            Value::Table(table) => Some(table),
            _ => None,
        });
        Section {
            schema,
            table,
            place: node.map_or(self.place, |node| node.place),
            path: self.key_path(key),
        }
    }

    /// The tables of an array.
    pub(super) fn list(&self, key: &str) -> Vec<Section<'t>> {
        let (
            Some(Value::Array(nodes)),
            Some(Key {
                kind: Kind::List(schema, _) | Kind::ChoiceOrList(_, schema, _),
                ..
            }),
        ) = (self.node(key).map(|node| &node.value), self.schema.key(key))
        else {
            return Vec::new();
        };
        let section = |(index, node): (usize, &'t Node)| match &node.value {
            Value::Table(table) => Some(Section {
                schema,
                table: Some(table),
                place: node.place,
                path: format!("{}[{index}]", self.key_path(key)),
            }),
            _ => None,
        };
        nodes.iter().enumerate().filter_map(section).collect()
    }

    /// The tables of a table of tables, by name.
    pub(super) fn entries(&self, key: &str) -> Vec<(&'t str, Section<'t>)> {
        let (Some(Value::Table(table)), Some(schema_key)) =
            (self.node(key).map(|node| &node.value), self.schema.key(key))
        else {
            return Vec::new();
        };
        let path = self.key_path(key);
        let entry = |entry: &'t super::tree::Entry| {
            let Value::Table(table) = &entry.node.value else {
                return None;
            };
            let schema = match &schema_key.kind {
                Kind::Map(schema, _) => schema,
                Kind::Variants(kinds, _) => {
                    let kind = table.text("kind");
                    kinds.iter().find(|(word, _)| Some(*word) == kind)?.1
                }
                _ => return None,
            };
            let section = Section {
                schema,
                table: Some(table),
                place: entry.node.place,
                path: below(&path, &entry.key),
            };
            Some((entry.key.as_str(), section))
        };
        table.entries.iter().filter_map(entry).collect()
    }
}

impl Resolver<'_> {
    /// Notes a mistake at a key of a section.
    pub(super) fn note(
        &mut self,
        kind: MistakeKind,
        section: &Section<'_>,
        key: &str,
        message: impl Into<String>,
    ) -> Noted<'_> {
        let (place, path) = (section.place_of(key), section.key_path(key));
        self.mistakes.add(kind, place, path, message)
    }

    /// A string of the file with its environment variables put in.
    pub(super) fn expanded(&mut self, text: Text<'_>, path: &str) -> Option<String> {
        let mut whole = String::new();
        let mut rest = text.text;
        let mut is_whole = true;
        while let Some((before, after)) = rest.split_once("${") {
            whole.push_str(before);
            let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_variable(name))
            else {
                let message = format!(
                    "`{path}` holds a reference that is not `${{NAME}}` with letters, digits and `_`"
                );
                self.mistakes
                    .add(MistakeKind::Environment, text.place, path, message);
                return None;
            };
            match (self.env)(name) {
                Some(value) if !value.is_empty() => whole.push_str(&value),
                value => {
                    let what = value.map_or("is not set", |_| "is empty");
                    let message =
                        format!("environment variable `{name}` {what}, which `{path}` needs");
                    self.mistakes
                        .add(MistakeKind::Environment, text.place, path, message);
                    is_whole = false;
                }
            }
            rest = after;
        }
        whole.push_str(rest);
        is_whole.then_some(whole)
    }

    /// A secret that may be absent.
    pub(super) fn secret(&mut self, section: &Section<'_>, key: &str) -> Option<Secret> {
        let text = section.text_if_set(key)?;
        self.expanded(text, &section.key_path(key)).map(Secret::new)
    }
}

/// True for what may be the name of an environment variable.
fn is_variable(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(allowed) && !name.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static READ: RefCell<BTreeSet<(&'static str, String)>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note_read(section: &'static str, key: &str) {
        READ.with_borrow_mut(|read| read.insert((section, key.to_owned())));
    }

    /// The keys that this thread has read so far.
    pub(in crate::config) fn keys_read() -> BTreeSet<(&'static str, String)> {
        READ.with_borrow(Clone::clone)
    }
}
