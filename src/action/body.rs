//! Writes command bodies straight as BSON, without intermediate documents.

use std::time::Duration;

use bson::{Bson, Document, RawDocument};
use mongo_client_core::{
    bson::spec::ElementType,
    codec,
    error::{Error, Result},
    op,
};
use mongo_client_driver::buffers;

use super::put::Put;

/// What a body starts with: enough for most commands, so that they need one allocation.
const BODY_CAPACITY: usize = 256;

/// A command body that is being written.
///
/// Keys are literals of this crate, so they never contain a NUL.
pub(crate) struct Body {
    bytes: Vec<u8>,
}

impl Body {
    /// Starts a body with the command's name and its first argument.
    #[inline]
    pub(crate) fn new(name: &'static str, argument: &str) -> Self {
        let mut body = Self::empty();
        body.str(name, argument);
        body
    }

    /// Starts a body with the command's name and the number 1.
    pub(crate) fn with_one(name: &'static str) -> Self {
        let mut body = Self::empty();
        body.int(name, 1);
        body
    }

    /// Starts a body with the command's name and a document.
    pub(crate) fn with_document(name: &'static str, argument: &RawDocument) -> Self {
        let mut body = Self::empty();
        body.raw(name, argument);
        body
    }

    /// Starts a document with nothing in it.
    #[inline]
    pub(crate) fn empty() -> Self {
        let mut bytes = buffers::take();
        bytes.reserve(BODY_CAPACITY);
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes }
    }

    #[inline]
    fn key(&mut self, kind: ElementType, key: &'static str) {
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(0);
    }

    #[inline]
    pub(crate) fn str(&mut self, key: &'static str, value: &str) {
        self.key(ElementType::String, key);
        // A length over the limit of BSON is refused by `finish`.
        let len = u32::try_from(value.len())
            .unwrap_or(u32::MAX)
            .wrapping_add(1);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    #[inline]
    pub(crate) fn bool(&mut self, key: &'static str, value: bool) {
        self.key(ElementType::Boolean, key);
        self.bytes.push(u8::from(value));
    }

    /// Writes an `int32` where the number fits, otherwise an `int64`.
    #[inline]
    pub(crate) fn int(&mut self, key: &'static str, value: i64) {
        if let Ok(short) = i32::try_from(value) {
            self.key(ElementType::Int32, key);
            self.bytes.extend_from_slice(&short.to_le_bytes());
        } else {
            self.key(ElementType::Int64, key);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    #[inline]
    pub(crate) fn document(&mut self, key: &'static str, value: &Document) -> Result<()> {
        self.key(ElementType::EmbeddedDocument, key);
        codec::append_document(value, &mut self.bytes)
    }

    pub(crate) fn raw(&mut self, key: &'static str, value: &RawDocument) {
        self.key(ElementType::EmbeddedDocument, key);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn put<T: Put + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        value.put(key, self)
    }

    /// Writes an array; `write` appends the value of an item and tells its type.
    pub(super) fn array<T>(
        &mut self,
        key: &'static str,
        items: impl Iterator<Item = T>,
        write: fn(T, &mut Vec<u8>) -> Result<ElementType>,
    ) -> Result<()> {
        self.key(ElementType::Array, key);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        for (index, item) in items.enumerate() {
            let kind = self.bytes.len();
            self.bytes.push(0);
            self.bytes.extend_from_slice(index.to_string().as_bytes());
            self.bytes.push(0);
            self.bytes[kind] = write(item, &mut self.bytes)? as u8;
        }
        self.bytes.push(0);
        // A length over the limit of BSON is refused by `finish`.
        let len = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
        Ok(())
    }

    pub(crate) fn opt<T: Put>(&mut self, key: &'static str, value: Option<&T>) -> Result<()> {
        value.map_or(Ok(()), |value| self.put(key, value))
    }

    pub(crate) fn opt_bool(&mut self, key: &'static str, value: Option<bool>) {
        if let Some(value) = value {
            self.bool(key, value);
        }
    }

    pub(crate) fn opt_document(
        &mut self,
        key: &'static str,
        value: Option<&Document>,
    ) -> Result<()> {
        value.map_or(Ok(()), |value| self.document(key, value))
    }

    pub(crate) fn opt_bson(&mut self, key: &'static str, value: Option<&Bson>) -> Result<()> {
        value.map_or(Ok(()), |value| {
            codec::append_bson(key, value, &mut self.bytes)
        })
    }

    /// Writes a count; refuses what does not fit into an `int64`.
    pub(crate) fn opt_count(&mut self, key: &'static str, value: Option<u64>) -> Result<()> {
        if let Some(value) = value {
            let value = i64::try_from(value)
                .map_err(|_| Error::invalid_argument(format!("{key} is too large")))?;
            self.int(key, value);
        }
        Ok(())
    }

    /// Writes `maxTimeMS`.
    pub(crate) fn opt_max_time(&mut self, value: Option<Duration>) -> Result<()> {
        if let Some(value) = value {
            let ms = i64::try_from(value.as_nanos().div_ceil(1_000_000))
                .map_err(|_| Error::invalid_argument("max_time is too large"))?;
            self.int("maxTimeMS", ms);
        }
        Ok(())
    }

    /// Ends the document.
    #[inline]
    pub(crate) fn finish(self) -> Result<op::Body> {
        op::Body::end(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn every_kind_of_element_decodes_to_what_was_written() {
        let mut body = Body::new("find", "things");
        body.bool("b", true);
        body.int("small", -1);
        body.int("large", i64::MAX);
        body.document("d", &doc! { "x": 1 }).unwrap();
        body.put("list", &vec![doc! { "y": 2 }, doc! {}]).unwrap();
        body.put("text", "t").unwrap();
        body.opt_bson("n", Some(&Bson::Null)).unwrap();
        body.opt_bson("absent", None).unwrap();
        body.opt_max_time(Some(Duration::from_micros(1))).unwrap();
        body.opt_count("skip", Some(3)).unwrap();
        let document = Document::try_from(&*body.finish().unwrap()).unwrap();
        let expected = doc! {
            "find": "things", "b": true, "small": -1, "large": i64::MAX, "d": { "x": 1 },
            "list": [{ "y": 2 }, {}], "text": "t", "n": null, "maxTimeMS": 1, "skip": 3,
        };
        assert_eq!(document, expected);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_by_name() {
        let error = Body::empty().opt_count("skip", Some(u64::MAX)).unwrap_err();
        assert!(error.to_string().contains("skip"), "{error}");
        let error = Body::empty().opt_max_time(Some(Duration::MAX)).unwrap_err();
        assert!(error.to_string().contains("max_time"), "{error}");
    }

    #[test]
    fn a_key_with_a_nul_in_a_users_document_is_an_error() {
        let mut body = Body::empty();
        assert!(body.document("d", &doc! { "a\0b": 1 }).is_err());
    }
}
