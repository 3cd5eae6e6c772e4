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
    #[inline]
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

/// The type of the server at the other end of this connection.
fn server_type(hello: &HelloReply) -> ServerType {
    match hello.service_id {
        Some(_) => ServerType::LoadBalancer,
        None => ServerType::of(hello),
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};

    use super::*;

    fn facts(mut hello: bson::Document) -> ConnFacts {
        hello.insert("ok", 1);
        ConnFacts::from(&HelloReply::from_document(hello).unwrap())
    }

    #[test]
    fn the_type_follows_the_hello_reply() {
        let service = ObjectId::from_bytes([1; 12]);
        let table = [
            (doc! {}, ServerType::Standalone),
            (doc! { "msg": "isdbgrid" }, ServerType::Mongos),
            (
                doc! { "msg": "isdbgrid", "serviceId": service },
                ServerType::LoadBalancer,
            ),
            (doc! { "isreplicaset": true }, ServerType::RsGhost),
            (
                doc! { "setName": "s", "isWritablePrimary": true },
                ServerType::RsPrimary,
            ),
            (
                doc! { "setName": "s", "secondary": true },
                ServerType::RsSecondary,
            ),
            (
                doc! { "setName": "s", "secondary": true, "hidden": true },
                ServerType::RsOther,
            ),
            (
                doc! { "setName": "s", "arbiterOnly": true },
                ServerType::RsArbiter,
            ),
            (doc! { "setName": "s" }, ServerType::RsOther),
        ];
        for (hello, expected) in table {
            assert_eq!(facts(hello.clone()).server_type, expected, "{hello}");
        }
    }

    #[test]
    fn sessions_need_a_timeout_and_retryable_writes_more_than_a_standalone() {
        let standalone = facts(doc! { "logicalSessionTimeoutMinutes": 30 });
        assert!(standalone.sessions_supported && !standalone.supports_retryable_writes());
        let old = facts(doc! { "msg": "isdbgrid" });
        assert!(!old.sessions_supported && !old.supports_retryable_writes());
        let mongos = facts(doc! { "msg": "isdbgrid", "logicalSessionTimeoutMinutes": 30 });
        assert!(mongos.supports_retryable_writes());
    }
}
