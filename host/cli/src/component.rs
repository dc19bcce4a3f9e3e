//! Components as an operator names them: a file, or `builtin:NAME`; and the
//! sandbox in which they are looked into.

use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use anyhow::{Context, anyhow};
use backstop::{
    ActivationError, ActivationErrorKind, Grants, Host, HostOptions, PolicyOptions, RevisionInfo,
};
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// What names a shipped policy.
const BUILTIN: &str = "builtin:";

/// Reads at most this much of a component: what a host accepts unless it is
/// told otherwise, and one byte, by which it sees that there is more.
fn bytes_max() -> usize {
    HostOptions::default().component_bytes_max
}

/// Reads the component that `source` names.
///
/// # Errors
///
/// No such file or shipped policy; the latter names the nearest one.
pub(crate) fn read(source: &str) -> Result<Arc<[u8]>, Failure> {
    if let Some(name) = source.strip_prefix(BUILTIN) {
        return builtin(name);
    }
    read_file(Path::new(source))
        .with_context(|| format!("read component `{source}`"))
        .or_exit(ExitCode::Usage)
}

fn builtin(name: &str) -> Result<Arc<[u8]>, Failure> {
    backstop_policies::component(name)
        .map(Arc::from)
        .ok_or_else(|| {
            let names: Vec<&str> = backstop_policies::BUILTINS
                .iter()
                .map(|builtin| builtin.name)
                .collect();
            let nearest = names
                .iter()
                .copied()
                .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
            let mut text = format!("there is no shipped policy `{name}`");
            if let Some(nearest) = nearest.filter(|nearest| strsim::jaro(nearest, name) > 0.7) {
                let _ = write!(text, "; did you mean `{BUILTIN}{nearest}`?");
            } else {
                let _ = write!(text, "; there are `{}`", names.join("`, `"));
            }
            Failure::usage(text)
        })
}

fn read_file(path: &Path) -> std::io::Result<Arc<[u8]>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(bytes_max() as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// The name that a component is loaded under when it is only looked into: the
/// file's, as far as it can be one.
pub(crate) fn name_of(source: &str) -> String {
    let stem = Path::new(source.strip_prefix(BUILTIN).unwrap_or(source))
        .file_stem()
        .map(|stem| stem.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    let name: String = stem
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .take(64)
        .collect();
    if name.is_empty() {
        "policy".to_owned()
    } else {
        name
    }
}

/// Every grant there is, to find out what a component is. Nothing stands
/// behind the grants here: there are no metrics, models or incidents.
pub(crate) fn all_grants() -> Grants {
    Grants {
        metrics: vec!["*".to_owned()],
        models: vec!["*".to_owned()],
        state: true,
        log: true,
        incident: true,
        bodies: true,
        ..Grants::default()
    }
}

/// A host to look into components with: few instances, because one is used at
/// a time, and nothing kept on disk.
///
/// # Errors
///
/// When the sandbox does not start on this machine.
pub(crate) fn sandbox() -> Result<Host, Failure> {
    let options = HostOptions {
        instances_max: 4,
        records_max: 1,
        ..HostOptions::default()
    };
    Host::builder()
        .options(options)
        .build()
        .context("start the sandbox")
        .or_exit(ExitCode::Failed)
}

/// Takes `component` through every step of an activation but the swap.
///
/// # Errors
///
/// The step that refused it, with the code `Refused`.
pub(crate) async fn check(
    host: &Host,
    source: &str,
    component: Arc<[u8]>,
    options: PolicyOptions,
) -> Result<RevisionInfo, Failure> {
    let has_settings = !options.settings.is_null();
    host.check(&name_of(source), component, options)
        .await
        .map_err(|error| refused(source, error, has_settings))
}

/// A refusal in the words of the command line: by the file that was named, with
/// what to do next.
fn refused(source: &str, error: ActivationError, has_settings: bool) -> Failure {
    let hint = match &error.kind {
        ActivationErrorKind::Empty | ActivationErrorKind::NotWasm(_) => {
            Some("; build it with `backstop policy build`")
        }
        // One mistake to a line, so that the next step has a line as well.
        ActivationErrorKind::Settings { .. } if !has_settings => {
            Some("\nthe defaults do not do: give the settings with `--settings`")
        }
        _ => None,
    };
    // The kind, not the error: `activate policy` is not what was asked for.
    let mut text = crate::failure::render(&anyhow::Error::new(error.kind));
    if let Some(hint) = hint {
        text.push_str(hint);
    }
    Failure::new(
        ExitCode::Refused,
        anyhow!(text).context(format!("load `{source}`")),
    )
}

/// Settings as they are typed: JSON, or `@FILE` with JSON in it.
///
/// # Errors
///
/// The file cannot be read, or the text is not JSON.
pub(crate) fn settings(text: &str) -> Result<serde_json::Value, Failure> {
    let read;
    let (text, origin) = match text.strip_prefix('@') {
        None => (text, "settings"),
        Some(path) => {
            read = std::fs::read_to_string(path)
                .with_context(|| format!("read settings `{path}`"))
                .or_exit(ExitCode::Usage)?;
            (read.as_str(), path)
        }
    };
    serde_json::from_str(text)
        .with_context(|| format!("read `{origin}` as JSON"))
        .or_exit(ExitCode::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_from_what_was_typed() {
        assert_eq!(name_of("builtin:layered-fallback"), "layered-fallback");
        assert_eq!(name_of("/tmp/My Policy.wasm"), "mypolicy");
        assert_eq!(name_of("Ü.wasm"), "policy");
    }

    #[test]
    fn a_shipped_policy_that_is_misspelt_is_guessed() {
        let failure = read("builtin:layred-fallback").unwrap_err();
        assert_eq!(failure.code, ExitCode::Usage);
        let text = failure.error.to_string();
        assert!(
            text.contains("did you mean `builtin:layered-fallback`?"),
            "{text}"
        );
    }

    #[test]
    fn settings_are_json_or_a_file_with_json() {
        assert_eq!(settings("{\"a\":1}").unwrap()["a"], 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.json");
        std::fs::write(&path, "{\"b\":2}").unwrap();
        assert_eq!(settings(&format!("@{}", path.display())).unwrap()["b"], 2);
        assert_eq!(settings("{a}").unwrap_err().code, ExitCode::Usage);
        assert_eq!(settings("@/nowhere").unwrap_err().code, ExitCode::Usage);
    }
}
