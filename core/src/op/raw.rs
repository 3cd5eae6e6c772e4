//! Appends BSON elements to a byte buffer, without documents in between.
//!
//! Keys end at their first NUL, so that no key can break the document around it.

use bson::Timestamp;

/// Begins an element: its type and key.
#[inline]
fn element(out: &mut Vec<u8>, kind: u8, key: &str) {
    let key = key.as_bytes();
    let key = match key.iter().position(|byte| *byte == 0) {
        Some(end) => &key[..end],
        None => key,
    };
    out.push(kind);
    out.extend_from_slice(key);
    out.push(0);
}

/// Appends a string.
#[inline]
pub(crate) fn string(out: &mut Vec<u8>, key: &str, value: &str) {
    element(out, 0x02, key);
    let len = i32::try_from(value.len().saturating_add(1)).unwrap_or(i32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(0);
}

/// Appends a document that is already encoded.
#[inline]
pub(crate) fn document(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    element(out, 0x03, key);
    out.extend_from_slice(value);
}

/// Appends a boolean.
#[inline]
pub(crate) fn boolean(out: &mut Vec<u8>, key: &str, value: bool) {
    element(out, 0x08, key);
    out.push(u8::from(value));
}

/// Appends an integer, as int32 where it fits.
pub(crate) fn integer(out: &mut Vec<u8>, key: &str, value: i64) {
    match i32::try_from(value) {
        Ok(small) => {
            element(out, 0x10, key);
            out.extend_from_slice(&small.to_le_bytes());
        }
        Err(_) => int64(out, key, value),
    }
}

/// Appends an int64.
#[inline]
pub(crate) fn int64(out: &mut Vec<u8>, key: &str, value: i64) {
    element(out, 0x12, key);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a timestamp.
#[inline]
pub(crate) fn timestamp(out: &mut Vec<u8>, key: &str, value: Timestamp) {
    element(out, 0x11, key);
    out.extend_from_slice(&value.increment.to_le_bytes());
    out.extend_from_slice(&value.time.to_le_bytes());
}

/// Appends 16 bytes as a UUID (binary subtype 4).
#[inline]
pub(crate) fn uuid(out: &mut Vec<u8>, key: &str, value: &[u8; 16]) {
    element(out, 0x05, key);
    out.extend_from_slice(&16i32.to_le_bytes());
    out.push(4);
    out.extend_from_slice(value);
}

/// Begins a document at the end of `out`; [`close`] ends it.
pub(crate) fn open(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

/// Begins an embedded document.
pub(crate) fn open_document(out: &mut Vec<u8>, key: &str) -> usize {
    element(out, 0x03, key);
    open(out)
}

/// Begins an array; its elements have their indices as keys.
pub(crate) fn open_array(out: &mut Vec<u8>, key: &str) -> usize {
    element(out, 0x04, key);
    open(out)
}

/// Ends the document that [`open`] began at `start`.
pub(crate) fn close(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let len = i32::try_from(out.len().saturating_sub(start)).unwrap_or(i32::MAX);
    if let Some(field) = out.get_mut(start..start.saturating_add(4)) {
        field.copy_from_slice(&len.to_le_bytes());
    }
}
