//! The valid word that somebody probably meant.

/// Edits between two words; letters that changed places count once.
pub(super) fn distance(a: &str, b: &str) -> usize {
    strsim::damerau_levenshtein(a, b)
}

/// Longest word that is compared: comparing costs the product of the lengths.
const WORD_BYTES_MAX: usize = 128;

/// The word among `valid` that `word` is most like; none when nothing is near.
pub(super) fn nearest<'v>(word: &str, valid: impl IntoIterator<Item = &'v str>) -> Option<&'v str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.', ' '], "_");
    let word = plain(word);
    valid
        .into_iter()
        .filter_map(|candidate| {
            let other = plain(candidate);
            let edits = distance(&word, &other);
            let longer = word.chars().count().max(other.chars().count());
            let is_near = edits <= 1 + longer / 4
                || strsim::jaro_winkler(&word, &other) >= 0.88
                || is_part_of(&word, &other);
            // Of words as many edits away, the one with the same beginning.
            let likeness = strsim::jaro_winkler(&word, &other);
            (is_near && edits < longer).then_some((candidate, edits, likeness))
        })
        .min_by(|a, b| a.1.cmp(&b.1).then(b.2.total_cmp(&a.2)))
        .map(|(candidate, ..)| candidate)
}

/// `timeout` for `timeout_ms`, `body_max` for none.
fn is_part_of(word: &str, other: &str) -> bool {
    let (short, long) = if word.len() < other.len() {
        (word, other)
    } else {
        (other, word)
    };
    short.len() >= 4
        && long
            .strip_prefix(short)
            .is_some_and(|rest| rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let valid = [
            "fallback",
            "threshold",
            "timeout_ms",
            "kind",
            "models",
            "idle_ms",
        ];
        for (word, meant) in [
            ("faillback", Some("fallback")),
            ("FALLBACK", Some("fallback")),
            ("treshold", Some("threshold")),
            ("timeout", Some("timeout_ms")),
            ("timeout-ms", Some("timeout_ms")),
            ("model", Some("models")),
            ("knid", Some("kind")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, valid), meant, "{word}");
        }
    }
}
