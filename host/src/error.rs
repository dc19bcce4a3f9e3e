//! Errors of the host, one type for each operation.

use crate::record::{DecisionPoint, FailureKind};
use std::fmt;

/// Why a host was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option is out of range.
    #[error("host option `{option}` is {value}, must be {range}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What it was.
        value: u64,
        /// What would be right.
        range: &'static str,
    },
    /// The engine could not be made; most often the machine gives too little
    /// address space.
    #[error("start the sandbox (try a smaller `instances_max` or `memory_bytes_max`)")]
    Engine(#[source] SandboxError),
    /// The folder for compiled code cannot be used.
    #[error("use `{path}` for compiled code")]
    Cache {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder for compiled code belongs to somebody else, or others may
    /// write to it.
    #[error(
        "`{path}` must belong to this user and be writable by nobody else, because code is read back from it"
    )]
    CacheNotPrivate {
        /// The folder.
        path: String,
    },
    /// A limit of the sandbox did not stop a guest that must be stopped.
    #[error("self-test: {0}; refusing to run policies")]
    SelfTest(String),
}

/// An error of the sandbox below the host: text and causes.
#[derive(Debug)]
pub struct SandboxError(String);

impl SandboxError {
    pub(crate) fn new(error: &wasmtime::Error) -> Self {
        SandboxError(format!("{error:#}"))
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        SandboxError(text.into())
    }
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SandboxError {}

/// Why a component was not activated. The revision that served before, if
/// there was one, still serves.
///
/// Its text holds that of `kind`, so its source is what caused that one.
#[derive(Debug)]
pub struct ActivationError {
    /// Name of the policy.
    pub policy: String,
    /// Number of the revision that still serves.
    pub serving: Option<u64>,
    /// What is wrong.
    pub kind: ActivationErrorKind,
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "activate policy `{}`: {}", self.policy, self.kind)
    }
}

impl std::error::Error for ActivationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

/// One mistake in a policy's settings.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SettingsProblem {
    /// JSON pointer into the settings; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        write!(f, "{path}: {}", self.message)
    }
}

/// What is wrong with a component or its options, by the step of the
/// activation that found it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationErrorKind {
    /// The name cannot be used.
    #[error("`{0}` is no name for a policy: use 1 to 64 characters of a-z, 0-9, - and _")]
    Name(String),
    /// An option is out of range.
    #[error("option `{option}` is {value}, must be {range}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What it was.
        value: u64,
        /// What would be right.
        range: &'static str,
    },
    /// The file is larger than the host accepts.
    #[error("the file has {bytes} bytes, at most {bytes_max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit (`HostOptions::component_bytes_max`).
        bytes_max: usize,
    },
    /// Compiling the component would take too long for what is in it.
    #[error(
        "the component has {count} {what}, at most {max} are accepted; \
         build it optimised, and leave out what no decision needs"
    )]
    TooComplex {
        /// What was counted.
        what: &'static str,
        /// How many there are, as far as was counted.
        count: u64,
        /// The limit.
        max: u64,
    },
    /// Loading took too long. What was begun ends by itself and is dropped.
    #[error(
        "loading the component took longer than {limit_ms} ms (`load_ms_max` and the policy's \
         `limits.load_deadline_ms`); make it smaller, or try again when the machine is less busy"
    )]
    TooSlow {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// As many components as may be loaded at once still are.
    #[error("{0} other components are still being loaded; try again when they are done")]
    Busy(usize),
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The file is a core module.
    #[error(
        "the file is a core WebAssembly module, not a component; build it with `backstop policy build`"
    )]
    CoreModule,
    /// The file is no WebAssembly.
    #[error("the file is not WebAssembly (it begins with {0})")]
    NotWasm(String),
    /// The component is broken or uses features that policies may not use.
    #[error("the component is not valid")]
    Invalid(#[source] SandboxError),
    /// The component was built against another version of the contract.
    #[error(
        "the component was built against `backstop:policy@{found}`, this host offers `{offered}`; \
         rebuild it with a `backstop-sdk` of that version"
    )]
    ContractVersion {
        /// The version that it wants.
        found: String,
        /// The version of this host.
        offered: &'static str,
    },
    /// The component imports something that no policy gets.
    #[error("the component imports `{import}`, which is not part of `backstop:policy`; {hint}")]
    UnknownImport {
        /// The import.
        import: String,
        /// What to do.
        hint: &'static str,
    },
    /// The component imports something that it was not granted.
    #[error(
        "the component imports {}; allow it with {}, \
         which an import takes even where the settings make no use of it",
        list(imports),
        list(grants)
    )]
    NotGranted {
        /// The imports.
        imports: Vec<String>,
        /// The grants that would allow them.
        grants: Vec<String>,
    },
    /// The component does not export what a policy exports.
    #[error(
        "the component does not export `{missing}`; it is of another world (it exports {})",
        list(exports)
    )]
    World {
        /// What is missing.
        missing: String,
        /// What is there.
        exports: Vec<String>,
    },
    /// The component does not decide where it is asked.
    #[error(
        "the component does not decide at `{point}`, where this policy is asked (it decides at {}); \
         activate one that exports `{point}`, or bind another policy there first",
        list(exports)
    )]
    MissingPoint {
        /// The first decision point that is missing.
        point: DecisionPoint,
        /// The decision points that the component exports.
        exports: Vec<DecisionPoint>,
    },
    /// The component could not be linked.
    #[error("the component does not fit the contract")]
    Link(#[source] SandboxError),
    /// The guest failed in a step of the activation.
    #[error("`{step}` failed ({}): {detail}", kind.as_str())]
    Guest {
        /// `start`, `describe`, `configure` or `canary`.
        step: &'static str,
        /// How it failed.
        kind: FailureKind,
        /// For people.
        detail: String,
    },
    /// The description is out of range.
    #[error("`describe` returned something invalid: {0}")]
    Description(String),
    /// The settings' schema is no JSON Schema.
    #[error("the policy's settings schema is not valid: {0}")]
    Schema(String),
    /// The settings are wrong.
    #[error("the settings have {} mistake{}:{}", problems.len(), if problems.len() == 1 { "" } else { "s" }, lines(problems))]
    Settings {
        /// Every mistake that was found.
        problems: Vec<SettingsProblem>,
    },
    /// The state after `configure` could not be kept.
    #[error("keep the configured state")]
    Snapshot(#[source] SandboxError),
    /// Instances of the component cannot be put back, as `isolation = "reset"`
    /// asks for.
    #[error("its instances cannot be put back after a decision: {0}; set `isolation` to `fresh`")]
    NoReset(String),
    /// The host ended its work before the activation did.
    #[error("the host is shutting down")]
    Cancelled,
    /// Loading the component made the host's own code panic, which is a defect
    /// of the host; the log has the place.
    #[error("loading it made the host panic; report this with the component")]
    Panicked,
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items
        .iter()
        .map(|item| format!("`{item}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn lines(problems: &[SettingsProblem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}

/// Why a policy was not rolled back. Nothing was changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollBackError {
    /// There is no such policy.
    #[error("there is no policy `{0}`")]
    UnknownPolicy(String),
    /// The policy has no earlier revision that is ready.
    #[error("policy `{0}` has no earlier revision that is ready")]
    NoPrevious(String),
    /// The revision is not ready.
    #[error("revision {number} of policy `{policy}` is not ready (ready are {ready:?})")]
    NotReady {
        /// The policy.
        policy: String,
        /// The revision that was asked for.
        number: u64,
        /// Revisions that are ready.
        ready: Vec<u64>,
    },
    /// The revision does not decide where the policy is asked now.
    #[error(
        "revision {number} of policy `{policy}` does not decide at `{point}`, where the policy is \
         asked; name another revision, or bind another policy there first"
    )]
    MissingPoint {
        /// The policy.
        policy: String,
        /// The revision that would have served.
        number: u64,
        /// The first decision point that is missing.
        point: DecisionPoint,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    /// The texts of an error and of everything that caused it.
    fn chain(error: &dyn Error) -> Vec<String> {
        let mut texts = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            texts.push(error.to_string());
            cause = error.source();
        }
        texts
    }

    fn check(error: &dyn Error, cause: Option<&str>) {
        let texts = chain(error);
        assert_eq!(texts.get(1).map(String::as_str), cause, "{texts:?}");
        for (position, text) in texts.iter().enumerate() {
            let above = &texts[..position];
            assert!(!above.iter().any(|above| above.contains(text)), "{texts:?}");
        }
    }

    #[test]
    fn every_cause_is_told_once() {
        use ActivationErrorKind as Kind;
        let sandbox = || SandboxError::text("the sandbox said so");
        let said = Some("the sandbox said so");
        let names = || vec!["a".to_owned()];
        let problem = SettingsProblem {
            path: "/a".to_owned(),
            message: "is wrong".to_owned(),
        };
        for (kind, cause) in [
            (Kind::Name("N".to_owned()), None),
            (
                Kind::Option {
                    option: "o",
                    value: 0,
                    range: "1",
                },
                None,
            ),
            (
                Kind::TooLarge {
                    bytes: 2,
                    bytes_max: 1,
                },
                None,
            ),
            (
                Kind::TooComplex {
                    what: "functions",
                    count: 2,
                    max: 1,
                },
                None,
            ),
            (Kind::TooSlow { limit_ms: 1 }, None),
            (Kind::Busy(2), None),
            (Kind::Empty, None),
            (Kind::CoreModule, None),
            (Kind::NotWasm("00".to_owned()), None),
            (Kind::Invalid(sandbox()), said),
            (
                Kind::ContractVersion {
                    found: "0.2.0".to_owned(),
                    offered: crate::contract::VERSION,
                },
                None,
            ),
            (
                Kind::UnknownImport {
                    import: "a".to_owned(),
                    hint: "remove it",
                },
                None,
            ),
            (
                Kind::NotGranted {
                    imports: names(),
                    grants: names(),
                },
                None,
            ),
            (
                Kind::World {
                    missing: "a".to_owned(),
                    exports: names(),
                },
                None,
            ),
            (
                Kind::MissingPoint {
                    point: DecisionPoint::Fallback,
                    exports: vec![DecisionPoint::Threshold],
                },
                None,
            ),
            (Kind::Link(sandbox()), said),
            (
                Kind::Guest {
                    step: "canary",
                    kind: FailureKind::Trap,
                    detail: "unreachable".to_owned(),
                },
                None,
            ),
            (Kind::Description("no name".to_owned()), None),
            (Kind::Schema("no object".to_owned()), None),
            (
                Kind::Settings {
                    problems: vec![problem],
                },
                None,
            ),
            (Kind::Snapshot(sandbox()), said),
            (Kind::Cancelled, None),
            (Kind::Panicked, None),
            (Kind::NoReset("it has no memory".to_owned()), None),
        ] {
            let error = ActivationError {
                policy: "p".to_owned(),
                serving: Some(1),
                kind,
            };
            let kind = error.kind.to_string();
            assert!(error.to_string().contains(&kind), "{error}");
            check(&error, cause);
        }
        check(&StartError::Engine(sandbox()), said);
        let path = || "/data".to_owned();
        let io = || std::io::Error::other("the disk said so");
        check(
            &StartError::Cache {
                path: path(),
                source: io(),
            },
            Some("the disk said so"),
        );
        check(&StartError::CacheNotPrivate { path: path() }, None);
        check(&StartError::SelfTest("loop".to_owned()), None);
    }
}
