//! What all handles of a client share once it has started: the topology and its servers.
//!
//! This is the control plane: facts go into the topology machine under its lock, and its actions
//! are carried out here. Order of locks: topology → pool → event queue; everything that wakes,
//! drops, spawns or calls back happens after unlocking.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};

use mongo_client_core::{
    conn::ConnectionConfig,
    error::{Error, ErrorKind, Result},
    event::sdam::SdamEvent,
    id::{OperationId, ServerId, TopologyId},
    net::ServerAddress,
    options::ClientOptions,
    pool::{PoolCounts, PoolDirective},
    rng::Rng,
    route::{self, TopologyRoutes},
    session::ServerSessionPool,
    time::Instant,
    topology::{AppError, CheckOutcome, Topology, TopologyConfig, TopologyView},
};

use crate::{
    cluster_time::ClusterTimeCell,
    guarded::Guarded,
    incarnation::{Incarnation, RuntimeSource},
    outbox::{AnyEvent, Outbox},
    runtime::{Runtime, Timer},
    server::{CANCEL, CHECK, Effects, STOP, Server},
    settings::Settings,
    signal::Signal,
    tasks,
    view_cell::{Snapshot, ViewCell},
};

/// A started client.
pub(crate) struct Shared {
    /// The clock and the random source: they outlive every runtime. Tasks, timers and links are
    /// those of [`Self::life`].
    pub(crate) clock: Arc<dyn Runtime>,
    source: RuntimeSource,
    life: RwLock<Arc<Incarnation>>,
    /// Whether the runtime has died and nobody has started the tasks again.
    lost: AtomicBool,
    pub(crate) options: Arc<ClientOptions>,
    pub(crate) settings: Settings,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) views: ViewCell,
    pub(crate) sessions: Guarded<ServerSessionPool>,
    pub(crate) cluster_time: ClusterTimeCell,
    pub(crate) rng: Guarded<Rng>,
    control: Guarded<Control>,
    srv_signals: Guarded<SrvSignals>,
    operations: AtomicI64,
    /// How often the topology was closed; [`SHUT_DOWN`] once it is for good.
    closes: AtomicU32,
    /// Whether the topology is closed and the next operation opens another.
    suspended: AtomicBool,
    /// The number of the first id of the present topology's servers.
    first_server: AtomicU32,
}

/// In place of the number of closes: the client was shut down.
const SHUT_DOWN: u32 = u32::MAX;

/// The signals of the tasks that look SRV records up; each topology has its own.
#[derive(Clone, Default)]
struct SrvSignals {
    /// Tells the polling that a lookup has ended, or to end.
    polling: Arc<Signal>,
    /// Ends the lookup that is under way.
    lookup: Arc<Signal>,
}

/// The id of a new topology: none is used twice in a process.
pub(crate) fn next_topology_id() -> TopologyId {
    static IDS: AtomicU64 = AtomicU64::new(1);
    TopologyId(IDS.fetch_add(1, Ordering::Relaxed))
}

/// What a client holds, for tests that look for leaks.
#[doc(hidden)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The pools of the servers, in the order of their ids.
    pub pools: Vec<(ServerAddress, PoolCounts)>,
    /// Checkouts that wait for a connection or have not taken it yet.
    pub wait_slots: usize,
    /// Connections that can be interrupted: those established or being opened.
    pub signals: usize,
    /// Background work: drains that are queued, errands that are queued or under way.
    pub chores: usize,
    /// Operations that wait for a server.
    pub view_waiters: usize,
    /// Operations that have a server.
    pub operations: u32,
    /// Server sessions that are not in use.
    pub sessions: usize,
}

/// The topology machine and the servers that it knows.
struct Control {
    topology: Topology,
    servers: BTreeMap<ServerId, Arc<Server>>,
}

/// What is left to do once the topology's lock is free.
#[derive(Default)]
struct Aftermath {
    pools: Vec<(Arc<Server>, Effects)>,
    added: Vec<Arc<Server>>,
    signals: Vec<(Arc<Server>, u32)>,
    published: bool,
    resolve_srv: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("view", &self.views.load().view)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// A client on a runtime; [`Self::begin`] starts it.
    pub(crate) fn new(
        clock: Arc<dyn Runtime>,
        source: RuntimeSource,
        options: Arc<ClientOptions>,
        settings: Settings,
        id: TopologyId,
    ) -> Arc<Self> {
        let now = clock.now();
        let mut seed = [0; 8];
        clock.entropy(&mut seed);
        let seed = u64::from_le_bytes(seed);
        let config = TopologyConfig {
            id,
            rng_seed: seed,
            ..settings.topology.clone()
        };
        let topology = Topology::new(config, now);
        let snapshot = Snapshot {
            view: topology.view(),
            servers: BTreeMap::new(),
        };
        Arc::new(Self {
            outbox: Arc::new(Outbox::new(&options)),
            views: ViewCell::new(snapshot),
            sessions: Guarded::new(ServerSessionPool::default()),
            cluster_time: ClusterTimeCell::default(),
            rng: Guarded::new(Rng::from_seed(seed ^ 0x5eed)),
            control: Guarded::new(Control {
                topology,
                servers: BTreeMap::new(),
            }),
            srv_signals: Guarded::new(SrvSignals::default()),
            operations: AtomicI64::new(0),
            closes: AtomicU32::new(0),
            suspended: AtomicBool::new(false),
            first_server: AtomicU32::new(0),
            life: RwLock::new(Incarnation::new(Arc::clone(&clock))),
            lost: AtomicBool::new(false),
            clock,
            source,
            options,
            settings,
        })
    }

    /// Begins to work: the servers are added, their monitors start, listeners hear of it.
    pub(crate) fn begin(self: &Arc<Self>) {
        self.with_topology("start", |_, _| {});
        self.start_polling();
    }

    fn start_polling(self: &Arc<Self>) {
        if self.settings.topology.srv.is_some() {
            let signal = self.srv_signal();
            tasks::spawn(self, tasks::srv_polling(self.weak(), self.life(), signal));
        }
    }

    pub(crate) fn weak(self: &Arc<Self>) -> Weak<Self> {
        Arc::downgrade(self)
    }

    /// The present life: where tasks and links belong.
    pub(crate) fn life(&self) -> Arc<Incarnation> {
        Arc::clone(&self.life.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the runtime has died and nobody has started the tasks again.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// A life is over: everybody who waits looks up, and the first starts the tasks again.
    pub(crate) fn life_lost(&self, life: &Arc<Incarnation>) {
        {
            // Under the lock, so that the death of an old life is not taken for that of the new.
            let present = self.life.read().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(&present, life) {
                return;
            }
            self.lost.store(true, Ordering::Release);
        }
        for server in self.views.load().servers.values() {
            server.wake_waits();
        }
        self.views.wake_all();
    }

    /// Sees to it that the client's tasks run. After the death of their runtime they are started
    /// again, on the one that the caller runs in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] where no runtime is left.
    pub(crate) fn ensure_alive(self: &Arc<Self>) -> Result<()> {
        // Who waits while the client is closed is told so; only a new operation opens it again.
        if self.is_lost() && !self.is_closed() && !self.is_suspended() {
            self.revive()
        } else {
            Ok(())
        }
    }

    /// Lets an operation begin: sees to it that the tasks run and that there is a topology. What
    /// it answers is for [`Self::check_since`].
    ///
    /// # Errors
    ///
    /// `Shutdown`, and those of [`Self::ensure_alive`].
    pub(crate) fn enter(self: &Arc<Self>) -> Result<u32> {
        let mut closes = self.closes.load(Ordering::Acquire);
        if closes != SHUT_DOWN && self.is_lost() {
            self.revive()?;
            closes = self.closes.load(Ordering::Acquire);
        }
        if closes == SHUT_DOWN {
            return Err(Error::new(ErrorKind::Shutdown));
        }
        Ok(closes)
    }

    /// Whether the client still is what it was when an operation entered.
    ///
    /// # Errors
    ///
    /// `Shutdown`, and `Closed` when it was closed meanwhile.
    pub(crate) fn check_since(&self, entered: u32) -> Result<()> {
        let closes = self.closes.load(Ordering::Acquire);
        if closes == entered {
            Ok(())
        } else if closes == SHUT_DOWN {
            Err(Error::new(ErrorKind::Shutdown))
        } else {
            Err(Error::new(ErrorKind::Closed))
        }
    }

    #[cold]
    fn revive(self: &Arc<Self>) -> Result<()> {
        let present = self.life();
        let next = if present.is_dead() {
            self.source.next()
        } else {
            // The client was closed, or its runtime has dropped nothing yet.
            Some(Arc::clone(present.runtime()))
        };
        let life = next
            .map(Incarnation::new)
            .filter(|life| life.takes_tasks())
            .ok_or_else(|| {
                Error::invalid_argument(
                    "the async runtime of the client has been shut down, and this call does not \
                     come from inside another",
                )
            })?;
        let now = self.clock.now();
        let revived = self.control.with("revive", |control| {
            let mut present = self.life.write().unwrap_or_else(PoisonError::into_inner);
            if !self.is_lost() || self.is_closed() {
                return None;
            }
            *present = Arc::clone(&life);
            if self.suspended.swap(false, Ordering::AcqRel) {
                control.topology = self.next_topology(&control.topology, now);
            }
            self.lost.store(false, Ordering::Release);
            drop(present);
            let servers = control.servers.values().cloned().collect::<Vec<_>>();
            Some((servers, self.drain(control, now)))
        });
        // Somebody else may have been faster.
        if let Some((servers, opened)) = revived {
            self.finish(opened);
            for server in servers {
                tasks::start_server(self, &server);
                server.reopen();
            }
            self.start_polling();
            if life.is_dead() {
                // It may have died before it was the present one, and nobody was told.
                self.life_lost(&life);
            }
        }
        Ok(())
    }

    /// The topology that follows a closed one: with another id, and ids of servers of its own.
    fn next_topology(&self, closed: &Topology, now: Instant) -> Topology {
        let mut seed = [0; 8];
        self.clock.entropy(&mut seed);
        let first_server = closed.next_server();
        self.first_server.store(first_server, Ordering::Release);
        self.srv_signals
            .with("renew", |signals| *signals = SrvSignals::default());
        let config = TopologyConfig {
            id: next_topology_id(),
            rng_seed: u64::from_le_bytes(seed),
            first_server,
            ..self.settings.topology.clone()
        };
        Topology::new(config, now)
    }

    /// Ends the topology, its monitors and pools; the next operation opens another. Operations
    /// under way that need a server again fail with `Closed`.
    pub(crate) fn suspend(self: &Arc<Self>) {
        let now = self.clock.now();
        let ended = self.control.with("suspend", |control| {
            let open = |closes: u32| (closes != SHUT_DOWN).then(|| (closes + 1) % SHUT_DOWN);
            if self.is_suspended()
                || self
                    .closes
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, open)
                    .is_err()
            {
                return None;
            }
            self.suspended.store(true, Ordering::Release);
            control.topology.close(now);
            let after = self.drain(control, now);
            // Last: whoever sees it finds the topology closed.
            self.lost.store(true, Ordering::Release);
            Some(after)
        });
        if let Some(after) = ended {
            self.finish(after);
            self.stop_srv();
        }
    }

    /// Whether the topology is closed and the next operation opens another.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Whether a server belongs to a topology that was closed.
    pub(crate) fn is_former(&self, server: ServerId) -> bool {
        server.0 < self.first_server.load(Ordering::Acquire) || self.is_suspended()
    }

    /// Tells the polling of SRV records that a lookup has ended, or to end.
    pub(crate) fn srv_signal(&self) -> Arc<Signal> {
        self.srv_signals
            .with("polling", |signals| Arc::clone(&signals.polling))
    }

    /// Ends the lookup of SRV records that is under way.
    pub(crate) fn lookup_signal(&self) -> Arc<Signal> {
        self.srv_signals
            .with("lookup", |signals| Arc::clone(&signals.lookup))
    }

    fn stop_srv(&self) {
        self.srv_signal().raise(STOP);
        self.lookup_signal().raise(STOP);
    }

    /// A timer for somebody who waits: of the runtime that polls, where that is known.
    pub(crate) fn wait_timer(&self) -> Box<dyn Timer> {
        let life = self.life();
        if life.runtime().is_current() && !life.is_dead() {
            return life.runtime().timer();
        }
        match self.source.callers() {
            Some(runtime) => runtime.timer(),
            None => life.runtime().timer(),
        }
    }

    /// Runs a section on the topology and then carries out its actions.
    pub(crate) fn with_topology<R>(
        self: &Arc<Self>,
        purpose: &'static str,
        section: impl FnOnce(&mut Topology, Instant) -> R,
    ) -> R {
        let now = self.clock.now();
        let (out, aftermath) = self.control.with(purpose, |control| {
            let out = section(&mut control.topology, now);
            (out, self.drain(control, now))
        });
        self.finish(aftermath);
        out
    }

    /// Takes the topology's actions, in order; runs under its lock.
    fn drain(self: &Arc<Self>, control: &mut Control, now: Instant) -> Aftermath {
        let mut after = Aftermath::default();
        let Control { topology, servers } = control;
        let mut routing = Routing {
            shared: self,
            servers,
            after: &mut after,
            now,
        };
        route::topology(topology, &mut routing);
        after
    }

    fn finish(self: &Arc<Self>, after: Aftermath) {
        for server in after.added {
            tasks::start_server(self, &server);
        }
        for (server, effects) in after.pools {
            server.finish(effects);
        }
        for (server, bits) in after.signals {
            server.monitor_signal.raise(bits);
            if bits == STOP {
                server.probe_signal.raise(STOP);
                server.chore_signal.raise(STOP);
            }
        }
        if after.published {
            self.views.wake_all();
        }
        if after.resolve_srv {
            tasks::spawn(self, tasks::resolve_srv(self.weak(), self.life()));
        }
        self.outbox.flush();
    }

    fn new_server(self: &Arc<Self>, id: ServerId, address: ServerAddress, now: Instant) -> Server {
        let mut pool = self.settings.pool.clone();
        pool.address = address.clone();
        pool.events = self.outbox.wants_cmap();
        let config = ConnectionConfig {
            address: address.clone(),
            ..self.settings.connection.clone()
        };
        Server::new(self, id, address, pool, config, now)
    }

    /// A check of a server has ended.
    pub(crate) fn handle_check(self: &Arc<Self>, server: ServerId, outcome: CheckOutcome) {
        self.with_topology("check", |t, now| t.handle_check(server, outcome, now));
    }

    /// Queues a monitor's event, unless the topology has ended: nothing comes after that. A server
    /// that was removed, by its own reply perhaps, begins no check any more.
    pub(crate) fn heartbeat(&self, server: &Server, event: SdamEvent) {
        if self.outbox.wants_sdam() {
            self.control.with("heartbeat", |control| {
                let begins = matches!(event, SdamEvent::ServerHeartbeatStarted(_));
                if begins && !control.servers.contains_key(&server.id) {
                    server.muted.store(true, Ordering::Relaxed);
                }
                let muted = server.muted.load(Ordering::Relaxed);
                if !muted && !self.is_closed() && !self.is_former(server.id) {
                    self.outbox.push(AnyEvent::Sdam(event));
                }
            });
        }
    }

    /// An application's connection failed, or a command failed in a way that tells of the server.
    pub(crate) fn handle_app_error(self: &Arc<Self>, server: ServerId, error: &AppError) {
        self.with_topology("application error", |t, now| {
            t.handle_app_error(server, error, now);
        });
    }

    /// A selection finds no server: check all of them soon.
    pub(crate) fn request_check(self: &Arc<Self>) {
        self.with_topology("request check", |t, now| t.request_check(now));
    }

    /// Whether the client was shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.closes.load(Ordering::Acquire) == SHUT_DOWN
    }

    /// Ends monitors and pools; operations that follow fail with `Shutdown`.
    pub(crate) fn close(self: &Arc<Self>) {
        if self.closes.swap(SHUT_DOWN, Ordering::AcqRel) != SHUT_DOWN {
            self.with_topology("close", |t, now| t.close(now));
            self.stop_srv();
        }
    }

    pub(crate) fn census(&self) -> Census {
        let servers: Vec<_> = self.control.with("census", |control| {
            control.servers.values().cloned().collect()
        });
        let mut census = Census {
            view_waiters: self.views.waiting(),
            sessions: self.sessions.with("census", |pool| pool.len()),
            ..Census::default()
        };
        for server in servers {
            server.count(&mut census);
        }
        census
    }

    pub(crate) fn next_operation(&self) -> OperationId {
        OperationId(self.operations.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Where the topology's actions go, under its lock.
struct Routing<'a> {
    shared: &'a Arc<Shared>,
    servers: &'a mut BTreeMap<ServerId, Arc<Server>>,
    after: &'a mut Aftermath,
    now: Instant,
}

impl Routing<'_> {
    fn signal(&mut self, id: ServerId, bit: u32) {
        let server = self.servers.get(&id);
        self.after
            .signals
            .extend(server.map(|s| (Arc::clone(s), bit)));
    }
}

impl TopologyRoutes for Routing<'_> {
    fn add_server(&mut self, id: ServerId, address: ServerAddress) {
        let server = Arc::new(self.shared.new_server(id, address, self.now));
        self.servers.insert(id, Arc::clone(&server));
        self.after.added.push(server);
    }

    fn remove_server(&mut self, id: ServerId) {
        if let Some(server) = self.servers.remove(&id) {
            let effects = server.close(self.now);
            self.after.pools.push((Arc::clone(&server), effects));
            self.after.signals.push((server, STOP));
        }
    }

    fn direct_pool(&mut self, id: ServerId, directive: PoolDirective) {
        if let Some(server) = self.servers.get(&id) {
            let effects = server.apply(directive, self.now);
            self.after.pools.push((Arc::clone(server), effects));
        }
    }

    fn check_now(&mut self, id: ServerId) {
        self.signal(id, CHECK);
    }

    fn cancel_check(&mut self, id: ServerId) {
        self.signal(id, CANCEL);
    }

    fn publish(&mut self, view: Arc<TopologyView>) {
        self.shared.views.store(Arc::new(Snapshot {
            view,
            servers: self.servers.clone(),
        }));
        self.after.published = true;
    }

    fn resolve_srv(&mut self) {
        self.after.resolve_srv = true;
    }

    fn event(&mut self, event: SdamEvent) {
        self.shared.outbox.push(AnyEvent::Sdam(event));
    }
}
