//! What can be typed: the command's verbs, and what several of them share.
//!
//! Each verb's own arguments are in its file under `cmd`. `docs/cli.md` is made
//! from these definitions by a test.

use crate::cmd;
use crate::exit_code::ExitCode;
use clap::{Args, Parser, Subcommand};
use std::fmt::Write as _;

/// Sandboxed policies decide how an AI product falls back, judges answers and
/// rolls back, and are changed while it runs.
#[derive(Debug, Parser)]
#[command(name = "backstop", version, max_term_width = 100)]
#[command(after_help = exit_codes())]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The exit codes, for the end of the help.
fn exit_codes() -> String {
    let mut text = String::from("Exit codes:");
    for code in ExitCode::ALL {
        let _ = write!(text, "\n  {:<4} {}", code.number(), code.meaning());
    }
    text
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway
    Serve(cmd::serve::Args),
    /// Watch policies at work: a gateway, its traffic and six mishaps, in a minute
    Demo(cmd::demo::Args),
    /// Check a configuration or a policy without running it
    Check(cmd::check::Args),
    /// Find the threshold of a policy in labelled history, with a guarantee
    Calibrate(Box<cmd::calibrate::Args>),
    /// Make, look into and change policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// See how models are doing, and take them out or in
    #[command(subcommand)]
    Model(ModelCommand),
    /// See whether a running gateway keeps what is promised, and how fast its error budgets go
    Objectives(cmd::objectives::Args),
    /// See what a running gateway knows of its models, and how well
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Make and choose what evidence is held against
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Declare what is watched in requests
    #[command(subcommand)]
    Features(FeaturesCommand),
    /// Look into what a running gateway has done
    #[command(subcommand)]
    Log(LogCommand),
    /// Let a running gateway read its configuration again
    Reload(cmd::reload::Args),
}

/// The verbs of `backstop policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make the crate of a new policy, which builds and passes its tests at once
    New(cmd::policy::new::Args),
    /// Build a policy's crate into a component
    Build(cmd::policy::build::Args),
    /// Show what a component is, decides, imports and can be set to
    Inspect(cmd::policy::inspect::Args),
    /// List the policies of a running gateway
    List(cmd::policy::list::Args),
    /// Make a component serve in a running gateway
    Activate(cmd::policy::activate::Args),
    /// Make a former revision serve again
    Rollback(cmd::policy::rollback::Args),
    /// Show what was activated, and by whom
    History(cmd::policy::history::Args),
}

/// The verbs of `backstop model`.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List the models of a running gateway with their releases and breakers
    List(cmd::model::List),
    /// Put the breaker of a release into a state, until somebody says otherwise
    Breaker(cmd::model::Breaker),
    /// Let steps call the model again
    Up(cmd::model::Health),
    /// Keep steps from calling the model
    Down(cmd::model::Health),
}

/// The verbs of `backstop evidence`.
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// List the series that are kept
    List(cmd::evidence::List),
    /// Tell all that is known of a metric in a window
    Read(cmd::evidence::Read),
}

/// The verbs of `backstop baseline`.
#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Take one from a window of the gateway's evidence
    Take(cmd::baseline::Take),
    /// Make one of the rows of a file, or of the figures of a benchmark
    Import(Box<cmd::baseline::Import>),
    /// List all versions
    List(cmd::baseline::List),
    /// Show what one holds
    Show(cmd::baseline::Show),
    /// Put a version to use
    Use(cmd::baseline::Use),
    /// Remove one with all its versions
    Remove(cmd::baseline::Remove),
}

/// The verbs of `backstop features`.
#[derive(Debug, Subcommand)]
pub(crate) enum FeaturesCommand {
    /// Make a declaration of requests as they were, for people to read
    Learn(cmd::features::Args),
}

/// The verbs of `backstop log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show the newest requests and what was tried for them
    Requests(cmd::log::Args),
    /// Show labelled answers of a route, for people or for `calibrate`
    Answers(cmd::answers::Args),
}

/// Where the admin plane of a running gateway is.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminArgs {
    /// Address of the gateway's admin plane
    #[arg(
        long,
        value_name = "URL",
        env = "BACKSTOP_ADMIN",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8081"
    )]
    pub(crate) admin: String,
    /// Bearer token of the admin plane
    #[arg(
        long,
        value_name = "TOKEN",
        env = "BACKSTOP_ADMIN_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
}

/// How the result is shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct JsonArg {
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_operators_type_is_understood() {
        for line in [
            "backstop serve",
            "backstop serve --config x.toml --log json --no-watch",
            "backstop demo --json",
            "backstop check x.toml --json",
            "backstop check --config x.toml",
            "backstop check p.wasm",
            "backstop policy new my-policy",
            "backstop policy build",
            "backstop policy build my-policy --out x.wasm",
            "backstop policy inspect builtin:layered-fallback --json",
            "backstop policy list --admin http://127.0.0.1:1",
            "backstop policy activate chat x.wasm --settings {}",
            "backstop policy rollback chat --to 3",
            "backstop policy history chat",
            "backstop log requests --route chat --outcome failed --json",
            "backstop log requests 001a2b3c4d5e6f70",
            "backstop log answers --route fraud --model small --json",
            "backstop features learn x.jsonl --route fraud --ranges",
            "backstop objectives --watch",
            "backstop objectives --json --admin http://127.0.0.1:1",
            "backstop evidence list --metric accuracy --model fraud",
            "backstop evidence read accuracy{tier=gold} --model fraud --release r1 --window 24h",
            "backstop evidence read labelled --model fraud --error-max 0.05 --json",
            "backstop baseline take calm --route chat --window 1h --metric latency-ms",
            "backstop baseline import calm x.csv --value latency-ms=took --dry-run",
            "backstop baseline import calm --figures x.json",
            "backstop baseline use calm 3",
            "backstop baseline remove calm --yes",
            "backstop reload",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "backstop",
            "backstop sreve",
            "backstop demo --concurrency 0",
            "backstop serve x.toml",
            "backstop policy inspect",
            "backstop policy rollback chat --to first",
            "backstop policy rollback chat --to 0",
            "backstop policy activate chat",
            "backstop log",
            "backstop evidence read",
            "backstop evidence read x --release r1",
            "backstop evidence read x --window 25h",
            "backstop baseline take calm --route chat",
            "backstop baseline import calm",
            "backstop baseline import calm x.csv --value took",
            "backstop baseline remove calm",
            "backstop objectives --json --watch",
            "backstop log requests 1 --route chat",
        ] {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_err(), "{line} was taken");
        }
    }

    /// `docs/cli.md` from the definitions: the long help of every verb; that of
    /// the command itself ends with the exit codes.
    fn reference() -> String {
        let mut text = String::from(
            "# The `backstop` command\n\nMade from the command's definitions by a test; \
             do not edit.\n",
        );
        let mut root = Cli::command().term_width(100);
        root.build();
        describe(&mut root, &mut text);
        text
    }

    fn describe(command: &mut clap::Command, text: &mut String) {
        let name = command.get_bin_name().unwrap_or("backstop").to_owned();
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.trim().lines().map(str::trim_end).collect();
        let _ = write!(text, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n"));
        let children: Vec<String> = command
            .get_subcommands()
            .filter(|child| child.get_name() != "help")
            .map(|child| child.get_name().to_owned())
            .collect();
        for child in children {
            if let Some(child) = command.find_subcommand_mut(&child) {
                describe(child, text);
            }
        }
    }

    #[test]
    fn the_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        let expected = reference();
        let found = std::fs::read_to_string(path).unwrap_or_default();
        if found != expected {
            std::fs::write(path, expected).unwrap();
            panic!("docs/cli.md was out of date and has been rewritten: commit it");
        }
    }
}
