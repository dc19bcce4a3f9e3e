//! One stream of the responses API made of two answers.
//!
//! A response is a list of items, each with a status of its own. So a cut says
//! honestly what it is: the message that was cut is closed as `incomplete` with
//! the text that it had, a message of the gateway's own says that the answer
//! starts again, and the items of the second answer follow, numbered on. There
//! is one `response.created` and one end, whose `output` lists all of it, with
//! the id that the response began with. Whatever else the end says (`model`,
//! `usage`) is the second answer's.
//!
//! This takes reading what passes: which items are done, and what the open one
//! has. Always holds: only text is restarted, behind whole messages and
//! reasoning; after a call of a tool, a part that is no text, or events that
//! do not add up, there is no restart, and the caller reads the error.

use crate::openai::responses::write::{Answer, named};
use crate::openai::sse::events;
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};

/// Most text that is kept of a response to be closed, with its items around
/// it: longer ones end with the error.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What was seen of a response that may have to be gone on with.
#[derive(Debug)]
pub struct Joined {
    /// As `response.created` told it.
    response: Map<String, Value>,
    /// Items that are done, in their order.
    items: Vec<Value>,
    open: Option<Open>,
    next_sequence: u64,
    /// How many items the caller had when the present answer began.
    offset: usize,
    /// How many answers were cut.
    cuts: u32,
    kept_bytes: usize,
    /// Something has passed that cannot be gone on from.
    strange: bool,
    ended: bool,
}

/// An item on its way.
#[derive(Debug)]
struct Open {
    item: Map<String, Value>,
    parts: Vec<Value>,
    part: Option<Part>,
}

/// A part of a message on its way.
#[derive(Debug)]
struct Part {
    value: Map<String, Value>,
    text: String,
    logprobs: Vec<Value>,
    /// True when its `response.output_text.done` has passed.
    told: bool,
}

impl Joined {
    /// What `first`, the first events of a response, has of it; none when it
    /// does not begin as responses do.
    pub fn of(first: &[u8]) -> Option<Self> {
        let created = events(first).find_map(|event| {
            let mut data: Map<String, Value> = serde_json::from_slice(&event.data?).ok()?;
            (data.get("type")? == "response.created").then(|| data.remove("response"))?
        });
        let Some(Value::Object(response)) = created else {
            return None;
        };
        response.get("id").filter(|id| id.is_string())?;
        let mut joined = Joined {
            response,
            items: Vec::new(),
            open: None,
            next_sequence: 0,
            offset: 0,
            cuts: 0,
            kept_bytes: 0,
            strange: false,
            ended: false,
        };
        joined.seen(first);
        Some(joined)
    }

    /// Notes `piece`, whole events that the caller sees as they are.
    pub fn seen(&mut self, piece: &[u8]) {
        for event in events(piece) {
            let data = event.data.as_deref().map(serde_json::from_slice);
            if let Some(Ok(Value::Object(data))) = data {
                let number = data.get("sequence_number").and_then(Value::as_u64);
                self.next_sequence = number.unwrap_or(self.next_sequence) + 1;
                self.note(&data);
            }
        }
        self.keep_within_bounds();
    }

    /// True when an answer that takes the place of what has passed reads well
    /// behind it.
    pub fn can_restart(&self) -> bool {
        !self.strange && !self.ended && self.open.as_ref().is_none_or(Open::can_be_closed)
    }

    /// The number of the next event.
    pub fn position(&self) -> u64 {
        self.next_sequence
    }

    /// Events that close what was cut, and a message that says `text`. What is
    /// adopted from here on is another answer.
    pub fn between(&mut self, text: &str) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(open) = self.open.take() {
            for data in open.closing(self.items.len()) {
                self.keep_if_done(&data);
                self.send(data, &mut out);
            }
        }
        self.cuts += 1;
        let said = Answer {
            id: format!("backstop_restart_{}", self.cuts),
            created_s: 0,
            model: String::new(),
            pieces: vec![text.to_owned()],
            logprobs: None,
            tokens: 0,
        };
        self.offset = self.items.len();
        out.extend_from_slice(&self.adopt_unless(&said.events(), is_of_whole));
        self.offset = self.items.len();
        out.freeze()
    }

    /// `piece`, whole events of another response, as events of this one.
    pub fn adopt(&mut self, piece: &[u8]) -> Bytes {
        let adopted = self.adopt_unless(piece, |kind| {
            matches!(
                kind,
                "response.created" | "response.queued" | "response.in_progress"
            )
        });
        self.keep_within_bounds();
        adopted
    }

    /// Lets go of what only a restart would need where there can be none:
    /// what the answers before had is still listed at the end.
    fn keep_within_bounds(&mut self) {
        self.strange |= self.kept_bytes > KEPT_BYTES_MAX;
        if self.strange {
            self.open = None;
            self.items.truncate(self.offset);
        }
    }

    fn adopt_unless(&mut self, piece: &[u8], left_out: impl Fn(&str) -> bool) -> Bytes {
        let mut out = BytesMut::with_capacity(piece.len() + 256);
        for event in events(piece) {
            let data = event.data.as_deref().map(serde_json::from_slice);
            match data {
                Some(Ok(Value::Object(data))) => {
                    if !left_out(kind(&data)) {
                        let data = self.renumbered(data);
                        self.note(&data);
                        self.send(data, &mut out);
                    }
                }
                _ => out.extend_from_slice(&piece[event.start..event.end]),
            }
        }
        out.freeze()
    }

    /// The data of an event of another answer with this one's numbers and ids.
    fn renumbered(&self, mut data: Map<String, Value>) -> Map<String, Value> {
        if let Some(index) = data.get("output_index").and_then(Value::as_u64) {
            data.insert("output_index".into(), json!(index + self.offset as u64));
        }
        if let Some(id) = data.get_mut("item_id") {
            self.distinguish(id);
        }
        if let Some(id) = data.get_mut("item").and_then(|item| item.get_mut("id")) {
            self.distinguish(id);
        }
        if let Some(Value::Object(response)) = data.get_mut("response") {
            for key in ["id", "created_at"] {
                if let Some(first) = self.response.get(key) {
                    response.insert(key.to_owned(), first.clone());
                }
            }
            let output = response.entry("output").or_insert_with(|| json!([]));
            if let Value::Array(items) = output {
                for id in items.iter_mut().filter_map(|item| item.get_mut("id")) {
                    self.distinguish(id);
                }
                items.splice(..0, self.items[..self.offset].iter().cloned());
            }
        }
        data
    }

    /// Makes `id` another one where an earlier answer had an item of that id.
    fn distinguish(&self, id: &mut Value) {
        let mut before = self.items[..self.offset].iter();
        if before.any(|item| item.get("id") == Some(id))
            && let Value::String(id) = id
        {
            id.push_str(&format!("_{}", self.cuts));
        }
    }

    /// Writes an event, numbered on.
    fn send(&mut self, mut data: Map<String, Value>, out: &mut BytesMut) {
        data.insert("sequence_number".into(), json!(self.next_sequence));
        self.next_sequence += 1;
        let name = kind(&data).to_owned();
        out.extend_from_slice(&named(&name, &Value::Object(data)));
    }

    /// Keeps what is needed to close the response after this event.
    fn note(&mut self, data: &Map<String, Value>) {
        if self.strange {
            return;
        }
        let index = data.get("output_index").and_then(Value::as_u64);
        let is_next = index.is_none_or(|index| index == self.items.len() as u64);
        match kind(data) {
            "response.created" | "response.queued" | "response.in_progress" => return,
            "response.completed" | "response.incomplete" => {
                self.ended = true;
                return;
            }
            "response.output_item.added" => {
                self.strange |= self.open.is_some();
                let item = object(data, "item");
                self.strange |= !matches!(text(&item, "type"), "message" | "reasoning");
                self.open = Some(Open {
                    item,
                    parts: Vec::new(),
                    part: None,
                });
            }
            "response.output_item.done" => {
                self.open = None;
                self.keep_if_done(data);
            }
            kind => {
                let kept = self.open.as_mut().and_then(|open| open.note(kind, data));
                self.kept_bytes += kept.unwrap_or(0);
                // Something of an item that was not begun, or is not known.
                let adds = index.is_some() || kind.ends_with(".delta");
                self.strange |= adds && kept.is_none();
            }
        }
        self.strange |= !is_next;
    }

    /// Keeps the item that this event says is done.
    fn keep_if_done(&mut self, data: &Map<String, Value>) {
        if kind(data) != "response.output_item.done" {
            return;
        }
        let Some(item) = data.get("item") else {
            self.strange = true;
            return;
        };
        let kind = item.get("type").and_then(Value::as_str);
        self.strange |= !matches!(kind, Some("message" | "reasoning"));
        self.kept_bytes += size_bytes(item);
        self.items.push(item.clone());
    }
}

impl Open {
    /// Reasoning that was cut has nothing of an answer, and cannot be shown
    /// to have ended.
    fn can_be_closed(&self) -> bool {
        text(&self.item, "type") == "message"
    }

    /// Notes an event of this item, and says how many bytes are kept of it;
    /// none for one that is not known.
    fn note(&mut self, kind: &str, data: &Map<String, Value>) -> Option<usize> {
        if text(&self.item, "type") == "reasoning" {
            return kind.starts_with("response.reasoning").then_some(0);
        }
        match (kind, &mut self.part) {
            ("response.content_part.added", None) => {
                let value = object(data, "part");
                let is_text = text(&value, "type") == "output_text";
                let text = text(&value, "text").to_owned();
                let kept = text.len();
                self.part = Some(Part {
                    text,
                    logprobs: Vec::new(),
                    told: false,
                    value,
                });
                is_text.then_some(kept)
            }
            ("response.output_text.delta", Some(part)) => {
                let delta = text(data, "delta");
                part.text.push_str(delta);
                let mut kept = delta.len();
                if let Some(Value::Array(logprobs)) = data.get("logprobs") {
                    kept += logprobs.iter().map(size_bytes).sum::<usize>();
                    part.logprobs.extend(logprobs.iter().cloned());
                }
                Some(kept)
            }
            ("response.output_text.annotation.added", Some(part)) => {
                let annotations = part.value.entry("annotations").or_insert_with(|| json!([]));
                let (Value::Array(all), Some(one)) = (annotations, data.get("annotation")) else {
                    return Some(0);
                };
                all.push(one.clone());
                Some(size_bytes(one))
            }
            ("response.output_text.done", Some(part)) => {
                part.told = true;
                Some(0)
            }
            ("response.content_part.done", Some(_)) => {
                self.part = None;
                self.parts.extend(data.get("part").cloned());
                Some(0)
            }
            _ => None,
        }
    }

    /// The data of the events that close it, as item `index` of the output.
    fn closing(self, index: usize) -> Vec<Map<String, Value>> {
        let Open {
            mut item,
            mut parts,
            part,
        } = self;
        let mut out = Vec::new();
        let mut event = |kind: &str, more: Value| {
            let mut data = Map::new();
            data.insert("type".into(), json!(kind));
            data.insert("output_index".into(), json!(index));
            if let Value::Object(more) = more {
                data.extend(more);
            }
            out.push(data);
        };
        if let Some(part) = part {
            let Part {
                mut value,
                text,
                logprobs,
                told,
            } = part;
            let (id, content_index) = (item.get("id"), parts.len());
            let done = json!({
                "item_id": id, "content_index": content_index, "text": text, "logprobs": logprobs,
            });
            value.insert("text".into(), json!(text));
            value.insert("logprobs".into(), json!(logprobs));
            if !told {
                event("response.output_text.done", done);
            }
            let done = json!({"item_id": id, "content_index": content_index, "part": value});
            event("response.content_part.done", done);
            parts.push(Value::Object(value));
        }
        item.insert("status".into(), json!("incomplete"));
        item.insert("content".into(), json!(parts));
        event("response.output_item.done", json!({ "item": item }));
        out
    }
}

/// True for events about the response as a whole.
fn is_of_whole(kind: &str) -> bool {
    matches!(kind, "response.created" | "response.completed")
}

fn kind(data: &Map<String, Value>) -> &str {
    text(data, "type")
}

/// The text under `key`; empty where there is none.
fn text<'a>(data: &'a Map<String, Value>, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What a value weighs, as it is written.
fn size_bytes(value: &Value) -> usize {
    value.to_string().len()
}

/// The object under `key`; empty where there is none.
fn object(data: &Map<String, Value>, key: &str) -> Map<String, Value> {
    match data.get(key) {
        Some(Value::Object(object)) => object.clone(),
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
