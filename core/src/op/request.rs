//! Builds the request of one attempt: the command's own fields, then the generic ones.
//!
//! The document grows in one buffer that all attempts share. What an attempt adds depends on the
//! connection and the session, so it is written anew each time (Retryable Reads: "Implementation
//! constraints": `$clusterTime` may have moved).

use std::{ops::Range, time::Duration};

use super::{CommandSpec, ConnFacts, Selected, concern, raw, walk};
use crate::{
    error::{Error, Result},
    options::ServerApi,
    session::{ClusterTime, SessionState},
    topology::ServerType,
    wire::Request,
};

/// Room for the generic fields of most commands: session, cluster time, read preference, API.
const GENERIC_BYTES: usize = 320;

/// The first wire version (MongoDB 5.0) with snapshot reads.
const SNAPSHOT_WIRE_VERSION: i32 = 13;

/// The first wire version (MongoDB 4.4) whose `getMore` takes a comment.
const COMMENT_WIRE_VERSION: i32 = 9;

/// The first wire version (MongoDB 8.2) that knows `rawData`.
const RAW_DATA_WIRE_VERSION: i32 = 27;

/// The element `lsid` with an id of zeros.
const LSID: [u8; 36] =
    *b"\x03lsid\0\x1e\0\0\0\x05id\0\x10\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Where the id stands in it.
const LSID_ID: Range<usize> = 19..35;

/// Everything that one attempt adds to the command.
pub(super) struct Parts<'a> {
    pub(super) spec: &'a CommandSpec,
    pub(super) selected: &'a Selected,
    pub(super) facts: &'a ConnFacts,
    /// The session to send, with its server session; `None` to send none.
    pub(super) session: Option<&'a SessionState>,
    pub(super) txn_number: Option<i64>,
    pub(super) cluster_time: Option<&'a ClusterTime>,
    pub(super) server_api: Option<&'a ServerApi>,
    /// What is left of the operation's time, less a round trip.
    pub(super) max_time: Option<Duration>,
}

/// Writes the attempt into `request`.
#[inline]
pub(super) fn build(request: &mut Request, parts: &Parts<'_>) -> Result<()> {
    let spec = parts.spec;
    if let Some(requirement) = spec.requirement
        && parts.facts.max_wire_version < requirement.wire_version()
    {
        return Err(Error::invalid_argument(requirement.what()));
    }
    request.name = spec.name;
    request.more_to_come = !spec.is_acknowledged();
    request.exhaust_allowed = false;
    request.compressible = is_compressible(spec.name);
    let body = spec.body.as_bytes();
    let out = &mut request.document;
    out.clear();
    out.reserve(body.len().saturating_add(GENERIC_BYTES));
    if spec.comment_is_optional && parts.facts.max_wire_version < COMMENT_WIRE_VERSION {
        append_without_comment(out, body)?;
    } else {
        // Without its final NUL, the body continues with the generic fields.
        out.extend_from_slice(body.get(..body.len().saturating_sub(1)).unwrap_or_default());
    }
    let db = spec.db.as_bytes();
    out.extend_from_slice(b"\x02$db\0");
    let len = i32::try_from(db.len() + 1).unwrap_or(i32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(db);
    out.push(0);
    if spec.raw_data && parts.facts.max_wire_version >= RAW_DATA_WIRE_VERSION {
        raw::boolean(out, "rawData", true);
    }
    append_session(out, parts);
    append_concerns(out, parts)?;
    let preference = concern::sent_read_preference(
        &spec.target,
        parts.selected.topology_type,
        parts.selected.description.server_type,
        parts.facts.max_wire_version,
    );
    if let Some(preference) = preference {
        concern::append_read_preference(out, &preference);
    }
    if let Some(api) = parts.server_api {
        raw::string(out, "apiVersion", api.version.as_str());
        if let Some(strict) = api.strict {
            raw::boolean(out, "apiStrict", strict);
        }
        if let Some(errors) = api.deprecation_errors {
            raw::boolean(out, "apiDeprecationErrors", errors);
        }
    }
    if let Some(time) = parts.max_time
        && takes_max_time(spec)
    {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        raw::integer(out, "maxTimeMS", ms.max(1));
    }
    raw::close(out, 0);
    Ok(())
}

/// Appends a body without its field `comment` and without its final NUL.
#[cold]
fn append_without_comment(out: &mut Vec<u8>, body: &[u8]) -> Result<()> {
    raw::open(out);
    let malformed = || Error::internal("a body that is no document");
    for element in walk::Elements::new(body).map_err(|_| malformed())? {
        let element = element.map_err(|_| malformed())?;
        if element.key != b"comment" {
            out.push(element.kind);
            out.extend_from_slice(element.key);
            out.push(0);
            out.extend_from_slice(element.value);
        }
    }
    Ok(())
}

#[inline]
fn append_session(out: &mut Vec<u8>, parts: &Parts<'_>) {
    if let Some(server) = parts.session.and_then(SessionState::server) {
        let mut lsid = LSID;
        lsid[LSID_ID].copy_from_slice(&server.id);
        out.extend_from_slice(&lsid);
        if let Some(number) = parts.txn_number {
            raw::int64(out, "txnNumber", number);
        }
    }
    // A standalone has no cluster time, also when the session got one from elsewhere.
    if parts.facts.server_type != ServerType::Standalone {
        let of_session = parts.session.and_then(SessionState::cluster_time);
        if let Some(time) = ClusterTime::later(parts.cluster_time, of_session) {
            raw::document(out, "$clusterTime", time.document().as_bytes());
        }
    }
}

#[inline]
fn append_concerns(out: &mut Vec<u8>, parts: &Parts<'_>) -> Result<()> {
    let spec = parts.spec;
    let snapshot = parts.session.filter(|s| s.is_snapshot());
    if let Some(session) = snapshot
        && starts_operation(spec.name)
    {
        if parts.facts.max_wire_version < SNAPSHOT_WIRE_VERSION {
            return Err(Error::invalid_argument(
                "Snapshot reads require MongoDB 5.0 or later",
            ));
        }
        concern::append_snapshot(out, session.snapshot_time());
    } else {
        let after = parts
            .session
            .filter(|s| s.is_causally_consistent())
            .filter(|_| parts.facts.server_type != ServerType::Standalone)
            .filter(|_| !spec.user_command && concern::takes_after_cluster_time(spec.name))
            .and_then(SessionState::operation_time);
        concern::append_read_concern(out, spec.read_concern.as_ref(), after);
    }
    if let Some(write_concern) = &spec.write_concern {
        concern::append_write_concern(out, write_concern, parts.max_time.is_some());
    }
    Ok(())
}

/// Whether a command starts something of its own: the others belong to a cursor or session whose
/// read concern is settled.
fn starts_operation(name: &str) -> bool {
    !matches!(name, "endSessions" | "getMore" | "killCursors")
}

/// Whether the deadline is passed on to the server (CSOT: "Command Execution"). A `getMore` gets
/// `maxTimeMS` only for tailable cursors, from the cursor itself; a limit of the caller's stands.
fn takes_max_time(spec: &CommandSpec) -> bool {
    starts_operation(spec.name) && !matches!(spec.body.get("maxTimeMS"), Ok(Some(_)))
}

/// Commands that carry secrets are never compressed (OP_COMPRESSED: "Messages not allowed to be
/// compressed").
#[inline]
fn is_compressible(name: &str) -> bool {
    const SECRET: [&str; 11] = [
        "authenticate",
        "copydb",
        "copydbgetnonce",
        "copydbsaslstart",
        "createUser",
        "getnonce",
        "hello",
        "isMaster",
        "saslContinue",
        "saslStart",
        "updateUser",
    ];
    /// A bit for each length, so that most names need not be compared.
    const LENS: u32 = {
        let (mut lens, mut at) = (0, 0);
        while at < SECRET.len() {
            lens |= 1 << SECRET[at].len();
            at += 1;
        }
        lens
    };
    let known =
        u32::try_from(name.len()).is_ok_and(|len| LENS.checked_shr(len).unwrap_or(0) & 1 == 1);
    !known
        || !SECRET
            .iter()
            .any(|secret| secret.eq_ignore_ascii_case(name))
}
