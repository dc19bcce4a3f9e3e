//! Checks a tree against the tables of keys: unknown and missing keys, types,
//! ranges, words and names. Notes every mistake and never stops at one.

use super::mistake::{Collector, MistakeKind};
use super::nearest::nearest;
use super::schema::{Collection, Default, Key, Kind, NAME_BYTES_MAX, Schema, TEXT_BYTES_MAX};
use super::source::{Place, Sources, is_reference};
use super::tree::{Entry, Node, Table, Value};

/// Most names that are listed where none is near.
const LISTED_MAX: usize = 16;

/// What the check needs to know beside the value itself.
pub(super) struct Check<'c> {
    pub(super) sources: &'c Sources,
    pub(super) root: &'c Table,
    pub(super) mistakes: &'c mut Collector,
}

/// The path of `key` below `path`.
pub(super) fn below(path: &str, key: &str) -> String {
    let key = if is_name(key) && !key.contains('.') {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// True for what may be a name.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(allowed)
}

/// What is wrong with a name that [`is_name`] refuses.
pub(super) const NAME_RULE: &str = "a name has 1 to 64 letters, digits, `-`, `_` or `.`";

/// True for a JSON pointer (RFC 6901).
pub(super) fn is_pointer(text: &str) -> bool {
    let escapes_are_whole = text
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && escapes_are_whole
}

impl Check<'_> {
    /// Checks a table of `schema`; `place` is where the table is named.
    pub(super) fn table(&mut self, schema: &Schema, table: &Table, place: Place, path: &str) {
        let mut meant = Vec::new();
        for entry in &table.entries {
            let key_path = below(path, &entry.key);
            match schema.key(&entry.key) {
                Some(key) => self.value(key, &entry.node, &key_path),
                None => meant.extend(self.unknown_key(schema, table, entry, path)),
            }
        }
        for key in schema.keys {
            let is_missing = matches!(key.default, Default::Required)
                && table.get(key.name).is_none()
                && !meant.contains(&key.name);
            if is_missing {
                let message = format!("`{path}` needs `{}`", key.name);
                self.mistakes.add(
                    MistakeKind::MissingKey,
                    place,
                    below(path, key.name),
                    message,
                );
            }
        }
    }

    fn unknown_key(
        &mut self,
        schema: &Schema,
        table: &Table,
        entry: &Entry,
        path: &str,
    ) -> Option<&'static str> {
        // A key that is there already was more likely not meant again.
        let free = schema
            .keys
            .iter()
            .filter(|key| table.get(key.name).is_none());
        let near = nearest(&entry.key, free.map(|key| key.name))
            .or_else(|| nearest(&entry.key, schema.keys.iter().map(|key| key.name)));
        let mut message = format!("unknown key `{}`", shown(&entry.key));
        if !path.is_empty() {
            message.push_str(&format!(" in `{path}`"));
        }
        if near.is_none() {
            let valid = schema.keys.iter().map(|key| key.name);
            message.push_str(&format!("; valid here: {}", listed(valid)));
        }
        self.hide_strings(&entry.node, &entry.key);
        let key_path = below(path, &entry.key);
        self.mistakes
            .add(MistakeKind::UnknownKey, entry.key_place, key_path, message)
            .nearest(near);
        near
    }

    /// The values of unknown keys stay unseen where the key may be a
    /// misspelling of a secret one.
    fn hide_strings(&mut self, node: &Node, key: &str) {
        let secret = ["api_key", "api_keys", "admin_token", "headers"];
        if nearest(key, secret).is_some() {
            self.hide_all(node);
        }
    }

    /// A table's place is its head; what it holds stands in places of its own.
    fn hide_all(&mut self, node: &Node) {
        self.mistakes.hide(node.place);
        match &node.value {
            Value::Table(table) => table.entries.iter().for_each(|entry| {
                self.hide_all(&entry.node);
            }),
            Value::Array(nodes) => nodes.iter().for_each(|node| self.hide_all(node)),
            _ => {}
        }
    }

    fn value(&mut self, key: &Key, node: &Node, path: &str) {
        match (&key.kind, &node.value) {
            (Kind::Text(bytes_max), Value::Text(text)) => {
                self.length(text, 1, *bytes_max, node, path);
            }
            (Kind::Environment, Value::Text(text)) => {
                self.length(text, 1, TEXT_BYTES_MAX, node, path);
            }
            (Kind::Secret, value) => self.secret(value, node, path),
            (Kind::Name, Value::Text(text)) => self.name(text, node.place, path),
            (Kind::Pointer, Value::Text(text)) => self.pointer(text, node, path),
            (Kind::Choice(words), Value::Text(text)) => self.choice(words, text, node, path),
            (Kind::Integer(min, max), Value::Integer(integer)) => {
                self.integer(*integer, *min, *max, node, path);
            }
            (Kind::Number(min, max), Value::Integer(_) | Value::Float(_)) => {
                self.number(*min, *max, node, path);
            }
            (Kind::Bool, Value::Bool(_)) | (Kind::Any, _) | (Kind::AnyTable, Value::Table(_)) => {}
            (Kind::Reference(collection), Value::Text(text)) => {
                self.reference(*collection, text, node, path);
            }
            (Kind::Texts(count_min, count_max), Value::Array(nodes)) => {
                self.count(nodes.len(), *count_min, *count_max, node.place, path);
                self.items(&Kind::Text(TEXT_BYTES_MAX), nodes, path);
            }
            (Kind::SecretList(count_max), Value::Array(nodes)) => {
                self.count(nodes.len(), 1, *count_max, node.place, path);
                self.items(&Kind::Secret, nodes, path);
            }
            (Kind::Integers(count_max, min, max), Value::Array(nodes)) => {
                self.count(nodes.len(), 1, *count_max, node.place, path);
                self.items(&Kind::Integer(*min, *max), nodes, path);
            }
            (Kind::References(collection, count_max), Value::Array(nodes)) => {
                self.count(nodes.len(), 0, *count_max, node.place, path);
                self.items(&Kind::Reference(*collection), nodes, path);
                self.different(nodes, path);
            }
            (Kind::Pairs(count_max), Value::Table(table)) => {
                self.pairs(
                    &Kind::Text(TEXT_BYTES_MAX),
                    table,
                    *count_max,
                    node.place,
                    path,
                );
            }
            (Kind::Secrets(count_max), Value::Table(table)) => {
                self.pairs(&Kind::Secret, table, *count_max, node.place, path);
            }
            (Kind::Table(schema), Value::Table(table)) => {
                self.table(schema, table, node.place, path);
            }
            (Kind::List(schema, count_max), Value::Array(nodes)) => {
                self.count(nodes.len(), 0, *count_max, node.place, path);
                self.items(&Kind::Table(schema), nodes, path);
            }
            (Kind::ChoiceOrList(words, ..), Value::Text(text)) => {
                self.choice(words, text, node, path);
            }
            (Kind::ChoiceOrList(_, schema, count_max), Value::Array(nodes)) => {
                self.count(nodes.len(), 1, *count_max, node.place, path);
                self.items(&Kind::Table(schema), nodes, path);
            }
            (Kind::Map(schema, count_max), Value::Table(table)) => {
                self.map(table, *count_max, node.place, path, |_, _, _| Some(schema));
            }
            (Kind::Variants(kinds, count_max), Value::Table(table)) => {
                self.map(table, *count_max, node.place, path, |check, entry, path| {
                    check.schema_of_kind(kinds, entry, path)
                });
            }
            (kind, value) => self.wrong_type(kind, value, node, path),
        }
    }

    /// Checks the elements of an array.
    fn items(&mut self, kind: &Kind, nodes: &[Node], path: &str) {
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match (kind, &node.value) {
                (Kind::Text(bytes_max), Value::Text(text)) => {
                    self.length(text, 1, *bytes_max, node, &path);
                }
                (Kind::Secret, value) => self.secret(value, node, &path),
                (Kind::Integer(min, max), Value::Integer(integer)) => {
                    self.integer(*integer, *min, *max, node, &path);
                }
                (Kind::Reference(collection), Value::Text(text)) => {
                    self.reference(*collection, text, node, &path);
                }
                (Kind::Table(schema), Value::Table(table)) => {
                    self.table(schema, table, node.place, &path);
                }
                (kind, value) => self.wrong_type(kind, value, node, &path),
            }
        }
    }

    fn pairs(&mut self, kind: &Kind, table: &Table, count_max: usize, place: Place, path: &str) {
        self.count(table.entries.len(), 0, count_max, place, path);
        for entry in &table.entries {
            let path = below(path, &entry.key);
            self.name(&entry.key, entry.key_place, &path);
            match (kind, &entry.node.value) {
                (Kind::Secret, value) => self.secret(value, &entry.node, &path),
                (_, Value::Text(text)) => {
                    self.length(text, 1, TEXT_BYTES_MAX, &entry.node, &path);
                }
                (kind, value) => self.wrong_type(kind, value, &entry.node, &path),
            }
        }
    }

    fn map(
        &mut self,
        table: &Table,
        count_max: usize,
        place: Place,
        path: &str,
        mut schema_of: impl FnMut(&mut Self, &Entry, &str) -> Option<&'static Schema>,
    ) {
        self.count(table.entries.len(), 0, count_max, place, path);
        for entry in &table.entries {
            let path = below(path, &entry.key);
            self.name(&entry.key, entry.key_place, &path);
            match &entry.node.value {
                Value::Table(table) => {
                    if let Some(schema) = schema_of(self, entry, &path) {
                        self.table(schema, table, entry.node.place, &path);
                    }
                }
                value => self.wrong_type(&Kind::AnyTable, value, &entry.node, &path),
            }
        }
    }

    /// The schema that an entry's `kind` asks for. A wrong kind is reported by
    /// the check against the schema that was probably meant; where none was,
    /// nothing more can be said about the entry.
    fn schema_of_kind(
        &mut self,
        kinds: &'static [(&'static str, &'static Schema)],
        entry: &Entry,
        path: &str,
    ) -> Option<&'static Schema> {
        let Value::Table(table) = &entry.node.value else {
            return None;
        };
        let words = || kinds.iter().map(|(word, _)| *word);
        let path = below(path, "kind");
        match table.get("kind") {
            None => {
                let message = format!("`{}` needs `kind`: {}", path_of(&path), listed(words()));
                self.mistakes
                    .add(MistakeKind::MissingKey, entry.node.place, path, message);
                None
            }
            Some(kind) => {
                let word = match &kind.node.value {
                    Value::Text(word) => word,
                    value => {
                        self.wrong_type(&Kind::Choice(&[]), value, &kind.node, &path);
                        return None;
                    }
                };
                let near = nearest(word, words());
                let found = kinds.iter().find(|(known, _)| known == word);
                let meant = found.or_else(|| kinds.iter().find(|(known, _)| Some(*known) == near));
                if meant.is_none() {
                    self.unknown_word(words(), word, &kind.node, &path);
                }
                meant.map(|(_, schema)| *schema)
            }
        }
    }

    fn secret(&mut self, value: &Value, node: &Node, path: &str) {
        if !is_reference(self.sources.slice(node.place)) {
            self.mistakes.hide(node.place);
        }
        match value {
            Value::Text(text) => self.length(text, 1, TEXT_BYTES_MAX, node, path),
            value => self.wrong_type(&Kind::Secret, value, node, path),
        }
    }

    fn length(&mut self, text: &str, min: usize, max: usize, node: &Node, path: &str) {
        let bytes = text.len();
        if bytes < min {
            self.add(
                MistakeKind::OutOfRange,
                node,
                path,
                format!("`{path}` is empty"),
            );
        } else if bytes > max {
            let message = format!("`{path}` has {bytes} bytes, at most {max} are allowed");
            self.add(MistakeKind::TooMany, node, path, message);
        }
    }

    fn name(&mut self, text: &str, place: Place, path: &str) {
        if !is_name(text) {
            let message = format!("`{}` is no name: {NAME_RULE}", shown(text));
            self.mistakes
                .add(MistakeKind::Invalid, place, path, message);
        }
    }

    fn pointer(&mut self, text: &str, node: &Node, path: &str) {
        self.length(text, 0, TEXT_BYTES_MAX, node, path);
        if !is_pointer(text) {
            let message = format!(
                "`{path}` is no JSON pointer: it begins with `/`, and `~` stands before 0 or 1, \
                 as in `/choices/0/text`"
            );
            self.add(MistakeKind::Invalid, node, path, message);
        }
    }

    fn choice(&mut self, words: &[&'static str], text: &str, node: &Node, path: &str) {
        if !words.contains(&text) {
            self.unknown_word(words.iter().copied(), text, node, path);
        }
    }

    fn unknown_word<'w>(
        &mut self,
        words: impl Iterator<Item = &'w str> + Clone,
        text: &str,
        node: &Node,
        path: &str,
    ) {
        let near = nearest(text, words.clone());
        let (text, valid) = (shown(text), listed(words));
        let message = format!("`{path}` is `{text}`, must be {valid}");
        self.mistakes
            .add(MistakeKind::UnknownValue, node.place, path, message)
            .nearest(near);
    }

    fn integer(&mut self, integer: i128, min: u64, max: u64, node: &Node, path: &str) {
        if integer < i128::from(min) || integer > i128::from(max) {
            let given = shown(self.sources.slice(node.place)).into_owned();
            let message = format!("`{path}` is {given}, must be {min} to {max}");
            self.add(MistakeKind::OutOfRange, node, path, message);
        }
    }

    fn number(&mut self, min: f64, max: f64, node: &Node, path: &str) {
        // Not a number is in no range.
        if !number_of(&node.value).is_some_and(|number| (min..=max).contains(&number)) {
            let given = shown(self.sources.slice(node.place)).into_owned();
            let message = format!("`{path}` is {given}, must be {min} to {max}");
            self.add(MistakeKind::OutOfRange, node, path, message);
        }
    }

    fn count(&mut self, count: usize, min: usize, max: usize, place: Place, path: &str) {
        if count < min {
            let message = format!("`{path}` is empty");
            self.mistakes
                .add(MistakeKind::OutOfRange, place, path, message);
        } else if count > max {
            let message = format!("`{path}` has {count} entries, at most {max} are allowed");
            self.mistakes
                .add(MistakeKind::TooMany, place, path, message);
        }
    }

    fn reference(&mut self, collection: Collection, text: &str, node: &Node, path: &str) {
        let (section, thing) = collection.words();
        let known = self.root.table(section);
        if known.is_some_and(|table| table.get(text).is_some()) {
            return;
        }
        let names = || {
            known
                .iter()
                .flat_map(|table| &table.entries)
                .map(|entry| entry.key.as_str())
        };
        let near = nearest(text, names());
        let mut message = format!("`{path}` names unknown {thing} `{}`", shown(text));
        if names().next().is_none() {
            message.push_str(&format!("; no {section} are configured"));
        } else if near.is_none() {
            message.push_str(&format!("; configured: {}", listed(names())));
        }
        self.mistakes
            .add(MistakeKind::UnknownName, node.place, path, message)
            .nearest(near);
    }

    fn different(&mut self, nodes: &[Node], path: &str) {
        for (index, node) in nodes.iter().enumerate() {
            let Value::Text(text) = &node.value else {
                continue;
            };
            let same = |other: &&Node| matches!(&other.value, Value::Text(known) if known == text);
            if let Some(first) = nodes[..index].iter().find(same) {
                let message = format!("`{path}` lists `{}` twice", shown(text));
                self.mistakes
                    .add(MistakeKind::Duplicate, node.place, path, message)
                    .first(first.place);
            }
        }
    }

    fn wrong_type(&mut self, kind: &Kind, value: &Value, node: &Node, path: &str) {
        let message = format!(
            "`{path}` is {}, must be {}",
            value.type_name(),
            type_of(kind)
        );
        self.add(MistakeKind::WrongType, node, path, message);
    }

    fn add(&mut self, kind: MistakeKind, node: &Node, path: &str, message: String) {
        self.mistakes.add(kind, node.place, path, message);
    }
}

/// The number that a value holds.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Float(float) => Some(*float),
        _ => None,
    }
}

/// The type that a kind asks for, with its article.
pub(super) fn type_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_)
        | Kind::Environment
        | Kind::Secret
        | Kind::Name
        | Kind::Pointer
        | Kind::Choice(_)
        | Kind::Reference(_) => "a string",
        Kind::Integer(..) => "an integer",
        Kind::Number(..) => "a number",
        Kind::Bool => "a boolean",
        Kind::Texts(..) | Kind::SecretList(_) | Kind::References(..) => "an array of strings",
        Kind::Integers(..) => "an array of integers",
        Kind::Any => "anything",
        Kind::Pairs(_) | Kind::Secrets(_) => "a table of strings",
        Kind::AnyTable | Kind::Table(_) | Kind::Map(..) | Kind::Variants(..) => "a table",
        Kind::List(..) => "an array of tables",
        Kind::ChoiceOrList(..) => "a string or an array of tables",
    }
}

/// The path without its last part.
fn path_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(before, _)| before)
}

/// What somebody wrote, fit for a message.
pub(super) fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    let bytes_max = NAME_BYTES_MAX;
    if text.len() <= bytes_max && !text.contains(char::is_control) {
        return text.into();
    }
    backstop_core::text::sanitize(text.to_owned(), bytes_max).into()
}

/// The names in a row.
pub(super) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{}`", shown(name))).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [.., _] if names.len() > LISTED_MAX => format!(
            "{} and {} more",
            names[..LISTED_MAX].join(", "),
            names.len() - LISTED_MAX
        ),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_pointers_are_told_from_others() {
        for name in ["a", "gpt-4o", "r1.2_b", &"n".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a\n", &"n".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
        for pointer in ["", "/", "/a/0", "/a~0b/~1"] {
            assert!(is_pointer(pointer), "{pointer}");
        }
        for pointer in ["a", "/a~", "/~2"] {
            assert!(!is_pointer(pointer), "{pointer}");
        }
    }

    #[test]
    fn a_path_quotes_what_would_be_misread() {
        assert_eq!(below("", "a"), "a");
        assert_eq!(below("models", "gpt-4"), "models.gpt-4");
        assert_eq!(below("models", "gpt-4.1"), "models.\"gpt-4.1\"");
        assert_eq!(below("models", ""), "models.\"\"");
    }
}
