//! A request and a reply as the rest of the core sees them.

use std::{fmt, ops::Range};

use bson::{RawDocument, RawDocumentBuf};
use bytes::Bytes;

use crate::{error::Result, op::DocumentSequence};

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
    pub sequences: Vec<DocumentSequence>,
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

/// The body document of a reply, still in the bytes that were received.
///
/// `Debug` shows its length only.
#[derive(Clone)]
pub struct Reply {
    bytes: Bytes,
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
    pub fn new(bytes: Bytes, range: Range<usize>) -> Result<Self> {
        RawDocument::from_bytes(bytes.get(range.clone()).unwrap_or_default())?;
        Ok(Self { bytes, range })
    }

    /// Wraps a document of its own.
    #[must_use]
    pub fn from_document(document: RawDocumentBuf) -> Self {
        let bytes = Bytes::from(document.into_bytes());
        let range = 0..bytes.len();
        Self { bytes, range }
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &RawDocument {
        RawDocument::from_bytes(&self.bytes[self.range.clone()])
            .expect("checked by the constructor")
    }

    /// The document's bytes, sharing the reply's allocation.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.slice(self.range.clone())
    }
}
