//! Walks the top level of a received document: keys as bytes, values as slices.
//!
//! It reads what every reply is read for, at the cost of a few instructions per element. Each length
//! is checked before it is used and each key must be UTF-8; values are looked into only by those who
//! ask for them. It neither allocates nor recurses.

use bson::{RawDocument, Timestamp};

/// The types that are read here; BSON specification, "element".
mod kind {
    pub(super) const DOUBLE: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const DOCUMENT: u8 = 0x03;
    pub(super) const ARRAY: u8 = 0x04;
    pub(super) const BINARY: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const OBJECT_ID: u8 = 0x07;
    pub(super) const BOOLEAN: u8 = 0x08;
    pub(super) const DATE: u8 = 0x09;
    pub(super) const NULL: u8 = 0x0a;
    pub(super) const REGEX: u8 = 0x0b;
    pub(super) const DB_POINTER: u8 = 0x0c;
    pub(super) const CODE: u8 = 0x0d;
    pub(super) const SYMBOL: u8 = 0x0e;
    pub(super) const CODE_WITH_SCOPE: u8 = 0x0f;
    pub(super) const INT32: u8 = 0x10;
    pub(super) const TIMESTAMP: u8 = 0x11;
    pub(super) const INT64: u8 = 0x12;
    pub(super) const DECIMAL: u8 = 0x13;
    pub(super) const MAX_KEY: u8 = 0x7f;
    pub(super) const MIN_KEY: u8 = 0xff;
}

/// What is wrong with a document.
pub(crate) type Malformed = &'static str;

/// An element: its value's length is checked, its contents are not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    kind: u8,
    /// The key, which is UTF-8.
    pub(crate) key: &'a [u8],
    value: &'a [u8],
}

/// The elements of a document that are still to come.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    /// Without the document's length and final NUL.
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    pub(crate) fn new(document: &'a RawDocument) -> Self {
        // Length and terminator are checked by the type.
        let bytes = document.as_bytes();
        let end = bytes.len().saturating_sub(1);
        Self {
            rest: bytes.get(4..end).unwrap_or_default(),
        }
    }

    /// The next element; nothing follows one that is malformed.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        let Some((kind, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        let key = c_string(rest)?;
        let rest = &rest[key.len() + 1..];
        let len = value_len(*kind, rest)?;
        let Some((value, rest)) = rest.split_at_checked(len) else {
            return Err("a value is longer than its document");
        };
        let ended = match *kind {
            kind::STRING | kind::CODE | kind::SYMBOL | kind::DOCUMENT | kind::ARRAY => {
                value.last() == Some(&0)
            }
            _ => true,
        };
        if !ended {
            return Err("a value without its final NUL");
        }
        self.rest = rest;
        Ok(Some(Element {
            kind: *kind,
            key,
            value,
        }))
    }

    /// The first element with this key.
    pub(crate) fn find(&mut self, key: &str) -> Result<Option<Element<'a>>, Malformed> {
        while let Some(element) = self.next()? {
            if element.key == key.as_bytes() {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }
}

/// The bytes before the first NUL, which must be UTF-8.
#[inline]
fn c_string(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut seen = 0;
    for (len, byte) in bytes.iter().enumerate() {
        if *byte == 0 {
            let key = &bytes[..len];
            if seen >= 0x80 && std::str::from_utf8(key).is_err() {
                return Err("a key is not UTF-8");
            }
            return Ok(key);
        }
        seen |= byte;
    }
    Err("a key does not end")
}

#[inline]
fn length(bytes: &[u8]) -> Result<usize, Malformed> {
    let field = bytes.first_chunk().ok_or("a length is cut off")?;
    usize::try_from(i32::from_le_bytes(*field)).map_err(|_| "a length is negative")
}

/// How long a value is. Sums of lengths cannot overflow: each is an `i32`.
#[inline]
fn value_len(kind: u8, rest: &[u8]) -> Result<usize, Malformed> {
    Ok(match kind {
        kind::DOUBLE | kind::DATE | kind::TIMESTAMP | kind::INT64 => 8,
        kind::INT32 => 4,
        kind::BOOLEAN => 1,
        kind::DOCUMENT | kind::ARRAY | kind::CODE_WITH_SCOPE => match length(rest)? {
            len @ 5.. => len,
            _ => return Err("a document is too short"),
        },
        kind::STRING | kind::CODE | kind::SYMBOL => match length(rest)? {
            0 => return Err("a string without end"),
            len => 4 + len,
        },
        kind::OBJECT_ID => 12,
        kind::NULL | kind::UNDEFINED | kind::MIN_KEY | kind::MAX_KEY => 0,
        kind::BINARY => 5 + length(rest)?,
        kind::DECIMAL => 16,
        kind::DB_POINTER => 16 + length(rest)?,
        kind::REGEX => {
            let pattern = c_string(rest)?.len() + 1;
            pattern + c_string(&rest[pattern..])?.len() + 1
        }
        _ => return Err("a value is of an unknown type"),
    })
}

impl<'a> Element<'a> {
    #[inline]
    fn fixed<const N: usize>(&self, kind: u8) -> Option<[u8; N]> {
        let bytes = self.value.first_chunk().copied();
        bytes.filter(|_| self.kind == kind)
    }

    pub(crate) fn document(&self) -> Option<&'a RawDocument> {
        let document = RawDocument::from_bytes(self.value).ok();
        document.filter(|_| self.kind == kind::DOCUMENT)
    }

    /// The elements of an array.
    pub(crate) fn items(&self) -> Option<Walk<'a>> {
        let array = RawDocument::from_bytes(self.value).ok();
        array.filter(|_| self.kind == kind::ARRAY).map(Walk::new)
    }

    pub(crate) fn is_array(&self) -> bool {
        self.kind == kind::ARRAY
    }

    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        let bits = u64::from_le_bytes(self.fixed(kind::TIMESTAMP)?);
        Some(Timestamp {
            time: (bits >> 32) as u32,
            increment: bits as u32,
        })
    }

    /// A number of any type that has integers, as an integer.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self.kind {
            kind::INT32 => self
                .fixed(kind::INT32)
                .map(|b| i32::from_le_bytes(b).into()),
            kind::INT64 => self.fixed(kind::INT64).map(i64::from_le_bytes),
            kind::DOUBLE => {
                let double = self.fixed(kind::DOUBLE).map(f64::from_le_bytes);
                double.filter(|n| n.is_finite()).map(|n| n as i64)
            }
            _ => None,
        }
    }

    /// Whether the value is `true` or a number that is not 0.
    ///
    /// # Errors
    ///
    /// A boolean that is neither.
    pub(crate) fn truth(&self) -> Result<bool, Malformed> {
        match self.kind {
            kind::BOOLEAN => match self.value {
                [0] => Ok(false),
                [1] => Ok(true),
                _ => Err("neither true nor false"),
            },
            kind::DOUBLE => {
                let double = self.fixed(kind::DOUBLE).map(f64::from_le_bytes);
                Ok(double.is_some_and(|n| n != 0.0))
            }
            _ => Ok(self.integer().is_some_and(|n| n != 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawBsonRef, RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn every_type() -> RawDocumentBuf {
        let document = doc! {
            "double": 1.5, "string": "s", "document": { "x": 1 }, "array": [1, "two"],
            "binary": bson::Binary { subtype: bson::spec::BinarySubtype::BinaryOld, bytes: vec![1] },
            "undefined": bson::Bson::Undefined, "id": bson::oid::ObjectId::from_bytes([1; 12]),
            "boolean": true, "date": bson::DateTime::from_millis(5), "null": null,
            "regex": bson::Regex { pattern: bson::raw::cstr!("a").into(), options: bson::raw::cstr!("i").into() },
            "code": bson::Bson::JavaScriptCode("c".into()),
            "symbol": bson::Bson::Symbol("s".into()),
            "scope": bson::JavaScriptCodeWithScope { code: "c".into(), scope: doc! { "y": 1 } },
            "int32": 7, "timestamp": Timestamp { time: 3, increment: 4 }, "int64": 8_i64,
            "decimal": bson::Decimal128::from_bytes([1; 16]), "min": bson::Bson::MinKey,
            "max": bson::Bson::MaxKey, "schl\u{fc}ssel": 1,
        };
        RawDocumentBuf::try_from(&document).unwrap()
    }

    fn walk(document: &RawDocument) -> Result<Vec<String>, Malformed> {
        let mut walk = Walk::new(document);
        let mut keys = Vec::new();
        while let Some(element) = walk.next()? {
            keys.push(String::from_utf8(element.key.to_vec()).unwrap());
        }
        Ok(keys)
    }

    #[test]
    fn every_element_of_every_type_is_met() {
        let document = every_type();
        let expected: Vec<_> = document.iter().map(|e| e.unwrap().0.to_string()).collect();
        assert_eq!(walk(&document).unwrap(), expected);
    }

    #[test]
    fn values_are_those_of_the_document() {
        let document = every_type();
        let find = |key| Walk::new(&document).find(key).unwrap().unwrap();
        assert_eq!(find("document").document(), Some(&*rawdoc! { "x": 1 }));
        assert_eq!(find("int32").integer(), Some(7));
        assert_eq!(find("int64").integer(), Some(8));
        assert_eq!(find("double").integer(), Some(1));
        let time = Timestamp {
            time: 3,
            increment: 4,
        };
        assert_eq!(find("timestamp").timestamp(), Some(time));
        let mut items = find("array").items().unwrap();
        assert_eq!(items.next().unwrap().unwrap().integer(), Some(1));
        assert_eq!(items.next().unwrap().unwrap().integer(), None);
        assert!(items.next().unwrap().is_none());
        for (key, truth) in [("boolean", true), ("double", true), ("null", false)] {
            assert_eq!(find(key).truth(), Ok(truth), "{key}");
        }
        assert!(find("int64").document().is_none() && find("document").items().is_none());
        assert!(Walk::new(&document).find("absent").unwrap().is_none());
    }

    /// Whatever the library's own reader refuses, or finds, is refused or found here.
    #[test]
    fn damaged_documents_are_judged_as_the_library_judges_them() {
        let whole = every_type().into_bytes();
        let len = whole.len();
        let mut refused = 0;
        for at in 4..len - 1 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let document = RawDocument::from_bytes(&bytes).unwrap();
                let theirs: Result<Vec<_>, _> = document
                    .iter_elements()
                    .map(|e| e.map(|e| e.key().to_string()))
                    .collect();
                match (walk(document), theirs) {
                    (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{at} {value}"),
                    (Err(_), Err(_)) => refused += 1,
                    (ours, theirs) => panic!("{at} {value}: {ours:?} {theirs:?}"),
                }
            }
        }
        assert!(refused > 50, "{refused}");
    }

    #[test]
    fn a_boolean_is_0_or_1() {
        let mut bytes = rawdoc! { "b": true }.into_bytes();
        bytes[7] = 2;
        let document = RawDocument::from_bytes(&bytes).unwrap();
        let element = Walk::new(document).next().unwrap().unwrap();
        assert!(element.truth().is_err());
        assert!(
            matches!(document.get("b"), Err(_)),
            "{:?}",
            RawBsonRef::Null
        );
    }
}
