//! The raw stage: TOML text to a tree that keeps every place.
//!
//! Parsing is the `toml` crate's. What this module adds: keys in the order of
//! the file, the first place of what stands there twice, bounds on depth, and
//! the merging of a file over the defaults that it includes.

use super::mistake::{Collector, MistakeKind};
use super::scan::Scan;
use super::source::Place;
use toml::de::{DeTable, DeValue};

/// Deepest nesting: parts of dotted keys, inline tables and arrays together.
/// The deepest key that means anything is at 6, and settings of a policy may be
/// a few deeper; walking a tree uses the stack.
pub(super) const DEPTH_MAX: usize = 32;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// Beyond 128 bits it is the nearest that fits.
    Integer(i128),
    Float(f64),
    Bool(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// The type with its article, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::Datetime(_) => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// A table with its keys in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Table {
    /// The entry of this key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The table of this key; none when it is absent or something else.
    pub(super) fn table(&self, key: &str) -> Option<&Table> {
        match &self.get(key)?.node.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The string of this key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Parses the text of one source. After a mistake of syntax there is no tree,
/// and that mistake is the only one; keys that stand there twice are noted
/// and the rest is read on.
pub(super) fn parse(text: &str, source: usize, mistakes: &mut Collector) -> Option<Table> {
    let scan = Scan::of(text);
    let place = |span: std::ops::Range<usize>| Place {
        source,
        start: span.start,
        end: span.end,
    };
    if let Some(span) = scan.too_deep {
        let message = format!("keys are nested deeper than {DEPTH_MAX}");
        mistakes.add(MistakeKind::TooMany, place(span), "", message);
        return None;
    }
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(_) => {
            let (root, errors) = DeTable::parse_recoverable(text);
            let is_duplicate = |error: &toml::de::Error| error.message() == "duplicate key";
            let syntax = errors.iter().filter(|error| !is_duplicate(error));
            let at = |error: &&toml::de::Error| error.span().map_or(text.len(), |span| span.start);
            if let Some(error) = syntax.min_by_key(at) {
                let span = error.span().unwrap_or(text.len()..text.len());
                mistakes.add(MistakeKind::Syntax, place(span), "", error.message());
                return None;
            }
            for error in errors {
                let span = error.span().unwrap_or(0..0);
                scan.note_duplicate(place(span), mistakes);
            }
            root
        }
    };
    Some(convert_table(root.get_ref(), &place))
}

type Placer<'p> = &'p dyn Fn(std::ops::Range<usize>) -> Place;

fn convert_table(table: &DeTable<'_>, place: Placer<'_>) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: place(key.span()),
            node: Node {
                value: convert(value.get_ref(), place),
                place: place(value.span()),
            },
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_place);
    Table { entries }
}

fn convert(value: &DeValue<'_>, place: Placer<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            let digits = integer.as_str();
            let nearest = if digits.starts_with('-') {
                i128::MIN
            } else {
                i128::MAX
            };
            Value::Integer(i128::from_str_radix(digits, integer.radix()).unwrap_or(nearest))
        }
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Value::Bool(*boolean),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(array) => Value::Array(
            array
                .iter()
                .map(|node| Node {
                    value: convert(node.get_ref(), place),
                    place: place(node.span()),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, place)),
    }
}

/// Sections whose entries are of a kind that this key decides. An entry that
/// changes it starts anew: what was set for the other kind does not fit, and a
/// policy must not inherit what was granted to other code.
const DECIDING_KEYS: [(&str, &[&str]); 3] = [
    ("providers", &["kind"]),
    ("policies", &["component"]),
    ("rules", &["text", "json"]),
];

/// Merges `over` over `base`: tables key by key, everything else replaces.
pub(super) fn merge_root(base: &mut Table, over: Table) {
    merge(base, over, &mut Vec::new());
}

fn merge(base: &mut Table, over: Table, path: &mut Vec<String>) {
    for entry in over.entries {
        let Some(existing) = base.entries.iter_mut().find(|known| known.key == entry.key) else {
            base.entries.push(entry);
            continue;
        };
        match (&mut existing.node.value, entry.node.value) {
            (Value::Table(below), Value::Table(above)) if !starts_anew(path, below, &above) => {
                path.push(entry.key);
                merge(below, above, path);
                path.pop();
                existing.key_place = entry.key_place;
                existing.node.place = entry.node.place;
            }
            (_, value) => {
                existing.key_place = entry.key_place;
                existing.node = Node {
                    value,
                    place: entry.node.place,
                };
            }
        }
    }
}

fn starts_anew(path: &[String], below: &Table, above: &Table) -> bool {
    let [section] = path else { return false };
    let deciding = DECIDING_KEYS.iter().find(|(known, _)| section == known);
    deciding.is_some_and(|(_, keys)| match keys {
        [key] => above.text(key).is_some() && above.text(key) != below.text(key),
        keys => keys.iter().any(|key| above.get(key).is_some()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::Sources;
    use super::*;

    fn mistakes_of(text: &str) -> Vec<(usize, Option<usize>, String)> {
        let mut sources = Sources::default();
        let source = sources.add("test.toml", text);
        let mut mistakes = Collector::default();
        parse(text, source, &mut mistakes);
        let found = mistakes.finish(&sources).mistakes;
        let short = found.into_iter().map(|m| (m.line, m.first_line, m.message));
        short.collect()
    }

    #[test]
    fn what_stands_there_twice_is_told_with_both_places() {
        for (text, line, first, key) in [
            ("[a.b]\nx = 1\n\n[a.b]\ny = 2\n", 4, 1, "a.b"),
            ("x = 1\ny = 2\nx = 3\n", 3, 1, "x"),
            ("[a]\nx.y = 1\nx.y = 2\n", 3, 2, "a.x.y"),
            ("[[r]]\nn = 1\n[[r]]\nn = 1\nn = 2\n", 5, 4, "r.n"),
            ("[[r]]\n[r.s]\nn = 1\n[[r]]\n[r.s]\n[r.s]\n", 6, 5, "r.s"),
            ("a = { x = 1, 'x' = 2 }\nb = { x = 1 }\n", 1, 1, "a.x"),
            ("a = [{ x = 1 }, { x = 1 }]\na = 1\n", 2, 1, "a"),
        ] {
            let message = format!("`{key}` is defined twice");
            assert_eq!(mistakes_of(text), [(line, Some(first), message)], "{text}");
        }
    }

    #[test]
    fn a_mistake_of_syntax_is_the_only_one() {
        let found = mistakes_of("x = 1\nx = 2\n[a\ny = \n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, 3);
    }

    #[test]
    fn deep_nesting_is_refused_before_it_fills_the_stack() {
        let dots = vec!["a"; 100_000].join(".");
        let brackets = "[".repeat(100_000);
        let tables = "{a=".repeat(100_000);
        for text in [
            format!("{dots} = 1"),
            format!("[{dots}]"),
            format!("x = {brackets}"),
            format!("x = {tables}"),
        ] {
            assert_eq!(mistakes_of(&text).len(), 1);
        }
    }

    fn merged(base: &str, over: &str) -> String {
        let mut mistakes = Collector::default();
        let mut base = parse(base, 1, &mut mistakes).unwrap();
        merge_root(&mut base, parse(over, 0, &mut mistakes).unwrap());
        show(&Value::Table(base))
    }

    fn show(value: &Value) -> String {
        match value {
            Value::Integer(integer) => integer.to_string(),
            Value::Text(text) => text.clone(),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|node| show(&node.value)).collect();
                format!("[{}]", items.join(" "))
            }
            Value::Table(table) => {
                let show = |e: &Entry| format!("{}:{}", e.key, show(&e.node.value));
                let entries: Vec<_> = table.entries.iter().map(show).collect();
                format!("{{{}}}", entries.join(" "))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_merged_over_what_it_includes() {
        let base = "a.x = 1\na.y = [1, 2]\nb = 1\n";
        assert_eq!(
            merged(base, "c = 3\na.y = [3]\na.z = 4\n"),
            "{a:{x:1 y:[3] z:4} b:1 c:3}"
        );
        assert_eq!(merged(base, "a = 5"), "{a:5 b:1}");
    }

    #[test]
    fn an_entry_of_another_kind_starts_anew() {
        let base = "providers.p = { kind = 'simulated', seed = 1 }\n\
                    policies.q = { component = 'builtin:x', grants = { state = 1 } }\n\
                    rules.r = { text = 'no', status = 503 }\n";
        assert_eq!(
            merged(
                base,
                "providers.p = { kind = 'json' }\npolicies.q.component = 'q.wasm'"
            ),
            "{providers:{p:{kind:json}} policies:{q:{component:q.wasm}} rules:{r:{text:no status:503}}}"
        );
        assert_eq!(
            merged(
                base,
                "providers.p.seed = 2\npolicies.q.component = 'builtin:x'\nrules.r.json = 1"
            ),
            "{providers:{p:{kind:simulated seed:2}} \
              policies:{q:{component:builtin:x grants:{state:1}}} rules:{r:{json:1}}}"
        );
    }
}
