//! The events of a pool; nothing is built when nobody listens.

use super::{Pool, PoolAction, PoolError};
use crate::{
    error::Error,
    event::cmap::{
        CmapEvent, ConnectionCheckedOutEvent, ConnectionCheckoutFailedEvent,
        ConnectionCheckoutFailedReason, ConnectionClosedEvent, ConnectionClosedReason,
        ConnectionEvent, ConnectionReadyEvent, PoolClearedEvent, PoolCreatedEvent, PoolEvent,
    },
    id::ConnId,
    net::ServerAddress,
    time::Instant,
};
use bson::oid::ObjectId;

impl<C> Pool<C> {
    fn emit(&mut self, event: impl FnOnce(ServerAddress) -> CmapEvent) {
        if self.config.events {
            let event = event(self.config.address.clone());
            self.actions.push_back(PoolAction::Event(event));
        }
    }

    fn emit_pool(&mut self, event: fn(PoolEvent) -> CmapEvent) {
        self.emit(|address| event(PoolEvent { address }));
    }

    fn emit_connection(&mut self, event: fn(ConnectionEvent) -> CmapEvent, id: ConnId) {
        self.emit(|address| {
            event(ConnectionEvent {
                address,
                connection_id: id.0,
            })
        });
    }

    pub(super) fn emit_pool_created(&mut self) {
        let options = self.config.options.clone();
        self.emit(|address| CmapEvent::PoolCreated(PoolCreatedEvent { address, options }));
    }

    pub(super) fn emit_pool_ready(&mut self) {
        self.emit_pool(CmapEvent::PoolReady);
    }

    pub(super) fn emit_pool_closed(&mut self) {
        self.emit_pool(CmapEvent::PoolClosed);
    }

    pub(super) fn emit_pool_cleared(&mut self, service_id: Option<ObjectId>, interrupt: bool) {
        self.emit(|address| {
            CmapEvent::PoolCleared(PoolClearedEvent {
                address,
                service_id,
                interrupt_in_use_connections: interrupt,
            })
        });
    }

    pub(super) fn emit_checkout_started(&mut self) {
        self.emit_pool(CmapEvent::ConnectionCheckoutStarted);
    }

    pub(super) fn emit_checkout_failed(
        &mut self,
        reason: ConnectionCheckoutFailedReason,
        error: Option<&PoolError>,
        started: Instant,
        now: Instant,
    ) {
        self.emit(|address| {
            let error = error
                .filter(|_| reason == ConnectionCheckoutFailedReason::ConnectionError)
                .map(|error| error.into_error(&address));
            CmapEvent::ConnectionCheckoutFailed(ConnectionCheckoutFailedEvent {
                address,
                reason,
                error,
                duration: now - started,
            })
        });
    }

    pub(super) fn emit_checked_out(&mut self, id: ConnId, started: Instant, now: Instant) {
        self.emit(|address| {
            CmapEvent::ConnectionCheckedOut(ConnectionCheckedOutEvent {
                address,
                connection_id: id.0,
                duration: now - started,
            })
        });
    }

    pub(super) fn emit_checked_in(&mut self, id: ConnId) {
        self.emit_connection(CmapEvent::ConnectionCheckedIn, id);
    }

    pub(super) fn emit_created(&mut self, id: ConnId) {
        self.emit_connection(CmapEvent::ConnectionCreated, id);
    }

    pub(super) fn emit_ready(&mut self, id: ConnId, created: Instant, now: Instant) {
        self.emit(|address| {
            CmapEvent::ConnectionReady(ConnectionReadyEvent {
                address,
                connection_id: id.0,
                duration: now - created,
            })
        });
    }

    pub(super) fn emit_closed(
        &mut self,
        id: ConnId,
        reason: ConnectionClosedReason,
        error: Option<Error>,
    ) {
        let error = error.filter(|_| reason == ConnectionClosedReason::Error);
        self.emit(|address| {
            CmapEvent::ConnectionClosed(ConnectionClosedEvent {
                address,
                connection_id: id.0,
                reason,
                error,
            })
        });
    }
}
