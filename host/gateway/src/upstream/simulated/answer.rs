//! The bytes that a simulated model answers.

use crate::openai::Api;
use crate::openai::responses::write;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;
use serde_json::{Value, json};

/// Most words of an answer, so that a slip in a script cannot fill the memory.
const WORDS_MAX: usize = 4096;

/// What a simulated model babbles.
const VOCABULARY: &[&str] = &[
    "the",
    "model",
    "answers",
    "with",
    "calm",
    "and",
    "clear",
    "words",
    "about",
    "what",
    "you",
    "asked",
    "today",
    "because",
    "it",
    "is",
    "only",
    "simulated",
    "here",
    "again",
];

/// The words of an answer, each but the first with its leading space.
pub(super) fn words(text: Option<&str>, count: u32, rng: &mut Rng) -> Vec<String> {
    let spaced = |(position, word): (usize, &str)| {
        if position == 0 {
            word.to_owned()
        } else {
            format!(" {word}")
        }
    };
    match text {
        Some(text) => text
            .split_whitespace()
            .take(WORDS_MAX)
            .enumerate()
            .map(spaced)
            .collect(),
        None => (0..usize::try_from(count).unwrap_or(WORDS_MAX).min(WORDS_MAX))
            .map(|position| (position, VOCABULARY[rng.usize(..VOCABULARY.len())]))
            .map(spaced)
            .collect(),
    }
}

/// One answer that is a text, whole or event by event.
pub(super) struct TextAnswer {
    /// Which it answers; not embeddings.
    pub(super) api: Api,
    /// Unique, without the API's prefix.
    pub(super) id: String,
    pub(super) created_s: u64,
    pub(super) model: String,
    pub(super) words: Vec<String>,
    pub(super) confidence: f64,
    pub(super) include_usage: bool,
    pub(super) logprobs: bool,
}

impl TextAnswer {
    /// Log-probabilities differ from word to word, in pairs that cancel out,
    /// so that their mean is the logarithm of the confidence.
    fn logprob(&self, word: usize) -> f64 {
        let mean = self.confidence.ln();
        let paired = word < self.words.len() / 2 * 2;
        match (paired, word.is_multiple_of(2)) {
            (false, _) => mean,
            (true, true) => mean * 1.5,
            (true, false) => mean * 0.5,
        }
    }

    fn logprobs(&self, words: std::ops::Range<usize>) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        if self.api == Api::Completions {
            let before: usize = self.words[..words.start].iter().map(String::len).sum();
            let offsets = self.words[words.clone()].iter().scan(before, |at, word| {
                let offset = *at;
                *at += word.len();
                Some(offset)
            });
            let logprobs: Vec<f64> = words.clone().map(|word| self.logprob(word)).collect();
            return json!({
                "tokens": self.words[words.clone()],
                "token_logprobs": logprobs,
                "top_logprobs": null,
                "text_offset": offsets.collect::<Vec<usize>>(),
            });
        }
        let tokens: Vec<Value> = words.map(|word| self.token(word)).collect();
        json!({"content": tokens, "refusal": null})
    }

    fn token(&self, word: usize) -> Value {
        let text = &self.words[word];
        json!({
            "token": text,
            "logprob": self.logprob(word),
            "bytes": text.as_bytes(),
            "top_logprobs": [],
        })
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": 0,
            "completion_tokens": self.words.len(),
            "total_tokens": self.words.len(),
        })
    }

    fn response(&self) -> write::Answer {
        let logprobs = || (0..self.words.len()).map(|word| self.logprob(word));
        write::Answer {
            id: self.id.clone(),
            created_s: self.created_s,
            model: self.model.clone(),
            pieces: self.words.clone(),
            logprobs: self.logprobs.then(|| logprobs().collect()),
            tokens: self.words.len() as u64,
        }
    }

    fn full_id(&self) -> String {
        let prefix = if self.api == Api::Completions {
            "cmpl"
        } else {
            "chatcmpl"
        };
        format!("{prefix}-{}", self.id)
    }

    /// The whole answer.
    pub(super) fn whole(&self) -> Bytes {
        if self.api == Api::Responses {
            return self.response().whole();
        }
        let text = self.words.concat();
        let mut choice = json!({
            "index": 0,
            "logprobs": self.logprobs(0..self.words.len()),
            "finish_reason": "stop",
        });
        if self.api == Api::Completions {
            choice["text"] = json!(text);
        } else {
            choice["message"] = json!({"role": "assistant", "content": text, "refusal": null});
        }
        let object = if self.api == Api::Completions {
            "text_completion"
        } else {
            "chat.completion"
        };
        let document = json!({
            "id": self.full_id(),
            "object": object,
            "created": self.created_s,
            "model": self.model,
            "choices": [choice],
            "usage": self.usage(),
        });
        Bytes::from(document.to_string())
    }

    /// Event `position` of the stream: the role, the words, the finish, the
    /// counts when they were asked for, `[DONE]`, and then none.
    pub(super) fn event(&self, position: usize) -> Option<Bytes> {
        if self.api == Api::Responses {
            return self.response().event(position);
        }
        let words = self.words.len();
        if position == 0 {
            return Some(self.chunk(
                json!({"role": "assistant", "content": ""}),
                Value::Null,
                Value::Null,
            ));
        }
        if position <= words {
            let word = position - 1;
            let logprobs = self.logprobs(word..word + 1);
            let delta = json!({"content": self.words[word]});
            return Some(self.chunk(delta, logprobs, Value::Null));
        }
        match (position - words - 1, self.include_usage) {
            (0, _) => Some(self.chunk(json!({}), Value::Null, json!("stop"))),
            (1, true) => Some(self.document(json!([]), self.usage())),
            (1, false) | (2, true) => Some(Bytes::from_static(b"data: [DONE]\n\n")),
            _ => None,
        }
    }

    fn chunk(&self, delta: Value, logprobs: Value, finish_reason: Value) -> Bytes {
        let mut choice = json!({
            "index": 0,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        });
        if self.api == Api::Completions {
            choice["text"] = delta.get("content").cloned().unwrap_or_else(|| json!(""));
        } else {
            choice["delta"] = delta;
        }
        self.document(json!([choice]), Value::Null)
    }

    fn document(&self, choices: Value, usage: Value) -> Bytes {
        let mut document = json!({
            "id": self.full_id(),
            "object": if self.api == Api::Completions {
                "text_completion"
            } else {
                "chat.completion.chunk"
            },
            "created": self.created_s,
            "model": self.model,
            "choices": choices,
        });
        if self.include_usage {
            document["usage"] = usage;
        }
        let mut event = BytesMut::with_capacity(384);
        event.put_slice(b"data: ");
        let written = serde_json::to_writer((&mut event).writer(), &document);
        debug_assert!(written.is_ok(), "JSON into memory");
        event.put_slice(b"\n\n");
        event.freeze()
    }
}

/// Numbers of a made-up vector.
const DIMENSIONS: usize = 8;
/// Most vectors of one answer, as OpenAI takes inputs.
const INPUTS_MAX: usize = 2048;

/// Vectors for the inputs of `body`: the same for the same input, in the form
/// that was asked for.
pub(super) fn embeddings(model: &str, body: &[u8]) -> Bytes {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let inputs = match &request["input"] {
        Value::Array(items) if !items.iter().all(Value::is_number) => &items[..],
        one => std::slice::from_ref(one),
    };
    let base64 = request["encoding_format"] == "base64";
    let data: Vec<Value> = inputs
        .iter()
        .take(INPUTS_MAX)
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(&input.to_string());
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(BASE64_STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let document = json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    });
    Bytes::from(document.to_string())
}

/// A vector that depends on nothing but `text`.
fn vector(text: &str) -> [f32; DIMENSIONS] {
    let seed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rng = Rng::with_seed(seed);
    std::array::from_fn(|_| rng.f32() * 2.0 - 1.0)
}

/// A prediction: the label with its confidence, the others share the rest.
#[expect(clippy::cast_precision_loss, reason = "the length of a short list")]
pub(super) fn prediction(model: &str, labels: &[String], label: usize, confidence: f64) -> Bytes {
    let rest = (1.0 - confidence) / labels.len().saturating_sub(1).max(1) as f64;
    let scores: serde_json::Map<String, Value> = labels
        .iter()
        .enumerate()
        .map(|(at, name)| {
            (
                name.clone(),
                json!(if at == label { confidence } else { rest }),
            )
        })
        .collect();
    let document = json!({
        "label": labels.get(label),
        "confidence": confidence,
        "scores": scores,
        "model": model,
    });
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::completion::Completion;

    #[test]
    fn an_answer_has_the_confidence_that_was_asked_for() {
        for count in [1, 2, 7, 12] {
            let answer = TextAnswer {
                api: Api::Chat,
                id: "x".into(),
                created_s: 1,
                model: "m".into(),
                words: words(None, count, &mut Rng::with_seed(1)),
                confidence: 0.61,
                include_usage: false,
                logprobs: true,
            };
            let read = Completion::parse(&answer.whole()).unwrap();
            let confidence = read.logprobs.confidence().unwrap();
            assert!((confidence - 0.61).abs() < 1e-9, "{count}: {confidence}");
        }
    }

    #[test]
    fn a_configured_text_is_said() {
        let words = words(Some("one  two three"), 99, &mut Rng::with_seed(1));
        assert_eq!(words.concat(), "one two three");
    }

    #[test]
    fn a_prediction_adds_up() {
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let read: Value = serde_json::from_slice(&prediction("m", &labels, 1, 0.8)).unwrap();
        assert_eq!(read["label"], "b");
        let sum: f64 = read["scores"]
            .as_object()
            .unwrap()
            .values()
            .map(|score| score.as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }
}
