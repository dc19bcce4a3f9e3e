//! The settings of a simulated provider: how it behaves, and how that changes
//! over time.

use super::Name;
use super::provider::KIND;
use super::schema::{Default, Key, Kind, Schema, TIMEOUT_MS_MAX};
use super::section::{Section, Text};
use std::sync::Arc;
use std::time::Duration;

/// A provider that exists only inside the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    /// Seed of everything that is random about it.
    pub seed: u64,
    /// Where a request says what would be right; see
    /// [`Behaviour::overconfidence`].
    pub truth: Option<Arc<str>>,
    /// How it behaves until the script says otherwise.
    pub behaviour: Behaviour,
    /// What changes when, in the order of time. Each entry holds the whole
    /// behaviour from its time on.
    pub script: Vec<ScriptEntry>,
}

impl Simulated {
    /// How it behaves `elapsed` after its start.
    pub fn behaviour_at(&self, elapsed: Duration) -> &Behaviour {
        self.script
            .iter()
            .rev()
            .find(|entry| entry.at <= elapsed)
            .map_or(&self.behaviour, |entry| &entry.behaviour)
    }
}

/// One change of behaviour.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptEntry {
    /// When, counted from the provider's start.
    pub at: Duration,
    /// The behaviour from then on.
    pub behaviour: Behaviour,
}

/// How a simulated provider answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Time until the first token or the answer.
    pub latency: Duration,
    /// The latency varies by up to this much in both directions.
    pub latency_jitter: Duration,
    /// Share of calls that fail, 0 to 1.
    pub error_rate: f64,
    /// HTTP status of failed calls, 400 to 599.
    pub status: u16,
    /// Confidence of its answers, 0 to 1.
    pub confidence: f64,
    /// The confidence varies by up to this much in both directions.
    pub confidence_jitter: f64,
    /// How much more sure it is than right, -1 to 1, where the truth is known.
    pub overconfidence: f64,
    /// Labels to choose from, each as likely as the others; at least one.
    pub labels: Arc<[Name]>,
    /// Tokens of a chat answer, at least 1.
    pub tokens: u32,
    /// Time between two tokens of a stream.
    pub token_interval: Duration,
    /// Whether chat answers carry log-probabilities, from which their
    /// confidence follows.
    pub logprobs: bool,
}

/// Most entries of a script.
const SCRIPT_MAX: usize = 1_000;
/// Most labels.
const LABELS_MAX: usize = 64;
/// Latest entry of a script: a year.
const SCRIPT_S_MAX: f64 = 31_536_000.0;

/// A key of the behaviour, with its default in the provider, and without in
/// the entries of the script.
macro_rules! behaviour_keys {
    ($(($name:literal, $kind:expr, $default:expr, $about:literal)),* $(,)?) => {
        /// `[providers.NAME]` of kind `simulated`.
        pub(super) static SIMULATED: Schema = Schema {
            name: "providers.NAME (kind = \"simulated\")",
            about: "A provider that exists only inside the gateway, for demonstrations, tests and \
                    drills. Everything random about it follows from its seed.",
            keys: &[
                KIND,
                Key {
                    name: "seed",
                    kind: Kind::Integer(0, i64::MAX as u64),
                    default: Default::Integer(1),
                    about: "Seed of everything that is random about it.",
                },
                Key {
                    name: "truth_pointer",
                    kind: Kind::Pointer,
                    default: Default::Words("labels are chosen by chance"),
                    about: "Where a JSON request says which label would be right, for tests and \
                            drills: it is answered as well as the model knows.",
                },
                $(Key { name: $name, kind: $kind, default: $default, about: $about },)*
                Key {
                    name: "script",
                    kind: Kind::List(&SCRIPT_ENTRY, SCRIPT_MAX),
                    default: Default::Words("nothing changes"),
                    about: "What changes when, in the order of time.",
                },
            ],
        };

        /// `[[providers.NAME.script]]`.
        pub(super) static SCRIPT_ENTRY: Schema = Schema {
            name: "providers.NAME.script[]",
            about: "One change of a simulated provider's behaviour, which holds until another entry \
                    changes it.",
            keys: &[
                Key {
                    name: "at_s",
                    kind: Kind::Number(0.0, SCRIPT_S_MAX),
                    default: Default::Required,
                    about: "Seconds since the provider's start.",
                },
                $(Key {
                    name: $name,
                    kind: $kind,
                    default: Default::Words("as before"),
                    about: $about,
                },)*
            ],
        };
    };
}

behaviour_keys![
    (
        "latency_ms",
        Kind::Integer(0, TIMEOUT_MS_MAX),
        Default::Integer(50),
        "Milliseconds until the first token or the answer."
    ),
    (
        "latency_jitter_ms",
        Kind::Integer(0, TIMEOUT_MS_MAX),
        Default::Integer(0),
        "Milliseconds by which the latency varies in both directions."
    ),
    (
        "error_rate",
        Kind::Number(0.0, 1.0),
        Default::Number(0.0),
        "Share of calls that fail."
    ),
    (
        "status",
        Kind::Integer(400, 599),
        Default::Integer(503),
        "HTTP status of failed calls."
    ),
    (
        "confidence",
        Kind::Number(0.0, 1.0),
        Default::Number(0.9),
        "Confidence of its answers."
    ),
    (
        "confidence_jitter",
        Kind::Number(0.0, 1.0),
        Default::Number(0.0),
        "How much the confidence varies in both directions."
    ),
    (
        "overconfidence",
        Kind::Number(-1.0, 1.0),
        Default::Number(0.0),
        "How much more sure it is than right: of answers with the confidence `c` to requests that \
         tell the truth, the share `c - overconfidence` is right. A rise is a model that gets worse \
         and does not show it."
    ),
    (
        "labels",
        Kind::Texts(1, LABELS_MAX),
        Default::Texts(&["approve", "decline"]),
        "Labels of its answers, each as likely as the others."
    ),
    (
        "tokens",
        Kind::Integer(1, 100_000),
        Default::Integer(20),
        "Tokens of a chat answer."
    ),
    (
        "token_interval_ms",
        Kind::Integer(0, 60_000),
        Default::Integer(10),
        "Milliseconds between two tokens of a stream."
    ),
    (
        "logprobs",
        Kind::Bool,
        Default::Bool(true),
        "Whether chat answers carry log-probabilities, from which their confidence follows."
    ),
];

/// Resolves a simulated provider.
pub(super) fn resolve(section: &Section<'_>) -> Simulated {
    let labels = |texts: Vec<Text<'_>>| texts.iter().map(|text| Name::from(text.text)).collect();
    let behaviour = Behaviour {
        latency: section.millis("latency_ms"),
        latency_jitter: section.millis("latency_jitter_ms"),
        error_rate: section.number("error_rate"),
        status: section.integer("status"),
        confidence: section.number("confidence"),
        confidence_jitter: section.number("confidence_jitter"),
        overconfidence: section.number("overconfidence"),
        labels: labels(section.texts("labels")),
        tokens: section.integer("tokens"),
        token_interval: section.millis("token_interval_ms"),
        logprobs: section.boolean("logprobs"),
    };
    let mut entries = section.list("script");
    // Stable, so that of entries at the same time the later one wins.
    let at = |entry: &Section<'_>| entry.number("at_s").clamp(0.0, SCRIPT_S_MAX);
    entries.sort_by(|a, b| at(a).total_cmp(&at(b)));
    let mut before = behaviour.clone();
    let script = entries
        .iter()
        .map(|entry| {
            let millis = |key, before| {
                entry
                    .integer_if_set(key)
                    .map_or(before, Duration::from_millis)
            };
            let number = |key, before| entry.number_if_set(key).unwrap_or(before);
            before = Behaviour {
                latency: millis("latency_ms", before.latency),
                latency_jitter: millis("latency_jitter_ms", before.latency_jitter),
                error_rate: number("error_rate", before.error_rate),
                status: entry.integer_if_set("status").unwrap_or(before.status),
                confidence: number("confidence", before.confidence),
                confidence_jitter: number("confidence_jitter", before.confidence_jitter),
                overconfidence: number("overconfidence", before.overconfidence),
                labels: entry
                    .texts_if_set("labels")
                    .map_or_else(|| before.labels.clone(), labels),
                tokens: entry.integer_if_set("tokens").unwrap_or(before.tokens),
                token_interval: millis("token_interval_ms", before.token_interval),
                logprobs: entry.boolean_if_set("logprobs").unwrap_or(before.logprobs),
            };
            ScriptEntry {
                at: seconds(at(entry)),
                behaviour: before.clone(),
            }
        })
        .collect();
    Simulated {
        seed: section.integer("seed"),
        truth: section
            .text_if_set("truth_pointer")
            .map(|pointer| pointer.text.into()),
        behaviour,
        script,
    }
}

/// Seconds with a fraction; not a number is no time at all.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
