//! The connection that a cursor keeps behind a load balancer: each of its commands must reach the
//! service that holds it (load balancers: "Behaviour With Cursors").
//!
//! It is filled by the command that opens the cursor, lent to each that follows, and given back
//! when it is dropped. With any other deployment it stays empty.

use std::{
    fmt, mem,
    sync::{Mutex, PoisonError},
};

use crate::lease::Lease;

/// The connection of a cursor; see the module.
///
/// Dropping it gives the connection back to its pool.
#[derive(Default)]
pub struct Pinned {
    /// Never locked: only there so that a cursor can be shared between threads.
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    /// No command has opened a cursor.
    #[default]
    Empty,
    /// No command is under way, but one may have been dropped.
    Held(Lease),
    /// A command has the connection, or it is lost.
    Lent,
}

/// Shows no connection.
impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

/// What a command of a cursor does for a connection.
pub(crate) enum Pick {
    /// It opens the cursor: any connection will do.
    Any,
    /// The connection of the cursor.
    This(Lease),
    /// The connection of the cursor is gone, and the cursor with it.
    Gone,
}

impl Pinned {
    fn state(&mut self) -> &mut State {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a cursor has a connection, or had one.
    #[must_use]
    pub fn is_used(&mut self) -> bool {
        !matches!(self.state(), State::Empty)
    }

    /// Whether a cursor had a connection that is of no use any more: no command can follow.
    #[must_use]
    pub fn is_lost(&mut self) -> bool {
        match self.state() {
            State::Empty => false,
            State::Held(lease) => !lease.is_usable(),
            State::Lent => true,
        }
    }

    /// Whether a command was dropped while it was under way: call [`Self::settle`] first.
    pub(crate) fn is_busy(&mut self) -> bool {
        matches!(self.state(), State::Held(lease) if lease.is_running())
    }

    /// Waits for the end of a command that was dropped.
    pub(crate) async fn settle(&mut self) {
        if !self.is_busy() {
            return;
        }
        if let State::Held(lease) = mem::replace(self.state(), State::Lent)
            && let Some(lease) = lease.settle().await
        {
            *self.state() = State::Held(lease);
        }
    }

    /// Lends the connection to a command.
    pub(crate) fn lend(&mut self) -> Pick {
        match mem::replace(self.state(), State::Lent) {
            State::Held(lease) => Pick::This(lease),
            State::Lent => Pick::Gone,
            State::Empty => {
                *self.state() = State::Empty;
                Pick::Any
            }
        }
    }

    /// A command is over, or was dropped: takes its connection. `opened`: it has succeeded.
    ///
    /// One that failed stays with the cursor, so that its service is not mistaken; one whose
    /// runtime has died is of no use any more.
    pub(crate) fn take_back(&mut self, lease: Option<Lease>, opened: bool) {
        let Some(lease) = lease.filter(|lease| !lease.is_orphaned()) else {
            return;
        };
        match self.state() {
            State::Empty if opened => lease.pin(),
            State::Empty => return,
            State::Held(_) | State::Lent => {}
        }
        *self.state() = State::Held(lease);
    }
}
