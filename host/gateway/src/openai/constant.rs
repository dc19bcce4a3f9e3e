//! What all chunks of one stream have in common: `id` and `created`.
//!
//! Clients gather a stream under the id of its chunks. Some servers, and
//! balancers in front of them, change it on the way; then the first one that
//! says something is put in place of the others. Whatever does not differ is
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

/// The first `id` and `created` of a stream, as JSON.
#[derive(Debug, Clone, Default)]
pub struct Constant(Option<(Bytes, Option<Bytes>)>);

impl Constant {
    /// Adds to `edits` what makes `chunk` one of this stream, in the order of
    /// the bytes. Only a chunk that was read out of `piece` itself is changed.
    pub fn keep(&mut self, chunk: &Chunk<'_>, piece: &[u8], edits: &mut Vec<Edit>) {
        // Azure begins with a chunk about the prompt, whose id is empty.
        let said = chunk.id.filter(|id| !matches!(*id, "null" | "\"\""));
        let Some((id, created)) = &self.0 else {
            self.0 = said.map(|id| {
                let created = chunk.created.map(copied);
                (copied(id), created)
            });
            return;
        };
        let both = [(chunk.id, Some(id)), (chunk.created, created.as_ref())];
        let mut found = both
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
