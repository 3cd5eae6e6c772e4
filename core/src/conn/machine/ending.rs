//! How a connection ends, and what its error says.

use std::io;

use super::{Connection, State};
use crate::{
    conn::{ConnError, ConnEvent, Phase},
    error::{Error, ErrorKind},
    marks::{self, Mark},
};

impl Connection {
    pub(super) fn phase(&self) -> Phase {
        match &self.state {
            State::Opening(opening) if !opening.connected => Phase::Connect,
            State::Opening(opening) => opening.handshake.phase(),
            _ => Phase::Established,
        }
    }

    pub(super) fn mark_broken_drain(&self) {
        if let State::Draining { .. } = self.state {
            marks::reached(Mark::DrainBroken);
        }
    }

    pub(super) fn give_up(&mut self) {
        let text = "the command was abandoned";
        self.perish(Error::io(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            text,
        )));
    }

    #[inline]
    pub(super) fn is_parting(&self) -> bool {
        matches!(&self.state, State::Opening(opening) if opening.parting.is_some())
    }

    /// Perishes; but first a server whose handshake failed is told why, if TLS has an alert for it.
    ///
    /// Later alerts are not waited for: nothing but the connect timeout bounds such a wait.
    pub(super) fn part(&mut self, error: Error) {
        match &mut self.state {
            State::Opening(opening) if self.channel.flush_alert() => {
                opening.parting = Some(error);
            }
            _ => self.perish(error),
        }
    }

    /// Says what the end of the stream probably means before the first reply: a server has no
    /// other way to refuse one who speaks TLS or does not, or who has no certificate.
    pub(super) fn explain(&self, error: Error) -> Error {
        let ErrorKind::Io(io) = &*error.kind else {
            return error;
        };
        let end = match io.kind() {
            io::ErrorKind::UnexpectedEof => "closed",
            io::ErrorKind::ConnectionReset => "reset",
            _ => return error,
        };
        let when = match (self.phase(), self.channel.is_secure()) {
            (Phase::Connect, true) => "during the TLS handshake; the server may not speak TLS",
            (Phase::Hello, true) => {
                "after the TLS handshake, before the first reply; the server may require a client \
                 certificate (tlsCertificateKeyFile) or refuse the one it got"
            }
            (Phase::Hello, false) => {
                "before the first reply; the server may require TLS (tls=true)"
            }
            _ => return error,
        };
        Error::io(io::Error::new(
            io.kind(),
            format!("connection {end} {when}"),
        ))
    }

    pub(super) fn perish(&mut self, error: Error) {
        let error = match &mut self.state {
            State::Perished => return,
            // What comes while the alert is written is only a consequence.
            State::Opening(opening) => opening.parting.take().unwrap_or(error),
            _ => error,
        };
        let error = self.explain(error);
        let error = error.with_server(self.config.address.clone());
        let closed = ConnError::new(error, self.phase());
        self.state = State::Perished;
        self.channel.shut();
        self.events.push_back(ConnEvent::Closed(closed));
    }
}
