//! One file for each verb: its arguments and what it does.

pub(crate) mod answers;
pub(crate) mod baseline;
pub(crate) mod calibrate;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod evidence;
pub(crate) mod features;
pub(crate) mod log;
pub(crate) mod model;
pub(crate) mod objectives;
pub(crate) mod policy;
pub(crate) mod reload;
pub(crate) mod serve;

use crate::args::{
    BaselineCommand, Command, EvidenceCommand, FeaturesCommand, LogCommand, ModelCommand,
    PolicyCommand,
};
use crate::exit_code::ExitCode;
use crate::failure::Failure;

/// Does what was typed.
///
/// # Errors
///
/// Whatever stood in the way, with the exit code that it means.
pub(crate) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Calibrate(args) => calibrate::run(*args).await,
        Command::Log(LogCommand::Requests(args)) => log::run(args).await,
        Command::Log(LogCommand::Answers(args)) => answers::run(args).await,
        Command::Model(command) => match command {
            ModelCommand::List(args) => model::list(args).await,
            ModelCommand::Breaker(args) => model::breaker(args).await,
            ModelCommand::Up(args) => model::health(args, true).await,
            ModelCommand::Down(args) => model::health(args, false).await,
        },
        Command::Objectives(args) => objectives::run(args).await,
        Command::Evidence(command) => match command {
            EvidenceCommand::List(args) => evidence::list(args).await,
            EvidenceCommand::Read(args) => evidence::read(args).await,
        },
        Command::Baseline(command) => match command {
            BaselineCommand::Take(args) => baseline::take(args).await,
            BaselineCommand::Import(args) => baseline::import(*args).await,
            BaselineCommand::List(args) => baseline::list(args).await,
            BaselineCommand::Show(args) => baseline::show(args).await,
            BaselineCommand::Use(args) => baseline::put_to_use(args).await,
            BaselineCommand::Remove(args) => baseline::remove(args).await,
        },
        Command::Features(FeaturesCommand::Learn(args)) => features::run(&args),
        Command::Reload(args) => reload::run(args).await,
        Command::Policy(command) => match command {
            PolicyCommand::New(args) => policy::new::run(args),
            PolicyCommand::Build(args) => policy::build::run(args).await,
            PolicyCommand::Inspect(args) => policy::inspect::run(args).await,
            PolicyCommand::List(args) => policy::list::run(args).await,
            PolicyCommand::Activate(args) => policy::activate::run(args).await,
            PolicyCommand::Rollback(args) => policy::rollback::run(args).await,
            PolicyCommand::History(args) => policy::history::run(args).await,
        },
    }
}
