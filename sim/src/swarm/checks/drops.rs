//! Invariant 17.
//!
//! What is left of an operation that was given up is cleared away: its connection is answered or
//! closed within a second. (That counts, tickets and sessions are right after it is for the other
//! invariants to say.)

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mongo_client_core::time::Instant;

use super::{Part, traffic::Told};
use crate::swarm::observe::Observation;

/// How long a connection may drain, and some more.
const DRAIN_MAX: Duration = Duration::from_millis(1_050);

#[derive(Debug, Default)]
pub(super) struct Drops {
    /// The connections on which operations wait for replies, and the reverse.
    waiting: BTreeMap<u64, u64>,
    ops: BTreeMap<u64, u64>,
    due: BTreeSet<(Instant, u64)>,
    draining: BTreeMap<u64, Instant>,
}

impl Drops {
    fn answered(&mut self, connection: u64) {
        if let Some(op) = self.ops.remove(&connection) {
            self.waiting.remove(&op);
        }
        if let Some(due) = self.draining.remove(&connection) {
            self.due.remove(&(due, connection));
        }
    }
}

impl Part for Drops {
    fn name(&self) -> &'static str {
        "drops-leave-nothing"
    }

    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String> {
        if let Observation::Dropped { op, .. } = what
            && let Some(connection) = self.waiting.get(op)
        {
            let due = at + DRAIN_MAX;
            self.due.insert((due, *connection));
            self.draining.insert(*connection, due);
        }
        match self.due.first() {
            Some((due, connection)) if *due < at => Err(format!(
                "connection {connection}: the reply to an operation that was dropped is awaited \
                 for more than a second"
            )),
            _ => Ok(()),
        }
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        match what {
            Told::Request {
                conn,
                message,
                command,
            } => {
                self.answered(conn.number);
                if let (false, Some(op)) = (message.more_to_come, command.op) {
                    self.waiting.insert(op, conn.number);
                    self.ops.insert(conn.number, op);
                }
            }
            Told::Reply { conn, .. } | Told::Gone { conn } => self.answered(conn.number),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::swarm::checks::tests::Run;

    #[test]
    fn a_connection_that_drains_for_too_long_is_found() {
        for (answered, good) in [(true, true), (false, false)] {
            let mut run = Run::of(Drops::default());
            run.at(0);
            run.begin(1, |_| {}).unwrap();
            run.dial(1);
            run.ask(1, 10, Some(1)).unwrap();
            run.drop_op(1).unwrap();
            run.at(1_000);
            if answered {
                run.answer(1, 10, &rawdoc! { "ok": 1 }).unwrap();
            }
            run.at(1_051);
            assert_eq!(run.begin(2, |_| {}).is_ok(), good);
        }
    }
}
