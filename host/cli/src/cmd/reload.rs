//! `backstop reload`: a running gateway reads its configuration again.

use crate::admin::Admin;
use crate::args::{AdminArgs, JsonArg};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use serde_json::Value;

/// Arguments of `backstop reload`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Reloads, and says whether the configuration was taken.
///
/// # Errors
///
/// The configuration was refused, which leaves what served; or the gateway
/// cannot be reached.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let answer = Admin::new(&args.admin)?
        .post("/admin/v1/reload", &Value::Object(serde_json::Map::new()))
        .await?;
    if args.json.json {
        output::json(&answer)?;
    } else {
        output::line(format_args!(
            "{} the configuration is in force",
            output::styled(output::GOOD, "reloaded")
        ))?;
    }
    Ok(ExitCode::Ok)
}
