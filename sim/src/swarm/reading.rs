//! Reading by a cursor, as the workload does it, whichever client fetches.

use mongo_client_core::{
    cursor::{CursorMachine, CursorWant},
    error::{Error, Result},
    id::ServerId,
    op::{CommandSpec, Target},
    wire::Reply,
};

use super::workload::Work;

/// A cursor and the server that has it.
pub(super) struct Reading {
    machine: CursorMachine,
    server: ServerId,
}

impl Reading {
    /// The cursor of a first reply.
    pub(super) fn begin(work: &Work, reply: Reply, server: ServerId) -> Result<Self> {
        let machine = CursorMachine::from_reply(reply, work.cursor())?;
        Ok(Self { machine, server })
    }

    /// Reads all that is there; the command that fetches more.
    pub(super) fn next(&mut self) -> Result<Option<CommandSpec>> {
        while self.machine.advance()? {}
        let more = self.machine.want() == CursorWant::GetMore;
        Ok(more.then(|| self.there(self.machine.get_more())))
    }

    pub(super) fn fetched(&mut self, reply: Reply) -> Result<()> {
        self.machine.handle_batch(reply)
    }

    pub(super) fn failed(&mut self, error: &Error) {
        self.machine.handle_failure(error);
    }

    /// The command that removes the cursor from its server, if it is still there.
    pub(super) fn kill(&mut self) -> Option<CommandSpec> {
        let spec = self.machine.kill()?;
        Some(self.there(spec))
    }

    fn there(&self, mut spec: CommandSpec) -> CommandSpec {
        spec.target = Target::Server(self.server);
        spec
    }
}
