//! What an operation needs to know of the connection that it got.

use bson::oid::ObjectId;

use crate::{hello::HelloReply, topology::ServerType};

/// Facts of a connection, from its own handshake.
///
/// Whether sessions are supported is judged here, never by the topology (Sessions: "Driver sessions
/// and connections").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnFacts {
    /// The highest wire version that the server speaks.
    pub max_wire_version: i32,
    /// The largest document.
    pub max_bson_object_size: usize,
    /// The largest message.
    pub max_message_size: usize,
    /// The most writes in one command.
    pub max_write_batch_size: usize,
    /// Whether commands may carry a session.
    pub sessions_supported: bool,
    /// The type of the server.
    pub server_type: ServerType,
    /// The service behind a load balancer.
    pub service_id: Option<ObjectId>,
}

impl ConnFacts {
    /// Whether writes may carry a transaction number (Retryable Writes: "Supported Server
    /// Versions"). A standalone reports sessions, but refuses transaction numbers.
    #[must_use]
    pub fn supports_retryable_writes(&self) -> bool {
        self.sessions_supported && self.server_type != ServerType::Standalone
    }
}

impl From<&HelloReply> for ConnFacts {
    fn from(hello: &HelloReply) -> Self {
        let service_id = hello.service_id;
        Self {
            max_wire_version: hello.max_wire_version,
            max_bson_object_size: hello.max_bson_object_size,
            max_message_size: hello.max_message_size_bytes,
            max_write_batch_size: hello.max_write_batch_size,
            sessions_supported: service_id.is_some() || hello.logical_session_timeout.is_some(),
            server_type: server_type(hello),
            service_id,
        }
    }
}

/// The type of the server that sent a hello reply (SDAM: "Type").
fn server_type(hello: &HelloReply) -> ServerType {
    if hello.service_id.is_some() {
        ServerType::LoadBalancer
    } else if hello.msg.as_deref() == Some("isdbgrid") {
        ServerType::Mongos
    } else if hello.is_replica_set {
        ServerType::RsGhost
    } else if hello.set_name.is_none() {
        ServerType::Standalone
    } else if hello.hidden {
        ServerType::RsOther
    } else if hello.is_writable_primary {
        ServerType::RsPrimary
    } else if hello.secondary {
        ServerType::RsSecondary
    } else if hello.arbiter_only {
        ServerType::RsArbiter
    } else {
        ServerType::RsOther
    }
}
