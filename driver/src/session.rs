//! Sessions and who owns them: a server session goes back to the pool when its owner is dropped.

use std::sync::Arc;

use bson::{Document, Timestamp};
use mongo_client_core::{
    error::{Error, Result},
    options::SessionOptions,
    session::{ClusterTime, SessionState},
    time::Instant,
};

use crate::shared::Shared;

/// A session that the client made for one operation or one cursor.
#[derive(Debug)]
pub struct ImplicitSession {
    shared: Arc<Shared>,
    state: SessionState,
}

impl ImplicitSession {
    pub(crate) fn new(shared: &Arc<Shared>, now: Instant) -> Self {
        let mut state = SessionState::implicit();
        acquire(shared, &mut state, now);
        Self {
            shared: Arc::clone(shared),
            state,
        }
    }

    pub(crate) fn state(&mut self) -> &mut SessionState {
        &mut self.state
    }
}

impl Drop for ImplicitSession {
    fn drop(&mut self) {
        release(&self.shared, &mut self.state, || self.shared.clock.now());
    }
}

/// An explicit session.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    state: SessionState,
    id: Document,
    options: SessionOptions,
}

impl Session {
    pub(crate) fn new(shared: &Arc<Shared>, options: SessionOptions) -> Result<Self> {
        let mut state = SessionState::explicit(&options)?;
        acquire(shared, &mut state, shared.clock.now());
        let id = state
            .server()
            .map(|s| s.lsid())
            .and_then(|id| Document::try_from(id).ok());
        Ok(Self {
            shared: Arc::clone(shared),
            state,
            id: id.unwrap_or_default(),
            options,
        })
    }

    /// The session's id (`lsid`).
    #[must_use]
    pub fn id(&self) -> &Document {
        &self.id
    }

    /// What the session was started with.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// The point in time that all reads of a snapshot session see, once it is known.
    #[must_use]
    pub fn snapshot_time(&self) -> Option<Timestamp> {
        self.state.snapshot_time()
    }

    /// The highest cluster time that the session has seen.
    #[must_use]
    pub fn cluster_time(&self) -> Option<&ClusterTime> {
        self.state.cluster_time()
    }

    /// The operation time of the session's last operation.
    #[must_use]
    pub fn operation_time(&self) -> Option<Timestamp> {
        self.state.operation_time()
    }

    /// Advances the session's cluster time; never the client's.
    pub fn advance_cluster_time(&mut self, to: &ClusterTime) {
        self.state.advance_cluster_time(to.document());
    }

    /// Advances the session's operation time.
    pub fn advance_operation_time(&mut self, to: Timestamp) {
        self.state.advance_operation_time(to);
    }

    /// Whether the network failed in it, so that its server session is not used again.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.state.server().is_some_and(|server| server.dirty)
    }

    pub(crate) fn state(&mut self) -> &mut SessionState {
        &mut self.state
    }

    #[inline]
    pub(crate) fn acquire(&mut self, now: Instant) {
        acquire(&self.shared, &mut self.state, now);
    }

    /// Refuses a session of another client (sessions: "must not be used with another client").
    pub(crate) fn check_owner(&self, shared: &Arc<Shared>) -> Result<()> {
        if Arc::ptr_eq(&self.shared, shared) {
            Ok(())
        } else {
            Err(Error::invalid_argument(
                "session: it was started by another client",
            ))
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        release(&self.shared, &mut self.state, || self.shared.clock.now());
    }
}

/// Gives a session its server session, if it has none yet.
pub(crate) fn acquire(shared: &Shared, state: &mut SessionState, now: Instant) {
    if state.server().is_some() {
        return;
    }
    let timeout = shared.views.session_timeout();
    let lb = shared.settings.topology.load_balanced;
    let mut entropy = |out: &mut [u8]| shared.clock.entropy(out);
    let session = shared.sessions.with("acquire", |pool| {
        pool.acquire(timeout, lb, &mut entropy, now)
    });
    state.set_server(session);
}

/// Gives a session's server session back, if it has one.
#[inline]
pub(crate) fn release(shared: &Shared, state: &mut SessionState, now: impl FnOnce() -> Instant) {
    let Some(session) = state.take_server() else {
        return;
    };
    let timeout = shared.views.session_timeout();
    let lb = shared.settings.topology.load_balanced;
    let now = now();
    shared
        .sessions
        .with("release", |pool| pool.release(session, timeout, lb, now));
}
