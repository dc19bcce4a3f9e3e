//! What the parser's tree does not tell: where each key stands first, and how
//! deep keys go (the parser bounds arrays and inline tables, but not dots).
//!
//! Follows the parser's events once and keeps every path as a node of a tree,
//! so that memory grows with the text and not with the length of its paths.

use super::mistake::{Collector, MistakeKind};
use super::source::Place;
use super::tree::DEPTH_MAX;
use std::collections::HashMap;
use std::ops::Range;
use toml_parser::parser::{Event, EventKind, RecursionGuard};

/// Depth to which the parser itself follows arrays and inline tables.
const PARSER_DEPTH_MAX: u32 = 80;

/// A path: its position in [`Scan::nodes`].
type Path = usize;

/// The empty path.
const ROOT: Path = 0;

/// One part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Key(String),
    /// Tells apart the elements of an array, and one inline table from another.
    Mark(usize),
}

#[derive(Debug)]
struct PathNode {
    parent: Path,
    part: Part,
    depth: usize,
    first: Option<Range<usize>>,
}

/// The keys of a text.
#[derive(Debug)]
pub(super) struct Scan {
    nodes: Vec<PathNode>,
    children: HashMap<(Path, Part), Path>,
    /// The path of the key that starts at this byte.
    starts: HashMap<usize, Path>,
    /// A key beyond the depth that is allowed.
    pub(super) too_deep: Option<Range<usize>>,
}

impl Scan {
    /// Scans a text, whether it is TOML or not.
    pub(super) fn of(text: &str) -> Scan {
        let source = toml_parser::Source::new(text);
        let tokens = source.lex().into_vec();
        let mut events: Vec<Event> = Vec::with_capacity(tokens.len());
        let mut guarded = RecursionGuard::new(&mut events, PARSER_DEPTH_MAX);
        toml_parser::parser::parse_document(&tokens, &mut guarded, &mut ());
        let mut walk = Walk::new(source);
        for event in &events {
            walk.step(event);
            if walk.scan.too_deep.is_some() {
                break;
            }
        }
        walk.scan
    }

    /// Notes that the key at `place` stands there twice, with the first place.
    pub(super) fn note_duplicate(&self, place: Place, mistakes: &mut Collector) {
        let path = self.starts.get(&place.start).copied();
        let key = path.map(|path| self.readable(path)).unwrap_or_default();
        let first = path.and_then(|path| self.nodes[path].first.clone());
        let message = if key.is_empty() {
            "a key is defined twice".to_owned()
        } else {
            format!("`{key}` is defined twice")
        };
        let noted = mistakes.add(MistakeKind::Duplicate, place, key, message);
        if let Some(Range { start, end }) = first {
            noted.first(Place {
                start,
                end,
                ..place
            });
        }
    }

    /// The path below `parent`; `at` is where the text goes down.
    fn child(&mut self, parent: Path, part: Part, at: &Range<usize>) -> Path {
        let next = self.nodes.len();
        let depth = self.nodes[parent].depth + 1;
        if depth > DEPTH_MAX && self.too_deep.is_none() {
            self.too_deep = Some(at.clone());
        }
        let path = *self.children.entry((parent, part.clone())).or_insert(next);
        if path == next {
            self.nodes.push(PathNode {
                parent,
                part,
                depth,
                first: None,
            });
        }
        path
    }

    fn readable(&self, mut path: Path) -> String {
        let mut parts = Vec::new();
        while path != ROOT {
            let node = &self.nodes[path];
            if let Part::Key(key) = &node.part {
                parts.push(key.as_str());
            }
            path = node.parent;
        }
        parts.reverse();
        parts.join(".")
    }
}

/// Follows the parser's events, and with them the path of each key.
struct Walk<'t> {
    source: toml_parser::Source<'t>,
    scan: Scan,
    /// The table that the last header opened.
    header: Path,
    in_header: bool,
    /// Elements so far of each array of tables.
    elements: HashMap<Path, usize>,
    /// The values that are open around this one.
    open: Vec<Path>,
    /// The key that is being read: its path, its parts, its last part.
    key: Path,
    parts: usize,
    last: Range<usize>,
    /// The key whose value comes next.
    pending: Option<Path>,
}

impl<'t> Walk<'t> {
    fn new(source: toml_parser::Source<'t>) -> Walk<'t> {
        let root = PathNode {
            parent: ROOT,
            part: Part::Mark(0),
            depth: 0,
            first: None,
        };
        Walk {
            source,
            scan: Scan {
                nodes: vec![root],
                children: HashMap::new(),
                starts: HashMap::new(),
                too_deep: None,
            },
            header: ROOT,
            in_header: false,
            elements: HashMap::new(),
            open: Vec::new(),
            key: ROOT,
            parts: 0,
            last: 0..0,
            pending: None,
        }
    }

    fn step(&mut self, event: &Event) {
        let span = event.span().start()..event.span().end();
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.open.clear();
                self.pending = None;
                self.in_header = true;
                self.key = ROOT;
                self.parts = 0;
            }
            EventKind::SimpleKey => self.part(event, span),
            EventKind::StdTableClose => {
                self.end_key();
                self.header = self.key;
                self.in_header = false;
            }
            EventKind::ArrayTableClose => {
                let count = self.elements.entry(self.key).or_default();
                *count += 1;
                let mark = Part::Mark(*count);
                self.header = self.scan.child(self.key, mark, &span);
                self.in_header = false;
                self.parts = 0;
            }
            EventKind::KeyValSep => {
                self.end_key();
                self.pending = Some(self.key);
            }
            EventKind::Scalar => self.pending = None,
            EventKind::InlineTableOpen | EventKind::ArrayOpen => {
                let around = self.pending.take().or(self.open.last().copied());
                // Where it begins tells it apart from every other value.
                let mark = Part::Mark(span.start);
                let value = self.scan.child(around.unwrap_or(ROOT), mark, &span);
                self.open.push(value);
                self.parts = 0;
            }
            EventKind::InlineTableClose | EventKind::ArrayClose => {
                self.open.pop();
                self.parts = 0;
            }
            EventKind::ValueSep | EventKind::Newline => self.parts = 0,
            _ => {}
        }
    }

    /// One part of a key.
    fn part(&mut self, event: &Event, span: Range<usize>) {
        if self.parts == 0 {
            self.key = match self.open.last() {
                _ if self.in_header => ROOT,
                Some(value) => *value,
                None => self.header,
            };
        } else if self.in_header
            && let Some(count) = self.elements.get(&self.key)
        {
            // The header goes on into the last element of an array of tables.
            self.key = self.scan.child(self.key, Part::Mark(*count), &span);
        }
        self.parts += 1;
        let mut name = String::new();
        if let Some(raw) = self.source.get(event) {
            raw.decode_key(&mut name, &mut ());
        }
        self.key = self.scan.child(self.key, Part::Key(name), &span);
        self.scan.starts.insert(span.start, self.key);
        self.last = span;
    }

    /// The key is complete: remembers where its path stands first.
    fn end_key(&mut self) {
        if self.parts > 0 {
            let first = &mut self.scan.nodes[self.key].first;
            if first.is_none() {
                *first = Some(self.last.clone());
            }
        }
        self.parts = 0;
    }
}
