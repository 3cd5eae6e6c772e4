//! A scripted server: real OP_MSG bytes in and out, replies from a closure.

use std::{sync::Arc, time::Duration};

use mongo_client_driver::core::bson::{Document, doc};

use crate::net::{Peer, PeerOutput};

const OP_MSG: i32 = 2013;
const HEADER: usize = 16;
const MORE_TO_COME: i32 = 2;

/// What a scripted server does with a command.
pub enum Scripted {
    /// Answers with a document (after the listener's latency).
    Reply(Document),
    /// Answers with a document after a delay.
    Later(Document, Duration),
    /// Does not answer.
    Silence,
    /// Closes the connection.
    Close,
    /// Resets the connection after a delay.
    Reset(Duration),
    /// Sends raw bytes.
    Raw(Vec<u8>),
    /// Answers an exhaust request: all but the last reply say that more come; each has the time
    /// after which it is sent.
    Stream(Vec<(Document, Duration)>),
}

type Answer = Arc<dyn Fn(u64, &Document) -> Scripted + Send + Sync>;

/// A peer that parses commands and answers by a closure `(connection, command) -> Scripted`.
#[derive(Clone)]
pub struct Script {
    answer: Answer,
}

impl Script {
    /// Wraps the closure. Handshakes reach it as well; see [`hello_reply`].
    pub fn new(answer: impl Fn(u64, &Document) -> Scripted + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
        }
    }

    /// The peer of a connection.
    #[must_use]
    pub fn peer(&self, connection: u64) -> Box<dyn Peer> {
        Box::new(ScriptPeer {
            script: self.clone(),
            connection,
            buffer: Vec::new(),
        })
    }
}

struct ScriptPeer {
    script: Script,
    connection: u64,
    buffer: Vec<u8>,
}

impl Peer for ScriptPeer {
    fn receive(&mut self, bytes: &[u8], out: &mut PeerOutput<'_>) {
        self.buffer.extend_from_slice(bytes);
        while let Some(length) = self.buffer.get(..4) {
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
            if self.buffer.len() < length || length < HEADER {
                return;
            }
            let message: Vec<u8> = self.buffer.drain(..length).collect();
            let Some((request_id, more_to_come, command)) = request_document(&message) else {
                out.reset();
                return;
            };
            let answer = (self.script.answer)(self.connection, &command);
            let encode = |reply: &Document| encode(1, request_id, 0, reply);
            match answer {
                _ if more_to_come => {}
                Scripted::Reply(reply) => out.send(&encode(&reply)),
                Scripted::Later(reply, delay) => out.send_after(&encode(&reply), delay),
                Scripted::Silence => {}
                Scripted::Close => out.close(),
                Scripted::Reset(delay) => out.reset_after(delay),
                Scripted::Raw(bytes) => out.send(&bytes),
                Scripted::Stream(replies) => stream(request_id, &replies, out),
            }
        }
    }
}

/// Parses one OP_MSG: request id, moreToCome, and the command with its sequences as arrays.
#[must_use]
pub fn request_document(message: &[u8]) -> Option<(i32, bool, Document)> {
    let int = |at: usize| {
        message
            .get(at..at + 4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    };
    if int(12)? != OP_MSG {
        return None;
    }
    let flags = int(16)?;
    let mut at = HEADER + 4;
    let mut command = None;
    let mut sequences: Vec<(String, Vec<Document>)> = Vec::new();
    while at < message.len() {
        let kind = message[at];
        at += 1;
        let size = usize::try_from(int(at)?).ok()?;
        let section = message.get(at..at + size)?;
        if kind == 0 {
            command = Some(Document::from_reader(section).ok()?);
        } else {
            let end = section.iter().skip(4).position(|b| *b == 0)? + 4;
            let name = String::from_utf8(section[4..end].to_vec()).ok()?;
            let mut rest = &section[end + 1..];
            let mut documents = Vec::new();
            while !rest.is_empty() {
                documents.push(Document::from_reader(&mut rest).ok()?);
            }
            sequences.push((name, documents));
        }
        at += size;
    }
    let mut command = command?;
    for (name, documents) in sequences {
        command.insert(name, documents);
    }
    Some((int(4)?, flags & MORE_TO_COME != 0, command))
}

fn stream(request_id: i32, replies: &[(Document, Duration)], out: &mut PeerOutput<'_>) {
    let mut answered = request_id;
    for (index, (reply, delay)) in replies.iter().enumerate() {
        let id = answered.wrapping_add(1);
        let flags = if index + 1 < replies.len() {
            MORE_TO_COME
        } else {
            0
        };
        out.send_after(&encode(id, answered, flags, reply), *delay);
        answered = id;
    }
}

fn encode(id: i32, response_to: i32, flags: i32, reply: &Document) -> Vec<u8> {
    let mut body = Vec::new();
    reply
        .to_writer(&mut body)
        .expect("a scripted reply encodes");
    let length = i32::try_from(HEADER + 5 + body.len()).expect("a scripted reply is small");
    let mut out = Vec::with_capacity(HEADER + 5 + body.len());
    for field in [length, id, response_to, OP_MSG, flags] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(&body);
    out
}

/// The hello reply of a standalone server (wire version 17), if the command is a handshake.
#[must_use]
pub fn hello_reply(command: &Document) -> Option<Document> {
    let name = command.keys().next()?;
    if !["hello", "ismaster", "isMaster"].contains(&name.as_str()) {
        return None;
    }
    Some(doc! {
        "helloOk": true,
        "isWritablePrimary": true,
        "ismaster": true,
        "maxBsonObjectSize": 16 * 1024 * 1024,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
        "connectionId": 1,
        "minWireVersion": 0,
        "maxWireVersion": 17,
        "readOnly": false,
        "ok": 1.0,
    })
}

/// The hello reply of a member of the replica set `rs`, if the command is a handshake.
#[must_use]
pub fn member_reply(
    command: &Document,
    hosts: &[&str],
    me: &str,
    primary: &str,
) -> Option<Document> {
    let mut reply = hello_reply(command)?;
    let writable = me == primary;
    reply.extend(doc! {
        "isWritablePrimary": writable,
        "ismaster": writable,
        "secondary": !writable,
        "setName": "rs",
        "setVersion": 1,
        "hosts": hosts,
        "me": me,
        "primary": primary,
    });
    Some(reply)
}
