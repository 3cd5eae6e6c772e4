//! The rolling hash of a run: two runs are the same if and only if their hashes are.
//!
//! It covers the time, the kind, the numbers and lengths of each observation, and a hash of bytes.
//! Bytes are those of the network: what a client encrypts would be hashed as plaintext, because
//! libraries for TLS draw keys of their own.

use mongo_client_core::{
    event::{cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    time::Instant,
};

use super::observe::{Observation, Outcome};

/// The rolling hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Trace {
    pub(super) fn hash(self) -> u64 {
        self.0
    }

    pub(super) fn note(&mut self, at: Instant, what: &Observation<'_>) {
        self.number(at.as_nanos());
        match what {
            Observation::Dialled {
                connection,
                client,
                server,
            } => {
                self.fact(1, *connection);
                self.fact(*client as u64, server.map_or(u64::MAX, |s| s as u64));
            }
            Observation::DialFailed { connection } => self.fact(2, *connection),
            Observation::Connected { connection } => self.fact(3, *connection),
            Observation::ClientBytes { connection, bytes } => {
                self.fact(4, *connection);
                self.bytes(bytes);
            }
            Observation::ServerBytes { connection, bytes } => {
                self.fact(5, *connection);
                self.bytes(bytes);
            }
            Observation::Closed {
                connection,
                by_client,
            } => self.fact(6 + u64::from(*by_client), *connection),
            Observation::Began(facts) => {
                self.fact(8, facts.op);
                self.fact(facts.kind as u64, facts.document.cast_unsigned());
            }
            Observation::Ended { op, outcome } => {
                self.fact(9, *op);
                match outcome {
                    Outcome::Done { replies } => {
                        for reply in replies {
                            self.bytes(reply.as_bytes());
                        }
                    }
                    Outcome::Failed(error) => self.bytes(error.to_string().as_bytes()),
                }
            }
            Observation::Dropped { op, polls } => self.fact(10 + u64::from(*polls), *op),
            Observation::Cmap { client, event } => self.fact(11 + cmap(event), *client as u64),
            Observation::Sdam { client, event } => self.fact(12 + sdam(event), *client as u64),
            Observation::Command { client, event } => {
                self.fact(13 + command(event), *client as u64);
            }
            Observation::Fault { kind } => self.bytes(kind.as_bytes()),
            Observation::Phase(phase) => self.fact(14, *phase as u64),
            Observation::Counts(counts) => {
                self.fact(15, counts.pending as u64);
                self.fact(counts.sockets as u64, counts.sessions_idle as u64);
            }
            Observation::ClientClosed { client } => self.fact(16, *client as u64),
        }
    }

    fn number(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn fact(&mut self, kind: u64, number: u64) {
        self.number(kind);
        self.number(number);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.number(u64::from(*byte));
        }
    }
}

/// Numbers of events are apart from each other by more than there are kinds of observations.
fn cmap(event: &CmapEvent) -> u64 {
    let (kind, id) = match event {
        CmapEvent::PoolCreated(_) => (0, 0),
        CmapEvent::PoolReady(_) => (1, 0),
        CmapEvent::PoolCleared(_) => (2, 0),
        CmapEvent::PoolClosed(_) => (3, 0),
        CmapEvent::ConnectionCreated(e) => (4, e.connection_id),
        CmapEvent::ConnectionReady(e) => (5, e.connection_id),
        CmapEvent::ConnectionClosed(e) => (6, e.connection_id),
        CmapEvent::ConnectionCheckoutStarted(_) => (7, 0),
        CmapEvent::ConnectionCheckoutFailed(_) => (8, 0),
        CmapEvent::ConnectionCheckedOut(e) => (9, e.connection_id),
        CmapEvent::ConnectionCheckedIn(e) => (10, e.connection_id),
        _ => (11, 0),
    };
    (u64::from(id) << 32) + (kind << 8)
}

fn sdam(event: &SdamEvent) -> u64 {
    let kind = match event {
        SdamEvent::ServerOpening(_) => 0,
        SdamEvent::ServerClosed(_) => 1,
        SdamEvent::ServerDescriptionChanged(_) => 2,
        SdamEvent::TopologyOpening(_) => 3,
        SdamEvent::TopologyClosed(_) => 4,
        SdamEvent::TopologyDescriptionChanged(_) => 5,
        SdamEvent::ServerHeartbeatStarted(_) => 6,
        SdamEvent::ServerHeartbeatSucceeded(_) => 7,
        SdamEvent::ServerHeartbeatFailed(_) => 8,
        _ => 9,
    };
    kind << 8
}

fn command(event: &CommandEvent) -> u64 {
    let (kind, id) = match event {
        CommandEvent::Started(e) => (0, e.request_id),
        CommandEvent::Succeeded(e) => (1, e.request_id),
        CommandEvent::Failed(e) => (2, e.request_id),
        _ => (3, 0),
    };
    (u64::from(id.cast_unsigned()) << 32) + (kind << 8)
}
