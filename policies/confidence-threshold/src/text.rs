//! The numbers in the reasons, without the standard library's formatting of
//! floats, which would make a quarter of the component.

use crate::judge::Quality;

/// Bytes of a label that a reason shows; labels are a model's own text.
const LABEL_BYTES_MAX: usize = 64;

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

/// The beginning of a label, cut at a character boundary.
pub(crate) fn head(label: &str) -> &str {
    label
        .get(..label.floor_char_boundary(LABEL_BYTES_MAX))
        .unwrap_or(label)
}

/// A number of at least 0 with three decimals, cut rather than rounded, so
/// that 0.7996 is not shown as 0.800 beside a line of 0.8.
pub(crate) fn decimal(value: f64) -> String {
    // A hair more than cut: 0.8 is 800 thousandths, though 0.29 * 1000 is a
    // little less than 290.
    let thousandths = (value * 1_000.0 + 1e-6) as u64;
    let rest = (thousandths % 1_000).to_string();
    let zeros = ["00", "0", ""][(rest.len() - 1).min(2)];
    [&(thousandths / 1_000).to_string(), ".", zeros, &rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_cut_and_never_panic() {
        for (value, expected) in [
            (0.0, "0.000"),
            (0.29, "0.290"),
            (0.8, "0.800"),
            (0.7996, "0.799"),
            (1.0, "1.000"),
            (0.005, "0.005"),
            (12.5, "12.500"),
            (f64::NAN, "0.000"),
            (-1.0, "0.000"),
        ] {
            assert_eq!(decimal(value), expected, "{value}");
        }
        decimal(f64::INFINITY);
    }

    #[test]
    fn labels_are_cut_between_characters() {
        assert_eq!(head("spam"), "spam");
        let long = "ä".repeat(100);
        assert_eq!(head(&long).len(), LABEL_BYTES_MAX);
    }
}
