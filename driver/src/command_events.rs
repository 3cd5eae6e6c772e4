//! Command events (specification: "Command Logging and Monitoring"): built only when somebody
//! listens.

use bson::{Document, RawDocument};
use mongo_client_core::{
    error::{Error, ErrorKind},
    event::command::{
        CommandEvent, CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent,
        ConnectionInfo,
    },
    id::{ExchangeId, OperationId},
    nesting,
    op::Operation,
    time::Instant,
    wire::{Reply, Request, command_document},
};

use crate::{lease::Lease, shared::Shared};

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

/// The facts that all events of one exchange share.
pub(crate) struct CommandMonitor {
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

impl CommandMonitor {
    /// Tells of a command that is about to be sent.
    pub(crate) fn started(
        shared: &Shared,
        operation: &Operation,
        request: &Request,
        lease: &mut Lease,
        exchange: ExchangeId,
    ) -> Self {
        let command = command_document(request);
        // A user's command keeps its own name, which the request does not have.
        let name = command.keys().next().cloned().unwrap_or_default();
        let secret = is_secret(&name, &command);
        let address = lease.address().clone();
        let link = lease.link();
        let hello = link.hello();
        let this = Self {
            db: operation.spec().db.to_string(),
            name,
            request_id: exchange.0,
            operation_id: operation.context().operation_id,
            connection: ConnectionInfo::new(
                link.id().0,
                hello.and_then(|h| h.connection_id),
                address,
            ),
            service_id: hello.and_then(|h| h.service_id),
            started: shared.runtime.now(),
            secret,
        };
        shared
            .outbox
            .command(CommandEvent::Started(CommandStartedEvent {
                command: if secret { Document::new() } else { command },
                db: this.db.clone(),
                command_name: this.name.clone(),
                request_id: this.request_id,
                operation_id: this.operation_id,
                connection: this.connection.clone(),
                service_id: this.service_id,
            }));
        this
    }

    /// Tells of a success; unacknowledged commands have no reply.
    pub(crate) fn succeeded(self, shared: &Shared, reply: Option<&Reply>, now: Instant) {
        let reply = match reply {
            _ if self.secret => Document::new(),
            None => bson::doc! { "ok": 1 },
            Some(reply) => to_document(reply.document()),
        };
        shared
            .outbox
            .command(CommandEvent::Succeeded(CommandSucceededEvent {
                duration: now - self.started,
                reply,
                db: self.db,
                command_name: self.name,
                request_id: self.request_id,
                operation_id: self.operation_id,
                connection: self.connection,
                service_id: self.service_id,
            }));
    }

    /// Tells of a failure.
    pub(crate) fn failed(self, shared: &Shared, error: &Error, now: Instant) {
        let failure = match &*error.kind {
            ErrorKind::Command(command) if self.secret => {
                let mut stripped = command.clone();
                stripped.message = String::from("redacted");
                Error::new(ErrorKind::Command(stripped))
            }
            _ => error.clone(),
        };
        shared
            .outbox
            .command(CommandEvent::Failed(CommandFailedEvent {
                duration: now - self.started,
                failure,
                db: self.db,
                command_name: self.name,
                request_id: self.request_id,
                operation_id: self.operation_id,
                connection: self.connection,
                service_id: self.service_id,
            }));
    }
}

fn to_document(raw: &RawDocument) -> Document {
    nesting::to_document("reply", raw).unwrap_or_default()
}
