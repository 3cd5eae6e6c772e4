//! Reading the server's replies: errors, and the fields of SASL replies.

use bson::{Bson, RawBsonRef, RawDocument};

use crate::{
    error::{CommandError, Error, ErrorKind, Result},
    nesting,
    options::AuthMechanism,
};

/// Codes that speak of the server's state or load and not of the credential. They stay command
/// errors, so that topology and retries see the code (SDAM: "not writable primary" and "node is
/// recovering"; Retryable Reads: handshake errors).
const STATE_CODES: [i32; 16] = [
    6, 7, 50, 89, 91, 134, 189, 262, 462, 9001, 10058, 10107, 11600, 11602, 13435, 13436,
];

/// Checks a command's reply for an error.
pub(super) fn check(reply: &RawDocument, mechanism: AuthMechanism) -> Result<()> {
    match field(reply, "ok")? {
        Some(ok) if truthy(ok) => Ok(()),
        Some(_) => Err(failure(reply, mechanism)),
        None => Err(Error::invalid_response("ok: missing")),
    }
}

/// Checks the document that `hello` embeds; it need not say `ok`.
pub(super) fn check_embedded(reply: &RawDocument, mechanism: AuthMechanism) -> Result<()> {
    match field(reply, "ok")? {
        Some(ok) if !truthy(ok) => Err(failure(reply, mechanism)),
        _ => Ok(()),
    }
}

/// The `done` of a SASL reply.
pub(super) fn done(reply: &RawDocument) -> Result<bool> {
    match field(reply, "done")? {
        Some(RawBsonRef::Boolean(done)) => Ok(done),
        Some(_) => Err(Error::invalid_response("done: not a boolean")),
        None => Err(Error::invalid_response("done: missing")),
    }
}

/// The `payload` of a SASL reply.
pub(super) fn payload(reply: &RawDocument) -> Result<&[u8]> {
    match field(reply, "payload")? {
        Some(RawBsonRef::Binary(binary)) => Ok(binary.bytes),
        Some(_) => Err(Error::invalid_response("payload: not binary")),
        None => Err(Error::invalid_response("payload: missing")),
    }
}

/// The `conversationId` of a SASL reply: any number, to be sent back as it came.
pub(super) fn conversation_id(reply: &RawDocument) -> Result<Bson> {
    match field(reply, "conversationId")? {
        Some(RawBsonRef::Int32(id)) => Ok(Bson::Int32(id)),
        Some(RawBsonRef::Int64(id)) => Ok(Bson::Int64(id)),
        Some(RawBsonRef::Double(id)) => Ok(Bson::Double(id)),
        Some(_) => Err(Error::invalid_response("conversationId: not a number")),
        None => Err(Error::invalid_response("conversationId: missing")),
    }
}

fn field<'a>(reply: &'a RawDocument, name: &'static str) -> Result<Option<RawBsonRef<'a>>> {
    reply
        .get(name)
        .map_err(|e| Error::invalid_response(format!("{name}: {e}")))
}

fn truthy(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Double(v) => v != 0.0,
        RawBsonRef::Int32(v) => v != 0,
        RawBsonRef::Int64(v) => v != 0,
        RawBsonRef::Boolean(v) => v,
        _ => false,
    }
}

/// The error that a reply reports. Fields of the wrong type count as missing: the reply is a
/// failure in any case, and what it does say must not be lost.
fn failure(reply: &RawDocument, mechanism: AuthMechanism) -> Error {
    let text = |name| match reply.get(name) {
        Ok(Some(RawBsonRef::String(text))) => text.to_owned(),
        _ => String::new(),
    };
    let command = CommandError {
        code: match reply.get("code") {
            Ok(Some(RawBsonRef::Int32(code))) => code,
            Ok(Some(RawBsonRef::Int64(code))) => i32::try_from(code).unwrap_or_default(),
            Ok(Some(RawBsonRef::Double(code))) => code as i32,
            _ => 0,
        },
        code_name: text("codeName"),
        message: text("errmsg"),
        labels: match reply.get("errorLabels") {
            Ok(Some(RawBsonRef::Array(labels))) => labels
                .into_iter()
                .filter_map(|label| Some(label.ok()?.as_str()?.to_owned()))
                .collect(),
            _ => Vec::new(),
        },
        topology_version: match reply.get("topologyVersion") {
            Ok(Some(RawBsonRef::Document(version))) => {
                nesting::to_document("topologyVersion", version).ok()
            }
            _ => None,
        },
    };
    let response = reply.to_owned();
    if STATE_CODES.contains(&command.code) {
        return Error::new(ErrorKind::Command(command)).with_response(response);
    }
    let labels = command.labels.clone();
    let mut error = Error::authentication(format!("{}: {command}", mechanism.as_str()))
        .with_response(response)
        .with_source(Error::new(ErrorKind::Command(command)));
    for label in labels {
        error.add_label(label);
    }
    error
}
