//! The component "command" (specification: "Command Logging and Monitoring", "Log Messages").

use bson::RawDocument;
use mongo_client_core::{
    error::Error,
    event::{CommandFacts, redacted},
    time::Instant,
    wire::{Reply, Request},
};
use tracing::debug;

use super::{COMMAND, Log, describe, host_and_port, json, millis};

/// An event with the fields that all have. Those of connections come from the command's own.
macro_rules! tell {
    ($command:expr, $message:literal $(, $field:ident = $value:expr)*) => {{
        let command: &CommandFacts = $command;
        let (host, port) = host_and_port(&command.connection.address);
        let service_id = command.service_id.map(|id| id.to_hex());
        debug!(
            target: COMMAND,
            commandName = command.name.as_str(),
            databaseName = command.db.as_str(),
            requestId = command.request_id,
            operationId = command.operation_id.0,
            driverConnectionId = command.connection.id,
            serverHost = &*host,
            serverPort = port,
            serverConnectionId = command.connection.server_id,
            serviceId = service_id.as_deref(),
            $($field = $value,)*
            $message
        );
    }};
}

impl Log {
    pub(crate) fn command_started(&self, command: &CommandFacts, request: &Request) {
        let text = match RawDocument::from_bytes(&request.document) {
            Ok(body) if !command.secret => {
                json::command(body, &request.sequences, self.document_len_max)
            }
            _ => String::from("{}"),
        };
        tell!(command, "Command started", command = text.as_str());
    }

    /// Unacknowledged commands have no reply.
    pub(crate) fn command_succeeded(
        &self,
        command: &CommandFacts,
        reply: Option<&Reply>,
        now: Instant,
    ) {
        let text = match reply {
            _ if command.secret => String::from("{}"),
            None => String::from("{\"ok\":1}"),
            Some(reply) => json::document(reply.document(), self.document_len_max),
        };
        tell!(
            command,
            "Command succeeded",
            durationMS = millis(now - command.started),
            reply = text.as_str()
        );
    }

    pub(crate) fn command_failed(&self, command: &CommandFacts, error: &Error, now: Instant) {
        let text = describe::failure(self, &redacted(error, command.secret));
        tell!(
            command,
            "Command failed",
            durationMS = millis(now - command.started),
            failure = text.as_str()
        );
    }
}
