//! Invariant 13.
//!
//! No retry storm: attempts for an operation and dials in a second are bounded.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use mongo_client_core::time::Instant;

use super::{Part, traffic::Told};
use crate::swarm::{observe::Observation, plan::Plan};

/// One, one retry, eight that follow the topology, those after an overload, and some that were cut
/// off by the end of a runtime.
const ATTEMPTS_MAX: u32 = 20;
/// With a deadline of its own an operation is retried until then: three hundred times without a
/// pause, and then every ten milliseconds.
const ATTEMPTS_MAX_WITH_DEADLINE: u32 = 5_000;

/// An operation that meets a server which refuses dials asks for a connection at each attempt.
const DIALS_OF_OP: usize = 4;

/// How many of some instants are within the last second; forgets the others.
fn last_second(instants: &mut VecDeque<Instant>, at: Instant) -> usize {
    let old = |first: &Instant| *first + Duration::from_secs(1) < at;
    while instants.front().is_some_and(old) {
        instants.pop_front();
    }
    instants.len()
}

#[derive(Debug)]
pub(super) struct Attempts {
    attempts_max: u32,
    dials_max: usize,
    /// Of each operation that is under way: how often each of its commands was sent.
    attempts: BTreeMap<u64, Vec<(String, u32)>>,
    /// The dials of the last second, by client and server.
    dials: BTreeMap<(usize, Option<usize>), VecDeque<Instant>>,
    /// The operations that have begun in the last second, by client.
    begun: BTreeMap<usize, VecDeque<Instant>>,
}

impl Attempts {
    pub(super) fn new(plan: &Plan) -> Self {
        let pool = plan.max_pool_size as usize + plan.max_connecting as usize;
        Self {
            attempts_max: match plan.deadlines {
                0 => ATTEMPTS_MAX,
                _ => ATTEMPTS_MAX_WITH_DEADLINE,
            },
            // Each dial may fail at once, and each operation that waits then asks for another.
            dials_max: 50 + 4 * (plan.concurrency + pool),
            attempts: BTreeMap::new(),
            dials: BTreeMap::new(),
            begun: BTreeMap::new(),
        }
    }
}

impl Part for Attempts {
    fn name(&self) -> &'static str {
        "no-retry-storm"
    }

    fn observe(&mut self, at: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Began(facts) => {
                self.begun.entry(facts.client).or_default().push_back(at);
            }
            Observation::Ended { op, .. } | Observation::Dropped { op, .. } => {
                self.attempts.remove(op);
            }
            Observation::Dialled { client, server, .. } => {
                let begun = self.begun.entry(*client).or_default();
                let dials_max = self.dials_max + DIALS_OF_OP * last_second(begun, at);
                let dials = self.dials.entry((*client, *server)).or_default();
                dials.push_back(at);
                if last_second(dials, at) > dials_max {
                    return Err(format!(
                        "client {client} dials server {server:?} {} times in a second",
                        dials.len()
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        let Told::Request { command, .. } = what else {
            return Ok(());
        };
        // Of a cursor there are as many as it has batches.
        let Some(op) = command.op.filter(|_| command.name != "getMore") else {
            return Ok(());
        };
        let commands = self.attempts.entry(op).or_default();
        let index = commands.iter().position(|(name, _)| name == command.name);
        let index = index.unwrap_or_else(|| {
            commands.push((String::from(command.name), 0));
            commands.len() - 1
        });
        let attempts = &mut commands[index].1;
        *attempts += 1;
        if *attempts > self.attempts_max {
            return Err(format!(
                "operation {op} sends {} {attempts} times",
                command.name
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::swarm::checks::tests::{Run, plan};

    fn run() -> Run {
        let mut plan = plan();
        (plan.concurrency, plan.max_pool_size, plan.max_connecting) = (1, 1, 1);
        plan.deadlines = 0;
        Run::of(Attempts::new(&plan))
    }

    #[test]
    fn an_operation_that_is_tried_for_ever_is_found() {
        let mut run = run();
        run.dial(1);
        let tried = (1..100).take_while(|id| {
            let sent = run.ask(1, *id, Some(1)).is_ok();
            run.answer(1, *id, &rawdoc! { "ok": 0 }).unwrap();
            sent
        });
        assert_eq!(tried.count(), ATTEMPTS_MAX as usize);
    }

    #[test]
    fn dials_without_a_pause_are_found_and_those_with_pauses_are_not() {
        for (pause, good) in [(0, false), (100, true)] {
            let mut run = run();
            let dialled = (0..200).all(|n| {
                run.at(n * pause);
                run.dial_result(n).is_ok()
            });
            assert_eq!(dialled, good);
        }
    }
}
