//! Invariant 19.
//!
//! What a client keeps is bounded by its configuration: sockets, sessions, tasks, deadlines, and
//! bytes that it has written but that form no message yet.

use mongo_client_core::time::Instant;

use super::{Part, traffic::Told};
use crate::swarm::{
    observe::{ClientCounts, Observation},
    plan::Plan,
};

/// The largest part of a message that may be left over between two messages: a whole one.
const PARTIAL_MAX: usize = 48_000_000;

#[derive(Debug)]
pub(super) struct Buffers {
    sockets: usize,
    sessions: usize,
    tasks: usize,
    timers: usize,
}

impl Buffers {
    pub(super) fn new(plan: &Plan) -> Self {
        let servers = plan.topology.servers();
        let pool = (plan.max_pool_size + plan.max_connecting) as usize;
        // A pool, its connections that are still being given up, the monitor and its probe.
        let sockets = servers * (pool + plan.max_connecting as usize + 4);
        Self {
            sockets: plan.clients * sockets,
            // Each operation has one; cursors that were dropped keep theirs until they are killed.
            sessions: 4 * plan.concurrency + 1_100,
            // Drains and connections that are being opened have one each, cursors to be killed too.
            tasks: plan.clients * (sockets + 16) + 4 * plan.concurrency + 1_100,
            timers: 2 * sockets + 8 * servers + 2 * plan.concurrency + 1_100,
        }
    }

    fn counted(&self, counts: &ClientCounts) -> Result<(), String> {
        for (name, is, max) in [
            ("sockets", counts.sockets, self.sockets),
            ("sessions", counts.sessions_idle, self.sessions),
            ("tasks", counts.tasks, self.tasks),
            ("deadlines", counts.timers, self.timers),
        ] {
            if is > max {
                let client = counts.client;
                return Err(format!("client {client} has {is} {name}, of {max} at most"));
            }
        }
        Ok(())
    }
}

impl Part for Buffers {
    fn name(&self) -> &'static str {
        "memory-is-bounded"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Counts(counts) => self.counted(counts),
            _ => Ok(()),
        }
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        let (Told::Request { conn, .. } | Told::Reply { conn, .. } | Told::Gone { conn }) = what;
        match conn.partial() {
            n if n > PARTIAL_MAX => Err(format!("connection {}: {n} bytes", conn.number)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::checks::tests::{Run, plan};

    #[test]
    fn a_leak_of_each_kind_is_found() {
        let mut run = Run::of(Buffers::new(&plan()));
        run.counts(|_| {}).unwrap();
        assert!(run.counts(|c| c.sockets = 100_000).is_err());
        assert!(run.counts(|c| c.sessions_idle = 100_000).is_err());
        assert!(run.counts(|c| c.tasks = 100_000).is_err());
        assert!(run.counts(|c| c.timers = 100_000).is_err());
    }
}
