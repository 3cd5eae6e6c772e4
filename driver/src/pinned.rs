//! The connection that a cursor keeps behind a load balancer: each of its commands must reach the
//! service that holds it (load balancers: "Behaviour With Cursors").
//!
//! It is filled by the command that opens the cursor, lent to each that follows, and given back
//! when it is dropped. With any other deployment it stays empty.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use mongo_client_core::cursor::pin::{Ended, Pick, Pin, Taken};

use crate::lease::Lease;

/// The connection of a cursor; see the module.
///
/// Dropping it gives the connection back to its pool.
#[derive(Default)]
pub struct Pinned {
    /// Never locked: only there so that a cursor can be shared between threads.
    pin: Mutex<Pin<Lease>>,
}

/// Shows no connection.
impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl Pinned {
    fn pin(&mut self) -> &mut Pin<Lease> {
        self.pin.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a cursor has a connection, or had one.
    #[must_use]
    pub fn is_used(&mut self) -> bool {
        self.pin().is_used()
    }

    /// Whether a cursor had a connection that is of no use any more: no command can follow.
    #[must_use]
    pub fn is_lost(&mut self) -> bool {
        self.pin().is_lost(Lease::is_usable)
    }

    /// Whether a command was dropped while it was under way: call [`Self::settle`] first.
    pub(crate) fn is_busy(&mut self) -> bool {
        self.pin().kept().is_some_and(Lease::is_running)
    }

    /// Waits for the end of a command that was dropped.
    pub(crate) async fn settle(&mut self) {
        if !self.is_busy() {
            return;
        }
        if let Pick::This(lease) = self.pin().lend() {
            self.take_back(lease.settle().await, Ended::Failed);
        }
    }

    /// Lends the connection to a command.
    pub(crate) fn lend(&mut self) -> Pick<Lease> {
        self.pin().lend()
    }

    /// A command is over, or was dropped: takes its connection. One whose runtime has died is of no
    /// use any more.
    pub(crate) fn take_back(&mut self, lease: Option<Lease>, ended: Ended) {
        let Some(lease) = lease.filter(|lease| !lease.is_orphaned()) else {
            return;
        };
        match self.pin().take_back(lease, ended) {
            Taken::Back(lease) => drop(lease),
            Taken::First => self.pin().kept().map_or((), Lease::pin),
            Taken::Kept => {}
        }
    }
}
