//! `backstop policy rollback`: a former revision serves again, at once.

use super::activate::short;
use super::list::text;
use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::{Map, Value};

/// Arguments of `backstop policy rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the policy in the gateway
    name: String,
    /// Number of the revision [default: the one before]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Who is noted in the history
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Rolls back.
///
/// # Errors
///
/// There is no such policy or revision, or the gateway cannot be reached.
/// Nothing changes then.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let path = format!("/admin/v1/policies/{}/rollback", segment(&args.name));
    let mut request = Map::new();
    if let Some(to) = args.to {
        request.insert("to".to_owned(), to.into());
    }
    if let Some(by) = args.by {
        request.insert("by".to_owned(), by.into());
    }
    let answer = Admin::new(&args.admin)?
        .post(&path, &Value::Object(request))
        .await?;
    if args.json.json {
        output::json(&answer)?;
        return Ok(ExitCode::Ok);
    }
    let revision = &answer["revision"];
    output::line(format_args!(
        "{} `{}` to revision {} ({})",
        output::styled(output::GOOD, "rolled back"),
        args.name,
        text(&revision["number"]),
        short(&text(&revision["digest"])),
    ))?;
    Ok(ExitCode::Ok)
}
