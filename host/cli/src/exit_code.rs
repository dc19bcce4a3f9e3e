//! Exit codes: what each number means, in one place.
//!
//! Every verb ends in one of these. `docs/cli.md` lists them from [`ExitCode::ALL`],
//! so a number has the same meaning in the code, in the docs and in scripts.

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// It did what it was asked.
    Ok,
    /// It was tried and failed.
    Failed,
    /// Arguments or a configuration are wrong; nothing was tried.
    Usage,
    /// A policy's component, settings or grants were refused.
    Refused,
    /// The admin plane of a gateway cannot be reached, or wants another token.
    Unreachable,
    /// Stopped by the person at the keyboard.
    Interrupted,
    /// Whoever read the output has gone.
    PipeClosed,
}

impl ExitCode {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [ExitCode; 7] = [
        ExitCode::Ok,
        ExitCode::Failed,
        ExitCode::Usage,
        ExitCode::Refused,
        ExitCode::Unreachable,
        ExitCode::Interrupted,
        ExitCode::PipeClosed,
    ];

    /// The number that the shell sees. 2 is what clap exits with as well; 130
    /// and 141 are what shells show for SIGINT and SIGPIPE.
    pub(crate) fn number(self) -> u8 {
        match self {
            ExitCode::Ok => 0,
            ExitCode::Failed => 1,
            ExitCode::Usage => 2,
            ExitCode::Refused => 3,
            ExitCode::Unreachable => 4,
            ExitCode::Interrupted => 130,
            ExitCode::PipeClosed => 141,
        }
    }

    /// What it means, for `docs/cli.md` and `--help`.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            ExitCode::Ok => "it did what it was asked",
            ExitCode::Failed => "it was tried and failed (for `demo`: an act was not observed)",
            ExitCode::Usage => "arguments or a configuration are wrong; nothing was tried",
            ExitCode::Refused => "a policy's component, settings or grants were refused",
            ExitCode::Unreachable => {
                "the admin plane of a gateway cannot be reached or wants another token"
            }
            ExitCode::Interrupted => "interrupted from the keyboard",
            ExitCode::PipeClosed => "whoever read the output has gone",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_means_one_thing() {
        let numbers: Vec<u8> = ExitCode::ALL.map(ExitCode::number).to_vec();
        let mut distinct = numbers.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(numbers, distinct, "in order and without repetition");
    }
}
