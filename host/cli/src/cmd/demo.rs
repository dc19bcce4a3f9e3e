//! `backstop demo`: the product in a minute.

use crate::args::JsonArg;
use crate::demo::{self, View};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::log::{self, Format};
use crate::output;

/// Arguments of `backstop demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Requests that are in flight at a time
    #[arg(long, value_name = "COUNT", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=256))]
    concurrency: u32,
    #[command(flatten)]
    json: JsonArg,
}

/// Plays the demo; `Ok` only when every act was observed.
///
/// # Errors
///
/// The gateway does not start, or the output is closed.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    // What the gateway logs would run through the view; RUST_LOG brings it back.
    log::start("off", Format::Text);
    let view = View::new(args.json.json);
    let play = demo::play(args.concurrency, &view);
    let report = tokio::select! {
        report = play => report?,
        _ = tokio::signal::ctrl_c() => {
            view.clear();
            return Ok(ExitCode::Interrupted);
        }
    };
    if args.json.json {
        output::json(&report.json())?;
    } else {
        report.print()?;
    }
    Ok(if report.observed() {
        ExitCode::Ok
    } else {
        ExitCode::Failed
    })
}
