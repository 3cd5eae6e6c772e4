//! Cursors: the results of `find`, `aggregate` and other verbs, fetched batch by batch.
//!
//! Core's `CursorMachine` walks the batches and says when to fetch; the types here own the exchange
//! that fetches. Documents are decoded when they are asked for, from the bytes of the reply.

mod explicit;
mod implicit;
mod raw_batch;

use std::mem;

use mongo_client_core::{
    cursor::{CursorMachine, CursorSpec},
    error::Result,
    id::ServerId,
    op::{CommandSpec, Target},
};

pub use mongo_client_driver::{ClosedCursor, CursorManager};

pub use self::{
    explicit::{SessionCursor, SessionCursorStream},
    implicit::Cursor,
    raw_batch::{RawBatch, RawBatchCursor, SessionRawBatchCursor},
};
use crate::client::{Executed, Pinned};

/// A cursor's machine, the server that holds the cursor and, behind a load balancer, the connection
/// that leads to it.
#[derive(Debug)]
struct Remote {
    machine: CursorMachine,
    server: ServerId,
    pinned: Pinned,
}

impl Remote {
    fn new(executed: Executed, spec: CursorSpec, pinned: Pinned) -> Result<Self> {
        let machine = CursorMachine::from_reply(executed.reply, spec)?;
        let mut remote = Self {
            machine,
            server: executed.server,
            pinned,
        };
        remote.unpin();
        Ok(remote)
    }

    /// Gives the connection back once the server has no cursor any more.
    fn unpin(&mut self) {
        if self.machine.is_exhausted_on_server() {
            self.pinned = Pinned::default();
        }
    }

    fn get_more(&self) -> CommandSpec {
        let mut spec = self.machine.get_more();
        spec.target = Target::Server(self.server);
        spec
    }

    /// The command that removes the cursor from the server, and the connection for it.
    fn kill(&mut self) -> Option<(CommandSpec, Pinned)> {
        let pinned = mem::take(&mut self.pinned);
        let mut spec = self.machine.kill()?;
        spec.target = Target::Server(self.server);
        Some((spec, pinned))
    }

    /// Takes what became of a `getMore`.
    fn fetched(&mut self, result: Result<Executed>) -> Result<()> {
        let outcome = match result {
            Ok(executed) => self.machine.handle_batch(executed.reply),
            Err(error) => {
                self.machine.handle_failure(&error);
                Err(error)
            }
        };
        self.unpin();
        outcome
    }
}
