//! Checking a connection out, holding it, and giving it back: also when the future is dropped.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bson::oid::ObjectId;
use mongo_client_core::{
    conn::{Abandoned, Health},
    error::{Error, Result},
    id::{ExchangeId, Generation, Ticket},
    marks::{self, Mark},
    mutants::{self, Mutant},
    net::ServerAddress,
    pool::{CancelReason, Checkout, Lease as PoolLease, LeaseToken},
    time::Instant,
};

use crate::{
    link::Link,
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
    token: LeaseToken,
    link: Option<Box<Link>>,
    running: Option<ExchangeId>,
    /// When the reply came, where that was a moment ago: then the clock is not read again.
    ended: Option<Instant>,
}

impl Lease {
    #[inline]
    fn new(server: Arc<Server>, lease: PoolLease<Box<Link>>) -> Self {
        Self {
            server,
            token: lease.token,
            link: Some(lease.conn),
            running: None,
            ended: None,
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

    /// Whether a request is under way, or was when its future was dropped.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether a request can go over the connection, now or after the reply that is under way.
    pub(crate) fn is_usable(&self) -> bool {
        let health = self.link.as_ref().map(|link| link.health());
        health.is_some_and(|health| health != Health::Perished) && !self.is_orphaned()
    }

    /// Tells the pool that a cursor has the connection from now on.
    pub(crate) fn pin(&self) {
        let token = self.token;
        self.server.with_pool("pin", |cell| cell.pool.pin(token));
    }

    /// Gives up what is under way, and waits until the connection can be used again. Where it
    /// cannot, it is closed.
    pub(crate) async fn settle(mut self) -> Option<Self> {
        let Some(exchange) = self.running.take() else {
            return Some(self);
        };
        self.ended = None;
        match self.link().abandon(exchange) {
            Abandoned::Reusable => Some(self),
            Abandoned::Close => {
                let link = self.link.take()?;
                let (token, now) = (self.token, link.life().runtime().now());
                self.server.close_dropped(token, link, now);
                None
            }
            Abandoned::Drain { .. } => {
                // Dropped meanwhile, the connection is closed: it is not idle.
                let link = self.link();
                let idle = poll_fn(|cx| link.poll_drained(cx)).await;
                idle.then_some(self)
            }
        }
    }

    /// Notes that a request is under way, so that a drop knows what to abandon.
    #[inline]
    pub(crate) fn set_running(&mut self, exchange: ExchangeId) {
        self.running = Some(exchange);
    }

    /// Notes that the exchange has ended.
    #[inline]
    pub(crate) fn set_ended(&mut self, now: Instant) {
        self.running = None;
        self.ended = Some(now);
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
        let now = match self.ended {
            Some(now) => now,
            None => link.life().runtime().now(),
        };
        // Also when the link is idle: the reply may have been read, but not taken.
        let abandoned = match self.running {
            Some(exchange) => {
                let abandoned = link.abandon(exchange);
                marks::reached(match abandoned {
                    Abandoned::Reusable => Mark::CancelDriverReusable,
                    Abandoned::Close => Mark::CancelDriverClose,
                    Abandoned::Drain { .. } => Mark::CancelDriverDrain,
                });
                abandoned
            }
            None => Abandoned::Reusable,
        };
        let server = &self.server;
        let token = self.token;
        match abandoned {
            Abandoned::Reusable => server.checkin(token, link, now),
            Abandoned::Close => server.close_dropped(token, link, now),
            Abandoned::Drain { .. } => {
                server.with_pool("drain", |cell| cell.pool.drain(token, now));
                let draining = Draining::new(Arc::clone(server), token, link);
                server.push_chore(Chore::Drain(draining));
            }
        }
    }
}

/// The immediate answer to a checkout.
pub(crate) enum Started {
    Ended(Result<Lease>),
    /// The ticket settles later: a [`CheckoutFuture`] waits for it.
    Waits(Ticket),
}

/// Asks a server's pool for a connection.
#[inline]
pub(crate) fn start(server: &Arc<Server>, now: Instant) -> Started {
    loop {
        let checkout = server.with_pool("checkout", |cell| {
            let checkout = cell.pool.checkout(now);
            if let Checkout::Wait(ticket) = &checkout {
                cell.waits.entry(*ticket).or_insert(WaitSlot::Waiting(None));
            }
            checkout
        });
        match checkout {
            Checkout::Ready(lease) => {
                if let Some(lease) = usable(server, lease) {
                    return Started::Ended(Ok(lease));
                }
            }
            Checkout::Refused(error) => {
                return Started::Ended(Err(error.into_error(&server.address)));
            }
            Checkout::Wait(ticket) => return Started::Waits(ticket),
        }
    }
}

/// A connection of a dead runtime goes back, and is closed; that says nothing about the server.
#[inline]
fn usable(server: &Arc<Server>, lease: PoolLease<Box<Link>>) -> Option<Lease> {
    let dead = lease.conn.life().is_dead();
    let lease = Lease::new(Arc::clone(server), lease);
    (!dead).then_some(lease)
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
    /// `None` once it has settled.
    ticket: Option<Ticket>,
}

impl<'a> CheckoutFuture<'a> {
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        server: Arc<Server>,
        deadline: Option<Instant>,
        ticket: Ticket,
    ) -> Self {
        Self {
            shared,
            server,
            deadline: deadline.map(|at| Deadline::new(shared, at)),
            ticket: Some(ticket),
        }
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
                Some(WaitSlot::Settled(result)) => {
                    marks::reached(Mark::CancelDriverGranted);
                    result.ok()
                }
                _ if mutants::active(Mutant::TicketLeaked) => None,
                _ => {
                    marks::reached(Mark::CancelDriverTicket);
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
        while let Some(ticket) = this.ticket {
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
            this.ticket = None;
            match result.map(|lease| usable(&this.server, lease)) {
                Ok(Some(lease)) => return Poll::Ready(Ok(lease)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => match start(&this.server, this.shared.clock.now()) {
                    Started::Ended(result) => return Poll::Ready(result),
                    Started::Waits(ticket) => this.ticket = Some(ticket),
                },
            }
        }
        Poll::Pending
    }
}

impl Drop for CheckoutFuture<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket
            && let Some(lease) = self.leave(ticket)
        {
            drop(Lease::new(Arc::clone(&self.server), lease));
        }
    }
}
