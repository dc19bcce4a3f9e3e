//! Text that came from outside: cut to a length and made safe to show.
//!
//! Guests, providers and callers choose these strings; logs, terminals and
//! records show them.

/// Longest text that says why something was decided; `reason` in the contract.
pub const REASON_BYTES_MAX: usize = 1024;

/// `text` cut to at most `bytes_max` bytes at a character boundary.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `text` cut to `bytes_max` bytes, with control characters (line breaks and
/// terminal escapes included) replaced by `U+FFFD`, so that it stays on its
/// line wherever it is shown. Allocates only where something changes.
pub fn sanitize(mut text: String, bytes_max: usize) -> String {
    let end = cut(&text, bytes_max).len();
    text.truncate(end);
    // Nearly all texts are plain, and this is seen at a glance.
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !plain && text.chars().any(char::is_control) {
        text = text
            .chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        let end = cut(&text, bytes_max).len();
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("häuser", 2), "h");
        assert_eq!(cut("häuser", 3), "hä");
        assert_eq!(cut("abc", 9), "abc");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(
            sanitize("a\x1b[31mb\nc".into(), 64),
            "a\u{fffd}[31mb\u{fffd}c"
        );
        assert!(sanitize("\n".repeat(100), 10).len() <= 10);
    }
}
