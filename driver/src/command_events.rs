//! Command events: built only when somebody listens, and handed over at once.

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
pub(crate) struct CommandMonitor(event::CommandMonitor);

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
        let now = shared.runtime.now();
        let (this, event) = event::CommandMonitor::started(operation, request, site, now);
        shared.outbox.command(CommandEvent::Started(event));
        Self(this)
    }

    /// Tells of a success; unacknowledged commands have no reply.
    pub(crate) fn succeeded(self, shared: &Shared, reply: Option<&Reply>, now: Instant) {
        let event = self.0.succeeded(reply, now);
        shared.outbox.command(CommandEvent::Succeeded(event));
    }

    /// Tells of a failure.
    pub(crate) fn failed(self, shared: &Shared, error: &Error, now: Instant) {
        let event = self.0.failed(error, now);
        shared.outbox.command(CommandEvent::Failed(event));
    }
}
