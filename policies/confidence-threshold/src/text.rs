//! Why a line is stricter, in words.

use crate::judge::Quality;
use backstop_sdk::text::decimal;

/// Why the line is stricter: "; stricter because 80 of 100 …", or nothing.
pub(crate) fn dropped(quality: &Quality) -> String {
    match quality {
        Quality::Unknown => String::new(),
        Quality::AccuracyLow { accuracy, line } => [
            "; stricter because ",
            &accuracy.events.to_string(),
            " of ",
            &accuracy.trials.to_string(),
            " labelled answers were right, below ",
            &decimal(*line),
        ]
        .concat(),
        Quality::Drifted(reading) => [
            "; stricter because confidence drifted: index ",
            &decimal(reading.psi),
            " above ",
            &decimal(reading.critical),
        ]
        .concat(),
    }
}
