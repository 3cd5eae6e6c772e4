//! Command events (specification: "Command Logging and Monitoring").

use std::time::Duration;

use bson::{Document, oid::ObjectId};

use crate::{error::Error, id::OperationId, net::ServerAddress};

/// The connection that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The connection's id in its pool.
    pub id: u32,
    /// The id that the server gave to the connection.
    pub server_id: Option<i64>,
    /// The server.
    pub address: ServerAddress,
}

impl ConnectionInfo {
    /// Creates the description of a connection.
    #[must_use]
    pub fn new(id: u32, server_id: Option<i64>, address: ServerAddress) -> Self {
        Self {
            id,
            server_id,
            address,
        }
    }
}

/// Something happened to a command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CommandEvent {
    /// A command is about to be sent.
    Started(CommandStartedEvent),
    /// A command was answered with success.
    Succeeded(CommandSucceededEvent),
    /// A command failed: at the server or on the way.
    Failed(CommandFailedEvent),
}

/// A command is about to be sent.
#[derive(Clone, Debug)]
pub struct CommandStartedEvent {
    /// The command; empty for commands with secrets. Document sequences stand in it as arrays.
    pub command: Document,
    /// The database.
    pub db: String,
    /// The name of the command.
    pub command_name: String,
    /// The `requestID` on the wire.
    pub request_id: i32,
    /// The same for all attempts of one operation.
    pub operation_id: OperationId,
    /// The connection.
    pub connection: ConnectionInfo,
    /// The service behind a load balancer.
    pub service_id: Option<ObjectId>,
}

/// A command was answered with success.
#[derive(Clone, Debug)]
pub struct CommandSucceededEvent {
    /// From the first byte sent to the last byte received.
    pub duration: Duration,
    /// The reply; empty for commands with secrets, `{ok: 1}` for unacknowledged ones.
    pub reply: Document,
    /// The database.
    pub db: String,
    /// The name of the command.
    pub command_name: String,
    /// The `requestID` on the wire.
    pub request_id: i32,
    /// The same for all attempts of one operation.
    pub operation_id: OperationId,
    /// The connection.
    pub connection: ConnectionInfo,
    /// The service behind a load balancer.
    pub service_id: Option<ObjectId>,
}

/// A command failed: at the server or on the way.
#[derive(Clone, Debug)]
pub struct CommandFailedEvent {
    /// From the first byte sent to the failure.
    pub duration: Duration,
    /// The failure; without the server's reply for commands with secrets.
    pub failure: Error,
    /// The database.
    pub db: String,
    /// The name of the command.
    pub command_name: String,
    /// The `requestID` on the wire.
    pub request_id: i32,
    /// The same for all attempts of one operation.
    pub operation_id: OperationId,
    /// The connection.
    pub connection: ConnectionInfo,
    /// The service behind a load balancer.
    pub service_id: Option<ObjectId>,
}
