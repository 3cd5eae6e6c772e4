//! What enters and leaves a connection.

use std::{fmt, io, time::Duration};

use crate::{
    auth::DeriveJob,
    error::{Error, ErrorKind, RETRYABLE_ERROR, SYSTEM_OVERLOADED_ERROR},
    hello::HelloReply,
    id::ExchangeId,
    time::Instant,
    tls,
    wire::{FrameError, Reply},
};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Commands of the application: authenticates, compresses.
    Application,
    /// The checks of a server: neither authenticates nor compresses.
    Monitor,
    /// Round-trip times only: as a monitor.
    RttProbe,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is being established.
    Opening,
    /// It may [`begin`](super::Connection::begin) an exchange.
    Idle,
    /// A request is being written or its reply awaited.
    Busy,
    /// Replies of an exhaust exchange arrive.
    Streaming,
    /// The reply of an abandoned exchange is awaited.
    Draining,
    /// It is of no use any more.
    Perished,
}

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Dialling and the TLS handshake.
    Connect,
    /// The first command.
    Hello,
    /// Authentication.
    Auth,
    /// Established.
    Established,
}

/// Why a connection ended.
#[derive(Clone, Debug)]
pub struct ConnError {
    /// The error, with the server's address and labels.
    pub error: Error,
    /// How far the connection had come.
    pub phase: Phase,
}

impl ConnError {
    /// An error in a phase; a network error before authentication gets the overload labels.
    ///
    /// Name lookup failures and proxy errors must not come this way: build them from the fields
    /// (CMAP: "Backpressure-enabled").
    #[must_use]
    pub fn new(mut error: Error, phase: Phase) -> Self {
        // Bytes that are no TLS, and certificates, say nothing of the server's load.
        let tls_fault = tls::is_certificate_error(&error)
            || matches!(&*error.kind, ErrorKind::Io(e) if e.kind() == io::ErrorKind::InvalidData);
        if phase <= Phase::Hello && error.is_network() && !tls_fault {
            error.add_label(SYSTEM_OVERLOADED_ERROR);
            error.add_label(RETRYABLE_ERROR);
        }
        Self { error, phase }
    }
}

impl fmt::Display for ConnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Connect => "connecting",
            Phase::Hello => "hello",
            Phase::Auth => "authentication",
            Phase::Established => "established connection",
        };
        write!(f, "{phase}: {}", self.error)
    }
}

impl std::error::Error for ConnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// What happened to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoFault {
    /// The peer reset it.
    Reset,
    /// The operating system gave up waiting.
    TimedOut,
    /// The peer refused the connection.
    Refused,
    /// The pool interrupts connections in use.
    Interrupted,
    /// Anything else.
    Other(io::ErrorKind),
}

impl IoFault {
    /// The kind of the [`io::Error`] that the fault becomes.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Self::Reset => io::ErrorKind::ConnectionReset,
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::Refused => io::ErrorKind::ConnectionRefused,
            Self::Interrupted => io::ErrorKind::Interrupted,
            Self::Other(kind) => kind,
        }
    }
}

/// Why a connection wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnTimer {
    /// `connectTimeoutMS` ends.
    Connect,
    /// The deadline of the exchange.
    Exchange,
    /// An abandoned exchange's reply is no longer awaited.
    Drain,
}

/// What a connection reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnEvent {
    /// The handshake and authentication are done.
    Established {
        /// The server's reply.
        hello: Box<HelloReply>,
        /// How long it took.
        rtt: Duration,
    },
    /// A reply arrived.
    Reply {
        /// The exchange that it belongs to.
        exchange: ExchangeId,
        /// The reply.
        reply: Reply,
        /// Whether further replies follow without a request.
        more_to_come: bool,
    },
    /// A key must be derived: run the job anywhere, then call
    /// [`handle_derived`](super::Connection::handle_derived).
    Derive(DeriveJob),
    /// The connection is of no use any more: exactly once, last.
    Closed(ConnError),
}

/// What becomes of a connection whose exchange was abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It is idle: the exchange was over or not begun on the wire.
    Reusable,
    /// It must be driven until it is idle or perished.
    Drain {
        /// When it perishes.
        until: Instant,
    },
    /// It has perished.
    Close,
}

/// Why an exchange did not begin; nothing was written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BeginError {
    /// The request cannot be put into a message.
    Frame(FrameError),
    /// The connection is not idle.
    NotIdle(Health),
    /// TLS refused to encrypt; the connection has perished.
    Tls(Error),
}

impl fmt::Display for BeginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(e) => write!(f, "{e}"),
            Self::NotIdle(health) => write!(f, "connection is not idle but {health:?}"),
            Self::Tls(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for BeginError {}

impl From<BeginError> for Error {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Frame(e) => e.into(),
            BeginError::NotIdle(_) => Self::internal(error.to_string()),
            BeginError::Tls(e) => e,
        }
    }
}
