//! Runs one operation: select → lease → exchange → retry.
//!
//! The sequence itself is core's [`Operation`]; [`run`] only does what it wants next, and gives
//! everything back when the future is dropped. The future is written by hand: it is moved into the
//! caller's own, and one made by the compiler would keep a copy of its arguments for every layer.

mod run;
mod select;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use mongo_client_core::{
    error::{Error, Result},
    id::ServerId,
    net::ServerAddress,
    op::{CommandSpec, reply::Counts},
    session::SessionState,
    time::Instant,
    wire::Reply,
};

use self::run::Run;
use crate::{
    buffers,
    pinned::Pinned,
    runtime::BoxFuture,
    session::{self, ImplicitSession, Session},
    shared::Shared,
};

/// Which session an execution uses.
pub enum SessionArg<'a> {
    /// One of its own, returned when the operation ends.
    Implicit,
    /// The caller's.
    Explicit(&'a mut Session),
    /// One that outlives the operation (cursors): taken from the option, or put there.
    Keep(&'a mut Option<ImplicitSession>),
}

/// What an execution gives back.
#[derive(Debug)]
pub struct Executed {
    /// The reply, checked for `ok: 1`.
    pub reply: Reply,
    /// The server that answered.
    pub server: ServerId,
    /// Its address.
    pub address: Arc<ServerAddress>,
    /// What the reply counts, if it says nothing else of the command's writes.
    pub counts: Option<Counts>,
}

impl Executed {
    /// Ends with the reply read: its buffer serves another one.
    #[inline]
    pub fn recycle(self) {
        buffers::keep_reply(self.reply);
    }
}

/// The session of a running operation, wherever it lives.
enum Held<'a> {
    None,
    Own(SessionState),
    Explicit(&'a mut Session),
    Kept(&'a mut Option<ImplicitSession>),
}

impl Held<'_> {
    fn state(&mut self) -> Option<&mut SessionState> {
        match self {
            Self::None => None,
            Self::Own(state) => Some(state),
            Self::Explicit(session) => Some(session.state()),
            Self::Kept(session) => session.as_mut().map(ImplicitSession::state),
        }
    }

    /// Gives a session of its own back.
    fn end(&mut self, shared: &Shared, now: impl FnOnce() -> Instant) {
        if let Self::Own(state) = self {
            session::release(shared, state, now);
        }
        *self = Self::None;
    }
}

/// The future of an operation. Nothing happens before it is polled.
///
/// # Cancel safety
///
/// Dropping it gives everything back: it leaves the queues, and a connection with a reply under way
/// is drained or closed. Whether a write that was sent is applied is unknown.
#[must_use = "nothing happens until it is awaited"]
pub struct Execution<'a>(State<'a>);

#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the one that is used"
)]
enum State<'a> {
    /// An operation of a client that has started.
    Running(Run<'a>),
    /// The client is to be started first.
    Starting(BoxFuture<'a, Result<Executed>>),
    /// There is nothing to execute, for this reason; `None` once it was told.
    Failed(Option<Error>),
}

impl fmt::Debug for Execution<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Execution")
    }
}

impl<'a> Execution<'a> {
    /// Executes a command on a client that has started.
    #[inline]
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        spec: CommandSpec,
        session: SessionArg<'a>,
        deadline: Option<Instant>,
    ) -> Self {
        Self(State::Running(Run::new(shared, spec, session, deadline)))
    }

    /// Executes a command that opens a cursor or belongs to one, on a client that has started.
    pub(crate) fn pinned(
        shared: &'a Arc<Shared>,
        spec: CommandSpec,
        session: SessionArg<'a>,
        deadline: Option<Instant>,
        pinned: &'a mut Pinned,
    ) -> Self {
        if !shared.settings.topology.load_balanced {
            return Self::new(shared, spec, session, deadline);
        }
        if pinned.is_busy() {
            return Self::starting(Box::pin(async move {
                pinned.settle().await;
                Self::pinned(shared, spec, session, deadline, pinned).await
            }));
        }
        let mut run = Run::new(shared, spec, session, deadline);
        run.pinned = Some(pinned);
        Self(State::Running(run))
    }

    /// Executes once the client has started.
    pub(crate) fn starting(future: BoxFuture<'a, Result<Executed>>) -> Self {
        Self(State::Starting(future))
    }

    /// Fails when it is polled.
    pub fn failed(error: Error) -> Self {
        Self(State::Failed(Some(error)))
    }
}

impl Future for Execution<'_> {
    type Output = Result<Executed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Running(run) => run.poll(cx),
            State::Starting(future) => future.as_mut().poll(cx),
            State::Failed(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }
}
