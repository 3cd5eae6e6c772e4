//! The background tasks of a client: opening connections, pools' chores, SRV polling. Monitors and
//! probes are in `watch.rs`.
//!
//! Every task belongs to a server or to the client, ends when its owner's signal says so, and
//! holds the client weakly wherever it waits.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use mongo_client_core::{
    conn::Purpose,
    error::{Error, Result},
    id::{ConnId, Generation},
    marks::{self, Mark},
    net::ServerAddress,
    route,
    time::Instant,
};

use crate::{
    incarnation::Incarnation,
    link::{INTERRUPT, Link, Opened},
    runtime::{BoxFuture, RuntimeGone},
    server::{CHECK, Chore, STOP, Server},
    shared::Shared,
    signal::Signal,
    wait::{Either, race, sleep_until},
    watch,
};

/// Spawns a task of the client. A runtime that is gone drops it: nothing runs there any more.
pub(crate) fn spawn(shared: &Arc<Shared>, task: impl Future<Output = ()> + Send + 'static) {
    let _ = shared.life().spawn(shared.weak(), task);
}

/// Starts the task of a new server: its chores, its monitor, and its probe while that streams.
pub(crate) fn start_server(shared: &Arc<Shared>, server: &Arc<Server>) {
    let life = shared.life();
    server.begin_chores(life.number());
    let mut parts: Vec<BoxFuture<'static, ()>> =
        vec![Box::pin(chores(Arc::clone(server), Arc::clone(&life)))];
    if !shared.settings.topology.load_balanced {
        parts.push(Box::pin(watch::monitor(
            Arc::clone(server),
            Arc::clone(&life),
        )));
        parts.push(Box::pin(watch::probe(Arc::clone(server), life)));
    }
    spawn(shared, all(parts));
}

/// Runs the parts of a task until all have ended. One that panics, because a handler of events does,
/// ends alone.
async fn all(mut parts: Vec<BoxFuture<'static, ()>>) {
    poll_fn(|cx| {
        parts.retain_mut(|part| {
            let polled = catch_unwind(AssertUnwindSafe(|| part.as_mut().poll(cx)));
            matches!(polled, Ok(Poll::Pending))
        });
        if parts.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// A connection that is being opened. When its runtime dies, the next one opens it.
struct Opening {
    server: Arc<Server>,
    life: Arc<Incarnation>,
    id: ConnId,
    generation: Generation,
    signal: Arc<Signal>,
    ended: bool,
}

impl Opening {
    fn failed(&mut self, error: &Error) {
        self.ended = true;
        let (id, now) = (self.id, self.life.runtime().now());
        self.server
            .with_pool("open failed", |cell| cell.open_failed(id, error, now));
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let shared = self.server.shared.upgrade();
        if self.life.is_dead() && shared.is_some_and(|shared| !shared.is_closed()) {
            marks::reached(Mark::CancelDriverOpening);
            let signal = Arc::clone(&self.signal);
            self.server.postpone_open(self.id, self.generation, signal);
        } else {
            self.failed(&Error::internal(RuntimeGone.to_string()));
        }
    }
}

/// Opens one connection for a pool in a task of its own (CMAP: "Establishing a Connection").
pub(crate) fn spawn_open(
    shared: &Arc<Shared>,
    server: &Arc<Server>,
    id: ConnId,
    generation: Generation,
    signal: Arc<Signal>,
) {
    let life = shared.life();
    let opening = Opening {
        server: Arc::clone(server),
        life: Arc::clone(&life),
        id,
        generation,
        signal,
        ended: false,
    };
    let task = open(opening, shared.settings.keep_alive);
    // A task that is refused is dropped, and reports that itself.
    let _ = life.spawn(shared.weak(), task);
}

#[expect(
    clippy::manual_async_fn,
    reason = "an error may open other connections, so that it is Send has to be said"
)]
fn open(mut opening: Opening, keep_alive: bool) -> impl Future<Output = ()> + Send + 'static {
    async move {
        let server = Arc::clone(&opening.server);
        let (id, generation, signal) =
            (opening.id, opening.generation, Arc::clone(&opening.signal));
        let link = Link::open(
            &opening.life,
            &server.config,
            keep_alive,
            id,
            Purpose::Application,
            Arc::clone(&signal),
        );
        let result = match race(interrupted(&signal), link).await {
            // The pool has forgotten the connection.
            Either::First(()) => return opening.failed(&Error::internal("interrupted")),
            Either::Second(result) => result,
        };
        match result {
            Ok(Opened { link, hello, .. }) => {
                opening.ended = true;
                let (service_id, now) = (hello.service_id, opening.life.runtime().now());
                server.with_pool("opened", |cell| cell.pool.opened(id, link, service_id, now));
            }
            Err(error) => {
                // CMAP: the pool is cleared before the connection is reported closed.
                if let Some(shared) = server.shared.upgrade() {
                    let app_error = route::app_error(&error, generation, None);
                    shared.handle_app_error(server.id, &app_error);
                }
                opening.failed(&error.error);
            }
        }
    }
}

/// Resolves once a link is told to close at once: also while it is dialled.
async fn interrupted(signal: &Signal) {
    poll_fn(|cx| {
        signal.watch(cx);
        if signal.is_raised(INTERRUPT) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Ends a server's chores when their task ends or is dropped.
struct ChoresEnd {
    server: Arc<Server>,
    life: u64,
}

impl Drop for ChoresEnd {
    fn drop(&mut self) {
        self.server.end_chores(self.life);
    }
}

/// A pool's background work: idle connections, minPoolSize, drains, killCursors.
fn chores(
    server: Arc<Server>,
    life: Arc<Incarnation>,
) -> impl Future<Output = ()> + Send + 'static {
    let end = ChoresEnd {
        server,
        life: life.number(),
    };
    async move {
        let (server, runtime) = (&end.server, life.runtime());
        loop {
            let now = runtime.now();
            let next = server.with_pool("maintain", |cell| cell.maintain(now));
            while let Some(chore) = server.pop_chore() {
                let task = match chore {
                    Chore::Drain(draining) => Box::pin(draining.run()),
                    Chore::Run(task) => task,
                };
                if life.spawn(server.shared.clone(), task).is_err() {
                    return;
                }
            }
            let sleep = sleep_until(&**runtime, next.max(now + MAINTENANCE_MIN));
            if let Either::First(bits) = race(raised(&server.chore_signal, &life), sleep).await
                && bits & STOP != 0
            {
                return;
            }
        }
    }
}

/// The shortest time between two rounds of a pool's maintenance.
const MAINTENANCE_MIN: Duration = Duration::from_millis(10);

/// Resolves to the raised bits of a signal; to [`STOP`] when a younger life has taken over.
pub(crate) async fn raised(signal: &Signal, life: &Incarnation) -> u32 {
    poll_fn(|cx| match signal.poll_take(life.number(), cx) {
        Some(0) => Poll::Pending,
        Some(bits) => Poll::Ready(bits),
        None => Poll::Ready(STOP),
    })
    .await
}

/// Looks SRV records up again when the topology asks (specification: "Polling SRV Records").
pub(crate) async fn srv_polling(shared: Weak<Shared>, life: Arc<Incarnation>, signal: Arc<Signal>) {
    loop {
        let Some(next) = shared
            .upgrade()
            .filter(|s| !s.is_closed())
            .map(|s| s.with_topology("srv timer", |t, _| t.poll_timeout()))
        else {
            return;
        };
        // Without a time a lookup is under way, which raises the signal at its end; or polling has
        // ended for good.
        let at = next.map_or(Instant::MAX, |(at, _)| at);
        let sleep = sleep_until(&**life.runtime(), at);
        if let Either::First(bits) = race(raised(&signal, &life), sleep).await
            && bits & STOP != 0
        {
            return;
        }
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.with_topology("srv due", |t, now| t.handle_timeout(now));
    }
}

/// Reports a lookup of SRV records that its runtime has dropped, so that another follows.
struct Lookup {
    shared: Weak<Shared>,
    ended: bool,
}

impl Lookup {
    fn end(&mut self, records: Result<(Vec<ServerAddress>, Duration)>) {
        self.ended = true;
        if let Some(shared) = self.shared.upgrade() {
            shared.with_topology("srv", |t, now| t.handle_srv(records, now));
            shared.srv_signal().raise(CHECK);
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(Error::internal(RuntimeGone.to_string())));
        }
    }
}

/// Resolves the SRV records once and tells the topology.
pub(crate) async fn resolve_srv(shared: Weak<Shared>, life: Arc<Incarnation>) {
    let Some((polling, options, end)) = shared.upgrade().and_then(|s| {
        let polling = s.settings.topology.srv.clone()?;
        Some((polling, Arc::clone(&s.options), s.lookup_signal()))
    }) else {
        return;
    };
    let mut lookup = Lookup {
        shared,
        ended: false,
    };
    let poll = crate::srv::poll(life.runtime(), &polling, &options);
    if let Either::Second(records) = race(raised(&end, &life), poll).await {
        lookup.end(records);
    }
}
