//! Secrets: values that are used and never shown.
//!
//! Every key, token and header value of the configuration is held in a
//! [`Secret`]. Nothing that formats or serialises a configuration can print
//! one: the text leaves only through [`Secret::expose`].

use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A secret text. Cheap to clone; `Debug` and `Display` show a placeholder.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Holds `text` as a secret.
    pub fn new(text: impl Into<Arc<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when `given` is the secret. Takes as long for a wrong guess as for
    /// a right one of the same length.
    pub fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// What is shown in place of a secret.
const PLACEHOLDER: &str = "[secret]";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACEHOLDER)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_by_any_format() {
        let secret = Secret::new("hunter2");
        for shown in [
            format!("{secret}"),
            format!("{secret:?}"),
            format!("{secret:#?}"),
        ] {
            assert_eq!(shown, PLACEHOLDER);
        }
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_secret_matches_itself_only() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches("hunter2"));
        for other in ["hunter", "hunter22", "Hunter2", ""] {
            assert!(!secret.matches(other), "{other} passed");
        }
    }
}
