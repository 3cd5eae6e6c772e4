//! A replica set in memory: its network, its clock, and members that know a few commands.
//!
//! Whatever could differ between two runs is drawn from one seed: delays, the pieces in which bytes
//! travel, and whether a socket has room. What one member stores all have at once, so every
//! acknowledgement is that of a majority.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
};

use bson::{Bson, Document, doc};
use mongo_client_core::{
    engine::{OpenError, SocketId},
    net::ServerAddress,
    rng::Rng,
    time::Instant,
};
use mongo_client_event_loop::event_loop::{Host, Ready};

const NAMES: [&str; 3] = ["a.test:1", "b.test:1", "c.test:1"];
const MS: u64 = 1_000_000;
/// How long a set is without a primary after a step-down.
const ELECTION_MS: u64 = 700;

/// More turns than any story needs.
const WAITS_MAX: u64 = 1_000_000;

/// What is not as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The longest piece in which bytes travel.
    pub(crate) piece_max: usize,
    /// The inserts that are executed but answered with the end of the connection, once each.
    pub(crate) hangs_up_on: Vec<i32>,
    /// A member that refuses connections.
    pub(crate) unreachable: Option<usize>,
    /// All of them do.
    pub(crate) all_unreachable: bool,
    /// An insert that is acknowledged but not stored.
    pub(crate) forgets: Option<i32>,
    /// Finds are answered with the first document, whatever they ask for.
    pub(crate) answers_with_another: bool,
    /// Whether the primary steps down when it says so.
    pub(crate) steps_down: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            piece_max: 200,
            hangs_up_on: Vec::new(),
            unreachable: None,
            all_unreachable: false,
            forgets: None,
            answers_with_another: false,
            steps_down: true,
        }
    }
}

struct Socket {
    member: usize,
    /// What arrived at the server and is no whole message yet.
    received: Vec<u8>,
    /// What arrived at the client.
    inbox: VecDeque<u8>,
    end: Option<End>,
    /// Until when the last bytes travel, to the server and to the client: none overtake others.
    busy_until: [u64; 2],
}

/// How a connection broke.
#[derive(Clone, Copy)]
enum End {
    Eof,
    Reset,
}

enum Happening {
    AtClient(SocketId, Vec<u8>),
    AtServer(SocketId, Vec<u8>),
    Breaks(SocketId),
    Elects,
    Opens(SocketId, usize),
    Refuses(SocketId),
    TakesBytes(SocketId),
}

/// The host of an event loop, and all there is outside it.
pub(crate) struct Servers {
    script: Script,
    rng: Rng,
    now: u64,
    sockets: BTreeMap<SocketId, Socket>,
    /// What will happen, in the order of its time and then of its coming.
    future: BTreeMap<(u64, u64), Happening>,
    happenings: u64,
    waits: u64,
    trace: Vec<String>,
    set: Set,
}

struct Set {
    primary: Option<usize>,
    last_primary: usize,
    documents: BTreeSet<i32>,
    stored: BTreeMap<i32, u32>,
    /// Retryable writes that were executed: session and number.
    executed: BTreeSet<(Vec<u8>, i64)>,
    cursors: BTreeMap<i64, Vec<i32>>,
    messages: i32,
}

impl Servers {
    pub(crate) fn new(seed: u64, script: Script) -> Self {
        Self {
            script,
            rng: Rng::from_seed(seed),
            now: MS,
            sockets: BTreeMap::new(),
            future: BTreeMap::new(),
            happenings: 0,
            waits: 0,
            trace: Vec::new(),
            set: Set {
                primary: Some(0),
                last_primary: 0,
                documents: BTreeSet::new(),
                stored: BTreeMap::new(),
                executed: BTreeSet::new(),
                cursors: BTreeMap::new(),
                messages: 0,
            },
        }
    }

    pub(crate) fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn stored(&self) -> Vec<u32> {
        self.set.stored.values().copied().collect()
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    fn note(&mut self, what: &str) {
        self.trace.push(format!("{} {what}", self.now));
    }

    fn later(&mut self, at: u64, what: Happening) {
        self.happenings += 1;
        self.future.insert((at, self.happenings), what);
    }

    /// A delay of 0.1 to 3 ms.
    fn delay(&mut self) -> u64 {
        MS / 10 + u64::try_from(self.rng.below(2_900)).unwrap() * 1_000
    }

    /// When bytes that leave now arrive.
    fn arrival(&mut self, id: SocketId, direction: usize) -> u64 {
        let earliest = self.now + self.delay();
        let Some(socket) = self.sockets.get_mut(&id) else {
            return earliest;
        };
        let at = earliest.max(socket.busy_until[direction]);
        socket.busy_until[direction] = at;
        at
    }

    fn happens(&mut self, what: Happening, ready: &mut Vec<Ready>) {
        match what {
            Happening::AtClient(id, bytes) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.inbox.extend(bytes);
                }
            }
            Happening::AtServer(id, bytes) => self.at_server(id, &bytes),
            Happening::Breaks(id) => {
                self.note(&format!("{id} breaks"));
                let end = if self.rng.below(2) == 0 {
                    End::Eof
                } else {
                    End::Reset
                };
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.end = Some(end);
                }
            }
            Happening::Elects => {
                let elected = (self.set.last_primary + 1) % 2;
                self.note(&format!("{} is elected", NAMES[elected]));
                self.set.primary = Some(elected);
                self.set.last_primary = elected;
            }
            Happening::Opens(id, member) => {
                // Closed while it was opening.
                let Some(socket) = self.sockets.get_mut(&id) else {
                    return;
                };
                socket.member = member;
                ready.push(Ready::Opened(id));
            }
            Happening::Refuses(id) => {
                if self.sockets.remove(&id).is_some() {
                    let refused = io::ErrorKind::ConnectionRefused.into();
                    ready.push(Ready::OpenFailed(id, OpenError::Connect(refused)));
                }
            }
            Happening::TakesBytes(id) => ready.push(Ready::Writable(id)),
        }
    }

    fn at_server(&mut self, id: SocketId, bytes: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        socket.received.extend_from_slice(bytes);
        let member = socket.member;
        while let Some((request_id, command)) = self
            .sockets
            .get_mut(&id)
            .and_then(|socket| message(&mut socket.received))
        {
            let name = command.keys().next().cloned().unwrap_or_default();
            self.note(&format!("{} {id} {name}", NAMES[member]));
            let reply = self.answer(member, &name, &command);
            let number = inserted(&command);
            let at = self.arrival(id, 1);
            let breaks = self
                .script
                .hangs_up_on
                .iter()
                .position(|n| Some(*n) == number);
            if let Some(index) = breaks {
                self.script.hangs_up_on.remove(index);
                self.later(at, Happening::Breaks(id));
                return;
            }
            self.set.messages += 1;
            let bytes = encode(self.set.messages, request_id, &reply);
            self.later(at, Happening::AtClient(id, bytes));
        }
    }

    fn answer(&mut self, member: usize, name: &str, command: &Document) -> Document {
        match name {
            "hello" | "ismaster" | "isMaster" => return self.hello(member),
            "endSessions" | "killCursors" => return doc! { "ok": 1 },
            _ if self.set.primary != Some(member) => {
                return doc! {
                    "ok": 0, "code": 10107, "codeName": "NotWritablePrimary",
                    "errmsg": "not primary", "errorLabels": ["RetryableWriteError"],
                };
            }
            _ => {}
        }
        match name {
            "dropDatabase" => {
                self.set.documents.clear();
                doc! { "ok": 1 }
            }
            "find" => self.find(command),
            "getMore" => {
                let id = command.get_i64("getMore").unwrap();
                let left = self.set.cursors.remove(&id).unwrap();
                self.batch(left, batch_size(command), "nextBatch")
            }
            "insert" => self.insert(command),
            "replSetStepDown" => {
                if self.script.steps_down {
                    self.set.primary = None;
                    self.later(self.now + ELECTION_MS * MS, Happening::Elects);
                }
                doc! { "ok": 1 }
            }
            other => panic!("no server knows {other}"),
        }
    }

    fn hello(&self, member: usize) -> Document {
        let primary = self.set.primary == Some(member);
        let mut reply = doc! {
            "ok": 1, "helloOk": true, "minWireVersion": 0, "maxWireVersion": 21,
            "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
            "setName": "rs", "hosts": NAMES.to_vec(), "me": NAMES[member],
            "isWritablePrimary": primary, "secondary": !primary,
        };
        if let Some(primary) = self.set.primary {
            reply.insert("primary", NAMES[primary]);
        }
        reply
    }

    fn insert(&mut self, command: &Document) -> Document {
        let number = inserted(command).unwrap();
        let session = command.get_document("lsid").unwrap().to_vec().unwrap();
        let once = (session, command.get_i64("txnNumber").unwrap());
        if self.set.executed.insert(once) && self.script.forgets != Some(number) {
            if !self.set.documents.insert(number) {
                let error = doc! { "index": 0, "code": 11000, "errmsg": "it is there" };
                return doc! { "ok": 1, "n": 0, "writeErrors": [error] };
            }
            *self.set.stored.entry(number).or_insert(0) += 1;
        }
        doc! { "ok": 1, "n": 1 }
    }

    fn find(&mut self, command: &Document) -> Document {
        let wanted = command.get_document("filter").ok();
        let Some(wanted) = wanted.and_then(|filter| filter.get_i32("_id").ok()) else {
            let all = self.set.documents.iter().copied().collect();
            return self.batch(all, batch_size(command), "firstBatch");
        };
        let wanted = if self.script.answers_with_another {
            0
        } else {
            wanted
        };
        let found = self.set.documents.get(&wanted).copied();
        self.batch(found.into_iter().collect(), 1, "firstBatch")
    }

    fn batch(&mut self, mut numbers: Vec<i32>, size: usize, field: &str) -> Document {
        let left = numbers.split_off(size.min(numbers.len()));
        let documents: Vec<Document> = numbers.iter().map(|n| doc! { "_id": n }).collect();
        let mut id = 0;
        if !left.is_empty() {
            self.set.messages += 1;
            id = 1_000 + i64::from(self.set.messages);
            self.set.cursors.insert(id, left);
        }
        doc! { "ok": 1, "cursor": { "id": id, "ns": "event_loop.numbers", field: documents } }
    }

    fn piece(&mut self, len: usize) -> usize {
        let max = len.min(self.script.piece_max);
        1 + self.rng.below(max)
    }
}

impl Host for Servers {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn open(&mut self, id: SocketId, address: &ServerAddress, _keep_alive: bool) {
        let name = address.to_string();
        let member = NAMES.iter().position(|known| *known == name).unwrap();
        let socket = Socket {
            member,
            received: Vec::new(),
            inbox: VecDeque::new(),
            end: None,
            busy_until: [0; 2],
        };
        assert!(self.sockets.insert(id, socket).is_none(), "{id} twice");
        let at = self.now + self.delay();
        let refuses = self.script.all_unreachable || self.script.unreachable == Some(member);
        let what = if refuses {
            Happening::Refuses(id)
        } else {
            Happening::Opens(id, member)
        };
        self.later(at, what);
    }

    fn close(&mut self, id: SocketId) {
        self.note(&format!("{id} closed"));
        self.sockets.remove(&id);
    }

    fn read(&mut self, id: SocketId, space: &mut [u8]) -> io::Result<usize> {
        let waiting = self.sockets.get(&id).map_or(0, |socket| socket.inbox.len());
        let n = if waiting > 0 {
            self.piece(waiting.min(space.len()))
        } else {
            0
        };
        match self.sockets.get_mut(&id) {
            Some(socket) if n > 0 => {
                for (to, from) in space.iter_mut().zip(socket.inbox.drain(..n)) {
                    *to = from;
                }
                Ok(n)
            }
            Some(socket) => match socket.end {
                None => Err(io::ErrorKind::WouldBlock.into()),
                Some(End::Eof) => Ok(0),
                Some(End::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
            },
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, id: SocketId, slices: &[&[u8]]) -> io::Result<usize> {
        let bytes = slices.concat();
        assert!(!bytes.is_empty(), "{id} writes nothing");
        if self
            .sockets
            .get(&id)
            .is_none_or(|socket| socket.end.is_some())
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.rng.below(4) == 0 {
            let at = self.now + self.delay();
            self.later(at, Happening::TakesBytes(id));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = self.piece(bytes.len());
        let at = self.arrival(id, 0);
        self.later(at, Happening::AtServer(id, bytes[..n].to_vec()));
        Ok(n)
    }

    fn wait(&mut self, until: Option<Instant>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.waits += 1;
        assert!(self.waits < WAITS_MAX, "the loop turns in vain");
        let readable = |socket: &Socket| !socket.inbox.is_empty() || socket.end.is_some();
        let waiting = self.sockets.iter().filter(|(_, socket)| readable(socket));
        ready.extend(waiting.map(|(id, _)| Ready::Readable(*id)));
        if !ready.is_empty() {
            return Ok(());
        }
        let until = until.map(Instant::as_nanos);
        match self.future.first_entry() {
            Some(next) if until.is_none_or(|until| next.key().0 <= until) => {
                let ((at, _), what) = next.remove_entry();
                self.now = self.now.max(at);
                self.happens(what, ready);
            }
            _ => {
                let until = until.expect("a loop that waits for nothing would wait forever");
                assert!(
                    until > self.now,
                    "a deadline does not move: {:?}",
                    self.trace
                );
                self.now = until;
            }
        }
        Ok(())
    }
}

fn batch_size(command: &Document) -> usize {
    let size = command.get("batchSize").and_then(|size| match size {
        Bson::Int32(size) => usize::try_from(*size).ok(),
        Bson::Int64(size) => usize::try_from(*size).ok(),
        _ => None,
    });
    size.expect("a batch has a size")
}

fn inserted(command: &Document) -> Option<i32> {
    command.get_str("insert").ok()?;
    let documents = command.get_array("documents").ok()?;
    documents.first()?.as_document()?.get_i32("_id").ok()
}

/// Takes a whole `OP_MSG` off the front: its id and its body.
fn message(received: &mut Vec<u8>) -> Option<(i32, Document)> {
    let int = |at: usize| Some(i32::from_le_bytes(*received.get(at..)?.first_chunk()?));
    let len = usize::try_from(int(0)?).unwrap();
    let (request_id, code) = (int(4)?, int(12)?);
    if received.len() < len {
        return None;
    }
    assert_eq!(code, 2013, "an OP_MSG");
    let frame: Vec<u8> = received.drain(..len).collect();
    let body = Document::from_reader(&frame[21..]).expect("a document");
    Some((request_id, body))
}

fn encode(id: i32, response_to: i32, reply: &Document) -> Vec<u8> {
    let body = reply.to_vec().unwrap();
    let len = i32::try_from(21 + body.len()).unwrap();
    let mut out = Vec::new();
    for field in [len, id, response_to, 2013, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(&body);
    out
}
