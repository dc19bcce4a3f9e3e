//! Rules answers in the shape of a model's, whole and as a stream.
//!
//! A caller that can read a model's answer can read these without knowing that
//! no model was asked; `model` and the `x-backstop-step` header say so.

use super::Api;
use super::responses::write;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// A rules answer to one request.
#[derive(Debug, Clone, Copy)]
pub struct RulesAnswer<'a> {
    /// What was asked for. Embeddings have no text to be answered with, and
    /// are answered as chats.
    pub api: Api,
    /// Unique per answer, without the API's prefix.
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
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [C],
    /// A chunk has `null` here when counts were asked for, and no key when
    /// they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
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

/// A choice of a completion of a text, whole or a piece of it.
#[derive(Serialize)]
struct TextChoice<'a> {
    text: &'a str,
    index: u32,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

impl<'a> TextChoice<'a> {
    fn new(text: &'a str, finish_reason: Option<&'static str>) -> Self {
        TextChoice {
            text,
            index: 0,
            logprobs: None,
            finish_reason,
        }
    }
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
    /// A whole answer.
    pub fn to_whole(&self) -> Bytes {
        match self.api {
            Api::Responses => return self.response().whole(),
            Api::Completions => {
                let mut out = BytesMut::with_capacity(self.text.len() + 512);
                let choice = TextChoice::new(self.text, Some("stop"));
                self.write(&mut out, "text_completion", &[choice], Some(Some(NO_USAGE)));
                return out.freeze();
            }
            Api::Chat | Api::Embeddings => {}
        }
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

    fn response(&self) -> write::Answer {
        write::Answer {
            id: self.id.to_owned(),
            created_s: self.created_s,
            model: self.model.to_owned(),
            pieces: vec![self.text.to_owned()],
            logprobs: None,
            tokens: 0,
        }
    }

    /// All events of a stream: for chat the role, the text, the finish, the
    /// counts when `include_usage`, and `[DONE]`.
    pub fn to_events(&self, include_usage: bool) -> Bytes {
        if self.api == Api::Responses {
            return self.response().events();
        }
        let mut out = BytesMut::with_capacity(self.text.len() + 1536);
        let usage = include_usage.then_some(None);
        if self.api == Api::Completions {
            for (text, finish_reason) in [(self.text, None), ("", Some("stop"))] {
                let choice = TextChoice::new(text, finish_reason);
                self.event(&mut out, &[choice], usage);
            }
        } else {
            self.deltas(&mut out, usage);
        }
        if include_usage {
            self.event::<ChunkChoice<'_>>(&mut out, &[], Some(Some(NO_USAGE)));
        }
        out.put_slice(b"data: [DONE]\n\n");
        out.freeze()
    }

    fn deltas(&self, out: &mut BytesMut, usage: Option<Option<Usage>>) {
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
            self.event(out, &[choice], usage);
        }
    }

    fn event<C: Serialize>(&self, out: &mut BytesMut, choices: &[C], usage: Option<Option<Usage>>) {
        out.put_slice(b"data: ");
        let object = match self.api {
            Api::Completions => "text_completion",
            _ => "chat.completion.chunk",
        };
        self.write(out, object, choices, usage);
        out.put_slice(b"\n\n");
    }

    fn write<C: Serialize>(
        &self,
        out: &mut BytesMut,
        object: &'static str,
        choices: &[C],
        usage: Option<Option<Usage>>,
    ) {
        let prefix = match self.api {
            Api::Completions => "cmpl",
            _ => "chatcmpl",
        };
        let document = Document {
            id: format!("{prefix}-{}", self.id),
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
        api: Api::Chat,
        id: "7",
        created_s: 1_700_000_000,
        model: "sorry",
        text: "try \"later\"",
    };

    #[test]
    fn a_whole_answer_reads_as_a_completion() {
        let body = ANSWER.to_whole();
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
    fn each_api_reads_its_own_answer() {
        let text = RulesAnswer {
            api: Api::Completions,
            ..ANSWER
        };
        let value: Value = serde_json::from_slice(&text.to_whole()).unwrap();
        assert_eq!(value["object"], "text_completion");
        assert_eq!(value["id"], "cmpl-7");
        assert_eq!(value["choices"][0]["text"], "try \"later\"");
        let stream = text.to_events(true);
        let data: Vec<_> = events(&stream).map(|event| event.data.unwrap()).collect();
        assert_eq!(data.len(), 4, "text, finish, counts, end");
        let first: Value = serde_json::from_slice(&data[0]).unwrap();
        assert_eq!(first["choices"][0]["text"], "try \"later\"");
        assert_eq!(&*data[3], b"[DONE]");

        let response = RulesAnswer {
            api: Api::Responses,
            ..ANSWER
        };
        let value: Value = serde_json::from_slice(&response.to_whole()).unwrap();
        assert_eq!(value["output"][0]["content"][0]["text"], "try \"later\"");
        let stream = response.to_events(false);
        let last = events(&stream).last().unwrap();
        assert_eq!(last.name, Some(&b"response.completed"[..]));
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
