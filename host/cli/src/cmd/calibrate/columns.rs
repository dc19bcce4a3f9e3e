//! Which columns, or places in a JSON document, hold what.

use crate::failure::Failure;
use std::fmt::Write as _;

/// Most columns that an error lists.
const LISTED_MAX: usize = 20;

/// What a column says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// How sure the model was.
    Score,
    /// Whether it was right.
    Correct,
    /// What would have been right.
    Label,
    /// What it said.
    Predicted,
    /// Which group it belongs to.
    Segment,
    /// Whether the next model was right.
    Next,
    /// For how many answers the row stands.
    Count,
}

/// The columns that are read, in the order of a row's cells.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    wanted: Vec<(Role, String)>,
}

impl Columns {
    /// From what was typed; none for what was not.
    pub(super) fn new(named: &[(Role, Option<&str>)]) -> Columns {
        let wanted = named
            .iter()
            .filter_map(|(role, name)| Some((*role, (*name)?.to_owned())));
        Columns {
            wanted: wanted.collect(),
        }
    }

    /// The names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(|(_, name)| name.as_str())
    }

    /// The same columns under other names.
    pub(super) fn map_names(&self, rename: impl Fn(&str) -> String) -> Columns {
        let wanted = self.wanted.iter();
        Columns {
            wanted: wanted.map(|(role, name)| (*role, rename(name))).collect(),
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Which cell of a row has this role.
    pub(super) fn cell(&self, role: Role) -> Option<usize> {
        self.wanted.iter().position(|(of, _)| *of == role)
    }

    /// The name of a cell.
    pub(super) fn name(&self, cell: usize) -> &str {
        &self.wanted[cell].1
    }

    /// Where each column is among `found`.
    ///
    /// # Errors
    ///
    /// All that are not there, with the nearest of those that are.
    pub(super) fn places(&self, file: &str, found: &[String]) -> Result<Vec<usize>, Failure> {
        let place = |name: &str| {
            let plain = name.strip_prefix('/').unwrap_or(name);
            found
                .iter()
                .position(|other| other == name || other == plain)
        };
        let missing: Vec<&str> = self.names().filter(|name| place(name).is_none()).collect();
        if missing.is_empty() {
            return Ok(self.names().filter_map(place).collect());
        }
        Err(missing_columns(file, &missing, found))
    }
}

/// The error for columns that are not there.
pub(super) fn missing_columns(file: &str, missing: &[&str], found: &[String]) -> Failure {
    let mut text = String::new();
    for name in missing {
        let _ = write!(text, "{file} has no column `{name}`");
        if let Some(near) = nearest(name, found) {
            let _ = write!(text, "; did you mean `{near}`?");
        }
        text.push('\n');
    }
    let listed: Vec<String> = found
        .iter()
        .take(LISTED_MAX)
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    let more = match found.len().saturating_sub(LISTED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if listed.is_empty() {
        text.push_str("it has no columns at all");
    } else {
        let _ = write!(text, "it has {}{more}", listed.join(", "));
    }
    Failure::usage(text)
}

/// The name that was probably meant.
fn nearest<'a>(name: &str, found: &'a [String]) -> Option<&'a str> {
    let lower = name.trim_start_matches('/').to_lowercase();
    let likeness = |other: &str| strsim::jaro_winkler(&other.to_lowercase(), &lower);
    let best = found
        .iter()
        .map(String::as_str)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then_some(best)
}

/// What was found in a file, cut and safe to show.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    backstop_core::text::sanitize(text.to_owned(), SHOWN_BYTES_MAX)
}
