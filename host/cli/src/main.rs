//! The `backstop` command: runs the gateway, shows what it does, and works
//! with policies.
//!
//! [`args`] says what can be typed, `cmd` has one file for each verb,
//! [`exit_code`] what the shell is told. Errors come up as [`failure::Failure`]
//! and are written here, once.

mod admin;
#[cfg(target_os = "linux")]
mod allocator;
mod args;
mod cmd;
mod component;
mod demo;
mod exit_code;
mod failure;
mod log;
mod output;
mod table;

use crate::args::Cli;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use clap::Parser;

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` come this way too, with code 0.
        Err(error) => {
            let _ = error.print();
            let code = if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Ok
            };
            return code.into();
        }
    };
    match run(cli) {
        Ok(code) => code.into(),
        Err(Failure { code, error }) => {
            if code != ExitCode::PipeClosed {
                let label = output::styled(output::BAD, "error:");
                output::note(format_args!("{label} {}", failure::render(&error)));
            }
            code.into()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    use failure::OrExit;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_exit(ExitCode::Failed)?;
    let result = runtime.block_on(cmd::run(cli.command));
    // Work on blocking threads (a compilation that nobody waits for any more)
    // must not hold up the exit.
    runtime.shutdown_background();
    result
}
