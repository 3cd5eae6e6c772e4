//! Invariant 6.
//!
//! A reply reaches the request that it answers: nothing is asked on a connection after a message
//! that answers nothing, and what an operation returns was sent in answer to a request of its own.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
};

use mongo_client_core::time::Instant;

use super::{Part, traffic::Told};
use crate::swarm::observe::{Observation, Outcome};

#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Whether there is anybody who tells of bytes.
    armed: bool,
    /// The replies to the requests of each operation that is under way.
    given: BTreeMap<u64, Vec<u64>>,
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

impl Part for Replies {
    fn name(&self) -> &'static str {
        "reply-reaches-its-request"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Began(facts) if facts.acknowledged => {
                self.given.insert(facts.op, Vec::new());
            }
            Observation::Dropped { op, .. } => {
                self.given.remove(op);
            }
            Observation::Ended { op, outcome } => {
                let Some(mut given) = self.given.remove(op) else {
                    return Ok(());
                };
                let Outcome::Done { replies } = outcome else {
                    return Ok(());
                };
                if !self.armed {
                    return Ok(());
                }
                for reply in replies {
                    let digest = digest(reply.as_bytes());
                    let Some(index) = given.iter().position(|g| *g == digest) else {
                        return Err(format!(
                            "operation {op} returns what no server answered to it: {reply:?}"
                        ));
                    };
                    given.swap_remove(index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        match what {
            Told::Request {
                conn,
                message,
                command,
            } => match &conn.tainted {
                Some(why) => Err(format!(
                    "connection {}: request {} ({}) is sent after {why}",
                    conn.number, message.id, command.name
                )),
                None => Ok(()),
            },
            Told::Reply {
                message, answers, ..
            } => {
                self.armed = true;
                let op = answers.and_then(|pending| pending.op);
                if let Some(given) = op.and_then(|op| self.given.get_mut(&op)) {
                    given.push(digest(message.bytes()));
                }
                Ok(())
            }
            Told::Gone { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::swarm::checks::tests::Run;

    #[test]
    fn an_outcome_that_answers_another_operation_is_found() {
        for (outcome, good) in [(1_i64, true), (2, false)] {
            let mut run = Run::of(Replies::default());
            for op in [1, 2] {
                run.begin(op, |_| {}).unwrap();
                run.dial(op);
                run.ask(op, 10, Some(op)).unwrap();
                let reply = rawdoc! { "ok": 1, "n": op as i64 };
                run.answer(op, 10, &reply).unwrap();
            }
            let reply = rawdoc! { "ok": 1, "n": outcome };
            assert_eq!(run.end(1, vec![reply]).is_ok(), good);
        }
    }

    #[test]
    fn a_request_after_a_reply_to_another_one_is_found() {
        let mut run = Run::of(Replies::default());
        run.dial(1);
        run.ask(1, 10, None).unwrap();
        run.answer(1, 9, &rawdoc! { "ok": 1 }).unwrap();
        assert!(run.ask(1, 11, None).is_err());
    }

    #[test]
    fn a_request_after_nonsense_is_found() {
        let mut run = Run::of(Replies::default());
        run.dial(1);
        run.ask(1, 10, None).unwrap();
        run.server(1, &[0xff; 16]).unwrap();
        assert!(run.ask(1, 11, None).is_err());
    }
}
