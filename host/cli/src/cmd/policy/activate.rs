//! `backstop policy activate`: a component of this machine serves in a running
//! gateway.

use super::list::text;
use crate::admin::{Admin, segment};
use crate::args::{AdminArgs, JsonArg};
use crate::component;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use crate::output;
use anyhow::Context;
use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

/// Arguments of `backstop policy activate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the policy in the gateway
    name: String,
    /// A component file on this machine, or builtin:NAME
    component: String,
    /// Its settings, as JSON or @FILE; without them those that serve now
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// Its grants, as JSON or @FILE; without them those that it has now
    #[arg(long, value_name = "JSON")]
    grants: Option<String>,
    /// Who is noted in the history
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
    /// Go through all steps but the swap
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Activates.
///
/// # Errors
///
/// The gateway refuses the component, which leaves the revision that served;
/// or it cannot be reached.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::new(&args.admin)?;
    let path = format!("/admin/v1/policies/{}/activate", segment(&args.name));
    let mut options = options(&args)?;
    let answer = match args.component.strip_prefix("builtin:") {
        Some(builtin) => {
            options.insert("builtin".to_owned(), builtin.into());
            admin.post(&path, &Value::Object(options)).await
        }
        None => {
            let bytes = Bytes::from_owner(component::read(&args.component)?);
            let options = segment(&Value::Object(options).to_string());
            let path = format!("{path}?options={options}");
            admin
                .send(Method::POST, &path, Some(("application/wasm", bytes)))
                .await
        }
    };
    let answer = answer.map_err(|failure| {
        let context = format!("activate `{}` as `{}`", args.component, args.name);
        Failure::new(failure.code, failure.error.context(context))
    })?;
    show(&answer, args.json.json)
}

/// What the request says besides the component.
fn options(args: &Args) -> Result<Map<String, Value>, Failure> {
    let mut options = Map::new();
    for (name, given) in [("settings", &args.settings), ("grants", &args.grants)] {
        if let Some(given) = given {
            let value = component::settings(given)
                .map_err(|failure| failure.error)
                .with_context(|| format!("`--{name}`"))
                .or_exit(ExitCode::Usage)?;
            options.insert(name.to_owned(), value);
        }
    }
    if let Some(by) = &args.by {
        options.insert("by".to_owned(), by.as_str().into());
    }
    if args.dry_run {
        options.insert("check".to_owned(), true.into());
    }
    Ok(options)
}

fn show(answer: &Value, json: bool) -> Result<ExitCode, Failure> {
    if json {
        output::json(answer)?;
        return Ok(ExitCode::Ok);
    }
    let revision = &answer["revision"];
    let description = &revision["description"];
    let (what, outcome) = if answer["checked"] == true {
        ("would serve as", "ok")
    } else {
        ("serves as", "activated")
    };
    output::line(format_args!(
        "{} {} {} {what} `{}`, revision {} ({})",
        output::styled(output::GOOD, outcome),
        text(&description["name"]),
        text(&description["version"]),
        text(&revision["policy"]),
        text(&revision["number"]),
        short(&text(&revision["digest"])),
    ))?;
    if answer["history_kept"] == false {
        output::note(format_args!(
            "{} the activation is in force, but could not be kept in the history",
            output::styled(output::WARN, "warning:")
        ));
    }
    Ok(ExitCode::Ok)
}

/// The first digits of a digest, enough to tell revisions apart by eye.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
