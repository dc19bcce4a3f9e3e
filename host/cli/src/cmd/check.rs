//! `backstop check`: a configuration with everything that it names, or a
//! component, without running either.

use crate::args::JsonArg;
use crate::component;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit, render};
use crate::output;
use anyhow::Context;
use backstop::{Host, PolicyOptions};
use backstop_gateway::config::{Config, ConfigError, Mistakes, Policy};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `backstop check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A configuration (.toml), a component (.wasm) or builtin:NAME; without
    /// one, the embedded configuration
    target: Option<String>,
    /// The configuration, as `backstop serve` takes it
    #[arg(long, short, value_name = "FILE", conflicts_with = "target")]
    config: Option<PathBuf>,
    /// Settings to load a component with, as JSON or @FILE
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    #[command(flatten)]
    json: JsonArg,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    target: String,
    /// Mistakes of the configuration, with file, line and key.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<Mistakes>,
    /// Policies that the sandbox refuses, and the error of a component.
    refused: Vec<RefusedPolicy>,
    /// Policies that would be activated.
    policies: Vec<String>,
    routes: Vec<String>,
    models: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RefusedPolicy {
    policy: String,
    message: String,
}

/// Checks and says what was found.
///
/// # Errors
///
/// Only when nothing could be checked; mistakes are a result.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    match &args.target {
        Some(target) if is_component(target) => {
            check_component(target, args.settings.as_deref(), args.json.json).await
        }
        Some(target) => check_config(Some(Path::new(target)), args.json.json).await,
        None => check_config(args.config.as_deref(), args.json.json).await,
    }
}

fn is_component(target: &str) -> bool {
    target.starts_with("builtin:")
        || Path::new(target)
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("wasm"))
}

async fn check_component(
    source: &str,
    settings: Option<&str>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let bytes = component::read(source)?;
    let options = PolicyOptions {
        settings: settings
            .map(component::settings)
            .transpose()?
            .unwrap_or_default(),
        grants: component::all_grants(),
        ..PolicyOptions::default()
    };
    let host = component::sandbox()?;
    let checked = component::check(&host, source, bytes, options).await;
    let revision = match checked {
        Ok(revision) => revision,
        Err(failure) if json => {
            let refused = RefusedPolicy {
                policy: component::name_of(source),
                message: render(&failure.error),
            };
            output::json(&Report {
                refused: vec![refused],
                ..Report::of(source)
            })?;
            return Ok(failure.code);
        }
        Err(failure) => return Err(failure),
    };
    if json {
        output::json(&Report {
            ok: true,
            policies: vec![revision.description.name],
            ..Report::of(source)
        })?;
    } else {
        let points: Vec<&str> = revision.points.iter().map(|point| point.as_str()).collect();
        output::line(format_args!(
            "{} {} {} decides {}",
            output::styled(output::GOOD, "ok"),
            revision.description.name,
            revision.description.version,
            points.join(", ")
        ))?;
    }
    Ok(ExitCode::Ok)
}

impl Report {
    fn of(target: &str) -> Report {
        Report {
            ok: false,
            target: target.to_owned(),
            configuration: None,
            refused: Vec::new(),
            policies: Vec::new(),
            routes: Vec::new(),
            models: Vec::new(),
        }
    }
}

/// Reads the configuration at `path`, or the embedded one.
pub(crate) fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    match path {
        Some(path) => Config::load(path),
        None => Config::builtin(),
    }
}

async fn check_config(path: Option<&Path>, json: bool) -> Result<ExitCode, Failure> {
    let target = path.map_or_else(
        || "the embedded configuration".to_owned(),
        |path| path.display().to_string(),
    );
    let config = match load(path) {
        Ok(config) => config,
        Err(ConfigError::Mistakes(mistakes)) if json => {
            output::json(&Report {
                configuration: Some(mistakes),
                ..Report::of(&target)
            })?;
            return Ok(ExitCode::Usage);
        }
        Err(error) => return Err(Failure::new(ExitCode::Usage, error)),
    };
    let refused = refused_policies(&config).await?;
    let names = |keys: &mut dyn Iterator<Item = &std::sync::Arc<str>>| -> Vec<String> {
        keys.map(ToString::to_string).collect()
    };
    let report = Report {
        ok: refused.is_empty(),
        refused,
        policies: names(&mut config.policies.keys()),
        routes: names(&mut config.routes.keys()),
        models: names(&mut config.models.keys()),
        ..Report::of(&target)
    };
    if json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(if report.ok {
        ExitCode::Ok
    } else {
        ExitCode::Refused
    })
}

/// Loads every policy of the configuration as the gateway would.
async fn refused_policies(config: &Config) -> Result<Vec<RefusedPolicy>, Failure> {
    if config.policies.is_empty() {
        return Ok(Vec::new());
    }
    let options = backstop::HostOptions {
        // Nothing of a check is kept, and one instance is used at a time.
        cache_dir: None,
        instances_max: 4,
        records_max: 1,
        ..config.host_options()
    };
    let host = Host::builder()
        .options(options)
        .build()
        .context("start the sandbox")
        .or_exit(ExitCode::Failed)?;
    let mut refused = Vec::new();
    for policy in config.policies.values() {
        if let Err(error) = load_policy(&host, policy).await {
            refused.push(RefusedPolicy {
                policy: policy.name.to_string(),
                message: render(&error.error),
            });
        }
    }
    Ok(refused)
}

async fn load_policy(host: &Host, policy: &Policy) -> Result<(), Failure> {
    let source = policy.component.to_string();
    let bytes = component::read(&source)?;
    component::check(host, &source, bytes, policy.options.clone()).await?;
    Ok(())
}

fn show(report: &Report) -> Result<(), Failure> {
    for refused in &report.refused {
        output::note(format_args!(
            "{} policy `{}`: {}",
            output::styled(output::BAD, "error:"),
            refused.policy,
            refused.message
        ));
    }
    if report.ok {
        output::line(format_args!(
            "{} {}: {}, {}, {}",
            output::styled(output::GOOD, "ok"),
            report.target,
            counted(report.routes.len(), "route", "routes"),
            counted(report.models.len(), "model", "models"),
            counted(report.policies.len(), "policy", "policies"),
        ))?;
    }
    Ok(())
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_checked_is_told_by_its_name() {
        for target in ["a.wasm", "A.WASM", "builtin:x"] {
            assert!(is_component(target), "{target}");
        }
        for target in ["a.toml", "backstop", "a.wasm.toml"] {
            assert!(!is_component(target), "{target}");
        }
    }
}
