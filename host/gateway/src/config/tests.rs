//! What holds for the configuration as a whole. What single files are told is
//! in `host/gateway/tests/config`.

use super::schema::{Kind, ROOT, Schema};
use super::*;
use crate::openai::Api;
use backstop::PolicyOptions;
use backstop_core::breaker::BreakerConfig;
use backstop_core::input::{Candidate, RequestFacts};
use std::collections::BTreeSet;

fn read(text: &str) -> Result<Config, ConfigError> {
    let env = |name: &str| match name {
        "PRESENT" => Some("hunter2".to_owned()),
        "WEBHOOK_SECRET" => Some(format!("whsec_hunter2{}", "A".repeat(36))),
        _ => None,
    };
    Config::from_str(text, "test.toml", Path::new("/etc/backstop"), &env)
}

/// A file that sets every key there is.
const FULL: &str = include_str!("../../tests/config/valid/full.toml");

#[test]
fn the_embedded_configuration_is_complete() {
    let config = Config::builtin().unwrap();
    assert_eq!(config.routes["chat"].kind, RouteKind::OpenAi(Api::Chat));
    assert_eq!(config.routes["fraud-score"].kind, RouteKind::Json);
    let components: BTreeSet<_> = config
        .policies
        .values()
        .map(|p| p.component.to_string())
        .collect();
    let shipped: BTreeSet<_> = backstop_policies::BUILTINS
        .iter()
        .map(|builtin| format!("builtin:{}", builtin.name))
        .collect();
    assert_eq!(components, shipped);
    assert!(config.models.values().any(|model| model.rollout.is_some()));
    let is_simulated = |p: &Arc<Provider>| matches!(p.kind, ProviderKind::Simulated(_));
    assert!(
        config.providers.values().all(is_simulated),
        "it needs no network"
    );
}

#[test]
fn three_lines_are_a_complete_configuration() {
    let config = read(
        "include = \"builtin:demo\"\n\
         policies.my-policy.component = \"my_policy.wasm\"\n\
         routes.chat.fallback = \"my-policy\"\n",
    )
    .unwrap();
    assert_eq!(config.routes["chat"].fallback.as_deref(), Some("my-policy"));
    assert_eq!(
        config.policies["my-policy"].component,
        ComponentSource::File("/etc/backstop/my_policy.wasm".into())
    );
    let builtin = Config::builtin().unwrap();
    assert_eq!(config.models, builtin.models);
    assert_eq!(config.routes["fraud-score"], builtin.routes["fraud-score"]);
    let files: Vec<_> = config.component_files().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(&**files[0].0, "my-policy");
}

fn keys_of(schema: &'static Schema, keys: &mut BTreeSet<(&'static str, String)>) {
    for key in schema.keys {
        keys.insert((schema.name, key.name.to_owned()));
        match &key.kind {
            Kind::Table(inner)
            | Kind::List(inner, _)
            | Kind::ChoiceOrList(_, inner, _)
            | Kind::Map(inner, _) => keys_of(inner, keys),
            Kind::Variants(kinds, _) => kinds.iter().for_each(|(_, inner)| keys_of(inner, keys)),
            _ => {}
        }
    }
}

#[test]
fn every_key_that_may_be_set_is_read() {
    read(FULL).unwrap();
    let mut keys = BTreeSet::new();
    keys_of(&ROOT, &mut keys);
    let read = section::tests::keys_read();
    let unread: Vec<_> = keys.difference(&read).collect();
    assert!(
        unread.is_empty(),
        "documented, but without effect: {unread:?}"
    );
}

#[test]
fn the_full_example_sets_every_key() {
    fn set_in(
        schema: &'static Schema,
        value: &toml::Value,
        set: &mut BTreeSet<(&'static str, String)>,
    ) {
        let Some(table) = value.as_table() else {
            return;
        };
        for (name, value) in table {
            let Some(key) = schema.key(name) else {
                continue;
            };
            set.insert((schema.name, name.clone()));
            let each = || {
                value
                    .as_table()
                    .into_iter()
                    .flat_map(|table| table.values())
            };
            match &key.kind {
                Kind::Table(inner) => set_in(inner, value, set),
                Kind::Map(inner, _) => each().for_each(|value| set_in(inner, value, set)),
                Kind::List(inner, _) | Kind::ChoiceOrList(_, inner, _) => {
                    let items = value.as_array().into_iter().flatten();
                    items.for_each(|value| set_in(inner, value, set));
                }
                Kind::Variants(kinds, _) => each().for_each(|value| {
                    let kind = value["kind"].as_str();
                    let (_, inner) = kinds.iter().find(|(word, _)| Some(*word) == kind).unwrap();
                    set_in(inner, value, set);
                }),
                _ => {}
            }
        }
    }
    let mut set = BTreeSet::new();
    set_in(
        &ROOT,
        &FULL.parse::<toml::Table>().unwrap().into(),
        &mut set,
    );
    let mut keys = BTreeSet::new();
    keys_of(&ROOT, &mut keys);
    let missing: Vec<_> = keys.difference(&set).collect();
    assert!(
        missing.is_empty(),
        "not in tests/config/valid/full.toml: {missing:?}"
    );
}

const SMALL: &str = "\
    providers.p.kind = 'simulated'\n\
    models.m.provider = 'p'\n\
    policies.q.component = 'q.wasm'\n\
    routes.r = { kind = 'json', models = ['m'] }\n";

#[test]
fn defaults_are_those_of_the_crates_behind() {
    let config = read(SMALL).unwrap();
    assert_eq!(config.policies["q"].options, PolicyOptions::default());
    assert_eq!(config.models["m"].breaker, BreakerConfig::for_models());
    let options = config.host_options();
    let expected = HostOptions {
        cache_dir: Some("/etc/backstop/data/compiled".into()),
        ..HostOptions::default()
    };
    assert_eq!(format!("{options:?}"), format!("{expected:?}"));
}

/// Options that differ from the defaults in everything.
fn unusual_options() -> PolicyOptions {
    serde_json::from_value(serde_json::json!({
        "settings": { "a": [1, 2.5, true], "b": { "c": "d" } },
        "grants": {
            "metrics": ["error-rate", "latency-*"], "models": ["m"],
            "model_budget": { "calls": 1, "time_ms": 2, "cost_micros": 3 },
            "state": true, "log": false, "incident": true, "bodies": true
        },
        "limits": {
            "deadline_ms": 7, "fuel": 1_000_000, "memory_bytes": 131_072, "host_calls": 9,
            "load_deadline_ms": 10, "load_fuel": 2_000_000
        },
        "on_failure": {
            "trap": "previous", "deadline": "closed", "memory": "previous",
            "invalid-output": "closed", "load": "previous"
        },
        "revert": { "failures": 1, "suspend_ms": 2 },
        "isolation": "warm"
    }))
    .unwrap()
}

#[test]
fn policies_take_what_their_serde_structs_take() {
    for options in [unusual_options(), PolicyOptions::default()] {
        let mut options = options;
        if options.settings.is_null() {
            options.settings = serde_json::json!({});
        }
        let mut policy = toml::Table::try_from(&options).unwrap();
        policy.insert("component".into(), "q.wasm".into());
        let mut policies = toml::Table::new();
        policies.insert("u".into(), policy.into());
        let mut root = SMALL.parse::<toml::Table>().unwrap();
        root.insert("policies".into(), policies.into());
        let config = read(&root.to_string()).unwrap();
        assert_eq!(config.policies["u"].options, options);
    }
}

#[test]
fn secrets_come_from_the_environment_and_are_not_shown() {
    let config = read(
        "server = { admin = '0.0.0.0:1', admin_token = 'pre-${PRESENT}' }\n\
         [providers.p]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:1/${PRESENT}/'\n\
         api_key = '${PRESENT}'\nheaders = { x-team = 'team ${PRESENT}' }\n\
         [models.m]\nprovider = 'p'\n[routes.r]\nkind = 'chat'\nmodels = ['m']\n",
    )
    .unwrap();
    let token = config.server.admin_token.as_ref().unwrap();
    assert!(token.matches("pre-hunter2"));
    let ProviderKind::Openai(http) = &config.providers["p"].kind else {
        panic!("another kind");
    };
    let headers: Vec<_> = http
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.expose()))
        .collect();
    let expected = [
        ("authorization", "Bearer hunter2"),
        ("x-team", "team hunter2"),
    ];
    assert_eq!(headers, expected);
    let uri = http.uri("/chat/completions").unwrap();
    assert_eq!(
        uri.to_string(),
        "http://127.0.0.1:1/hunter2/chat/completions"
    );
    let shown = format!("{:?}", (&config.server, &http.headers));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_script_keeps_what_it_does_not_change() {
    let config = read(
        "models.m.provider = 'p'\nroutes.r = { kind = 'json', models = ['m'] }\n\
         [providers.p]\nkind = 'simulated'\nerror_rate = 0.5\ntokens = 7\n\
         script = [{ at_s = 20, tokens = 9 }, { at_s = 10.5, error_rate = 1, status = 500 }]\n",
    )
    .unwrap();
    let ProviderKind::Simulated(simulated) = &config.providers["p"].kind else {
        panic!("another kind");
    };
    let at = |ms| {
        let now = simulated.behaviour_at(std::time::Duration::from_millis(ms));
        (now.error_rate, now.status, now.tokens)
    };
    assert_eq!(at(0), (0.5, 503, 7));
    assert_eq!(at(10_499), (0.5, 503, 7));
    assert_eq!(at(10_500), (1.0, 500, 7));
    assert_eq!(at(20_000), (1.0, 500, 9));
}

#[test]
fn releases_take_from_their_model_what_they_do_not_say() {
    let config = read(
        "providers = { p.kind = 'simulated', q.kind = 'simulated' }\n\
         routes.r = { kind = 'json', models = ['m'] }\n\
         [models.m]\nprovider = 'p'\nconfidence_pointer = '/c'\nstable = 'b'\n\
         releases = [{ name = 'a', provider = 'q', upstream_model = 'x' }, { name = 'b' }]\n\
         rollout = { candidate = 'a' }\n",
    )
    .unwrap();
    let model = &config.models["m"];
    assert_eq!(&*model.stable.name, "b");
    let rollout = model.rollout.as_ref().unwrap();
    assert_eq!(
        (&*rollout.candidate.name, &rollout.steps[..]),
        ("a", &[5, 25, 50][..])
    );
    let [a, b] = [&model.releases[0].target, &model.releases[1].target];
    assert_eq!((&*a.provider.name, &*a.upstream_model), ("q", "x"));
    assert_eq!((&*b.provider.name, &*b.upstream_model), ("p", "m"));
    assert_eq!(a.pointers.confidence.as_deref(), Some("/c"));
}

#[test]
fn default_plans_can_be_executed() {
    for config in [Config::builtin().unwrap(), read(FULL).unwrap()] {
        for route in config.routes.values() {
            let facts = facts_of(route);
            route.default_plan.check(&facts).unwrap();
        }
    }
    let many: String = (0..64)
        .map(|n| format!("models.m{n}.provider = 'p'\n"))
        .collect();
    let names: Vec<_> = (0..64).map(|n| format!("'m{n}'")).collect();
    let text = format!(
        "providers.p.kind = 'simulated'\n{many}\
         routes.r = {{ kind = 'json', review = true, models = [{}] }}\n",
        names.join(", ")
    );
    let route = &read(&text).unwrap().routes["r"];
    route.default_plan.check(&facts_of(route)).unwrap();
    assert_eq!(route.default_plan.steps.len(), 16);
}

fn facts_of(route: &Route) -> RequestFacts {
    let candidate = |model: &Arc<Model>| Candidate {
        model: model.name.clone(),
        breaker: Default::default(),
        healthy: true,
        ..Candidate::default()
    };
    RequestFacts {
        route: route.name.clone(),
        candidates: route.models.iter().map(candidate).collect(),
        rules: route.rules.iter().map(|rules| rules.name.clone()).collect(),
        has_review: route.review,
        streaming: false,
        attempts: Vec::new(),
        tags: Vec::new(),
        body_bytes: 0,
        body: None,
        ..RequestFacts::default()
    }
}

#[test]
fn a_component_has_to_be_there_when_a_file_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backstop.toml");
    std::fs::write(&path, SMALL).unwrap();
    let error = Config::load(&path).unwrap_err();
    let [mistake] = error.mistakes() else {
        panic!("{error}");
    };
    assert_eq!((mistake.line, &*mistake.key), (3, "policies.q.component"));
    std::fs::write(dir.path().join("q.wasm"), "").unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.server.data_dir, dir.path().join("data"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nowhere/backstop.toml")).unwrap_err();
    assert!(error.mistakes().is_empty());
    assert_eq!(
        error.to_string(),
        "read configuration `/nowhere/backstop.toml`"
    );
}

#[test]
fn too_much_is_refused_with_few_words() {
    let large = "#".repeat(schema::FILE_BYTES_MAX + 1);
    let error = read(&large).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");

    let many: String = (0..10_000).map(|n| format!("x{n} = 1\n")).collect();
    let ConfigError::Mistakes(mistakes) = read(&many).unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(mistakes.mistakes.len(), MISTAKES_MAX);
    assert_eq!(mistakes.left_out, 10_000 - MISTAKES_MAX);

    let without_models = SMALL
        .replace("models.m.", "models.m0.")
        .replace("'m'", "'m0'");
    let more: String = (1..257)
        .map(|n| format!("models.m{n}.provider = 'p'\n"))
        .collect();
    let error = read(&format!("{more}{without_models}")).unwrap_err();
    assert_eq!(error.mistakes().len(), 1, "{error}");
    assert_eq!(error.mistakes()[0].kind, MistakeKind::TooMany);
}

/// Pieces that change the meaning of what stands around them.
const PIECES: [&str; 24] = [
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "\n",
    "#",
    ",",
    "\\",
    "${",
    "}",
    "\0",
    "ü",
    "-1",
    "1e999",
    "99999999999999999999999999999999999999999",
    "true",
    "[[a]]\n",
    "nan",
    "1979-05-27",
];

fn mutated(text: &str, random: &mut fastrand::Rng) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..lines.len());
        let line = &mut lines[at];
        let boundary = |line: &str, at: usize| {
            (0..=at)
                .rev()
                .find(|at| line.is_char_boundary(*at))
                .unwrap()
        };
        let from = boundary(line, random.usize(..=line.len()));
        match random.u8(..6) {
            0 => line.insert_str(from, random.choice(PIECES).unwrap()),
            1 => line.truncate(from),
            2 => drop(line.drain(..from)),
            3 => {
                let copy = line.clone();
                lines.insert(random.usize(..lines.len()), copy);
            }
            4 => {
                let other = random.usize(..lines.len());
                lines.swap(at, other);
            }
            _ => {
                let value = random.choice(PIECES).unwrap();
                if let Some((key, _)) = line.clone().split_once('=') {
                    *line = format!("{key}= {value}");
                }
            }
        }
    }
    lines.join("\n")
}

#[test]
fn no_text_panics() {
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let base = random.choice([Config::BUILTIN_TEXT, FULL, SMALL]).unwrap();
        let text = mutated(base, &mut random);
        println!("seed {seed}"); // shown when the test fails
        if let Err(error) = read(&text) {
            assert!(!error.mistakes().is_empty());
            let (shown, json) = (
                error.to_string(),
                serde_json::to_string(error.mistakes()).unwrap(),
            );
            assert!(
                !shown.contains("hunter2") && !json.contains("hunter2"),
                "{shown}"
            );
        }
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let expected = reference();
    if written != expected {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
        panic!("docs/config.md was out of date and has been written anew; commit it");
    }
}
