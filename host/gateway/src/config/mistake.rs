//! Mistakes in a configuration: for people with an excerpt, for machines as
//! JSON. Neither shows a secret.

use super::source::{Excerpt, Place, Sources};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// Most mistakes that are reported; who has more has other worries.
pub const MISTAKES_MAX: usize = 100;

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MistakeKind {
    /// The text is not TOML.
    Syntax,
    /// A key or a name stands there twice.
    Duplicate,
    /// There is no such key.
    UnknownKey,
    /// A required key is missing.
    MissingKey,
    /// The value has another type.
    WrongType,
    /// The value is outside its range.
    OutOfRange,
    /// The value is none of those that are allowed.
    UnknownValue,
    /// Nothing of this name is configured.
    UnknownName,
    /// The value is not what it has to be: an address, a URL, a pointer.
    Invalid,
    /// Two values contradict each other.
    Conflict,
    /// An environment variable is missing.
    Environment,
    /// There is too much of something.
    TooMany,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// What kind it is.
    pub kind: MistakeKind,
    /// The file, or `builtin:demo` for the embedded defaults.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, such as `routes.chat.fallback`; empty for the file.
    pub key: String,
    /// What is wrong and, where there is one, the next step.
    pub message: String,
    /// The valid key or name that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Line of the first of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_line: Option<usize>,
    #[serde(skip)]
    excerpt: Excerpt,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file can be read, but not used.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

impl ConfigError {
    /// The mistakes, if there are any.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            ConfigError::Read { .. } => &[],
            ConfigError::Mistakes(mistakes) => &mistakes.mistakes,
        }
    }
}

/// All mistakes of a configuration, in the order of the file. `Display` shows
/// them for people, serde for machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    /// The file.
    pub file: String,
    /// At least one, at most [`MISTAKES_MAX`].
    pub mistakes: Vec<Mistake>,
    /// How many more there are.
    pub left_out: usize,
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len() + self.left_out;
        let file = &self.file;
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "configuration `{file}` has {count} {noun}")?;
        for mistake in &self.mistakes {
            write!(f, "\n\n{mistake}")?;
        }
        if self.left_out > 0 {
            write!(f, "\n\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        if let Some(first) = self.first_line {
            write!(f, "; first on line {first}")?;
        }
        let gutter = " ".repeat(self.line.to_string().len());
        write!(
            f,
            "\n{gutter}--> {}:{}:{}",
            self.file, self.line, self.column
        )?;
        if !self.key.is_empty() {
            write!(f, " ({})", self.key)?;
        }
        let Excerpt { text, carets } = &self.excerpt;
        write!(
            f,
            "\n{gutter} |\n{} | {text}\n{gutter} | {carets}",
            self.line
        )
    }
}

/// A mistake before it is put into words for its reader.
#[derive(Debug)]
struct Found {
    kind: MistakeKind,
    place: Place,
    key: String,
    message: String,
    nearest: Option<String>,
    first: Option<Place>,
}

/// Collects mistakes while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Collector {
    found: Vec<Found>,
    hidden: Vec<Place>,
}

impl Collector {
    /// Notes a mistake; returns it for what else is known about it.
    pub(super) fn add(
        &mut self,
        kind: MistakeKind,
        place: Place,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Noted<'_> {
        self.found.push(Found {
            kind,
            place,
            key: key.into(),
            message: message.into(),
            nearest: None,
            first: None,
        });
        Noted(self.found.last_mut())
    }

    /// Marks a text that no excerpt may show.
    pub(super) fn hide(&mut self, place: Place) {
        self.hidden.push(place);
    }

    /// True when there is no mistake.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// True when a mistake of this kind was found.
    pub(super) fn has(&self, kind: MistakeKind) -> bool {
        self.found.iter().any(|found| found.kind == kind)
    }

    /// The mistakes in the order of the file, those of the included defaults last.
    pub(super) fn finish(mut self, sources: &Sources) -> Mistakes {
        self.found
            .sort_by_key(|found| (found.place.source, found.place.start));
        let left_out = self.found.len().saturating_sub(MISTAKES_MAX);
        let mistakes = self
            .found
            .into_iter()
            .take(MISTAKES_MAX)
            .map(|found| {
                let position = sources.position(found.place);
                let hide_strings = found.kind == MistakeKind::Syntax;
                Mistake {
                    kind: found.kind,
                    file: sources.origin(found.place).to_owned(),
                    line: position.line,
                    column: position.column,
                    key: found.key,
                    message: found.message,
                    nearest: found.nearest,
                    first_line: found.first.map(|place| sources.position(place).line),
                    excerpt: sources.excerpt(found.place, &self.hidden, hide_strings),
                }
            })
            .collect();
        Mistakes {
            file: sources.main().to_owned(),
            mistakes,
            left_out,
        }
    }
}

/// A mistake that was just noted.
pub(super) struct Noted<'c>(Option<&'c mut Found>);

impl Noted<'_> {
    /// Adds what was probably meant.
    pub(super) fn nearest(self, nearest: Option<&str>) -> Self {
        if let Some(found) = self.0 {
            found.nearest = nearest.map(str::to_owned);
            return Noted(Some(found));
        }
        self
    }

    /// Adds the place of the first of two.
    pub(super) fn first(self, place: Place) {
        if let Some(found) = self.0 {
            found.first = Some(place);
        }
    }
}
