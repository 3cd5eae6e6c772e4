//! What a network needs of simulated servers, one or several.

use mongo_client_core::time::Instant;

use crate::{Output, SimServer};

/// Servers that bytes can be carried to and from, over a simulated network or a real one.
///
/// After every call the caller takes all outputs, and sees to it that
/// [`handle_timeout`](Self::handle_timeout) is called at [`poll_timeout`](Self::poll_timeout).
pub trait Deployment: Send {
    /// The servers' addresses.
    fn addresses(&self) -> Vec<String>;

    /// Whether the server at a place in the list of addresses takes connections.
    fn listens(&self, server: usize) -> bool {
        let _ = server;
        true
    }

    /// A client dials the server at a place in the list of addresses; false when nobody listens.
    /// The connection's number must be new.
    fn accept(&mut self, server: usize, connection: u64, now: Instant) -> bool;

    /// A client has closed its connection.
    fn hang_up(&mut self, connection: u64, now: Instant);

    /// Bytes of a client have come.
    fn receive(&mut self, connection: u64, bytes: &[u8], now: Instant);

    /// The next thing to send.
    fn poll_output(&mut self) -> Option<Output>;

    /// When something is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Cuts some servers off from the others, which reach each other; none: all reach all.
    fn part(&mut self, servers: &[usize], now: Instant) {
        let _ = (servers, now);
    }

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
}

impl Deployment for SimServer {
    fn addresses(&self) -> Vec<String> {
        vec![self.address().to_owned()]
    }

    fn accept(&mut self, _server: usize, connection: u64, _now: Instant) -> bool {
        Self::accept(self, connection);
        true
    }

    fn hang_up(&mut self, connection: u64, _now: Instant) {
        Self::hang_up(self, connection);
    }

    fn receive(&mut self, connection: u64, bytes: &[u8], now: Instant) {
        Self::receive(self, connection, bytes, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
    }
}
