//! A batch of documents inside the bytes of a reply, walked without an index.

use std::ops::Range;

use bson::RawDocument;
use bytes::Bytes;

use crate::{error::Result, op::reply::invalid};

/// The smallest document: length and final NUL.
const EMPTY: &[u8] = b"\x05\0\0\0\0";
/// The type of an embedded document.
const DOCUMENT: u8 = 0x03;

/// The documents of one reply.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    bytes: Bytes,
    /// What is left of the array's elements, without its final NUL.
    rest: Range<usize>,
    current: Range<usize>,
}

impl Batch {
    /// `array` is where the array stands in `bytes`, with its length and final NUL.
    pub(super) fn new(bytes: Bytes, array: Range<usize>) -> Self {
        let rest = array.start.saturating_add(4)..array.end.saturating_sub(1);
        Self {
            bytes,
            rest,
            current: 0..0,
        }
    }

    /// Whether all documents were given out.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.start >= self.rest.end
    }

    /// The document that the last [`Self::advance`] came to.
    pub(super) fn current(&self) -> &RawDocument {
        let bytes = self.bytes.get(self.current.clone()).unwrap_or(EMPTY);
        RawDocument::from_bytes(bytes)
            .or_else(|_| RawDocument::from_bytes(EMPTY))
            .expect("the empty document is well-formed")
    }

    /// The bytes of the current document, sharing the reply's allocation.
    pub(super) fn current_bytes(&self) -> Bytes {
        if self.current.is_empty() {
            return Bytes::from_static(EMPTY);
        }
        self.bytes.slice(self.current.clone())
    }

    /// Goes to the next document; `false` at the end. Malformed bytes end the batch.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        match self.next_document() {
            Some(document) => {
                self.rest.start = document.end;
                self.current = document;
                Ok(true)
            }
            None => {
                self.rest = 0..0;
                Err(invalid("cursor batch", "not an array of documents"))
            }
        }
    }

    /// Where the next element's document stands.
    fn next_document(&self) -> Option<Range<usize>> {
        let rest = self.bytes.get(self.rest.clone())?;
        let (kind, rest) = rest.split_first()?;
        if *kind != DOCUMENT {
            return None;
        }
        let key = rest.iter().position(|byte| *byte == 0)?;
        let document = rest.get(key.checked_add(1)?..)?;
        let len = i32::from_le_bytes(document.get(..4)?.try_into().ok()?);
        let len = usize::try_from(len).ok()?;
        RawDocument::from_bytes(document.get(..len)?).ok()?;
        let start = self.rest.end.checked_sub(document.len())?;
        Some(start..start.checked_add(len)?)
    }
}
