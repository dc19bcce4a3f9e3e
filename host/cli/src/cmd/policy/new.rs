//! `backstop policy new`: the crate of a new policy.

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use backstop_build::{NewPolicyError, SdkDependency};
use std::path::PathBuf;

/// Arguments of `backstop policy new`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the policy: a-z, 0-9 and -
    name: String,
    /// Folder to make it in; must be empty or missing [default: NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folder of the `backstop-sdk` crate, instead of a released version
    #[arg(long, value_name = "DIR", env = "BACKSTOP_SDK", hide_env_values = true)]
    sdk: Option<PathBuf>,
    #[command(flatten)]
    json: crate::args::JsonArg,
}

/// Where the SDK was when this command was built: there still, for whoever
/// built it from the repository.
const SDK_OF_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-sdk");

/// The SDK that fits this command.
fn sdk(asked: Option<PathBuf>) -> SdkDependency {
    let from_source = PathBuf::from(SDK_OF_SOURCE);
    match asked {
        Some(path) => SdkDependency::Path(path),
        None if from_source.join("Cargo.toml").is_file() => SdkDependency::Path(from_source),
        None => SdkDependency::Version(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

/// Makes the crate.
///
/// # Errors
///
/// The name is none, the folder is not empty, or a file cannot be written.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    let dir = args.dir.unwrap_or_else(|| PathBuf::from(&args.name));
    let files = backstop_build::new_policy(&dir, &args.name, &sdk(args.sdk)).map_err(|error| {
        let code = match error {
            NewPolicyError::Write { .. } => ExitCode::Failed,
            _ => ExitCode::Usage,
        };
        Failure::new(
            code,
            anyhow::Error::new(error).context(format!("make policy `{}`", args.name)),
        )
    })?;
    if args.json.json {
        output::json(&serde_json::json!({
            "name": args.name,
            "dir": dir,
            "files": files,
        }))?;
        return Ok(ExitCode::Ok);
    }
    for file in &files {
        output::line(format_args!("wrote {}", file.display()))?;
    }
    let shown = dir.display();
    output::line(format_args!(
        "\nnext:\n  cd {shown}\n  cargo test\n  backstop policy build\n  backstop policy inspect {}.wasm",
        args.name
    ))?;
    Ok(ExitCode::Ok)
}
