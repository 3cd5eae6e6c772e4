//! From a checked reply to a result or an error; core reads the fields.

use bson::{RawArray, RawBsonRef, RawDocument};
use mongo_client_core::{
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
        .with_server(executed.address.clone())
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
    Ok(bson::deserialize_from_slice(document.as_bytes())?)
}
