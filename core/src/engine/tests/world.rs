//! A host of an engine with servers in memory: every act of the host is one step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::{io, sync::Arc, time::Duration};

use bson::{Bson, Document, doc, rawdoc};

use crate::{
    conn::IoFault,
    engine::{
        Command, DnsOutput, Engine, Event, Executed, Input, LookupId, OpId, OpenError, Output,
        SocketId,
    },
    error::{Error, Result},
    net::ServerAddress,
    op::{CommandSpec, Retryability, Target},
    options::ClientOptions,
    read_preference::ReadPreference,
    settings::Environment,
    time::{Instant, UnixMillis},
    wire::{Framer, HEADER_LEN, Header, decode},
};

/// What a server does with a command.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Reply(Document),
    /// No reply, ever.
    Silence,
    /// The connection ends.
    Hangup,
    /// Bytes that are no reply.
    Bytes(Vec<u8>),
}

/// A command that a server got.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) address: String,
    pub(super) conn: SocketId,
    pub(super) request_id: i32,
    pub(super) command: Document,
}

impl Seen {
    pub(super) fn name(&self) -> &str {
        self.command.keys().next().map_or("", String::as_str)
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Option<Answer>>;

#[derive(Default)]
struct Pipe {
    address: String,
    received: Framer,
    /// Bytes on their way to the engine.
    inbox: VecDeque<u8>,
    ended: bool,
}

/// What the host has yet to do.
enum Todo {
    Answer(SocketId),
    Derived(SocketId, crate::auth::DeriveJob),
    Write(SocketId),
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    /// In what pieces bytes travel.
    pub(super) step: usize,
    pub(super) log: Vec<Seen>,
    pub(super) done: BTreeMap<OpId, Result<Executed>>,
    pub(super) events: Vec<Event>,
    /// Members of the set; the first of `primary`. Empty: a standalone.
    pub(super) members: Vec<String>,
    pub(super) primary: String,
    pub(super) rule: Option<Rule>,
    /// Servers that refuse connections.
    pub(super) down: Vec<String>,
    /// Servers to which connections never open.
    pub(super) stuck: Vec<String>,
    pipes: BTreeMap<SocketId, Pipe>,
    opening: BTreeMap<SocketId, String>,
    /// Dials that never end.
    hung: BTreeSet<SocketId>,
    todo: VecDeque<Todo>,
    message: i32,
    /// What lookups wanted.
    pub(super) dns: Vec<(LookupId, DnsOutput)>,
    /// Every `Open` and how it ended.
    pub(super) opened: u32,
    pub(super) ended: u32,
}

pub(super) const ALONE: &str = "db.test:27017";

impl World {
    pub(super) fn new(members: &[&str], change: impl FnOnce(&mut ClientOptions)) -> Self {
        let mut options = ClientOptions::default();
        let hosts = if members.is_empty() {
            &[ALONE][..]
        } else {
            members
        };
        options.hosts = hosts
            .iter()
            .map(|host| ServerAddress::parse(host).unwrap())
            .collect();
        if !members.is_empty() {
            options.repl_set_name = Some("rs".to_owned());
        }
        options.server_selection_timeout = Some(Duration::from_secs(5));
        change(&mut options);
        let mut next = 0_u8;
        let entropy = move |out: &mut [u8]| {
            for byte in out {
                next = next.wrapping_mul(167).wrapping_add(13);
                *byte = next;
            }
        };
        let now = Instant::from_nanos(1_000_000_000);
        let clock = Arc::new(|| UnixMillis(1_700_000_000_000));
        let environment = Environment::default();
        let engine = Engine::new(options, environment, Box::new(entropy), clock, now).unwrap();
        Self {
            engine,
            now,
            step: usize::MAX,
            log: Vec::new(),
            done: BTreeMap::new(),
            events: Vec::new(),
            members: members.iter().map(|m| (*m).to_owned()).collect(),
            primary: hosts[0].to_owned(),
            rule: None,
            down: Vec::new(),
            stuck: Vec::new(),
            pipes: BTreeMap::new(),
            opening: BTreeMap::new(),
            hung: BTreeSet::new(),
            todo: VecDeque::new(),
            message: 0,
            dns: Vec::new(),
            opened: 0,
            ended: 0,
        }
    }

    pub(super) fn alone() -> Self {
        Self::new(&[], |_| {})
    }

    pub(super) fn set_rule(&mut self, rule: impl FnMut(&Seen) -> Option<Answer> + 'static) {
        self.rule = Some(Box::new(rule));
    }

    pub(super) fn submit(&mut self, spec: CommandSpec) -> OpId {
        self.engine.submit(Command::new(spec), self.now)
    }

    /// One act of the host; false when there is nothing to do until time passes.
    pub(super) fn act(&mut self) -> bool {
        if let Some(output) = self.engine.poll_output() {
            self.output(output);
            return true;
        }
        if let Some((&conn, _)) = self.opening.iter().next() {
            let address = self.opening.remove(&conn).unwrap();
            if self.stuck.contains(&address) {
                self.hung.insert(conn);
                return true;
            }
            let input = if self.down.contains(&address) {
                self.ended += 1;
                let error = OpenError::Connect(io::ErrorKind::ConnectionRefused.into());
                Input::OpenFailed { conn, error }
            } else {
                let pipe = Pipe {
                    address,
                    ..Pipe::default()
                };
                self.pipes.insert(conn, pipe);
                Input::Opened { conn }
            };
            self.engine.handle(input, self.now);
            return true;
        }
        if let Some(todo) = self.todo.pop_front() {
            self.todo(todo);
            return true;
        }
        let ready = self
            .pipes
            .iter()
            .find(|(_, p)| !p.inbox.is_empty() || p.ended);
        let Some((&conn, _)) = ready else {
            return false;
        };
        let pipe = self.pipes.get_mut(&conn).unwrap();
        if pipe.inbox.is_empty() {
            pipe.ended = false;
            self.engine.handle(Input::Eof { conn }, self.now);
            return true;
        }
        let n = self.step.min(pipe.inbox.len());
        let bytes: Vec<u8> = pipe.inbox.drain(..n).collect();
        let bytes = &bytes[..];
        let input = Input::Read { conn, bytes };
        self.engine.handle(input, self.now);
        true
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Close { conn } => {
                self.ended += 1;
                let known = self.pipes.remove(&conn).is_some();
                let opening = self.opening.remove(&conn).is_some() || self.hung.remove(&conn);
                assert!(known || opening, "{conn} closed twice");
            }
            Output::Completed { op, result } => {
                assert!(self.done.insert(op, result).is_none(), "{op} twice");
            }
            Output::Derive { conn, job } => self.todo.push_back(Todo::Derived(conn, job)),
            Output::Event(event) => self.events.push(event),
            Output::Open { conn, address, .. } => {
                self.opened += 1;
                self.opening.insert(conn, address.to_string());
            }
            Output::Write { conn } => self.todo.push_back(Todo::Write(conn)),
            Output::Dns { lookup, output } => self.dns.push((lookup, output)),
        }
    }

    fn todo(&mut self, todo: Todo) {
        match todo {
            Todo::Derived(conn, job) => {
                let key = job.run();
                self.engine.handle(Input::Derived { conn, key }, self.now);
            }
            Todo::Write(conn) => self.write(conn),
            Todo::Answer(conn) => self.answer(conn),
        }
    }

    fn write(&mut self, conn: SocketId) {
        let mut slices = [&[][..]; 2];
        if self.engine.poll_write(conn, &mut slices) == 0 {
            return;
        }
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        let space = pipe.received.space();
        let n = self.step.min(slices[0].len()).min(space.len());
        space[..n].copy_from_slice(&slices[0][..n]);
        pipe.received.advance(n);
        self.engine.handle(Input::Written { conn, n }, self.now);
        self.todo.push_front(Todo::Answer(conn));
    }

    /// The server looks at what came; the host goes on writing.
    fn answer(&mut self, conn: SocketId) {
        self.todo.push_front(Todo::Write(conn));
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        let Some(frame) = pipe.received.poll_frame(50_000_000).unwrap() else {
            return;
        };
        let flags = u32::from_le_bytes(*frame.bytes[16..].first_chunk().unwrap());
        let incoming = decode(frame, 50_000_000).unwrap();
        let seen = Seen {
            address: pipe.address.clone(),
            conn,
            request_id: incoming.request_id,
            command: Document::try_from(incoming.reply.document()).unwrap(),
        };
        self.log.push(seen.clone());
        let scripted = self.rule.as_mut().and_then(|rule| rule(&seen));
        let answer = scripted.unwrap_or_else(|| Answer::Reply(self.sensible(&seen)));
        if flags & 2 != 0 {
            return;
        }
        self.message += 1;
        let pipe = self.pipes.get_mut(&conn).unwrap();
        match answer {
            Answer::Reply(reply) => {
                pipe.inbox
                    .extend(message(self.message, incoming.request_id, 0, &reply));
            }
            Answer::Silence => {}
            Answer::Hangup => pipe.ended = true,
            Answer::Bytes(bytes) => pipe.inbox.extend(bytes),
        }
    }

    fn sensible(&self, seen: &Seen) -> Document {
        match seen.name() {
            "hello" | "ismaster" | "isMaster" => self.hello(&seen.address),
            "find" => doc! {
                "cursor": { "firstBatch": [{ "_id": token(seen) }], "id": 0_i64, "ns": "db.c" },
                "ok": 1.0,
            },
            "insert" => doc! { "n": 1, "ok": 1.0 },
            _ => doc! { "ok": 1.0 },
        }
    }

    pub(super) fn hello(&self, address: &str) -> Document {
        let mut reply = doc! {
            "ok": 1.0, "helloOk": true, "minWireVersion": 0, "maxWireVersion": 21,
            "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
        };
        if self.members.is_empty() {
            reply.insert("isWritablePrimary", true);
        } else {
            let primary = address == self.primary;
            reply.insert("setName", "rs");
            reply.insert("hosts", self.members.clone());
            reply.insert("isWritablePrimary", primary);
            reply.insert("secondary", !primary);
            reply.insert("primary", self.primary.clone());
            reply.insert("me", address);
        }
        reply
    }

    /// Acts until there is nothing to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..200_000 {
            if !self.act() {
                self.check();
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Lets time pass, with everything that happens meanwhile.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        for _ in 0..10_000 {
            let Some((at, _)) = self.engine.poll_timeout().filter(|(at, _)| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.engine.handle(Input::Timeout, self.now);
            self.settle();
        }
        panic!("a deadline does not move");
    }

    /// Submits a command and waits for its result, if need be for a minute.
    pub(super) fn execute(&mut self, spec: CommandSpec) -> Result<Executed> {
        let op = self.submit(spec);
        self.wait(op)
    }

    pub(super) fn wait(&mut self, op: OpId) -> Result<Executed> {
        self.settle();
        for _ in 0..600 {
            if let Some(result) = self.done.remove(&op) {
                return result;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("{op} did not complete");
    }

    /// What must always hold when nothing is to be done.
    fn check(&self) {
        let census = self.engine.census();
        let mut connections = 0;
        for (address, counts) in &census.pools {
            assert!(counts.total() <= 100, "{address}: {counts:?}");
            connections += counts.total();
        }
        assert!(census.sockets >= connections, "{census:?}");
        let open = u64::from(self.opened) - u64::from(self.ended);
        assert!(census.sockets as u64 >= open, "{census:?}: {open} open");
    }

    /// Nothing is used by an operation.
    pub(super) fn assert_quiet(&self) {
        let census = self.engine.census();
        for (address, counts) in &census.pools {
            let busy = counts.leased + counts.draining + counts.opening + counts.waiting;
            let busy = busy + counts.pinned;
            assert_eq!(busy, 0, "{address}: {census:?}");
        }
        assert_eq!(census.ops, 0, "{census:?}");
        assert_eq!(census.operations, 0, "{census:?}");
        assert_eq!(census.tickets, 0, "{census:?}");
        assert_eq!(census.lookups, 0, "{census:?}");
    }

    /// Shuts the engine down; nothing at all is left.
    pub(super) fn shut_down(&mut self) {
        self.engine.shutdown(self.now);
        self.pass(Duration::from_secs(3));
        assert!(self.engine.is_closed(), "{:?}", self.engine.census());
        let census = self.engine.census();
        assert_eq!(census.sockets, 0, "{census:?}");
        assert_eq!(census.timers, 0, "{census:?}");
        assert_eq!(census.pools.len(), 0, "{census:?}");
        assert_eq!(self.opened, self.ended, "opened and ended");
        assert!(self.pipes.is_empty());
        self.assert_quiet();
    }

    pub(super) fn seen(&self, name: &str) -> Vec<&Seen> {
        self.log.iter().filter(|seen| seen.name() == name).collect()
    }

    /// Sends a reply of its own accord; gives its id.
    pub(super) fn push(
        &mut self,
        conn: SocketId,
        response_to: i32,
        more: bool,
        reply: &Document,
    ) -> i32 {
        self.message += 1;
        let bytes = message(self.message, response_to, u32::from(more) * 2, reply);
        if let Some(pipe) = self.pipes.get_mut(&conn) {
            pipe.inbox.extend(bytes);
        }
        self.message
    }

    /// Breaks all connections to a server.
    pub(super) fn break_connections(&mut self, address: &str) {
        let conns: Vec<_> = self
            .pipes
            .iter()
            .filter(|(_, pipe)| pipe.address == address)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in conns {
            let fault = IoFault::Reset;
            self.engine.handle(Input::Fault { conn, fault }, self.now);
        }
    }
}

/// An OP_MSG of a server.
pub(super) fn message(id: i32, response_to: i32, flags: u32, document: &Document) -> Vec<u8> {
    let document = document.to_vec().unwrap();
    let header = Header {
        length: HEADER_LEN + 5 + document.len(),
        request_id: id,
        response_to,
        op_code: 2013,
    };
    let mut out = header.to_bytes().unwrap().to_vec();
    out.extend_from_slice(&flags.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&document);
    out
}

pub(super) fn find(id: i32) -> CommandSpec {
    let body = rawdoc! { "find": "c", "filter": { "_id": id } };
    let mut spec = CommandSpec::new("find", "db", body);
    spec.target = Target::Read(ReadPreference::Primary);
    spec.retryability = Retryability::Read;
    spec
}

pub(super) fn insert(id: i32) -> CommandSpec {
    let body = rawdoc! { "insert": "c", "documents": [{ "_id": id }] };
    let mut spec = CommandSpec::new("insert", "db", body);
    spec.retryability = Retryability::Write;
    spec
}

fn token(seen: &Seen) -> Bson {
    let filter = seen.command.get_document("filter");
    filter
        .ok()
        .and_then(|filter| filter.get("_id").cloned())
        .unwrap_or(Bson::Null)
}

/// The `_id` of the only document of a `find`.
pub(super) fn found(executed: &Executed) -> i32 {
    let cursor = executed.reply.document().get_document("cursor").unwrap();
    let batch = cursor.get_array("firstBatch").unwrap();
    batch.get_document(0).unwrap().get_i32("_id").unwrap()
}

pub(super) fn not_primary() -> Answer {
    Answer::Reply(doc! {
        "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary",
        "errorLabels": ["RetryableWriteError"],
    })
}

pub(super) fn text(result: &Result<Executed>) -> String {
    result
        .as_ref()
        .err()
        .map_or_else(String::new, Error::to_string)
}
