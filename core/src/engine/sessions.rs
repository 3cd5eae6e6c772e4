//! The sessions of the caller, and the server sessions that are not in use.

use std::{collections::BTreeMap, time::Duration};

use super::{Engine, OpId, SessionId, ops::OpSession, start::Running};
use crate::{
    error::{Error, Result},
    options::SessionOptions,
    rng::Entropy,
    session::{ServerSessionPool, SessionState},
    time::Instant,
    topology::TopologyView,
};

/// What decides how long server sessions live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    timeout: Option<Duration>,
    load_balanced: bool,
}

/// A session of the caller's.
#[derive(Debug)]
struct Entry {
    state: SessionState,
    /// The operation that uses it.
    user: Option<OpId>,
    /// The caller has ended it; it goes when its operation does.
    ended: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub(super) pool: ServerSessionPool,
    table: BTreeMap<SessionId, Entry>,
    last: u64,
}

impl Sessions {
    pub(super) fn open(&self) -> usize {
        self.table.len()
    }

    pub(super) fn terms(&self, view: Option<&TopologyView>, running: Option<&Running>) -> Terms {
        Terms {
            timeout: view.and_then(|view| view.description.logical_session_timeout),
            load_balanced: running.is_some_and(|r| r.settings.topology.load_balanced),
        }
    }

    fn insert(&mut self, state: SessionState) -> SessionId {
        self.last += 1;
        let id = SessionId(self.last);
        let entry = Entry {
            state,
            user: None,
            ended: false,
        };
        self.table.insert(id, entry);
        id
    }

    /// The state of an operation's session.
    pub(super) fn of<'a>(&'a mut self, session: &'a mut OpSession) -> Option<&'a mut SessionState> {
        match session {
            OpSession::None => None,
            OpSession::Own(state) => Some(state),
            OpSession::Caller(id) => self.table.get_mut(id).map(|entry| &mut entry.state),
        }
    }

    /// Lets an operation use a session: one at a time.
    pub(super) fn claim(&mut self, id: SessionId, op: OpId) -> Result<()> {
        let entry = self.table.get_mut(&id).filter(|entry| !entry.ended);
        let Some(entry) = entry else {
            return Err(Error::invalid_argument("session: it has ended"));
        };
        if entry.user.is_some() {
            return Err(Error::invalid_argument(
                "session: another operation is using it",
            ));
        }
        entry.user = Some(op);
        Ok(())
    }

    /// Gives an operation's session its server session, if it has none yet.
    pub(super) fn acquire(
        &mut self,
        session: &mut OpSession,
        terms: Terms,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) {
        let state = match session {
            OpSession::None => return,
            OpSession::Own(state) => state,
            OpSession::Caller(id) => match self.table.get_mut(id) {
                Some(entry) => &mut entry.state,
                None => return,
            },
        };
        if state.server().is_none() {
            let (timeout, balanced) = (terms.timeout, terms.load_balanced);
            state.set_server(self.pool.acquire(timeout, balanced, entropy, now));
        }
    }

    /// The operation is over: its own session goes back, the caller's is free again.
    pub(super) fn release(&mut self, session: &mut OpSession, terms: Terms, now: Instant) {
        match std::mem::replace(session, OpSession::None) {
            OpSession::None => {}
            OpSession::Own(state) => self.put_back(state, terms, now),
            OpSession::Caller(id) => {
                let Some(entry) = self.table.get_mut(&id) else {
                    return;
                };
                entry.user = None;
                if entry.ended {
                    self.end(id, terms, now);
                }
            }
        }
    }

    /// Ends a session, as soon as no operation uses it.
    pub(super) fn end(&mut self, id: SessionId, terms: Terms, now: Instant) {
        match self.table.get_mut(&id) {
            Some(entry) if entry.user.is_some() => entry.ended = true,
            Some(_) => {
                if let Some(entry) = self.table.remove(&id) {
                    self.put_back(entry.state, terms, now);
                }
            }
            None => {}
        }
    }

    fn put_back(&mut self, mut state: SessionState, terms: Terms, now: Instant) {
        if let Some(server) = state.take_server() {
            self.pool
                .release(server, terms.timeout, terms.load_balanced, now);
        }
    }
}

impl Engine {
    /// Starts an explicit session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for options that
    /// exclude each other; `Shutdown` after [`Self::shutdown`].
    pub fn start_session(&mut self, options: &SessionOptions, now: Instant) -> Result<SessionId> {
        self.see(now);
        self.check_open()?;
        let mut session = OpSession::Own(SessionState::explicit(options)?);
        let view = self.tables.view.as_deref();
        let terms = self.sessions.terms(view, self.running.as_ref());
        let entropy = &mut *self.entropy;
        self.sessions
            .acquire(&mut session, terms, entropy, self.now);
        match session {
            OpSession::Own(state) => Ok(self.sessions.insert(state)),
            _ => Err(Error::internal("a session without state")),
        }
    }

    /// A session that outlives one operation, for a cursor: pass it to the command that makes the
    /// cursor and to all later ones, then end it. Its server session is taken when it is first sent.
    pub fn implicit_session(&mut self) -> SessionId {
        self.sessions.insert(SessionState::implicit())
    }

    /// Ends a session: its server session can be used again. A session in use ends with its
    /// operation.
    pub fn end_session(&mut self, session: SessionId, now: Instant) {
        self.see(now);
        self.close_session(session);
    }

    pub(super) fn close_session(&mut self, session: SessionId) {
        let view = self.tables.view.as_deref();
        let terms = self.sessions.terms(view, self.running.as_ref());
        self.sessions.end(session, terms, self.now);
    }

    /// What a session knows.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<&SessionState> {
        self.sessions.table.get(&session).map(|entry| &entry.state)
    }

    /// A session, to advance its times.
    pub fn session_mut(&mut self, session: SessionId) -> Option<&mut SessionState> {
        let entry = self.sessions.table.get_mut(&session);
        entry.map(|entry| &mut entry.state)
    }
}
