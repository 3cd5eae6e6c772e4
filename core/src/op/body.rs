//! The body of a command, in a buffer that can be used again.

use std::ops::Deref;

use bson::{RawDocument, RawDocumentBuf};

/// A command as a document. `Debug` is not there: commands may carry secrets.
#[derive(Clone)]
pub struct Body(Vec<u8>);

impl Body {
    /// The bytes of the document.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes the buffer out, for another body; this one is empty then.
    #[inline]
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl From<RawDocumentBuf> for Body {
    #[inline]
    fn from(document: RawDocumentBuf) -> Self {
        Self(document.into_bytes())
    }
}

impl Deref for Body {
    type Target = RawDocument;

    fn deref(&self) -> &RawDocument {
        const EMPTY: &[u8] = &[5, 0, 0, 0, 0];
        let bytes = if self.0.is_empty() { EMPTY } else { &self.0 };
        RawDocument::from_bytes(bytes).expect("made from a document")
    }
}
