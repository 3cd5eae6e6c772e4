//! Between bytes and the trees of [`Document`], without serde.
//!
//! Invariant: reading descends at most as many levels as it was given.

use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocument, Timestamp,
    oid::ObjectId, spec::BinarySubtype,
};

use super::{
    Fail, names,
    room::{self, Counted},
    walk::{Element, kind, text},
};

/// How a tree is built.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// How many levels of documents may be entered.
    pub(super) levels: u16,
    /// Names with a dollar sign are given up on, for some stand for types of Extended JSON.
    pub(super) plain: bool,
}

impl Way {
    #[inline]
    fn enter(self) -> Result<Self, Fail> {
        let levels = self.levels.checked_sub(1).ok_or(Fail)?;
        Ok(Self { levels, ..self })
    }
}

/// Builds the tree of a document.
pub(super) fn read(bytes: &[u8], way: Way) -> Result<Document, Fail> {
    let way = way.enter()?;
    let mut elements = Counted::new(bytes)?;
    let mut document = room::document(elements.count()?);
    elements.try_for_each(|element| {
        if way.plain && element.key.first() == Some(&b'$') {
            return Err(Fail);
        }
        let key = string(element.key)?;
        document.insert(key, value(element, way)?);
        Ok(())
    })?;
    Ok(document)
}

fn array(bytes: &[u8], way: Way) -> Result<Vec<Bson>, Fail> {
    let way = way.enter()?;
    let mut elements = Counted::new(bytes)?;
    let mut array = Vec::with_capacity(elements.count()?);
    elements.try_for_each(|element| {
        if !element.key.is_ascii() {
            utf8(element.key)?;
        }
        array.push(value(element, way)?);
        Ok(())
    })?;
    Ok(array)
}

/// A copy of text, which is checked in the copy: that one is aligned, so that it goes faster.
#[inline]
pub(super) fn string(bytes: &[u8]) -> Result<String, Fail> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Fail)
}

fn utf8(bytes: &[u8]) -> Result<&str, Fail> {
    std::str::from_utf8(bytes).map_err(|_| Fail)
}

fn number<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fail> {
    bytes.first_chunk().copied().ok_or(Fail)
}

pub(super) fn value(element: Element<'_>, way: Way) -> Result<Bson, Fail> {
    let bytes = element.value;
    Ok(match element.kind {
        kind::STRING => Bson::String(string(text(bytes).ok_or(Fail)?)?),
        kind::INT32 => Bson::Int32(i32::from_le_bytes(number(bytes)?)),
        kind::INT64 => Bson::Int64(i64::from_le_bytes(number(bytes)?)),
        kind::DOUBLE => Bson::Double(f64::from_le_bytes(number(bytes)?)),
        kind::BOOLEAN => Bson::Boolean(element.boolean().ok_or(Fail)?),
        kind::NULL => Bson::Null,
        kind::DOCUMENT => Bson::Document(read(bytes, way)?),
        kind::ARRAY => Bson::Array(array(bytes, way)?),
        kind::OBJECT_ID => Bson::ObjectId(ObjectId::from_bytes(number(bytes)?)),
        kind::DATE_TIME => {
            Bson::DateTime(DateTime::from_millis(i64::from_le_bytes(number(bytes)?)))
        }
        kind::BINARY => match bytes.get(4..).and_then(<[_]>::split_first).ok_or(Fail)? {
            (&names::SUBTYPE_OLD, _) => rare(element)?,
            (subtype, bytes) => Bson::Binary(Binary {
                subtype: BinarySubtype::from(*subtype),
                bytes: bytes.to_vec(),
            }),
        },
        kind::TIMESTAMP => {
            let value = u64::from_le_bytes(number(bytes)?);
            Bson::Timestamp(Timestamp {
                time: (value >> 32) as u32,
                increment: (value & 0xffff_ffff) as u32,
            })
        }
        kind::DECIMAL128 => Bson::Decimal128(Decimal128::from_bytes(number(bytes)?)),
        kind::MIN_KEY => Bson::MinKey,
        kind::MAX_KEY => Bson::MaxKey,
        kind::CODE_WITH_SCOPE => code_with_scope(bytes, way)?,
        _ => rare(element)?,
    })
}

fn code_with_scope(bytes: &[u8], way: Way) -> Result<Bson, Fail> {
    let inner = bytes.get(4..).ok_or(Fail)?;
    let len = usize::try_from(i32::from_le_bytes(number(inner)?)).map_err(|_| Fail)?;
    let end = len.checked_add(4).ok_or(Fail)?;
    let (code, scope) = inner.split_at_checked(end).ok_or(Fail)?;
    if code.len() < 5 || code.last() != Some(&0) {
        return Err(Fail);
    }
    Ok(Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
        code: string(text(code).ok_or(Fail)?)?,
        scope: read(scope, way)?,
    }))
}

/// Lets the `bson` crate read a value without inner documents, in a document of its own.
fn rare(element: Element<'_>) -> Result<Bson, Fail> {
    let len = i32::try_from(element.value.len() + 7).map_err(|_| Fail)?;
    let mut bytes = Vec::with_capacity(element.value.len() + 7);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&[element.kind, 0]);
    bytes.extend_from_slice(element.value);
    bytes.push(0);
    let document = RawDocument::from_bytes(&bytes).map_err(|_| Fail)?;
    let (_, value) = document.iter().next().ok_or(Fail)?.map_err(|_| Fail)?;
    Bson::try_from(value).map_err(|_| Fail)
}

/// Appends a document.
pub(super) fn write(document: &Document, out: &mut Vec<u8>) -> Result<(), Fail> {
    let start = begin(out);
    for (key, value) in document {
        element(key, value, out)?;
    }
    end(start, out)
}

/// Appends one element.
pub(super) fn element(key: &str, value: &Bson, out: &mut Vec<u8>) -> Result<(), Fail> {
    out.push(value.element_type() as u8);
    append_key(key, out)?;
    append_value(value, out)
}

/// Appends a name and its NUL.
#[inline]
pub(super) fn append_key(key: &str, out: &mut Vec<u8>) -> Result<(), Fail> {
    if key.as_bytes().contains(&0) {
        return Err(Fail);
    }
    out.extend_from_slice(key.as_bytes());
    out.push(0);
    Ok(())
}

/// Appends the place of an element in an array, as its name.
#[inline]
pub(super) fn append_index(index: usize, out: &mut Vec<u8>) {
    match u8::try_from(index) {
        Ok(digit @ 0..10) => out.extend_from_slice(&[b'0' + digit, 0]),
        Ok(digits @ 10..100) => {
            out.extend_from_slice(&[b'0' + digits / 10, b'0' + digits % 10, 0]);
        }
        _ => append_long_index(index, out),
    }
}

fn append_long_index(mut index: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 21];
    let mut at = digits.len() - 1;
    while index > 0 && at > 0 {
        at -= 1;
        digits[at] = b'0' + (index % 10) as u8;
        index /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a string's length, text and NUL.
#[inline]
pub(super) fn append_string(text: &str, out: &mut Vec<u8>) -> Result<(), Fail> {
    let len = text.len().checked_add(1).ok_or(Fail)?;
    let len = i32::try_from(len).map_err(|_| Fail)?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

/// Begins a document or an array; returns where.
#[inline]
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

/// Ends what began at `start`, and writes its length there.
#[inline]
pub(super) fn end(start: usize, out: &mut Vec<u8>) -> Result<(), Fail> {
    out.push(0);
    put_length(start, out)
}

/// Writes the length of what began at `start` there.
#[inline]
fn put_length(start: usize, out: &mut [u8]) -> Result<(), Fail> {
    let written = out.get_mut(start..).ok_or(Fail)?;
    let len = i32::try_from(written.len()).map_err(|_| Fail)?;
    *written.first_chunk_mut().ok_or(Fail)? = len.to_le_bytes();
    Ok(())
}

/// Appends binary data; the old subtype, which has a length inside, is left to the `bson` crate.
pub(super) fn append_binary(subtype: u8, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fail> {
    if subtype == names::SUBTYPE_OLD {
        return Err(Fail);
    }
    let len = i32::try_from(bytes.len()).map_err(|_| Fail)?;
    out.extend_from_slice(&len.to_le_bytes());
    out.push(subtype);
    out.extend_from_slice(bytes);
    Ok(())
}

fn append_value(value: &Bson, out: &mut Vec<u8>) -> Result<(), Fail> {
    match value {
        Bson::String(text) => append_string(text, out)?,
        Bson::Int32(number) => out.extend_from_slice(&number.to_le_bytes()),
        Bson::Int64(number) => out.extend_from_slice(&number.to_le_bytes()),
        Bson::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
        Bson::Boolean(value) => out.push(u8::from(*value)),
        Bson::Document(document) => write(document, out)?,
        Bson::Array(array) => {
            let start = begin(out);
            for (index, value) in array.iter().enumerate() {
                out.push(value.element_type() as u8);
                append_index(index, out);
                append_value(value, out)?;
            }
            end(start, out)?;
        }
        Bson::ObjectId(id) => out.extend_from_slice(&id.bytes()),
        Bson::DateTime(date) => out.extend_from_slice(&date.timestamp_millis().to_le_bytes()),
        Bson::Binary(binary) => append_binary(binary.subtype.into(), &binary.bytes, out)?,
        Bson::Timestamp(value) => {
            out.extend_from_slice(&value.increment.to_le_bytes());
            out.extend_from_slice(&value.time.to_le_bytes());
        }
        Bson::Decimal128(number) => out.extend_from_slice(&number.bytes()),
        Bson::JavaScriptCode(text) | Bson::Symbol(text) => append_string(text, out)?,
        Bson::Null | Bson::Undefined | Bson::MinKey | Bson::MaxKey => {}
        Bson::RegularExpression(regex) => {
            append_key(regex.pattern.as_str(), out)?;
            // Servers want the options in order.
            let mut options: Vec<char> = regex.options.as_str().chars().collect();
            options.sort_unstable();
            append_key(&String::from_iter(options), out)?;
        }
        Bson::JavaScriptCodeWithScope(code) => {
            let start = begin(out);
            append_string(&code.code, out)?;
            write(&code.scope, out)?;
            put_length(start, out)?;
        }
        // The crate does not show its parts.
        Bson::DbPointer(_) => return Err(Fail),
    }
    Ok(())
}
