//! `[telemetry.attributes]`: what attributes of spans and labels of metrics
//! are called.
//!
//! OpenTelemetry's names for generative AI are in development and differ from
//! year to year, and backends are made for those of some year. So each name
//! that the gateway writes can be another one. The table below is all that
//! there are; spans and metrics name them by [`Attribute`], so none is left
//! out.

use super::mistake::MistakeKind;
use super::schema::{Default, Key, Kind, NAME_BYTES_MAX, Schema};
use super::section::{Resolver, Section};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Labels that the format of metrics keeps for itself in histograms and
/// summaries.
const RESERVED: [&str; 2] = ["le", "quantile"];

macro_rules! attributes {
    ($($variant:ident = $name:literal, $about:literal;)+) => {
        /// Something that a span, or a metric with OpenTelemetry's names, says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is told by its name")]
        pub enum Attribute {
            $($variant,)+
        }

        impl Attribute {
            /// All of them.
            pub const ALL: [Attribute; [$(Attribute::$variant),+].len()] =
                [$(Attribute::$variant),+];

            /// The name that it has unless it is renamed.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Attribute::$variant => $name,)+
                }
            }
        }

        /// `[telemetry.attributes]`.
        pub(super) static ATTRIBUTES: Schema = Schema {
            name: "telemetry.attributes",
            about: "Other names for attributes of spans, such as `\"gen_ai.provider.name\" = \
                    \"gen_ai.system\"` for a backend that knows the conventions of 2024. Labels \
                    of `genai_metrics` are renamed with them, with `_` for what no label may \
                    hold. Names are letters, digits, `.`, `_` and `-` and begin with a letter; \
                    no two may be one. A change takes a restart.",
            keys: &[$(
                Key {
                    name: $name,
                    kind: Kind::Text(NAME_BYTES_MAX),
                    default: Default::Text($name),
                    about: $about,
                },
            )+],
        };
    };
}

attributes! {
    OperationName = "gen_ai.operation.name", "What was asked for, such as `chat`.";
    ProviderName = "gen_ai.provider.name", "Who was asked, by the name in this file.";
    RequestModel = "gen_ai.request.model", "The route, or the model that a provider was asked for.";
    RequestStream = "gen_ai.request.stream", "Whether a stream was asked for.";
    ResponseModel = "gen_ai.response.model", "The model that answered, in the provider's words.";
    FinishReasons = "gen_ai.response.finish_reasons", "Why it stopped.";
    TimeToFirstChunk = "gen_ai.response.time_to_first_chunk", "Seconds until the first token.";
    InputTokens = "gen_ai.usage.input_tokens", "Tokens of the request.";
    OutputTokens = "gen_ai.usage.output_tokens", "Tokens of the answer.";
    TokenType = "gen_ai.token.type", "`input` or `output`; only of metrics.";
    ErrorType = "error.type", "The class of a failure.";
    StatusCode = "http.response.status_code", "The status.";
    Attempts = "backstop.attempts", "How many attempts a request took.";
    Decision = "backstop.decision", "The decision of a policy.";
    End = "backstop.end", "How an attempt ended.";
    Model = "backstop.model", "The model, by its name in this file.";
    NotCalled = "backstop.not_called", "Why a model was not called.";
    Outcome = "backstop.outcome", "How a request ended.";
    Priority = "backstop.priority", "The priority of its route.";
    Racer = "backstop.racer", "The position in a race.";
    Release = "backstop.release", "The release of the model.";
    Request = "backstop.request", "The id of the request.";
    Retry = "backstop.retry", "The number of the repetition.";
    Route = "backstop.route", "The route.";
    Step = "backstop.step", "The position of the plan's step.";
    Verdict = "backstop.verdict", "What a threshold policy made of an answer.";
    WaitedMs = "backstop.waited_ms", "Milliseconds before an attempt.";
    Why = "backstop.why", "Why an attempt was made.";
}

/// The name of each attribute; no two are the same, as labels neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeNames([Arc<str>; Attribute::ALL.len()]);

impl std::default::Default for AttributeNames {
    /// OpenTelemetry's, and our own.
    fn default() -> Self {
        AttributeNames(Attribute::ALL.map(|attribute| attribute.as_str().into()))
    }
}

impl AttributeNames {
    /// What `attribute` is called in spans.
    pub fn of(&self, attribute: Attribute) -> &Arc<str> {
        &self.0[attribute as usize]
    }

    /// What `attribute` is called as a label of metrics.
    pub fn label(&self, attribute: Attribute) -> Arc<str> {
        label(self.of(attribute)).into()
    }
}

/// A name as a label: metrics know only letters, digits and `_`.
fn label(name: &str) -> String {
    let legal = |character: char| {
        if character.is_ascii_alphanumeric() {
            character
        } else {
            '_'
        }
    };
    name.chars().map(legal).collect()
}

/// Resolves `[telemetry.attributes]`.
pub(super) fn resolve(cx: &mut Resolver<'_>, section: &Section<'_>) -> AttributeNames {
    let mut names = AttributeNames::default();
    for attribute in Attribute::ALL {
        let key = attribute.as_str();
        let name = section.text(key).text;
        // The check has spoken about an empty text and about other types.
        if name.is_empty() {
            continue;
        }
        if let Err(rule) = may_be_called(name) {
            let path = section.key_path(key);
            let message = format!("`{path}` is `{}`, {rule}", super::check::shown(name));
            cx.note(MistakeKind::Invalid, section, key, message);
            continue;
        }
        names.0[attribute as usize] = name.into();
    }
    let mut taken: BTreeMap<String, Attribute> = BTreeMap::new();
    // Those that are renamed come last, and are told of.
    let (renamed, kept): (Vec<_>, Vec<_>) = Attribute::ALL
        .into_iter()
        .partition(|attribute| section.node(attribute.as_str()).is_some());
    for attribute in kept.into_iter().chain(renamed) {
        match taken.entry(label(names.of(attribute))) {
            Entry::Vacant(entry) => {
                entry.insert(attribute);
            }
            Entry::Occupied(entry) => {
                let (key, name) = (attribute.as_str(), names.of(attribute));
                let (other, its_name) = (entry.get().as_str(), names.of(*entry.get()));
                let path = section.key_path(key);
                let message = if name == its_name {
                    format!("`{path}` is `{name}`, which is what `{other}` is called")
                } else {
                    format!(
                        "`{path}` is `{name}`, which metrics cannot tell from `{its_name}`, what \
                         `{other}` is called"
                    )
                };
                cx.note(MistakeKind::Conflict, section, key, message);
            }
        }
    }
    names
}

fn may_be_called(name: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !name.bytes().all(legal) || !name.as_bytes()[0].is_ascii_alphabetic() {
        return Err("must be letters, digits, `.`, `_` and `-`, and begin with a letter");
    }
    if RESERVED.contains(&name) {
        return Err("which metrics keep for themselves");
    }
    Ok(())
}
