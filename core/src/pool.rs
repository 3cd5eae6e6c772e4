//! The connection pool of one server (specification: "Connection Monitoring and Pooling").
//!
//! [`Pool`] decides who gets which connection, when connections are opened and closed, and in which
//! order events are told. It does no I/O: it asks for connections by [`PoolAction::Open`] and hears
//! of them by [`Pool::opened`] and [`Pool::open_failed`]. The payload `C` of a connection is only
//! moved. Deadlines of checkouts belong to their callers, who use [`Pool::cancel`].
//!
//! | state | checkout | opens connections | left by |
//! |---|---|---|---|
//! | paused | refused | no | a directive (ready), `close` |
//! | ready | served or queued | yes | a directive (clear), `close` |
//! | closed | refused | no | never |
//!
//! Invariants:
//! 1. A connection is in exactly one of: available, leased, draining, opening.
//! 2. All of them together never exceed maxPoolSize; those opening never exceed maxConnecting.
//! 3. A ticket settles exactly once, and tickets are granted in the order of their issue.
//! 4. Nobody waits while a connection is available; nobody is granted a stale connection.
//! 5. While nobody listens to events, a checkout of an available connection and its checkin
//!    allocate nothing.

mod clear;
mod directive;
mod emit;
mod queue;
mod slots;
mod steps;
mod types;

#[cfg(any(test, feature = "check"))]
mod check;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bson::oid::ObjectId;

pub use self::{
    directive::{PoolDirective, PoolState},
    types::{
        CancelReason, Checkout, Lease, LeaseToken, PoolAction, PoolConfig, PoolCounts, PoolError,
        PoolTimer,
    },
};
use self::{
    queue::WaitQueue,
    slots::{Place, Record, Slots},
};
use crate::{
    error::Error,
    event::cmap::{ConnectionCheckoutFailedReason, ConnectionClosedReason},
    id::{ConnId, Generation, Ticket},
    marks::{self, Mark},
    time::Instant,
};

/// How long a failed connection delays the next attempt to reach the minimum size.
const POPULATE_DELAY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Paused,
    Ready,
}

/// A connection that is ready to be handed out.
#[derive(Debug)]
struct Available<C> {
    slot: u32,
    since: Instant,
    conn: C,
}

/// A connection that is being opened.
#[derive(Clone, Copy, Debug)]
struct Opening {
    generation: Generation,
    created: Instant,
    /// The checkout that fails if it fails; whom it serves is decided when it is open.
    ticket: Option<Ticket>,
}

/// What is known of a service behind the load balancer.
#[derive(Clone, Copy, Debug, Default)]
struct Service {
    generation: Generation,
    connections: usize,
}

/// The connections to one server, and the checkouts that wait for them.
#[derive(Debug)]
pub struct Pool<C> {
    config: PoolConfig,
    state: State,
    /// Of the last directive that was applied.
    epoch: u64,
    generation: Generation,
    /// Why the pool was cleared last.
    cause: Option<Error>,
    services: BTreeMap<ObjectId, Service>,
    slots: Slots,
    /// In the order in which they became available; handed out from the back.
    available: VecDeque<Available<C>>,
    openings: BTreeMap<ConnId, Opening>,
    /// How many of `openings` are of an older generation.
    openings_stale: usize,
    queue: WaitQueue,
    conn_id_last: u32,
    /// After a failed connection: when the minimum size is tried again.
    populate_at: Option<Instant>,
    /// The error of a connection that is about to be given back broken, for its last event.
    blamed: Option<(ConnId, Error)>,
    actions: VecDeque<PoolAction<C>>,
}

impl<C> Pool<C> {
    /// Creates a pool: paused, empty, of generation 0.
    #[must_use]
    pub fn new(config: PoolConfig, _now: Instant) -> Self {
        let mut pool = Self {
            config,
            state: State::Paused,
            epoch: 0,
            generation: Generation(0),
            cause: None,
            services: BTreeMap::new(),
            slots: Slots::default(),
            available: VecDeque::new(),
            openings: BTreeMap::new(),
            openings_stale: 0,
            queue: WaitQueue::default(),
            conn_id_last: 0,
            populate_at: None,
            blamed: None,
            actions: VecDeque::new(),
        };
        pool.emit_pool_created();
        pool
    }

    /// Asks for a connection.
    pub fn checkout(&mut self, now: Instant) -> Checkout<C> {
        self.emit_checkout_started();
        let refused = match self.state {
            State::Closed => Some((
                PoolError::Closed,
                ConnectionCheckoutFailedReason::PoolClosed,
            )),
            State::Paused => Some((
                PoolError::Cleared {
                    cause: self.cause.clone(),
                },
                ConnectionCheckoutFailedReason::ConnectionError,
            )),
            State::Ready => None,
        };
        if let Some((error, reason)) = refused {
            self.emit_checkout_failed(reason, Some(&error), now, now);
            return Checkout::Refused(error);
        }
        while let Some(Available { slot, since, conn }) = self.available.pop_back() {
            if self.is_idle(since, now) {
                self.release(slot, Some(conn), ConnectionClosedReason::Idle);
                continue;
            }
            let lease = self.lease(slot, conn, now, now);
            return Checkout::Ready(lease);
        }
        if self.is_queue_full() {
            let reason = ConnectionCheckoutFailedReason::ConnectionError;
            self.emit_checkout_failed(reason, Some(&PoolError::WaitQueueFull), now, now);
            self.pump(now);
            return Checkout::Refused(PoolError::WaitQueueFull);
        }
        let ticket = self.queue.push(now);
        self.pump(now);
        Checkout::Wait(ticket)
    }

    /// Gives a waiting checkout up; does nothing if its ticket has settled.
    ///
    /// A connection that is being opened for it stays in the pool.
    pub fn cancel(&mut self, ticket: Ticket, why: CancelReason, now: Instant) {
        let Some(waiter) = self.queue.remove(ticket) else {
            return;
        };
        if waiter.opening.is_some() && why == CancelReason::Dropped {
            marks::reached(Mark::CancelOpening);
        }
        self.disown(waiter.opening);
        let reason = ConnectionCheckoutFailedReason::Timeout;
        self.emit_checkout_failed(reason, None, waiter.started, now);
        if why == CancelReason::Timeout {
            let error = PoolError::WaitQueueTimeout {
                max_pool_size: self.config.max_pool_size,
                counts: self.counts(),
                load_balanced: self.config.load_balanced,
            };
            self.actions.push_back(PoolAction::Fail { ticket, error });
        }
    }

    /// Notes why a connection is about to be given back broken: its last event tells.
    pub fn blame(&mut self, lease: LeaseToken, error: &Error) {
        if self.config.events {
            self.blamed = Some((lease.id, error.clone()));
        }
    }

    /// Takes a connection back: keeps it, hands it to the next waiter, or closes it.
    ///
    /// `why` is the reason to tell when it is not reusable; without one it follows from the state.
    pub fn checkin(
        &mut self,
        lease: LeaseToken,
        conn: C,
        reusable: bool,
        why: Option<ConnectionClosedReason>,
        now: Instant,
    ) {
        let Some(record) = self.leased(lease) else {
            debug_assert!(false, "{} was not leased by this pool", lease.id);
            self.actions.push_back(PoolAction::Close {
                id: lease.id,
                conn: Some(conn),
                why: ConnectionClosedReason::Error,
            });
            return;
        };
        self.emit_checked_in(record.id);
        let perished = if self.state == State::Closed {
            Some(ConnectionClosedReason::PoolClosed)
        } else if self.is_stale(&record) {
            Some(ConnectionClosedReason::Stale)
        } else {
            None
        };
        let close = if reusable {
            perished
        } else {
            Some(why.or(perished).unwrap_or(ConnectionClosedReason::Error))
        };
        match close {
            Some(why) => {
                match (record.place, why) {
                    (Place::Draining, ConnectionClosedReason::Stale) => {
                        marks::reached(Mark::DrainStale);
                    }
                    (Place::Draining, ConnectionClosedReason::PoolClosed) => {
                        marks::reached(Mark::DrainPoolClosed);
                    }
                    _ => {}
                }
                self.release(lease.slot, Some(conn), why);
                self.pump(now);
            }
            // There is no more room than before, and nobody new waits.
            None => self.put(lease.slot, conn, now),
        }
    }

    /// Notes that a leased connection, with its payload, is gone.
    pub fn discard(&mut self, lease: LeaseToken, why: ConnectionClosedReason, now: Instant) {
        let Some(record) = self.leased(lease) else {
            debug_assert!(false, "{} was not leased by this pool", lease.id);
            return;
        };
        self.emit_checked_in(record.id);
        self.release(lease.slot, None, why);
        self.pump(now);
    }

    /// Notes that a lease only consumes a reply that nobody waits for.
    ///
    /// The connection still counts; the lease ends by `checkin` or `discard`.
    pub fn drain(&mut self, lease: LeaseToken, _now: Instant) {
        if self.leased(lease).is_some() {
            self.slots.set_place(lease.slot, Place::Draining);
        }
    }

    /// Notes that a lease belongs to a cursor from now on (load balancers: "Connection Tracking").
    ///
    /// The lease ends by `checkin` or `discard`, as any other.
    pub fn pin(&mut self, lease: LeaseToken) {
        if self.leased(lease).is_some() {
            self.slots.set_place(lease.slot, Place::Pinned);
        }
    }

    /// Takes a connection that was opened at the pool's request.
    ///
    /// `service_id` is what the server said of its service, behind a load balancer.
    pub fn opened(&mut self, id: ConnId, conn: C, service_id: Option<ObjectId>, now: Instant) {
        let Some(opening) = self.take_opening(id) else {
            // It was interrupted, and its end has been told.
            let why = if self.state == State::Closed {
                ConnectionClosedReason::PoolClosed
            } else {
                ConnectionClosedReason::Stale
            };
            self.actions.push_back(PoolAction::Close {
                id,
                conn: Some(conn),
                why,
            });
            return;
        };
        self.emit_ready(id, opening.created, now);
        let service_id = service_id.filter(|_| self.config.load_balanced);
        let mut generation = opening.generation;
        if let Some(service_id) = service_id {
            let service = self.services.entry(service_id).or_default();
            service.connections += 1;
            generation = service.generation;
        }
        let slot = self.slots.insert(Record {
            id,
            generation,
            service_id,
            place: Place::Leased,
        });
        let mut owner = opening.ticket;
        if self.state != State::Ready
            && let Some(ticket) = owner.take()
        {
            let error = PoolError::Cleared {
                cause: self.cause.clone(),
            };
            self.fail(ticket, error, now);
        }
        if opening.generation == self.generation {
            self.pass_to_front(owner);
            self.put(slot, conn, now);
        } else {
            self.release(slot, Some(conn), ConnectionClosedReason::Stale);
        }
        self.pump(now);
    }

    /// Notes that a connection could not be opened: fails the checkout for which it was asked.
    pub fn open_failed(&mut self, id: ConnId, error: &Error, now: Instant) {
        let Some(opening) = self.take_opening(id) else {
            return;
        };
        let told = self.config.events.then(|| error.clone());
        self.emit_closed(id, ConnectionClosedReason::Error, told);
        if let Some(ticket) = opening.ticket {
            let error = PoolError::ConnectionFailed {
                error: error.clone(),
            };
            self.fail(ticket, error, now);
        }
        if self.is_below_min() {
            self.populate_at = Some(now + POPULATE_DELAY);
        }
        self.pump(now);
    }

    /// Whether the owner has anything to do.
    #[must_use]
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// The next thing that the owner has to do.
    pub fn poll_action(&mut self) -> Option<PoolAction<C>> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] is due, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, PoolTimer)> {
        let idle = match (self.available.front(), self.max_idle_time()) {
            (Some(oldest), Some(max)) => Some((oldest.since + max, PoolTimer::Idle)),
            _ => None,
        };
        let populate = self
            .populate_at
            .filter(|_| self.state == State::Ready)
            .map(|at| (at, PoolTimer::Populate));
        match (idle, populate) {
            (Some(idle), Some(populate)) if populate.0 < idle.0 => Some(populate),
            (idle, populate) => idle.or(populate),
        }
    }

    /// Closes what has been idle for too long, and opens what is missing.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(oldest) = self.available.front()
            && self.is_idle(oldest.since, now)
            && let Some(Available { slot, conn, .. }) = self.available.pop_front()
        {
            self.release(slot, Some(conn), ConnectionClosedReason::Idle);
        }
        self.pump(now);
    }

    /// The generation of new connections.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How many connections there are in each state.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        PoolCounts {
            available: self.available.len(),
            leased: self.slots.count(Place::Leased),
            pinned: self.slots.count(Place::Pinned),
            draining: self.slots.count(Place::Draining),
            opening: self.openings.len(),
            waiting: self.queue.len(),
        }
    }
}
