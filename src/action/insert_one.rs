//! `insert_one`, and how documents to insert are encoded (specification: "CRUD").

use std::borrow::Borrow;

use bson::{Bson, oid::ObjectId};
use mongo_client_core::{
    codec,
    error::{Error, Result},
    op::{CommandSpec, DocumentSequence, Pieces, Retryability, parse_insert},
};
use mongo_client_driver::buffers;
use serde::Serialize;

use super::{
    CommandFuture, Place, Scope, action, body::Body, reply::single_write, running, session_setter,
};
use crate::{
    collection::Collection,
    options::{InsertOneOptions, insert_one_setters},
    results::InsertOneResult,
    session::ClientSession,
};

impl<T: Send + Sync + Serialize> Collection<T> {
    /// Inserts a document. Retried once when the network fails.
    ///
    /// A document without `_id` gets an `ObjectId` before the first attempt. See
    /// [the module](crate::action) for errors and cancellation.
    pub fn insert_one(&self, doc: impl Borrow<T>) -> InsertOne<'_> {
        let place = self.place();
        let mut bytes = buffers::take();
        bytes.reserve(DOCUMENT_CAPACITY);
        let encoded = append_document(&mut bytes, doc.borrow(), || {
            Ok(place.client.next_object_id())
        });
        InsertOne {
            place,
            document: encoded.map(|id| (bytes, id)),
            options: None,
            session: None,
        }
    }
}

/// Inserts a document; made by [`Collection::insert_one`].
#[must_use = "verbs do nothing unless awaited or run"]
#[derive(Debug)]
pub struct InsertOne<'a> {
    place: &'a Place,
    document: Result<(Vec<u8>, Bson)>,
    options: Option<Box<InsertOneOptions>>,
    session: Option<&'a mut ClientSession>,
}

insert_one_setters!(impl ['a] InsertOne<'a>);
session_setter!(impl ['a] InsertOne<'a>);

impl<'a> InsertOne<'a> {
    fn perform(self) -> CommandFuture<'a, InsertOneResult, Bson> {
        let (spec, inserted_id) = match self.document {
            Ok((bytes, id)) => {
                let spec = build(&self.place.scope, bytes.into(), self.options.as_deref());
                (spec, id)
            }
            Err(error) => (Err(error), Bson::Null),
        };
        running(
            self.place,
            spec,
            self.session,
            inserted_id,
            |id, executed| {
                if executed.counts.is_none() {
                    single_write(executed, parse_insert)?;
                }
                Ok(InsertOneResult { inserted_id: id })
            },
        )
    }
}

action!(impl ['a] InsertOne<'a> => InsertOneResult; command with Bson);

/// What an encoded document starts with: enough for small ones, so that they do not grow it.
const DOCUMENT_CAPACITY: usize = 512;
/// The element that is put in front of a document: type, `_id`, NUL and an `ObjectId`.
pub(super) const ID_ELEMENT_LEN: usize = 1 + 4 + 12;

/// Appends a document to a sequence, with an `_id` put in front where it has none.
///
/// On an error `out` is as it was before.
pub(super) fn append_document<D: Serialize>(
    out: &mut Vec<u8>,
    document: &D,
    next_id: impl FnOnce() -> Result<ObjectId>,
) -> Result<Bson> {
    append_guessing(out, document, &mut false, next_id)
}

/// As [`append_document`], and spares a document from being moved where `has_id` guesses rightly
/// whether it has an `_id`; it then says whether it has.
pub(super) fn append_guessing<D: Serialize>(
    out: &mut Vec<u8>,
    document: &D,
    has_id: &mut bool,
    next_id: impl FnOnce() -> Result<ObjectId>,
) -> Result<Bson> {
    let start = out.len();
    let result = try_append(out, document, has_id, next_id);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn try_append<D: Serialize>(
    out: &mut Vec<u8>,
    document: &D,
    has_id: &mut bool,
    next_id: impl FnOnce() -> Result<ObjectId>,
) -> Result<Bson> {
    const ROOM: [u8; ID_ELEMENT_LEN] = [0; ID_ELEMENT_LEN];
    let start = out.len();
    let encoded = start + ID_ELEMENT_LEN;
    // Leaving room for the `_id` avoids moving a document that needs one.
    let room = !*has_id;
    if room {
        out.extend_from_slice(&ROOM);
    }
    let document_start = out.len();
    codec::append(document, out)?;
    let found = codec::get(&out[document_start..], "_id")?;
    *has_id = found.is_some();
    if let Some(id) = found {
        if room {
            out.drain(start..encoded);
        }
        return Ok(id);
    }
    if !room {
        out.splice(start..start, ROOM);
    }
    let id = next_id()?;
    let len = i32::try_from(out.len() - start)
        .map_err(|_| Error::invalid_argument("the document is larger than 2 GiB"))?;
    let head = &mut out[start..encoded + 4];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..9].copy_from_slice(b"\x07_id\0");
    head[9..].copy_from_slice(&id.bytes());
    Ok(Bson::ObjectId(id))
}

/// Builds the `insert` command of one document.
pub(super) fn build(
    scope: &Scope,
    documents: Pieces,
    options: Option<&InsertOneOptions>,
) -> Result<CommandSpec> {
    let mut body = Body::new("insert", &scope.name);
    body.bool("ordered", true);
    if let Some(o) = options {
        body.opt_bool("bypassDocumentValidation", o.bypass_document_validation);
        body.opt_bson("comment", o.comment.as_ref())?;
    }
    let concern = options.and_then(|o| o.write_concern.as_ref());
    let documents = DocumentSequence {
        identifier: "documents",
        documents,
    };
    let retryability = Retryability::Write;
    let mut spec = scope.write_one("insert", body.finish()?, retryability, concern, documents)?;
    spec.raw_data = options.and_then(|o| o.raw_data).unwrap_or(false);
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_document_without_an_id_gets_one_in_front() {
        let id = ObjectId::from_bytes([7; 12]);
        let mut out = b"before".to_vec();
        let inserted = append_document(&mut out, &doc! { "x": 1 }, || Ok(id)).unwrap();
        assert_eq!(inserted, Bson::ObjectId(id));
        let expected = bson::serialize_to_vec(&doc! { "_id": id, "x": 1 }).unwrap();
        assert_eq!(&out[6..], expected);
        assert_eq!(&out[..6], b"before");
    }

    #[test]
    fn a_document_with_an_id_stays_as_it_is() {
        let mut out = Vec::new();
        let document = doc! { "x": 1, "_id": "mine" };
        let inserted = append_document(&mut out, &document, || panic!("not needed")).unwrap();
        assert_eq!(inserted, Bson::from("mine"));
        assert_eq!(out, bson::serialize_to_vec(&document).unwrap());
    }

    #[test]
    fn a_wrong_guess_about_the_id_changes_nothing() {
        let id = ObjectId::from_bytes([7; 12]);
        for document in [doc! { "x": 1 }, doc! { "x": 1, "_id": "mine" }] {
            let mut expected = b"before".to_vec();
            let given = append_document(&mut expected, &document, || Ok(id)).unwrap();
            for guess in [true, false] {
                let (mut out, mut has_id) = (b"before".to_vec(), guess);
                let inserted = append_guessing(&mut out, &document, &mut has_id, || Ok(id));
                assert_eq!(inserted.unwrap(), given);
                assert_eq!(out, expected);
                assert_eq!(has_id, document.contains_key("_id"));
                let failed = || Err(Error::invalid_argument("no id"));
                let (mut out, mut has_id) = (b"before".to_vec(), guess);
                let result = append_guessing(&mut out, &doc! {}, &mut has_id, failed);
                assert!(result.is_err());
                assert_eq!(out, b"before");
            }
        }
    }

    #[test]
    fn a_value_that_is_no_document_leaves_the_sequence_alone() {
        let mut out = vec![1];
        assert!(append_document(&mut out, &5_i32, || Ok(ObjectId::default())).is_err());
        assert_eq!(out, [1]);
    }
}
