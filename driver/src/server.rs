//! One server of the topology: its pool, its operation count and its background tasks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    task::Waker,
};

use mongo_client_core::{
    conn::ConnectionConfig,
    error::Error,
    event::cmap::ConnectionClosedReason,
    id::{ConnId, Generation, ServerId, Ticket},
    net::ServerAddress,
    pool::{Lease, LeaseToken, Pool, PoolAction, PoolConfig, PoolDirective},
    time::Instant,
};

use crate::{
    guarded::Guarded,
    link::{INTERRUPT, Link},
    outbox::{AnyEvent, Outbox},
    runtime::BoxFuture,
    shared::Shared,
    signal::Signal,
};

/// Raised on a server's chore signal: the pool or the chore list has changed.
pub(crate) const CHORE: u32 = 1;
/// Raised on a server's chore or monitor signal: the server was removed or the client closed.
pub(crate) const STOP: u32 = 2;
/// Raised on a server's monitor signal: check now.
pub(crate) const CHECK: u32 = 4;
/// Raised on a server's monitor signal: abandon the running check.
pub(crate) const CANCEL: u32 = 8;
/// More chores than this are not queued: they are best effort, and a bound on memory.
const CHORES_MAX: usize = 1_000;

/// A server of the topology.
pub(crate) struct Server {
    pub(crate) id: ServerId,
    pub(crate) address: ServerAddress,
    pub(crate) config: Arc<ConnectionConfig>,
    pub(crate) monitor_config: Arc<ConnectionConfig>,
    /// Operations that have selected the server and not ended (selection: "operationCount").
    pub(crate) operations: AtomicU32,
    pub(crate) pool: Guarded<PoolCell>,
    pub(crate) chores: Guarded<VecDeque<Chore>>,
    pub(crate) chore_signal: Arc<Signal>,
    pub(crate) monitor_signal: Arc<Signal>,
    pub(crate) probe_signal: Arc<Signal>,
    pub(crate) shared: Weak<Shared>,
    outbox: Arc<Outbox>,
}

/// Work for a server's background task.
pub(crate) enum Chore {
    /// Consume the reply of a dropped operation, then return the link.
    Drain { token: LeaseToken, link: Box<Link> },
    /// Anything else: killCursors of a dropped cursor.
    Run(BoxFuture<'static, ()>),
}

/// A pool with the waits of its tickets, under one lock so that no wake-up is lost.
pub(crate) struct PoolCell {
    pub(crate) pool: Pool<Box<Link>>,
    pub(crate) waits: BTreeMap<Ticket, WaitSlot>,
    signals: BTreeMap<ConnId, Arc<Signal>>,
    address: ServerAddress,
}

/// What a ticket's future finds.
pub(crate) enum WaitSlot {
    Waiting(Option<Waker>),
    Settled(Result<Lease<Box<Link>>, Error>),
}

/// What is left to do once the pool's lock is free.
#[derive(Default)]
pub(crate) struct Effects {
    wakers: Vec<Waker>,
    opens: Vec<(ConnId, Generation, Arc<Signal>)>,
    #[expect(
        clippy::vec_box,
        reason = "links are moved boxed; unboxing would copy them"
    )]
    closed: Vec<Box<Link>>,
    interrupts: Vec<Arc<Signal>>,
    chores: bool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({}, {})", self.id, self.address)
    }
}

impl Server {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        id: ServerId,
        address: ServerAddress,
        pool: PoolConfig,
        config: ConnectionConfig,
        now: Instant,
    ) -> Self {
        let monitor_config = ConnectionConfig {
            credential: None,
            socket_timeout: None,
            ..config.clone()
        };
        let cell = PoolCell {
            pool: Pool::new(pool, now),
            waits: BTreeMap::new(),
            signals: BTreeMap::new(),
            address: address.clone(),
        };
        Self {
            id,
            address,
            config: Arc::new(config),
            monitor_config: Arc::new(monitor_config),
            operations: AtomicU32::new(0),
            pool: Guarded::new(cell),
            chores: Guarded::new(VecDeque::new()),
            chore_signal: Arc::default(),
            monitor_signal: Arc::default(),
            probe_signal: Arc::default(),
            shared: Arc::downgrade(shared),
            outbox: Arc::clone(&shared.outbox),
        }
    }

    /// The load that selection compares.
    pub(crate) fn load(&self) -> u32 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Runs a section on the pool and then everything that must happen outside its lock.
    pub(crate) fn with_pool<R>(
        self: &Arc<Self>,
        purpose: &'static str,
        section: impl FnOnce(&mut PoolCell) -> R,
    ) -> R {
        let (out, effects) = self.pool.with(purpose, |cell| {
            let out = section(cell);
            (out, cell.drain(&self.outbox))
        });
        self.finish(effects);
        out
    }

    /// Applies a directive; the caller holds the topology's lock and finishes the effects after
    /// releasing it.
    pub(crate) fn apply(&self, directive: PoolDirective, now: Instant) -> Effects {
        self.pool.with("directive", |cell| {
            cell.pool.apply(directive, now);
            let mut effects = cell.drain(&self.outbox);
            effects.chores = true;
            effects
        })
    }

    /// Closes the pool; the caller holds the topology's lock.
    pub(crate) fn close(&self, now: Instant) -> Effects {
        self.pool.with("close", |cell| {
            cell.pool.close(now);
            cell.drain(&self.outbox)
        })
    }

    /// Does what a section left: wakes, drops, spawns, and delivers events.
    pub(crate) fn finish(self: &Arc<Self>, effects: Effects) {
        let Effects {
            wakers,
            opens,
            closed,
            interrupts,
            chores,
        } = effects;
        drop(closed);
        for signal in interrupts {
            signal.raise(INTERRUPT);
        }
        for waker in wakers {
            waker.wake();
        }
        for (id, generation, signal) in opens {
            self.spawn_open(id, generation, signal);
        }
        if chores {
            self.chore_signal.raise(CHORE);
        }
        self.outbox.flush();
    }

    /// Queues background work; drops it when too much is queued.
    pub(crate) fn push_chore(&self, chore: Chore) -> Result<(), Chore> {
        self.chores.with("push", |chores| {
            if chores.len() >= CHORES_MAX {
                return Err(chore);
            }
            chores.push_back(chore);
            Ok(())
        })?;
        self.chore_signal.raise(CHORE);
        Ok(())
    }

    /// Opens a connection in a task of its own, never in a user's future.
    fn spawn_open(self: &Arc<Self>, id: ConnId, generation: Generation, signal: Arc<Signal>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let server = Arc::clone(self);
        let runtime = Arc::clone(&shared.runtime);
        drop(shared);
        let task = crate::tasks::open(server, id, generation, signal);
        if let Err(gone) = runtime.spawn(Box::pin(task)) {
            let error = Error::internal(gone.to_string());
            let now = runtime.now();
            self.with_pool("open failed", |cell| cell.pool.open_failed(id, &error, now));
        }
    }

    /// Returns a lease whose operation has ended.
    pub(crate) fn checkin(self: &Arc<Self>, token: LeaseToken, link: Box<Link>, now: Instant) {
        use mongo_client_core::conn::Health;
        let (reusable, why) = match link.health() {
            Health::Idle => (true, None),
            _ => (false, Some(ConnectionClosedReason::Error)),
        };
        self.with_pool("checkin", |cell| {
            cell.pool.checkin(token, link, reusable, why, now)
        });
    }
}

impl PoolCell {
    /// Takes the pool's actions; settles waits and collects what must happen outside the lock.
    fn drain(&mut self, outbox: &Outbox) -> Effects {
        let mut effects = Effects::default();
        while let Some(action) = self.pool.poll_action() {
            match action {
                PoolAction::Grant { ticket, lease } => {
                    self.settle(ticket, Ok(lease), &mut effects);
                }
                PoolAction::Fail { ticket, error } => {
                    self.settle(ticket, Err(error), &mut effects);
                }
                PoolAction::Open { id, generation } => {
                    let signal = Arc::new(Signal::default());
                    self.signals.insert(id, Arc::clone(&signal));
                    effects.opens.push((id, generation, signal));
                }
                PoolAction::Close { id, conn, .. } => {
                    self.signals.remove(&id);
                    effects.closed.extend(conn);
                }
                PoolAction::Interrupt { id } => {
                    effects.interrupts.extend(self.signals.get(&id).cloned());
                }
                PoolAction::Event(event) => outbox.push(AnyEvent::Cmap(event)),
            }
        }
        effects
    }

    fn settle(
        &mut self,
        ticket: Ticket,
        result: Result<Lease<Box<Link>>, mongo_client_core::pool::PoolError>,
        effects: &mut Effects,
    ) {
        let result = result.map_err(|e| e.into_error(&self.address));
        let slot = self.waits.insert(ticket, WaitSlot::Settled(result));
        if let Some(WaitSlot::Waiting(Some(waker))) = slot {
            effects.wakers.push(waker);
        }
    }
}
