//! What enters the topology (outcomes of checks, errors of applications) and what leaves it.

use std::{sync::Arc, time::Duration};

use bson::oid::ObjectId;

use super::TopologyView;
use crate::{
    error::Error,
    event::sdam::SdamEvent,
    hello::HelloReply,
    id::{Generation, ServerId},
    net::ServerAddress,
    pool::PoolDirective,
};

/// How a check of a server ended.
#[derive(Clone, Debug)]
pub enum CheckOutcome {
    /// It failed: the network, or a reply with `ok: 0`.
    Failure {
        /// Why; [`Error::is_network_timeout`] decides whether connections in use are interrupted.
        error: Error,
    },
    /// The server answered.
    Success {
        /// The reply.
        hello: Box<HelloReply>,
        /// The round-trip time; `None` for streamed replies, which say nothing about it.
        rtt: Option<Duration>,
    },
}

/// How far a connection was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPhase {
    /// Dialling, or the TLS handshake.
    Connect,
    /// The hello.
    Hello,
    /// Authentication.
    Auth,
    /// The handshake was complete.
    Established,
}

/// An error that a connection of the application met. That its pool was cleared is none: that is the
/// consequence of an error that was told before.
#[derive(Clone, Debug)]
pub struct AppError {
    /// The error, of the network or of a command.
    pub error: Error,
    /// How far the connection was.
    pub phase: ErrorPhase,
    /// The generation of the connection.
    pub generation: Generation,
    /// Behind a load balancer: the service of the connection, once its hello told it.
    pub service_id: Option<ObjectId>,
}

impl AppError {
    /// An error of a connection that is not behind a load balancer.
    #[must_use]
    pub fn new(error: Error, phase: ErrorPhase, generation: Generation) -> Self {
        Self {
            error,
            phase,
            generation,
            service_id: None,
        }
    }
}

/// Why the topology wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyTimer {
    /// The SRV records are to be resolved again.
    SrvRescan,
}

/// What the topology wants to be done. Apply the actions in order.
#[derive(Clone, Debug)]
pub enum TopologyAction {
    /// Create the server's pool (paused, generation 0) and, unless load balanced, its monitor.
    AddServer {
        /// The server.
        id: ServerId,
        /// Its address.
        address: ServerAddress,
    },
    /// Abandon the running check and close the monitor's connection.
    CancelCheck {
        /// The server.
        id: ServerId,
    },
    /// Check the server as soon as the minimum interval allows.
    CheckNow {
        /// The server.
        id: ServerId,
    },
    /// Hand an event to the application's handler, outside all locks.
    Event(SdamEvent),
    /// Bring the server's pool to a state.
    Pool {
        /// The server.
        id: ServerId,
        /// The state.
        directive: PoolDirective,
    },
    /// Store the view and wake those who wait for a server.
    Publish(Arc<TopologyView>),
    /// Stop the server's monitor and close its pool.
    RemoveServer {
        /// The server.
        id: ServerId,
    },
    /// Resolve the SRV records, then call [`Topology::handle_srv`](super::Topology::handle_srv).
    ResolveSrv,
}
