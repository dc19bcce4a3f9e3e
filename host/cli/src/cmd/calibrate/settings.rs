//! Settings of the policy `confidence-threshold`, with where they come from.

use super::report::Report;
use crate::failure::Failure;
use anyhow::Context;
use backstop_core::calibrate::{Answer, SegmentAnswer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Serialize)]
struct Settings {
    accept_at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    review_below: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    per_label: BTreeMap<String, Line>,
    provenance: Provenance,
}

#[derive(Debug, Serialize)]
struct Line {
    accept_at: f64,
}

/// As the policy's settings have it.
#[derive(Debug, Serialize)]
struct Provenance {
    data: String,
    sha256: String,
    rows: u64,
    wrong: u64,
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<f64>,
    coverage: f64,
    chosen_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    label_bounds: BTreeMap<String, f64>,
}

/// The file's text: JSON for a name that ends in `.json`, else TOML for the
/// policy of this name.
///
/// # Errors
///
/// There is nothing to set, or a segment has no threshold and answers with the
/// score 1, which no line keeps out.
pub(super) fn text(report: &Report, path: &Path, policy: &str) -> Result<String, Failure> {
    let settings = settings(report)?;
    let json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let text = if json {
        serde_json::to_string_pretty(&settings).context("write the settings as JSON")?
    } else {
        let named = BTreeMap::from([("settings", settings)]);
        let policies = BTreeMap::from([(policy, named)]);
        let whole = BTreeMap::from([("policies", policies)]);
        let text = toml::to_string(&whole).context("write the settings as TOML")?;
        format!("# Made by `backstop calibrate`; a part of the gateway's configuration.\n{text}")
    };
    Ok(text.trim_end().to_owned() + "\n")
}

fn settings(report: &Report) -> Result<Settings, Failure> {
    let (accept_at, coverage, bound) = report
        .line()
        .context("there is no threshold to write")
        .map_err(Failure::from)?;
    let mut per_label = BTreeMap::new();
    let mut label_bounds = BTreeMap::new();
    let mut open = Vec::new();
    for (name, segment) in &report.segments {
        match &segment.answer {
            SegmentAnswer::Overall { .. } => {}
            SegmentAnswer::Own(Answer::Found(choice)) => {
                let accept_at = choice.line.accept_at;
                per_label.insert(name.clone(), Line { accept_at });
                label_bounds.insert(name.clone(), choice.line.bound);
            }
            SegmentAnswer::Own(Answer::Infeasible(_)) if segment.at_one == 0 => {
                per_label.insert(name.clone(), Line { accept_at: 1.0 });
            }
            SegmentAnswer::Own(Answer::Infeasible(_)) => open.push(name.as_str()),
        }
    }
    if !open.is_empty() {
        return Err(Failure::usage(format!(
            "no threshold keeps the promise for `{}`, and answers there have the score 1, which no \
             line keeps out; send that label to review by other means, or ask for less",
            open.join("`, `")
        )));
    }
    let asked = report.question.as_ref();
    let method = match asked {
        Some(asked) => name_of(&asked.method)?,
        None => "cheapest".into(),
    };
    Ok(Settings {
        accept_at,
        review_below: report.cheapest.map(|priced| priced.review_below),
        per_label,
        provenance: Provenance {
            data: report.data.name.clone(),
            sha256: report.data.sha256.clone(),
            rows: report.data.rows,
            wrong: report.data.wrong,
            method,
            error_max: asked.map(|asked| asked.error_max),
            delta: asked.map(|asked| asked.delta),
            bound,
            coverage,
            chosen_at: report.made.chosen_at.clone(),
            release: report.made.release.clone(),
            label_bounds,
        },
    })
}

/// The name that a value has in JSON.
pub(super) fn name_of(value: &impl Serialize) -> anyhow::Result<String> {
    let value = serde_json::to_value(value).context("name a method")?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// Now, to the second, as RFC 3339 in UTC.
pub(super) fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc3339(now.map_or(0, |since| since.as_secs()))
}

/// Seconds since 1970 as a date; days by Howard Hinnant's civil calendar.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

/// True for a date as RFC 3339 has it, or a day alone; TOML's rules are the same.
pub(super) fn is_date(text: &str) -> bool {
    text.parse::<toml::value::Datetime>()
        .is_ok_and(|date| date.date.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
            assert!(is_date(expected));
        }
        assert!(is_date("2026-11-25"));
        for text in ["", "yesterday", "12:00:00", "2026-13-01"] {
            assert!(!is_date(text), "{text}");
        }
    }
}
