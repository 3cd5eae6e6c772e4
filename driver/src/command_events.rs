//! Command events and log messages: built only when somebody listens, and handed over at once.

use mongo_client_core::{
    error::Error,
    event::{self, ExchangeSite, command::CommandEvent},
    id::ExchangeId,
    op::Operation,
    time::Instant,
    wire::{Reply, Request},
};

use crate::{lease::Lease, shared::Shared};

/// Tells of one exchange.
pub(crate) struct CommandMonitor {
    monitor: event::CommandMonitor,
    /// Whether the log wanted the command when it started: it gets all of its messages or none.
    logged: bool,
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
        let address = lease.address().clone();
        let link = lease.link();
        let site = ExchangeSite {
            address: &address,
            conn: link.id(),
            hello: link.hello(),
            exchange,
        };
        let outbox = &shared.outbox;
        let monitor = event::CommandMonitor::new(operation, request, site, shared.clock.now());
        let logged = outbox.log.wants_commands();
        if logged {
            outbox.log.command_started(monitor.facts(), request);
        }
        if outbox.has_command_handler() {
            outbox.command(CommandEvent::Started(monitor.started_event(request)));
        }
        Self { monitor, logged }
    }

    /// Tells of a success; unacknowledged commands have no reply.
    pub(crate) fn succeeded(self, shared: &Shared, reply: Option<&Reply>, now: Instant) {
        let outbox = &shared.outbox;
        if self.logged {
            let facts = self.monitor.facts();
            outbox.log.command_succeeded(facts, reply, now);
        }
        if outbox.has_command_handler() {
            let event = self.monitor.succeeded(reply, now);
            outbox.command(CommandEvent::Succeeded(event));
        }
    }

    /// Tells of a failure.
    pub(crate) fn failed(self, shared: &Shared, error: &Error, now: Instant) {
        let outbox = &shared.outbox;
        if self.logged {
            outbox.log.command_failed(self.monitor.facts(), error, now);
        }
        if outbox.has_command_handler() {
            let event = self.monitor.failed(error, now);
            outbox.command(CommandEvent::Failed(event));
        }
    }
}
