//! Whether a failed attempt is repeated, on which terms: pure functions over labels and codes.
//!
//! Three policies in one decision: reads (specification: "Retryable Reads"), writes ("Retryable
//! Writes") and overload ("Client Backpressure", which covers every command). [`classify`] adds the
//! labels that the client owes; [`decide`] then looks at labels, codes and the history only. What
//! elections add to these policies is in [`refusal`].

pub mod refusal;

use std::time::Duration;

use self::refusal::{Failed, Hold, Sighting};
use super::{Retryability, Stage};
use crate::{
    error::{
        Error, ErrorKind, NO_WRITES_PERFORMED, RETRYABLE_ERROR, RETRYABLE_WRITE_ERROR,
        SYSTEM_OVERLOADED_ERROR, WriteFailure,
    },
    marks::{self, Mark},
    rng::Rng,
    time::Instant,
    topology::error_rules::is_state_change_code,
};

/// The first wire version (MongoDB 4.4) whose servers label retryable writes themselves.
const LABELLING_WIRE_VERSION: i32 = 9;
/// The base of the back-off after an overload, unless the server sends another.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// The longest back-off.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Codes of errors after which a write may be repeated.
const RETRYABLE_WRITE_CODES: [i32; 12] = [
    6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
];
/// ReadConcernMajorityNotAvailableYet: reads may be repeated after it too.
const READ_CONCERN_MAJORITY_NOT_AVAILABLE_YET: i32 = 134;

/// The terms of an operation, as they stand for the attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The retry rules that are in force: [`Retryability::None`] when switched off or impossible.
    pub retryability: Retryability,
    /// Whether an overloaded server's request for a retry is honoured.
    pub overload: bool,
    /// The most retries once a server was overloaded.
    pub max_adaptive_retries: u32,
    /// Whether a retry after an overload should go to another server.
    pub overload_retargeting: bool,
    /// Whether the failed server is a router of a sharded cluster.
    pub sharded: bool,
    /// When the operation ends; with a deadline the number of retries has no limit of its own.
    pub deadline: Option<Instant>,
}

/// What happened before the attempt that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The retries so far, as the specifications count them.
    pub retries: u32,
    /// The repetitions beside these, which followed the topology.
    pub followed: u32,
    /// Whether a server was overloaded in any earlier attempt.
    pub overloaded: bool,
    /// Whether an old primary refused documents in any earlier attempt.
    pub refused_documents: bool,
    /// The server that failed last.
    pub last: Option<Sighting>,
    /// The server that is not to be asked yet.
    pub hold: Option<Hold>,
}

impl History {
    /// Adds an attempt that failed and is repeated.
    pub fn add(&mut self, selected: Sighting, error: &Error, follows: bool, now: Instant) {
        let failed = Failed::new(selected, error);
        match follows {
            true => self.followed += 1,
            false => self.retries += 1,
        }
        let overload = error.contains_label(SYSTEM_OVERLOADED_ERROR);
        self.overloaded |= overload;
        self.refused_documents |= failed.refused_documents();
        self.last = Some(failed.sighting());
        // After an overload the back-off is the pause.
        self.hold = failed.hold(now).filter(|_| !overload);
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Report it.
    Fail,
    /// Try again.
    Retry {
        /// Wait so long before; the connection goes back to its pool first.
        pause: Option<Duration>,
        /// Prefer other servers to the one that failed.
        deprioritize: bool,
        /// It follows the topology, and does not count.
        follows: bool,
    },
}

/// Decides about a failure. `error` carries all its labels already; see [`classify`]. `selected` is
/// the server as it was described when it was selected.
#[must_use]
pub fn decide(
    policy: &Policy,
    history: &History,
    selected: Sighting,
    error: &Error,
    now: Instant,
    rng: &mut Rng,
) -> Decision {
    let overload = error.contains_label(SYSTEM_OVERLOADED_ERROR);
    let by_kind = match policy.retryability {
        Retryability::None => false,
        Retryability::Read => is_retryable_read(error),
        Retryability::Write => error.contains_label(RETRYABLE_WRITE_ERROR),
    };
    let by_overload = policy.overload && overload && error.contains_label(RETRYABLE_ERROR);
    if !by_kind && !by_overload {
        marks::reached(Mark::RetryNotRetryable);
        return Decision::Fail;
    }
    let failed = Failed::new(selected, error);
    let attempt = history.retries.saturating_add(1);
    let overloaded = overload || history.overloaded;
    let allowed = if overloaded {
        policy.max_adaptive_retries
    } else if policy.deadline.is_some() {
        u32::MAX
    } else if failed.refused_documents() {
        0
    } else {
        1
    };
    let follows = attempt > allowed;
    if follows && (overloaded || !failed.follows(history, policy.sharded)) {
        marks::reached(match overloaded {
            true => Mark::RetryOverloadExhausted,
            false => Mark::RetryExhausted,
        });
        return Decision::Fail;
    }
    let pause = overload.then(|| backoff(attempt, error.base_backoff(), rng));
    if let Some(deadline) = policy.deadline
        && now + pause.unwrap_or_default() >= deadline
    {
        marks::reached(Mark::RetryNoTime);
        return Decision::Fail;
    }
    let deprioritize = policy.sharded || (overload && policy.overload_retargeting);
    mark_retry(
        policy,
        by_kind,
        attempt,
        pause.is_some(),
        deprioritize,
        follows,
    );
    Decision::Retry {
        pause,
        deprioritize,
        follows,
    }
}

fn mark_retry(
    policy: &Policy,
    by_kind: bool,
    attempt: u32,
    pauses: bool,
    deprioritize: bool,
    follows: bool,
) {
    marks::reached(match (by_kind, policy.retryability) {
        (true, Retryability::Write) => Mark::RetryWrite,
        (true, _) => Mark::RetryRead,
        (false, _) => Mark::RetryOverload,
    });
    for (reached, mark) in [
        (pauses, Mark::RetryPause),
        (deprioritize, Mark::RetryDeprioritize),
        (follows, Mark::RetryFollows),
        (
            !pauses && !follows && attempt > 1,
            Mark::RetryWithinDeadline,
        ),
    ] {
        if reached {
            marks::reached(mark);
        }
    }
}

/// How long to wait before a retry after an overload: `jitter * min(max, base * 2^attempt)`.
#[must_use]
pub fn backoff(attempt: u32, base: Option<Duration>, rng: &mut Rng) -> Duration {
    let base = base.filter(|b| !b.is_zero()).unwrap_or(BACKOFF_BASE);
    let full = 1u32
        .checked_shl(attempt)
        .and_then(|factor| base.checked_mul(factor))
        .map_or(BACKOFF_MAX, |wait| wait.min(BACKOFF_MAX));
    full.mul_f64(rng.unit())
}

/// Whether a read may be repeated after this error.
#[must_use]
pub fn is_retryable_read(error: &Error) -> bool {
    let error = cause_of_failed_authentication(error);
    if is_lost_connection(error) {
        marks::reached(Mark::RetryReadLostConnection);
        return true;
    }
    let ErrorKind::Command(e) = &*error.kind else {
        return false;
    };
    if e.code == READ_CONCERN_MAJORITY_NOT_AVAILABLE_YET {
        marks::reached(Mark::RetryReadNoMajority);
        return true;
    }
    let listed = RETRYABLE_WRITE_CODES.contains(&e.code);
    if listed {
        marks::reached(Mark::RetryReadCode);
    }
    listed
}

/// The facts of the failed attempt that labels depend on.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The retry rules that are in force.
    pub retryability: Retryability,
    /// How far the attempt came.
    pub stage: Stage,
    /// The wire version of the connection; `None` when there was none.
    pub max_wire_version: Option<i32>,
    /// Whether the server is a mongos.
    pub mongos: bool,
}

/// Adds the label `RetryableWriteError` where the client owes it (Retryable Writes:
/// "RetryableWriteError Labels").
pub fn classify(error: &mut Error, attempt: &Attempt) {
    if attempt.retryability != Retryability::Write {
        return;
    }
    let inner = cause_of_failed_authentication(error);
    let (owed, mark) = match attempt.stage {
        Stage::Selection => (false, Mark::RetryNoServer),
        // The handshake's commands are no writes, so servers do not label their errors.
        Stage::Checkout => {
            let owed = is_lost_connection(inner)
                || matches!(&*inner.kind, ErrorKind::Command(e)
                    if RETRYABLE_WRITE_CODES.contains(&e.code));
            (owed, Mark::RetryLabelCheckout)
        }
        Stage::Exchange { .. } => {
            let unlabelled = attempt
                .max_wire_version
                .is_some_and(|version| version < LABELLING_WIRE_VERSION);
            match &*inner.kind {
                ErrorKind::Command(e) => (
                    unlabelled && RETRYABLE_WRITE_CODES.contains(&e.code),
                    Mark::RetryLabelOldServer,
                ),
                ErrorKind::Write(WriteFailure::WriteConcernError(e)) => (
                    unlabelled && !attempt.mongos && RETRYABLE_WRITE_CODES.contains(&e.code),
                    Mark::RetryLabelOldConcern,
                ),
                // No server labels these; docs/decisions/008-refusals-during-elections.md.
                ErrorKind::Write(WriteFailure::WriteError(e)) => {
                    (is_state_change_code(e.code), Mark::RetryLabelDocuments)
                }
                _ => (is_lost_connection(inner), Mark::RetryLabelLostConnection),
            }
        }
    };
    marks::reached(match (owed, attempt.stage) {
        (true, _) | (false, Stage::Selection) => mark,
        (false, Stage::Checkout) => Mark::RetryNoLabelCheckout,
        (false, Stage::Exchange { .. }) => Mark::RetryNoLabelExchange,
    });
    if owed {
        error.add_label(RETRYABLE_WRITE_ERROR);
    }
}

/// Whether the caller can infer from this error that something was executed.
///
/// For writes: the command was sent, and the server does not say `NoWritesPerformed`. For reads:
/// the error does not come from the client alone.
#[must_use]
pub fn implies_attempt(error: &Error, stage: Stage, read: bool) -> bool {
    let (implies, mark) = match stage {
        Stage::Selection => (false, Mark::RetryNoServer),
        Stage::Checkout => {
            let implies = read
                && !matches!(&*error.kind, ErrorKind::ConnectionPoolCleared { .. })
                && is_retryable_read(error);
            let mark = match implies {
                true => Mark::RetryImpliesCheckout,
                false => Mark::RetryImpliesNothing,
            };
            (implies, mark)
        }
        Stage::Exchange { .. } if read => return true,
        Stage::Exchange { sent: false } => (false, Mark::RetryImpliesNotSent),
        Stage::Exchange { sent: true } if error.contains_label(NO_WRITES_PERFORMED) => {
            (false, Mark::RetryImpliesNoWrites)
        }
        Stage::Exchange { sent: true } => (true, Mark::RetryImpliesWrite),
    };
    marks::reached(mark);
    implies
}

/// Whether the connection was lost, or refused because its pool was cleared. Running out of time
/// for a connection, or for the operation, is neither.
fn is_lost_connection(error: &Error) -> bool {
    error.is_network()
}

/// Authentication fails for reasons of its own, or because of an error that may be retried.
fn cause_of_failed_authentication(error: &Error) -> &Error {
    if matches!(&*error.kind, ErrorKind::Authentication { .. })
        && let Some(source) = std::error::Error::source(error)
        && let Some(source) = source.downcast_ref::<Error>()
    {
        marks::reached(Mark::RetryAuthenticationCause);
        return source;
    }
    error
}

#[cfg(test)]
mod tests;
