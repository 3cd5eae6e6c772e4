//! The whole client as one object for event loops: one owner, no lock, no future, no clock.
//!
//! [`Engine`] holds the same machines as the futures driver (topology, monitors, pools, connections,
//! operations) in tables, and drains them through the same [`route`](crate::route). A host that has
//! sockets and a clock drives it; nothing here does I/O. docs/EMBEDDING.md shows the loop.
//!
//! # Driving it
//!
//! Tell it facts: [`submit`](Engine::submit), [`cancel`](Engine::cancel),
//! [`handle`](Engine::handle). After **every** such call take [`poll_output`](Engine::poll_output)
//! until it is `None`, in order, and then look at [`poll_timeout`](Engine::poll_timeout): no later
//! than at that instant call `handle(Input::Timeout, now)`. `now` must not go back; an earlier one
//! counts as the latest.
//!
//! What the host does for an [`Output`]:
//!
//! | output | the host |
//! |---|---|
//! | `Open` | looks the name up, tries the addresses ([`interleave`]), reports `Opened` or `OpenFailed` |
//! | `Write` | writes what [`poll_write`](Engine::poll_write) offers, reports `Written`, and again until it offers nothing; when the socket is full, waits until it is writable |
//! | `Close` | closes the socket; bytes that were not written are of no use |
//! | `Derive` | runs the job, here or on a thread, and reports `Derived` |
//! | `Dns` | sends datagrams to name servers (`mongodb+srv` only) |
//! | `Completed` | has the result of an operation |
//! | `Event` | hands it to whoever listens |
//!
//! It reads all sockets that are open, whether the engine waits for bytes or not, and reports
//! `Read`, `Eof` and `Fault`.
//!
//! # What is guaranteed
//!
//! 1. Every submitted operation completes exactly once, unless it is cancelled: then never.
//! 2. Every `Open` ends in exactly one of `OpenFailed` (told by the host) and `Close` (told by the
//!    engine).
//! 3. Whatever the servers send, a call returns, and no call panics.
//! 4. The same facts in the same order give the same outputs.
//!
//! # Cursors
//!
//! The host owns them: a [`CursorMachine`](crate::cursor::CursorMachine) is made from the reply of
//! `find`; it says when to fetch, and gives the next [`CommandSpec`](crate::op::CommandSpec), which
//! the host submits with
//! the target [`Target::Server`] of [`Executed::server`] and the session
//! of the first command ([`implicit_session`](Engine::implicit_session)). A cursor that is given up
//! is handed to [`kill_cursor`](Engine::kill_cursor), also after a `getMore` was cancelled.
//!
//! Behind a load balancer only one connection leads to the service that holds a cursor: its commands
//! share a [`pin`](Engine::pin), whose connection is theirs until the server has no cursor any more,
//! or the pin ends.

mod inputs;
mod io;
mod ops;
mod pins;
mod routes;
mod sessions;
mod sockets;
mod start;
mod tables;
#[cfg(test)]
mod tests;
mod timers;
mod watchers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bson::oid::ObjectId;

pub use self::io::{
    Census, Command, DnsInput, DnsOutput, Event, Executed, Input, LookupId, OpId, OpenError,
    Output, PinId, SessionId, SocketId, TimerTag,
};
use self::{
    ops::{Op, Origin},
    pins::Pins,
    sessions::Sessions,
    start::{Lookup, Phase, Running},
    tables::{Tables, Wishes},
};
pub use crate::net::interleave;
use crate::{
    error::Result,
    marks::{self, Mark},
    op::{ObjectIdGenerator, Target},
    options::ClientOptions,
    rng::{Entropy, Rng},
    session::ClusterTime,
    settings::{self, Environment, Settings},
    time::Instant,
    tls::WallClock,
    topology::TopologyDescription,
};

/// The examples of docs/EMBEDDING.md.
#[cfg(doctest)]
#[doc = include_str!("../../docs/EMBEDDING.md")]
struct EmbeddingExamples;

/// More operations of its own than this are not begun: they are best effort, and a bound on memory.
const BACKGROUND_MAX: usize = 1_000;

/// A client for event loops. See the [module](self) for how to drive it.
pub struct Engine {
    options: ClientOptions,
    environment: Environment,
    wall_clock: WallClock,
    entropy: Box<dyn Entropy>,
    rng: Rng,
    object_ids: ObjectIdGenerator,
    /// The latest instant that was told.
    now: Instant,
    phase: Phase,
    /// The configuration until the start; `None` while the hosts are not known.
    ready: Option<Settings>,
    running: Option<Running>,
    lookup: Option<Lookup>,
    tables: Tables,
    /// Boxed: a map moves what it holds.
    ops: BTreeMap<OpId, Box<Op>>,
    /// The operations that wait for a server, in the order of their coming.
    selecting: BTreeSet<OpId>,
    sessions: Sessions,
    pins: Pins,
    cluster_time: Option<ClusterTime>,
    /// Operations of the engine's own.
    background: usize,
    op_last: u64,
    operation_last: i64,
    lookup_last: u64,
}

impl Engine {
    /// Creates an engine. Unless the option `connect` is false it begins to connect at once: take
    /// its outputs.
    ///
    /// `environment` brings the contents of files, `entropy` cryptographically secure random bytes,
    /// `wall_clock` the time against which certificates are checked.
    ///
    /// # Errors
    ///
    /// Invalid options and unusable TLS files; never an unreachable server.
    pub fn new(
        options: ClientOptions,
        environment: Environment,
        mut entropy: Box<dyn Entropy>,
        wall_clock: WallClock,
        now: Instant,
    ) -> Result<Self> {
        let unresolved = options.srv_host.is_some() && options.hosts.is_empty();
        let ready = if unresolved {
            settings::check(&options)?;
            None
        } else {
            let clock = Arc::clone(&wall_clock);
            Some(Settings::new(&options, &environment, clock)?)
        };
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let mut this = Self {
            tables: Tables::new(Wishes::of(&options)),
            object_ids: ObjectIdGenerator::new(&mut *entropy),
            rng: Rng::from_seed(u64::from_le_bytes(seed)),
            options,
            environment,
            wall_clock,
            entropy,
            now,
            phase: Phase::Unstarted,
            ready,
            running: None,
            lookup: None,
            ops: BTreeMap::new(),
            selecting: BTreeSet::new(),
            sessions: Sessions::default(),
            pins: Pins::default(),
            cluster_time: None,
            background: 0,
            op_last: 0,
            operation_last: 0,
            lookup_last: 0,
        };
        if this.options.connect.unwrap_or(true) {
            this.start();
            this.run();
        }
        Ok(this)
    }

    /// Begins an operation; its result leaves by [`Output::Completed`].
    pub fn submit(&mut self, command: Command, now: Instant) -> OpId {
        self.see(now);
        let id = self.next_op();
        if let Err(error) = self.claim(&command, id) {
            let (op, result) = (id, Err(error));
            self.tables
                .outputs
                .push_back(Output::Completed { op, result });
            return id;
        }
        let op = Op::new(id, command, Origin::Caller);
        if self.phase == Phase::Running {
            self.begin_op(op);
        } else {
            self.tables.timers.set(TimerTag::Op(id), op.deadline());
            self.ops.insert(id, op);
            self.start();
        }
        self.run();
        id
    }

    /// Gives an operation up: no [`Output::Completed`] of it follows, and everything it held is
    /// given back. A connection with a reply under way is drained (at most 1 s and 1 MiB) or
    /// closed. Whether a write that was sent is applied is unknown.
    pub fn cancel(&mut self, op: OpId, now: Instant) {
        self.see(now);
        let known = self.ops.get(&op);
        if known.is_some_and(|op| op.origin == Origin::Caller) {
            if let Some(op) = self.ops.remove(&op) {
                self.drop_op(op);
            }
        } else {
            marks::reached(Mark::CancelEngineCompleted);
            let outputs = &mut self.tables.outputs;
            outputs.retain(|out| !matches!(out, Output::Completed { op: id, .. } if *id == op));
        }
        self.run();
    }

    /// What an operation may not share with another.
    fn claim(&mut self, command: &Command, id: OpId) -> Result<()> {
        self.check_open()?;
        command.pin.map_or(Ok(()), |pin| self.pins.check(pin))?;
        if let Some(session) = command.session {
            self.sessions.claim(session, id)?;
        }
        if let Some(pin) = command.pin {
            self.pins.claim(pin, id);
        }
        Ok(())
    }

    /// Sends `killCursors` in the background, best effort, and then ends the cursor's session and
    /// its pin. Its deadline is the engine's.
    ///
    /// The command is that of [`CursorMachine::kill`](crate::cursor::CursorMachine::kill) with the
    /// cursor's server as its target; without such a server nothing is sent. Behind a load balancer
    /// it goes over the cursor's connection, or not at all once that is broken, or while another
    /// operation has it.
    pub fn kill_cursor(&mut self, mut command: Command, now: Instant) {
        self.see(now);
        let known = match command.spec.target {
            Target::Server(id) => self.tables.servers.get(&id).is_some_and(|s| !s.removed),
            _ => false,
        };
        let (session, pin) = (command.session, command.pin);
        command.pin = pin.filter(|pin| self.pins.check(*pin).is_ok());
        let has_way = !self.is_balanced() || command.pin == pin;
        if known && has_way && self.phase == Phase::Running && self.background < BACKGROUND_MAX {
            marks::reached(Mark::CancelEngineCursor);
            let id = OpId(self.op_last + 1);
            command.session = session.filter(|session| self.sessions.claim(*session, id).is_ok());
            if let Some(pin) = command.pin {
                self.pins.claim(pin, id);
            }
            self.background(command, Origin::KillCursor(session));
        } else if let Some(session) = session {
            self.close_session(session);
        }
        if let Some(pin) = pin {
            self.end_pin(pin);
        }
        self.run();
    }

    /// An outside fact enters.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.see(now);
        let now = self.now;
        match input {
            Input::Derived { conn, key } => self.with_conn(conn, |c| c.handle_derived(key, now)),
            Input::Dns { lookup, input } => self.dns_input(lookup, input),
            Input::Eof { conn } => self.with_conn(conn, |c| c.handle_read(0, now)),
            Input::Fault { conn, fault } => self.with_conn(conn, |c| c.handle_fault(fault, now)),
            Input::Opened { conn } => self.opened(conn),
            Input::OpenFailed { conn, error } => self.not_opened(conn, error),
            Input::Read { conn, bytes } => self.read(conn, bytes),
            Input::Timeout => self.timeout(),
            Input::Written { conn, n } => self.with_conn(conn, |c| c.handle_written(n, now)),
        }
        self.run();
    }

    /// The next thing for the host to do; `None` when there is nothing at present.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.tables.outputs.pop_front()
    }

    /// Puts the bytes that a connection has to write next into `out`; returns the number of slices,
    /// 0 for nothing. Report what was written by [`Input::Written`].
    #[must_use]
    pub fn poll_write<'a>(&'a self, conn: SocketId, out: &mut [&'a [u8]]) -> usize {
        let socket = self.tables.sockets.get(&conn);
        let machine = socket.and_then(|socket| socket.conn.as_ref());
        machine.map_or(0, |machine| machine.poll_write(out))
    }

    /// Where the next bytes of a connection can be read to, never empty; then
    /// [`Self::handle_read`]. `None` for a connection that is not open.
    pub fn read_space(&mut self, conn: SocketId) -> Option<&mut [u8]> {
        let socket = self.tables.sockets.get_mut(&conn)?;
        Some(socket.conn.as_mut()?.read_space())
    }

    /// `n` bytes were read into [`Self::read_space`]; 0 is the end of the stream.
    pub fn handle_read(&mut self, conn: SocketId, n: usize, now: Instant) {
        self.see(now);
        let now = self.now;
        self.with_conn(conn, |c| {
            let n = n.min(c.read_space().len());
            c.handle_read(n, now);
        });
        self.run();
    }

    /// When to call [`Self::handle`] with [`Input::Timeout`], and what the first deadline is for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimerTag)> {
        self.tables.timers.first()
    }

    /// Ends the engine: the servers are told which sessions have ended (best effort), then
    /// everything is closed. Operations that wait fail with `Shutdown`; those whose request was
    /// sent still get their reply. After at most 2 s nothing is left: see [`Self::is_closed`].
    pub fn shutdown(&mut self, now: Instant) {
        marks::reached(Mark::CancelEngineShutdown);
        self.see(now);
        self.end();
        self.run();
    }

    /// Whether [`Self::shutdown`] is complete: no operation, connection or deadline is left.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
            && self.ops.is_empty()
            && self.tables.sockets.is_empty()
            && self.tables.servers.is_empty()
    }

    /// What is known of the deployment; `None` before the hosts are known.
    #[must_use]
    pub fn topology(&self) -> Option<&Arc<TopologyDescription>> {
        self.tables.view.as_ref().map(|view| &view.description)
    }

    /// The options; those of the DNS records are part of them once the hosts are known.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// A new document id.
    #[must_use]
    pub fn next_object_id(&self) -> ObjectId {
        self.object_ids.generate((self.wall_clock)())
    }

    /// Time does not go back.
    fn see(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn next_op(&mut self) -> OpId {
        self.op_last += 1;
        OpId(self.op_last)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("phase", &self.phase)
            .field("ops", &self.ops.len())
            .field("sockets", &self.tables.sockets.len())
            .finish_non_exhaustive()
    }
}
