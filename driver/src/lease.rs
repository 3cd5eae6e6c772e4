//! Checking a connection out, holding it, and giving it back: also when the future is dropped.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bson::oid::ObjectId;
use mongo_client_core::{
    conn::Abandoned,
    error::{Error, Result},
    event::cmap::ConnectionClosedReason,
    id::{ExchangeId, Generation, Ticket},
    net::ServerAddress,
    pool::{CancelReason, Checkout, Lease as PoolLease, LeaseToken},
    time::Instant,
};

use crate::{
    link::Link,
    runtime::Runtime,
    server::{Chore, Draining, Server, WaitSlot},
    shared::Shared,
    wait::Deadline,
};

/// A checked-out connection: exclusive access without a lock.
///
/// Dropped while idle it is checked in; dropped with a request under way it is drained or closed
/// (docs/ARCHITECTURE.md, "Cancellation").
pub(crate) struct Lease {
    server: Arc<Server>,
    clock: Arc<dyn Runtime>,
    token: LeaseToken,
    link: Option<Box<Link>>,
    running: Option<ExchangeId>,
}

impl Lease {
    fn new(server: Arc<Server>, clock: Arc<dyn Runtime>, lease: PoolLease<Box<Link>>) -> Self {
        Self {
            server,
            clock,
            token: lease.token,
            link: Some(lease.conn),
            running: None,
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.token.generation
    }

    /// The service of the connection, behind a load balancer.
    pub(crate) fn service_id(&self) -> Option<ObjectId> {
        self.link.as_ref()?.hello()?.service_id
    }

    pub(crate) fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("the link is taken by drop only")
    }

    /// Whether the runtime of the connection has died.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.link.as_ref().is_some_and(|l| l.life().is_dead())
    }

    /// Notes that a request is under way, so that a drop knows what to abandon.
    pub(crate) fn set_running(&mut self, exchange: Option<ExchangeId>) {
        self.running = exchange;
    }

    pub(crate) fn address(&self) -> &ServerAddress {
        &self.server.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        let now = self.clock.now();
        // Also when the link is idle: the reply may have been read, but not taken.
        let abandoned = match self.running {
            Some(exchange) => link.abandon(exchange),
            None => Abandoned::Reusable,
        };
        let server = &self.server;
        let token = self.token;
        match abandoned {
            Abandoned::Reusable => server.checkin(token, link, now),
            Abandoned::Close => {
                let why = Some(ConnectionClosedReason::Dropped);
                server.with_pool("dropped", |c| c.pool.checkin(token, link, false, why, now));
            }
            Abandoned::Drain { .. } => {
                server.with_pool("drain", |cell| cell.pool.drain(token, now));
                let clock = Arc::clone(&self.clock);
                let draining = Draining::new(Arc::clone(server), clock, token, link);
                server.push_chore(Chore::Drain(draining));
            }
        }
    }
}

/// Waits for a connection of a server's pool.
///
/// # Cancel safety
///
/// Dropping it leaves the queue; a connection that was granted meanwhile goes straight back to the
/// pool and to the next in the queue.
pub(crate) struct CheckoutFuture<'a> {
    shared: &'a Arc<Shared>,
    server: Arc<Server>,
    deadline: Option<Deadline<'a>>,
    state: State,
}

enum State {
    Start,
    Waiting(Ticket),
    Done,
}

impl<'a> CheckoutFuture<'a> {
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        server: Arc<Server>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            shared,
            server,
            deadline: deadline.map(|at| Deadline::new(shared, at)),
            state: State::Start,
        }
    }

    fn start(&mut self) -> Option<Result<Lease>> {
        loop {
            let now = self.shared.clock.now();
            let checkout = self.server.with_pool("checkout", |cell| {
                let checkout = cell.pool.checkout(now);
                if let Checkout::Wait(ticket) = &checkout {
                    cell.waits.entry(*ticket).or_insert(WaitSlot::Waiting(None));
                }
                checkout
            });
            match checkout {
                Checkout::Ready(lease) => {
                    if let Some(lease) = self.usable(lease) {
                        return Some(Ok(lease));
                    }
                }
                Checkout::Refused(error) => {
                    return Some(Err(error.into_error(&self.server.address)));
                }
                Checkout::Wait(ticket) => {
                    self.state = State::Waiting(ticket);
                    return None;
                }
            }
        }
    }

    /// A connection of a dead runtime goes back, and is closed; that says nothing about the server.
    fn usable(&self, lease: PoolLease<Box<Link>>) -> Option<Lease> {
        let dead = lease.conn.life().is_dead();
        let lease = self.lease(lease);
        (!dead).then_some(lease)
    }

    fn lease(&self, lease: PoolLease<Box<Link>>) -> Lease {
        Lease::new(
            Arc::clone(&self.server),
            Arc::clone(&self.shared.clock),
            lease,
        )
    }

    /// Takes the ticket's result, or keeps the waker.
    fn look(&self, ticket: Ticket, cx: &Context<'_>) -> Option<Result<PoolLease<Box<Link>>>> {
        let settled = self
            .server
            .pool
            .with("look", |cell| match cell.waits.get_mut(&ticket) {
                Some(WaitSlot::Waiting(waker)) => {
                    if waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
                        *waker = Some(cx.waker().clone());
                    }
                    None
                }
                Some(WaitSlot::Settled(_)) => cell.waits.remove(&ticket),
                None => Some(WaitSlot::Settled(Err(Error::internal(
                    "a ticket has no wait slot",
                )))),
            });
        match settled? {
            WaitSlot::Settled(result) => Some(result),
            WaitSlot::Waiting(_) => None,
        }
    }

    /// Leaves the queue. A lease that was granted meanwhile is handed to the caller.
    fn leave(&self, ticket: Ticket) -> Option<PoolLease<Box<Link>>> {
        let now = self.shared.clock.now();
        self.server
            .with_pool("leave", |cell| match cell.waits.remove(&ticket) {
                Some(WaitSlot::Settled(result)) => result.ok(),
                _ => {
                    cell.pool.cancel(ticket, CancelReason::Dropped, now);
                    None
                }
            })
    }
}

impl Future for CheckoutFuture<'_> {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let State::Start = this.state
                && let Some(result) = this.start()
            {
                this.state = State::Done;
                return Poll::Ready(result);
            }
            let State::Waiting(ticket) = this.state else {
                return Poll::Pending;
            };
            if this
                .deadline
                .as_mut()
                .is_some_and(|d| d.poll(cx).is_ready())
            {
                this.deadline = None;
                let now = this.shared.clock.now();
                // Settles the ticket with its error, unless it has settled already.
                this.server.with_pool("timeout", |cell| {
                    cell.pool.cancel(ticket, CancelReason::Timeout, now);
                });
            }
            let Some(result) = this.look(ticket, cx) else {
                // Only now that the waker is kept: a death is either seen here or wakes.
                this.shared.ensure_alive()?;
                return Poll::Pending;
            };
            this.state = State::Done;
            match result.map(|lease| this.usable(lease)) {
                Ok(Some(lease)) => return Poll::Ready(Ok(lease)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => this.state = State::Start,
            }
        }
    }
}

impl Drop for CheckoutFuture<'_> {
    fn drop(&mut self) {
        if let State::Waiting(ticket) = self.state
            && let Some(lease) = self.leave(ticket)
        {
            drop(self.lease(lease));
        }
    }
}
