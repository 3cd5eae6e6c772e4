//! Who asked what on which connection, and what came back.

use std::collections::BTreeMap;

use super::wire::{Command, Lsid, Message, Splitter};
use crate::swarm::observe::Observation;

/// A connection, and what is under way on it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) number: u64,
    /// The request whose reply has not come to its end.
    pub(super) pending: Option<Pending>,
    /// What the server sent that nobody asked for: the connection is of no use any more.
    pub(super) tainted: Option<String>,
    sent: Splitter,
    got: Splitter,
}

/// A request that waits for its reply.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) id: i32,
    /// What the next reply answers: the request or, in a stream, the reply before.
    answers: i32,
    pub(super) op: Option<u64>,
    pub(super) lsid: Option<Lsid>,
}

/// What the traffic tells.
#[derive(Debug)]
pub(super) enum Told<'a> {
    /// The client has sent a request; `conn` is as it was before that.
    Request {
        conn: &'a Conn,
        message: &'a Message<'a>,
        command: &'a Command<'a>,
    },
    /// The client was given a message; `conn` is as it is after that.
    Reply {
        conn: &'a Conn,
        message: &'a Message<'a>,
        /// The request that it answers, if it does.
        answers: Option<&'a Pending>,
    },
    /// The connection is over, with what is under way on it.
    Gone { conn: &'a Conn },
}

#[derive(Debug, Default)]
pub(super) struct Traffic {
    conns: BTreeMap<u64, Conn>,
    /// The last operation of each session: `getMore` has no comment for old servers.
    sessions: BTreeMap<Lsid, u64>,
}

type Tell<'a> = &'a mut dyn FnMut(&Told<'_>) -> Result<(), String>;

impl Traffic {
    pub(super) fn observe(&mut self, what: &Observation<'_>, tell: Tell<'_>) -> Result<(), String> {
        match *what {
            Observation::Dialled { connection, .. } => {
                let conn = Conn {
                    number: connection,
                    pending: None,
                    tainted: None,
                    sent: Splitter::default(),
                    got: Splitter::default(),
                };
                self.conns.insert(connection, conn);
            }
            Observation::DialFailed { connection } => {
                self.conns.remove(&connection);
            }
            Observation::Closed { connection, .. } => {
                if let Some(conn) = self.conns.remove(&connection) {
                    tell(&Told::Gone { conn: &conn })?;
                }
            }
            Observation::ClientBytes { connection, bytes } => {
                if let Some(conn) = self.conns.get_mut(&connection) {
                    sent(conn, &mut self.sessions, bytes, tell)?;
                }
            }
            Observation::ServerBytes { connection, bytes } => {
                if let Some(conn) = self.conns.get_mut(&connection) {
                    got(conn, bytes, tell)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn sent(
    conn: &mut Conn,
    sessions: &mut BTreeMap<Lsid, u64>,
    bytes: &[u8],
    tell: Tell<'_>,
) -> Result<(), String> {
    let mut splitter = std::mem::take(&mut conn.sent);
    splitter.feed(bytes);
    loop {
        let nonsense = |what| format!("connection {}: the client sends {what}", conn.number);
        let Some(message) = splitter.next().map_err(nonsense)? else {
            break;
        };
        let mut command = message.command();
        match (command.op, command.lsid) {
            (Some(op), Some(lsid)) => drop(sessions.insert(lsid, op)),
            (None, Some(lsid)) if command.name == "getMore" => {
                command.op = sessions.get(&lsid).copied();
            }
            _ => {}
        }
        tell(&Told::Request {
            conn,
            message: &message,
            command: &command,
        })?;
        if !message.more_to_come {
            conn.pending = Some(Pending {
                id: message.id,
                answers: message.id,
                op: command.op,
                lsid: command.lsid,
            });
        }
    }
    conn.sent = splitter;
    Ok(())
}

fn got(conn: &mut Conn, bytes: &[u8], tell: Tell<'_>) -> Result<(), String> {
    if conn.tainted.is_some() {
        return Ok(());
    }
    let mut splitter = std::mem::take(&mut conn.got);
    splitter.feed(bytes);
    loop {
        let message = match splitter.next() {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(what) => {
                conn.tainted = Some(what);
                break;
            }
        };
        let answers = conn.pending.take_if(|p| p.answers == message.response_to);
        match &answers {
            None => {
                let to = message.response_to;
                conn.tainted = Some(format!("a reply to {to}, which is not awaited"));
            }
            Some(pending) if message.more_to_come => {
                conn.pending = Some(Pending {
                    answers: message.id,
                    ..pending.clone()
                });
            }
            Some(_) => {}
        }
        tell(&Told::Reply {
            conn,
            message: &message,
            answers: answers.as_ref(),
        })?;
        if conn.tainted.is_some() {
            break;
        }
    }
    conn.got = splitter;
    Ok(())
}

impl Conn {
    /// How many bytes of incomplete messages there are.
    pub(super) fn partial(&self) -> usize {
        self.sent.partial().max(self.got.partial())
    }
}
