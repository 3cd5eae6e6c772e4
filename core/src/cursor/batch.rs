//! A batch of documents inside the bytes of a reply, walked without an index.

use std::ops::Range;

use bson::RawDocument;
use bytes::Bytes;

use crate::{
    error::{Error, Result},
    op::reply::invalid,
};

/// The smallest document: length and final NUL.
const EMPTY: &[u8] = b"\x05\0\0\0\0";
/// The type of an embedded document.
const DOCUMENT: u8 = 0x03;

/// The shortest a document can be.
const DOCUMENT_LEN_MIN: usize = 5;

/// The documents of one reply.
///
/// Each document's length and terminator are checked when the walk comes to it, once.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    bytes: Bytes,
    /// Where the next element stands.
    at: usize,
    /// Where the array's elements end, before its final NUL.
    end: usize,
    current: Range<usize>,
}

impl Batch {
    /// `array` is where the array stands in `bytes`, with its length and final NUL.
    pub(super) fn new(bytes: Bytes, array: Range<usize>) -> Self {
        let end = array.end.saturating_sub(1).min(bytes.len());
        Self {
            bytes,
            at: array.start.saturating_add(4),
            end,
            current: 0..0,
        }
    }

    /// Whether all documents were given out.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    /// The whole reply; `None` when there is none.
    pub(super) fn into_reply(self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then_some(self.bytes)
    }

    /// The document that the last [`Self::advance`] came to.
    #[inline]
    pub(super) fn current(&self) -> &RawDocument {
        let bytes = self.bytes.get(self.current.clone()).unwrap_or(EMPTY);
        // Before the first document there are no bytes.
        RawDocument::from_bytes(bytes).unwrap_or_else(|_| empty())
    }

    /// The bytes of the current document, sharing the reply's allocation.
    pub(super) fn current_bytes(&self) -> Bytes {
        if self.current.is_empty() {
            return Bytes::from_static(EMPTY);
        }
        self.bytes.slice(self.current.clone())
    }

    /// Goes to the next document; `false` at the end. Malformed bytes end the batch.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        match self.next_document() {
            Some(document) => {
                self.at = document.end;
                self.current = document;
                Ok(true)
            }
            None => Err(self.give_up()),
        }
    }

    #[cold]
    fn give_up(&mut self) -> Error {
        self.at = self.end;
        invalid("cursor batch", "not an array of documents")
    }

    /// Where the next element's document stands.
    #[inline]
    fn next_document(&self) -> Option<Range<usize>> {
        let rest = self.bytes.get(self.at..self.end)?;
        let (kind, after) = rest.split_first()?;
        if *kind != DOCUMENT {
            return None;
        }
        let document = after.get(key_len(after)?.checked_add(1)?..)?;
        let len = i32::from_le_bytes(*document.first_chunk()?);
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len >= DOCUMENT_LEN_MIN)?;
        if *document.get(len - 1)? != 0 {
            return None;
        }
        let start = self.end - document.len();
        Some(start..start + len)
    }
}

/// How many bytes stand before the first NUL. The keys are numbers in decimal, so it is mostly one
/// of the first eight.
#[inline]
fn key_len(bytes: &[u8]) -> Option<usize> {
    if let Some(first) = bytes.first_chunk() {
        let word = u64::from_le_bytes(*first);
        // The lowest bit that is set belongs to the first byte that is zero; higher ones may be wrong.
        let zeros = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
        if zeros != 0 {
            return Some(zeros.trailing_zeros() as usize / 8);
        }
    }
    bytes.iter().position(|byte| *byte == 0)
}

#[cold]
fn empty() -> &'static RawDocument {
    RawDocument::from_bytes(EMPTY).expect("the empty document is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_nul_is_found_wherever_it_is() {
        for len in 0..20 {
            for fill in [1, 0x7f, 0x80, 0xff] {
                let mut bytes = vec![fill; len];
                assert_eq!(key_len(&bytes), None);
                bytes.extend([0, 1, 0, 0x80, 0, 1, 1, 1, 1, 1]);
                assert_eq!(key_len(&bytes), Some(len));
                bytes.truncate(len + 1);
                assert_eq!(key_len(&bytes), Some(len));
            }
        }
    }
}
