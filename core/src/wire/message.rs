//! A request and a reply as the rest of the core sees them.

use std::{
    fmt,
    ops::{Deref, Range},
};

use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;

use crate::{error::Result, op::Sequences};

/// One command, ready to be framed.
///
/// `Debug` shows its name and length: the content may be a secret.
#[derive(Clone, Default)]
pub struct Request {
    /// The name of the command.
    pub name: &'static str,
    /// The body section (kind 0): a complete BSON document with `$db` and all generic fields.
    pub document: Vec<u8>,
    /// Further sections (kind 1).
    pub sequences: Sequences,
    /// No reply will come (`moreToCome`): an unacknowledged write.
    pub more_to_come: bool,
    /// The server may send several replies (`exhaustAllowed`).
    pub exhaust_allowed: bool,
    /// The command may be compressed: false for hello and commands with secrets.
    pub compressible: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("name", &self.name)
            .field("document_len", &self.document.len())
            .field("sequences", &self.sequences)
            .finish_non_exhaustive()
    }
}

/// Bytes in an allocation of one of two kinds.
#[derive(Clone)]
pub enum Chunk {
    /// In a buffer that can be used again.
    Buffer(Vec<u8>),
    /// In an allocation that others may share.
    Shared(Bytes),
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Buffer(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl<'a> IntoIterator for &'a Chunk {
    type Item = &'a u8;
    type IntoIter = std::slice::Iter<'a, u8>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Buffer(bytes)
    }
}

/// The body document of a reply, still in the bytes that were received.
///
/// `Debug` shows its length only.
#[derive(Clone)]
pub struct Reply {
    bytes: Chunk,
    range: Range<usize>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("len", &self.range.len())
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// Wraps a document that stands at `range` in `bytes`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Bson`](crate::error::ErrorKind::Bson) when the range does not hold one whole
    /// document.
    #[inline]
    pub fn new(bytes: impl Into<Chunk>, range: Range<usize>) -> Result<Self> {
        let bytes = bytes.into();
        RawDocument::from_bytes(bytes.get(range.clone()).unwrap_or_default())?;
        Ok(Self { bytes, range })
    }

    /// Wraps a document of which the caller has checked what [`Self::new`] checks.
    #[inline]
    pub(super) fn checked(bytes: Chunk, range: Range<usize>) -> Self {
        debug_assert!(
            bytes
                .get(range.clone())
                .is_some_and(|document| RawDocument::from_bytes(document).is_ok()),
            "a reply that is no document"
        );
        Self { bytes, range }
    }

    /// Wraps a document of its own.
    #[must_use]
    pub fn from_document(document: RawDocumentBuf) -> Self {
        let bytes = document.into_bytes();
        let range = 0..bytes.len();
        Self {
            bytes: Chunk::Buffer(bytes),
            range,
        }
    }

    /// The document.
    #[inline]
    #[must_use]
    pub fn document(&self) -> &RawDocument {
        RawDocument::from_bytes(self.as_bytes()).expect("checked by the constructor")
    }

    /// The document's bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }

    /// The document's bytes, to be shared: in the reply's allocation, unless that is much too
    /// large for them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.bytes {
            Chunk::Shared(bytes) => bytes.slice(self.range),
            Chunk::Buffer(bytes) if bytes.capacity() / 2 > bytes.len() => {
                Bytes::copy_from_slice(&bytes[self.range])
            }
            Chunk::Buffer(bytes) => Bytes::from(bytes).slice(self.range),
        }
    }

    /// The buffer of the reply, for another one; empty where it is shared.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        match self.bytes {
            Chunk::Shared(_) => Vec::new(),
            Chunk::Buffer(bytes) => bytes,
        }
    }
}
