//! Gateways under load, on real sockets: what a gateway adds to a request, what
//! a swap of a policy does to traffic, what a hostile policy does to its
//! neighbours, what becomes of more requests than a model can answer, of a
//! model that is out for a minute, of thousands of streams whose providers fail,
//! and what callers receive of a model that gets worse.
//!
//! ```sh
//! cargo run --release -p backstop-tests --example load -- added
//! cargo run --release -p backstop-tests --example load -- swaps
//! cargo run --release -p backstop-tests --example load -- hostile
//! cargo run --release -p backstop-tests --example load -- overload
//! cargo run --release -p backstop-tests --example load -- outage
//! cargo run --release -p backstop-tests --example load -- soak
//! cargo run --release -p backstop-tests --example load -- drift
//! ```
//!
//! Run by hand: figures depend on the machine, and callers, models and gateway
//! share its cores, so that only ratios mean something. What must hold on any
//! machine is checked, and the exit status is 1 when it does not. Callers and
//! models have threads of their own, or a guest that holds a thread of the
//! gateway would slow down the clock that it is measured with.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod added;
// The gateway's memory is measured as it is in the `backstop` binary.
#[cfg(target_os = "linux")]
#[path = "../../../host/cli/src/allocator.rs"]
mod allocator;
mod drift;
mod hostile;
mod kit;
mod outage;
mod overload;
mod report;
mod soak;
mod swaps;

use clap::{Parser, Subcommand};
use kit::{Fallible, Inside};
use report::Report;
use std::process::ExitCode;
use tokio::runtime::Runtime;

#[derive(Parser)]
#[command(about = "Shows what gateways do under load", version)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Requests straight to a model, and through gateways without and with
    /// policies.
    Added(added::Options),
    /// Policies are swapped while callers ask at full speed.
    Swaps(swaps::Options),
    /// A model is asked for four times what it can do.
    Overload(overload::Options),
    /// A model is out for a minute.
    Outage(outage::Options),
    /// Thousands of streams at once from providers that fail at random.
    Soak(soak::Options),
    /// A model gets worse, behind no policy, a fixed line, a line that moves
    /// and a guard.
    Drift(drift::Options),
    /// A gateway for another command.
    #[command(hide = true)]
    Gateway(soak::GatewayOptions),
    /// Hostile policies are asked beside a well-behaved one.
    Hostile(hostile::Options),
}

fn main() -> Fallible<ExitCode> {
    let args = Args::parse();
    let gateways = Runtime::new()?;
    let inside = Inside(gateways.handle().clone());
    let report = Runtime::new()?.block_on(async {
        match args.what {
            What::Added(options) => added::run(options, &inside).await,
            What::Swaps(options) => swaps::run(options, &inside).await,
            What::Overload(options) => overload::run(options, &inside).await,
            What::Outage(options) => outage::run(options, &inside).await,
            What::Soak(options) => soak::run(options).await,
            What::Drift(options) => drift::run(options, &inside).await,
            What::Gateway(options) => soak::gateway(options).await.map(|()| Report::default()),
            What::Hostile(options) => hostile::run(options, &inside).await,
        }
    })?;
    if report.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        print!("{report}");
    }
    Ok(match report.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
