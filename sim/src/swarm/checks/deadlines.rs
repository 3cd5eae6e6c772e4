//! Invariant 12.
//!
//! An operation with a time limit ends by then, and a reply is awaited for no longer than the
//! socket timeout.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mongo_client_core::time::Instant;

use super::{Part, traffic::Told};
use crate::swarm::{observe::Observation, plan::Plan};

/// How long the reply of an operation that was dropped is awaited.
const DRAIN: Duration = Duration::from_secs(1);
/// What a deadline may be exceeded by: turns of an executor take no time, but yields are drawn.
const SLACK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Op(u64),
    Reply { connection: u64, op: u64 },
}

#[derive(Debug)]
pub(super) struct Deadlines {
    socket_timeout: Option<Duration>,
    due: BTreeSet<(Instant, What)>,
    ops: BTreeMap<u64, Instant>,
    replies: BTreeMap<u64, (Instant, What)>,
}

impl Deadlines {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            socket_timeout: plan.socket_timeout,
            due: BTreeSet::new(),
            ops: BTreeMap::new(),
            replies: BTreeMap::new(),
        }
    }

    fn over(&mut self, op: u64) {
        if let Some(at) = self.ops.remove(&op) {
            self.due.remove(&(at, What::Op(op)));
        }
    }

    /// An operation was dropped: its reply is awaited for as long as a connection drains.
    fn drains(&mut self, op: u64, at: Instant) {
        let asked = |what: &What| matches!(what, What::Reply { op: of, .. } if *of == op);
        let replies: Vec<_> = self.replies.iter().filter(|(_, (_, w))| asked(w)).collect();
        let replies: Vec<_> = replies.into_iter().map(|(c, due)| (*c, *due)).collect();
        for (connection, (by, what)) in replies {
            let due = (by.max(at + DRAIN), what);
            self.answered(connection);
            self.replies.insert(connection, due);
            self.due.insert(due);
        }
    }

    fn answered(&mut self, connection: u64) {
        if let Some(due) = self.replies.remove(&connection) {
            self.due.remove(&due);
        }
    }
}

impl Part for Deadlines {
    fn name(&self) -> &'static str {
        "ends-by-its-deadline"
    }

    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Began(facts) => {
                if let Some(deadline) = facts.deadline {
                    self.ops.insert(facts.op, deadline);
                    self.due.insert((deadline, What::Op(facts.op)));
                }
            }
            Observation::Ended { op, .. } | Observation::Dropped { op, .. } => {
                // An end that is late is told of below, before it is forgotten.
                let late = self.ops.get(op).is_some_and(|by| *by + SLACK < at);
                if !late {
                    self.over(*op);
                }
                if let Observation::Dropped { op, .. } = what {
                    self.drains(*op, at);
                }
            }
            _ => {}
        }
        match self.due.first() {
            Some((by, what)) if *by + SLACK < at => {
                let what = match what {
                    What::Op(op) => format!("operation {op}"),
                    What::Reply { connection, op } => {
                        format!(
                            "operation {op}, which waits for a reply on connection {connection},"
                        )
                    }
                };
                Err(format!("{what} was to end by {by}"))
            }
            _ => Ok(()),
        }
    }

    fn told(&mut self, at: Instant, what: &Told<'_>) -> Result<(), String> {
        match what {
            Told::Request {
                conn,
                message,
                command,
            } => {
                let silent = message.more_to_come;
                if let (false, Some(op), Some(limit)) = (silent, command.op, self.socket_timeout) {
                    let connection = conn.number;
                    let due = (at + limit, What::Reply { connection, op });
                    self.answered(connection);
                    self.replies.insert(connection, due);
                    self.due.insert(due);
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
    use crate::swarm::checks::tests::{Run, ms, plan};

    fn run() -> Run {
        let mut plan = plan();
        plan.socket_timeout = Some(Duration::from_secs(1));
        let mut run = Run::of(Deadlines::new(&plan));
        run.at(0);
        run
    }

    #[test]
    fn an_operation_that_outlives_its_deadline_is_found() {
        let begin = |run: &mut Run| run.begin(1, |f| f.deadline = Some(ms(100))).unwrap();
        let mut late = run();
        begin(&mut late);
        late.at(149);
        late.begin(2, |_| {}).unwrap();
        late.at(151);
        assert!(late.begin(3, |_| {}).is_err());
        let mut late = run();
        begin(&mut late);
        late.at(151);
        assert!(late.fail_op(1).is_err());
        let mut good = run();
        begin(&mut good);
        good.at(100);
        good.fail_op(1).unwrap();
        good.at(500);
        good.begin(2, |_| {}).unwrap();
    }

    #[test]
    fn the_reply_of_a_dropped_operation_is_awaited_for_a_second() {
        for (at, good) in [(1_949, true), (1_951, false)] {
            let mut run = run();
            run.dial(1);
            run.begin(1, |_| {}).unwrap();
            run.ask(1, 10, Some(1)).unwrap();
            run.at(900);
            run.drop_op(1).unwrap();
            run.at(at);
            assert_eq!(run.begin(2, |_| {}).is_ok(), good);
        }
    }

    #[test]
    fn a_reply_that_is_awaited_for_too_long_is_found() {
        for answered in [true, false] {
            let mut run = run();
            run.dial(1);
            run.ask(1, 10, Some(1)).unwrap();
            if answered {
                run.answer(1, 10, &rawdoc! { "ok": 1 }).unwrap();
            }
            run.at(1_051);
            assert_eq!(run.begin(2, |_| {}).is_ok(), answered);
        }
    }
}
