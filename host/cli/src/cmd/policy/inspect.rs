//! `backstop policy inspect`: what a component is, read from its bytes and
//! from what it says when it is loaded in the sandbox.

use crate::component;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use crate::output;
use anyhow::Context;
use backstop::{PolicyOptions, RevisionInfo, Want};
use backstop_build::Inspection;
use serde::Serialize;
use serde_json::Value;

/// Size of a page of linear memory.
pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// Arguments of `backstop policy inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A component file, or builtin:NAME for a shipped policy
    component: String,
    /// Settings to load it with, as JSON or @FILE, where its defaults do not do
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    #[command(flatten)]
    json: crate::args::JsonArg,
}

/// What a component is.
#[derive(Debug, Serialize)]
struct Report {
    source: String,
    name: String,
    version: String,
    summary: String,
    points: Vec<&'static str>,
    bytes: usize,
    digest: String,
    memory_bytes: u64,
    imports: Vec<Import>,
    wants: Vec<Want>,
    /// What a configuration has to say under `grants` for it to load and get
    /// what it wants.
    grants: serde_json::Map<String, Value>,
    settings_schema: Value,
}

/// One interface that a component imports.
#[derive(Debug, Serialize)]
struct Import {
    interface: String,
    /// The grant that it takes; none where every policy has it.
    grant: Option<&'static str>,
}

/// Looks into the component.
///
/// # Errors
///
/// It cannot be read, or the sandbox refuses it; the text says which step did.
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let bytes = component::read(&args.component)?;
    let settings = args.settings.as_deref().map(component::settings);
    let options = PolicyOptions {
        settings: settings.transpose()?.unwrap_or(Value::Null),
        grants: component::all_grants(),
        ..PolicyOptions::default()
    };
    let host = component::sandbox()?;
    let revision = component::check(&host, &args.component, bytes.clone(), options).await?;
    let inspection = backstop_build::inspect(&bytes)
        .with_context(|| format!("read `{}`", args.component))
        .or_exit(ExitCode::Refused)?;
    let report = report(args.component, revision, inspection)?;
    if args.json.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(ExitCode::Ok)
}

fn report(
    source: String,
    revision: RevisionInfo,
    inspection: Inspection,
) -> Result<Report, Failure> {
    let description = revision.description;
    let imports = imports(&inspection);
    let settings_schema = if description.settings_schema.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&description.settings_schema)
            .context("read the settings schema")
            .or_exit(ExitCode::Refused)?
    };
    Ok(Report {
        grants: grants(&imports, &description.wants),
        source,
        name: description.name,
        version: description.version,
        summary: description.summary,
        points: revision.points.iter().map(|point| point.as_str()).collect(),
        bytes: inspection.bytes,
        digest: inspection.digest,
        memory_bytes: inspection.memory_pages * PAGE_BYTES,
        imports,
        wants: description.wants,
        settings_schema,
    })
}

fn imports(inspection: &Inspection) -> Vec<Import> {
    inspection
        .imports
        .iter()
        .map(|interface| Import {
            grant: grant_for(interface),
            interface: interface.clone(),
        })
        .collect()
}

/// The grants that a component takes, as a configuration has them.
pub(super) fn grants_of(inspection: &Inspection, wants: &[Want]) -> serde_json::Map<String, Value> {
    grants(&imports(inspection), wants)
}

/// A table of a configuration on one line.
pub(super) fn inline(table: &serde_json::Map<String, Value>) -> String {
    let entries: Vec<String> = table
        .iter()
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    format!("{{ {} }}", entries.join(", "))
}

/// The grant that importing an interface takes.
fn grant_for(interface: &str) -> Option<&'static str> {
    let name = interface
        .strip_prefix("backstop:policy/")?
        .split('@')
        .next()?;
    match name {
        "metrics" => Some("grants.metrics"),
        "models" => Some("grants.models"),
        "state" => Some("grants.state"),
        "log" => Some("grants.log"),
        "incident" => Some("grants.incident"),
        _ => None,
    }
}

/// The grants that it takes to load the component and to give it what it
/// wants, as a configuration has them. `log` is left out: every policy has it.
fn grants(imports: &[Import], wants: &[Want]) -> serde_json::Map<String, Value> {
    let mut lists: [(&str, Vec<&str>); 2] = [("metrics", Vec::new()), ("models", Vec::new())];
    let mut flags: Vec<&str> = Vec::new();
    for want in wants {
        match want {
            Want::Metrics(pattern) => lists[0].1.push(pattern),
            Want::Models(pattern) => lists[1].1.push(pattern),
            Want::State => flags.push("state"),
            Want::Incident => flags.push("incident"),
            Want::Bodies => flags.push("bodies"),
        }
    }
    for import in imports {
        match import.grant {
            // Imported, but not said for what: anything it asks for.
            Some("grants.metrics") if lists[0].1.is_empty() => lists[0].1.push("*"),
            Some("grants.models") if lists[1].1.is_empty() => lists[1].1.push("*"),
            Some("grants.state") => flags.push("state"),
            Some("grants.incident") => flags.push("incident"),
            _ => {}
        }
    }
    let mut grants = serde_json::Map::new();
    for (name, patterns) in lists {
        if !patterns.is_empty() {
            grants.insert(name.to_owned(), patterns.into());
        }
    }
    for flag in flags {
        grants.insert(flag.to_owned(), true.into());
    }
    grants
}

fn show(report: &Report) -> Result<(), Failure> {
    output::line(format_args!(
        "{} {}",
        output::styled(output::STRONG, &report.name),
        report.version
    ))?;
    if !report.summary.is_empty() {
        output::line(&report.summary)?;
    }
    output::line("")?;
    output::line(format_args!("decides   {}", report.points.join(", ")))?;
    output::line(format_args!("size      {}", output::bytes(report.bytes)))?;
    output::line(format_args!("digest    sha256:{}", report.digest))?;
    output::line(format_args!(
        "memory    {} KiB at the start",
        report.memory_bytes >> 10
    ))?;
    show_imports(report)?;
    show_grants(report)?;
    show_settings(&report.settings_schema)
}

fn show_imports(report: &Report) -> Result<(), Failure> {
    if report.imports.is_empty() {
        output::line("imports   nothing")?;
        return Ok(());
    }
    for (index, import) in report.imports.iter().enumerate() {
        let label = if index == 0 { "imports" } else { "" };
        let grant = import.grant.map(|grant| format!(" needs {grant} to load"));
        output::line(format_args!(
            "{label:<9} {}{}",
            import.interface,
            output::styled(output::DIM, grant.unwrap_or_default())
        ))?;
    }
    Ok(())
}

fn show_grants(report: &Report) -> Result<(), Failure> {
    if report.grants.is_empty() {
        output::line("grants    none needed")?;
        return Ok(());
    }
    output::line(format_args!("grants    {}", inline(&report.grants)))?;
    Ok(())
}

/// Each setting in a row, with its range; the whole schema is in `--json`.
fn show_settings(schema: &Value) -> Result<(), Failure> {
    let Some(properties) = schema["properties"].as_object().filter(|p| !p.is_empty()) else {
        output::line("settings  none")?;
        return Ok(());
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut table = output::table(&["setting", "type", "default", "meaning"]);
    for (name, property) in properties {
        let default = match property.get("default") {
            Some(default) => default.to_string(),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => "-".to_owned(),
        };
        table.add_row([
            name.as_str(),
            &type_of(property),
            &default,
            property["description"].as_str().unwrap_or_default(),
        ]);
    }
    output::line("")?;
    output::line(output::table_text(&table))?;
    Ok(())
}

/// The type of a setting in few words: `number 0 to 1`, `demote or skip`.
fn type_of(property: &Value) -> String {
    let kind = kind_of(property);
    match (property.get("minimum"), property.get("maximum")) {
        (Some(min), Some(max)) => format!("{kind} {min} to {max}"),
        (Some(min), None) => format!("{kind} from {min}"),
        (None, Some(max)) => format!("{kind} up to {max}"),
        (None, None) => kind,
    }
}

fn kind_of(property: &Value) -> String {
    if let Some(words) = property["enum"].as_array() {
        return alternatives(words.iter().map(super::list::text));
    }
    if let Some(kinds) = property["type"].as_array() {
        return alternatives(kinds.iter().map(super::list::text));
    }
    for combined in ["anyOf", "oneOf"] {
        if let Some(kinds) = property[combined].as_array() {
            return alternatives(kinds.iter().map(type_of));
        }
    }
    match (&property["type"], &property["const"]) {
        (Value::String(kind), _) => kind.clone(),
        (_, Value::Null) => "any".to_owned(),
        (_, word) => super::list::text(word),
    }
}

/// What a value may be; that it may be left out is told by its default.
fn alternatives(kinds: impl Iterator<Item = String>) -> String {
    let kinds: Vec<String> = kinds.filter(|kind| kind != "null").collect();
    kinds.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn grants_are_what_imports_and_wants_take() {
        let import = |interface: &str| Import {
            grant: grant_for(interface),
            interface: interface.to_owned(),
        };
        let imports = [
            import("backstop:policy/requests@0.1.2"),
            import("backstop:policy/metrics@0.1.2"),
            import("backstop:policy/models@0.1.2"),
            import("backstop:policy/log@0.1.2"),
        ];
        assert_eq!(imports[0].grant, None);
        let wants = [Want::Metrics("error-rate".to_owned()), Want::Bodies];
        assert_eq!(
            Value::Object(grants(&imports, &wants)),
            json!({ "metrics": ["error-rate"], "models": ["*"], "bodies": true })
        );
    }

    #[test]
    fn types_are_told_with_their_range() {
        for (property, expected) in [
            (
                json!({"type": "number", "minimum": 0, "maximum": 1}),
                "number 0 to 1",
            ),
            (json!({"type": "integer", "minimum": 1}), "integer from 1"),
            (json!({"type": ["string", "null"]}), "string"),
            (
                json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}),
                "integer from 1",
            ),
            (json!({"enum": ["demote", "skip"]}), "demote or skip"),
            (json!({"oneOf": [{"const": "a"}, {"const": "b"}]}), "a or b"),
            (json!({}), "any"),
        ] {
            assert_eq!(type_of(&property), expected);
        }
    }
}
