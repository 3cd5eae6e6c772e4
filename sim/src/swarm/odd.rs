//! Replies that a healthy server does not give, and those of old servers.
//!
//! The fail point of the simulated servers has the shapes of the real one. What it cannot say is said
//! here: documents that a primary refuses because it is one no more, errors that are told by their text
//! alone, labels that only some servers give, and hellos that fail.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bson::{Document, doc, oid::ObjectId};

use crate::{
    Command, Scene,
    choices::Choices,
    script::{hello_reply, member_reply},
    server::Seen,
};

/// The wire version of the servers that are old: MongoDB 4.2.
const OLD_WIRE: i32 = 8;

/// The length of replies that are too long to be read for nobody.
const LONG: usize = 1_100_000;

/// The length of a message of `Shape::Round`, and how much of it is no document.
const ROUND: usize = 1_000;
const AROUND: usize = 21;

/// A reply that is given a few times.
#[derive(Clone, Debug)]
pub(super) struct Odd {
    shape: Shape,
    code: i32,
    times: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A hello is answered with an error.
    Hello,
    /// A read comes before there is a majority.
    NoMajority,
    /// A write that was not performed.
    NotPerformed,
    /// A login fails.
    Login,
    /// A write that could not be replicated, without the label that says so.
    OldConcern,
    /// A write that was interrupted, without the label that says so.
    OldWrite,
    /// Documents are refused.
    Refused,
    /// An error without a code.
    Text,
    /// Another process answers each time, and it is no primary yet.
    Restless,
    /// A reply is as long as the turns that a connection is given at once are many.
    Round,
    /// A reply is longer than one that is worth to be read for nobody.
    Long,
}

impl Odd {
    pub(super) fn draw(choices: &mut dyn Choices) -> Self {
        let shapes = [
            Shape::Hello,
            Shape::NoMajority,
            Shape::NotPerformed,
            Shape::Login,
            Shape::OldConcern,
            Shape::OldWrite,
            Shape::Refused,
            Shape::Text,
            Shape::Restless,
            Shape::Long,
        ];
        let shape = shapes[choices.draw("odd shape", shapes.len() as u64) as usize];
        // A change of the server's state, or an error that is none.
        let plain = if shape == Shape::Login { 18 } else { 8 };
        let code = [91, plain][choices.draw("odd code", 2) as usize];
        let times = 1 + choices.draw("odd times", 5);
        Self {
            shape,
            code,
            times: if shape == Shape::Restless {
                times * 8
            } else {
                times
            },
        }
    }

    /// Replies that are read to their end in the last turn, when each turn reads a byte.
    pub(super) fn round() -> Self {
        Self {
            shape: Shape::Round,
            code: 0,
            times: 64,
        }
    }

    /// Replies that are longer than what is read for nobody.
    pub(super) fn long() -> Self {
        Self {
            shape: Shape::Long,
            code: 0,
            times: 4,
        }
    }

    fn applies(&self, command: &Command) -> bool {
        let name = command.name();
        let writes = ["delete", "findAndModify", "insert", "update"].contains(&name);
        match self.shape {
            Shape::Hello => ["hello", "isMaster", "ismaster"].contains(&name),
            Shape::Login => ["saslContinue", "saslStart"].contains(&name),
            Shape::NoMajority => name == "find",
            // Of these alone the reply has room for the documents' errors.
            Shape::Refused => writes && name != "findAndModify",
            Shape::NotPerformed | Shape::OldConcern | Shape::OldWrite => writes,
            Shape::Restless | Shape::Text => writes || name == "find",
            // What others read is checked.
            Shape::Long | Shape::Round => name == "find" && !command.contains_key("readConcern"),
        }
    }

    fn reply(&self, command: &Command) -> Document {
        let error = |code: i32| doc! { "ok": 0.0, "code": code, "errmsg": "odd" };
        match self.shape {
            Shape::Hello | Shape::Login => error(self.code),
            Shape::NoMajority => error(134),
            Shape::OldConcern => doc! {
                "ok": 1.0, "n": 0, "writeConcernError": { "code": 91, "errmsg": "odd" },
            },
            Shape::OldWrite => error(91),
            Shape::NotPerformed => {
                let mut reply = error(91);
                let labels = vec!["RetryableWriteError", "NoWritesPerformed"];
                reply.insert("errorLabels", labels);
                reply
            }
            Shape::Refused => doc! {
                "ok": 1.0, "n": 0,
                "writeErrors": [{ "index": 0, "code": 10_107, "errmsg": "not primary" }],
            },
            Shape::Restless => {
                let mut process = [0; 12];
                process[4..].copy_from_slice(&self.times.to_be_bytes());
                let process = ObjectId::from_bytes(process);
                let mut reply = error(10_107);
                let version = doc! { "processId": process, "counter": 1_i64 };
                reply.insert("topologyVersion", version);
                reply.insert("errorLabels", vec!["RetryableWriteError"]);
                reply
            }
            Shape::Long | Shape::Round => {
                let name = command.get_str("find").unwrap_or_default();
                let namespace = format!("db.{name}");
                let mut reply = doc! {
                    "ok": 1.0, "pad": "",
                    "cursor": { "id": 0_i64, "ns": namespace, "firstBatch": [] },
                };
                let len = match self.shape {
                    Shape::Long => LONG,
                    _ => ROUND - AROUND - reply.to_vec().map_or(0, |bytes| bytes.len()),
                };
                reply.insert("pad", "x".repeat(len));
                reply
            }
            Shape::Text => doc! { "ok": 0.0, "errmsg": "not master" },
        }
    }
}

/// What the hook of a server asks. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Oddities(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    odd: Option<Odd>,
    /// The server is old, and this is its address if it is in a set.
    old: Option<Option<String>>,
}

impl Oddities {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, odd: Option<Odd>) {
        self.lock().odd = odd;
    }

    /// Lets the server say that it is old; `member` is its address if it is the only member of a
    /// set.
    pub(super) fn grow_old(&self, member: Option<String>) {
        self.lock().old = Some(member);
    }

    pub(super) fn answer(&self, seen: Seen<'_>) -> Option<Scene> {
        let mut state = self.lock();
        if let Some(odd) = &mut state.odd
            && odd.applies(seen.command)
            && seen.command.get_str("$db").is_some()
        {
            let reply = odd.reply(seen.command);
            odd.times -= 1;
            if odd.times == 0 {
                state.odd = None;
            }
            return Some(Scene::Reply(reply, Duration::ZERO));
        }
        let member = state.old.as_ref()?;
        if !["hello", "isMaster", "ismaster"].contains(&seen.command.name()) {
            return None;
        }
        let mut reply = match member {
            Some(me) => member_reply(&seen.command.to_document(), &[me], me, me)?,
            None => hello_reply(&seen.command.to_document())?,
        };
        reply.insert("maxWireVersion", OLD_WIRE);
        Some(Scene::Reply(reply, Duration::ZERO))
    }
}
