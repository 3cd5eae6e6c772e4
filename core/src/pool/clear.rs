//! How a pool becomes ready, is cleared, and is closed.

use bson::oid::ObjectId;

use super::{Available, Place, Pool, PoolAction, PoolDirective, PoolError, PoolState, State};
use crate::{
    event::cmap::{ConnectionCheckoutFailedReason, ConnectionClosedReason},
    id::{ConnId, Generation},
    marks::{self, Mark},
    time::Instant,
};

impl<C> Pool<C> {
    /// Becomes what a directive says, unless a newer one has been applied.
    ///
    /// A cleared pool fails those who wait, except those whose own connection is being opened: they
    /// learn how that ends (CMAP: they have left the wait queue).
    pub fn apply(&mut self, directive: PoolDirective, now: Instant) {
        if self.state == State::Closed {
            return;
        }
        if let Some(service_id) = directive.service_id {
            // Services are independent, so the order of their epochs says nothing.
            self.clear_service(service_id, &directive);
            self.pump(now);
            return;
        }
        if directive.epoch <= self.epoch {
            return;
        }
        self.epoch = directive.epoch;
        if directive.generation > self.generation {
            self.clear(directive.clone(), now);
        } else if directive.state == PoolState::Paused && self.state == State::Ready {
            self.state = State::Paused;
            self.cause = directive.cause;
            self.evict(now);
        }
        if directive.state == PoolState::Ready {
            self.ready(now);
        }
    }

    /// Closes the pool; what is in use is closed when it comes back.
    pub fn close(&mut self, now: Instant) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.populate_at = None;
        while let Some(Available { slot, conn, .. }) = self.available.pop_front() {
            self.release(slot, Some(conn), ConnectionClosedReason::PoolClosed);
        }
        let opening: Vec<_> = self.openings.keys().copied().collect();
        for id in opening {
            self.interrupt_opening(id, ConnectionClosedReason::PoolClosed);
        }
        self.emit_pool_closed();
        while let Some(waiter) = self.queue.pop() {
            let reason = ConnectionCheckoutFailedReason::PoolClosed;
            self.emit_checkout_failed(reason, None, waiter.started, now);
            self.actions.push_back(PoolAction::Fail {
                ticket: waiter.ticket,
                error: PoolError::Closed,
            });
        }
    }

    fn ready(&mut self, now: Instant) {
        if self.state == State::Paused {
            self.state = State::Ready;
            self.emit_pool_ready();
        }
        self.populate_at = None;
        // Who still waits for a connection of an older generation gets another.
        for opening in self.openings.values_mut() {
            if opening.generation != self.generation
                && let Some(ticket) = opening.ticket.take()
            {
                self.queue.bind(ticket, None);
            }
        }
        self.pump(now);
    }

    fn clear(&mut self, directive: PoolDirective, now: Instant) {
        let was_ready = self.state == State::Ready;
        self.state = State::Paused;
        self.generation = directive.generation;
        self.openings_stale = self.openings.len();
        self.cause = directive.cause;
        if was_ready {
            self.emit_pool_cleared(None, directive.interrupt_in_use);
        }
        if directive.interrupt_in_use {
            let opening: Vec<_> = self.openings.keys().copied().collect();
            for id in opening {
                self.interrupt_opening(id, ConnectionClosedReason::Stale);
            }
            self.interrupt_stale();
        }
        self.evict(now);
        self.close_stale();
    }

    /// CMAP: clearing a service neither pauses the pool nor fails those who wait.
    fn clear_service(&mut self, service_id: ObjectId, directive: &PoolDirective) {
        let service = self.services.entry(service_id).or_default();
        if directive.generation <= service.generation {
            if service.connections == 0 && service.generation == Generation(0) {
                self.services.remove(&service_id);
            }
            return;
        }
        service.generation = directive.generation;
        self.emit_pool_cleared(Some(service_id), directive.interrupt_in_use);
        if directive.interrupt_in_use {
            self.interrupt_stale();
        }
        self.close_stale();
    }

    /// Fails those who wait in the queue.
    fn evict(&mut self, now: Instant) {
        for waiter in self.queue.take_unbound() {
            let reason = ConnectionCheckoutFailedReason::ConnectionError;
            let error = PoolError::Cleared {
                cause: self.cause.clone(),
            };
            self.emit_checkout_failed(reason, Some(&error), waiter.started, now);
            self.actions.push_back(PoolAction::Fail {
                ticket: waiter.ticket,
                error,
            });
        }
    }

    /// Gives up a connection that is being opened; its checkout is back in the queue.
    fn interrupt_opening(&mut self, id: ConnId, why: ConnectionClosedReason) {
        let Some(opening) = self.take_opening(id) else {
            return;
        };
        if let Some(ticket) = opening.ticket {
            self.queue.bind(ticket, None);
        }
        self.emit_closed(id, why, None);
        self.actions.push_back(PoolAction::Interrupt { id });
    }

    /// Interrupts the stale connections in use.
    fn interrupt_stale(&mut self) {
        for record in self.slots.iter() {
            if record.place != Place::Available && self.is_stale(record) {
                if record.place == Place::Draining {
                    marks::reached(Mark::DrainInterrupted);
                }
                let id = record.id;
                self.actions.push_back(PoolAction::Interrupt { id });
            }
        }
    }

    /// Closes the stale connections that are available.
    fn close_stale(&mut self) {
        for _ in 0..self.available.len() {
            let Some(item) = self.available.pop_front() else {
                return;
            };
            let stale = self
                .slots
                .at(item.slot)
                .is_none_or(|record| self.is_stale(record));
            if stale {
                self.release(item.slot, Some(item.conn), ConnectionClosedReason::Stale);
            } else {
                self.available.push_back(item);
            }
        }
    }
}
