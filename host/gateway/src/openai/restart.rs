//! One stream made of two answers: what a client needs to read on when an
//! answer was cut and another one takes its place.
//!
//! Responses are [`responses`]'s; streams of chunks are dealt with here.
//! Clients hold a stream for one completion: `id` and `created` stay the same
//! on all its chunks, and a role is told once. What differs honestly, such as
//! `model`, is left as the second answer says it.

pub mod responses;

use super::Api;
use super::sse::events;
use bytes::{BufMut, Bytes, BytesMut};
use responses::Joined;
use serde_json::{Map, Value, json};

/// What a stream that may be made of several answers needs to know.
#[derive(Debug)]
pub enum Joint {
    /// Of chunks, as chats and completions are.
    Chunks {
        /// What all chunks have in common.
        identity: Identity,
        /// True when the answer that passes is not the first.
        restarted: bool,
    },
    /// Of the events of a response.
    Response {
        /// What was seen of it.
        joined: Box<Joined>,
        /// True when the answer that passes is not the first.
        restarted: bool,
    },
}

impl Joint {
    /// That of a stream of `api` that begins with `first`; none for one that
    /// cannot go on with another answer.
    pub fn of(api: Api, first: &[u8]) -> Option<Self> {
        Some(match api {
            Api::Responses => Joint::Response {
                joined: Box::new(Joined::of(first)?),
                restarted: false,
            },
            _ => Joint::Chunks {
                identity: Identity::of(first)?,
                restarted: false,
            },
        })
    }

    /// `piece`, whole events of the answer that passes, as the caller is to
    /// see them.
    pub fn pass(&mut self, piece: Bytes) -> Bytes {
        match self {
            Joint::Chunks {
                restarted: false, ..
            } => piece,
            Joint::Chunks { identity, .. } => identity.adopt(&piece),
            Joint::Response {
                joined,
                restarted: false,
            } => {
                joined.seen(&piece);
                piece
            }
            Joint::Response { joined, .. } => joined.adopt(&piece),
        }
    }

    /// True when another answer reads well behind what has passed;
    /// `only_text` says whether chunks had nothing but text and no end.
    pub fn can_restart(&self, only_text: bool) -> bool {
        match self {
            Joint::Chunks { .. } => only_text,
            Joint::Response { joined, .. } => joined.can_restart(),
        }
    }

    /// Events that end what was cut and say `text`. What passes from here on
    /// is another answer.
    pub fn between(&mut self, text: &str) -> Bytes {
        match self {
            Joint::Chunks {
                identity,
                restarted,
            } => {
                *restarted = true;
                identity.text(text)
            }
            Joint::Response { joined, restarted } => {
                *restarted = true;
                joined.between(text)
            }
        }
    }

    /// The number of the next event, where events are numbered.
    pub fn position(&self) -> u64 {
        match self {
            Joint::Chunks { .. } => 0,
            Joint::Response { joined, .. } => joined.position(),
        }
    }
}

/// What all chunks of one stream have in common.
#[derive(Debug, Clone)]
pub struct Identity {
    id: Value,
    created: Value,
    object: Value,
    model: Value,
}

impl Identity {
    /// That of the stream that begins with `first`; none when it has no chunk
    /// with an `id`.
    pub fn of(first: &[u8]) -> Option<Self> {
        events(first).find_map(|event| {
            let mut chunk: Map<String, Value> = serde_json::from_slice(&event.data?).ok()?;
            Some(Identity {
                id: chunk.remove("id")?,
                created: chunk.remove("created").unwrap_or(Value::Null),
                object: chunk.remove("object")?,
                model: chunk.remove("model").unwrap_or(Value::Null),
            })
        })
    }

    /// A chunk that adds `text` to the answer.
    pub fn text(&self, text: &str) -> Bytes {
        let choice = if self.object == "text_completion" {
            json!({"index": 0, "text": text, "logprobs": null, "finish_reason": null})
        } else {
            json!({"index": 0, "delta": {"content": text}, "logprobs": null, "finish_reason": null})
        };
        let chunk = json!({
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "choices": [choice],
        });
        event(&chunk.to_string())
    }

    /// `piece`, whole events of another stream, as events of this one.
    pub fn adopt(&self, piece: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(piece.len() + 64);
        for event in events(piece) {
            let chunk = event.data.as_deref();
            match chunk.and_then(|data| serde_json::from_slice(data).ok()) {
                Some(Value::Object(chunk)) => out.extend_from_slice(&self.chunk(chunk)),
                _ => out.extend_from_slice(&piece[event.start..event.end]),
            }
        }
        out.freeze()
    }

    fn chunk(&self, mut chunk: Map<String, Value>) -> Bytes {
        for (key, value) in [("id", &self.id), ("created", &self.created)] {
            if chunk.contains_key(key) {
                chunk.insert(key.to_owned(), value.clone());
            }
        }
        let choices = chunk.get_mut("choices").and_then(Value::as_array_mut);
        for choice in choices.into_iter().flatten() {
            if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
                delta.remove("role");
            }
        }
        event(&Value::Object(chunk).to_string())
    }
}

fn event(data: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 8);
    out.put_slice(b"data: ");
    out.put_slice(data.as_bytes());
    out.put_slice(b"\n\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = ": hello\n\ndata: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"one\",\"choices\":[]}\n\n";

    #[test]
    fn a_second_answer_reads_as_chunks_of_the_first() {
        let identity = Identity::of(FIRST.as_bytes()).unwrap();
        let second = "data: {\"id\":\"b\",\"object\":\"chat.completion.chunk\",\"created\":2,\"model\":\"two\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"x\":1}],\"y\":2}\n\ndata: [DONE]\n\n";
        let adopted = identity.adopt(second.as_bytes());
        let mut found = events(&adopted);
        let chunk: Value = serde_json::from_slice(&found.next().unwrap().data.unwrap()).unwrap();
        assert_eq!(
            chunk,
            json!({
                "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "two",
                "choices": [{"index": 0, "delta": {"content": "hi"}, "x": 1}], "y": 2,
            })
        );
        assert_eq!(found.next().unwrap().data.unwrap(), &b"[DONE]"[..]);
        assert!(found.next().is_none());
    }

    #[test]
    fn a_text_between_has_the_shape_of_the_api() {
        let chat = Identity::of(FIRST.as_bytes()).unwrap().text("\n");
        let chat: Value =
            serde_json::from_slice(&events(&chat).next().unwrap().data.unwrap()).unwrap();
        assert_eq!(chat["choices"][0]["delta"]["content"], "\n");
        assert_eq!((&chat["id"], &chat["model"]), (&json!("a"), &json!("one")));
        let first = FIRST.replace("chat.completion.chunk", "text_completion");
        let text = Identity::of(first.as_bytes()).unwrap().text("\n");
        let text: Value =
            serde_json::from_slice(&events(&text).next().unwrap().data.unwrap()).unwrap();
        assert_eq!(text["choices"][0]["text"], "\n");
    }

    #[test]
    fn a_stream_without_an_id_cannot_go_on() {
        for first in [
            "",
            ": hello\n\n",
            "data: oops\n\n",
            "data: {\"object\":\"x\"}\n\n",
        ] {
            assert!(Identity::of(first.as_bytes()).is_none(), "{first}");
        }
    }
}
