//! Parsers for the replies of single commands; nothing is copied unless it must be owned.

use bson::{Bson, RawArray, RawBsonRef, RawDocument};

use super::{
    reply::{self, field, index, integer, invalid},
    walk::{self, Element, Elements},
};
use crate::{
    codec::walk::kind,
    error::{Result, WriteConcernError, WriteError},
    nesting,
};

/// The reply to `insert`, `update` or `delete`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteReply {
    /// How many documents were inserted, matched or deleted; upserted ones count as matched.
    pub n: u64,
    /// How many documents were changed by an update.
    pub n_modified: u64,
    /// The documents that an update inserted.
    pub upserted: Vec<Upserted>,
    /// The refused writes: index in the command, and why.
    pub write_errors: Vec<(usize, WriteError)>,
    /// Why the write concern was not satisfied.
    pub write_concern_error: Option<WriteConcernError>,
}

/// A document that an update inserted.
#[derive(Clone, Debug, PartialEq)]
pub struct Upserted {
    /// Which update of the command it was.
    pub index: usize,
    /// The document's `_id`.
    pub id: Bson,
}

/// The reply to `findAndModify`.
#[derive(Clone, Debug, PartialEq)]
pub struct FindAndModifyReply<'a> {
    /// The document before or after the change; `None` when nothing matched.
    pub value: Option<&'a RawDocument>,
    /// Why the write concern was not satisfied.
    pub write_concern_error: Option<WriteConcernError>,
}

fn count(doc: &RawDocument, name: &str) -> Result<u64> {
    let value = field(doc, name)?.ok_or_else(|| invalid(name, "missing"))?;
    integer(value)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| invalid(name, "not a count"))
}

/// A count, where the walk has met it.
fn met(element: &Element<'_>, name: &str) -> Result<u64> {
    let value = walk::integer(element).and_then(|n| u64::try_from(n).ok());
    value.ok_or_else(|| invalid(name, "not a count"))
}

/// Reads a reply in one pass; the rare fields are read again where they are met.
fn write_reply(doc: &RawDocument, update: bool) -> Result<WriteReply> {
    let mut out = WriteReply::default();
    for element in walk::elements(doc).map_err(|e| invalid("n", e))? {
        let element = element.map_err(|e| invalid("n", e))?;
        match element.key {
            // Replies to writes with `w: 0` have no counts.
            b"n" => out.n = met(&element, "n")?,
            b"nModified" if update => out.n_modified = met(&element, "nModified")?,
            b"upserted" if update => out.upserted = upserted(doc)?,
            b"writeErrors" => {
                let list = field(doc, "writeErrors")?.and_then(RawBsonRef::as_array);
                let list = list.ok_or_else(|| invalid("writeErrors", "not an array"))?;
                out.write_errors = reply::write_errors(list)?;
            }
            b"writeConcernError" => out.write_concern_error = reply::write_concern_error(doc)?,
            _ => {}
        }
    }
    Ok(out)
}

fn upserted(doc: &RawDocument) -> Result<Vec<Upserted>> {
    nesting::check("upserted", doc)?;
    let list = field(doc, "upserted")?
        .and_then(RawBsonRef::as_array)
        .ok_or_else(|| invalid("upserted", "not an array"))?;
    let mut out = Vec::new();
    for entry in list {
        let entry = entry.map_err(|e| invalid("upserted", e))?;
        let entry = entry
            .as_document()
            .ok_or_else(|| invalid("upserted", "not a document"))?;
        let id = field(entry, "_id")?.ok_or_else(|| invalid("upserted._id", "missing"))?;
        out.push(Upserted {
            index: index("upserted.index", entry)?,
            id: Bson::try_from(id).map_err(|e| invalid("upserted._id", e))?,
        });
    }
    Ok(out)
}

/// Parses the reply to `insert`.
///
/// # Errors
///
/// [`ErrorKind::InvalidResponse`](crate::error::ErrorKind::InvalidResponse) that names the field.
pub fn parse_insert(doc: &RawDocument) -> Result<WriteReply> {
    write_reply(doc, false)
}

/// Parses the reply to `delete`.
///
/// # Errors
///
/// As [`parse_insert`].
pub fn parse_delete(doc: &RawDocument) -> Result<WriteReply> {
    write_reply(doc, false)
}

/// Parses the reply to `update`.
///
/// # Errors
///
/// As [`parse_insert`].
pub fn parse_update(doc: &RawDocument) -> Result<WriteReply> {
    write_reply(doc, true)
}

/// Parses the reply to `findAndModify`.
///
/// # Errors
///
/// As [`parse_insert`].
pub fn parse_find_and_modify(doc: &RawDocument) -> Result<FindAndModifyReply<'_>> {
    let value = match field(doc, "value")? {
        None | Some(RawBsonRef::Null) => None,
        Some(RawBsonRef::Document(value)) => Some(value),
        Some(_) => return Err(invalid("value", "neither a document nor null")),
    };
    Ok(FindAndModifyReply {
        value,
        write_concern_error: reply::write_concern_error(doc)?,
    })
}

/// Parses the reply to `count`.
///
/// # Errors
///
/// As [`parse_insert`].
pub fn parse_count(doc: &RawDocument) -> Result<u64> {
    count(doc, "n")
}

/// Parses the reply to `distinct`.
///
/// # Errors
///
/// As [`parse_insert`].
pub fn parse_distinct(doc: &RawDocument) -> Result<&RawArray> {
    nesting::check("values", doc)?;
    field(doc, "values")?
        .and_then(RawBsonRef::as_array)
        .ok_or_else(|| invalid("values", "missing or not an array"))
}

/// The bytes of the first document of a reply with a cursor: the result of a `find` with
/// `limit: 1`.
///
/// # Errors
///
/// As [`parse_insert`].
pub fn parse_first_document(reply: &[u8]) -> Result<Option<&[u8]>> {
    let cursor = walk::find(reply, "cursor", "cursor")?
        .filter(|cursor| cursor.kind == kind::DOCUMENT)
        .ok_or_else(|| invalid("cursor", "missing or not a document"))?;
    let batch = walk::find(cursor.value, "firstBatch", "cursor.firstBatch")?
        .and_then(|batch| batch.array())
        .ok_or_else(|| invalid("cursor.firstBatch", "missing or not an array"))?;
    let malformed = |e| invalid("cursor.firstBatch", e);
    match Elements::new(batch).map_err(malformed)?.next() {
        None => Ok(None),
        Some(first) => match first.map_err(malformed)? {
            first if first.kind == kind::DOCUMENT => Ok(Some(first.value)),
            _ => Err(invalid("cursor.firstBatch", "not an array of documents")),
        },
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use super::*;

    #[test]
    fn an_update_reply_gives_counts_and_upserted_ids() {
        let reply = rawdoc! {
            "n": 2, "nModified": 1_i64, "ok": 1.0,
            "upserted": [ { "index": 1, "_id": { "a": 1 } } ],
        };
        let parsed = parse_update(&reply).unwrap();
        assert_eq!((parsed.n, parsed.n_modified), (2, 1));
        let upserted = Upserted {
            index: 1,
            id: doc! { "a": 1 }.into(),
        };
        assert_eq!(parsed.upserted, [upserted]);
        assert!(parsed.write_errors.is_empty() && parsed.write_concern_error.is_none());
    }

    #[test]
    fn an_insert_reply_gives_write_errors_and_write_concern_error() {
        let reply = rawdoc! {
            "n": 1, "ok": 1,
            "writeErrors": [ { "index": 3, "code": 11000, "errmsg": "dup", "errInfo": { "x": 1 } } ],
            "writeConcernError": { "code": 64, "codeName": "WriteConcernTimeout", "errmsg": "w" },
            "errorLabels": ["RetryableWriteError"],
        };
        let parsed = parse_insert(&reply).unwrap();
        let (index, error) = &parsed.write_errors[0];
        assert_eq!(
            (*index, error.code, error.message.as_str()),
            (3, 11000, "dup")
        );
        assert_eq!(error.details, Some(doc! { "x": 1 }));
        let concern = parsed.write_concern_error.unwrap();
        assert_eq!((concern.code, concern.labels.len()), (64, 1));
    }

    #[test]
    fn malformed_fields_are_named() {
        let cases = [
            (parse_insert(&rawdoc! { "n": "1" }).unwrap_err(), "field n"),
            (parse_insert(&rawdoc! { "n": -1 }).unwrap_err(), "field n"),
            (
                parse_insert(&rawdoc! { "n": 1, "writeErrors": 1 }).unwrap_err(),
                "writeErrors",
            ),
            (
                parse_insert(&rawdoc! { "n": 1, "writeErrors": [{}] }).unwrap_err(),
                "writeErrors.index",
            ),
            (
                parse_insert(&rawdoc! { "n": 1, "writeErrors": [{ "index": 0 }] }).unwrap_err(),
                "writeErrors.code",
            ),
            (
                parse_insert(&rawdoc! { "n": 1, "writeConcernError": {} }).unwrap_err(),
                "writeConcernError.code",
            ),
            (
                parse_update(&rawdoc! { "n": 1, "nModified": {} }).unwrap_err(),
                "nModified",
            ),
            (
                parse_update(&rawdoc! { "n": 1, "upserted": [{ "index": 0 }] }).unwrap_err(),
                "upserted._id",
            ),
            (
                parse_find_and_modify(&rawdoc! { "value": 1 }).unwrap_err(),
                "field value",
            ),
            (parse_count(&rawdoc! { "ok": 1 }).unwrap_err(), "field n"),
            (
                parse_distinct(&rawdoc! { "values": {} }).unwrap_err(),
                "values",
            ),
            (
                parse_first_document(rawdoc! { "ok": 1 }.as_bytes()).unwrap_err(),
                "cursor",
            ),
            (
                parse_first_document(rawdoc! { "cursor": { "firstBatch": [1] } }.as_bytes())
                    .unwrap_err(),
                "cursor.firstBatch",
            ),
        ];
        for (error, name) in cases {
            assert!(error.to_string().contains(name), "{error}: {name}");
        }
    }

    #[test]
    fn find_and_modify_gives_the_document_or_nothing() {
        let none = rawdoc! { "value": null, "ok": 1 };
        assert_eq!(parse_find_and_modify(&none).unwrap().value, None);
        let some = rawdoc! { "value": { "a": 1 }, "ok": 1 };
        let value = parse_find_and_modify(&some).unwrap().value.unwrap();
        assert_eq!(value.get_i32("a").unwrap(), 1);
    }

    #[test]
    fn the_first_document_of_a_batch_is_found() {
        let empty = rawdoc! { "cursor": { "firstBatch": [] } };
        assert!(parse_first_document(empty.as_bytes()).unwrap().is_none());
        let two = rawdoc! { "cursor": { "firstBatch": [{ "a": 1 }, { "a": 2 }] } };
        let first = parse_first_document(two.as_bytes()).unwrap();
        assert_eq!(first, Some(rawdoc! { "a": 1 }.as_bytes()));
    }
}
