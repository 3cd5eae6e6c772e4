//! The network as a machine: what is dialled, sent and closed goes in, what arrives comes out.
//!
//! It has no clock, no sockets and no randomness of its own: time is an argument and decisions come
//! from [`Choices`]. It moves the bytes of all connections between clients and servers, lets faults
//! strike, and counts those that took effect. Whoever hosts it hands on what
//! [`pop`](Network::pop) gives. The event world of the engine and the runtime of the driver use it in
//! the same way.
//!
//! 1. What arrives at one end is a prefix of what the other end sent, unless a byte was corrupted.
//! 2. Every dial ends in one of `Connected`, `DialFailed` and the client's own closing, or never.
//! 3. A connection that ended at both ends is forgotten; its number is not used again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    time::Duration,
};

use mongo_client_core::time::Instant;

use super::{
    conditions::{Active, Conditions, Names},
    fault::{FaultCounts, FaultKind},
    lane::{Arrival, Pace},
    road::{Ended, Owner, Road, Roads, Way},
};
use crate::{
    choices::Choices,
    swarm::{Observation, Observer},
};

/// What a network is told at its beginning.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The least time that bytes are under way, one way.
    pub latency_min: Duration,
    /// The mean of what comes on top of that, exponentially distributed.
    pub latency_mean: Duration,
    /// So many bytes of a client may be under way on one connection; then its writes wait.
    pub window: usize,
}

impl Default for NetworkConfig {
    /// Half a millisecond each way, and 64 KiB.
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(500),
            latency_mean: Duration::ZERO,
            window: 64 * 1024,
        }
    }
}

/// Something that the host of a network has to hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// To the host itself, as it asked.
    Alarm(u64),
    /// A dial has reached a server: [`Network::answer`] says whether it takes it.
    Dial { connection: u64, server: usize },
    /// To the client: its dial has succeeded.
    Connected { connection: u64 },
    /// To the client: its dial has failed.
    DialFailed {
        connection: u64,
        owner: Owner,
        why: io::ErrorKind,
    },
    /// To the host: what [`Network::take_parted`] gives may have changed.
    Parted,
    /// To the client: there is something to read, or the end ([`Network::ended`]).
    ToClient { connection: u64 },
    /// To the server: there is something to read.
    ToServer { connection: u64 },
    /// To the server: the connection is over.
    HangUp { connection: u64 },
    /// To the client: it can write again.
    Writable { connection: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Alarm(u64),
    /// The next step of an opening.
    Open(u64),
    Fail(u64, io::ErrorKind),
    FaultEnds,
    Lane(u64, Way),
    Writable(u64),
}

/// See the module.
pub(crate) struct Network {
    pub(super) config: NetworkConfig,
    pub(super) choices: Box<dyn Choices>,
    pub(crate) now: Instant,
    pub(super) roads: Roads,
    heap: BinaryHeap<Reverse<(Instant, u64, Item)>>,
    sequence: u64,
    pub(super) active: Vec<Active>,
    /// By server.
    pub(super) conditions: Vec<Conditions>,
    pub(super) names: Names,
    /// Faults that have struck and not taken effect.
    pub(super) unfelt: BTreeMap<u64, FaultKind>,
    pub(super) fault_last: u64,
    /// The servers on one side of a partition among servers, and the fault.
    pub(super) parted: Option<(Vec<usize>, u64)>,
    pub(super) parted_is_new: bool,
    counts: FaultCounts,
    pub(super) observer: Option<Observer>,
}

impl Network {
    pub(crate) fn new(config: NetworkConfig, servers: usize, choices: Box<dyn Choices>) -> Self {
        Self {
            config,
            choices,
            now: Instant::ZERO,
            roads: Roads::default(),
            heap: BinaryHeap::new(),
            sequence: 0,
            active: Vec::new(),
            conditions: vec![Conditions::default(); servers],
            names: Names::default(),
            unfelt: BTreeMap::new(),
            fault_last: 0,
            parted: None,
            parted_is_new: false,
            counts: FaultCounts::default(),
            observer: None,
        }
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// A draw from the network's stream, for its host.
    pub(crate) fn draw(&mut self, label: &'static str, bound: u64) -> u64 {
        self.choices.draw(label, bound)
    }

    pub(crate) fn set_observer(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    pub(crate) fn counts(&self) -> &FaultCounts {
        &self.counts
    }

    /// Time passes; it does not go back.
    pub(crate) fn see(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(crate) fn observe(&mut self, what: &Observation<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(self.now, what);
        }
    }

    /// A fault takes effect; it counts once.
    pub(super) fn feel(&mut self, id: u64) {
        if let Some(kind) = self.unfelt.remove(&id) {
            self.count(kind);
        }
    }

    pub(crate) fn count(&mut self, kind: FaultKind) {
        self.counts.add(kind);
        self.observe(&Observation::Fault { kind: kind.name() });
    }

    pub(super) fn at(&mut self, at: Instant, item: Item) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, item)));
    }

    /// Asks for a [`Delivery::Alarm`].
    pub(crate) fn alarm(&mut self, at: Instant, token: u64) {
        self.at(at, Item::Alarm(token));
    }

    /// How long something is under way.
    pub(super) fn latency(&mut self) -> Duration {
        let mean = self.config.latency_mean;
        if mean.is_zero() {
            return self.config.latency_min;
        }
        // Minus the logarithm of an evenly drawn number, in steps of a bit and linear between them.
        let drawn = 1 + self.choices.draw("latency", 1 << 16);
        let bits = drawn.ilog2();
        let rest = ((drawn - (1 << bits)) * 1024) >> bits;
        let log2 = u64::from(16 - bits) * 1024 - rest;
        let nanos = u64::try_from(mean.as_nanos()).unwrap_or(u64::MAX);
        let more = nanos.saturating_mul(log2) / 1024 * 693 / 1000;
        self.config.latency_min + Duration::from_nanos(more)
    }

    fn conditions_of(&self, server: Option<usize>) -> Option<&Conditions> {
        self.conditions.get(server?)
    }

    /// A client dials a server; `None` is an address at which there is none.
    pub(crate) fn dial(&mut self, server: Option<usize>, owner: Owner, now: Instant) -> u64 {
        self.see(now);
        let connection = self.roads.insert(Road::new(server, owner));
        let client = owner.client;
        self.observe(&Observation::Dialled {
            connection,
            client,
            server,
        });
        let at = self.now + self.latency();
        self.at(at, Item::Open(connection));
        connection
    }

    /// The owner of a connection that its client has not closed.
    pub(crate) fn owner(&self, connection: u64) -> Option<Owner> {
        let road = self.roads.get(connection).filter(|road| road.client_open);
        road.map(|road| road.owner)
    }

    /// The client writes. How many bytes were taken; 0 when it has to wait for
    /// [`Delivery::Writable`], or the connection is over ([`Self::ended`]).
    pub(crate) fn client_send(&mut self, connection: u64, bytes: &[u8], now: Instant) -> usize {
        self.see(now);
        let Some(road) = self.roads.get_mut(connection).filter(|r| r.client_open) else {
            return 0;
        };
        if road.ended == Some(Ended::Reset) || road.write_armed || bytes.is_empty() {
            road.wants_to_write |= road.write_armed;
            return 0;
        }
        let lane = road.lane(Way::ToServer);
        let mut n = bytes
            .len()
            .min(self.config.window - lane.under_way().min(self.config.window));
        let partial = road.server.and_then(|s| self.conditions.get(s)?.partial);
        if n == 0 {
            road.wants_to_write = true;
            return 0;
        }
        if let Some((most, fault)) = partial {
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(n);
            let drawn = 1 + self.choices.draw("partial write", most as u64);
            n = usize::try_from(drawn).unwrap_or(n);
            if n < bytes.len() {
                road.write_armed = true;
                road.wants_to_write = true;
                let pause = 100 + self.choices.draw("write pause us", 2_000);
                let at = self.now + Duration::from_micros(pause);
                self.at(at, Item::Writable(connection));
                self.feel(fault);
            }
        }
        if n < bytes.len()
            && let Some(road) = self.roads.get_mut(connection)
        {
            road.wants_to_write = true;
        }
        let bytes = &bytes[..n];
        self.observe(&Observation::ClientBytes { connection, bytes });
        self.send(connection, Way::ToServer, bytes);
        n
    }

    /// The server writes.
    pub(crate) fn server_send(&mut self, connection: u64, bytes: &[u8], now: Instant) {
        self.see(now);
        self.send(connection, Way::ToClient, bytes);
    }

    fn send(&mut self, connection: u64, way: Way, bytes: &[u8]) {
        let mut first = self.now + self.latency();
        let Some(road) = self.roads.get_mut(connection) else {
            return;
        };
        if let Some(fault) = road.silent {
            return self.feel(fault);
        }
        if way == Way::ToClient && (!road.client_open || road.ended.is_some()) {
            return;
        }
        let conditions = road.server.and_then(|s| self.conditions.get(s));
        let (clog, pace) = conditions.map_or((None, None), |c| (c.clog, c.pace));
        if let Some((until, _)) = clog {
            first = first.max(until);
        }
        let lane = &mut road.lanes[way as usize];
        let paced = lane.send(bytes, first, pace.map(|(pace, _)| pace), &mut *self.choices);
        self.arm(connection, way);
        if let Some((_, fault)) = clog {
            self.feel(fault);
        }
        if let Some((pace, fault)) = pace
            && paced
            && (bytes.len() > 1 || !matches!(pace, Pace::Pieces(_)))
        {
            self.feel(fault);
        }
    }

    pub(super) fn arm(&mut self, connection: u64, way: Way) {
        let road = self.roads.get_mut(connection);
        if let Some(at) = road.and_then(|road| road.lane(way).arm()) {
            self.at(at.max(self.now), Item::Lane(connection, way));
        }
    }

    /// The client lets go of a connection, open or being opened.
    pub(crate) fn client_close(&mut self, connection: u64, now: Instant) {
        self.see(now);
        let first = self.now + self.latency();
        let Some(road) = self.roads.get_mut(connection).filter(|r| r.client_open) else {
            return;
        };
        road.client_open = false;
        road.lane(Way::ToClient).abort();
        let connected = road.opening == super::road::Opening::Done;
        let heard = road.ended.is_some();
        if road.server_open {
            road.lane(Way::ToServer).end(Arrival::Fin, first);
            self.arm(connection, Way::ToServer);
        } else {
            self.roads.remove(connection);
        }
        if !connected {
            self.observe(&Observation::DialFailed { connection });
        } else if !heard {
            let by_client = true;
            self.observe(&Observation::Closed {
                connection,
                by_client,
            });
        }
    }

    /// The server ends a connection, in order or not.
    pub(crate) fn server_close(&mut self, connection: u64, reset: bool, now: Instant) {
        self.see(now);
        let first = self.now + self.latency();
        let Some(road) = self.roads.get_mut(connection) else {
            return;
        };
        road.server_open = false;
        let end = if reset { Arrival::Reset } else { Arrival::Fin };
        road.lane(Way::ToClient).end(end, first);
        if road.is_over() {
            self.roads.remove(connection);
        } else {
            self.arm(connection, Way::ToClient);
        }
    }

    /// What has arrived at an end of a connection.
    pub(crate) fn arrived(&self, connection: u64, way: Way) -> &[u8] {
        let road = self.roads.get(connection);
        road.map_or(&[], |road| road.lanes[way as usize].arrived())
    }

    /// Takes away what an end has read.
    pub(crate) fn consume(&mut self, connection: u64, way: Way, n: usize) {
        if let Some(road) = self.roads.get_mut(connection) {
            road.lane(way).consume(n);
        }
    }

    /// Whether the client has nothing to find out.
    pub(crate) fn is_drained(&self, connection: u64) -> bool {
        let road = self.roads.get(connection);
        road.is_none_or(|road| {
            road.ended.is_none() && road.lanes[Way::ToClient as usize].arrived().is_empty()
        })
    }

    /// What the client finds behind the bytes that have arrived.
    pub(crate) fn ended(&self, connection: u64) -> Option<Ended> {
        self.roads.get(connection)?.ended
    }

    /// How many connections a client has open, or is opening.
    pub(crate) fn open_of(&self, client: usize) -> usize {
        let open = |road: &&Road| road.client_open && road.owner.client == client;
        self.roads.iter().map(|(_, road)| road).filter(open).count()
    }

    /// How many connections to a server are open at their clients, or being opened.
    pub(crate) fn open_to(&self, server: usize) -> usize {
        let open =
            |road: &&Road| road.client_open && road.ended.is_none() && road.server == Some(server);
        self.roads.iter().map(|(_, road)| road).filter(open).count()
    }

    /// When [`Self::pop`] has something, at the earliest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next thing that happens until then, and when; time moves there.
    pub(crate) fn pop(&mut self, until: Instant) -> Option<Delivery> {
        while let Some(Reverse((at, ..))) = self.heap.peek() {
            if *at > until {
                return None;
            }
            let Reverse((at, _, item)) = self.heap.pop()?;
            self.see(at);
            if let Some(delivery) = self.happen(item) {
                return Some(delivery);
            }
        }
        None
    }

    fn happen(&mut self, item: Item) -> Option<Delivery> {
        match item {
            Item::Alarm(token) => Some(Delivery::Alarm(token)),
            Item::Open(connection) => self.open(connection),
            Item::Fail(connection, why) => self.fail(connection, why),
            Item::FaultEnds => {
                self.expire();
                Some(Delivery::Parted)
            }
            Item::Lane(connection, way) => self.arrive(connection, way),
            Item::Writable(connection) => {
                let road = self.roads.get_mut(connection)?;
                road.write_armed = false;
                let told = self.writable(connection);
                told.then_some(Delivery::Writable { connection })
            }
        }
    }

    fn arrive(&mut self, connection: u64, way: Way) -> Option<Delivery> {
        let now = self.now;
        let road = self.roads.get_mut(connection)?;
        let server = road.server;
        let lane = road.lane(way);
        lane.armed = false;
        if lane.is_held() {
            let held = self
                .conditions_of(server)
                .and_then(|c| c.held[way as usize]);
            if let Some(fault) = held {
                self.feel(fault);
            }
            return None;
        }
        let arrived = lane.arrive(now);
        let corrupt = match (&arrived, lane.corrupt) {
            (Some((Arrival::Bytes(n), _)), Some(fault)) => {
                lane.corrupt = None;
                lane.corrupt(*n, &mut *self.choices);
                Some(fault)
            }
            _ => None,
        };
        self.arm(connection, way);
        let (what, cut) = arrived?;
        for fault in cut.into_iter().chain(corrupt) {
            self.feel(fault);
        }
        match way {
            Way::ToClient => self.arrive_at_client(connection, what),
            Way::ToServer => self.arrive_at_server(connection, what),
        }
    }

    fn arrive_at_client(&mut self, connection: u64, what: Arrival) -> Option<Delivery> {
        let now = self.now;
        let road = self.roads.get_mut(connection)?;
        if !road.client_open {
            return None;
        }
        match what {
            Arrival::Bytes(n) => {
                if let Some(observer) = &mut self.observer {
                    let bytes = road.lanes[Way::ToClient as usize].newest(n);
                    observer(now, &Observation::ServerBytes { connection, bytes });
                }
            }
            Arrival::Fin => self.end_at_client(connection, Ended::Eof),
            Arrival::Reset => self.end_at_client(connection, Ended::Reset),
        }
        Some(Delivery::ToClient { connection })
    }

    /// The client's end is over. A reset is over for the server too, which hears of it if it can.
    pub(super) fn end_at_client(&mut self, connection: u64, ended: Ended) {
        let first = self.now + self.latency();
        let Some(road) = self.roads.get_mut(connection) else {
            return;
        };
        if road.ended.is_some() {
            return;
        }
        road.ended = Some(ended);
        if ended == Ended::Reset {
            road.lane(Way::ToServer).abort();
            road.lane(Way::ToServer).shut = false;
            if road.server_open {
                road.lane(Way::ToServer).end(Arrival::Reset, first);
                self.arm(connection, Way::ToServer);
            }
        }
        let by_client = false;
        self.observe(&Observation::Closed {
            connection,
            by_client,
        });
    }

    fn arrive_at_server(&mut self, connection: u64, what: Arrival) -> Option<Delivery> {
        let first = self.now + self.latency();
        let road = self.roads.get_mut(connection)?;
        if !road.server_open {
            // The server has closed its end: it answers what still comes with a reset.
            let lane = road.lane(Way::ToServer);
            lane.consume(usize::MAX);
            if road.client_open && road.ended == Some(Ended::Eof) {
                let lane = road.lane(Way::ToClient);
                lane.shut = false;
                lane.end(Arrival::Reset, first);
                self.arm(connection, Way::ToClient);
            }
            return None;
        }
        if matches!(what, Arrival::Bytes(_)) {
            return Some(Delivery::ToServer { connection });
        }
        road.server_open = false;
        if what == Arrival::Reset && road.client_open && road.ended.is_none() {
            let lane = road.lane(Way::ToClient);
            lane.abort();
            lane.shut = false;
            lane.end(Arrival::Reset, first);
            self.arm(connection, Way::ToClient);
        }
        if self.roads.get(connection).is_some_and(Road::is_over) {
            self.roads.remove(connection);
        }
        Some(Delivery::HangUp { connection })
    }

    /// Whether the client is to be told that it can write: it waits for that, and can.
    pub(crate) fn writable(&mut self, connection: u64) -> bool {
        let window = self.config.window;
        let Some(road) = self.roads.get_mut(connection) else {
            return false;
        };
        let room = road.lane(Way::ToServer).under_way() < window;
        let told = road.wants_to_write && !road.write_armed && room && road.client_open;
        road.wants_to_write &= !told;
        told
    }
}
