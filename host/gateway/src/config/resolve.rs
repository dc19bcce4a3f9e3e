//! From a text to a configuration, or to all its mistakes.

use super::check::Check;
use super::mistake::{Collector, MistakeKind, Mistakes};
use super::route::Route;
use super::schema::{FILE_BYTES_MAX, INCLUDE_DEMO, ROOT};
use super::section::{Environment, Resolver, Section};
use super::source::{Place, Sources};
use super::tree::{self, Table};
use super::{
    Config, Name, callback, feedback, model, objective, policy, prometheus, provider, route, rules,
    server, telemetry,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The place of what concerns the file as a whole.
const BEGINNING: Place = Place {
    source: 0,
    start: 0,
    end: 0,
};

/// What is resolved.
pub(super) struct Input<'i> {
    pub(super) text: &'i str,
    /// What the text is called in mistakes.
    pub(super) origin: &'i str,
    /// What relative paths are relative to.
    pub(super) base_dir: &'i Path,
    /// Whether components have to be there.
    pub(super) look_for_files: bool,
}

/// Resolves a text.
///
/// # Errors
///
/// All its mistakes.
pub(super) fn resolve(input: &Input<'_>, env: Environment<'_>) -> Result<Config, Mistakes> {
    let mut sources = Sources::default();
    let mut mistakes = Collector::default();
    let tree = read(input, &mut sources, &mut mistakes);
    let Some(tree) = tree else {
        return Err(mistakes.finish(&sources));
    };
    let mut check = Check {
        sources: &sources,
        root: &tree,
        mistakes: &mut mistakes,
    };
    check.table(&ROOT, &tree, BEGINNING, "");
    let mut resolver = Resolver {
        mistakes: &mut mistakes,
        env,
        base_dir: input.base_dir,
        look_for_files: input.look_for_files,
    };
    let config = resolve_tree(&mut resolver, &tree);
    if mistakes.is_empty() {
        Ok(config)
    } else {
        Err(mistakes.finish(&sources))
    }
}

/// Parses the text and merges it over what it includes; none after a mistake
/// that leaves nothing to go on with.
fn read(input: &Input<'_>, sources: &mut Sources, mistakes: &mut Collector) -> Option<Table> {
    if input.text.len() > FILE_BYTES_MAX {
        sources.add(input.origin, "");
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        mistakes.add(MistakeKind::TooMany, BEGINNING, "", message);
        return None;
    }
    let source = sources.add(input.origin, input.text);
    let over = tree::parse(input.text, source, mistakes)?;
    if over.text("include") != Some(INCLUDE_DEMO) {
        return Some(over);
    }
    let source = sources.add(INCLUDE_DEMO, Config::BUILTIN_TEXT);
    let mut base = tree::parse(Config::BUILTIN_TEXT, source, mistakes)?;
    tree::merge_root(&mut base, over);
    Some(base)
}

/// Resolves a checked tree. After a mistake the result lacks things, and is
/// not handed out.
fn resolve_tree(cx: &mut Resolver<'_>, tree: &Table) -> Config {
    let root = Section::root(&ROOT, tree, BEGINNING);
    // Read by then; asked for so that no key is without a reader.
    let _ = root.text_if_set("include");
    let server = server::resolve_server(cx, &root.section("server"));
    let sandbox = server::resolve_sandbox(&root.section("sandbox"));
    let telemetry = telemetry::resolve(cx, &root.section("telemetry"));
    let callbacks = callback::resolve(cx, &root.section("callbacks"));
    let named = |entries: Vec<(&str, Section<'_>)>| -> BTreeMap<Name, Name> {
        let name = |(name, _): (&str, _)| (Name::from(name), Name::from(name));
        entries.into_iter().map(name).collect()
    };
    let policy_names = named(root.entries("policies"));
    let model_names: Vec<&str> = root
        .entries("models")
        .iter()
        .map(|(name, _)| *name)
        .collect();

    let mut providers = BTreeMap::new();
    for (name, section) in root.entries("providers") {
        let name = Name::from(name);
        if let Some(provider) = provider::resolve(cx, name.clone(), &section) {
            providers.insert(name, Arc::new(provider));
        }
    }
    let mut models = BTreeMap::new();
    for (name, section) in root.entries("models") {
        let name = Name::from(name);
        let model = model::resolve(cx, &name, &section, &providers, &policy_names);
        if let Some(model) = model {
            models.insert(name, Arc::new(model));
        }
    }
    let mut policies = BTreeMap::new();
    for (name, section) in root.entries("policies") {
        let name = policy_names
            .get(name)
            .cloned()
            .unwrap_or_else(|| name.into());
        let memory = sandbox.memory_bytes_max;
        let policy = policy::resolve(cx, name.clone(), &section, &model_names, memory);
        if let Some(policy) = policy {
            policies.insert(name, Arc::new(policy));
        }
    }
    let mut rules = BTreeMap::new();
    for (name, section) in root.entries("rules") {
        let name = Name::from(name);
        if let Some(answer) = rules::resolve(cx, name.clone(), &section) {
            rules.insert(name, Arc::new(answer));
        }
    }
    let known = route::Known {
        models: &models,
        rules: &rules,
        policies: &policy_names,
        has_callback_secret: root.section("callbacks").node("secret").is_some(),
    };
    feedback::check_outcomes(cx, &root.entries("routes"));
    let mut routes = BTreeMap::new();
    for (name, section) in root.entries("routes") {
        let name = Name::from(name);
        let route = route::resolve(cx, name.clone(), &section, &known);
        routes.insert(name, Arc::new(route));
    }
    let objectives = objectives(cx, &root, &routes);
    let prometheus = prometheus::resolve(cx, &root.section("prometheus"));
    let has_routes = tree
        .get("routes")
        .is_some_and(|entry| match &entry.node.value {
            tree::Value::Table(table) => !table.entries.is_empty(),
            _ => true, // of another type, which is noted
        });
    // A misspelt section, or a misspelt inclusion, is reported as such.
    let is_explained = cx.mistakes.has(MistakeKind::UnknownKey) || tree.get("include").is_some();
    if !has_routes && !is_explained {
        let message = format!(
            "no routes are configured; add `[routes.NAME]`, or start with `include = \"{INCLUDE_DEMO}\"`"
        );
        cx.mistakes
            .add(MistakeKind::MissingKey, BEGINNING, "routes", message);
    }
    Config {
        server,
        sandbox,
        telemetry,
        callbacks,
        providers,
        models,
        policies,
        rules,
        routes,
        objectives,
        prometheus,
    }
}

fn objectives(
    cx: &mut Resolver<'_>,
    root: &Section<'_>,
    routes: &BTreeMap<Name, Arc<Route>>,
) -> BTreeMap<Name, Arc<objective::Objective>> {
    let feedback = routes.values().filter_map(|route| route.feedback.as_ref());
    let outcomes = feedback.flat_map(|feedback| &feedback.outcomes);
    let outcomes = outcomes.map(|(name, kind)| (&**name, *kind)).collect();
    let mut objectives = BTreeMap::new();
    for (name, section) in root.entries("objectives") {
        let name = Name::from(name);
        if let Some(one) = objective::resolve(cx, name.clone(), &section, &outcomes) {
            objectives.insert(name, Arc::new(one));
        }
    }
    objectives
}
