//! What the driver needs from an async runtime: clock, entropy, tasks, timers, sockets.
//!
//! The traits are object safe: a client carries an `Arc<dyn Runtime>` and has no type parameter.
//! An adapter dials one address, exchanges datagrams and keeps time; happy eyeballs, TLS and name
//! server retries live above it. Adapters take no decisions.

pub mod adapter;

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
use mongo_client_core::time::{Instant, UnixMillis};

/// Keep-alive: the time before the first probe of an idle connection, as the other drivers set it.
pub const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(120);
/// Keep-alive: the time between two probes.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Keep-alive: the probes without an answer that end a connection.
pub const KEEP_ALIVE_RETRIES: u32 = 9;

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed byte stream.
pub type BoxStream = Box<dyn Stream>;
/// A boxed datagram socket.
pub type BoxDatagram = Box<dyn Datagram>;
/// A piece of pure computation that is long enough to keep off the reactor.
pub type Job = Box<dyn FnOnce() + Send>;

/// A byte stream: any futures-io stream becomes one by an empty `impl`.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Reads at most `most` bytes and appends them to `out`, which has room for them: spares long
    /// replies from being filled with zeros first. `None`, the default: the stream cannot, and is
    /// asked through [`AsyncRead`].
    fn poll_read_append(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        let _ = (cx, out, most);
        None
    }
}

/// A reusable timer, one per link; armed only while a deadline exists.
pub trait Timer: Send {
    /// Moves the deadline, also after the timer has fired. A waker that `poll` kept stays.
    fn reset(&mut self, deadline: Instant);

    /// Ready once the deadline has passed; otherwise the waker is kept, and that of an earlier poll
    /// is forgotten. Pending for ever without a deadline. What follows Ready is open until the next
    /// reset.
    ///
    /// Ready may be early when the runtime is gone: look at the clock.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A datagram socket that is connected to one peer.
pub trait Datagram: Send {
    /// Sends one datagram.
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>>;

    /// Receives one datagram. That the peer is not there may be an error, or silence: whoever waits
    /// sets a limit.
    fn poll_receive(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>>;
}

/// One address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialTarget {
    /// A TCP address. TCP_NODELAY is always set.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Whether keep-alive is on (idle 120 s, interval 10 s, 9 probes at the most).
        keep_alive: bool,
    },
    /// A unix domain socket.
    Unix(PathBuf),
}

/// The runtime is gone: a task could not be spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeGone;

impl fmt::Display for RuntimeGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the async runtime of the client has been shut down")
    }
}

impl std::error::Error for RuntimeGone {}

/// An async runtime.
///
/// A client may outlive its runtime and may be dropped anywhere, so nothing here may panic outside
/// the runtime or after its shutdown, neither these methods nor what they returned:
///
/// - [`now`](Self::now), [`unix_time`](Self::unix_time) and [`entropy`](Self::entropy) go on.
/// - [`spawn`](Self::spawn) answers [`RuntimeGone`] where that can be known.
/// - Futures, streams and datagram sockets answer an [`io::Error`], or work if they do not need the
///   runtime; `offload` is ready. Timers may be ready early.
/// - Whatever was made can be dropped.
///
/// [`adapter`] has the conversions that adapters share.
pub trait Runtime: Send + Sync + 'static {
    /// A short name for messages: `tokio`, `smol`, ...
    fn name(&self) -> &'static str;

    /// The monotonic clock. Adapters count from one zero ([`adapter::instant`]), so that a client
    /// can go on with another runtime when its own is gone.
    fn now(&self) -> Instant;

    /// The wall clock.
    fn unix_time(&self) -> UnixMillis;

    /// Fills `out` with cryptographically secure random bytes.
    fn entropy(&self, out: &mut [u8]);

    /// Runs a task in the background.
    ///
    /// # Errors
    ///
    /// [`RuntimeGone`] when the runtime has been shut down; the task is dropped. A shutdown that
    /// begins meanwhile, or later, drops the task without a word: a task that must not vanish
    /// carries a guard that is dropped with it.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), RuntimeGone>;

    /// The runtime in which a client that was given this one goes on after its shutdown. Asked for
    /// in the context of an operation; `None`, the default: such operations fail.
    fn successor(&self) -> Option<Arc<dyn Runtime>> {
        None
    }

    /// Whether the caller runs in this very runtime, as far as that is known. `false`, the default:
    /// it may run in another, or in none.
    fn is_current(&self) -> bool {
        false
    }

    /// Runs a computation off the reactor; ready when it has run. A job that panicked, or was
    /// dropped because the runtime is gone, counts as run.
    fn offload(&self, job: Job) -> BoxFuture<'static, ()>;

    /// A new timer, not armed.
    fn timer(&self) -> Box<dyn Timer>;

    /// Resolves a host name through the system's resolver.
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;

    /// Opens a stream to one address.
    fn connect(&self, target: DialTarget) -> BoxFuture<'static, io::Result<BoxStream>>;

    /// Opens a datagram socket to one peer.
    fn datagram(&self, peer: SocketAddr) -> BoxFuture<'static, io::Result<BoxDatagram>>;
}

impl fmt::Debug for dyn Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
