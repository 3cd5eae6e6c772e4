//! The network with faults under the driver: it wakes those who wait for it.
//!
//! Locks: that of the fabric first, then that of the servers or of the simulation. Wakers are called
//! after all of them.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use mongo_client_driver::Instant;

use super::{
    fault::{Fault, FaultCounts},
    network::{Delivery, Network, NetworkConfig},
    road::{Owner, Way},
};
use crate::{
    choices::Choices,
    executor::{Sim, lock},
    swarm::{Observation, Observer},
};

/// The servers behind a fabric.
pub(crate) trait Ends: Send + Sync {
    fn dial(&self, server: usize, connection: u64, now: Instant) -> bool;
    fn receive(&self, connection: u64, bytes: &[u8], now: Instant);
    fn hang_up(&self, connection: u64, now: Instant);
    fn part(&self, servers: &[usize], now: Instant);
    fn timeout(&self, now: Instant);
    /// Carries away what the servers send; when they want to be called.
    fn collect(&self, network: &mut Network, now: Instant) -> Option<Instant>;
}

/// Where a dial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialled {
    Waiting,
    Connected,
    Failed(io::ErrorKind),
}

/// The client's end of a connection: who waits for what.
pub(super) struct Socket {
    pub(super) dialled: Dialled,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

pub(crate) struct State {
    pub(crate) network: Network,
    pub(super) sockets: BTreeMap<u64, Socket>,
    ends: Arc<dyn Ends>,
    servers_due: Option<Instant>,
    wakes: Wakes,
}

/// Whom to wake; mostly one at a time.
#[derive(Default)]
struct Wakes {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    fn add(&mut self, waker: Option<Waker>) {
        if self.first.is_none() {
            self.first = waker;
        } else {
            self.more.extend(waker);
        }
    }

    fn wake(self) {
        self.first.into_iter().for_each(Waker::wake);
        self.more.into_iter().for_each(Waker::wake);
    }
}

/// A server's address: host and port.
struct Place {
    address: String,
    host: String,
    port: u16,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fabric {
    state: Arc<Mutex<State>>,
    places: Arc<Vec<Place>>,
}

impl Fabric {
    pub(crate) fn new(
        addresses: &[String],
        config: NetworkConfig,
        choices: Box<dyn Choices>,
        ends: Arc<dyn Ends>,
    ) -> Self {
        let places = addresses.iter().map(|address| {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "27017"));
            Place {
                address: address.clone(),
                host: host.to_owned(),
                port: port.parse().unwrap_or(27_017),
            }
        });
        Self {
            places: Arc::new(places.collect()),
            state: Arc::new(Mutex::new(State {
                network: Network::new(config, addresses.len(), choices),
                sockets: BTreeMap::new(),
                ends,
                servers_due: None,
                wakes: Wakes::default(),
            })),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn knows_host(&self, host: &str) -> bool {
        self.places.iter().any(|place| place.host == host)
    }

    pub(crate) fn server_at(&self, port: u16) -> Option<usize> {
        self.places.iter().position(|place| place.port == port)
    }

    fn server(&self, address: &str) -> Option<usize> {
        self.places
            .iter()
            .position(|place| place.address == address)
    }

    /// How many connections to a server the clients have open, or are opening; `None` for an
    /// address that no server has.
    pub(crate) fn open_to(&self, address: &str) -> Option<usize> {
        let server = self.server(address)?;
        Some(self.lock().network.open_to(server))
    }
}

impl State {
    /// When something is to happen.
    fn due(&self) -> Option<Instant> {
        let network = self.network.poll_timeout();
        network.into_iter().chain(self.servers_due).min()
    }

    fn collect(&mut self) {
        let now = self.network.now;
        self.servers_due = self.ends.collect(&mut self.network, now);
    }

    /// The next thing that is due happens; false when it turned out to be nothing.
    fn turn(&mut self) -> bool {
        let now = self.network.now;
        let servers = self.servers_due.is_some_and(|due| due <= now);
        let network = self.network.poll_timeout().is_some_and(|due| due <= now);
        if servers && !(network && self.network.draw("first of a tie", 2) == 0) {
            self.ends.timeout(now);
            self.collect();
            return true;
        }
        match self.network.pop(now) {
            Some(delivery) => {
                self.deliver(delivery);
                true
            }
            None => false,
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.network.now;
        match delivery {
            Delivery::Alarm(_) => {}
            Delivery::Dial { connection, server } => {
                let taken = self.ends.dial(server, connection, now);
                self.network.answer(connection, taken);
                self.collect();
            }
            Delivery::Connected { connection } => self.dialled(connection, Dialled::Connected),
            Delivery::DialFailed {
                connection, why, ..
            } => self.dialled(connection, Dialled::Failed(why)),
            Delivery::ToClient { connection } => {
                let ended = self.network.ended(connection).is_some();
                if let Some(socket) = self.sockets.get_mut(&connection) {
                    self.wakes.add(socket.reader.take());
                    if ended {
                        self.wakes.add(socket.writer.take());
                    }
                }
            }
            Delivery::ToServer { connection } => {
                let bytes = self.network.arrived(connection, Way::ToServer);
                let n = bytes.len();
                self.ends.receive(connection, bytes, now);
                self.network.consume(connection, Way::ToServer, n);
                self.collect();
                if self.network.writable(connection) {
                    self.writable(connection);
                }
            }
            Delivery::HangUp { connection } => {
                self.ends.hang_up(connection, now);
                self.collect();
            }
            Delivery::Parted => self.part(),
            Delivery::Writable { connection } => self.writable(connection),
        }
    }

    fn dialled(&mut self, connection: u64, how: Dialled) {
        if let Some(socket) = self.sockets.get_mut(&connection) {
            socket.dialled = how;
            self.wakes.add(socket.reader.take());
        }
    }

    fn writable(&mut self, connection: u64) {
        if let Some(socket) = self.sockets.get_mut(&connection) {
            self.wakes.add(socket.writer.take());
        }
    }

    fn part(&mut self) {
        if let Some(parted) = self.network.take_parted() {
            let now = self.network.now;
            self.ends.part(&parted.unwrap_or_default(), now);
            self.collect();
        }
    }

    pub(super) fn dial(&mut self, server: usize, client: usize) -> u64 {
        let owner = Owner { client, tag: 0 };
        let now = self.network.now;
        let connection = self.network.dial(Some(server), owner, now);
        let socket = Socket {
            dialled: Dialled::Waiting,
            reader: None,
            writer: None,
        };
        self.sockets.insert(connection, socket);
        connection
    }

    pub(super) fn close(&mut self, connection: u64) {
        let now = self.network.now;
        self.sockets.remove(&connection);
        self.network.client_close(connection, now);
    }
}

impl Sim {
    /// Works on the fabric; then wakes whom it wants woken, and has it called when it wants.
    pub(crate) fn with_fabric<R>(&self, fabric: &Fabric, work: impl FnOnce(&mut State) -> R) -> R {
        let now = self.now();
        let (result, wakes) = {
            let mut state = fabric.lock();
            state.network.see(now);
            let result = work(&mut state);
            lock(&self.world).fabric_due = state.due();
            (result, std::mem::take(&mut state.wakes))
        };
        wakes.wake();
        result
    }

    pub(crate) fn fabric(&self) -> Option<Fabric> {
        lock(&self.world).fabric.clone()
    }

    /// Something of the fabric is due.
    pub(crate) fn fabric_turn(&self) -> bool {
        let fabric = self.fabric();
        fabric.is_some_and(|fabric| self.with_fabric(&fabric, State::turn))
    }

    /// The servers were worked on.
    pub(crate) fn fabric_collect(&self) {
        if let Some(fabric) = self.fabric() {
            self.with_fabric(&fabric, State::collect);
        }
    }

    /// Lets a fault strike: a clock, or the network of [`Sim::host_on`].
    pub fn inject(&self, fault: &Fault) {
        {
            let mut world = lock(&self.world);
            let now = world.now;
            world.clocks(fault.client).strike(fault, now);
        }
        if let Some(fabric) = self.fabric() {
            self.with_fabric(&fabric, |state| {
                let now = state.network.now;
                for delivery in state.network.inject(fault, now) {
                    state.deliver(delivery);
                }
                state.part();
            });
        }
    }

    /// Ends all faults of the network and of names. Clocks stay as they are.
    pub fn heal(&self) {
        if let Some(fabric) = self.fabric() {
            self.with_fabric(&fabric, |state| {
                let now = state.network.now;
                state.network.heal(now);
                state.part();
            });
        }
    }

    /// How often each kind of fault took effect.
    #[must_use]
    pub fn faults(&self) -> FaultCounts {
        let clocks = lock(&self.world).all_clocks().to_vec();
        let Some(fabric) = self.fabric() else {
            return FaultCounts::default();
        };
        let mut state = fabric.lock();
        for kind in clocks.iter().flat_map(crate::clock::Clocks::take_seen) {
            state.network.count(kind);
        }
        state.network.counts().clone()
    }

    /// How many connections a client has open, or is opening, over the network of [`Sim::host_on`].
    #[must_use]
    pub fn sockets(&self, client: usize) -> usize {
        let fabric = self.fabric();
        fabric.map_or(0, |fabric| fabric.lock().network.open_of(client))
    }

    /// Is told of everything that happens on the network of [`Sim::host_on`], from here on. It is
    /// called under locks: it must not call back into the simulation.
    pub fn set_observer(&self, observer: Option<Observer>) {
        if let Some(fabric) = self.fabric() {
            fabric.lock().network.set_observer(observer);
        }
    }

    /// Tells the observer of something that the caller knows.
    pub fn observe(&self, what: &Observation<'_>) {
        if let Some(fabric) = self.fabric() {
            let now = self.now();
            let mut state = fabric.lock();
            state.network.see(now);
            state.network.observe(what);
        }
    }
}
