//! Reads and writes BSON on the hot path.
//!
//! [`from_slice`], [`to_document`], [`append`] and [`append_document`] read and write the same
//! values, bytes and errors as the `bson` crate's `deserialize_from_slice`, conversion to
//! `Document` and `serialize_to_buffer`, in fewer steps. [`walk`] finds the elements of a document
//! in its bytes.
//!
//! The fast ways do not build errors and give up on rare types: when one of them fails, the `bson`
//! crate does the same work again and decides what comes out. So they need only be right where
//! they succeed; `codec::tests` compares the two.
//!
//! Invariant: nothing read here is nested deeper than [`nesting::DEPTH_MAX`].

mod cast;
mod de;
mod document;
mod names;
mod room;
mod ser;
pub mod walk;

#[cfg(test)]
mod tests;

use bson::{Bson, Document, RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use self::walk::Elements;

use crate::{
    error::{Error, Result},
    nesting,
};

/// A fast way does not lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fail;

impl std::fmt::Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the value cannot be read or written")
    }
}

impl std::error::Error for Fail {}

impl serde::de::Error for Fail {
    #[inline]
    fn custom<T: std::fmt::Display>(_message: T) -> Self {
        Self
    }
}

impl serde::ser::Error for Fail {
    #[inline]
    fn custom<T: std::fmt::Display>(_message: T) -> Self {
        Self
    }
}

impl From<walk::Malformed> for Fail {
    #[inline]
    fn from(_: walk::Malformed) -> Self {
        Self
    }
}

impl From<walk::Malformed> for Error {
    fn from(malformed: walk::Malformed) -> Self {
        Self::invalid_response(malformed.to_string())
    }
}

/// How many levels the fast ways descend: more than people make, and few enough for the stacks of
/// programs that are not optimised.
const LEVELS_MAX: u16 = 100;

/// How trees are built where nobody's visitor is to be equalled.
const WAY: document::Way = document::Way {
    levels: LEVELS_MAX,
    plain: false,
};

/// Reads a value from the bytes of a document that a server sent.
///
/// # Errors
///
/// [`ErrorKind::Bson`](crate::error::ErrorKind) as the `bson` crate tells it, or
/// [`ErrorKind::InvalidResponse`](crate::error::ErrorKind::InvalidResponse) when the document is
/// nested too deeply.
pub fn from_slice<'de, T: Deserialize<'de>>(document: &'de [u8]) -> Result<T> {
    de::from_slice(document, LEVELS_MAX).or_else(|Fail| slow_from_slice(document))
}

#[cold]
fn slow_from_slice<'de, T: Deserialize<'de>>(document: &'de [u8]) -> Result<T> {
    nesting::check("document", RawDocument::from_bytes(document)?)?;
    Ok(bson::deserialize_from_slice(document)?)
}

/// Builds the tree of a document that a server sent.
///
/// # Errors
///
/// As [`from_slice`].
pub fn to_document(document: &RawDocument) -> Result<Document> {
    read_tree(document).or_else(|Fail| slow_to_document(document))
}

#[cold]
fn slow_to_document(document: &RawDocument) -> Result<Document> {
    nesting::check("document", document)?;
    Ok(Document::try_from(document)?)
}

/// The fast half of [`to_document`].
pub(crate) fn read_tree(document: &RawDocument) -> std::result::Result<Document, Fail> {
    document::read(document.as_bytes(), WAY)
}

/// Builds the first value with this name out of the bytes of a document.
///
/// # Errors
///
/// As [`from_slice`].
pub fn get(document: &[u8], key: &str) -> Result<Option<Bson>> {
    fast_get(document, key).or_else(|Fail| {
        let document = RawDocument::from_bytes(document)?;
        nesting::check(key, document)?;
        let value = document.get(key)?;
        Ok(value.map(Bson::try_from).transpose()?)
    })
}

fn fast_get(document: &[u8], key: &str) -> std::result::Result<Option<Bson>, Fail> {
    for element in Elements::new(document)? {
        let element = element?;
        if element.key == key.as_bytes() {
            return document::value(element, WAY).map(Some);
        }
    }
    Ok(None)
}

/// Appends a value as a document. On an error `out` is as it was before.
///
/// # Errors
///
/// [`ErrorKind::Bson`](crate::error::ErrorKind) as the `bson` crate tells it: the value is no
/// document, a name contains a NUL, or a number does not fit.
pub fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    ser::append(value, out).or_else(|Fail| slow_append(value, start, out))
}

/// Appends a document; as [`append`], without serde.
///
/// # Errors
///
/// As [`append`].
pub fn append_document(document: &Document, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    document::write(document, out).or_else(|Fail| slow_append_document(document, start, out))
}

/// Encodes a document; as [`append_document`].
///
/// # Errors
///
/// As [`append`].
pub fn to_raw(document: &Document) -> Result<RawDocumentBuf> {
    let mut bytes = Vec::with_capacity(CAPACITY);
    append_document(document, &mut bytes)?;
    Ok(RawDocumentBuf::from_bytes(bytes)?)
}

/// What an encoded document starts with: enough for small commands.
const CAPACITY: usize = 128;

/// Appends an element to a document that is being written. On an error `out` is as it was before.
///
/// # Errors
///
/// As [`append`], for the document that has only this element.
pub fn append_element<T: Serialize + ?Sized>(
    key: &str,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    ser::append_element(key, value, out).or_else(|Fail| slow_append_element(key, value, start, out))
}

/// Appends an element; as [`append_element`], without serde.
///
/// # Errors
///
/// As [`append_element`].
pub fn append_bson(key: &str, value: &Bson, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    document::element(key, value, out).or_else(|Fail| {
        let entry = [(key.to_owned(), value.clone())].into_iter().collect();
        slow_append_document(&entry, start, out)?;
        unwrap_element(start, out);
        Ok(())
    })
}

#[cold]
fn slow_append_element<T: Serialize + ?Sized>(
    key: &str,
    value: &T,
    start: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    slow_append(&Entry { key, value }, start, out)?;
    unwrap_element(start, out);
    Ok(())
}

/// An element was written as a document of its own: takes off its length and terminator.
fn unwrap_element(start: usize, out: &mut Vec<u8>) {
    out.drain(start..start + 4);
    out.pop();
}

/// A document with one element.
struct Entry<'a, T: ?Sized> {
    key: &'a str,
    value: &'a T,
}

impl<T: Serialize + ?Sized> Serialize for Entry<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.key, self.value)?;
        map.end()
    }
}

#[cold]
fn slow_append<T: Serialize + ?Sized>(value: &T, start: usize, out: &mut Vec<u8>) -> Result<()> {
    out.truncate(start);
    let result = bson::serialize_to_buffer(&value, out);
    if result.is_err() {
        out.truncate(start);
    }
    Ok(result?)
}

/// As [`slow_append`], through what the `bson` crate has compiled already.
#[cold]
fn slow_append_document(document: &Document, start: usize, out: &mut Vec<u8>) -> Result<()> {
    out.truncate(start);
    out.extend_from_slice(&document.to_vec()?);
    Ok(())
}
