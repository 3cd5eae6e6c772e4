//! The events of one exchange (specification: "Command Logging and Monitoring").

use std::fmt;

use bson::{Document, RawDocument};

use super::command::{
    CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent, ConnectionInfo,
};
use crate::{
    error::{Error, ErrorKind},
    hello::HelloReply,
    id::{ConnId, ExchangeId, OperationId},
    nesting,
    net::ServerAddress,
    op::Operation,
    time::Instant,
    wire::{Reply, Request, command_document},
};

/// Commands whose contents and replies are never shown (section "Security").
const SECRET: [&str; 9] = [
    "authenticate",
    "saslStart",
    "saslContinue",
    "getnonce",
    "createUser",
    "updateUser",
    "copydbgetnonce",
    "copydbsaslstart",
    "copydb",
];

/// Builds the events of one exchange: started, then exactly one of succeeded and failed.
///
/// Make one only when somebody listens: it copies the command.
pub struct CommandMonitor {
    db: String,
    name: String,
    request_id: i32,
    operation_id: OperationId,
    connection: ConnectionInfo,
    service_id: Option<bson::oid::ObjectId>,
    started: Instant,
    secret: bool,
}

/// Whether a command carries secrets; hello does when it speculates about authentication.
fn is_secret(name: &str, command: &Document) -> bool {
    SECRET.iter().any(|s| s.eq_ignore_ascii_case(name))
        || (["hello", "ismaster"]
            .iter()
            .any(|s| s.eq_ignore_ascii_case(name))
            && command.contains_key("speculativeAuthenticate"))
}

/// The connection of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeSite<'a> {
    /// The server.
    pub address: &'a ServerAddress,
    /// The connection.
    pub conn: ConnId,
    /// What its handshake told.
    pub hello: Option<&'a HelloReply>,
    /// The exchange.
    pub exchange: ExchangeId,
}

impl CommandMonitor {
    /// The event of a command that is about to be sent.
    #[must_use]
    pub fn started(
        operation: &Operation,
        request: &Request,
        site: ExchangeSite<'_>,
        now: Instant,
    ) -> (Self, CommandStartedEvent) {
        let command = command_document(request);
        // A user's command keeps its own name, which the request does not have.
        let name = command.keys().next().cloned().unwrap_or_default();
        let secret = is_secret(&name, &command);
        let hello = site.hello;
        let this = Self {
            db: operation.spec().db.to_string(),
            name,
            request_id: site.exchange.0,
            operation_id: operation.context().operation_id,
            connection: ConnectionInfo::new(
                site.conn.0,
                hello.and_then(|h| h.connection_id),
                site.address.clone(),
            ),
            service_id: hello.and_then(|h| h.service_id),
            started: now,
            secret,
        };
        let event = CommandStartedEvent {
            command: if secret { Document::new() } else { command },
            db: this.db.clone(),
            command_name: this.name.clone(),
            request_id: this.request_id,
            operation_id: this.operation_id,
            connection: this.connection.clone(),
            service_id: this.service_id,
        };
        (this, event)
    }

    /// The event of a success; unacknowledged commands have no reply.
    #[must_use]
    pub fn succeeded(self, reply: Option<&Reply>, now: Instant) -> CommandSucceededEvent {
        let reply = match reply {
            _ if self.secret => Document::new(),
            None => bson::doc! { "ok": 1 },
            Some(reply) => to_document(reply.document()),
        };
        CommandSucceededEvent {
            duration: now - self.started,
            reply,
            db: self.db,
            command_name: self.name,
            request_id: self.request_id,
            operation_id: self.operation_id,
            connection: self.connection,
            service_id: self.service_id,
        }
    }

    /// The event of a failure.
    #[must_use]
    pub fn failed(self, error: &Error, now: Instant) -> CommandFailedEvent {
        let failure = match &*error.kind {
            ErrorKind::Command(command) if self.secret => {
                let mut stripped = command.clone();
                stripped.message = String::from("redacted");
                Error::new(ErrorKind::Command(stripped))
            }
            _ => error.clone(),
        };
        CommandFailedEvent {
            duration: now - self.started,
            failure,
            db: self.db,
            command_name: self.name,
            request_id: self.request_id,
            operation_id: self.operation_id,
            connection: self.connection,
            service_id: self.service_id,
        }
    }
}

impl fmt::Debug for CommandMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandMonitor({}, {})", self.name, self.operation_id)
    }
}

fn to_document(raw: &RawDocument) -> Document {
    nesting::to_document("reply", raw).unwrap_or_default()
}
