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

/// What all events of one exchange say.
#[derive(Clone)]
pub struct CommandFacts {
    /// The database.
    pub db: String,
    /// The name of the command.
    pub name: String,
    /// The `requestID` on the wire.
    pub request_id: i32,
    /// The same for all attempts of one operation.
    pub operation_id: OperationId,
    /// The connection.
    pub connection: ConnectionInfo,
    /// The service behind a load balancer.
    pub service_id: Option<bson::oid::ObjectId>,
    /// When the command was about to be sent.
    pub started: Instant,
    /// Whether command and reply are never shown.
    pub secret: bool,
}

/// Builds the events of one exchange: started, then exactly one of succeeded and failed.
///
/// Make one only when somebody listens.
pub struct CommandMonitor(CommandFacts);

/// The name of a command, its first key; empty if it has none.
#[must_use]
pub fn command_name(command: &RawDocument) -> &str {
    match command.iter_elements().next() {
        Some(Ok(element)) => element.key().as_str(),
        _ => "",
    }
}

/// Whether a command carries secrets; hello does when it speculates about authentication.
#[must_use]
pub fn is_secret(command: &RawDocument) -> bool {
    let is = |name: &&str| name.eq_ignore_ascii_case(command_name(command));
    SECRET.iter().any(is)
        || (["hello", "ismaster"].iter().any(is)
            && !matches!(command.get("speculativeAuthenticate"), Ok(None)))
}

/// An error as it may be shown: that of a command with secrets without the server's text and
/// reply.
#[must_use]
pub fn redacted(error: &Error, secret: bool) -> Error {
    match &*error.kind {
        ErrorKind::Command(command) if secret => {
            let mut stripped = command.clone();
            stripped.message = String::from("redacted");
            Error::new(ErrorKind::Command(stripped))
        }
        _ => error.clone(),
    }
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
    /// Takes the facts of a command that is about to be sent.
    #[must_use]
    pub fn new(
        operation: &Operation,
        request: &Request,
        site: ExchangeSite<'_>,
        now: Instant,
    ) -> Self {
        let body = RawDocument::from_bytes(&request.document).ok();
        let hello = site.hello;
        Self(CommandFacts {
            db: operation.spec().db.to_string(),
            // A user's command keeps its own name, which the request does not have.
            name: body.map(command_name).unwrap_or_default().to_owned(),
            request_id: site.exchange.0,
            operation_id: operation.context().operation_id,
            connection: ConnectionInfo::new(
                site.conn.0,
                hello.and_then(|h| h.connection_id),
                site.address.clone(),
            ),
            service_id: hello.and_then(|h| h.service_id),
            started: now,
            // What cannot be read is not shown either.
            secret: body.is_none_or(is_secret),
        })
    }

    /// Takes the facts of a command that is about to be sent, and gives its event.
    #[must_use]
    pub fn started(
        operation: &Operation,
        request: &Request,
        site: ExchangeSite<'_>,
        now: Instant,
    ) -> (Self, CommandStartedEvent) {
        let this = Self::new(operation, request, site, now);
        let event = this.started_event(request);
        (this, event)
    }

    /// What all events of the exchange say.
    #[must_use]
    pub fn facts(&self) -> &CommandFacts {
        &self.0
    }

    /// The event of a command that is about to be sent: copies the command.
    #[must_use]
    pub fn started_event(&self, request: &Request) -> CommandStartedEvent {
        let facts = &self.0;
        CommandStartedEvent {
            command: if facts.secret {
                Document::new()
            } else {
                command_document(request)
            },
            db: facts.db.clone(),
            command_name: facts.name.clone(),
            request_id: facts.request_id,
            operation_id: facts.operation_id,
            connection: facts.connection.clone(),
            service_id: facts.service_id,
        }
    }

    /// The event of a success; unacknowledged commands have no reply.
    #[must_use]
    pub fn succeeded(self, reply: Option<&Reply>, now: Instant) -> CommandSucceededEvent {
        let facts = self.0;
        let reply = match reply {
            _ if facts.secret => Document::new(),
            None => bson::doc! { "ok": 1 },
            Some(reply) => to_document(reply.document()),
        };
        CommandSucceededEvent {
            duration: now - facts.started,
            reply,
            db: facts.db,
            command_name: facts.name,
            request_id: facts.request_id,
            operation_id: facts.operation_id,
            connection: facts.connection,
            service_id: facts.service_id,
        }
    }

    /// The event of a failure.
    #[must_use]
    pub fn failed(self, error: &Error, now: Instant) -> CommandFailedEvent {
        let facts = self.0;
        CommandFailedEvent {
            duration: now - facts.started,
            failure: redacted(error, facts.secret),
            db: facts.db,
            command_name: facts.name,
            request_id: facts.request_id,
            operation_id: facts.operation_id,
            connection: facts.connection,
            service_id: facts.service_id,
        }
    }
}

impl fmt::Debug for CommandFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandFacts({}, {})", self.name, self.operation_id)
    }
}

impl fmt::Debug for CommandMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CommandMonitor({}, {})",
            self.0.name, self.0.operation_id
        )
    }
}

fn to_document(raw: &RawDocument) -> Document {
    nesting::to_document("reply", raw).unwrap_or_default()
}
