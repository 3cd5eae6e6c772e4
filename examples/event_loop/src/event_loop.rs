//! The loop: what an engine tells its host to do, and what a host tells its engine.
//!
//! [`EventLoop::turn`] is the whole contract in one place. An engine never acts: it says what it
//! wants done ([`Output`]) and until when it can be left alone; the loop does it through a [`Host`]
//! and reports what came of it ([`Input`]). Three rules make this safe:
//!
//! 1. After **every** fact told to the engine its outputs are taken until there are none, in order.
//!    `EventLoop::settle` is that, and nothing waits before it has run.
//! 2. Then the loop sleeps no longer than the engine's deadline, and tells it when that has come.
//! 3. Every socket is read, whether or not a reply is expected: that is how the end of an idle
//!    connection is noticed.
//!
//! The loop owns no socket and no clock, so it runs unchanged on servers in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use mongo_client_core::{
    auth::DerivedKey,
    conn::IoFault,
    engine::{Command, Engine, Executed, Input, OpId, OpenError, Output, SocketId},
    error::{Error, Result},
    net::ServerAddress,
    options::ClientOptions,
    rng::Entropy,
    settings::Environment,
    time::Instant,
    tls::WallClock,
};

/// How often a socket is read before the others have their turn.
const READS_MAX: usize = 16;

/// How many pieces a write gathers: a message's head and the documents that travel with it.
const SLICES_MAX: usize = 8;

/// The outside world: a clock, sockets, and a way to wait for either.
///
/// Sockets are known by the engine's [`SocketId`], which is never used twice. Calls for a socket
/// that is closed or unknown do nothing.
pub trait Host {
    /// Monotonic time since some moment of the host's choice.
    fn now(&self) -> Instant;

    /// Begins to connect. [`Ready::Opened`] or [`Ready::OpenFailed`] follows, unless it is closed.
    fn open(&mut self, socket: SocketId, address: &ServerAddress, keep_alive: bool);

    /// Closes a socket, or gives up opening it. Nothing more is reported of it.
    fn close(&mut self, socket: SocketId);

    /// Reads what there is; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when there is nothing: [`Ready::Readable`] follows when there
    /// is. Others are failures of the socket.
    fn read(&mut self, socket: SocketId, space: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as fits, at least one byte.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing fits: [`Ready::Writable`] follows when something
    /// does. Others are failures of the socket.
    fn write(&mut self, socket: SocketId, slices: &[&[u8]]) -> io::Result<usize>;

    /// Waits until something is ready, but not beyond `until`. May return early, with nothing.
    ///
    /// # Errors
    ///
    /// When the host cannot wait: then the loop ends.
    fn wait(&mut self, until: Option<Instant>, ready: &mut Vec<Ready>) -> io::Result<()>;
}

/// What a host has to report.
#[derive(Debug)]
pub enum Ready {
    /// A socket is connected.
    Opened(SocketId),
    /// A socket could not be connected, and is closed.
    OpenFailed(SocketId, OpenError),
    /// A socket has bytes, or has ended.
    Readable(SocketId),
    /// A socket takes bytes again.
    Writable(SocketId),
}

/// What the loop still has to do for the engine before it may wait.
enum Chore {
    Derived(SocketId, DerivedKey),
    Write(SocketId),
}

/// An engine and its host.
pub struct EventLoop<H> {
    engine: Engine,
    host: H,
    chores: VecDeque<Chore>,
    /// Results that nobody has taken yet.
    done: BTreeMap<OpId, Result<Executed>>,
    ready: Vec<Ready>,
}

impl<H: Host> EventLoop<H> {
    /// An engine that has been told to connect.
    ///
    /// # Errors
    ///
    /// Invalid options and unusable TLS files; never an unreachable server.
    pub fn new(
        options: ClientOptions,
        environment: Environment,
        entropy: Box<dyn Entropy>,
        wall_clock: WallClock,
        host: H,
    ) -> Result<Self> {
        let engine = Engine::new(options, environment, entropy, wall_clock, host.now())?;
        let mut this = Self {
            engine,
            host,
            chores: VecDeque::new(),
            done: BTreeMap::new(),
            ready: Vec::new(),
        };
        this.settle();
        Ok(this)
    }

    /// The engine, to look at it or for what has no outputs, such as sessions.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The host.
    pub fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// Begins an operation. [`Self::take`] has its result some turns later.
    pub fn submit(&mut self, command: Command) -> OpId {
        let op = self.engine.submit(command, self.host.now());
        self.settle();
        op
    }

    /// Gives an operation up, wherever it is. It leaves no result; its connection is used again
    /// once the reply that was under way has been read past.
    pub fn cancel(&mut self, op: OpId) {
        self.engine.cancel(op, self.host.now());
        self.done.remove(&op);
        self.settle();
    }

    /// The result of an operation, once.
    pub fn take(&mut self, op: OpId) -> Option<Result<Executed>> {
        self.done.remove(&op)
    }

    /// Turns until an operation is over. Everything else goes on meanwhile.
    ///
    /// # Errors
    ///
    /// That of the operation, or of the host.
    pub fn complete(&mut self, op: OpId) -> Result<Executed> {
        loop {
            if let Some(result) = self.take(op) {
                return result;
            }
            self.turn().map_err(Error::io)?;
        }
    }

    /// Begins an operation and turns until it is over.
    ///
    /// # Errors
    ///
    /// As [`Self::complete`].
    pub fn execute(&mut self, command: Command) -> Result<Executed> {
        let op = self.submit(command);
        self.complete(op)
    }

    /// Ends the sessions on the servers and closes everything; turns until that is done.
    ///
    /// # Errors
    ///
    /// That of the host.
    pub fn shut_down(&mut self) -> io::Result<()> {
        self.engine.shutdown(self.host.now());
        self.settle();
        while !self.engine.is_closed() {
            self.turn()?;
        }
        Ok(())
    }

    /// One turn: waits for the outside world, once, and tells the engine what happened.
    ///
    /// # Errors
    ///
    /// That of the host.
    pub fn turn(&mut self) -> io::Result<()> {
        let until = self.engine.poll_timeout().map(|(deadline, _)| deadline);
        let mut ready = std::mem::take(&mut self.ready);
        self.host.wait(until, &mut ready)?;
        for ready in ready.drain(..) {
            self.report(ready);
        }
        // The vector is kept for the next turn.
        self.ready = ready;

        // Bytes come before deadlines: a reply that arrived in time is not late because the loop
        // was busy.
        let now = self.host.now();
        let due = |(deadline, _)| deadline <= now;
        if self.engine.poll_timeout().is_some_and(due) {
            self.engine.handle(Input::Timeout, now);
            self.settle();
        }
        Ok(())
    }

    /// Does everything that the engine wants done.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.obey(output);
            }
            // A chore ends with a fact, and so with outputs: one at a time.
            match self.chores.pop_front() {
                None => return,
                Some(Chore::Derived(conn, key)) => {
                    let derived = Input::Derived { conn, key };
                    self.engine.handle(derived, self.host.now());
                }
                Some(Chore::Write(conn)) => self.write(conn),
            }
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Close { conn } => self.host.close(conn),
            Output::Completed { op, result } => {
                self.done.insert(op, result);
            }
            // About 10 ms of computation, once for each user and server: it could as well be done
            // on another thread, and reported when it is ready.
            Output::Derive { conn, job } => self.chores.push_back(Chore::Derived(conn, job.run())),
            Output::Event(event) => event.deliver(self.engine.options()),
            Output::Open {
                conn,
                address,
                keep_alive,
                ..
            } => self.host.open(conn, &address, keep_alive),
            Output::Write { conn } => self.chores.push_back(Chore::Write(conn)),
            // `Dns` is for `mongodb+srv` strings, whose records are asked of name servers by
            // datagrams. Without an answer such a lookup ends by itself, in time and with an error.
            _ => {}
        }
    }

    fn report(&mut self, ready: Ready) {
        let now = self.host.now();
        match ready {
            Ready::Opened(conn) => self.engine.handle(Input::Opened { conn }, now),
            Ready::OpenFailed(conn, error) => {
                self.engine.handle(Input::OpenFailed { conn, error }, now);
            }
            Ready::Readable(conn) => self.read(conn),
            Ready::Writable(conn) => self.chores.push_back(Chore::Write(conn)),
        }
        self.settle();
    }

    /// Reads into the engine's own space, without a copy in between. TLS, frames and documents are
    /// the engine's business: here they are bytes.
    fn read(&mut self, conn: SocketId) {
        for _ in 0..READS_MAX {
            // None: the engine closed the connection over what it read before.
            let Some(space) = self.engine.read_space(conn) else {
                return;
            };
            match self.host.read(conn, space) {
                Ok(n) => {
                    self.engine.handle_read(conn, n, self.host.now());
                    self.settle();
                    if n == 0 {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fault(conn, &error),
            }
        }
    }

    /// Writes once. What is left comes back as a chore, or when the socket takes bytes again.
    fn write(&mut self, conn: SocketId) {
        let mut slices = [&[][..]; SLICES_MAX];
        let count = self.engine.poll_write(conn, &mut slices);
        if count == 0 {
            return;
        }
        match self.host.write(conn, &slices[..count]) {
            Ok(n) => {
                self.engine
                    .handle(Input::Written { conn, n }, self.host.now());
                self.chores.push_back(Chore::Write(conn));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.chores.push_back(Chore::Write(conn));
            }
            Err(error) => self.fault(conn, &error),
        }
    }

    /// A socket failed. The engine decides what that means: a retry, an error, another server.
    fn fault(&mut self, conn: SocketId, error: &io::Error) {
        let fault = match error.kind() {
            io::ErrorKind::ConnectionReset => IoFault::Reset,
            io::ErrorKind::ConnectionRefused => IoFault::Refused,
            io::ErrorKind::TimedOut => IoFault::TimedOut,
            other => IoFault::Other(other),
        };
        self.engine
            .handle(Input::Fault { conn, fault }, self.host.now());
    }
}
