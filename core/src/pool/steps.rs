//! The steps that commands share: opening, handing out, closing.

use std::time::Duration;

use super::{
    Available, Lease, LeaseToken, Opening, Place, Pool, PoolAction, PoolError, Record, State,
};
use crate::{
    event::cmap::{ConnectionCheckoutFailedReason, ConnectionClosedReason},
    id::{ConnId, Generation, Ticket},
    mutants::{self, Mutant},
    time::Instant,
};

impl<C> Pool<C> {
    /// Opens connections for those who wait, then up to the minimum size.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.state != State::Ready {
            return;
        }
        while self.has_room() && self.queue.len() > self.openings.len() - self.openings_stale {
            let Some(ticket) = self.queue.first_unbound() else {
                break;
            };
            let id = self.open(Some(ticket), now);
            self.queue.bind(ticket, Some(id));
        }
        if self.populate_at.is_some_and(|at| now < at) {
            return;
        }
        self.populate_at = None;
        while self.has_room() && self.is_below_min() {
            self.open(None, now);
        }
    }

    pub(super) fn open(&mut self, ticket: Option<Ticket>, now: Instant) -> ConnId {
        self.conn_id_last = self.conn_id_last.wrapping_add(1);
        let id = ConnId(self.conn_id_last);
        let generation = self.generation;
        self.openings.insert(
            id,
            Opening {
                generation,
                created: now,
                ticket,
            },
        );
        self.emit_created(id);
        self.actions.push_back(PoolAction::Open { id, generation });
        id
    }

    pub(super) fn take_opening(&mut self, id: ConnId) -> Option<Opening> {
        let opening = self.openings.remove(&id)?;
        if opening.generation != self.generation {
            self.openings_stale -= 1;
        }
        Some(opening)
    }

    /// The checkout that an opening belonged to is settled otherwise.
    pub(super) fn disown(&mut self, opening: Option<ConnId>) {
        if let Some(opening) = opening.and_then(|id| self.openings.get_mut(&id)) {
            opening.ticket = None;
        }
    }

    /// A connection opened for `owner` serves whoever waits longest; `owner` then waits for the
    /// connection that is being opened for that one.
    pub(super) fn pass_to_front(&mut self, owner: Option<Ticket>) {
        let Some(owner) = owner else {
            return;
        };
        let front = self.queue.iter().next().copied();
        let Some(front) = front.filter(|front| front.ticket != owner) else {
            self.queue.bind(owner, None);
            return;
        };
        self.queue.bind(owner, front.opening);
        self.queue.bind(front.ticket, None);
        if let Some(opening) = front.opening.and_then(|id| self.openings.get_mut(&id)) {
            opening.ticket = Some(owner);
        }
    }

    /// Hands a connection to the front waiter, or keeps it available.
    pub(super) fn put(&mut self, slot: u32, conn: C, now: Instant) {
        let waiter = match self.state {
            State::Ready => self.queue.pop(),
            State::Closed | State::Paused => None,
        };
        let Some(waiter) = waiter else {
            self.slots.set_place(slot, Place::Available);
            self.available.push_back(Available {
                slot,
                since: now,
                conn,
            });
            return;
        };
        self.disown(waiter.opening);
        let lease = self.lease(slot, conn, waiter.started, now);
        self.actions.push_back(PoolAction::Grant {
            ticket: waiter.ticket,
            lease,
        });
    }

    pub(super) fn lease(&mut self, slot: u32, conn: C, started: Instant, now: Instant) -> Lease<C> {
        self.slots.set_place(slot, Place::Leased);
        let token = self
            .slots
            .token(slot)
            .expect("an established connection keeps its record until it is released");
        self.emit_checked_out(token.id, started, now);
        Lease { token, conn }
    }

    /// Closes an established connection.
    pub(super) fn release(&mut self, slot: u32, conn: Option<C>, why: ConnectionClosedReason) {
        let Some(record) = self.slots.remove(slot) else {
            return;
        };
        if let Some(service_id) = record.service_id
            && let Some(service) = self.services.get_mut(&service_id)
        {
            service.connections -= 1;
            // The topology's count of a cleared service goes on from where it is.
            if service.connections == 0 && service.generation == Generation(0) {
                self.services.remove(&service_id);
            }
        }
        let error = self.blamed.take_if(|(id, _)| *id == record.id);
        self.emit_closed(record.id, why, error.map(|(_, error)| error));
        if conn.is_some() {
            let id = record.id;
            self.actions.push_back(PoolAction::Close { id, conn, why });
        }
    }

    /// Fails a waiting checkout.
    pub(super) fn fail(&mut self, ticket: Ticket, error: PoolError, now: Instant) {
        let Some(waiter) = self.queue.remove(ticket) else {
            return;
        };
        let reason = match error {
            PoolError::Closed => ConnectionCheckoutFailedReason::PoolClosed,
            _ => ConnectionCheckoutFailedReason::ConnectionError,
        };
        self.emit_checkout_failed(reason, Some(&error), waiter.started, now);
        self.actions.push_back(PoolAction::Fail { ticket, error });
    }

    /// The record of a connection that is handed out under this token.
    pub(super) fn leased(&self, lease: LeaseToken) -> Option<Record> {
        self.slots
            .get(lease.slot, lease.id)
            .filter(|r| r.place != Place::Available)
            .copied()
    }

    pub(super) fn is_stale(&self, record: &Record) -> bool {
        let current = match record.service_id {
            Some(id) => self
                .services
                .get(&id)
                .map_or(Generation(0), |s| s.generation),
            None => self.generation,
        };
        record.generation != current && !mutants::active(Mutant::StaleGeneration)
    }

    pub(super) fn is_idle(&self, since: Instant, now: Instant) -> bool {
        self.max_idle_time().is_some_and(|max| now - since >= max)
    }

    pub(super) fn max_idle_time(&self) -> Option<Duration> {
        self.config.max_idle_time.filter(|max| !max.is_zero())
    }

    pub(super) fn is_queue_full(&self) -> bool {
        let multiple = self.config.wait_queue_multiple.unwrap_or(0) as usize;
        let max = multiple.saturating_mul(self.config.max_pool_size as usize);
        // Those whose connection is being opened have left the wait queue in CMAP's sense.
        max > 0 && self.queue.len().saturating_sub(self.openings.len()) >= max
    }

    pub(super) fn total(&self) -> usize {
        self.slots.len() + self.openings.len()
    }

    pub(super) fn has_room(&self) -> bool {
        let max = self.config.max_pool_size as usize;
        let max = max + usize::from(max > 0 && mutants::active(Mutant::PoolOverMax));
        (max == 0 || self.total() < max)
            && self.openings.len() < self.config.max_connecting.max(1) as usize
    }

    pub(super) fn is_below_min(&self) -> bool {
        self.total() < self.config.min_pool_size as usize
    }
}
