//! What goes into an operation and comes out of it, step by step.

use std::sync::Arc;

use super::Target;
use crate::{
    error::{Error, Result},
    id::{OperationId, ServerId},
    net::ServerAddress,
    options::ServerApi,
    time::Instant,
    topology::{ServerDescription, TopologyType},
    wire::{Reply, Request},
};

/// What an operation takes from its client.
#[derive(Clone, Debug)]
pub struct OperationContext {
    /// Identifies the operation's attempts in command events.
    pub operation_id: OperationId,
    /// `retryReads`.
    pub retry_reads: bool,
    /// `retryWrites`.
    pub retry_writes: bool,
    /// `maxAdaptiveRetries`.
    pub max_adaptive_retries: u32,
    /// `enableOverloadRetargeting`.
    pub enable_overload_retargeting: bool,
    /// The stable API to declare.
    pub server_api: Option<ServerApi>,
    /// When the operation must have ended (specification: "Client Side Operations Timeout").
    pub deadline: Option<Instant>,
}

/// The server that was selected.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Its id.
    pub server: ServerId,
    /// Its address.
    pub address: Arc<ServerAddress>,
    /// As it was described.
    pub description: Arc<ServerDescription>,
    /// The type of the topology that it was selected from.
    pub topology_type: TopologyType,
}

/// What the operation waits for.
#[derive(Debug)]
pub enum Want<'a> {
    /// Select a server, then call [`Operation::selected`](super::Operation::selected).
    Server {
        /// What kind of server.
        target: &'a Target,
        /// Servers to use only if there is no other.
        deprioritized: &'a [ServerAddress],
    },
    /// Check out a connection, then call [`Operation::checked_out`](super::Operation::checked_out).
    Lease(ServerId),
    /// Send the request, then call [`Operation::replied`](super::Operation::replied) or [`Operation::replied_nothing`](super::Operation::replied_nothing).
    Exchange(&'a Request),
    /// Check the connection in, wait, then call [`Operation::resumed`](super::Operation::resumed).
    Pause {
        /// How long to wait.
        until: Instant,
    },
    /// Nothing: the operation is over.
    Nothing,
}

/// What came of a reply or failure.
#[derive(Debug)]
pub enum Progress {
    /// Go on with [`Operation::want`](super::Operation::want).
    Continue,
    /// The operation is over.
    Done(Result<Reply>),
}

/// How far an attempt came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No server was found.
    Selection,
    /// No connection was had, or its handshake failed.
    Checkout,
    /// The exchange failed.
    Exchange {
        /// Whether any byte of the request may have reached the server.
        sent: bool,
    },
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// Where.
    pub stage: Stage,
}
