//! The numbers for people: reasons, and the incident. Without the standard
//! library's formatting of floats, which would make a quarter of the
//! component.

use crate::assess::{Facts, Guard, Limit, LimitReading};
use crate::settings::Settings;
use backstop_sdk::metrics::ComparisonVerdict;

/// Longest key of an incident, in bytes, as the contract says.
const KEY_BYTES_MAX: usize = 128;
/// Longest title of an incident.
const TITLE_BYTES_MAX: usize = 256;
/// Longest detail of an incident.
const DETAIL_BYTES_MAX: usize = 4 * 1_024;

/// "error rate 0.400 of 50 calls is above the limit 0.200".
pub(crate) fn limit(reading: &LimitReading) -> String {
    let (name, side) = match reading.limit {
        Limit::ErrorRate => ("error-rate", "above"),
        Limit::LatencyP95 => ("latency-ms p95", "above"),
        Limit::Confidence => ("confidence", "below"),
    };
    match &reading.reading {
        Ok((value, samples)) => [
            name,
            " ",
            &decimal(*value),
            " over ",
            &samples.to_string(),
            " samples: the limit is ",
            &decimal(reading.line),
            ", and it must not be ",
            side,
        ]
        .concat(),
        Err(why) => [name, ": ", why].concat(),
    }
}

/// "error-rate is worse by 0.048 (0.021 to 0.075), margin 0.010, 400 against
/// 3600 samples".
pub(crate) fn guard(guard: &Guard, settings: &Settings) -> String {
    let name = guard.guardrail.metric();
    let comparison = match &guard.comparison {
        Ok(comparison) => comparison,
        Err(why) => return [name, ": no evidence: ", why].concat(),
    };
    let samples = [
        &comparison.candidate_samples.to_string(),
        " against ",
        &comparison.baseline_samples.to_string(),
        " samples",
    ]
    .concat();
    let word = match comparison.verdict {
        ComparisonVerdict::Better => "better",
        ComparisonVerdict::Equivalent => "equivalent",
        ComparisonVerdict::Worse => "worse",
        ComparisonVerdict::NotEnoughData => {
            let enough = u64::from(settings.samples_min);
            let few = comparison
                .candidate_samples
                .min(comparison.baseline_samples)
                < enough;
            let why = if few {
                [", at least ", &settings.samples_min.to_string(), " needed"].concat()
            } else {
                " do not decide yet".to_owned()
            };
            return [name, ": ", &samples, &why].concat();
        }
    };
    [
        name,
        " is ",
        word,
        ": difference ",
        &decimal(comparison.effect),
        " (",
        &decimal(comparison.low),
        " to ",
        &decimal(comparison.high),
        "), margin ",
        &decimal(settings.margin(guard.guardrail)),
        ", ",
        &samples,
    ]
    .concat()
}

/// All guardrails in one line.
pub(crate) fn guards(guards: &[Guard], settings: &Settings) -> String {
    let each: Vec<String> = guards.iter().map(|one| guard(one, settings)).collect();
    each.join("; ")
}

/// All is well, and it is too early.
pub(crate) fn dwell(left_s: u64) -> String {
    [
        "no guardrail is worse; stays at this share for another ",
        &left_s.to_string(),
        " s",
    ]
    .concat()
}

/// The time for a decision has run out.
pub(crate) fn time_is_up(duration_s: u32, why: &str) -> String {
    ["not decided within ", &duration_s.to_string(), " s: ", why].concat()
}

/// Names the problem: one incident for each candidate.
pub(crate) fn incident_key(model: &str, candidate: &str) -> String {
    head(
        ["rolled-back ", model, " ", candidate].concat(),
        KEY_BYTES_MAX,
    )
}

/// The incident in one line.
pub(crate) fn incident_title(model: &str, candidate: &str) -> String {
    head(
        [
            "release `",
            candidate,
            "` of model `",
            model,
            "` is rolled back",
        ]
        .concat(),
        TITLE_BYTES_MAX,
    )
}

/// The evidence: what decided, then every reading.
pub(crate) fn incident_detail(reason: &str, facts: &Facts, settings: &Settings) -> String {
    let mut lines = vec![["because: ", reason].concat()];
    lines.extend(facts.limits.iter().map(limit));
    lines.extend(facts.guards.iter().map(|one| guard(one, settings)));
    head(lines.join("\n"), DETAIL_BYTES_MAX)
}

/// The beginning of a text, cut at a character boundary.
fn head(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// A number with three decimals, rounded.
pub(crate) fn decimal(value: f64) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    // Saturates far beyond anything that is measured here.
    let thousandths = (value.abs() * 1_000.0 + 0.5) as u64;
    let sign = if value < 0.0 && thousandths > 0 {
        "-"
    } else {
        ""
    };
    let rest = (thousandths % 1_000).to_string();
    let zeros = match rest.len() {
        1 => "00",
        2 => "0",
        _ => "",
    };
    [sign, &(thousandths / 1_000).to_string(), ".", zeros, &rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_rounded_and_never_panic() {
        for (value, expected) in [
            (0.0, "0.000"),
            (-0.0001, "0.000"),
            (-0.048, "-0.048"),
            (0.0496, "0.050"),
            (1_234.5, "1234.500"),
            (f64::NAN, "unknown"),
            (f64::NEG_INFINITY, "unknown"),
        ] {
            assert_eq!(decimal(value), expected, "{value}");
        }
        decimal(f64::MAX);
    }

    #[test]
    fn incidents_stay_within_their_limits() {
        let long = "ä".repeat(300);
        assert!(incident_key(&long, &long).len() <= KEY_BYTES_MAX);
        assert!(incident_title(&long, &long).len() <= TITLE_BYTES_MAX);
    }
}
