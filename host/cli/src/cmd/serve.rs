//! `backstop serve`: the gateway on its two addresses, until it is told to stop.

use crate::args::JsonArg;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::log::{self, Format};
use crate::output;
use anyhow::{Context, Error};
use backstop_gateway::config::{Config, ConfigError, RouteKind};
use backstop_gateway::gateway::StartError;
use backstop_gateway::launch::{LaunchError, LaunchOptions, Launched, Source, launch};
use backstop_gateway::openai::Api;
use std::path::{Path, PathBuf};

/// Arguments of `backstop serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration; without one the embedded demo configuration, whose
    /// models are simulated
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "BACKSTOP_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// Do not watch the configuration and component files; SIGHUP and
    /// `backstop reload` still reload
    #[arg(long)]
    no_watch: bool,
    /// How the log on stderr is written; RUST_LOG says what is in it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log: Format,
    #[command(flatten)]
    json: JsonArg,
}

/// Serves until SIGTERM or SIGINT, then finishes what runs. A second SIGINT
/// ends at once.
///
/// # Errors
///
/// The gateway does not start: a mistaken configuration, a refused policy, an
/// address that is taken.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    log::start("info", args.log);
    let launched = launch(LaunchOptions {
        source: source(args.config.as_deref())?,
        watch: !args.no_watch,
        signal: true,
    })
    .await
    .map_err(failure)?;
    if args.json.json {
        output::json(&ready(&launched))?;
    } else {
        banner(&launched, args.config.as_deref())?;
    }
    let mut stop = Stop::new()?;
    let grace = launched.gateway.shutdown_grace();
    let mut again = Stop::new()?;
    let shutdown = async move {
        stop.asked().await;
        tracing::info!(grace_s = grace.as_secs(), "stopping: finishing what runs");
    };
    let impatient = async move {
        again.asked().await;
        again.asked().await;
    };
    tokio::select! {
        stopped = launched.run(shutdown) => {
            if stopped.cut > 0 {
                tracing::warn!(connections = stopped.cut, "cut after the grace period");
            }
            tracing::info!("stopped");
            Ok(ExitCode::Ok)
        }
        () = impatient => Ok(ExitCode::Interrupted),
    }
}

/// Where the configuration comes from.
fn source(path: Option<&Path>) -> Result<Source, Failure> {
    match path {
        Some(path) => Ok(Source::File(path.to_owned())),
        None => Config::builtin()
            .map(|config| Source::Value(Box::new(config)))
            .map_err(|error| failure(LaunchError::Config(error))),
    }
}

/// The exit code that an error of the launch means, and what to do about it.
pub(crate) fn failure(error: LaunchError) -> Failure {
    let (code, hint) = match &error {
        LaunchError::Config(ConfigError::Mistakes(_)) => (ExitCode::Usage, None),
        LaunchError::Config(_) => (ExitCode::Usage, Some("`--config` says where it is")),
        LaunchError::Start(StartError::Apply(_)) => (ExitCode::Refused, None),
        LaunchError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            let hint = "something else listens there; stop it or configure another address";
            (ExitCode::Failed, Some(hint))
        }
        _ => (ExitCode::Failed, None),
    };
    let error = Error::new(error);
    match hint {
        None => Failure::new(code, error),
        Some(hint) => {
            let text = format!("{}; {hint}", crate::failure::render(&error));
            Failure::new(code, Error::msg(text))
        }
    }
}

/// What a script wants to know when the gateway is ready.
fn ready(launched: &Launched) -> serde_json::Value {
    let plant = launched.gateway.plant();
    let config = plant.config();
    let names = |names: &mut dyn Iterator<Item = &std::sync::Arc<str>>| -> Vec<String> {
        names.map(ToString::to_string).collect()
    };
    serde_json::json!({
        "data": format!("http://{}", launched.data_addr),
        "admin": format!("http://{}", launched.admin_addr),
        "pid": std::process::id(),
        "routes": names(&mut config.routes.keys()),
        "policies": names(&mut config.policies.keys()),
    })
}

fn banner(launched: &Launched, config: Option<&Path>) -> Result<(), Failure> {
    let plant = launched.gateway.plant();
    let data = launched.data_addr;
    let admin = launched.admin_addr;
    let from = config.map_or_else(
        || "the embedded demo configuration (simulated models)".to_owned(),
        |path| path.display().to_string(),
    );
    output::line(format_args!(
        "{} serves {from}",
        output::styled(output::STRONG, "backstop")
    ))?;
    output::line(format_args!("  callers    http://{data}"))?;
    output::line(format_args!("  operators  http://{admin}"))?;
    for policy in launched.gateway.host().policies() {
        let serving = &policy.serving;
        output::line(format_args!(
            "  policy     {} = {} {} ({})",
            policy.name,
            serving.description.name,
            serving.description.version,
            serving
                .points
                .iter()
                .map(|point| point.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ))?;
    }
    output::line("\ntry:")?;
    for route in plant.config().routes.values() {
        output::line(format_args!(
            "  {}",
            curl(&data.to_string(), route.kind, &route.name)
        ))?;
    }
    output::line(format_args!(
        "  backstop policy list --admin http://{admin}\n"
    ))?;
    Ok(())
}

/// A request to a route, to be pasted into a shell.
fn curl(data: &str, kind: RouteKind, route: &str) -> String {
    let (path, body) = match kind {
        RouteKind::OpenAi(api) => {
            let fields = match api {
                Api::Chat => r#""messages": [{"role": "user", "content": "Hello"}]"#,
                Api::Completions => r#""prompt": "Hello""#,
                Api::Embeddings | Api::Responses => r#""input": "Hello""#,
            };
            (
                format!("/v1{}", api.path()),
                format!(r#"{{"model": "{route}", {fields}}}"#),
            )
        }
        RouteKind::Json => (format!("/v1/predict/{route}"), "{}".to_owned()),
    };
    format!("curl -i http://{data}{path} -H 'content-type: application/json' -d '{body}'")
}

/// SIGTERM or SIGINT.
struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    fn new() -> Result<Stop, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let on = |kind| signal(kind).context("listen for signals");
        Ok(Stop {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Stop, Failure> {
        Ok(Stop {})
    }

    /// Resolves when the process is asked to stop.
    #[cfg(unix)]
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn asked(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // No signal will come; the process is ended from outside.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_pasted_is_one_shell_command_with_json() {
        let kinds = Api::ALL.map(RouteKind::OpenAi);
        for kind in kinds.into_iter().chain([RouteKind::Json]) {
            let line = curl("127.0.0.1:8080", kind, "chat");
            assert_eq!(line.matches('\'').count(), 4, "{line}");
            let body = line.split('\'').nth(3).unwrap();
            assert!(
                serde_json::from_str::<serde_json::Value>(body).is_ok(),
                "{body}"
            );
        }
    }

    #[test]
    fn a_taken_address_is_told_with_its_key() {
        let failure = failure(LaunchError::Listen {
            key: "server.listen",
            address: ([127, 0, 0, 1], 80).into(),
            source: std::io::ErrorKind::AddrInUse.into(),
        });
        assert_eq!(failure.code, ExitCode::Failed);
        let text = failure.error.to_string();
        assert!(
            text.contains("server.listen") && text.contains("another address"),
            "{text}"
        );
    }
}
