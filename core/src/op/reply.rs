//! Reads what every reply has in common: success or error, labels, times.
//!
//! One pass over the top level of a reply gives [`ReplyFacts`]; errors are built only when there is
//! one, so that the success path copies nothing. Malformed replies end as
//! [`ErrorKind::InvalidResponse`], which names the field.

use bson::{Document, RawArray, RawBsonRef, RawDocument, Timestamp};

use crate::{
    error::{CommandError, Error, ErrorKind, Result, WriteConcernError, WriteError, WriteFailure},
    nesting,
    op::walk,
    topology::error_rules::is_state_change_code,
    wire::Reply,
};

/// What the top level of a reply says, without copies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyFacts<'a> {
    /// Whether the command succeeded.
    pub ok: bool,
    /// When the operation happened.
    pub operation_time: Option<Timestamp>,
    /// `$clusterTime`.
    pub cluster_time: Option<&'a RawDocument>,
    /// `writeConcernError`.
    pub write_concern_error: Option<&'a RawDocument>,
    /// The bytes of `cursor`.
    pub cursor: Option<&'a [u8]>,
    /// `atClusterTime` of the reply itself; see [`Self::snapshot_time`].
    pub at_cluster_time: Option<Timestamp>,
    /// Whether a document was not written because the server was no primary any more.
    pub(crate) lost_primary: bool,
    /// What it counts.
    pub(crate) counts: Counts,
    /// Whether it says more of its writes than it counts, or counts in another way.
    pub(crate) tells_more: bool,
}

/// What the reply to a command with writes counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `n`: how many documents were inserted, matched or deleted.
    pub n: u64,
    /// `nModified`: how many documents were changed by an update.
    pub n_modified: u64,
}

/// An [`ErrorKind::InvalidResponse`] that names a field.
#[cold]
pub(crate) fn invalid(field: &str, what: impl std::fmt::Display) -> Error {
    Error::invalid_response(format!("field {field}: {what}"))
}

/// A number of any BSON type, as an integer.
pub(crate) fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(n) => Some(i64::from(n)),
        RawBsonRef::Int64(n) => Some(n),
        RawBsonRef::Double(n) if n.is_finite() => Some(n as i64),
        _ => None,
    }
}

/// An optional field; malformed BSON is an error that names the field asked for.
pub(crate) fn field<'a>(doc: &'a RawDocument, name: &str) -> Result<Option<RawBsonRef<'a>>> {
    doc.get(name).map_err(|e| invalid(name, e))
}

fn document<'a>(name: &str, value: RawBsonRef<'a>) -> Result<&'a RawDocument> {
    value
        .as_document()
        .ok_or_else(|| invalid(name, "not a document"))
}

/// Reads the common fields of a reply in one pass.
///
/// # Errors
///
/// [`ErrorKind::InvalidResponse`] when a field has a wrong type or `ok` is missing.
#[inline]
pub fn facts(doc: &RawDocument) -> Result<ReplyFacts<'_>> {
    facts_of(doc.as_bytes())
}

/// As [`facts`], of the bytes of a reply.
#[inline]
pub(crate) fn facts_of(doc: &[u8]) -> Result<ReplyFacts<'_>> {
    let mut out = ReplyFacts::default();
    let mut ok = None;
    for element in walk::Elements::new(doc).map_err(invalid_reply)? {
        let element = element.map_err(invalid_reply)?;
        let document = |name| {
            let document = element.document();
            document.ok_or_else(|| invalid(name, "not a document"))
        };
        match element.key {
            b"ok" => ok = Some(walk::truth(&element).map_err(|e| invalid("ok", e))?),
            b"operationTime" => out.operation_time = walk::timestamp(&element),
            b"$clusterTime" => out.cluster_time = Some(document("$clusterTime")?),
            b"writeConcernError" => {
                out.write_concern_error = Some(document("writeConcernError")?);
                out.tells_more = true;
            }
            b"writeErrors" => {
                let errors = element.array();
                let errors = errors.ok_or_else(|| invalid("writeErrors", "not an array"))?;
                out.lost_primary = lost_primary(errors);
                out.tells_more = true;
            }
            b"n" => count(&element, &mut out.counts.n, &mut out.tells_more),
            b"nModified" => count(&element, &mut out.counts.n_modified, &mut out.tells_more),
            b"upserted" => out.tells_more = true,
            // Commands of the caller's own may answer with a `cursor` of any type.
            b"cursor" => out.cursor = element.document_bytes(),
            b"atClusterTime" => out.at_cluster_time = walk::timestamp(&element),
            name => walk::check_name(name).map_err(invalid_reply)?,
        }
    }
    out.ok = ok.ok_or_else(|| invalid("ok", "missing"))?;
    Ok(out)
}

/// Reads a count that is an int32, as servers write them; others are left to whoever needs them.
#[inline]
fn count(element: &walk::Element<'_>, out: &mut u64, tells_more: &mut bool) {
    let number = walk::small(element).and_then(|n| u64::try_from(n).ok());
    match number {
        Some(n) => *out = n,
        None => *tells_more = true,
    }
}

impl ReplyFacts<'_> {
    /// What the reply to writes counts, if it says nothing else of them.
    #[inline]
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        (!self.tells_more).then_some(self.counts)
    }

    /// The time of a snapshot read: of the cursor or, without one, of the reply itself.
    #[must_use]
    pub fn snapshot_time(&self) -> Option<Timestamp> {
        let Some(cursor) = self.cursor else {
            return self.at_cluster_time;
        };
        let time = walk::find(cursor, "atClusterTime", "cursor");
        walk::timestamp(&time.ok()??)
    }
}

/// Whether one of the `writeErrors` says that the server is no writable primary any more. What is
/// malformed is left to whoever reads them.
#[cold]
fn lost_primary(errors: &[u8]) -> bool {
    let Ok(errors) = walk::Elements::new(errors) else {
        return false;
    };
    errors.map_while(std::result::Result::ok).any(|error| {
        let code = error.document().and_then(|error| {
            let code = walk::find(error.as_bytes(), "code", "writeErrors.code");
            walk::integer(&code.ok()??)
        });
        code.and_then(|code| i32::try_from(code).ok())
            .is_some_and(is_state_change_code)
    })
}

/// The first write error that is [`ReplyFacts::lost_primary`].
///
/// # Errors
///
/// [`ErrorKind::InvalidResponse`] that names the field.
#[cold]
pub(crate) fn lost_primary_error(doc: &RawDocument) -> Result<Error> {
    let list = field(doc, "writeErrors")?.and_then(RawBsonRef::as_array);
    let list = list.ok_or_else(|| invalid("writeErrors", "not an array"))?;
    let errors = write_errors(list)?;
    let lost = errors
        .into_iter()
        .find(|(_, e)| is_state_change_code(e.code));
    let (_, error) = lost.ok_or_else(|| Error::internal("a lost primary without an error"))?;
    let kind = ErrorKind::Write(WriteFailure::WriteError(error));
    Ok(Error::new(kind).with_response(doc.to_owned()))
}

/// The error of a reply that is no BSON.
#[cold]
fn invalid_reply(what: impl std::fmt::Display) -> Error {
    Error::invalid_response(format!("reply: {what}"))
}

/// Turns an error reply into an error: `ok: 0`, or `ok: 1` with a `writeConcernError`.
///
/// # Errors
///
/// [`ErrorKind::Command`] or [`ErrorKind::Write`] with labels and the reply, or
/// [`ErrorKind::InvalidResponse`].
pub fn check(doc: &RawDocument) -> Result<()> {
    let facts = facts(doc)?;
    if !facts.ok {
        return Err(command_error(doc)?);
    }
    match write_concern_failure(doc, &facts)? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The error of an `ok: 0` reply.
///
/// # Errors
///
/// [`ErrorKind::InvalidResponse`] when the reply is malformed.
pub fn command_error(doc: &RawDocument) -> Result<Error> {
    let mut error = CommandError {
        labels: labels(doc)?,
        ..CommandError::default()
    };
    if let Some(code) = field(doc, "code")?.and_then(integer) {
        error.code = i32::try_from(code).map_err(|_| invalid("code", "out of range"))?;
    }
    let text = |name| -> Result<String> {
        let value = field(doc, name)?.and_then(RawBsonRef::as_str);
        Ok(value.unwrap_or_default().to_owned())
    };
    error.code_name = text("codeName")?;
    error.message = text("errmsg")?;
    if let Some(version) = field(doc, "topologyVersion")?.and_then(RawBsonRef::as_document) {
        error.topology_version = Some(nesting::to_document("topologyVersion", version)?);
    }
    Ok(Error::new(ErrorKind::Command(error)).with_response(doc.to_owned()))
}

/// The `writeConcernError` of a reply, with the labels of the reply.
///
/// # Errors
///
/// [`ErrorKind::InvalidResponse`] that names the field.
pub fn write_concern_error(doc: &RawDocument) -> Result<Option<WriteConcernError>> {
    let Some(value) = field(doc, "writeConcernError")? else {
        return Ok(None);
    };
    let inner = document("writeConcernError", value)?;
    let mut error = WriteConcernError {
        labels: labels(doc)?,
        ..WriteConcernError::default()
    };
    for label in labels(inner)? {
        if !error.labels.contains(&label) {
            error.labels.push(label);
        }
    }
    (error.code, error.code_name, error.message, error.details) =
        failure("writeConcernError", inner)?;
    Ok(Some(error))
}

/// The error that a `writeConcernError` amounts to.
pub(super) fn write_concern_failure(
    doc: &RawDocument,
    facts: &ReplyFacts<'_>,
) -> Result<Option<Error>> {
    if facts.write_concern_error.is_none() {
        return Ok(None);
    }
    let error = write_concern_error(doc)?.map(|inner| {
        let kind = ErrorKind::Write(WriteFailure::WriteConcernError(inner));
        Error::new(kind).with_response(doc.to_owned())
    });
    Ok(error)
}

/// The `writeErrors` of a reply: index in the command, and why.
///
/// # Errors
///
/// [`ErrorKind::InvalidResponse`] that names the field.
pub fn write_errors(list: &RawArray) -> Result<Vec<(usize, WriteError)>> {
    let mut out = Vec::new();
    for entry in list {
        let entry = entry.map_err(|e| invalid("writeErrors", e))?;
        let entry = document("writeErrors", entry)?;
        let index = index("writeErrors.index", entry)?;
        let mut error = WriteError::default();
        let name;
        (error.code, name, error.message, error.details) = failure("writeErrors", entry)?;
        error.code_name = Some(name).filter(|n| !n.is_empty());
        out.push((index, error));
    }
    Ok(out)
}

/// The field `index` of a result for one write.
pub(super) fn index(name: &str, entry: &RawDocument) -> Result<usize> {
    field(entry, "index")?
        .and_then(integer)
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| invalid(name, "missing or not an index"))
}

/// Code, name, text and details of a failure of a write.
fn failure(name: &str, doc: &RawDocument) -> Result<(i32, String, String, Option<Document>)> {
    let code = field(doc, "code")?
        .and_then(integer)
        .and_then(|n| i32::try_from(n).ok())
        .ok_or_else(|| invalid(&format!("{name}.code"), "missing or not an integer"))?;
    let text = |key| -> Result<String> {
        let value = field(doc, key)?.and_then(RawBsonRef::as_str);
        Ok(value.unwrap_or_default().to_owned())
    };
    let details = match field(doc, "errInfo")?.and_then(RawBsonRef::as_document) {
        Some(info) => Some(nesting::to_document(&format!("{name}.errInfo"), info)?),
        None => None,
    };
    Ok((code, text("codeName")?, text("errmsg")?, details))
}

/// The `errorLabels` of a reply; what is not a string is ignored.
fn labels(doc: &RawDocument) -> Result<Vec<String>> {
    let Some(list) = field(doc, "errorLabels")?.and_then(RawBsonRef::as_array) else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for label in list {
        if let Some(label) = label.map_err(|e| invalid("errorLabels", e))?.as_str() {
            out.push(label.to_owned());
        }
    }
    Ok(out)
}

/// The reply that stands for none: `{ok: 1}`, for unacknowledged writes.
pub(super) fn unacknowledged() -> Reply {
    Reply::from_document(bson::rawdoc! { "ok": 1 })
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use super::*;
    use crate::nesting::tests::nested;

    #[test]
    fn an_error_reply_becomes_an_error_with_everything_it_says() {
        let reply = rawdoc! {
            "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary",
            "errorLabels": ["RetryableWriteError", 7, "Other"],
            "topologyVersion": { "counter": 3_i64 }, "baseBackoffMS": 5,
        };
        let error = check(&reply).unwrap_err();
        let ErrorKind::Command(command) = &*error.kind else {
            panic!("expected a command error: {error}");
        };
        assert_eq!(command.code, 10107);
        assert_eq!(command.code_name, "NotWritablePrimary");
        assert_eq!(command.message, "not primary");
        assert_eq!(command.labels, ["RetryableWriteError", "Other"]);
        assert_eq!(command.topology_version, Some(doc! { "counter": 3_i64 }));
        assert!(error.contains_label("Other") && error.contains_label("RetryableWriteError"));
        assert_eq!(error.server_response(), Some(&reply));
    }

    #[test]
    fn details_that_are_nested_too_deeply_are_refused() {
        let deep = nested(100_000, 3);
        let version = rawdoc! { "ok": 0, "code": 91, "topologyVersion": deep.clone() };
        let details = rawdoc! {
            "ok": 1, "writeConcernError": { "code": 64, "errInfo": deep },
        };
        for (reply, field) in [(version, "topologyVersion"), (details, "errInfo")] {
            let error = check(&reply).unwrap_err();
            assert!(error.to_string().contains(field), "{error}");
        }
    }

    #[test]
    fn an_error_reply_may_be_bare() {
        let error = check(&rawdoc! { "ok": 0 }).unwrap_err();
        assert_eq!(error.code(), Some(0));
        assert!(error.labels().is_empty());
    }

    #[test]
    fn ok_may_be_a_number_or_a_boolean() {
        for reply in [
            rawdoc! { "ok": 1 },
            rawdoc! { "ok": 1.0 },
            rawdoc! { "ok": 1_i64 },
            rawdoc! { "ok": true },
        ] {
            check(&reply).unwrap();
        }
        assert!(check(&rawdoc! { "ok": "1" }).is_err());
    }

    #[test]
    fn a_write_concern_error_has_the_labels_of_the_reply_and_its_own() {
        let reply = rawdoc! {
            "ok": 1, "errorLabels": ["RetryableWriteError"],
            "writeConcernError": {
                "code": 91, "codeName": "ShutdownInProgress", "errmsg": "going",
                "errorLabels": ["RetryableWriteError", "Own"], "errInfo": { "a": 1 },
            },
        };
        let error = check(&reply).unwrap_err();
        assert_eq!(error.code(), Some(91));
        assert!(error.contains_label("RetryableWriteError"));
        let inner = write_concern_error(&reply).unwrap().unwrap();
        assert_eq!(inner.labels, ["RetryableWriteError", "Own"]);
        assert_eq!(inner.details, Some(doc! { "a": 1 }));
        assert_eq!(write_concern_error(&rawdoc! { "ok": 1 }).unwrap(), None);
    }

    #[test]
    fn the_time_of_a_snapshot_stands_in_the_cursor_or_beside_it() {
        let time = Timestamp {
            time: 5,
            increment: 6,
        };
        let find = rawdoc! { "ok": 1, "cursor": { "atClusterTime": time } };
        assert_eq!(facts(&find).unwrap().snapshot_time(), Some(time));
        let distinct = rawdoc! { "ok": 1, "values": [], "atClusterTime": time };
        assert_eq!(facts(&distinct).unwrap().snapshot_time(), Some(time));
    }
}
