//! One server of the topology: its pool, its operation count and its background tasks.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use mongo_client_core::{
    conn::{ConnectionConfig, Health},
    error::Error,
    event::cmap::{CmapEvent, ConnectionClosedReason},
    id::{ConnId, Generation, ServerId, Ticket},
    marks::{self, Mark},
    mutants::{self, Mutant},
    net::ServerAddress,
    pool::{Lease, LeaseToken, Pool, PoolConfig, PoolDirective, PoolError},
    route::{self, PoolRoutes},
    time::Instant,
};

use crate::{
    guarded::Guarded,
    link::{INTERRUPT, Link},
    outbox::{AnyEvent, Outbox},
    runtime::BoxFuture,
    shared::{Census, Shared},
    signal::Signal,
    tasks,
};

/// Raised on a server's chore signal: the pool or the chore list has changed.
pub(crate) const CHORE: u32 = 1;
/// Raised on a server's chore or monitor signal: the server was removed or the client closed.
pub(crate) const STOP: u32 = 2;
/// Raised on a server's monitor signal: check now.
pub(crate) const CHECK: u32 = 4;
/// Raised on a server's monitor signal: abandon the running check.
pub(crate) const CANCEL: u32 = 8;
/// Raised on a server's probe signal: its monitor streams, so that round-trip times have to be measured
/// beside it.
pub(crate) const PROBE: u32 = 16;
/// More errands than this are not taken on: they are best effort, and a bound on memory. Drains
/// have their bound in the pool's size.
const ERRANDS_MAX: usize = 1_000;

/// A server of the topology.
pub(crate) struct Server {
    pub(crate) id: ServerId,
    pub(crate) address: Arc<ServerAddress>,
    pub(crate) config: Arc<ConnectionConfig>,
    pub(crate) monitor_config: Arc<ConnectionConfig>,
    /// Operations that have selected the server and not ended (selection: "operationCount").
    pub(crate) operations: AtomicU32,
    /// A check began after the removal: neither its beginning nor its end is told.
    pub(crate) muted: AtomicBool,
    pub(crate) pool: Guarded<PoolCell>,
    chores: Guarded<Chores>,
    /// How many errands are queued or under way.
    errands: AtomicUsize,
    opens: Guarded<Opens>,
    pub(crate) chore_signal: Arc<Signal>,
    pub(crate) monitor_signal: Arc<Signal>,
    pub(crate) probe_signal: Arc<Signal>,
    pub(crate) shared: Weak<Shared>,
    outbox: Arc<Outbox>,
}

/// Work for a server's background task.
pub(crate) enum Chore {
    /// Consume the reply of a dropped operation, then return the link.
    Drain(Draining),
    /// Anything else: killCursors of a dropped cursor.
    Run(BoxFuture<'static, ()>),
}

/// Counts an errand until it ends or is dropped.
struct Errand(Arc<Server>);

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.errands.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Default)]
struct Chores {
    queue: VecDeque<Chore>,
    /// The incarnation whose task takes them.
    life: u64,
    /// Nobody takes chores any more.
    ended: bool,
}

impl Chores {
    fn drains(&self) -> usize {
        let drains = self.queue.iter().filter(|c| matches!(c, Chore::Drain(_)));
        drains.count()
    }
}

/// A lease that only consumes a reply that nobody waits for. Dropped before its end, it closes the
/// connection: its runtime may be gone.
pub(crate) struct Draining {
    server: Arc<Server>,
    token: LeaseToken,
    link: Option<Box<Link>>,
}

impl Draining {
    pub(crate) fn new(server: Arc<Server>, token: LeaseToken, link: Box<Link>) -> Self {
        Self {
            server,
            token,
            link: Some(link),
        }
    }

    /// Waits for the end of the reply, and checks the connection in.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| match &mut self.link {
            Some(link) => link.poll_drained(cx).map(drop),
            None => Poll::Ready(()),
        })
        .await;
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else {
            return;
        };
        if !matches!(link.health(), Health::Idle | Health::Perished) {
            marks::reached(Mark::CancelDriverDrainDropped);
        }
        let (token, now) = (self.token, link.life().runtime().now());
        let idle = link.health() == Health::Idle;
        let why = (!idle).then_some(ConnectionClosedReason::Dropped);
        self.server.with_pool("drained", |cell| {
            cell.pool.checkin(token, link, idle, why, now);
        });
    }
}

/// Connections that are to be opened. One thread spawns for all, so that a runtime that refuses
/// cannot make one failure nest in the other.
#[derive(Default)]
struct Opens {
    queue: VecDeque<(ConnId, Generation, Arc<Signal>)>,
    spawning: bool,
}

/// Lets others spawn again when the runtime's `spawn` panics.
struct Spawning<'a>(&'a Guarded<Opens>);

impl Drop for Spawning<'_> {
    fn drop(&mut self) {
        self.0.with("end spawning", |opens| opens.spawning = false);
    }
}

/// A pool with the waits of its tickets, under one lock so that no wake-up is lost.
pub(crate) struct PoolCell {
    pub(crate) pool: Pool<Box<Link>>,
    pub(crate) waits: BTreeMap<Ticket, WaitSlot>,
    signals: BTreeMap<ConnId, Arc<Signal>>,
    /// When the background task looks at the pool by itself.
    armed: Instant,
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
            armed: Instant::MAX,
            address: address.clone(),
        };
        Self {
            id,
            address: Arc::new(address),
            config: Arc::new(config),
            monitor_config: Arc::new(monitor_config),
            operations: AtomicU32::new(0),
            muted: AtomicBool::new(false),
            pool: Guarded::new(cell),
            chores: Guarded::new(Chores::default()),
            errands: AtomicUsize::new(0),
            opens: Guarded::new(Opens::default()),
            chore_signal: Arc::default(),
            monitor_signal: Arc::default(),
            probe_signal: Arc::default(),
            shared: Arc::downgrade(shared),
            outbox: Arc::clone(&shared.outbox),
        }
    }

    /// Whether the client's runtime has died and no other has taken its tasks yet.
    fn is_lost(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| shared.is_lost())
    }

    /// The load that selection compares.
    pub(crate) fn load(&self) -> u32 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Adds what the server holds to a census.
    pub(crate) fn count(&self, census: &mut Census) {
        self.pool.with("census", |cell| {
            census
                .pools
                .push(((*self.address).clone(), cell.pool.counts()));
            census.wait_slots += cell.waits.len();
            census.signals += cell.signals.len();
        });
        census.chores += self.chores.with("census", |chores| chores.drains());
        census.chores += self.errands.load(Ordering::Acquire);
        census.operations += self.load();
    }

    /// Runs a section on the pool and then everything that must happen outside its lock.
    pub(crate) fn with_pool<R>(
        self: &Arc<Self>,
        purpose: &'static str,
        section: impl FnOnce(&mut PoolCell) -> R,
    ) -> R {
        let (out, effects) = self.pool.with(purpose, |cell| {
            let out = section(cell);
            // Without listeners a checkout and its checkin leave nothing to do.
            let effects = cell.has_effects().then(|| cell.drain(&self.outbox));
            (out, effects)
        });
        if let Some(effects) = effects {
            self.finish(effects);
        }
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
        if !opens.is_empty() {
            self.spawn_opens(opens);
        }
        if chores {
            self.chore_signal.raise(CHORE);
        }
        self.outbox.flush();
    }

    /// Queues an errand, best effort: one too many is dropped.
    pub(crate) fn push_errand(self: &Arc<Self>, task: BoxFuture<'static, ()>) {
        let errand = Errand(Arc::clone(self));
        if self.errands.fetch_add(1, Ordering::AcqRel) >= ERRANDS_MAX {
            return;
        }
        self.push_chore(Chore::Run(Box::pin(async move {
            let _errand = errand;
            task.await;
        })));
    }

    /// Queues background work; drops it when the server's task has ended.
    pub(crate) fn push_chore(&self, chore: Chore) {
        let refused = self.chores.with("push", |chores| {
            if chores.ended {
                return Some(chore);
            }
            chores.queue.push_back(chore);
            None
        });
        if refused.is_none() {
            self.chore_signal.raise(CHORE);
        }
    }

    /// A background task of this incarnation begins to take chores.
    pub(crate) fn begin_chores(&self, life: u64) {
        self.chores.with("begin", |chores| {
            chores.life = life;
            chores.ended = false;
        });
    }

    /// Takes the next chore.
    pub(crate) fn pop_chore(&self) -> Option<Chore> {
        self.chores.with("pop", |chores| chores.queue.pop_front())
    }

    /// The background task is no more: drops what is queued and refuses the rest.
    pub(crate) fn end_chores(&self, life: u64) {
        let left = self.chores.with("end", |chores| {
            if chores.life != life {
                return VecDeque::new();
            }
            chores.ended = true;
            std::mem::take(&mut chores.queue)
        });
        drop(left);
    }

    /// Opens connections in tasks of their own, never in a user's future.
    fn spawn_opens(self: &Arc<Self>, opens: Vec<(ConnId, Generation, Arc<Signal>)>) {
        let mine = self.opens.with("queue", |all| {
            all.queue.extend(opens);
            !std::mem::replace(&mut all.spawning, true)
        });
        if !mine {
            return;
        }
        let guard = Spawning(&self.opens);
        while let Some((id, generation, signal)) = self.opens.with("next", |all| {
            // Without a runtime they wait for the next life.
            let next = if self.is_lost() {
                None
            } else {
                all.queue.pop_front()
            };
            all.spawning = next.is_some();
            next
        }) {
            if let Some(shared) = self.shared.upgrade() {
                tasks::spawn_open(&shared, self, id, generation, signal);
            }
        }
        std::mem::forget(guard);
    }

    /// The runtime died while a connection was being opened: the next one opens it, which may be
    /// there already.
    pub(crate) fn postpone_open(
        self: &Arc<Self>,
        id: ConnId,
        generation: Generation,
        signal: Arc<Signal>,
    ) {
        self.spawn_opens(vec![(id, generation, signal)]);
    }

    /// A new life has begun: opens what was left.
    pub(crate) fn reopen(self: &Arc<Self>) {
        self.spawn_opens(Vec::new());
    }

    /// Wakes everybody who waits for a connection.
    pub(crate) fn wake_waits(&self) {
        let wakers: Vec<Waker> = self.pool.with("wake", |cell| {
            let waiting = cell.waits.values_mut().filter_map(|slot| match slot {
                WaitSlot::Waiting(waker) => waker.take(),
                WaitSlot::Settled(_) => None,
            });
            waiting.collect()
        });
        for waker in wakers {
            waker.wake();
        }
    }

    /// Returns a lease whose operation was dropped, and that cannot be used again.
    pub(crate) fn close_dropped(
        self: &Arc<Self>,
        token: LeaseToken,
        link: Box<Link>,
        now: Instant,
    ) {
        let why = Some(ConnectionClosedReason::Dropped);
        self.with_pool("dropped", |cell| {
            cell.pool.checkin(token, link, false, why, now);
        });
    }

    /// Returns a lease whose operation has ended.
    pub(crate) fn checkin(self: &Arc<Self>, token: LeaseToken, link: Box<Link>, now: Instant) {
        let (reusable, why) = match link.health() {
            Health::Idle if link.life().is_dead() => (false, Some(ConnectionClosedReason::Stale)),
            Health::Idle => (true, None),
            _ => (false, Some(ConnectionClosedReason::Error)),
        };
        let error = link.error();
        self.with_pool("checkin", |cell| {
            if let Some(error) = &error {
                cell.pool.blame(token, error);
            }
            cell.pool.checkin(token, link, reusable, why, now)
        });
    }
}

impl PoolCell {
    /// The background task looks at the pool: what is due is done. When it looks again.
    pub(crate) fn maintain(&mut self, now: Instant) -> Instant {
        self.pool.handle_timeout(now);
        self.armed = self.due();
        self.armed
    }

    fn due(&self) -> Instant {
        self.pool.poll_timeout().map_or(Instant::MAX, |(at, _)| at)
    }

    /// A connection could not be opened.
    pub(crate) fn open_failed(&mut self, id: ConnId, error: &Error, now: Instant) {
        self.signals.remove(&id);
        self.pool.open_failed(id, error, now);
    }

    /// Whether [`Self::drain`] has anything to do.
    fn has_effects(&self) -> bool {
        self.pool.has_actions() || self.due() < self.armed
    }

    /// Takes the pool's actions; settles waits and collects what must happen outside the lock.
    fn drain(&mut self, outbox: &Outbox) -> Effects {
        let mut effects = Effects::default();
        let mut routing = Routing {
            waits: &mut self.waits,
            signals: &mut self.signals,
            address: &self.address,
            effects: &mut effects,
            outbox,
        };
        route::pool(&mut self.pool, &mut routing);
        let due = self.due();
        if due < self.armed {
            self.armed = due;
            effects.chores = true;
        }
        effects
    }
}

/// Where a pool's actions go, under its lock.
struct Routing<'a> {
    waits: &'a mut BTreeMap<Ticket, WaitSlot>,
    signals: &'a mut BTreeMap<ConnId, Arc<Signal>>,
    address: &'a ServerAddress,
    effects: &'a mut Effects,
    outbox: &'a Outbox,
}

impl PoolRoutes<Box<Link>> for Routing<'_> {
    fn settle(&mut self, ticket: Ticket, result: Result<Lease<Box<Link>>, PoolError>) {
        let result = result.map_err(|e| e.into_error(self.address));
        let slot = self.waits.insert(ticket, WaitSlot::Settled(result));
        if let Some(WaitSlot::Waiting(Some(waker))) = slot
            && !mutants::active(Mutant::LostWakeUp)
        {
            self.effects.wakers.push(waker);
        }
    }

    fn open(&mut self, id: ConnId, generation: Generation) {
        let signal = Arc::new(Signal::default());
        self.signals.insert(id, Arc::clone(&signal));
        self.effects.opens.push((id, generation, signal));
    }

    fn close(&mut self, id: ConnId, conn: Option<Box<Link>>, _why: ConnectionClosedReason) {
        self.signals.remove(&id);
        self.effects.closed.extend(conn);
    }

    fn interrupt(&mut self, id: ConnId) {
        self.effects
            .interrupts
            .extend(self.signals.get(&id).cloned());
    }

    fn event(&mut self, event: CmapEvent) {
        self.outbox.push(AnyEvent::Cmap(event));
    }
}
