//! Settings of a policy, held against the schema that it described.
//!
//! All mistakes are reported at once, each with a JSON pointer and, for a key
//! that the schema does not know, the nearest one that it does.

use crate::error::{ActivationErrorKind, SettingsProblem};
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// Most mistakes that are reported.
const PROBLEMS_MAX: usize = 256;
/// Largest settings, as text, in bytes.
const SETTINGS_BYTES_MAX: usize = 256 << 10;

/// Checks `settings` (null is taken as `{}`) and returns their text for the
/// guest. An empty schema accepts everything.
///
/// # Errors
///
/// All mistakes, or what is wrong with the schema.
pub(crate) fn check(settings: &Value, schema: &str) -> Result<String, ActivationErrorKind> {
    let settings = match settings {
        Value::Null => Value::Object(serde_json::Map::new()),
        settings => settings.clone(),
    };
    let text = settings.to_string();
    if text.len() > SETTINGS_BYTES_MAX {
        let message = format!(
            "{} bytes of JSON, at most {SETTINGS_BYTES_MAX} are accepted",
            text.len()
        );
        let problems = vec![SettingsProblem {
            path: String::new(),
            message,
        }];
        return Err(ActivationErrorKind::Settings { problems });
    }
    if schema.is_empty() {
        return Ok(text);
    }
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| ActivationErrorKind::Schema(error.to_string()))?;
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| ActivationErrorKind::Schema(error.to_string()))?;
    let mut problems = Vec::new();
    for error in validator.iter_errors(&settings).take(PROBLEMS_MAX) {
        let path = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = properties(&schema, &path);
                problems.extend(unexpected.iter().map(|key| unknown_key(&path, key, &known)));
            }
            _ => problems.push(SettingsProblem {
                path,
                message: error.to_string(),
            }),
        }
    }
    if problems.is_empty() {
        Ok(text)
    } else {
        Err(ActivationErrorKind::Settings { problems })
    }
}

fn unknown_key(path: &str, key: &str, known: &[String]) -> SettingsProblem {
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3 + 1);
    let hint = match nearest {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None if known.is_empty() => "none is known here".to_owned(),
        None => format!("known are {}", known.join(", ")),
    };
    SettingsProblem {
        path: format!("{path}/{key}"),
        message: format!("unknown key; {hint}"),
    }
}

/// Names of the properties that the schema knows at `path`: followed through
/// `properties` and local `$ref`s as far as that goes.
fn properties(schema: &Value, path: &str) -> Vec<String> {
    let mut here = schema;
    for key in path.split('/').skip(1) {
        here = resolve(schema, here);
        here = match (
            here.pointer("/properties").and_then(|p| p.get(key)),
            here.get("items"),
        ) {
            (Some(property), _) => property,
            (None, Some(items)) if key.bytes().all(|c| c.is_ascii_digit()) => items,
            _ => return Vec::new(),
        };
    }
    let properties = resolve(schema, here)
        .get("properties")
        .and_then(Value::as_object);
    properties
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

fn resolve<'a>(schema: &'a Value, here: &'a Value) -> &'a Value {
    let target = here
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|target| target.strip_prefix('#'));
    target
        .and_then(|pointer| schema.pointer(pointer))
        .unwrap_or(here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> String {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["primary"],
            "properties": {
                "primary": {"type": "string"},
                "line": {"type": "number", "minimum": 0, "maximum": 1},
                "labels": {"type": "array", "items": {"$ref": "#/$defs/label"}}
            },
            "$defs": {"label": {
                "type": "object", "additionalProperties": false, "properties": {"name": {"type": "string"}}
            }}
        })
        .to_string()
    }

    fn problems(settings: &Value) -> Vec<String> {
        match check(settings, &schema()) {
            Err(ActivationErrorKind::Settings { problems }) => {
                problems.iter().map(ToString::to_string).collect()
            }
            other => panic!("expected mistakes, got {other:?}"),
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_the_nearest_key() {
        let found = problems(&json!({"primray": "a", "line": 1.5, "labels": [{"nmae": "x"}]}));
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found
                .iter()
                .any(|p| p.starts_with("/primray: unknown key; did you mean `primary`?")),
            "{found:?}"
        );
        assert!(
            found
                .iter()
                .any(|p| p.starts_with("/labels/0/nmae: unknown key; did you mean `name`?")),
            "{found:?}"
        );
        assert!(found.iter().any(|p| p.starts_with("/line: ")), "{found:?}");
        assert!(found.iter().any(|p| p.contains("required")), "{found:?}");
    }

    #[test]
    fn no_settings_are_an_empty_object() {
        assert_eq!(check(&Value::Null, "").unwrap(), "{}");
    }

    #[test]
    fn a_schema_that_is_none_is_the_policys_mistake() {
        assert!(matches!(
            check(&json!({}), "nonsense"),
            Err(ActivationErrorKind::Schema(_))
        ));
        assert!(matches!(
            check(&json!({}), r#"{"type": 3}"#),
            Err(ActivationErrorKind::Schema(_))
        ));
    }
}
