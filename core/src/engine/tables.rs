//! Who is who: the engine's servers and sockets, its timers, and what is left to do.
//!
//! Everything that the routes of topology and pools reach is here, apart from the machine that is
//! being drained. A table is a `BTreeMap`, so that the order of effects depends on inputs alone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Event, OpId, Output, PinId, SocketId, TimerTag, timers::Timers};
use crate::{
    conn::{Connection, ConnectionConfig},
    error::Error,
    id::{ConnId, ExchangeId, Generation, ServerId, Ticket},
    monitor::{Monitor, RttProbe},
    net::ServerAddress,
    options::ClientOptions,
    pool::{Lease, LeaseToken, Pool, PoolError},
    settings::Settings,
    time::Instant,
    topology::TopologyView,
};

/// The shortest time between two rounds of a pool's maintenance.
const MAINTENANCE_MIN: Duration = Duration::from_millis(10);

/// What a step left for later, so that no machine is fed while it is drained.
#[derive(Debug)]
pub(super) enum Work {
    /// Close a socket that its pool gave up.
    Close(SocketId),
    /// Stop what a socket does.
    Interrupt(SocketId),
    /// Look at a monitor.
    Monitor(ServerId),
    /// Open a connection for a pool.
    Open {
        server: ServerId,
        id: ConnId,
        generation: Generation,
    },
    /// Look at a probe.
    Probe(ServerId),
    /// Look the SRV records up again.
    ResolveSrv,
    /// Let those who wait for a server look at the new view.
    Select,
    /// A ticket has its result.
    Settled {
        op: Option<OpId>,
        server: ServerId,
        result: Result<Lease<SocketId>, PoolError>,
    },
}

/// What a socket belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Monitor(ServerId),
    Pool {
        server: ServerId,
        id: ConnId,
        generation: Generation,
    },
    Probe(ServerId),
}

impl Role {
    pub(super) fn server(self) -> ServerId {
        match self {
            Self::Monitor(server) | Self::Probe(server) | Self::Pool { server, .. } => server,
        }
    }
}

/// Who uses a pool's socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum User {
    /// Nobody: it is available.
    Nobody,
    /// Its opening has not ended.
    Opening,
    /// An operation has leased it.
    Op(OpId),
    /// The reply of a cancelled operation is consumed.
    Draining(LeaseToken),
    /// A cursor keeps it; it is idle, or the reply of a cancelled operation is consumed.
    Pinned(PinId),
}

/// A connection: the machine here, its stream at the host.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) role: Role,
    /// `None` while it is dialled, and once it broke while nobody used it.
    pub(super) conn: Option<Box<Connection>>,
    pub(super) user: User,
    /// When dialling ends.
    pub(super) dial_until: Option<Instant>,
    /// It broke while no operation used it; the pool does not know yet.
    pub(super) dead: bool,
    /// The host was told to write, and has not written everything since.
    pub(super) write_told: bool,
}

/// A monitor or a probe, and its connection.
#[derive(Debug)]
pub(super) struct WatchCell<M> {
    pub(super) machine: M,
    pub(super) socket: Option<SocketId>,
    /// Whether the exchange that the machine wants has begun.
    pub(super) running: bool,
}

impl<M> WatchCell<M> {
    pub(super) fn new(machine: M) -> Self {
        Self {
            machine,
            socket: None,
            running: false,
        }
    }
}

/// A server of the topology, or one that was removed and still has connections in use.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: ServerAddress,
    pub(super) config: Arc<ConnectionConfig>,
    pub(super) monitor_config: Arc<ConnectionConfig>,
    pub(super) pool: Pool<SocketId>,
    pub(super) monitor: Option<WatchCell<Monitor>>,
    pub(super) probe: Option<WatchCell<RttProbe>>,
    /// Operations that have selected the server and not ended (selection: "operationCount").
    pub(super) operations: u32,
    pub(super) removed: bool,
    /// A check began after the removal.
    pub(super) muted: bool,
    /// When the pool's timer fired last.
    pub(super) maintained: Option<Instant>,
}

impl Server {
    pub(super) fn new(
        settings: &Settings,
        address: ServerAddress,
        events: bool,
        now: Instant,
    ) -> Self {
        let balanced = settings.topology.load_balanced;
        Self {
            config: Arc::new(settings.connection_config(&address)),
            monitor_config: Arc::new(settings.monitor_connection_config(&address)),
            pool: Pool::new(settings.pool_config(&address, events), now),
            monitor: (!balanced)
                .then(|| WatchCell::new(Monitor::new(settings.monitor_config(&address), now))),
            probe: None,
            operations: 0,
            removed: false,
            muted: false,
            maintained: None,
            address,
        }
    }
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) cmap: bool,
    pub(super) command: bool,
    pub(super) sdam: bool,
}

impl Wishes {
    pub(super) fn of(options: &ClientOptions) -> Self {
        Self {
            cmap: options.cmap_event_handler.is_some(),
            command: options.command_event_handler.is_some(),
            sdam: options.sdam_event_handler.is_some(),
        }
    }
}

/// All that the routes reach.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) servers: BTreeMap<ServerId, Server>,
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    /// The sockets of pools, by the pools' own names.
    pub(super) pooled: BTreeMap<(ServerId, ConnId), SocketId>,
    pub(super) tickets: BTreeMap<(ServerId, Ticket), OpId>,
    pub(super) timers: Timers,
    pub(super) work: VecDeque<Work>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) view: Option<Arc<TopologyView>>,
    pub(super) wishes: Wishes,
    socket_last: u64,
}

impl Tables {
    pub(super) fn new(wishes: Wishes) -> Self {
        Self {
            servers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            pooled: BTreeMap::new(),
            tickets: BTreeMap::new(),
            timers: Timers::default(),
            work: VecDeque::new(),
            outputs: VecDeque::new(),
            view: None,
            wishes,
            socket_last: 0,
        }
    }

    pub(super) fn emit(&mut self, event: Event) {
        let wanted = match &event {
            Event::Cmap(_) => self.wishes.cmap,
            Event::Command(_) => self.wishes.command,
            Event::Sdam(_) => self.wishes.sdam,
        };
        if wanted {
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// Asks the host for a connection.
    pub(super) fn dial(
        &mut self,
        role: Role,
        address: ServerAddress,
        keep_alive: bool,
        deadline: Option<Instant>,
    ) -> SocketId {
        self.socket_last += 1;
        let conn = SocketId(self.socket_last);
        let socket = Socket {
            role,
            conn: None,
            user: User::Opening,
            dial_until: deadline,
            dead: false,
            write_told: false,
        };
        self.sockets.insert(conn, socket);
        if let Role::Pool { server, id, .. } = role {
            self.pooled.insert((server, id), conn);
        }
        self.timers.set(TimerTag::Socket(conn), deadline);
        self.outputs.push_back(Output::Open {
            conn,
            address,
            keep_alive,
            deadline,
        });
        conn
    }

    /// Forgets a socket. The host closes it, unless it has none (`told`).
    pub(super) fn forget(&mut self, conn: SocketId, told: bool) {
        let Some(socket) = self.sockets.remove(&conn) else {
            return;
        };
        if let Role::Pool { server, id, .. } = socket.role {
            self.pooled.remove(&(server, id));
        }
        self.timers.set(TimerTag::Socket(conn), None);
        if !told && !socket.dead {
            self.outputs.push_back(Output::Close { conn });
        }
    }

    /// Brings a socket's timer up to date, and tells the host of bytes to write.
    pub(super) fn touch(&mut self, conn: SocketId) {
        let Some(socket) = self.sockets.get_mut(&conn) else {
            return;
        };
        let Some(machine) = &socket.conn else {
            return;
        };
        let until = machine.poll_timeout().map(|(at, _)| at);
        let nothing_to_write = machine.poll_write(&mut [&[]]) == 0;
        self.timers.set(TimerTag::Socket(conn), until);
        if nothing_to_write {
            socket.write_told = false;
        } else if !std::mem::replace(&mut socket.write_told, true) {
            self.outputs.push_back(Output::Write { conn });
        }
    }

    /// Brings a pool's timer up to date.
    pub(super) fn arm_pool(&mut self, id: ServerId) {
        let at = self.servers.get(&id).and_then(|server| {
            let (at, _) = server.pool.poll_timeout()?;
            let earliest = server.maintained.map(|at| at + MAINTENANCE_MIN);
            Some(earliest.map_or(at, |earliest| at.max(earliest)))
        });
        self.timers.set(TimerTag::Pool(id), at);
    }

    /// Drops a removed server once nothing of it is in use.
    pub(super) fn reap(&mut self, id: ServerId) {
        let done = self.servers.get(&id).is_some_and(|server| {
            server.removed
                && server.monitor.is_none()
                && server.probe.is_none()
                && server.operations == 0
                && server.pool.counts().total() == 0
        });
        if done {
            self.servers.remove(&id);
            for tag in [
                TimerTag::Pool(id),
                TimerTag::Monitor(id),
                TimerTag::Probe(id),
            ] {
                self.timers.set(tag, None);
            }
        }
    }
}

/// A connection that an operation has leased.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) server: ServerId,
    pub(super) token: LeaseToken,
    pub(super) socket: SocketId,
    pub(super) exchange: Option<ExchangeId>,
}

/// The error of a pool that is gone with its server.
pub(super) fn pool_gone(address: &ServerAddress) -> Error {
    PoolError::Closed.into_error(address)
}
