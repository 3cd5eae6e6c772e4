//! Invariant 17b.
//!
//! A session in which the network failed, or a request was given up, is used by no other
//! operation: what the server knows of it is unknown. The client does not even end it.

use std::collections::BTreeMap;

use mongo_client_core::time::Instant;

use super::{
    Part,
    traffic::{Conn, Told},
    wire::Lsid,
};
use crate::swarm::observe::Observation;

#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// The sessions, with the operation in which it happened.
    sessions: BTreeMap<Lsid, u64>,
    /// The session of each operation that waits for a reply.
    waiting: BTreeMap<u64, Lsid>,
}

impl Dirty {
    fn lost(&mut self, conn: &Conn) {
        // A reply that is no message is no network error.
        if let Some(pending) = conn.pending.as_ref().filter(|_| conn.tainted.is_none())
            && let (Some(op), Some(lsid)) = (pending.op, pending.lsid)
        {
            self.waiting.remove(&op);
            self.sessions.insert(lsid, op);
        }
    }
}

impl Part for Dirty {
    fn name(&self) -> &'static str {
        "dirty-session-not-reused"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Dropped { op, .. } => {
                if let Some(lsid) = self.waiting.remove(op) {
                    self.sessions.insert(lsid, *op);
                }
            }
            Observation::Ended { op, .. } => {
                self.waiting.remove(op);
            }
            _ => {}
        }
        Ok(())
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        match what {
            Told::Request { conn, command, .. } => {
                let mut ended = command.ended_sessions.iter();
                if let Some(op) = ended.find_map(|lsid| self.sessions.get(lsid)) {
                    return Err(format!(
                        "connection {}: the session of operation {op} is ended, and it is dirty",
                        conn.number
                    ));
                }
                if let (Some(op), Some(lsid)) = (command.op, command.lsid) {
                    if let Some(first) = self.sessions.get(&lsid).filter(|first| **first != op) {
                        return Err(format!(
                            "operation {op} uses the session of operation {first}, which is dirty"
                        ));
                    }
                    self.waiting.insert(op, lsid);
                }
            }
            Told::Reply { answers, .. } => {
                if let Some(op) = answers.and_then(|pending| pending.op) {
                    self.waiting.remove(&op);
                }
            }
            Told::Gone { conn } => self.lost(conn),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::{Binary, rawdoc, spec::BinarySubtype};

    use super::*;
    use crate::swarm::checks::tests::{Run, message};

    fn lost() -> Run {
        let mut run = Run::of(Dirty::default());
        run.begin(1, |_| {}).unwrap();
        run.dial(1);
        run.ask_in(1, 10, Some(1), 7, None).unwrap();
        run.close(1).unwrap();
        run.dial(2);
        run
    }

    #[test]
    fn a_session_that_another_operation_uses_again_is_found() {
        lost().ask_in(2, 20, Some(1), 7, None).unwrap();
        lost().ask_in(2, 20, Some(2), 8, None).unwrap();
        assert!(lost().ask_in(2, 20, Some(2), 7, None).is_err());
        let mut dropped = Run::of(Dirty::default());
        dropped.begin(1, |_| {}).unwrap();
        dropped.dial(1);
        dropped.ask_in(1, 10, Some(1), 7, None).unwrap();
        dropped.drop_op(1).unwrap();
        dropped.dial(2);
        assert!(dropped.ask_in(2, 20, Some(2), 7, None).is_err());
    }

    #[test]
    fn a_session_that_is_ended_with_the_others_is_found() {
        let id = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![7; 16],
        };
        let document = rawdoc! { "endSessions": [{ "id": id }] };
        let bytes = message(30, 0, 0, &document);
        assert!(lost().client(2, &bytes).is_err());
    }
}
