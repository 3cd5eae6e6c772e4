//! What enters an engine and what leaves it.

use core::net::SocketAddr;
use std::{fmt, io};

use crate::{
    auth::{DeriveJob, DerivedKey},
    conn::IoFault,
    error::Result,
    event::{cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    id::ServerId,
    net::ServerAddress,
    op::CommandSpec,
    options::ClientOptions,
    pool::PoolCounts,
    time::Instant,
    wire::Reply,
};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// An operation that was submitted.
    OpId "op";
    /// A connection of the engine: one [`Output::Open`].
    SocketId "k";
    /// A session of the caller's.
    SessionId "sess";
    /// A DNS lookup.
    LookupId "dns";
    /// The place for a cursor's connection: one [`Engine::pin`](super::Engine::pin).
    PinId "pin";
}

/// A command to execute.
///
/// It is executed with retries, on a server of its own choice.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Command {
    /// The command, and how it is executed.
    pub spec: CommandSpec,
    /// A session of [`Engine::start_session`](super::Engine::start_session) or
    /// [`Engine::implicit_session`](super::Engine::implicit_session); `None`: one for this
    /// operation alone.
    pub session: Option<SessionId>,
    /// When the operation must have ended.
    pub deadline: Option<Instant>,
    /// Of the cursor that the command opens or belongs to, from
    /// [`Engine::pin`](super::Engine::pin): behind a load balancer it keeps its connection.
    pub pin: Option<PinId>,
}

impl Command {
    /// A command with a session of its own and without a deadline.
    #[must_use]
    pub fn new(spec: CommandSpec) -> Self {
        Self {
            spec,
            session: None,
            deadline: None,
            pin: None,
        }
    }

    /// Uses a session.
    #[must_use]
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// Names the pin of the command's cursor.
    #[must_use]
    pub fn with_pin(mut self, pin: PinId) -> Self {
        self.pin = Some(pin);
        self
    }

    /// Sets when the operation must have ended.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// What an operation gives back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Executed {
    /// The reply, checked for `ok: 1`.
    pub reply: Reply,
    /// The server that answered: the target of the cursor's later commands.
    pub server: ServerId,
    /// Its address.
    pub address: ServerAddress,
}

/// Why a connection could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The host name could not be resolved.
    Lookup(io::Error),
    /// No address accepted a connection.
    Connect(io::Error),
}

/// An outside fact. Facts about a connection or lookup that is unknown, or closed, are ignored.
///
/// `Debug` shows no bytes: they may belong to a login.
#[non_exhaustive]
pub enum Input<'a> {
    /// A key that [`Output::Derive`] asked for.
    Derived {
        /// The connection.
        conn: SocketId,
        /// The key.
        key: DerivedKey,
    },
    /// Something of a lookup; see [`DnsInput`].
    Dns {
        /// The lookup.
        lookup: LookupId,
        /// What.
        input: DnsInput<'a>,
    },
    /// The peer ended its side.
    Eof {
        /// The connection.
        conn: SocketId,
    },
    /// The socket failed.
    Fault {
        /// The connection.
        conn: SocketId,
        /// How.
        fault: IoFault,
    },
    /// The connection that [`Output::Open`] asked for is open.
    Opened {
        /// The connection.
        conn: SocketId,
    },
    /// It could not be opened. No [`Output::Close`] follows.
    OpenFailed {
        /// The connection.
        conn: SocketId,
        /// Why.
        error: OpenError,
    },
    /// Bytes came. Without a copy:
    /// [`Engine::read_space`](super::Engine::read_space).
    Read {
        /// The connection.
        conn: SocketId,
        /// The bytes; empty means the end of the stream.
        bytes: &'a [u8],
    },
    /// Time has passed: everything that is due by `now` happens.
    Timeout,
    /// Bytes of [`Engine::poll_write`](super::Engine::poll_write) were written.
    Written {
        /// The connection.
        conn: SocketId,
        /// How many.
        n: usize,
    },
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Derived { conn, .. } => write!(f, "Derived({conn})"),
            Self::Dns { lookup, input } => write!(f, "Dns({lookup}, {input:?})"),
            Self::Eof { conn } => write!(f, "Eof({conn})"),
            Self::Fault { conn, fault } => write!(f, "Fault({conn}, {fault:?})"),
            Self::Opened { conn } => write!(f, "Opened({conn})"),
            Self::OpenFailed { conn, error } => write!(f, "OpenFailed({conn}, {error:?})"),
            Self::Read { conn, bytes } => write!(f, "Read({conn}, {} bytes)", bytes.len()),
            Self::Timeout => f.write_str("Timeout"),
            Self::Written { conn, n } => write!(f, "Written({conn}, {n} bytes)"),
        }
    }
}

/// Something that happened to a lookup.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum DnsInput<'a> {
    /// A datagram came.
    Datagram {
        /// Its sender.
        from: SocketAddr,
        /// The message.
        bytes: &'a [u8],
    },
    /// A datagram could not be sent, or the stream failed or ended.
    Fault {
        /// The name server.
        server: SocketAddr,
        /// What happened, for the error's text.
        message: &'a str,
    },
    /// Bytes came on the stream.
    StreamBytes(&'a [u8]),
    /// The stream is open.
    StreamOpened,
}

/// What the host has to do, in this order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Close a connection, or stop opening it. Nothing of it counts any more.
    Close {
        /// The connection.
        conn: SocketId,
    },
    /// An operation is over.
    Completed {
        /// The operation.
        op: OpId,
        /// Its result.
        result: Result<Executed>,
    },
    /// Run a job, at once or on another thread, and report by [`Input::Derived`]; if it cannot be
    /// run, by [`Input::Fault`].
    Derive {
        /// The connection that waits for it.
        conn: SocketId,
        /// The job: about 10 ms of CPU time.
        job: DeriveJob,
    },
    /// Something to do for a lookup; see [`DnsOutput`].
    Dns {
        /// The lookup.
        lookup: LookupId,
        /// What.
        output: DnsOutput,
    },
    /// Tell the application; only events whose handler is set in the options.
    Event(Event),
    /// Open a connection, and report by [`Input::Opened`] or [`Input::OpenFailed`].
    Open {
        /// Its name from now on.
        conn: SocketId,
        /// Where to. Looking the host name up is the host's part.
        address: ServerAddress,
        /// Whether TCP keep-alive is to be on.
        keep_alive: bool,
        /// When the engine gives up by itself.
        deadline: Option<Instant>,
    },
    /// There are bytes to write: write what [`Engine::poll_write`](super::Engine::poll_write)
    /// offers until it offers nothing. Said once for a connection that had nothing to write.
    Write {
        /// The connection.
        conn: SocketId,
    },
}

/// Something to do for a lookup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DnsOutput {
    /// Close the stream.
    CloseStream,
    /// The lookup is over: close all its sockets.
    End,
    /// Open a stream (TCP), and report by [`DnsInput::StreamOpened`] or [`DnsInput::Fault`].
    OpenStream {
        /// The name server.
        server: SocketAddr,
    },
    /// Send a datagram (UDP); answers come by [`DnsInput::Datagram`].
    SendDatagram {
        /// The name server.
        server: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Write all these bytes to the stream.
    WriteStream {
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// An event for the application.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Of a connection pool.
    Cmap(CmapEvent),
    /// Of a command.
    Command(CommandEvent),
    /// Of the topology or a monitor.
    Sdam(SdamEvent),
}

impl Event {
    /// Hands the event to the handler that the options have for it.
    pub fn deliver(self, options: &ClientOptions) {
        match self {
            Self::Cmap(event) => deliver(options.cmap_event_handler.as_ref(), event),
            Self::Command(event) => deliver(options.command_event_handler.as_ref(), event),
            Self::Sdam(event) => deliver(options.sdam_event_handler.as_ref(), event),
        }
    }
}

fn deliver<T>(handler: Option<&crate::event::EventHandler<T>>, event: T) {
    if let Some(handler) = handler {
        handler.handle(event);
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TimerTag {
    /// The answer of a name server.
    Lookup,
    /// The next check of a server.
    Monitor(ServerId),
    /// A wait of an operation: for a server, a connection, or the end of a pause.
    Op(OpId),
    /// Idle connections of a pool, or its minimum size.
    Pool(ServerId),
    /// The next round-trip time measurement of a server.
    Probe(ServerId),
    /// The end of a shutdown that takes too long.
    Shutdown,
    /// A connection: its opening, the reply that it waits for, a drain.
    Socket(SocketId),
    /// The next lookup of the SRV records.
    Topology,
}

/// What an engine holds, for tests that look for leaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// The pools of the servers, in the order of their ids.
    pub pools: Vec<(ServerAddress, PoolCounts)>,
    /// Operations, those in the background included.
    pub ops: usize,
    /// Operations that have a server.
    pub operations: u32,
    /// Connections of pools, monitors and probes.
    pub sockets: usize,
    /// Checkouts that wait for a connection.
    pub tickets: usize,
    /// Server sessions that are not in use.
    pub sessions_idle: usize,
    /// Sessions of the caller's.
    pub sessions_open: usize,
    /// Pins of the caller's.
    pub pins_open: usize,
    /// Deadlines.
    pub timers: usize,
    /// Lookups.
    pub lookups: usize,
}
