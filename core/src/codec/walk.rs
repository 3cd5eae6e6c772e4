//! Walks the elements of a document: type, name and value as bytes, with bounds checks and little
//! else.
//!
//! It does not check UTF-8, does not look into inner documents and does not interpret values; the
//! accessors of [`Element`] do the first and the last for the value asked for. It never panics,
//! never allocates and never recurses.
//!
//! Invariants:
//!
//! 1. What it hands out lies within the document given, in order and without overlap.
//! 2. A value has exactly the length that its type prescribes: strings end with a NUL, inner
//!    documents are as long as they say and end with a NUL.
//! 3. After an error the walk is over.
//!
//! Layout: <https://bsonspec.org/spec.html>.

use bson::RawDocument;

/// The numbers of the element types.
pub mod kind {
    /// 64-bit binary floating point.
    pub const DOUBLE: u8 = 0x01;
    /// UTF-8 string.
    pub const STRING: u8 = 0x02;
    /// Embedded document.
    pub const DOCUMENT: u8 = 0x03;
    /// Array.
    pub const ARRAY: u8 = 0x04;
    /// Binary data.
    pub const BINARY: u8 = 0x05;
    /// Undefined (deprecated).
    pub const UNDEFINED: u8 = 0x06;
    /// `ObjectId`.
    pub const OBJECT_ID: u8 = 0x07;
    /// Boolean.
    pub const BOOLEAN: u8 = 0x08;
    /// UTC date and time.
    pub const DATE_TIME: u8 = 0x09;
    /// Null.
    pub const NULL: u8 = 0x0a;
    /// Regular expression.
    pub const REGEX: u8 = 0x0b;
    /// `DBPointer` (deprecated).
    pub const DB_POINTER: u8 = 0x0c;
    /// JavaScript code.
    pub const CODE: u8 = 0x0d;
    /// Symbol (deprecated).
    pub const SYMBOL: u8 = 0x0e;
    /// JavaScript code with scope (deprecated).
    pub const CODE_WITH_SCOPE: u8 = 0x0f;
    /// 32-bit integer.
    pub const INT32: u8 = 0x10;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 0x11;
    /// 64-bit integer.
    pub const INT64: u8 = 0x12;
    /// 128-bit decimal floating point.
    pub const DECIMAL128: u8 = 0x13;
    /// Min key.
    pub const MIN_KEY: u8 = 0xff;
    /// Max key.
    pub const MAX_KEY: u8 = 0x7f;
}

/// The smallest document: length and final NUL.
const DOCUMENT_LEN_MIN: usize = 5;
/// The smallest code with scope: length, empty string and empty document.
const CODE_WITH_SCOPE_LEN_MIN: usize = 4 + 5 + DOCUMENT_LEN_MIN;

/// The bytes are no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("malformed BSON")
    }
}

impl std::error::Error for Malformed {}

/// One element of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The type; see [`kind`].
    pub kind: u8,
    /// The name without its NUL; not checked to be UTF-8.
    pub key: &'a [u8],
    /// The value, with its length in front and its NUL at the end where the type has them.
    pub value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The number, if it is an `int32`.
    #[inline]
    #[must_use]
    pub fn int32(&self) -> Option<i32> {
        match self.kind {
            kind::INT32 => self.value.first_chunk().copied().map(i32::from_le_bytes),
            _ => None,
        }
    }

    /// The number, if it is an `int64`.
    #[inline]
    #[must_use]
    pub fn int64(&self) -> Option<i64> {
        match self.kind {
            kind::INT64 => self.value.first_chunk().copied().map(i64::from_le_bytes),
            _ => None,
        }
    }

    /// The number, if it is a double.
    #[inline]
    #[must_use]
    pub fn double(&self) -> Option<f64> {
        match self.kind {
            kind::DOUBLE => self.value.first_chunk().copied().map(f64::from_le_bytes),
            _ => None,
        }
    }

    /// The boolean, if it is one and stored as 0 or 1.
    #[inline]
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match (self.kind, self.value) {
            (kind::BOOLEAN, [0]) => Some(false),
            (kind::BOOLEAN, [1]) => Some(true),
            _ => None,
        }
    }

    /// The text, if it is a string of valid UTF-8.
    #[inline]
    #[must_use]
    pub fn string(&self) -> Option<&'a str> {
        match self.kind {
            kind::STRING => std::str::from_utf8(text(self.value)?).ok(),
            _ => None,
        }
    }

    /// The embedded document, if it is one.
    #[inline]
    #[must_use]
    pub fn document(&self) -> Option<&'a RawDocument> {
        match self.kind {
            kind::DOCUMENT => RawDocument::from_bytes(self.value).ok(),
            _ => None,
        }
    }

    /// The bytes of the embedded document, if it is one.
    #[inline]
    #[must_use]
    pub fn document_bytes(&self) -> Option<&'a [u8]> {
        (self.kind == kind::DOCUMENT).then_some(self.value)
    }

    /// The bytes of the array, if it is one: the same layout as a document.
    #[inline]
    #[must_use]
    pub fn array(&self) -> Option<&'a [u8]> {
        (self.kind == kind::ARRAY).then_some(self.value)
    }
}

/// The bytes of a string without the length in front and the NUL.
#[inline]
pub(crate) fn text(value: &[u8]) -> Option<&[u8]> {
    value.get(4..value.len().checked_sub(1)?)
}

/// The elements of a document or an array, in order.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    /// What is not walked yet, without the final NUL.
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Starts a walk over a whole document.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is not as long as it says, or has no NUL at the end.
    #[inline]
    pub fn new(document: &'a [u8]) -> Result<Self, Malformed> {
        let (rest, last) = match document {
            [_, _, _, _, rest @ .., last] => (rest, *last),
            _ => return Err(Malformed),
        };
        if last != 0 || length(document) != Some(document.len()) {
            return Err(Malformed);
        }
        Ok(Self { rest })
    }

    /// How many bytes are not walked yet, without the final NUL.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Goes to the next element if it has this name: its type and value. Otherwise, and when it is
    /// malformed, the walk stays where it is, for [`Iterator::next`] to tell which.
    #[inline]
    pub(crate) fn next_named(&mut self, name: &[u8]) -> Option<(u8, &'a [u8])> {
        let (kind, rest) = self.rest.split_first()?;
        let (key, rest) = rest.split_at_checked(name.len())?;
        let (0, rest) = rest.split_first().map(|(nul, rest)| (*nul, rest))? else {
            return None;
        };
        if key != name {
            return None;
        }
        let (value, rest) = rest.split_at_checked(value_len(*kind, rest)?)?;
        self.rest = rest;
        Some((*kind, value))
    }

    #[inline]
    fn element(&self) -> Option<(Element<'a>, &'a [u8])> {
        let (kind, rest) = self.rest.split_first()?;
        let key_len = find_nul(rest)?;
        let (key, rest) = rest.split_at_checked(key_len)?;
        let rest = rest.get(1..)?;
        let (value, rest) = rest.split_at_checked(value_len(*kind, rest)?)?;
        let kind = *kind;
        Some((Element { kind, key, value }, rest))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.element() {
            Some((element, rest)) => {
                self.rest = rest;
                Some(Ok(element))
            }
            None => {
                self.rest = &[];
                Some(Err(Malformed))
            }
        }
    }
}

impl std::iter::FusedIterator for Elements<'_> {}

/// Where the first NUL is. Eight bytes at a time: most names are shorter than that.
#[inline]
fn find_nul(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The lowest high bit that remains belongs to the first byte that is 0.
        let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
        if zeros != 0 {
            return Some(index * 8 + (zeros.trailing_zeros() / 8) as usize);
        }
    }
    let index = tail.iter().position(|byte| *byte == 0)?;
    Some(words.len() * 8 + index)
}

/// The length in front of a document or a string, if it is not negative.
#[inline]
fn length(bytes: &[u8]) -> Option<usize> {
    let len = i32::from_le_bytes(*bytes.first_chunk()?);
    usize::try_from(len).ok()
}

/// How long the value at the start of `rest` is; it may be longer than `rest` where its type alone
/// says so.
#[inline]
fn value_len(kind: u8, rest: &[u8]) -> Option<usize> {
    match kind {
        kind::STRING | kind::CODE | kind::SYMBOL => string_len(rest),
        kind::DOCUMENT | kind::ARRAY => document_len(rest),
        kind::INT32 => Some(4),
        kind::DOUBLE | kind::DATE_TIME | kind::TIMESTAMP | kind::INT64 => Some(8),
        kind::BOOLEAN => Some(1),
        kind::OBJECT_ID => Some(12),
        kind::NULL | kind::UNDEFINED | kind::MIN_KEY | kind::MAX_KEY => Some(0),
        kind::BINARY => length(rest)?.checked_add(5),
        kind::DECIMAL128 => Some(16),
        kind::REGEX => {
            let pattern = find_nul(rest)?.checked_add(1)?;
            let options = find_nul(rest.get(pattern..)?)?.checked_add(1)?;
            pattern.checked_add(options)
        }
        kind::DB_POINTER => string_len(rest)?.checked_add(12),
        kind::CODE_WITH_SCOPE => length(rest).filter(|len| *len >= CODE_WITH_SCOPE_LEN_MIN),
        _ => None,
    }
}

#[inline]
fn string_len(rest: &[u8]) -> Option<usize> {
    let len = length(rest)?;
    let end = len.checked_add(4)?;
    let last = *rest.get(end.checked_sub(1)?)?;
    (len >= 1 && last == 0).then_some(end)
}

#[inline]
fn document_len(rest: &[u8]) -> Option<usize> {
    let len = length(rest)?;
    let last = *rest.get(len.checked_sub(1)?)?;
    (len >= DOCUMENT_LEN_MIN && last == 0).then_some(len)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc, oid::ObjectId};

    use super::*;

    fn every_type() -> Vec<u8> {
        let document = doc! {
            "": 1.5, "string": "text", "a rather long name of an element": { "x": 1 },
            "array": [1, "2"], "binary": bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0, 1],
            },
            "undefined": Bson::Undefined, "oid": ObjectId::from_bytes([3; 12]), "true": true,
            "date": bson::DateTime::from_millis(7), "null": null,
            "regex": bson::Regex {
                pattern: bson::raw::CString::try_from("p").unwrap(),
                options: bson::raw::CString::try_from("i").unwrap(),
            },
            "code": Bson::JavaScriptCode("c".into()), "symbol": Bson::Symbol("s".into()),
            "scope": bson::JavaScriptCodeWithScope { code: "c".into(), scope: doc! { "y": 2 } },
            "int32": -5, "timestamp": bson::Timestamp { time: 1, increment: 2 },
            "int64": -6_i64, "decimal": bson::Decimal128::from_bytes([1; 16]),
            "min": Bson::MinKey, "max": Bson::MaxKey,
        };
        bson::serialize_to_vec(&document).unwrap()
    }

    #[test]
    fn an_element_is_come_to_by_its_own_name_only_and_where_the_walk_finds_it() {
        let bytes = every_type();
        for end in 4..bytes.len() {
            let rest = &bytes[4..end];
            let (mut walk, mut named) = (Elements { rest }, Elements { rest });
            for element in Elements::new(&bytes).unwrap().map(Result::unwrap) {
                let key = element.key;
                let others = [&b"x"[..], &[key, b"y"].concat(), &key[..key.len() / 2]];
                for other in others.into_iter().filter(|other| *other != key) {
                    assert_eq!(named.next_named(other), None);
                }
                let found = walk.next().and_then(Result::ok);
                assert_eq!(named.next_named(key), found.map(|e| (e.kind, e.value)));
                if found.is_none() {
                    break;
                }
            }
        }
    }

    #[test]
    fn every_element_has_the_type_name_and_value_that_were_written() {
        let bytes = every_type();
        let document = RawDocument::from_bytes(&bytes).unwrap();
        let mut elements = Elements::new(&bytes).unwrap();
        for expected in document.iter_elements() {
            let expected = expected.unwrap();
            let found = elements.next().unwrap().unwrap();
            assert_eq!(found.key, expected.key().as_str().as_bytes());
            assert_eq!(found.kind, expected.element_type() as u8);
            assert_eq!(found.value.len(), expected.size());
            let value = expected.value().unwrap();
            assert_eq!(found.int32(), value.as_i32());
            assert_eq!(found.int64(), value.as_i64());
            assert_eq!(found.double(), value.as_f64());
            assert_eq!(found.boolean(), value.as_bool());
            assert_eq!(found.string(), value.as_str());
            assert_eq!(found.document(), value.as_document());
            assert_eq!(found.array(), value.as_array().map(|a| a.as_bytes()));
        }
        assert_eq!(elements.next(), None);
    }

    #[test]
    fn a_document_cut_or_with_another_length_is_malformed() {
        let bytes = every_type();
        for len in 0..bytes.len() {
            assert!(Elements::new(&bytes[..len]).is_err());
            // The same with a length and an end that fit: an element must be found wanting, or the
            // cut was between two.
            if let Some(inner) = bytes.get(4..len) {
                let mut cut = ((len + 1) as i32).to_le_bytes().to_vec();
                cut.extend_from_slice(inner);
                cut.push(0);
                let walked: Vec<_> = Elements::new(&cut).unwrap().collect();
                let good = walked.iter().flatten();
                let good: usize = good.map(|e| e.key.len() + e.value.len() + 2).sum();
                assert!(good == inner.len() || walked.last() == Some(&Err(Malformed)));
            }
        }
    }

    #[test]
    fn an_error_ends_the_walk() {
        let bytes = b"\x0e\0\0\0\x77a\0\x10b\0\x01\0\0\0";
        let mut bytes = bytes.to_vec();
        bytes.push(0);
        bytes[0] = bytes.len() as u8;
        let mut elements = Elements::new(&bytes).unwrap();
        assert_eq!(elements.next(), Some(Err(Malformed)));
        assert_eq!(elements.next(), None);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        for (kind, len) in [
            (2, 0),
            (2, -1),
            (2, i32::MAX),
            (3, 4),
            (3, -9),
            (5, -1),
            (15, 13),
        ] {
            let mut bytes = vec![0, 0, 0, 0, kind, b'a', 0];
            bytes.extend_from_slice(&i32::to_le_bytes(len));
            bytes.extend_from_slice(&[0; 20]);
            bytes[0] = bytes.len() as u8;
            let first = Elements::new(&bytes).unwrap().next();
            assert_eq!(first, Some(Err(Malformed)), "type {kind}, length {len}");
        }
    }

    #[test]
    fn the_first_nul_is_found_wherever_it_is() {
        for len in 0..40 {
            for at in 0..len {
                let mut bytes = vec![1; len];
                bytes[at] = 0;
                bytes[at + 1..].fill(0x80);
                if at > 0 {
                    bytes[at - 1] = 0x80;
                }
                assert_eq!(find_nul(&bytes), Some(at));
            }
            assert_eq!(find_nul(&vec![0x81; len]), None);
            assert_eq!(find_nul(&vec![0x01; len]), None);
        }
    }
}
