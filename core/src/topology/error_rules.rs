//! Which errors of applications say something about the server (SDAM: "Application errors").
//!
//! Pure functions over an [`AppError`]. Codes decide when there is one; texts only without a code;
//! `writeErrors` change no server, they only hasten its next check.

use super::{AppError, ErrorPhase};
use crate::{
    error::{Error, ErrorKind, SYSTEM_OVERLOADED_ERROR, WriteFailure},
    hello::TopologyVersion,
    marks::{self, Mark},
    nesting,
};

/// What an error means for the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Ignore,
    /// The server may not be what it was: ask it.
    Suspect,
    /// The server is reachable but not what it was: "not writable primary", "node is recovering".
    StateChange {
        /// The server is going down, so its connections are useless.
        shutdown: bool,
    },
    /// The server is unreachable, or refuses connections.
    Unreachable,
}

/// InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryOrSecondary,
/// PrimarySteppedDown, ShutdownInProgress.
const RECOVERING: [i32; 5] = [11600, 11602, 13436, 189, 91];
/// NotWritablePrimary, NotPrimaryNoSecondaryOk, LegacyNotPrimary.
const NOT_WRITABLE_PRIMARY: [i32; 3] = [10107, 13435, 10058];
/// InterruptedAtShutdown, ShutdownInProgress.
const SHUTDOWN: [i32; 2] = [11600, 91];

/// What an error means, once it is known not to be stale.
pub(super) fn judge(app: &AppError) -> Verdict {
    if is_state_change(&app.error) {
        let code = reported(&app.error).map_or(0, |(code, _)| code);
        let shutdown = SHUTDOWN.contains(&code);
        mark_state_change(&app.error, code, shutdown);
        return Verdict::StateChange { shutdown };
    }
    if let ErrorKind::Write(WriteFailure::WriteError(e)) = &*app.error.kind
        && is_state_change_code(e.code)
    {
        marks::reached(Mark::SdamErrorSuspect);
        return Verdict::Suspect;
    }
    // Backpressure: the label is on network errors up to the hello, except those that are not the
    // server's fault to overload (name lookup, certificates, proxies).
    if app.error.contains_label(SYSTEM_OVERLOADED_ERROR) {
        marks::reached(Mark::SdamErrorOverload);
        return Verdict::Ignore;
    }
    let network = matches!(&*app.error.kind, ErrorKind::Io(_));
    let (verdict, mark) = match app.phase {
        // A slow operation times out too; the server may be well.
        ErrorPhase::Established if app.error.is_network_timeout() => {
            (Verdict::Ignore, Mark::SdamErrorSlow)
        }
        ErrorPhase::Established if network => (Verdict::Unreachable, Mark::SdamErrorLost),
        ErrorPhase::Established => (Verdict::Ignore, Mark::SdamErrorOfCommand),
        ErrorPhase::Connect => (Verdict::Unreachable, Mark::SdamErrorConnect),
        ErrorPhase::Hello => (Verdict::Unreachable, Mark::SdamErrorHello),
        ErrorPhase::Auth => (Verdict::Unreachable, Mark::SdamErrorAuth),
    };
    marks::reached(mark);
    verdict
}

fn mark_state_change(error: &Error, code: i32, shutdown: bool) {
    marks::reached(match shutdown {
        true => Mark::SdamErrorShutdown,
        false => Mark::SdamErrorStateChange,
    });
    marks::reached(match (&*error.kind, code) {
        (ErrorKind::Command(_), 0) => Mark::SdamErrorByText,
        (ErrorKind::Command(_), _) => Mark::SdamErrorByCode,
        _ => Mark::SdamErrorByConcern,
    });
}

/// The code and text that count: of the command, otherwise of its write concern.
fn reported(error: &Error) -> Option<(i32, &str)> {
    let concern = match &*error.kind {
        ErrorKind::Command(e) => return Some((e.code, &e.message)),
        ErrorKind::Write(WriteFailure::WriteConcernError(e)) => Some(e),
        ErrorKind::InsertMany(e) => e.write_concern_error.as_ref(),
        _ => None,
    };
    if let Some(concern) = concern {
        return Some((concern.code, &concern.message));
    }
    // A write error hides the write concern error that came with it.
    let concern = error.server_response()?.get_document("writeConcernError");
    let concern = concern.ok()?;
    let code = concern.get_i32("code").unwrap_or_default();
    Some((code, concern.get_str("errmsg").unwrap_or_default()))
}

/// Whether a code says "not writable primary" or "node is recovering".
pub(crate) fn is_state_change_code(code: i32) -> bool {
    RECOVERING.contains(&code) || NOT_WRITABLE_PRIMARY.contains(&code)
}

/// Whether a server says that it is not writable, or recovering, to the command as a whole.
pub(crate) fn is_state_change(error: &Error) -> bool {
    let Some((code, message)) = reported(error) else {
        return false;
    };
    if code != 0 {
        return is_state_change_code(code);
    }
    // "not master or secondary" contains "not master": both are state changes.
    message.contains("node is recovering") || message.contains("not master")
}

/// The topologyVersion that came with an error.
pub(crate) fn topology_version(error: &Error) -> Option<TopologyVersion> {
    if let ErrorKind::Command(e) = &*error.kind
        && let Some(doc) = &e.topology_version
    {
        return TopologyVersion::parse(doc);
    }
    let raw = error.server_response()?.get_document("topologyVersion");
    TopologyVersion::parse(&nesting::to_document("topologyVersion", raw.ok()?).ok()?)
}

/// Whether `current` is known to be newer than `other`, or equal where `or_equal` (SDAM:
/// "topologyVersion Comparison"). An absent version, or one of another process, counts as newer.
pub(super) fn supersedes(
    current: Option<TopologyVersion>,
    other: Option<TopologyVersion>,
    or_equal: bool,
) -> bool {
    match (current, other) {
        (Some(current), Some(other)) if current.process_id == other.process_id => {
            current.counter > other.counter || (or_equal && current.counter == other.counter)
        }
        _ => false,
    }
}
