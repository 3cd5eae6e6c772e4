//! Refusals: a server says that it is not, or no longer, what the operation needs.
//!
//! The retry specifications grant one retry, whatever happens. That does not last for a set that
//! holds elections, so two things are decided here from what a refusal tells of its server:
//!
//! 1. whether a repetition *follows* the topology, because the refusal proves that it has moved on
//!    since the failure before. Those are not counted, but they are bounded;
//! 2. for how long the server is *held*: while its description is still the one that it was
//!    selected by, it is left alone for a short time. A refusal may come before the server's state
//!    changes; SDAM learns nothing from that, and would send the next attempt there at once.
//!
//! Nothing of that applies to servers that fail the same way twice in the same state.
//! See docs/decisions/008-refusals-during-elections.md.

use std::time::Duration;

use super::History;
use crate::{
    error::{Error, ErrorKind, WriteFailure},
    hello::TopologyVersion,
    id::ServerId,
    marks::{self, Mark},
    time::Instant,
    topology::error_rules::{is_state_change, is_state_change_code, topology_version},
};

/// The most repetitions of an operation that follow the topology. Each takes a part of an election.
const FOLLOWED_MAX: u32 = 8;
/// The longest that a server is held. Servers that stream their hello tell of a step-down within
/// milliseconds; where the monitor polls, the next attempt may come too early, and be refused anew.
const HOLD_MAX: Duration = Duration::from_millis(100);

/// The server of an attempt that failed, in the latest state that the attempt knew of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The server.
    pub server: ServerId,
    /// Its state.
    pub version: Option<TopologyVersion>,
}

/// A server that is not to be asked again in the state in which it has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The server, as it was described when it was selected.
    pub of: Sighting,
    /// When it may be asked regardless.
    pub until: Instant,
}

impl Hold {
    /// Whether a server that could be selected is this one, without any news of it.
    #[must_use]
    pub fn keeps(&self, server: Sighting, now: Instant) -> bool {
        self.of == server && now < self.until
    }
}

/// What a refusal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The state in which the server refused.
    told: Option<TopologyVersion>,
    /// Only documents were refused, which SDAM does not judge.
    of_documents: bool,
}

impl Refusal {
    pub(super) fn of(error: &Error) -> Option<Self> {
        let error = super::cause_of_failed_authentication(error);
        let of_documents = matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(e))
            if is_state_change_code(e.code));
        (of_documents || is_state_change(error)).then(|| Self {
            told: topology_version(error),
            of_documents,
        })
    }
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    selected: Sighting,
    refusal: Option<Refusal>,
}

impl Failed {
    /// `selected` is the server as it was described when it was selected.
    pub(super) fn new(selected: Sighting, error: &Error) -> Self {
        Self {
            selected,
            refusal: Refusal::of(error),
        }
    }

    /// Whether documents were refused: the specification knows no retry for that.
    pub(super) fn refused_documents(&self) -> bool {
        self.refusal.is_some_and(|refusal| refusal.of_documents)
    }

    /// Whether a repetition follows the topology. With a router in between, another server is no
    /// proof: all routers speak for the same sets.
    pub(super) fn follows(&self, history: &History, sharded: bool) -> bool {
        let Some(refusal) = self.refusal else {
            return false;
        };
        if history.followed >= FOLLOWED_MAX {
            marks::reached(Mark::RefusalFollowedMax);
            return false;
        }
        // That the primary is lost is itself what has changed.
        let first_of_documents = refusal.of_documents && !history.refused_documents;
        let Some(last) = history.last else {
            if first_of_documents {
                marks::reached(Mark::RefusalFirstDocuments);
            }
            return first_of_documents;
        };
        let elsewhere = !sharded && last.server != self.selected.server;
        let later = is_later(refusal.told, last.version);
        marks::reached(match (first_of_documents, elsewhere, later) {
            (true, _, _) => Mark::RefusalFirstDocuments,
            (_, true, _) => Mark::RefusalElsewhere,
            (_, _, true) => Mark::RefusalLaterState,
            (false, false, false) => Mark::RefusalSameState,
        });
        first_of_documents || elsewhere || later
    }

    /// The server is held as it was described. One that does not count its states would be held on
    /// when SDAM has asked it anew, so that is done only after refused documents, which SDAM leaves
    /// alone.
    pub(super) fn hold(&self, now: Instant) -> Option<Hold> {
        let refusal = self.refusal?;
        marks::reached(match (refusal.of_documents, self.selected.version) {
            (true, _) => Mark::RefusalHoldDocuments,
            (false, Some(_)) => Mark::RefusalHoldState,
            (false, None) => Mark::RefusalNoHold,
        });
        (refusal.of_documents || self.selected.version.is_some()).then(|| Hold {
            of: self.selected,
            until: now + HOLD_MAX,
        })
    }

    /// What is to be remembered for the next failure.
    pub(super) fn sighting(&self) -> Sighting {
        let told = self.refusal.and_then(|refusal| refusal.told);
        Sighting {
            version: told.or(self.selected.version),
            ..self.selected
        }
    }
}

/// Whether `told` is known to come after `before`. Unlike SDAM's comparison, what is absent proves
/// nothing here; another process of the server does.
fn is_later(told: Option<TopologyVersion>, before: Option<TopologyVersion>) -> bool {
    matches!((told, before), (Some(told), Some(before))
        if told.process_id != before.process_id || told.counter > before.counter)
}
