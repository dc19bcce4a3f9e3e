//! Where a line comes from, in words.

use crate::judge::{Evidence, Labels, Sign, base, signs};
use crate::settings::Settings;
use backstop_sdk::text::{decimal, head};

/// Bytes of a name that a reason shows.
const NAME_BYTES_MAX: usize = 64;

/// Behind the line: ": 0.800 as calibrated, 0.050 more because …".
pub(crate) fn line(settings: &Settings, evidence: &Evidence) -> String {
    let mut text = [": ", &decimal(base(settings, &evidence.labels))].concat();
    match &evidence.labels {
        Labels::Promise(line) if line.confidence > settings.accept_at => {
            let numbers = [
                " as labels promise (",
                &line.wrong.to_string(),
                " of ",
                &line.accepted.to_string(),
                " were wrong above ",
                &decimal(line.confidence),
                ", bound ",
                &decimal(line.bound),
                ")",
            ];
            text.push_str(&numbers.concat());
        }
        Labels::Infeasible(labels) => {
            let numbers = [
                ", the ceiling, since ",
                &labels.to_string(),
                " labelled answers promise no line",
            ];
            text.push_str(&numbers.concat());
        }
        Labels::Promise(_) | Labels::Unknown => text.push_str(" as calibrated"),
    }
    if settings.tighten_by > 0.0 {
        for one in signs(settings, evidence) {
            text.push_str(", ");
            text.push_str(&decimal(settings.tighten_by));
            text.push_str(" more because ");
            text.push_str(&sign(settings, &one));
        }
    }
    text
}

fn sign(settings: &Settings, sign: &Sign) -> String {
    match sign {
        Sign::Drifted(reading) => {
            let from = match &settings.baseline {
                Some(name) => [" from baseline `", head(name, NAME_BYTES_MAX), "`"].concat(),
                None => String::new(),
            };
            [
                "confidence drifted",
                &from,
                ": index ",
                &decimal(reading.psi),
                " above ",
                &decimal(reading.critical),
            ]
            .concat()
        }
        Sign::Firing(status) => {
            let name = settings.objective.as_deref().unwrap_or_default();
            [
                "objective `",
                head(name, NAME_BYTES_MAX),
                "` burns ",
                &decimal(status.burn_rate),
                " times as fast as it may",
            ]
            .concat()
        }
        Sign::EstimateLow(estimate) => [
            "accuracy is estimated at ",
            &decimal(estimate.value),
            " with an error of ",
            &decimal(estimate.standard_error),
            ", below ",
            &decimal(1.0 - settings.error_max),
        ]
        .concat(),
    }
}
