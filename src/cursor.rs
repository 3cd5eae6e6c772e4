//! Cursors: the results of `find`, `aggregate` and other verbs, fetched batch by batch.
//!
//! Core's `CursorMachine` walks the batches and says when to fetch; the types here own the exchange
//! that fetches. Documents are decoded when they are asked for, from the bytes of the reply.

mod explicit;
mod implicit;
mod raw_batch;

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
use crate::client::Executed;

/// A cursor's machine and the server that holds the cursor.
#[derive(Debug)]
struct Remote {
    machine: CursorMachine,
    server: ServerId,
}

impl Remote {
    fn new(executed: Executed, spec: CursorSpec) -> Result<Self> {
        let machine = CursorMachine::from_reply(executed.reply, spec)?;
        Ok(Self {
            machine,
            server: executed.server,
        })
    }

    fn get_more(&self) -> CommandSpec {
        let mut spec = self.machine.get_more();
        spec.target = Target::Server(self.server);
        spec
    }

    fn kill(&mut self) -> Option<CommandSpec> {
        let mut spec = self.machine.kill()?;
        spec.target = Target::Server(self.server);
        Some(spec)
    }

    /// Takes what became of a `getMore`.
    fn fetched(&mut self, result: Result<Executed>) -> Result<()> {
        match result {
            Ok(executed) => self.machine.handle_batch(executed.reply),
            Err(error) => {
                self.machine.handle_failure(&error);
                Err(error)
            }
        }
    }
}
