//! The documents of `insert_many`, encoded into memory that never moves.
//!
//! They lie in chunks; a document lies in one of them. A chunk has room for what is left, if the
//! caller can tell how many documents come, or else for as much as all chunks before it hold. So
//! there are few, little is allocated that is not sent, and the last is the largest by far: an
//! allocator that keeps one freed block of this size for the next call keeps them all.

use std::{borrow::Borrow, collections::HashMap, ops::Range};

use bson::{Bson, oid::ObjectId};
use bytes::Bytes;
use mongo_client_core::{error::Result, op::Pieces};
use serde::Serialize;

use super::insert_one::{ID_ELEMENT_LEN, append_guessing};

/// The room in the first chunk.
const CHUNK_MIN: usize = 4 * 1024;
/// The most room in a chunk: a third of a message.
const CHUNK_MAX: usize = 16 * 1024 * 1024;
/// How much may be expected to come, as a multiple of what has come.
const TRUST: usize = 64;
/// The most documents that room is made for because an iterator promises them.
const PROMISED_MAX: usize = 100_000;

/// Encoded documents in their order.
#[derive(Debug, Default)]
pub(super) struct Documents {
    chunks: Vec<Bytes>,
    /// Where each document ends, counted from the beginning of the first chunk.
    pub(super) ends: Vec<usize>,
    /// The `_id` of each document.
    pub(super) ids: HashMap<usize, Bson>,
}

impl Documents {
    /// Encodes documents; those without `_id` get one.
    pub(super) fn encode<D: Serialize>(
        docs: impl IntoIterator<Item = impl Borrow<D>>,
        mut next_id: impl FnMut() -> Result<ObjectId>,
    ) -> Result<Self> {
        let mut docs = docs.into_iter();
        let promised = docs.size_hint().0.min(PROMISED_MAX);
        let mut out = Self {
            chunks: Vec::new(),
            ends: Vec::with_capacity(promised),
            ids: HashMap::with_capacity(promised),
        };
        let mut room = Room::default();
        // Mostly as with the document before.
        let mut has_id = false;
        loop {
            let left = docs.size_hint().0;
            let Some(document) = docs.next() else {
                break;
            };
            room.make(left, &mut out.chunks);
            let id = append_guessing(
                &mut room.chunk,
                document.borrow(),
                &mut has_id,
                &mut next_id,
            )?;
            out.ids.insert(out.ends.len(), id);
            out.ends.push(room.taken());
        }
        room.close(&mut out.chunks);
        Ok(out)
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// The documents of a batch.
    pub(super) fn slice(&self, batch: &Range<usize>) -> Pieces {
        let (start, end) = (self.start(batch.start), self.start(batch.end));
        let mut before = 0;
        let pieces = self.chunks.iter().map(|chunk| {
            let from = start.saturating_sub(before).min(chunk.len());
            let to = end.saturating_sub(before).min(chunk.len());
            before += chunk.len();
            chunk.slice(from..to)
        });
        pieces.collect()
    }
}

/// The chunk that is being filled.
#[derive(Default)]
struct Room {
    chunk: Vec<u8>,
    /// The length of all chunks before it.
    before: usize,
    /// How many documents there are, where the last one ends and how long it is.
    documents: usize,
    last_end: usize,
    last_len: usize,
}

impl Room {
    /// Makes room for a document, of the at least `left` that come if that is not 0.
    ///
    /// How long it is cannot be known before: it is taken to be as long as the last one. The chunk
    /// grows if it is longer.
    fn make(&mut self, left: usize, chunks: &mut Vec<Bytes>) {
        let expected = self.last_len.saturating_add(ID_ELEMENT_LEN);
        let room = self.chunk.capacity() - self.chunk.len();
        if room >= expected && !self.chunk.is_empty() {
            return;
        }
        self.close(chunks);
        let capacity = match self.before.checked_div(self.documents) {
            None => CHUNK_MIN,
            Some(_) if left == 0 => self.before,
            Some(mean) => {
                let most = self.before.saturating_mul(TRUST);
                mean.saturating_mul(left).min(most)
            }
        }
        .min(CHUNK_MAX);
        // A little more, so that documents of one length end with the chunk.
        let slack = expected / 16 + 2 * ID_ELEMENT_LEN;
        self.chunk = Vec::with_capacity(capacity.max(expected).saturating_add(slack));
    }

    /// A document was appended; says where it ends.
    fn taken(&mut self) -> usize {
        let end = self.before + self.chunk.len();
        self.last_len = end.saturating_sub(self.last_end);
        self.last_end = end;
        self.documents += 1;
        end
    }

    fn close(&mut self, chunks: &mut Vec<Bytes>) {
        self.before += self.chunk.len();
        if !self.chunk.is_empty() {
            chunks.push(std::mem::take(&mut self.chunk).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn encode<D: Serialize>(docs: impl IntoIterator<Item = impl Borrow<D>>) -> Documents {
        Documents::encode::<D>(docs, || Ok(ObjectId::from_bytes([7; 12]))).unwrap()
    }

    fn joined(pieces: &Pieces) -> Vec<u8> {
        pieces.iter().flatten().copied().collect()
    }

    #[test]
    fn a_batch_is_a_slice_of_the_joined_documents() {
        let all: Vec<_> = (0..2_000_i32)
            .map(|n| rawdoc! { "_id": n, "x": "y".repeat((n % 97) as usize) })
            .collect();
        let documents = encode::<RawDocumentBuf>(&all);
        assert!(documents.chunks.len() > 1, "{}", documents.chunks.len());
        for batch in [0..2_000, 0..1, 1_999..2_000, 30..1_500, 700..701, 5..5] {
            let expected: Vec<u8> = all[batch.clone()]
                .iter()
                .flat_map(|d| d.as_bytes())
                .copied()
                .collect();
            let pieces = documents.slice(&batch);
            assert_eq!(pieces.len(), expected.len(), "{batch:?}");
            assert_eq!(joined(&pieces), expected, "{batch:?}");
        }
        assert_eq!(documents.ids.len(), 2_000);
        assert!(
            documents
                .ids
                .iter()
                .all(|(n, id)| *id == Bson::Int32(*n as i32))
        );
    }

    #[test]
    fn each_piece_holds_whole_documents() {
        let lens = [3, 9_000, 5, 70_000, 2, 2, 20_000, 1, 300_000, 8];
        let all: Vec<_> = lens.map(|len| rawdoc! { "x": "y".repeat(len) }).into();
        // Also where the iterator promises nothing, and where it promises too much.
        let unknown = encode::<RawDocumentBuf>(all.iter().filter(|_| true));
        let known = encode::<RawDocumentBuf>(&all);
        for documents in [unknown, known] {
            let pieces = documents.slice(&(0..all.len()));
            let mut count = 0;
            for piece in pieces.iter() {
                let mut rest = &piece[..];
                while let Some(len) = rest.first_chunk() {
                    rest = &rest[u32::from_le_bytes(*len) as usize..];
                    count += 1;
                }
            }
            assert_eq!(count, all.len());
            let id = ObjectId::from_bytes([7; 12]);
            let first = bson::serialize_to_vec(&doc! { "_id": id, "x": "yyy" }).unwrap();
            assert_eq!(joined(&documents.slice(&(0..1))), first);
        }
    }

    #[test]
    fn the_chunks_are_few_and_not_much_larger_than_what_they_hold() {
        for (count, len) in [(1, 10), (64, 65_500), (10_000, 180), (33, 1_000), (5, 100)] {
            let all = vec![rawdoc! { "x": "y".repeat(len) }; count];
            let documents = encode::<RawDocumentBuf>(&all);
            let held = documents.ends.last().copied().unwrap();
            let room: usize = documents.chunks.into_iter().map(capacity).sum();
            assert!(
                room <= held + held / 4 + CHUNK_MIN + 64,
                "{count} {len}: {room} for {held}"
            );
        }
        let unknown = (0..5_000).map(|n| doc! { "n": n }).filter(|_| true);
        let documents = encode::<Document>(unknown);
        assert!(documents.chunks.len() < 12, "{}", documents.chunks.len());
        // One long document does not stand for all.
        let mut all = vec![rawdoc! {}; 10_000];
        all[0] = rawdoc! { "x": "y".repeat(1 << 20) };
        let documents = encode::<RawDocumentBuf>(&all);
        let room: usize = documents.chunks.into_iter().map(capacity).sum();
        assert!(room < 2 * CHUNK_MAX, "{room}");
    }

    fn capacity(chunk: Bytes) -> usize {
        bytes::BytesMut::from(chunk).capacity()
    }
}
