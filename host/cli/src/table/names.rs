//! Names of columns: where they are, and which was meant.

use crate::failure::Failure;
use std::fmt::Write as _;

/// Most columns that an error lists.
const LISTED_MAX: usize = 20;

/// Where each of `names` is among `found`.
///
/// # Errors
///
/// All that are not there, with the nearest of those that are.
pub(super) fn places(
    file: &str,
    names: &[String],
    found: &[String],
) -> Result<Vec<usize>, Failure> {
    let place = |name: &String| {
        let plain = name.strip_prefix('/').unwrap_or(name);
        found
            .iter()
            .position(|other| other == name || other == plain)
    };
    let missing: Vec<&str> = names
        .iter()
        .filter(|name| place(name).is_none())
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(names.iter().filter_map(place).collect());
    }
    Err(missing_columns(file, &missing, found))
}

/// The error for columns that are not there.
pub(crate) fn missing_columns(file: &str, missing: &[&str], found: &[String]) -> Failure {
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
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    backstop_core::text::sanitize(text.to_owned(), SHOWN_BYTES_MAX)
}
