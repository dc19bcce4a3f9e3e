//! Rules answers in the shape of a model's, whole and as a stream.
//!
//! A caller that can read a model's answer can read these without knowing that
//! no model was asked; `model` and the `x-backstop-step` header say so.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// A rules answer to one chat request.
#[derive(Debug, Clone, Copy)]
pub struct RulesAnswer<'a> {
    /// Unique per answer, without the prefix `chatcmpl-`.
    pub id: &'a str,
    /// Seconds since the Unix epoch.
    pub created_s: u64,
    /// What stands in `model`: the name of the rules.
    pub model: &'a str,
    /// The text.
    pub text: &'a str,
}

/// Token counts of an answer that no model wrote.
const NO_USAGE: Usage = Usage {
    prompt_tokens: 0,
    completion_tokens: 0,
    total_tokens: 0,
};

#[derive(Serialize, Clone, Copy)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

#[derive(Serialize)]
struct Document<'a, C> {
    id: Id<'a>,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [C],
    /// A chunk has `null` here when counts were asked for, and no key when
    /// they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

struct Id<'a>(&'a str);

impl Serialize for Id<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("chatcmpl-{}", self.0))
    }
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl RulesAnswer<'_> {
    /// A whole chat completion.
    pub fn to_completion(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.text.len() + 512);
        let choice = Choice {
            index: 0,
            message: Message {
                role: "assistant",
                content: self.text,
                refusal: None,
            },
            logprobs: None,
            finish_reason: "stop",
        };
        self.write(&mut out, "chat.completion", &[choice], Some(Some(NO_USAGE)));
        out.freeze()
    }

    /// All events of a stream: role, text, finish, the counts when
    /// `include_usage`, and `[DONE]`.
    pub fn to_events(&self, include_usage: bool) -> Bytes {
        let mut out = BytesMut::with_capacity(self.text.len() + 1536);
        let usage = include_usage.then_some(None);
        let deltas = [
            (Some("assistant"), Some(""), None),
            (None, Some(self.text), None),
            (None, None, Some("stop")),
        ];
        for (role, content, finish_reason) in deltas {
            let choice = ChunkChoice {
                index: 0,
                delta: Delta { role, content },
                logprobs: None,
                finish_reason,
            };
            self.event(&mut out, &[choice], usage);
        }
        if include_usage {
            self.event::<ChunkChoice<'_>>(&mut out, &[], Some(Some(NO_USAGE)));
        }
        out.put_slice(b"data: [DONE]\n\n");
        out.freeze()
    }

    fn event<C: Serialize>(&self, out: &mut BytesMut, choices: &[C], usage: Option<Option<Usage>>) {
        out.put_slice(b"data: ");
        self.write(out, "chat.completion.chunk", choices, usage);
        out.put_slice(b"\n\n");
    }

    fn write<C: Serialize>(
        &self,
        out: &mut BytesMut,
        object: &'static str,
        choices: &[C],
        usage: Option<Option<Usage>>,
    ) {
        let document = Document {
            id: Id(self.id),
            object,
            created: self.created_s,
            model: self.model,
            choices,
            usage,
        };
        let written = serde_json::to_writer(out.writer(), &document);
        debug_assert!(written.is_ok(), "strings and numbers into memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::completion::Completion;
    use crate::openai::sse::events;
    use backstop_core::input::FinishReason;
    use serde_json::{Value, json};

    const ANSWER: RulesAnswer<'_> = RulesAnswer {
        id: "7",
        created_s: 1_700_000_000,
        model: "sorry",
        text: "try \"later\"",
    };

    #[test]
    fn a_whole_answer_reads_as_a_completion() {
        let body = ANSWER.to_completion();
        let read = Completion::parse(&body).unwrap();
        assert_eq!(read.finish_reason, Some(FinishReason::Stop));
        assert_eq!(read.served_model.as_deref(), Some("sorry"));
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["choices"][0]["message"]["content"], "try \"later\"");
        assert_eq!(value["choices"][0]["logprobs"], Value::Null);
        assert_eq!(value["id"], "chatcmpl-7");
        assert_eq!(value["usage"]["total_tokens"], 0);
    }

    #[test]
    fn a_stream_is_what_the_clients_expect() {
        for include_usage in [false, true] {
            let body = ANSWER.to_events(include_usage);
            let data: Vec<_> = events(&body).map(|event| event.data.unwrap()).collect();
            assert_eq!(data.len(), if include_usage { 5 } else { 4 });
            assert_eq!(&**data.last().unwrap(), b"[DONE]");
            let chunks: Vec<Value> = data[..data.len() - 1]
                .iter()
                .map(|data| serde_json::from_slice(data).unwrap())
                .collect();
            for chunk in &chunks {
                assert_eq!(chunk["id"], "chatcmpl-7");
                assert_eq!(chunk["created"], 1_700_000_000);
                assert_eq!(chunk["object"], "chat.completion.chunk");
                assert_eq!(chunk.get("usage").is_some(), include_usage);
            }
            assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
            assert_eq!(
                chunks[1]["choices"][0]["delta"],
                json!({"content": "try \"later\""})
            );
            assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
            assert_eq!(chunks[2]["choices"][0]["delta"], json!({}));
            if include_usage {
                assert_eq!(chunks[2]["usage"], Value::Null);
                assert_eq!(chunks[3]["choices"], json!([]));
                assert_eq!(chunks[3]["usage"]["total_tokens"], 0);
            }
        }
    }
}
