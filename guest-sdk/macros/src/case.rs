//! serde's `rename_all` rules, for fields (written in snake case) and variants
//! (written in Pascal case).

/// A rule by its name in serde; none for a name that serde does not know.
pub(crate) fn apply(rule: &str, name: &str) -> Option<String> {
    let words = words(name);
    let lower = |separator: &str| words.join(separator);
    let pascal = || {
        words
            .iter()
            .map(|word| capitalised(word))
            .collect::<String>()
    };
    Some(match rule {
        "lowercase" => words.concat(),
        "UPPERCASE" => words.concat().to_uppercase(),
        "PascalCase" => pascal(),
        "camelCase" => uncapitalised(&pascal()),
        "snake_case" => lower("_"),
        "SCREAMING_SNAKE_CASE" => lower("_").to_uppercase(),
        "kebab-case" => lower("-"),
        "SCREAMING-KEBAB-CASE" => lower("-").to_uppercase(),
        _ => return None,
    })
}

/// For fields serde leaves the underscores alone in `lowercase` and
/// `UPPERCASE`.
pub(crate) fn apply_to_field(rule: &str, name: &str) -> Option<String> {
    match rule {
        "lowercase" => Some(name.to_owned()),
        "UPPERCASE" => Some(name.to_uppercase()),
        _ => apply(rule, name),
    }
}

/// The words of a name, in lower case: split at underscores and before capitals.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut fresh = true;
    for character in name.chars() {
        if character == '_' {
            fresh = true;
            continue;
        }
        if fresh || character.is_uppercase() {
            words.push(String::new());
            fresh = false;
        }
        if let Some(word) = words.last_mut() {
            word.extend(character.to_lowercase());
        }
    }
    words
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

fn uncapitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_do_what_serde_does() {
        for (rule, name, expected) in [
            ("lowercase", "RollBack", "rollback"),
            ("UPPERCASE", "RollBack", "ROLLBACK"),
            ("PascalCase", "roll_back", "RollBack"),
            ("camelCase", "roll_back", "rollBack"),
            ("camelCase", "RollBack", "rollBack"),
            ("snake_case", "RollBack", "roll_back"),
            ("SCREAMING_SNAKE_CASE", "RollBack", "ROLL_BACK"),
            ("kebab-case", "roll_back", "roll-back"),
            ("kebab-case", "RollBack", "roll-back"),
            ("SCREAMING-KEBAB-CASE", "roll_back", "ROLL-BACK"),
        ] {
            assert_eq!(apply(rule, name).as_deref(), Some(expected), "{rule}");
        }
        assert_eq!(apply("Nocase", "roll_back"), None);
        assert_eq!(
            apply_to_field("lowercase", "roll_back").as_deref(),
            Some("roll_back")
        );
        assert_eq!(
            apply_to_field("UPPERCASE", "roll_back").as_deref(),
            Some("ROLL_BACK")
        );
    }
}
