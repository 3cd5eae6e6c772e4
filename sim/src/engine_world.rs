//! Engines pumped directly, among simulated servers: no executor, no futures, no locks.
//!
//! The fast way to simulate. [`EngineWorld`] owns the engines, the servers and the network between
//! them, and moves time from event to event. What an event is: one pop of the queue that is delivered
//! to a machine (bytes, a dial or an end at one end of a connection, a deadline of an engine or of
//! the servers, an alarm of the caller's). At equal times the source that goes first is drawn.
//!
//! ```
//! use std::time::Duration;
//! use bson::rawdoc;
//! use mongo_client_core::{engine::Command, net::ServerAddress, op::CommandSpec};
//! use mongo_client_core::options::ClientOptions;
//! use mongo_client_sim::{
//!     EngineWorld, Fault, FaultKind, Happening, NetworkConfig, Seeded, ServerConfig, SimServer,
//! };
//!
//! let server = SimServer::new(ServerConfig::new("db.test:27017"), Box::new(Seeded::new(1)));
//! let mut world = EngineWorld::new(server, NetworkConfig::default(), Box::new(Seeded::new(2)));
//! let mut options = ClientOptions::default();
//! options.hosts = vec![ServerAddress::parse("db.test:27017").unwrap()];
//! let client = world.add_client(options).unwrap();
//! world.inject(&Fault::new(FaultKind::Trickle));
//! let ping = CommandSpec::new("ping", "db", rawdoc! { "ping": 1 });
//! let op = world.submit(client, Command::new(ping));
//! let done = world.run_until_happening(Duration::from_secs(60));
//! assert!(matches!(done, Some(Happening::Completed { op: o, result: Ok(_), .. }) if o == op));
//! ```

mod client;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, fmt, time::Duration};

use mongo_client_core::{
    engine::{Census, Command, Engine, Event, Executed, Input, OpId, SessionId},
    error::Result,
    options::{ClientOptions, SessionOptions},
    time::Instant,
};

use self::client::Client;
use crate::{
    Output,
    choices::Choices,
    deployment::Deployment,
    net::{
        fault::{Fault, FaultCounts},
        network::{Delivery, Network, NetworkConfig},
        road::Way,
    },
    swarm::{Observation, Observer},
};

/// Alarms of the world's own have this bit.
const OWN_ALARM: u64 = 1 << 63;

/// Something that the caller may want to know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Happening {
    /// The caller asked for it.
    Alarm(u64),
    /// An operation is over.
    Completed {
        /// Whose it is.
        client: usize,
        /// The operation.
        op: OpId,
        /// Its result.
        result: Result<Executed>,
    },
    /// An event for the application. Handlers and the observer have heard it.
    Event {
        /// The client that tells it.
        client: usize,
        /// The event.
        event: Event,
    },
}

/// Engines, servers, and the network between them. They share one virtual time.
pub struct EngineWorld<D> {
    now: Instant,
    deployment: D,
    /// The servers' addresses.
    addresses: Vec<String>,
    /// When the servers want to be called.
    servers_due: Option<Instant>,
    network: Network,
    clients: Vec<Client>,
    name_server: Option<NameServer>,
    happenings: VecDeque<Happening>,
    /// Events for the application are happenings.
    tell_events: bool,
    events: u64,
}

type Answer = dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send;

/// Answers the questions of clients.
struct NameServer {
    answer: Box<Answer>,
    latency: Duration,
}

/// Where the next event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Network,
    Servers,
    Client(usize),
}

impl<D: Deployment> EngineWorld<D> {
    /// A world of servers, without clients.
    #[must_use]
    pub fn new(deployment: D, config: NetworkConfig, choices: Box<dyn Choices>) -> Self {
        let addresses = deployment.addresses();
        let mut this = Self {
            now: crate::executor::BEGINNING,
            network: Network::new(config, addresses.len(), choices),
            addresses,
            servers_due: None,
            deployment,
            clients: Vec::new(),
            name_server: None,
            happenings: VecDeque::new(),
            tell_events: false,
            events: 0,
        };
        this.pump_servers();
        this
    }

    /// Is told of everything that happens on the network and of the events of the clients, from
    /// here on. Set it before the clients are added: their events are asked for only then.
    pub fn set_observer(&mut self, observer: Observer) {
        self.network.set_observer(Some(observer));
    }

    /// Answers every datagram of the clients, whatever its destination, after a delay; `None` is
    /// silence. Without this all is silence.
    pub fn answer_datagrams(
        &mut self,
        latency: Duration,
        answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) {
        let answer = Box::new(answer);
        self.name_server = Some(NameServer { answer, latency });
    }

    /// Takes the observer away.
    pub fn clear_observer(&mut self) {
        self.network.set_observer(None);
    }

    /// Whether events for the application become [`Happening`]s; at first they do not.
    pub fn tell_events(&mut self, tell: bool) {
        self.tell_events = tell;
    }

    /// Tells the observer of something that the caller knows.
    pub fn observe(&mut self, what: &Observation<'_>) {
        self.network.see(self.now);
        self.network.observe(what);
    }

    /// Adds a client, which begins to connect; its number.
    ///
    /// # Errors
    ///
    /// Invalid options.
    pub fn add_client(&mut self, options: ClientOptions) -> Result<usize> {
        let number = self.clients.len();
        let observed = self.network.is_observed();
        let seed = self.network.draw("client entropy", u64::MAX);
        let client = Client::new(number, options, observed, seed, self.now)?;
        self.clients.push(client);
        self.pump(number);
        Ok(number)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many clients were added.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Works on the servers, and lets the consequences happen.
    pub fn with<R>(&mut self, work: impl FnOnce(&mut D, Instant) -> R) -> R {
        let result = work(&mut self.deployment, self.now);
        self.pump_servers();
        result
    }

    /// The servers, to look at.
    #[must_use]
    pub fn deployment(&self) -> &D {
        &self.deployment
    }

    /// An engine, to look at. Panics for a client that was not added, like indexing.
    #[must_use]
    pub fn engine(&self, client: usize) -> &Engine {
        &self.clients[client].engine
    }

    /// What an engine holds.
    #[must_use]
    pub fn census(&self, client: usize) -> Census {
        self.clients[client].engine.census()
    }

    /// How many connections a client has open, or is opening, as the network counts them.
    #[must_use]
    pub fn sockets(&self, client: usize) -> usize {
        self.network.open_of(client)
    }

    /// Works on an engine, and lets the consequences happen.
    pub fn with_engine<R>(
        &mut self,
        client: usize,
        work: impl FnOnce(&mut Engine, Instant) -> R,
    ) -> R {
        let now = self.now;
        let state = &mut self.clients[client];
        state.clocks.set(now);
        let result = work(&mut state.engine, now);
        self.pump(client);
        result
    }

    /// Begins an operation; it ends in a [`Happening::Completed`].
    pub fn submit(&mut self, client: usize, command: Command) -> OpId {
        self.with_engine(client, |engine, now| engine.submit(command, now))
    }

    /// Gives an operation up: nothing more is heard of it.
    pub fn cancel(&mut self, client: usize, op: OpId) {
        self.happenings.retain(|happening| {
            !matches!(happening, Happening::Completed { client: c, op: o, .. }
                if (*c, *o) == (client, op))
        });
        self.with_engine(client, |engine, now| engine.cancel(op, now));
    }

    /// Gives a cursor up; see [`Engine::kill_cursor`].
    pub fn kill_cursor(&mut self, client: usize, command: Command) {
        self.with_engine(client, |engine, now| engine.kill_cursor(command, now));
    }

    /// Starts a session.
    ///
    /// # Errors
    ///
    /// Options that exclude each other; a client that was shut down.
    pub fn start_session(&mut self, client: usize, options: &SessionOptions) -> Result<SessionId> {
        self.with_engine(client, |engine, now| engine.start_session(options, now))
    }

    /// A session for a cursor; see [`Engine::implicit_session`].
    pub fn implicit_session(&mut self, client: usize) -> SessionId {
        self.with_engine(client, |engine, _| engine.implicit_session())
    }

    /// Ends a session.
    pub fn end_session(&mut self, client: usize, session: SessionId) {
        self.with_engine(client, |engine, now| engine.end_session(session, now));
    }

    /// Ends a client; [`Engine::is_closed`] says when it has ended.
    pub fn shutdown(&mut self, client: usize) {
        self.with_engine(client, Engine::shutdown);
    }

    /// Lets a fault strike.
    pub fn inject(&mut self, fault: &Fault) {
        if let Some(client) = self.clients.get(fault.client) {
            client.clocks.set(self.now);
            client.clocks.strike(fault, self.now);
        }
        for delivery in self.network.inject(fault, self.now) {
            self.deliver(delivery);
        }
        self.part_servers();
    }

    /// Ends all faults of the network and of names. Clocks stay as they are.
    pub fn heal(&mut self) {
        self.network.heal(self.now);
        self.part_servers();
    }

    /// How often each kind of fault took effect.
    pub fn faults(&mut self) -> &FaultCounts {
        self.count_clocks();
        self.network.counts()
    }

    fn count_clocks(&mut self) {
        for client in &self.clients {
            for kind in client.clocks.take_seen() {
                self.network.count(kind);
            }
        }
    }

    /// Asks for a [`Happening::Alarm`].
    ///
    /// # Panics
    ///
    /// When the token's highest bit is set.
    pub fn alarm(&mut self, at: Instant, token: u64) {
        assert!(token & OWN_ALARM == 0, "the highest bit is the world's own");
        self.network.alarm(at.max(self.now), token);
    }

    /// The next thing that the caller may want to know.
    pub fn poll_happening(&mut self) -> Option<Happening> {
        self.happenings.pop_front()
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_event(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// Moves time to the next event and lets it happen; false when there is none until then, and
    /// time is `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        let Some((at, source)) = self.next().filter(|(at, _)| *at <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        let source = self.tie(at, source);
        self.now = self.now.max(at);
        match source {
            Source::Network => {
                // Nothing is due when a fault has changed what was under way.
                let Some(delivery) = self.network.pop(at) else {
                    return true;
                };
                self.events += 1;
                self.deliver(delivery);
            }
            Source::Servers => {
                self.events += 1;
                self.deployment.handle_timeout(self.now);
                self.pump_servers();
            }
            Source::Client(client) => {
                self.events += 1;
                self.with_engine(client, |engine, now| engine.handle(Input::Timeout, now));
            }
        }
        true
    }

    /// Runs for a time.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Runs until there is a happening, or for a time.
    pub fn run_until_happening(&mut self, time: Duration) -> Option<Happening> {
        let until = self.now + time;
        loop {
            if let Some(happening) = self.happenings.pop_front() {
                return Some(happening);
            }
            if !self.step(until) {
                return None;
            }
        }
    }

    fn next(&self) -> Option<(Instant, Source)> {
        let network = self.network.poll_timeout();
        let mut next = network.map(|at| (at, Source::Network));
        let mut offer = |at: Option<Instant>, source| {
            if let Some(at) = at
                && next.is_none_or(|(first, _)| at < first)
            {
                next = Some((at, source));
            }
        };
        offer(self.servers_due, Source::Servers);
        for (number, client) in self.clients.iter().enumerate() {
            offer(client.due, Source::Client(number));
        }
        next
    }

    /// Which of the sources that are due at an instant goes first.
    fn tie(&mut self, at: Instant, first: Source) -> Source {
        let servers = self.servers_due == Some(at);
        let due = |client: &&Client| client.due == Some(at);
        let clients = self.clients.iter().filter(due).count();
        let sources = usize::from(first == Source::Network) + usize::from(servers) + clients;
        if sources < 2 {
            return first;
        }
        let mut all = Vec::with_capacity(sources);
        all.extend((first == Source::Network).then_some(Source::Network));
        all.extend(servers.then_some(Source::Servers));
        let clients = self.clients.iter().enumerate();
        let clients = clients.filter(|(_, client)| client.due == Some(at));
        all.extend(clients.map(|(number, _)| Source::Client(number)));
        let drawn = self.network.draw("first of a tie", all.len() as u64);
        all[usize::try_from(drawn).unwrap_or(0)]
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Alarm(token) if token & OWN_ALARM != 0 => self.looked_up(token & !OWN_ALARM),
            Delivery::Alarm(token) => self.happenings.push_back(Happening::Alarm(token)),
            Delivery::Dial { connection, server } => {
                let taken = self.deployment.listens(server)
                    && self.deployment.accept(server, connection, self.now);
                self.network.answer(connection, taken);
                self.pump_servers();
            }
            Delivery::Connected { connection } => self.connected(connection),
            Delivery::DialFailed { owner, why, .. } => self.not_connected(owner, why),
            Delivery::ToClient { connection } => self.read(connection),
            Delivery::ToServer { connection } => {
                let bytes = self.network.arrived(connection, Way::ToServer);
                let n = bytes.len();
                self.deployment.receive(connection, bytes, self.now);
                self.network.consume(connection, Way::ToServer, n);
                self.pump_servers();
                if self.network.writable(connection) {
                    self.write(connection);
                }
            }
            Delivery::HangUp { connection } => {
                self.deployment.hang_up(connection, self.now);
                self.pump_servers();
            }
            Delivery::Parted => self.part_servers(),
            Delivery::Writable { connection } => self.write(connection),
        }
    }

    /// Carries away what the servers send.
    fn pump_servers(&mut self) {
        while let Some(output) = self.deployment.poll_output() {
            match output {
                Output::Bytes(id, bytes) => self.network.server_send(id, &bytes, self.now),
                Output::Close(id) => self.network.server_close(id, false, self.now),
                Output::Reset(id) => self.network.server_close(id, true, self.now),
            }
        }
        self.servers_due = self.deployment.poll_timeout();
    }

    fn part_servers(&mut self) {
        if let Some(parted) = self.network.take_parted() {
            self.deployment.part(&parted.unwrap_or_default(), self.now);
            self.pump_servers();
        }
    }
}

impl<D> fmt::Debug for EngineWorld<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineWorld")
            .field("now", &self.now)
            .field("events", &self.events)
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}
