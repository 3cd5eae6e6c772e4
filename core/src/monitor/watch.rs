//! What monitors and probes have in common: one connection, and requests on it again and again.

use std::time::Duration;

use bson::RawDocument;

use crate::{error::Error, hello::HelloReply, time::Instant, wire::Request};

/// What a monitor or a probe wants from the task that drives it. Asking changes nothing.
#[derive(Clone, Copy, Debug)]
pub enum Want<'a> {
    /// Read the next streamed reply, then [`Watch::handle_reply`]. Probes never want it.
    AwaitReply {
        /// When to call [`Watch::handle_timeout`] instead.
        deadline: Option<Instant>,
    },
    /// Drop the connection, or the attempt to open one, then [`Watch::closed`].
    Close,
    /// Send the request and read one reply, then [`Watch::handle_reply`].
    Exchange {
        /// The request.
        request: &'a Request,
        /// When to call [`Watch::handle_timeout`] instead.
        deadline: Option<Instant>,
    },
    /// Open a connection, then [`Watch::handle_established`] or [`Watch::handle_failure`].
    Open,
    /// Wait, then [`Watch::handle_timeout`]. A connection stays open meanwhile.
    Sleep {
        /// Until when.
        until: Instant,
    },
    /// Drop everything: it has ended.
    Stopped,
}

/// A machine that asks one server again and again, on a connection of its own. Calls that do not fit
/// its state (a reply that comes after a cancellation) change nothing.
pub trait Watch {
    /// What is to be done. It changes only through the other methods.
    fn want(&self) -> Want<'_>;

    /// The connection is open; `rtt` is that of its hello.
    fn handle_established(&mut self, hello: Box<HelloReply>, rtt: Duration, now: Instant);

    /// A reply came; `more_to_come` says that the server sends another one unasked.
    fn handle_reply(&mut self, reply: &RawDocument, more_to_come: bool, now: Instant);

    /// The connection could not be opened, or was lost.
    fn handle_failure(&mut self, error: Error, now: Instant);

    /// The time of a sleep or a deadline has come; harmless when it has not.
    fn handle_timeout(&mut self, now: Instant);

    /// The connection that was to be closed is gone.
    fn closed(&mut self, now: Instant);

    /// Ends it: the server was removed or the client closed.
    fn stop(&mut self, now: Instant);
}
