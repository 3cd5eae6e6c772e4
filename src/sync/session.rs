//! The blocking form of explicit sessions.

use mongo_client_core::{
    bson::{Document, Timestamp},
    error::Result,
    options::SessionOptions,
    session::ClusterTime,
};

use super::{Client, wait};
use crate::session::StartSession;

/// A session: groups operations, causally consistent by default. The blocking form of
/// [`mongo_client::ClientSession`](crate::ClientSession); give `session` setters a `&mut` of it.
///
/// Dropping it returns its server session to the client's pool.
#[derive(Debug)]
pub struct ClientSession {
    inner: crate::ClientSession,
}

impl From<crate::ClientSession> for ClientSession {
    fn from(inner: crate::ClientSession) -> Self {
        Self { inner }
    }
}

impl<'a> From<&'a mut ClientSession> for &'a mut crate::ClientSession {
    fn from(session: &'a mut ClientSession) -> Self {
        &mut session.inner
    }
}

impl ClientSession {
    pub(super) fn inner(&mut self) -> &mut crate::ClientSession {
        &mut self.inner
    }

    /// The client that started the session.
    #[must_use]
    pub fn client(&self) -> Client {
        self.inner.client().into()
    }

    /// The session's id (`lsid`).
    #[must_use]
    pub fn id(&self) -> &Document {
        self.inner.id()
    }

    /// The highest cluster time that the session has seen.
    #[must_use]
    pub fn cluster_time(&self) -> Option<&ClusterTime> {
        self.inner.cluster_time()
    }

    /// The operation time of the session's last operation.
    #[must_use]
    pub fn operation_time(&self) -> Option<Timestamp> {
        self.inner.operation_time()
    }

    /// What the session was started with.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        self.inner.options()
    }

    /// The point in time that all reads of a snapshot session see, once it is known.
    #[must_use]
    pub fn snapshot_time(&self) -> Option<Timestamp> {
        self.inner.snapshot_time()
    }

    /// Whether a network error occurred in the session. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.inner.is_dirty()
    }

    /// Advances the session's cluster time, for causal consistency with another session.
    pub fn advance_cluster_time(&mut self, to: &ClusterTime) {
        self.inner.advance_cluster_time(to);
    }

    /// Advances the session's operation time, for causal consistency with another session.
    pub fn advance_operation_time(&mut self, to: Timestamp) {
        self.inner.advance_operation_time(to);
    }
}

impl StartSession<'_> {
    /// Starts the session, and blocks this thread until it is done; see [`sync`](crate::sync).
    ///
    /// # Errors
    ///
    /// Those of [`Client::start_session`](crate::Client::start_session).
    pub fn run(self) -> Result<ClientSession> {
        wait(self.into_future()).map(ClientSession::from)
    }
}
