//! Documents to bytes and back, for the types that commands and replies are made of; the rarer ones
//! go through the `bson` crate.
//!
//! A simulation spends much of its time here. Bytes of a client are not trusted: what is cut short,
//! or lies about its length, is `None`.

use bson::{
    Binary, Bson, DateTime, Document, Timestamp,
    oid::ObjectId,
    spec::{BinarySubtype, ElementType},
};

/// Documents nested deeper than this are refused, as by the real server.
const DEPTH_MAX: usize = 200;

/// The document at the beginning of the bytes, and what follows it.
#[cfg(test)]
pub(super) fn decode(bytes: &[u8]) -> Option<(Document, &[u8])> {
    nested(bytes, 0)
}

fn nested(bytes: &[u8], depth: usize) -> Option<(Document, &[u8])> {
    let (mut elements, rest) = split(bytes, depth)?;
    let mut document = Document::new();
    while let Some((key, value, after)) = element(elements, depth)? {
        document.insert(key, value);
        elements = after;
    }
    Some((document, rest))
}

fn array(bytes: &[u8], depth: usize) -> Option<(Vec<Bson>, &[u8])> {
    let (mut elements, rest) = split(bytes, depth)?;
    let mut values = Vec::new();
    while let Some((_, value, after)) = element(elements, depth)? {
        values.push(value);
        elements = after;
    }
    Some((values, rest))
}

/// The documents that follow each other in the bytes.
pub(super) fn sequence(mut bytes: &[u8]) -> Option<Vec<Bson>> {
    let mut documents = Vec::new();
    while !bytes.is_empty() {
        let (document, rest) = nested(bytes, 0)?;
        documents.push(Bson::Document(document));
        bytes = rest;
    }
    Some(documents)
}

/// What follows the document at the beginning of the bytes, all of which is checked as decoding
/// does it.
pub(super) fn check(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let (mut elements, rest) = split(bytes, depth)?;
    while let Some((_, _, _, after)) = checked_element(elements, depth)? {
        elements = after;
    }
    Some(rest)
}

/// The type, key and value of the first element and what follows it, checked as decoding does it;
/// `Some(None)` when there is none.
#[expect(
    clippy::type_complexity,
    reason = "four parts, named where they are taken"
)]
pub(super) fn checked_element(
    bytes: &[u8],
    depth: usize,
) -> Option<Option<(u8, &[u8], &[u8], &[u8])>> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Some(None);
    };
    let (key, value) = key_bytes(rest)?;
    if !is_text(key) {
        return None;
    }
    let after = skip(*kind, value, depth)?;
    let value = &value[..value.len() - after.len()];
    Some(Some((*kind, key, value, after)))
}

/// The key at the beginning of the bytes, and what follows its zero.
fn key(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (key, rest) = key_bytes(bytes)?;
    Some((std::str::from_utf8(key).ok()?, rest))
}

fn key_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Most text is ASCII, which is told faster.
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// What follows a value of a type.
fn skip(kind: u8, bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let fixed = match ElementType::from(kind)? {
        ElementType::Array | ElementType::EmbeddedDocument => return check(bytes, depth + 1),
        ElementType::Boolean => match bytes.split_first()? {
            (0 | 1, rest) => return Some(rest),
            _ => return None,
        },
        ElementType::DateTime
        | ElementType::Double
        | ElementType::Int64
        | ElementType::Timestamp => 8,
        ElementType::Int32 => 4,
        ElementType::Null => 0,
        ElementType::ObjectId => 12,
        ElementType::String => {
            let length = usize::try_from(int(bytes)?).ok()?;
            let (end, text) = bytes[4..].get(..length)?.split_last()?;
            if *end != 0 || !is_text(text) {
                return None;
            }
            4 + length
        }
        ElementType::Binary if bytes.get(4) != Some(&u8::from(BinarySubtype::BinaryOld)) => {
            5 + usize::try_from(int(bytes)?).ok()?
        }
        _ => return rare(kind, bytes).map(|(_, rest)| rest),
    };
    bytes.get(fixed..)
}

/// The string at the beginning of the bytes.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    let length = usize::try_from(int(bytes)?).ok()?;
    let text = bytes[4..].get(..length)?;
    let (end, text) = text.split_last()?;
    std::str::from_utf8(text).ok().filter(|_| *end == 0)
}

/// The elements of the document at the beginning of the bytes, and what follows the document.
pub(super) fn split(bytes: &[u8], depth: usize) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(int(bytes)?).ok()?;
    if length < 5 || depth > DEPTH_MAX {
        return None;
    }
    let (document, rest) = bytes.split_at_checked(length)?;
    let (end, elements) = document[4..].split_last()?;
    (*end == 0).then_some((elements, rest))
}

/// The first element and what follows it; `Some(None)` when there is none.
fn element(bytes: &[u8], depth: usize) -> Option<Option<(&str, Bson, &[u8])>> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Some(None);
    };
    let (key, rest) = key(rest)?;
    let (value, after) = value(*kind, rest, depth)?;
    Some(Some((key, value, after)))
}

/// The value of a type at the beginning of the bytes, and what follows it.
pub(super) fn value(kind: u8, bytes: &[u8], depth: usize) -> Option<(Bson, &[u8])> {
    let eight = || bytes.split_first_chunk::<8>();
    Some(match ElementType::from(kind)? {
        ElementType::Array => {
            let (values, rest) = array(bytes, depth + 1)?;
            (Bson::Array(values), rest)
        }
        ElementType::Boolean => match bytes.split_first()? {
            (flag @ (0 | 1), rest) => (Bson::Boolean(*flag == 1), rest),
            _ => return None,
        },
        ElementType::Binary => binary(bytes)?,
        ElementType::DateTime => {
            let (bytes, rest) = eight()?;
            let millis = i64::from_le_bytes(*bytes);
            (Bson::DateTime(DateTime::from_millis(millis)), rest)
        }
        ElementType::Double => {
            let (bytes, rest) = eight()?;
            (Bson::Double(f64::from_le_bytes(*bytes)), rest)
        }
        ElementType::EmbeddedDocument => {
            let (document, rest) = nested(bytes, depth + 1)?;
            (Bson::Document(document), rest)
        }
        ElementType::Int32 => (Bson::Int32(int(bytes)?), &bytes[4..]),
        ElementType::Int64 => {
            let (bytes, rest) = eight()?;
            (Bson::Int64(i64::from_le_bytes(*bytes)), rest)
        }
        ElementType::Null => (Bson::Null, bytes),
        ElementType::ObjectId => {
            let (bytes, rest) = bytes.split_first_chunk::<12>()?;
            (Bson::ObjectId(ObjectId::from_bytes(*bytes)), rest)
        }
        ElementType::String => {
            let text = text(bytes)?;
            (Bson::String(text.to_owned()), &bytes[5 + text.len()..])
        }
        ElementType::Timestamp => {
            let (increment, time) = (int(bytes)?, int(bytes.get(4..)?)?);
            let unsigned = |n: i32| u32::from_le_bytes(n.to_le_bytes());
            let timestamp = Timestamp {
                time: unsigned(time),
                increment: unsigned(increment),
            };
            (Bson::Timestamp(timestamp), &bytes[8..])
        }
        _ => return rare(kind, bytes),
    })
}

fn binary(bytes: &[u8]) -> Option<(Bson, &[u8])> {
    let length = usize::try_from(int(bytes)?).ok()?;
    let (subtype, rest) = bytes[4..].split_first()?;
    let subtype = BinarySubtype::from(*subtype);
    if subtype == BinarySubtype::BinaryOld {
        return rare(ElementType::Binary as u8, bytes);
    }
    let (data, rest) = rest.split_at_checked(length)?;
    let binary = Binary {
        subtype,
        bytes: data.to_vec(),
    };
    Some((Bson::Binary(binary), rest))
}

/// A value of another type: its bytes are cut out by its length, and the crate reads them as the only
/// element of a document.
fn rare(kind: u8, bytes: &[u8]) -> Option<(Bson, &[u8])> {
    let fixed = match ElementType::from(kind)? {
        ElementType::Decimal128 => Some(16),
        ElementType::MaxKey | ElementType::MinKey | ElementType::Undefined => Some(0),
        ElementType::DbPointer => Some(4 + usize::try_from(int(bytes)?).ok()? + 12),
        ElementType::Binary => Some(5 + usize::try_from(int(bytes)?).ok()?),
        ElementType::JavaScriptCode | ElementType::Symbol => {
            Some(4 + usize::try_from(int(bytes)?).ok()?)
        }
        ElementType::JavaScriptCodeWithScope => Some(usize::try_from(int(bytes)?).ok()?),
        ElementType::RegularExpression => None,
        _ => return None,
    };
    let length = match fixed {
        Some(length) => length,
        None => {
            // A pattern and its options, each ended by a zero.
            let pattern = bytes.iter().position(|byte| *byte == 0)? + 1;
            pattern + bytes[pattern..].iter().position(|byte| *byte == 0)? + 1
        }
    };
    let (own, rest) = bytes.split_at_checked(length)?;
    let mut document = i32::try_from(length + 7).ok()?.to_le_bytes().to_vec();
    document.extend([kind, 0]);
    document.extend_from_slice(own);
    document.push(0);
    let document = Document::from_reader(&document[..]).ok()?;
    let (_, value) = document.into_iter().next()?;
    Some((value, rest))
}

fn int(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_le_bytes(*bytes.first_chunk::<4>()?))
}

/// Appends a document. `None` for one that has no encoding: a zero in a key.
pub(crate) fn encode(document: &Document, out: &mut Vec<u8>) -> Option<()> {
    enclosed(out, |out| {
        for (key, value) in document {
            append(key, value, out)?;
        }
        Some(())
    })
}

/// Appends what `write` does, between its length and a zero.
fn enclosed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    out.push(0);
    let length = i32::try_from(out.len() - start).ok()?;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Some(())
}

/// Appends an element.
pub(super) fn append(key: &str, value: &Bson, out: &mut Vec<u8>) -> Option<()> {
    if key.as_bytes().contains(&0) {
        return None;
    }
    out.push(value.element_type() as u8);
    out.extend_from_slice(key.as_bytes());
    out.push(0);
    append_value(value, out)
}

/// Appends the key of an element of an array.
pub(super) fn index(index: usize, out: &mut Vec<u8>) {
    if let Ok(digit @ 0..10) = u8::try_from(index) {
        out.extend_from_slice(&[b'0' + digit, 0]);
        return;
    }
    out.extend_from_slice(index.to_string().as_bytes());
    out.push(0);
}

fn append_value(value: &Bson, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Bson::Array(values) => enclosed(out, |out| {
            for (index, value) in values.iter().enumerate() {
                out.push(value.element_type() as u8);
                self::index(index, out);
                append_value(value, out)?;
            }
            Some(())
        })?,
        Bson::Binary(binary) if binary.subtype != BinarySubtype::BinaryOld => {
            let length = i32::try_from(binary.bytes.len()).ok()?;
            out.extend_from_slice(&length.to_le_bytes());
            out.push(u8::from(binary.subtype));
            out.extend_from_slice(&binary.bytes);
        }
        Bson::Boolean(flag) => out.push(u8::from(*flag)),
        Bson::DateTime(time) => out.extend_from_slice(&time.timestamp_millis().to_le_bytes()),
        Bson::Document(document) => encode(document, out)?,
        Bson::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
        Bson::Int32(number) => out.extend_from_slice(&number.to_le_bytes()),
        Bson::Int64(number) => out.extend_from_slice(&number.to_le_bytes()),
        Bson::Null => {}
        Bson::ObjectId(id) => out.extend_from_slice(&id.bytes()),
        Bson::String(text) => {
            let length = i32::try_from(text.len() + 1).ok()?;
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        Bson::Timestamp(time) => {
            out.extend_from_slice(&time.increment.to_le_bytes());
            out.extend_from_slice(&time.time.to_le_bytes());
        }
        rare => {
            let mut alone = Document::new();
            alone.insert("", rare.clone());
            let alone = alone.to_vec().ok()?;
            out.extend_from_slice(&alone[6..alone.len() - 1]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use bson::{Decimal128, JavaScriptCodeWithScope, Regex, doc};

    use super::*;

    fn samples() -> Document {
        let old = Binary {
            subtype: BinarySubtype::BinaryOld,
            bytes: vec![1, 2, 3],
        };
        let uuid = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![7; 16],
        };
        let scope = JavaScriptCodeWithScope {
            code: "f".into(),
            scope: doc! { "x": 1 },
        };
        let regex = Regex {
            pattern: "^a".try_into().unwrap(),
            options: "i".try_into().unwrap(),
        };
        doc! {
            "double": -1.5, "text": "grüße", "empty": "", "document": { "a": { "b": [1, [2, {}]] } },
            "array": [1_i32, "two", 3.0, null], "binary": uuid, "old": old,
            "id": ObjectId::from_bytes([9; 12]), "yes": true, "no": false,
            "time": DateTime::from_millis(-5), "null": Bson::Null, "regex": regex,
            "code": Bson::JavaScriptCode("g".into()), "scoped": scope,
            "symbol": Bson::Symbol("s".into()), "int": i32::MIN, "long": i64::MAX,
            "timestamp": Timestamp { time: u32::MAX, increment: 7 },
            "decimal": Bson::Decimal128(Decimal128::from_bytes([3; 16])),
            "min": Bson::MinKey, "max": Bson::MaxKey, "undefined": Bson::Undefined, "last": 1,
        }
    }

    #[test]
    fn documents_are_encoded_as_by_the_crate_and_decoded_again() {
        let mut all = vec![doc! {}, samples()];
        all.extend(
            samples()
                .into_iter()
                .map(|(key, value)| doc! { key: value }),
        );
        for document in all {
            let mut bytes = vec![0xaa];
            encode(&document, &mut bytes).unwrap();
            assert_eq!(bytes[1..], document.to_vec().unwrap(), "{document}");
            bytes.extend([1, 2, 3]);
            let (decoded, rest) = decode(&bytes[1..]).unwrap();
            assert_eq!(decoded, document);
            assert_eq!(rest, [1, 2, 3]);
        }
    }

    #[test]
    fn documents_that_are_cut_short_or_lie_are_refused_and_never_panic() {
        let bytes = samples().to_vec().unwrap();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None);
            let mut wrong = bytes.clone();
            for byte in [0, 1, 0x7f, 0xff] {
                wrong[end] = byte;
                let rest = decode(&wrong).map(|(_, rest)| rest);
                assert_eq!(check(&wrong, 0), rest, "{byte} at {end}");
            }
        }
    }

    #[test]
    fn a_key_with_a_zero_has_no_encoding() {
        assert_eq!(encode(&doc! { "a\0b": 1 }, &mut Vec::new()), None);
    }

    #[test]
    fn documents_nested_too_deep_are_refused() {
        let deep = (0..250).fold(doc! {}, |inner, _| doc! { "d": inner });
        let mut bytes = Vec::new();
        encode(&deep, &mut bytes).unwrap();
        assert_eq!(decode(&bytes), None);
    }
}
