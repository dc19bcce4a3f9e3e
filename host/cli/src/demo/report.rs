//! What the demo found: the closing table and the JSON object.

use super::acts::Act;
use crate::output;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of one act.
#[derive(Debug, Clone)]
pub(crate) struct ActReport {
    pub(crate) act: Act,
    /// What was seen, in words.
    pub(crate) seen: Vec<String>,
    /// What was seen, in numbers.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What was not seen; none when the act was observed.
    pub(crate) missing: Option<String>,
    /// Requests of all routes during the act.
    pub(crate) requests: u64,
    /// Those without a good answer.
    pub(crate) failed: u64,
    pub(crate) duration: Duration,
}

impl ActReport {
    /// True when everything that the act is about was seen.
    pub(crate) fn observed(&self) -> bool {
        self.missing.is_none()
    }
}

/// What became of the demo.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) acts: Vec<ActReport>,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) duration: Duration,
}

/// An act, as `--json` has it.
#[derive(Serialize)]
struct ActJson<'a> {
    observed: bool,
    title: &'static str,
    seen: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'a str>,
    counts: &'a BTreeMap<&'static str, u64>,
    requests: u64,
    failed: u64,
    duration_ms: u64,
}

impl Report {
    /// True when every act was observed.
    pub(crate) fn observed(&self) -> bool {
        self.acts.len() == Act::ALL.len() && self.acts.iter().all(ActReport::observed)
    }

    /// One object, with a field for each act.
    pub(crate) fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("observed".to_owned(), self.observed().into());
        for report in &self.acts {
            let act = ActJson {
                observed: report.observed(),
                title: report.act.title(),
                seen: &report.seen,
                missing: report.missing.as_deref(),
                counts: &report.counts,
                requests: report.requests,
                failed: report.failed,
                duration_ms: millis(report.duration),
            };
            object.insert(report.act.key().to_owned(), json!(act));
        }
        object.insert("requests".to_owned(), self.requests.into());
        object.insert("failed".to_owned(), self.failed.into());
        object.insert("duration_ms".to_owned(), millis(self.duration).into());
        Value::Object(object)
    }

    /// Prints the closing table and a verdict.
    ///
    /// # Errors
    ///
    /// The output is closed.
    pub(crate) fn print(&self) -> Result<()> {
        let mut table =
            output::table(&["", "act", "what was seen", "requests", "failed", "seconds"]);
        for report in &self.acts {
            let seen = match &report.missing {
                None => report.seen.join("\n"),
                Some(missing) => missing.clone(),
            };
            table.add_row([
                if report.observed() { "✓" } else { "✗" }.to_owned(),
                report.act.title().to_owned(),
                // Rows of a piped table are lines; columns stay columns.
                if output::is_terminal() {
                    seen
                } else {
                    seen.replace('\n', "; ")
                },
                report.requests.to_string(),
                report.failed.to_string(),
                seconds(report.duration),
            ]);
        }
        output::line("")?;
        output::line(output::table_text(&table))?;
        output::line("")?;
        let verdict = if self.observed() {
            output::styled(output::GOOD, "every act was observed")
        } else {
            output::styled(output::BAD, "not every act was observed")
        };
        output::line(format_args!(
            "{verdict}: {} requests, {} failed, {} s",
            self.requests,
            self.failed,
            seconds(self.duration)
        ))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds with one decimal.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(act: Act, missing: Option<&str>) -> ActReport {
        ActReport {
            act,
            seen: vec!["something".to_owned()],
            counts: BTreeMap::from([("things", 3)]),
            missing: missing.map(str::to_owned),
            requests: 10,
            failed: 0,
            duration: Duration::from_millis(1_500),
        }
    }

    fn report(acts: Vec<ActReport>) -> Report {
        Report {
            acts,
            requests: 60,
            failed: 0,
            duration: Duration::from_secs(9),
        }
    }

    #[test]
    fn only_all_six_acts_make_a_demo() {
        let all = || Act::ALL.map(|each| act(each, None)).to_vec();
        assert!(report(all()).observed());
        assert!(!report(all()[..5].to_vec()).observed());
        let mut one_missing = all();
        one_missing[3] = act(Act::Canary, Some("no roll-back"));
        let report = report(one_missing);
        assert!(!report.observed());
        let json = report.json();
        assert_eq!(json["observed"], false);
        assert_eq!(json["canary"]["observed"], false);
        assert_eq!(json["canary"]["missing"], "no roll-back");
        assert_eq!(json["swap"]["observed"], true);
        assert_eq!(json["swap"]["counts"]["things"], 3);
    }
}
