//! Numbers and names in reasons, without the standard library's formatting of
//! floats, which would make a quarter of a small component.

/// A number with three decimals, cut rather than rounded, so that 0.7996 is
/// not shown as 0.800 beside a line of 0.8. What is no number, or infinite, is
/// `unknown`.
///
/// ```
/// use backstop_sdk::text::decimal;
///
/// assert_eq!(decimal(0.7996), "0.799");
/// assert_eq!(decimal(-12.5), "-12.500");
/// ```
pub fn decimal(value: f64) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    // A hair more than cut: 0.8 is 800 thousandths, though 0.29 * 1000 is a
    // little less than 290. Saturates far beyond anything that is measured.
    let thousandths = (value.abs() * 1_000.0 + 1e-6) as u64;
    let sign = if value < 0.0 && thousandths > 0 {
        "-"
    } else {
        ""
    };
    let rest = (thousandths % 1_000).to_string();
    let zeros = ["00", "0", ""][(rest.len() - 1).min(2)];
    [sign, &(thousandths / 1_000).to_string(), ".", zeros, &rest].concat()
}

/// The first `bytes_max` bytes of a text, cut at a character boundary: for
/// labels and names, which are not the policy's own text.
pub fn head(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or(text)
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
            (-1.0, "-1.000"),
            (-0.0004, "0.000"),
            (f64::NAN, "unknown"),
            (f64::INFINITY, "unknown"),
        ] {
            assert_eq!(decimal(value), expected, "{value}");
        }
        decimal(f64::MAX);
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(head("spam", 64), "spam");
        assert_eq!(head(&"ä".repeat(100), 63).len(), 62);
    }
}
