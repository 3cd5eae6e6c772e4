//! From a checked reply to a result or an error; core reads the fields.

use bson::{RawArray, RawBsonRef, RawDocument};
use mongo_client_core::{
    codec,
    error::{Error, ErrorKind, Result, WriteFailure},
    op::WriteReply,
};

use crate::client::Executed;

/// The reply of a command with one write in it: a failure of the write is the error.
pub(crate) fn single_write(
    executed: &Executed,
    parse: fn(&RawDocument) -> Result<WriteReply>,
) -> Result<WriteReply> {
    let reply = executed.reply.document();
    let mut out = parse(reply)?;
    let failure = if out.write_errors.is_empty() {
        out.write_concern_error
            .take()
            .map(WriteFailure::WriteConcernError)
    } else {
        Some(WriteFailure::WriteError(out.write_errors.swap_remove(0).1))
    };
    let Some(failure) = failure else {
        return Ok(out);
    };
    let error = Error::new(ErrorKind::Write(failure))
        .with_server((*executed.address).clone())
        .with_response(reply.to_owned());
    Err(labelled(error, reply))
}

/// Adds the labels of a reply to an error made from it.
pub(crate) fn labelled(mut error: Error, reply: &RawDocument) -> Error {
    if let Ok(labels) = reply.get_array("errorLabels") {
        for label in labels.into_iter().flatten().filter_map(RawBsonRef::as_str) {
            error.add_label(label);
        }
    }
    error
}

/// A field that must be there.
pub(crate) fn field<'a>(reply: &'a RawDocument, name: &str) -> Result<RawBsonRef<'a>> {
    reply
        .get(name)
        .map_err(|e| Error::invalid_response(format!("{name}: {e}")))?
        .ok_or_else(|| Error::invalid_response(format!("the reply has no field {name}")))
}

pub(crate) fn document<'a>(name: &str, value: RawBsonRef<'a>) -> Result<&'a RawDocument> {
    value
        .as_document()
        .ok_or_else(|| Error::invalid_response(format!("{name} does not hold a document")))
}

pub(crate) fn array<'a>(name: &str, value: RawBsonRef<'a>) -> Result<&'a RawArray> {
    value
        .as_array()
        .ok_or_else(|| Error::invalid_response(format!("{name} is not an array")))
}

/// The name in a document that describes a database or a collection.
pub(crate) fn name(document: &RawDocument) -> Result<String> {
    field(document, "name")?
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid_response("name is not a string"))
}

/// Decodes one document of a reply.
pub(crate) fn decode<'a, T: serde::Deserialize<'a>>(document: &'a RawDocument) -> Result<T> {
    codec::from_slice(document.as_bytes())
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};
    use std::sync::Arc;

    use mongo_client_core::{id::ServerId, op::parse_update, wire::Reply};

    use super::*;

    fn single(reply: RawDocumentBuf) -> Result<WriteReply> {
        let executed = Executed {
            reply: Reply::from_document(reply),
            server: ServerId(1),
            address: Arc::default(),
            counts: None,
        };
        single_write(&executed, parse_update)
    }

    #[test]
    fn a_write_error_wins_over_a_write_concern_error() {
        let error = single(rawdoc! {
            "n": 0, "ok": 1, "errorLabels": ["A"],
            "writeErrors": [{ "index": 0, "code": 121, "errmsg": "no", "errInfo": { "d": 1 } }],
            "writeConcernError": { "code": 64, "errmsg": "w" },
        })
        .unwrap_err();
        assert!(
            matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(e)) if e.code == 121)
        );
        assert!(error.contains_label("A") && error.server_address().is_some());
        assert!(error.server_response().is_some());
    }

    #[test]
    fn a_write_concern_error_alone_is_the_error() {
        let reply = rawdoc! { "n": 1, "ok": 1, "writeConcernError": { "code": 64, "errmsg": "w" } };
        let error = single(reply).unwrap_err();
        assert_eq!(error.code(), Some(64));
    }

    #[test]
    fn a_reply_that_was_never_sent_counts_nothing() {
        assert_eq!(single(rawdoc! { "ok": 1 }).unwrap(), WriteReply::default());
    }

    #[test]
    fn fields_of_the_wrong_kind_are_named() {
        let reply = rawdoc! { "databases": 1 };
        let value = field(&reply, "databases").unwrap();
        assert!(
            array("databases", value)
                .unwrap_err()
                .to_string()
                .contains("databases")
        );
        assert!(
            document("cursor", value)
                .unwrap_err()
                .to_string()
                .contains("cursor")
        );
        assert!(
            field(&reply, "values")
                .unwrap_err()
                .to_string()
                .contains("values")
        );
        assert!(name(&reply).unwrap_err().to_string().contains("name"));
    }
}
