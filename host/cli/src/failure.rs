//! How a verb fails: an error with its causes, and the exit code it means.
//!
//! Verbs add what they know with `anyhow`'s context and leave with `?`; the
//! code is `Failed` unless they say otherwise with [`OrExit::or_exit`]. The
//! chain is written once, at the edge, by [`render`].

use crate::exit_code::ExitCode;
use crate::output::OutputClosed;
use anyhow::Error;

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the shell is told.
    pub(crate) code: ExitCode,
    /// What the person is told.
    pub(crate) error: Error,
}

impl Failure {
    /// A failure with this code.
    pub(crate) fn new(code: ExitCode, error: impl Into<Error>) -> Self {
        Failure {
            code,
            error: error.into(),
        }
    }

    /// Wrong arguments: `text` says which and what would be right.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Failure::new(ExitCode::Usage, Error::msg(text.into()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = if error.is::<OutputClosed>() {
            ExitCode::PipeClosed
        } else {
            ExitCode::Failed
        };
        Failure { code, error }
    }
}

/// Says which exit code an error means.
pub(crate) trait OrExit<T> {
    /// The same result, with `code` for its error.
    fn or_exit(self, code: ExitCode) -> Result<T, Failure>;
}

impl<T, E: Into<Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: ExitCode) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error))
    }
}

/// The whole chain of causes in one text, outermost first.
///
/// A cause that the layer above has already put into its own text is not
/// repeated.
pub(crate) fn render(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let fragment = cause.to_string();
        if fragment.is_empty() || text.ends_with(&fragment) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&fragment);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_chain_is_written_once_and_whole() {
        let error = std::fs::read("/nowhere/at/all")
            .context("read `x`")
            .context("inspect `x`")
            .unwrap_err();
        assert_eq!(
            render(&error),
            "inspect `x`: read `x`: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_cause_that_was_interpolated_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("activate: {0}")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("the file is empty")]
        struct Inner;
        assert_eq!(
            render(&Error::new(Outer(Inner))),
            "activate: the file is empty"
        );
    }

    #[test]
    fn a_closed_output_has_its_own_exit_code() {
        let failure = Failure::from(Error::new(OutputClosed));
        assert_eq!(failure.code, ExitCode::PipeClosed);
        assert_eq!(Failure::from(Error::msg("x")).code, ExitCode::Failed);
    }
}
