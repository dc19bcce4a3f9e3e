//! `backstop policy build`: from a policy's crate to a component that was
//! loaded once.

use crate::component;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use crate::output;
use anyhow::Context;
use backstop::{DecisionPoint, PolicyOptions, RevisionInfo};
use backstop_build::{BuildError, Built, Options, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `backstop policy build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the policy's crate
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to write the component [default: DIR/PACKAGE.wasm]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep the names of functions: traps become readable, the component larger
    #[arg(long)]
    keep_names: bool,
    /// Never use the network
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    json: crate::args::JsonArg,
}

/// What was built.
#[derive(Serialize)]
struct Report<'a> {
    package: &'a str,
    component: &'a Path,
    bytes: usize,
    digest: &'a str,
    imports: &'a [String],
    exports: &'a [String],
    memory_bytes: u64,
}

/// Builds, writes and loads the component once.
///
/// # Errors
///
/// What the compiler says; or the sandbox refuses what it made. The file is
/// written only when the build was well.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let options = Options::new(args.dir.join("target").join("policy"))
        .progress(if args.json.json {
            Progress::Kept
        } else {
            Progress::Passed
        })
        .keep_names(args.keep_names)
        .offline(args.offline);
    let built = build(args.dir.clone(), options).await?;
    let out = args
        .out
        .unwrap_or_else(|| args.dir.join(format!("{}.wasm", built.package)));
    write(&out, &built.component)
        .with_context(|| format!("write component `{}`", out.display()))
        .or_exit(ExitCode::Failed)?;
    let revision = try_out(&out, &built).await?;
    show(&out, &built, args.json.json)?;
    if let Some(revision) = revision.filter(|_| !args.json.json) {
        show_use(&out, &built, &revision)?;
    }
    Ok(ExitCode::Ok)
}

async fn build(dir: PathBuf, options: Options) -> Result<Built, Failure> {
    let spinner = spinner(format!("building {}", dir.display()), &options);
    let shown = dir.display().to_string();
    let building =
        tokio::task::spawn_blocking(move || backstop_build::build_policy(&dir, &options)).await;
    spinner.finish_and_clear();
    let result = building
        .context("run the build")
        .or_exit(ExitCode::Failed)?;
    result.map_err(|error| {
        let code = match error {
            BuildError::NoCrate { .. } | BuildError::NotACdylib { .. } => ExitCode::Usage,
            _ => ExitCode::Failed,
        };
        Failure::new(
            code,
            anyhow::Error::new(error).context(format!("build `{shown}`")),
        )
    })
}

/// A spinner where nothing else is shown: cargo has a progress bar of its own.
fn spinner(message: String, options: &Options) -> ProgressBar {
    if options.progress == Progress::Passed {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    let spinner = ProgressBar::new_spinner()
        .with_message(message)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Writes beside the file and renames, so that a gateway that watches it never
/// reads half a component.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is for its owner only; a component is no secret.
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}

/// Loads the component as a gateway would, so that a mistake shows here. Its
/// settings may have no defaults; that is no mistake of the component.
async fn try_out(out: &Path, built: &Built) -> Result<Option<RevisionInfo>, Failure> {
    let host = component::sandbox()?;
    let options = PolicyOptions {
        grants: component::all_grants(),
        ..PolicyOptions::default()
    };
    let name = component::name_of(&built.package);
    match host.check(&name, built.component.clone(), options).await {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if matches!(error.kind, backstop::ActivationErrorKind::Settings { .. }) => {
            output::note(format_args!(
                "{} the policy has settings without defaults",
                output::styled(output::WARN, "note:")
            ));
            Ok(None)
        }
        Err(error) => Err(Failure::new(
            ExitCode::Refused,
            anyhow::Error::new(error.kind).context(format!(
                "built `{}`, but the sandbox refuses it",
                out.display()
            )),
        )),
    }
}

fn show(out: &Path, built: &Built, json: bool) -> Result<(), Failure> {
    let inspection = &built.inspection;
    let report = Report {
        package: &built.package,
        component: out,
        bytes: inspection.bytes,
        digest: &inspection.digest,
        imports: &inspection.imports,
        exports: &inspection.exports,
        memory_bytes: inspection.memory_pages * super::inspect::PAGE_BYTES,
    };
    if json {
        output::json(&report)?;
        return Ok(());
    }
    output::line(format_args!(
        "{} {}",
        output::styled(output::GOOD, "built"),
        output::styled(output::STRONG, out.display())
    ))?;
    output::line(format_args!("  size     {}", output::bytes(report.bytes)))?;
    output::line(format_args!("  digest   sha256:{}", report.digest))?;
    output::line(format_args!("  exports  {}", report.exports.join(", ")))?;
    output::line(format_args!(
        "  imports  {}",
        if report.imports.is_empty() {
            "nothing".to_owned()
        } else {
            report.imports.join(", ")
        }
    ))?;
    Ok(())
}

/// The configuration with which the component decides in the demo's routes.
fn show_use(out: &Path, built: &Built, revision: &RevisionInfo) -> Result<(), Failure> {
    let grants = super::inspect::grants_of(&built.inspection, &revision.description.wants);
    let grants = if grants.is_empty() {
        String::new()
    } else {
        format!(", grants = {}", super::inspect::inline(&grants))
    };
    let name = &built.package;
    output::line(format_args!(
        "\nto let it decide, in a configuration (component paths are relative to it):\n  \
         include = \"builtin:demo\"\n  \
         policies.{name} = {{ component = \"{}\"{grants} }}",
        out.display()
    ))?;
    for point in &revision.points {
        let place = match point {
            DecisionPoint::Fallback => "routes.chat.fallback",
            DecisionPoint::Threshold => "routes.chat.threshold",
            DecisionPoint::Rollback => "models.fraud.rollout.policy",
        };
        output::line(format_args!("  {place} = \"{name}\""))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_replaced_as_a_whole_and_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.wasm");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
