//! What all chunks of one answer have in common: `id`, `created` and `model`.
//!
//! Clients gather a stream under the id of its chunks. Some servers, and
//! balancers in front of them, change it on the way, or say now an alias of
//! the model and now its full name; then the first one that says something is
//! put in place of the others. Whatever does not differ is
//! not touched.

use super::completion::Chunk;
use bytes::Bytes;
use std::ops::Range;

/// A change of a piece: `text` stands in place of `range`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the piece.
    pub range: Range<usize>,
    /// What takes their place; nothing leaves them out.
    pub text: Bytes,
}

/// What a stream said first.
#[derive(Debug, Clone, Default)]
pub struct Constant {
    /// `id` and `created`, as JSON.
    id: Option<(Bytes, Option<Bytes>)>,
    /// `model`, between its quotes.
    model: Option<Bytes>,
}

impl Constant {
    /// Adds to `edits` what makes `chunk` one of this stream, in the order of
    /// the bytes. Only a chunk that was read out of `piece` itself is changed.
    pub fn keep(&mut self, chunk: &Chunk<'_>, piece: &[u8], edits: &mut Vec<Edit>) {
        let (id, created) = match &self.id {
            Some((id, created)) => (Some(id), created.as_ref()),
            None => (None, None),
        };
        let model = self.model.as_ref();
        let all = [
            (chunk.id, id),
            (chunk.created, created),
            (chunk.model, model),
        ];
        let mut found = all
            .into_iter()
            .filter_map(|(here, first)| {
                let (here, first) = (here?, first?);
                let range = range_in(piece, here).filter(|_| here.as_bytes() != first)?;
                Some(Edit {
                    range,
                    text: first.clone(),
                })
            })
            .collect::<Vec<_>>();
        found.sort_by_key(|edit| edit.range.start);
        edits.append(&mut found);
        if self.id.is_none() {
            // Azure begins with a chunk about the prompt, whose id is empty.
            let said = chunk.id.filter(|id| !matches!(*id, "null" | "\"\""));
            self.id = said.map(|id| (copied(id), chunk.created.map(copied)));
        }
        if self.model.is_none() {
            self.model = chunk.model.map(copied);
        }
    }
}

fn copied(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Where `part`, a slice of `whole`, stands in it.
fn range_in(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// `piece` with `edits`, which are in the order of its bytes.
pub fn edited(piece: &[u8], edits: &[Edit]) -> Bytes {
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = Vec::with_capacity(piece.len() + added);
    let mut from = 0;
    for edit in edits {
        out.extend_from_slice(&piece[from..edit.range.start]);
        out.extend_from_slice(&edit.text);
        from = edit.range.end;
    }
    out.extend_from_slice(&piece[from..]);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these chunks, one after the other.
    fn stream(chunks: &[&str]) -> Vec<String> {
        let mut constant = Constant::default();
        let pass = |chunk: &&str| {
            let mut edits = Vec::new();
            let read = Chunk::parse(chunk.as_bytes()).unwrap();
            constant.keep(&read, chunk.as_bytes(), &mut edits);
            String::from_utf8(edited(chunk.as_bytes(), &edits).to_vec()).unwrap()
        };
        chunks.iter().map(pass).collect()
    }

    #[test]
    fn the_first_id_and_time_stay() {
        let passed = stream(&[
            r#"{"id":"","created":0,"choices":[]}"#,
            r#"{ "id" : "a", "created":1, "z":1.50}"#,
            r#"{"created":2,"x":{"id":"deep"},"id":"b","choices":[]}"#,
            r#"{"id":null,"created":1}"#,
            r#"{"choices":[]}"#,
        ]);
        assert_eq!(
            passed,
            [
                r#"{"id":"","created":0,"choices":[]}"#,
                r#"{ "id" : "a", "created":1, "z":1.50}"#,
                r#"{"created":1,"x":{"id":"deep"},"id":"a","choices":[]}"#,
                r#"{"id":null,"created":1}"#,
                r#"{"choices":[]}"#,
            ]
        );
    }

    #[test]
    fn the_first_model_stays() {
        let passed = stream(&[
            r#"{"id":"","model":""}"#,
            r#"{"model":"gpt","id":"a"}"#,
            r#"{"id":"b","x":{"model":"deep"},"model" : "gpt-2026-01"}"#,
            r#"{"id":"a","model":""}"#,
            r#"{"id":"a","model":null}"#,
            r#"{"id":"a","model":"g\u0070t"}"#,
        ]);
        assert_eq!(
            passed,
            [
                r#"{"id":"","model":""}"#,
                r#"{"model":"gpt","id":"a"}"#,
                r#"{"id":"a","x":{"model":"deep"},"model" : "gpt"}"#,
                r#"{"id":"a","model":""}"#,
                r#"{"id":"a","model":null}"#,
                r#"{"id":"a","model":"g\u0070t"}"#,
            ]
        );
    }

    #[test]
    fn what_does_not_differ_has_no_edit() {
        let chunk = br#"{"id":"a","created":1}"#;
        let read = Chunk::parse(chunk).unwrap();
        let (mut constant, mut edits) = (Constant::default(), Vec::new());
        for _ in 0..2 {
            constant.keep(&read, chunk, &mut edits);
        }
        assert_eq!(edits, []);
    }

    #[test]
    fn a_chunk_from_elsewhere_is_left_alone() {
        let (mut constant, mut edits) = (Constant::default(), Vec::new());
        for id in ["a", "b"] {
            let chunk = format!(r#"{{"id":"{id}"}}"#);
            let read = Chunk::parse(chunk.as_bytes()).unwrap();
            constant.keep(&read, b"", &mut edits);
        }
        assert_eq!(edits, []);
    }
}
