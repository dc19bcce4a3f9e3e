//! The official `openai` packages against a gateway whose providers fail.
//!
//! Everything is real: packages as they are published, sockets, gateway,
//! shipped policies. `clients/chat.py` and `clients/chat.mjs` ask and print
//! what they saw; both are held to the same table ([`CASES`]). A machine
//! without Python, node or network skips this and says so, except in CI.

use backstop::record::{DecidedBy, Output};
use backstop_tests::gateway::{FREE_PORTS, Running};
use backstop_tests::packages::{Made, NODE_VERSION, PYTHON_VERSION, Package};
use backstop_tests::upstream::{Asked, Manner, Refusing, Upstream};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// The answer of a provider that is well.
const BACKUP: &str = "the backup is here to help";
/// The answer of one that is not sure of it.
const UNSURE: &str = "perhaps it is so";
/// Of which a stream that is cut shows two words.
const HALF: &str = "half of what was meant";
/// The answer that needs no model.
const SORRY: &str = "please try again later";
/// Calls of a failing model after which it is not asked first any more: the
/// policy's `trials_min`.
const LEARNING: usize = 20;

/// What a caller sees.
enum Sees {
    /// A model's answer, complete.
    Answer {
        text: &'static str,
        model: &'static str,
        step: &'static str,
        attempts: &'static str,
    },
    /// The answer of the rules.
    Rules,
    /// The beginning of an answer, and an error.
    Cut,
    /// An error: class, status, type, code, parameter.
    Error(
        &'static str,
        u16,
        &'static str,
        &'static str,
        Option<&'static str>,
    ),
}

const fn backup(step: &'static str, attempts: &'static str) -> Sees {
    Sees::Answer {
        text: BACKUP,
        model: "backup",
        step,
        attempts,
    }
}

/// Routes, whether a stream is asked for, and what is seen.
const CASES: &[(&str, bool, Sees)] = &[
    // The first model answers 503.
    ("chat", false, backup("1", "2")),
    ("chat", true, backup("1", "2")),
    // It refuses connections.
    ("refused", false, backup("1", "2")),
    ("refused", true, backup("1", "2")),
    // It breaks off before anything was said.
    ("vanishing", false, backup("1", "2")),
    ("vanishing", true, backup("1", "2")),
    // It breaks off in the middle, which nobody sees of a stream that is held.
    ("breaking", false, backup("1", "2")),
    ("breaking", true, backup("1", "2")),
    // It answers, with little confidence.
    ("unsure", false, backup("1", "2")),
    ("unsure", true, backup("1", "2")),
    // The same where streams pass at once: what one has shown cannot be taken
    // back, and is never taken for a whole answer.
    ("breaking-at-once", false, backup("1", "2")),
    ("breaking-at-once", true, Sees::Cut),
    (
        "unsure-at-once",
        true,
        Sees::Answer {
            text: UNSURE,
            model: "unsure-at-once",
            step: "0",
            attempts: "1",
        },
    ),
    // No other model.
    ("ruled", false, Sees::Rules),
    ("ruled", true, Sees::Rules),
    ("alone", false, OVERLOADED),
    ("alone", true, OVERLOADED),
    // No such route.
    ("chatt", false, NO_ROUTE),
    ("chatt", true, NO_ROUTE),
];

const OVERLOADED: Sees = Sees::Error(
    "InternalServerError",
    503,
    "service_unavailable_error",
    "overload",
    None,
);
const NO_ROUTE: Sees = Sees::Error(
    "NotFoundError",
    404,
    "invalid_request_error",
    "model_not_found",
    Some("model"),
);

/// The providers behind the gateway.
struct Providers {
    overloaded: Upstream,
    refusing: Refusing,
    vanishing: Upstream,
    breaking: Upstream,
    unsure: Upstream,
    backup: Upstream,
}

impl Providers {
    async fn start() -> Self {
        let start = async |manner| Upstream::start(manner).await.unwrap();
        let answers = |text, logprob| Manner::Answers { text, logprob };
        Self {
            overloaded: start(Manner::Overloaded).await,
            refusing: Refusing::start().unwrap(),
            vanishing: start(Manner::CutsAtOnce).await,
            breaking: start(Manner::Cuts(HALF)).await,
            unsure: start(answers(UNSURE, -1.2)).await,
            backup: start(answers(BACKUP, -0.02)).await,
        }
    }

    /// A configuration with a route, and a first model of its own, for each
    /// trouble.
    fn config(&self) -> String {
        let overloaded = self.overloaded.url();
        let mut text = format!("{FREE_PORTS}{POLICIES}[rules.sorry]\ntext = \"{SORRY}\"\n");
        for (route, then, url) in [
            (
                "chat",
                "models = [\"chat\", \"backup\"]",
                overloaded.clone(),
            ),
            (
                "refused",
                "models = [\"refused\", \"backup\"]",
                self.refusing.url(),
            ),
            (
                "vanishing",
                "models = [\"vanishing\", \"backup\"]",
                self.vanishing.url(),
            ),
            (
                "breaking",
                "models = [\"breaking\", \"backup\"]",
                self.breaking.url(),
            ),
            (
                "unsure",
                "models = [\"unsure\", \"backup\"]",
                self.unsure.url(),
            ),
            (
                "breaking-at-once",
                "models = [\"breaking-at-once\", \"backup\"]\nstream.hold = \"none\"",
                self.breaking.url(),
            ),
            (
                "unsure-at-once",
                "models = [\"unsure-at-once\", \"backup\"]\nstream.hold = \"none\"",
                self.unsure.url(),
            ),
            (
                "ruled",
                "models = [\"ruled\"]\nrules = [\"sorry\"]",
                overloaded.clone(),
            ),
            ("alone", "models = [\"alone\"]", overloaded),
        ] {
            text.push_str(&model(route, &url));
            text.push_str(&format!(
                "[routes.{route}]\nkind = \"chat\"\n{then}\n\
                 fallback = \"layered\"\nthreshold = \"confidence\"\n"
            ));
        }
        text.push_str(&model("backup", &self.backup.url()));
        text
    }
}

const POLICIES: &str = r#"
[policies.layered]
component = "builtin:layered-fallback"
settings = { trials_min = 20, window_s = 3600 }
grants = { metrics = ["error-rate"] }
[policies.confidence]
component = "builtin:confidence-threshold"
settings = { accept_at = 0.7 }
grants = { metrics = ["accuracy"] }
"#;

/// A model and the provider that runs nothing else. Without its breaker, which
/// would open before the policy has seen enough.
fn model(name: &str, url: &str) -> String {
    format!(
        "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         api_key = \"of-the-gateway\"\n\
         [models.{name}]\nprovider = \"{name}\"\nupstream_model = \"{name}-large\"\n\
         breaker = {{ initial_state = \"disabled\" }}\n"
    )
}

/// Holds what a package saw of one request to what it should have.
fn check(label: &str, seen: &Value, sees: &Sees, gateway: &Running) {
    let header = |name: &str| seen["headers"][format!("x-backstop-{name}")].as_str();
    let complete = (seen["finish"] == "stop") == matches!(sees, Sees::Answer { .. } | Sees::Rules);
    assert!(
        complete,
        "{label}: only what is whole ends like it: {seen:#}"
    );
    assert_eq!(
        seen["error"].is_null(),
        matches!(sees, Sees::Answer { .. } | Sees::Rules),
        "{label}: {seen:#}"
    );
    match *sees {
        Sees::Answer {
            text,
            model,
            step,
            attempts,
        } => {
            assert_eq!(seen["text"], text, "{label}: {seen:#}");
            assert_eq!(header("model"), Some(model), "{label}: {seen:#}");
            assert_eq!(header("step"), Some(step), "{label}: {seen:#}");
            assert_eq!(header("attempts"), Some(attempts), "{label}: {seen:#}");
        }
        Sees::Rules => {
            assert_eq!(seen["text"], SORRY, "{label}: {seen:#}");
            assert_eq!(header("step"), Some("rules"), "{label}: {seen:#}");
            assert_eq!(header("rules"), Some("sorry"), "{label}: {seen:#}");
        }
        Sees::Cut => {
            assert_eq!(seen["text"], "half of ", "{label}: {seen:#}");
            assert_eq!(seen["error"]["class"], "APIError", "{label}: {seen:#}");
            assert_eq!(seen["error"]["code"], "cut-stream", "{label}: {seen:#}");
            assert_eq!(
                header("model"),
                Some("breaking-at-once"),
                "{label}: {seen:#}"
            );
            assert_eq!(header("step"), Some("0"), "{label}: {seen:#}");
        }
        Sees::Error(class, status, kind, code, param) => {
            let error = &seen["error"];
            assert_eq!(error["class"], class, "{label}: {seen:#}");
            assert_eq!(error["status"], status, "{label}: {seen:#}");
            assert_eq!(error["type"], kind, "{label}: {seen:#}");
            assert_eq!(error["code"], code, "{label}: {seen:#}");
            assert_eq!(error["param"], json!(param), "{label}: {seen:#}");
            assert_eq!(seen["text"], "", "{label}: {seen:#}");
        }
    }
    let routed = !matches!(sees, Sees::Error(_, 404, ..));
    assert_eq!(header("decision").is_some(), routed, "{label}: {seen:#}");
    if let Some(id) = header("decision") {
        // The header leads to the record, and the policy made the plan.
        let records = gateway.gateway.host().records();
        let record = records.get(id.parse().unwrap()).expect(label);
        assert_eq!(record.decided_by, DecidedBy::Policy, "{label}: {record:#?}");
        assert_eq!(record.revision.policy.as_ref() as &str, "layered");
        assert!(matches!(*record.applied, Output::Plan(_)), "{label}");
    }
}

/// Lets a package ask everything, and checks what it saw and what the
/// providers were asked.
async fn holds(package: Package, script: &str, version: &str) {
    let providers = Providers::start().await;
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("backstop.toml");
    std::fs::write(&config, providers.config()).unwrap();
    let gateway = Running::launch(&config, false)
        .await
        .unwrap_or_else(|error| panic!("{error}"));

    let asked = |(route, stream, _): &(&str, bool, Sees)| json!({"route": route, "stream": stream});
    let mut cases: Vec<Value> = CASES.iter().map(asked).collect();
    cases.extend((0..LEARNING).map(|n| json!({"route": "chat", "stream": n % 2 == 0})));
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(script);
    let url = format!("http://{}/v1", gateway.data);
    let cases = Value::from(cases).to_string();
    let printed = tokio::task::spawn_blocking(move || package.run(&script, &[&url, &cases]));
    let printed = printed.await.unwrap().unwrap();
    let seen: Value = serde_json::from_str(&printed).unwrap();

    assert_eq!(seen["package"], version);
    let routes = seen["models"].as_array().unwrap();
    assert!(routes.contains(&json!("chat")), "{routes:?}");
    let answers = seen["answers"].as_array().unwrap();
    assert_eq!(answers.len(), CASES.len() + LEARNING);
    let (first, later) = answers.split_at(CASES.len());
    for ((route, stream, sees), seen) in CASES.iter().zip(first) {
        check(&format!("{route}, stream: {stream}"), seen, sees, &gateway);
    }
    let near = &first[CASES.len() - 1]["error"]["message"];
    assert!(near.as_str().unwrap().contains("`chat`"), "{near}");
    for (n, seen) in later.iter().enumerate() {
        // Of the calls that prove it, two were made before.
        let sees = if n + 2 < LEARNING {
            backup("1", "2")
        } else {
            backup("0", "1")
        };
        check(&format!("chat, {n} later"), seen, &sees, &gateway);
    }

    // Models are asked by their own names, with the gateway's credentials.
    let asked = providers.backup.asked();
    assert!(asked.iter().any(|asked| asked.stream));
    for Asked {
        model,
        authorization,
        ..
    } in asked
    {
        assert_eq!(model, "backup-large");
        assert_eq!(authorization.as_deref(), Some("Bearer of-the-gateway"));
    }
    let overloaded = providers.overloaded.asked();
    let chat = overloaded
        .iter()
        .filter(|asked| asked.model == "chat-large");
    assert_eq!(chat.count(), LEARNING, "asked until it was clear");
    assert_eq!(gateway.stop().await.cut, 0);
}

/// The package, or none where this machine cannot have it. That is told past
/// the capture of the test's output, and is a failure in CI.
pub(crate) fn found<T>(what: &str, package: Made<T>) -> Option<T> {
    match package.unwrap_or_else(|error| panic!("{what}: {error:#}")) {
        Ok(package) => Some(package),
        Err(why) => {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "{what}: {why}");
            let _ = writeln!(
                std::io::stderr(),
                "\nSKIPPED, {what} was not tested: {why}\n"
            );
            None
        }
    }
}

pub(crate) fn cache() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_gets_its_answers_from_the_backup() {
    if let Some(package) = found("the Python package `openai`", Package::python(cache())) {
        holds(package, "chat.py", PYTHON_VERSION).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_package_gets_its_answers_from_the_backup() {
    if let Some(package) = found("the node package `openai`", Package::node(cache())) {
        holds(package, "chat.mjs", NODE_VERSION).await;
    }
}
