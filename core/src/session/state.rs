//! What a session knows: its server session, operation time, cluster time and snapshot.
//!
//! An implicit session lives for one operation (and its cursor), is never causally consistent and
//! takes its server session only after a connection was checked out. An explicit session belongs to
//! the caller.

use bson::{RawDocument, Timestamp};

use super::{ClusterTime, ServerSession};
use crate::{
    error::{Error, Result},
    mutants::{self, Mutant},
    op::reply::ReplyFacts,
    options::SessionOptions,
};

/// A session in use.
#[derive(Debug)]
pub struct SessionState {
    explicit: bool,
    server: Option<ServerSession>,
    causal: bool,
    snapshot: bool,
    snapshot_time: Option<Timestamp>,
    operation_time: Option<Timestamp>,
    cluster_time: Option<ClusterTime>,
}

impl SessionState {
    /// A session of the driver's own.
    #[inline]
    #[must_use]
    pub fn implicit() -> Self {
        Self {
            explicit: false,
            server: None,
            causal: false,
            snapshot: false,
            snapshot_time: None,
            operation_time: None,
            cluster_time: None,
        }
    }

    /// A session of the caller's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) when the options
    /// exclude each other.
    pub fn explicit(options: &SessionOptions) -> Result<Self> {
        let snapshot = options.snapshot.unwrap_or(false);
        if snapshot && options.causal_consistency == Some(true) {
            return Err(Error::invalid_argument(
                "snapshot and causal_consistency cannot both be true",
            ));
        }
        if !snapshot && options.snapshot_time.is_some() {
            return Err(Error::invalid_argument(
                "snapshot_time needs snapshot to be true",
            ));
        }
        Ok(Self {
            explicit: true,
            causal: options.causal_consistency.unwrap_or(!snapshot),
            snapshot,
            snapshot_time: options.snapshot_time,
            ..Self::implicit()
        })
    }

    /// Whether the caller started the session.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// Whether later reads see earlier operations.
    #[must_use]
    pub fn is_causally_consistent(&self) -> bool {
        self.causal
    }

    /// Whether all reads see one point in time.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.snapshot
    }

    /// The point in time of a snapshot session, once it is known.
    #[must_use]
    pub fn snapshot_time(&self) -> Option<Timestamp> {
        self.snapshot_time
    }

    /// The time of the last operation.
    #[must_use]
    pub fn operation_time(&self) -> Option<Timestamp> {
        self.operation_time
    }

    /// The highest cluster time that the session has seen.
    #[must_use]
    pub fn cluster_time(&self) -> Option<&ClusterTime> {
        self.cluster_time.as_ref()
    }

    /// The server session, once one was acquired.
    #[inline]
    #[must_use]
    pub fn server(&self) -> Option<&ServerSession> {
        self.server.as_ref()
    }

    /// The server session, once one was acquired.
    #[inline]
    pub fn server_mut(&mut self) -> Option<&mut ServerSession> {
        self.server.as_mut()
    }

    /// Gives the session its server session.
    #[inline]
    pub fn set_server(&mut self, server: ServerSession) {
        self.server = Some(server);
    }

    /// Takes the server session out, for the pool.
    #[inline]
    pub fn take_server(&mut self) -> Option<ServerSession> {
        self.server.take()
    }

    /// Remembers that the network failed, or a request was abandoned, while the session was in use.
    pub fn mark_dirty(&mut self) {
        if let Some(server) = &mut self.server {
            server.dirty = !mutants::active(Mutant::SessionNotDirty);
        }
    }

    /// Moves the session's cluster time forward; an earlier one is ignored.
    pub fn advance_cluster_time(&mut self, to: &RawDocument) {
        ClusterTime::advance(&mut self.cluster_time, to);
    }

    /// Moves the session's operation time forward; an earlier one is ignored.
    pub fn advance_operation_time(&mut self, to: Timestamp) {
        if self.operation_time.is_none_or(|time| time < to) {
            self.operation_time = Some(to);
        }
    }

    /// Takes over what a reply says, be it a success or an error.
    #[inline]
    pub fn observe(&mut self, reply: &ReplyFacts<'_>) {
        if let Some(time) = reply.operation_time {
            self.advance_operation_time(time);
        }
        // An implicit session ends before its cluster time could be sent again.
        if self.explicit
            && let Some(time) = reply.cluster_time
        {
            self.advance_cluster_time(time);
        }
        if self.snapshot && self.snapshot_time.is_none() {
            self.snapshot_time = reply.snapshot_time();
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn options() -> SessionOptions {
        SessionOptions::default()
    }

    fn time(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    #[test]
    fn explicit_sessions_are_causal_unless_they_are_snapshots() {
        let plain = SessionState::explicit(&options()).unwrap();
        assert!(plain.is_causally_consistent());
        let mut snapshot = options();
        snapshot.snapshot = Some(true);
        assert!(
            !SessionState::explicit(&snapshot)
                .unwrap()
                .is_causally_consistent()
        );
        assert!(!SessionState::implicit().is_causally_consistent());
    }

    #[test]
    fn contradicting_options_are_refused() {
        let mut both = options();
        both.snapshot = Some(true);
        both.causal_consistency = Some(true);
        assert!(SessionState::explicit(&both).is_err());
        let mut stray = options();
        stray.snapshot_time = Some(time(1));
        assert!(SessionState::explicit(&stray).is_err());
    }

    #[test]
    fn times_only_move_forward() {
        let mut session = SessionState::explicit(&options()).unwrap();
        for (to, expected) in [(5, 5), (4, 5), (6, 6)] {
            session.advance_operation_time(time(to));
            let document = rawdoc! { "clusterTime": time(to), "signature": { "n": to as i32 } };
            session.advance_cluster_time(&document);
            assert_eq!(session.operation_time(), Some(time(expected)));
            let cluster_time = session.cluster_time().unwrap();
            assert_eq!(cluster_time.timestamp(), time(expected));
            let signature = cluster_time.document().get_document("signature").unwrap();
            assert_eq!(signature.get_i32("n").unwrap(), expected as i32);
        }
    }

    #[test]
    fn a_cluster_time_without_timestamp_is_ignored() {
        let mut session = SessionState::explicit(&options()).unwrap();
        session.advance_cluster_time(&rawdoc! { "clusterTime": 5 });
        assert!(session.cluster_time().is_none());
        assert!(ClusterTime::new(rawdoc! { "clusterTime": 5 }).is_err());
    }

    #[test]
    fn a_cluster_time_that_is_too_long_is_ignored() {
        let mut session = SessionState::explicit(&options()).unwrap();
        for (len, taken) in [(5_000, false), (100, true)] {
            let long = rawdoc! { "clusterTime": time(9), "signature": "s".repeat(len) };
            session.advance_cluster_time(&long);
            assert_eq!(session.cluster_time().is_some(), taken, "{len}");
        }
    }

    #[test]
    fn a_snapshot_keeps_its_first_time() {
        let mut snapshot = options();
        snapshot.snapshot = Some(true);
        let mut session = SessionState::explicit(&snapshot).unwrap();
        for at in [None, Some(time(3)), Some(time(9))] {
            session.observe(&ReplyFacts {
                at_cluster_time: at,
                ..ReplyFacts::default()
            });
        }
        assert_eq!(session.snapshot_time(), Some(time(3)));
    }
}
