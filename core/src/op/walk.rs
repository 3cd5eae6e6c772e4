//! What replies are read for, at the cost of a few instructions per element.
//!
//! The walk itself is [`codec::walk`](crate::codec::walk): each length is checked before it is used.
//! Names that are not UTF-8 are refused here; values are looked into only by those who ask for them.

use bson::{RawDocument, Timestamp};

pub(crate) use crate::codec::walk::{Element, Elements};
use crate::{
    codec::walk::{Malformed, kind},
    error::Result,
    op::reply::invalid,
};

/// The elements of a document.
#[inline]
pub(crate) fn elements(document: &RawDocument) -> std::result::Result<Elements<'_>, Malformed> {
    Elements::new(document.as_bytes())
}

/// The first element of this name in the bytes of a document or an array; errors name `field`.
#[inline]
pub(crate) fn find<'a>(bytes: &'a [u8], name: &str, field: &str) -> Result<Option<Element<'a>>> {
    for element in Elements::new(bytes).map_err(|e| invalid(field, e))? {
        let element = element.map_err(|e| invalid(field, e))?;
        if element.key == name.as_bytes() {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// Refuses a name that is not UTF-8.
#[inline]
pub(crate) fn check_name(name: &[u8]) -> std::result::Result<(), &'static str> {
    let mut bits = 0;
    for byte in name {
        bits |= byte;
    }
    if bits < 0x80 || std::str::from_utf8(name).is_ok() {
        Ok(())
    } else {
        Err("a name is not UTF-8")
    }
}

pub(crate) fn timestamp(element: &Element<'_>) -> Option<Timestamp> {
    let bits = u64::from_le_bytes(*element.value.first_chunk()?);
    (element.kind == kind::TIMESTAMP).then_some(Timestamp {
        time: (bits >> 32) as u32,
        increment: bits as u32,
    })
}

/// An int32.
#[inline]
pub(crate) fn small(element: &Element<'_>) -> Option<i32> {
    match element.kind {
        kind::INT32 => element.int32(),
        _ => None,
    }
}

/// A number of any type that has integers, as an integer.
#[inline]
pub(crate) fn integer(element: &Element<'_>) -> Option<i64> {
    match element.kind {
        kind::INT32 => element.int32().map(i64::from),
        kind::INT64 => element.int64(),
        kind::DOUBLE => element.double().filter(|n| n.is_finite()).map(|n| n as i64),
        _ => None,
    }
}

/// Whether the value is `true` or a number that is not 0.
///
/// # Errors
///
/// A boolean that is neither.
#[inline]
pub(crate) fn truth(element: &Element<'_>) -> std::result::Result<bool, &'static str> {
    match element.kind {
        kind::BOOLEAN => element.boolean().ok_or("neither true nor false"),
        kind::DOUBLE => Ok(element.double().is_some_and(|n| n != 0.0)),
        _ => Ok(integer(element).is_some_and(|n| n != 0)),
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn values_are_those_of_the_document() {
        let time = Timestamp {
            time: 3,
            increment: 4,
        };
        let document = rawdoc! {
            "small": 7, "large": 8_i64, "double": 1.5, "infinite": f64::INFINITY, "yes": true,
            "no": false, "none": null, "time": time, "text": "t",
        };
        let find = |name| find(document.as_bytes(), name, name).unwrap().unwrap();
        let integers = [
            ("small", Some(7)),
            ("large", Some(8)),
            ("double", Some(1)),
            ("infinite", None),
        ];
        for (name, value) in integers {
            assert_eq!(integer(&find(name)), value, "{name}");
        }
        let truths = [
            ("yes", true),
            ("no", false),
            ("none", false),
            ("infinite", true),
            ("small", true),
        ];
        for (name, value) in truths {
            assert_eq!(truth(&find(name)), Ok(value), "{name}");
        }
        assert_eq!(timestamp(&find("time")), Some(time));
        assert_eq!(timestamp(&find("large")), None);
        assert!(integer(&find("text")).is_none());
    }

    #[test]
    fn a_boolean_is_0_or_1() {
        let mut bytes = rawdoc! { "b": true }.into_bytes();
        bytes[7] = 2;
        assert!(truth(&find(&bytes, "b", "b").unwrap().unwrap()).is_err());
    }

    #[test]
    fn what_is_no_document_is_an_error_that_names_the_field() {
        let mut bytes = rawdoc! { "b": "text" }.into_bytes();
        bytes[7] = 0x7f;
        let error = find(&bytes, "c", "wanted").unwrap_err();
        assert!(error.to_string().contains("wanted"), "{error}");
        assert!(check_name("schl\u{fc}ssel".as_bytes()).is_ok());
        assert!(check_name(b"\xff").is_err());
    }
}
