//! The texts of a configuration, places in them, and excerpts for people.
//!
//! A configuration comes from one file and, where it includes them, the
//! embedded defaults; every value knows the place it came from. Excerpts are
//! shown on terminals and in logs, so they hide what looks like a secret.

use super::nearest::distance;
use std::ops::Range;

/// Longest excerpt in characters; longer lines are cut around the place.
const EXCERPT_CHARS_MAX: usize = 100;

/// A stretch of one source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// Position in [`Sources`]; the file itself is 0.
    pub(super) source: usize,
    /// First byte.
    pub(super) start: usize,
    /// One past the last byte.
    pub(super) end: usize,
}

/// One text and what it is called.
#[derive(Debug)]
struct Source {
    origin: String,
    text: String,
    line_starts: Vec<usize>,
}

/// All texts of one configuration.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

/// A place for people: counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Sources {
    /// Adds a text and returns its position.
    pub(super) fn add(&mut self, origin: &str, text: &str) -> usize {
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        self.0.push(Source {
            origin: origin.to_owned(),
            text: text.to_owned(),
            line_starts,
        });
        self.0.len() - 1
    }

    /// What the file itself is called.
    pub(super) fn main(&self) -> &str {
        self.0.first().map_or("", |source| &source.origin)
    }

    /// What the source of `place` is called.
    pub(super) fn origin(&self, place: Place) -> &str {
        self.0.get(place.source).map_or("", |source| &source.origin)
    }

    /// Line and column of the start of `place`.
    pub(super) fn position(&self, place: Place) -> Position {
        let Some(source) = self.0.get(place.source) else {
            return Position { line: 1, column: 1 };
        };
        let start = place.start.min(source.text.len());
        let line = source.line_starts.partition_point(|&at| at <= start);
        let line_start = source.line_starts[line - 1];
        let before = source.text.get(line_start..start).unwrap_or_default();
        Position {
            line,
            column: before.chars().count() + 1,
        }
    }

    /// The text at `place`.
    pub(super) fn slice(&self, place: Place) -> &str {
        let source = self.0.get(place.source);
        let text = source.map_or("", |source| source.text.as_str());
        text.get(place.start..place.end).unwrap_or_default()
    }

    /// The line of `place` with carets under it, without what looks secret.
    /// `hidden` are places whose text is known to be secret; with
    /// `hide_strings` no string on the line is shown.
    pub(super) fn excerpt(&self, place: Place, hidden: &[Place], hide_strings: bool) -> Excerpt {
        let Some(source) = self.0.get(place.source) else {
            return Excerpt::default();
        };
        let line = self.position(place).line;
        let line_start = source.line_starts[line - 1];
        let rest = &source.text[line_start..];
        let text = rest.split(['\n', '\r']).next().unwrap_or_default();
        let within = |place: &Place| {
            let start = place.start.saturating_sub(line_start);
            start..place.end.saturating_sub(line_start).min(text.len())
        };
        let mut secret: Vec<Range<usize>> = hidden
            .iter()
            .filter(|other| other.source == place.source && other.end > line_start)
            .map(within)
            .filter(|range| range.start < range.end)
            .collect();
        secret.extend(secret_looking(text, hide_strings));
        Excerpt::new(text, within(&place), &secret)
    }
}

/// A line for people and the carets below it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) text: String,
    pub(super) carets: String,
}

impl Excerpt {
    fn new(line: &str, marked: Range<usize>, secret: &[Range<usize>]) -> Excerpt {
        let mut shown: Vec<(char, bool)> = Vec::new();
        let mut hiding = false;
        // Something that is missing is marked where it would begin.
        let marked = marked.start..marked.end.max(marked.start + 1);
        for (at, c) in line.char_indices() {
            let is_marked = marked.contains(&at);
            if secret.iter().any(|range| range.contains(&at)) {
                if hiding {
                    if let Some(last) = shown.last_mut() {
                        last.1 |= is_marked;
                    }
                } else {
                    shown.push(('…', is_marked));
                }
                hiding = true;
                continue;
            }
            hiding = false;
            let c = match c {
                '\t' => ' ',
                c if c.is_control() => char::REPLACEMENT_CHARACTER,
                c => c,
            };
            shown.push((c, is_marked));
        }
        let first = shown.iter().position(|&(_, is_marked)| is_marked);
        // A place at the end of the line, such as a missing value.
        let first = first.unwrap_or(shown.len());
        let skip = if shown.len() > EXCERPT_CHARS_MAX {
            first.saturating_sub(EXCERPT_CHARS_MAX / 2)
        } else {
            0
        };
        let window = shown.iter().skip(skip).take(EXCERPT_CHARS_MAX);
        let text: String = window.clone().map(|&(c, _)| c).collect();
        let width = window.filter(|&&(_, is_marked)| is_marked).count().max(1);
        let carets = format!("{}{}", " ".repeat(first - skip), "^".repeat(width));
        Excerpt { text, carets }
    }
}

/// Words that give away a key whose value is a secret.
const SECRET_WORDS: [&str; 9] = [
    "key",
    "token",
    "secret",
    "passw",
    "auth",
    "credential",
    "bearer",
    "cookie",
    "private",
];
/// Keys that are recognised with two letters wrong.
const SECRET_KEYS: [&str; 4] = ["api_key", "admin_token", "authorization", "password"];

/// True when the value of `key` had better not be shown.
fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if key.ends_with("_header") {
        return false;
    }
    SECRET_WORDS.iter().any(|word| key.contains(word))
        || SECRET_KEYS.iter().any(|known| distance(&key, known) <= 2)
}

/// Stretches of a line that hold, or may hold, a secret: the values of keys
/// that look like it, or with `all_strings` every string.
fn secret_looking(line: &str, all_strings: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut word = 0..0;
    let mut at = 0;
    let bytes = line.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'=' => {
                let is_secret = looks_secret(&line[word.clone()]);
                let value = at + 1 + spaces(&line[at + 1..]);
                let end = if is_secret || all_strings {
                    value_end(line, value, is_secret)
                } else {
                    value
                };
                if end > value && !is_reference(&line[value..end]) {
                    found.push(value..end);
                }
                at = end.max(at + 1);
                continue;
            }
            b'"' | b'\'' if all_strings => {
                let end = value_end(line, at, false);
                // A quoted key may be shown, a string may not.
                let is_key = line[end..].trim_start().starts_with('=');
                if is_key {
                    word = at..end;
                } else {
                    found.push(at..end);
                }
                at = end;
                continue;
            }
            b if b.is_ascii_alphanumeric() || b == b'_' || b == b'-' => {
                let start = at;
                while at < bytes.len()
                    && (bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'_' | b'-'))
                {
                    at += 1;
                }
                word = start..at;
                continue;
            }
            _ => at += 1,
        }
    }
    found
}

/// True for a string that is one `${NAME}`, which gives nothing away.
pub(super) fn is_reference(quoted: &str) -> bool {
    let inner = quoted.trim_matches(['"', '\'']);
    let name = inner
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

fn spaces(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// Where the value that begins at `start` ends: a string at its quote, or at
/// the end of the line if it has none; of others nothing is hidden, unless
/// `whatever` asks for everything that is not plainly a number or boolean.
fn value_end(line: &str, start: usize, whatever: bool) -> usize {
    let value = &line[start..];
    match value.as_bytes().first() {
        Some(&quote @ (b'"' | b'\'')) => {
            let body = &value.as_bytes()[1..];
            let mut escaped = false;
            for (at, &b) in body.iter().enumerate() {
                if b == quote && !escaped {
                    // The empty string may be the first half of `"""`.
                    let is_empty = at == 0;
                    let is_triple = is_empty && body.get(1) == Some(&quote);
                    if !is_triple {
                        return start + at + 2;
                    }
                    return line.len();
                }
                escaped = quote == b'"' && b == b'\\' && !escaped;
            }
            line.len()
        }
        Some(b) if whatever && !b.is_ascii_digit() && !is_boolean(value) => line.len(),
        _ => start,
    }
}

fn is_boolean(value: &str) -> bool {
    let word: &str = value.split([' ', ',', '}', '#']).next().unwrap_or_default();
    matches!(word, "true" | "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(line: &str, marked: &str, hide_strings: bool) -> Excerpt {
        let mut sources = Sources::default();
        let text = format!("# a line before\n{line}\n");
        let source = sources.add("test.toml", &text);
        let start = text.find(marked).unwrap();
        let place = Place {
            source,
            start,
            end: start + marked.len(),
        };
        sources.excerpt(place, &[], hide_strings)
    }

    #[test]
    fn positions_count_from_one_in_characters() {
        let mut sources = Sources::default();
        let source = sources.add("test.toml", "a = 'ü'\nöb = 2\n");
        let at = |start| {
            let position = sources.position(Place {
                source,
                start,
                end: start,
            });
            (position.line, position.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(9), (2, 1));
        assert_eq!(at(11), (2, 2), "after a letter of two bytes");
        assert_eq!(at(999), (3, 1), "beyond the end");
    }

    #[test]
    fn carets_stand_below_the_place() {
        let shown = excerpt("tímeout = 'soon'", "'soon'", false);
        assert_eq!(shown.text, "tímeout = 'soon'");
        assert_eq!(shown.carets, "          ^^^^^^");
    }

    #[test]
    fn secrets_are_not_part_of_an_excerpt() {
        for line in [
            "api_key = \"hunter2\"",
            "api_kye = 'hunter2'",
            "x = { kind = \"openai\", Admin_Token = \"hunter2\", y = 1 }",
            "api_key = hunter2",
            "api_key = \"hunter2",
            "\"Authorization\" = \"Bearer hunter2\"",
            "password = \"\"\"hunter2",
            "password = \"a\\\"hunter2\"",
            "tokens = [\"hunter2\"]",
        ] {
            let key = line.split(['=', ' ']).next().unwrap();
            let shown = excerpt(line, key, false);
            assert!(!shown.text.contains("hunter2"), "{line} → {}", shown.text);
            assert!(shown.text.contains('…'), "{line} → {}", shown.text);
        }
        let shown = excerpt("motd = \"hunter2\" 5", "5", true);
        assert_eq!(shown.text, "motd = … 5");
        assert_eq!(shown.carets, "         ^");
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for line in [
            "tokens = 40",
            "kind = \"opneai\"",
            "logprobs = true",
            "api_key = \"${OPENAI_API_KEY}\"",
            "api_key_header = 'x-api-key'",
        ] {
            assert_eq!(excerpt(line, "=", false).text, line);
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("x = '{}'; here; '{}'", "a".repeat(500), "b".repeat(500));
        let shown = excerpt(&line, "here", false);
        assert!(shown.text.chars().count() <= EXCERPT_CHARS_MAX);
        let caret = shown.carets.find('^').unwrap();
        assert_eq!(&shown.text[caret..caret + 4], "here");
    }
}
