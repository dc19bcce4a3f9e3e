//! Writes answers of the responses API, whole and event by event: for rules
//! and for simulated models.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

/// Events before the first piece of the text.
const BEFORE_TEXT: usize = 3;

/// One answer: a single message.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Unique per answer, without the prefix `resp_`.
    pub id: String,
    /// Seconds since the Unix epoch.
    pub created_s: u64,
    /// What stands in `model`.
    pub model: String,
    /// The text in the pieces in which a stream brings it.
    pub pieces: Vec<String>,
    /// Natural log-probabilities of the pieces, where they are told.
    pub logprobs: Option<Vec<f64>>,
    /// Tokens of the answer.
    pub tokens: u64,
}

impl Answer {
    /// The whole answer.
    pub fn whole(&self) -> Bytes {
        Bytes::from(self.response("completed").to_string())
    }

    /// Event `position` of the stream, and none after the last.
    pub fn event(&self, position: usize) -> Option<Bytes> {
        let text = || self.pieces.concat();
        let (name, mut data) = match position {
            0 => (
                "response.created",
                json!({"response": self.response("in_progress")}),
            ),
            1 => (
                "response.output_item.added",
                json!({"output_index": 0, "item": self.message("in_progress")}),
            ),
            2 => (
                "response.content_part.added",
                self.at(json!({"part": self.part("", &[])})),
            ),
            _ => match (position - BEFORE_TEXT).checked_sub(self.pieces.len()) {
                None => {
                    let piece = position - BEFORE_TEXT;
                    let logprobs = self.tokens(piece..piece + 1);
                    let delta = json!({"delta": self.pieces[piece], "logprobs": logprobs});
                    ("response.output_text.delta", self.at(delta))
                }
                Some(0) => (
                    "response.output_text.done",
                    self.at(json!({"text": text(), "logprobs": self.all_tokens()})),
                ),
                Some(1) => (
                    "response.content_part.done",
                    self.at(json!({"part": self.part(&text(), &self.all_tokens())})),
                ),
                Some(2) => (
                    "response.output_item.done",
                    json!({"output_index": 0, "item": self.message("completed")}),
                ),
                Some(3) => (
                    "response.completed",
                    json!({"response": self.response("completed")}),
                ),
                Some(_) => return None,
            },
        };
        data["type"] = json!(name);
        data["sequence_number"] = json!(position);
        Some(named(name, &data))
    }

    /// All events in one piece.
    pub fn events(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(4_096);
        for event in (0..).map_while(|position| self.event(position)) {
            out.extend_from_slice(&event);
        }
        out.freeze()
    }

    fn at(&self, mut data: Value) -> Value {
        data["item_id"] = json!(self.item_id());
        data["output_index"] = json!(0);
        data["content_index"] = json!(0);
        data
    }

    fn item_id(&self) -> String {
        format!("msg_{}", self.id)
    }

    fn tokens(&self, pieces: std::ops::Range<usize>) -> Vec<Value> {
        let Some(logprobs) = &self.logprobs else {
            return Vec::new();
        };
        pieces
            .filter_map(|piece| {
                let (text, logprob) = (self.pieces.get(piece)?, logprobs.get(piece)?);
                Some(json!({
                    "token": text,
                    "logprob": logprob,
                    "bytes": text.as_bytes(),
                    "top_logprobs": [],
                }))
            })
            .collect()
    }

    fn all_tokens(&self) -> Vec<Value> {
        self.tokens(0..self.pieces.len())
    }

    fn part(&self, text: &str, logprobs: &[Value]) -> Value {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
    }

    fn message(&self, status: &str) -> Value {
        let content = if status == "completed" {
            json!([self.part(&self.pieces.concat(), &self.all_tokens())])
        } else {
            json!([])
        };
        json!({
            "type": "message",
            "id": self.item_id(),
            "status": status,
            "role": "assistant",
            "content": content,
        })
    }

    fn response(&self, status: &str) -> Value {
        let complete = status == "completed";
        let output = if complete {
            json!([self.message(status)])
        } else {
            json!([])
        };
        let usage = json!({
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.tokens,
        });
        json!({
            "id": format!("resp_{}", self.id),
            "object": "response",
            "created_at": self.created_s,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "max_output_tokens": null,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "temperature": null,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "usage": if complete { usage } else { Value::Null },
        })
    }
}

/// An event with a name.
pub(in crate::openai) fn named(name: &str, data: &Value) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    let written = serde_json::to_writer((&mut out).writer(), data);
    debug_assert!(written.is_ok(), "JSON into memory");
    out.put_slice(b"\n\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::{event, parse};
    use super::*;
    use crate::openai::sse::events;
    use backstop_core::input::FinishReason;

    fn answer() -> Answer {
        Answer {
            id: "7".into(),
            created_s: 1,
            model: "sorry".into(),
            pieces: vec!["try".into(), " later".into()],
            logprobs: Some(vec![-0.25, -0.75]),
            tokens: 2,
        }
    }

    #[test]
    fn what_is_written_reads_as_an_answer() {
        let read = parse(&answer().whole()).unwrap();
        assert_eq!(read.finish_reason, Some(FinishReason::Stop));
        assert_eq!(read.logprobs.kept(), [-0.25, -0.75]);
        assert_eq!(read.usage.unwrap().completion_tokens, 2);
    }

    #[test]
    fn a_stream_counts_its_events_and_ends_itself() {
        let bytes = answer().events();
        let mut text = String::new();
        let mut ended = false;
        for (position, found) in events(&bytes).enumerate() {
            assert!(!ended, "nothing follows the end");
            let data = found.data.unwrap();
            let value: Value = serde_json::from_slice(&data).unwrap();
            assert_eq!(value["sequence_number"], position);
            assert_eq!(
                value["type"].as_str().unwrap().as_bytes(),
                found.name.unwrap()
            );
            let (chunk, last) = event(&data).unwrap();
            text.push_str(&chunk.text().unwrap_or_default());
            ended = last;
        }
        assert!(ended);
        assert_eq!(text, "try later");
    }
}
