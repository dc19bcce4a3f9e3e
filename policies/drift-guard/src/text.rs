//! What holds, in words: for reasons and incidents.

use crate::judge::Evidence;
use crate::settings::{Kind, Reaction, Watch};
use backstop_sdk::text::{decimal, head};

/// Bytes of a name that a reason shows.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a reason before the rest is only counted: 1,024 are kept, and what
/// could not be done about an answer is said behind it.
const REASON_BYTES_MAX: usize = 800;
/// Longest key of an incident, in bytes, as the contract says.
const KEY_BYTES_MAX: usize = 128;
/// Longest title of an incident.
const TITLE_BYTES_MAX: usize = 256;

/// A reason that grows, and stops growing in time.
#[derive(Debug, Default)]
pub(crate) struct Reason {
    text: String,
    left_out: usize,
}

impl Reason {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, part: &str) {
        if self.text.len() + part.len() > REASON_BYTES_MAX {
            self.left_out += 1;
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(part);
    }

    pub(crate) fn into_text(mut self) -> String {
        if self.left_out > 0 {
            let rest = ["; and ", &self.left_out.to_string(), " more"].concat();
            self.text.push_str(&rest);
        }
        self.text
    }
}

/// Watches that say nothing about this answer.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) concern: usize,
    pub(crate) others: usize,
    pub(crate) quiet: usize,
    pub(crate) unknown: usize,
    pub(crate) not_asked: usize,
}

impl Counts {
    /// "no watch concerns this answer: 2 quiet, 1 without evidence".
    pub(crate) fn text(&self) -> String {
        let mut text = "no watch concerns this answer".to_owned();
        let mut separator = ": ";
        for (count, what) in [
            (self.others, " hold for other answers"),
            (self.quiet, " quiet"),
            (self.unknown, " without evidence"),
            (self.not_asked, " not asked"),
        ] {
            if count > 0 {
                text.push_str(separator);
                text.push_str(&count.to_string());
                text.push_str(what);
                separator = ", ";
            }
        }
        text
    }
}

/// On which side of the line the confidence is.
pub(crate) fn confidence(confidence: Option<f64>, line: f64) -> String {
    match confidence {
        None => "the answer has no confidence".to_owned(),
        Some(confidence) => {
            let side = if confidence < line {
                " is below "
            } else {
                " is at or above "
            };
            ["confidence ", &decimal(confidence), side, &decimal(line)].concat()
        }
    }
}

/// What a watch has seen: "`confidence` drifted: index 0.400 above 0.100".
pub(crate) fn watch(watch: &Watch, evidence: &Evidence) -> String {
    let metric = ["`", head(&watch.metric, NAME_BYTES_MAX), "`"].concat();
    let baseline = watch.baseline.as_deref().unwrap_or_default();
    let baseline = ["baseline `", head(baseline, NAME_BYTES_MAX), "`"].concat();
    let limit = watch.limit.unwrap_or(0.0);
    let side = match watch.kind {
        Kind::Above => " above ",
        Kind::Below | Kind::Drift => " below ",
    };
    match evidence {
        Evidence::NotAsked | Evidence::None => metric,
        Evidence::Drift(reading) => {
            let from = match watch.baseline {
                Some(_) => [" from ", &baseline].concat(),
                None => String::new(),
            };
            [
                &metric,
                " drifted",
                &from,
                ": index ",
                &decimal(reading.psi),
                " above ",
                &decimal(reading.critical.max(limit)),
            ]
            .concat()
        }
        Evidence::Number(measured) => [
            &metric,
            " is ",
            &decimal(measured.value),
            " with an error of ",
            &decimal(measured.standard_error),
            ",",
            side,
            &decimal(limit),
        ]
        .concat(),
        Evidence::Comparison(comparison) => [
            &metric,
            " is",
            side,
            &baseline,
            ": difference ",
            &decimal(comparison.effect),
            " (",
            &decimal(comparison.low),
            " to ",
            &decimal(comparison.high),
            "), of which ",
            &decimal(limit),
            " would not matter",
        ]
        .concat(),
    }
}

/// Names the problem: one incident for each watch and subject. The subject is
/// in front of the metric, so that a long name does not cut it off.
pub(crate) fn incident_key(watch: &Watch, subject: &str) -> String {
    let kind = match watch.kind {
        Kind::Drift => "drift",
        Kind::Below => "below",
        Kind::Above => "above",
    };
    let limit = decimal(watch.limit.unwrap_or(0.0));
    let baseline = watch.baseline.as_deref().unwrap_or_default();
    let key = [
        kind,
        " ",
        &limit,
        " ",
        head(subject, NAME_BYTES_MAX),
        " ",
        &watch.metric,
        " ",
        baseline,
    ];
    let key = key.concat();
    head(key.trim_end(), KEY_BYTES_MAX).to_owned()
}

/// The incident in one line.
pub(crate) fn incident_title(watch: &Watch, evidence: &Evidence, subject: &str) -> String {
    let title = [subject, ": ", &self::watch(watch, evidence)].concat();
    head(&title, TITLE_BYTES_MAX).to_owned()
}

/// The evidence, and what is done.
pub(crate) fn incident_detail(watch: &Watch, evidence: &Evidence, subject: &str) -> String {
    let samples = match evidence {
        Evidence::NotAsked | Evidence::None => String::new(),
        Evidence::Drift(reading) => against(reading.current_samples, reading.reference_samples),
        Evidence::Number(measured) => measured.samples.to_string(),
        Evidence::Comparison(comparison) => {
            against(comparison.candidate_samples, comparison.baseline_samples)
        }
    };
    let done = match watch.response {
        Reaction::Escalate => "go on to the next step",
        Reaction::Review => "go to review",
        Reaction::Note => "are only marked",
    };
    [
        &self::watch(watch, evidence),
        "\nof ",
        subject,
        ", from ",
        &samples,
        " samples in ",
        &watch.window_s.to_string(),
        " s\nmeanwhile ",
        &decimal(watch.share),
        " of the answers ",
        done,
    ]
    .concat()
}

fn against(current: u64, reference: u64) -> String {
    [&current.to_string(), " against ", &reference.to_string()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_counts_what_it_leaves_out() {
        let mut reason = Reason::new();
        for _ in 0..5 {
            reason.add(&"ä".repeat(150));
        }
        let text = reason.into_text();
        assert!(text.ends_with("; and 3 more"), "{text}");
        assert!(text.len() <= REASON_BYTES_MAX + 32, "{}", text.len());
    }
}
