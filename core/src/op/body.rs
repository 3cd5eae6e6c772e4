//! The body of a command, in a buffer that can be used again.

use std::ops::Deref;

use bson::{Document, RawDocument, RawDocumentBuf};

use crate::{
    codec,
    error::{Error, Result},
};

/// A command as a document. `Debug` is not there: commands may carry secrets.
#[derive(Clone)]
pub struct Body(Vec<u8>);

impl Body {
    /// Encodes a document into a buffer, whose content is lost.
    ///
    /// # Errors
    ///
    /// Those of [`codec::append_document`].
    #[inline]
    pub fn of(document: &Document, mut buffer: Vec<u8>) -> Result<Self> {
        buffer.clear();
        codec::append_document(document, &mut buffer)?;
        Ok(Self(buffer))
    }

    /// Ends a document that was written element by element, behind four bytes for its length.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) when it is longer
    /// than documents can be.
    #[inline]
    pub fn end(mut bytes: Vec<u8>) -> Result<Self> {
        bytes.push(0);
        let len = i32::try_from(bytes.len())
            .map_err(|_| Error::invalid_argument("the command is larger than 2 GiB"))?;
        match bytes.split_first_chunk_mut() {
            Some((head, [_, ..])) => *head = len.to_le_bytes(),
            _ => return Err(Error::internal("a body without room for its length")),
        }
        Ok(Self(bytes))
    }

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
