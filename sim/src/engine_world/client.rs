//! One engine of a world, and what its host does for it.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use mongo_client_core::{
    conn::IoFault,
    engine::{DnsInput, DnsOutput, Engine, Event, Input, LookupId, OpenError, Output, SocketId},
    error::Result,
    event::EventHandler,
    net::ServerAddress,
    options::ClientOptions,
    rng::Rng,
    settings::Environment,
    time::Instant,
};

use super::{EngineWorld, Happening, OWN_ALARM};
use crate::{
    clock::Clocks,
    deployment::Deployment,
    net::{
        road::{Ended, Owner, Way},
        strike::Lookup,
    },
    swarm::Observation,
};

/// A dial of a dead address is given up for the next one after so long (RFC 8305, section 5).
const NEXT_ADDRESS_MS: u64 = 250;

pub(super) struct Client {
    pub(super) engine: Engine,
    /// When the engine wants to be called.
    pub(super) due: Option<Instant>,
    pub(super) clocks: Clocks,
    sockets: BTreeMap<SocketId, Socket>,
    /// Lookups that take time, by their alarms.
    lookups: BTreeMap<u64, (SocketId, ServerAddress, Lookup)>,
    /// Answers of the name server that are under way, by their alarms.
    answers: BTreeMap<u64, (LookupId, SocketAddr, Vec<u8>)>,
    lookup_last: u64,
}

/// How far the opening of a connection is.
enum Socket {
    /// Its host is looked up.
    LookedUp,
    /// It has a number on the network.
    Dialled(u64),
}

impl Client {
    pub(super) fn new(
        number: usize,
        mut options: ClientOptions,
        observed: bool,
        seed: u64,
        now: Instant,
    ) -> Result<Self> {
        if observed {
            options
                .cmap_event_handler
                .get_or_insert(EventHandler::callback(|_| {}));
            options
                .command_event_handler
                .get_or_insert(EventHandler::callback(|_| {}));
            options
                .sdam_event_handler
                .get_or_insert(EventHandler::callback(|_| {}));
        }
        let clocks = Clocks::new();
        clocks.set(now);
        let wall = clocks.clone();
        let mut rng = Rng::from_seed(seed);
        let entropy = move |out: &mut [u8]| {
            for chunk in out.chunks_mut(8) {
                let drawn = rng.next_u64().to_le_bytes();
                chunk.copy_from_slice(&drawn[..chunk.len()]);
            }
        };
        let engine = Engine::new(
            options,
            Environment::default(),
            Box::new(entropy),
            Arc::new(move || wall.wall()),
            now,
        )?;
        Ok(Self {
            engine,
            due: None,
            clocks,
            sockets: BTreeMap::new(),
            lookups: BTreeMap::new(),
            answers: BTreeMap::new(),
            // Alarms of several clients are told apart by these bits.
            lookup_last: (number as u64) << 40,
        })
    }
}

impl<D: Deployment> EngineWorld<D> {
    /// Does what an engine wants done.
    pub(super) fn pump(&mut self, client: usize) {
        while let Some(output) = self.clients[client].engine.poll_output() {
            match output {
                Output::Close { conn } => self.close(client, conn),
                Output::Completed { op, result } => {
                    let done = Happening::Completed { client, op, result };
                    self.happenings.push_back(done);
                }
                Output::Derive { conn, job } => {
                    let key = job.run();
                    let input = Input::Derived { conn, key };
                    self.clients[client].engine.handle(input, self.now);
                }
                Output::Event(event) => self.tell(client, event),
                Output::Open { conn, address, .. } => self.look_up(client, conn, address),
                Output::Write { conn } => {
                    let socket = self.clients[client].sockets.get(&conn);
                    if let Some(&Socket::Dialled(connection)) = socket {
                        self.write_some(client, conn, connection);
                    }
                }
                Output::Dns { lookup, output } => self.ask_names(client, lookup, output),
                _ => {}
            }
        }
        let due = self.clients[client].engine.poll_timeout();
        self.clients[client].due = due.map(|(at, _)| at);
    }

    fn tell(&mut self, client: usize, event: Event) {
        if self.network.is_observed() {
            let what = match &event {
                Event::Cmap(event) => Some(Observation::Cmap { client, event }),
                Event::Command(event) => Some(Observation::Command { client, event }),
                Event::Sdam(event) => Some(Observation::Sdam { client, event }),
                _ => None,
            };
            self.network.see(self.now);
            if let Some(what) = what {
                self.network.observe(&what);
            }
        }
        if self.tell_events {
            event.clone().deliver(self.clients[client].engine.options());
            self.happenings
                .push_back(Happening::Event { client, event });
        } else {
            event.deliver(self.clients[client].engine.options());
        }
    }

    fn close(&mut self, client: usize, conn: SocketId) {
        let socket = self.clients[client].sockets.remove(&conn);
        if let Some(Socket::Dialled(connection)) = socket {
            self.network.client_close(connection, self.now);
        }
    }

    fn look_up(&mut self, client: usize, conn: SocketId, address: ServerAddress) {
        let mut lookup = self.network.look_up(self.now);
        if lookup.found {
            let pause = if lookup.refused { 1 } else { NEXT_ADDRESS_MS };
            let pause = std::time::Duration::from_millis(pause * lookup.dead);
            lookup.at = lookup.at + pause;
            if lookup.at == self.now {
                return self.dial(client, conn, &address);
            }
        }
        let state = &mut self.clients[client];
        state.lookup_last += 1;
        let token = state.lookup_last;
        state.sockets.insert(conn, Socket::LookedUp);
        state.lookups.insert(token, (conn, address, lookup));
        self.network.alarm(lookup.at, token | OWN_ALARM);
    }

    /// Sends a question to the name server. There are datagrams only.
    fn ask_names(&mut self, client: usize, lookup: LookupId, output: DnsOutput) {
        let DnsOutput::SendDatagram { server, bytes } = output else {
            return;
        };
        let Some(names) = &mut self.name_server else {
            return;
        };
        if let Some(answer) = (names.answer)(&bytes) {
            let state = &mut self.clients[client];
            state.lookup_last += 1;
            let token = state.lookup_last;
            state.answers.insert(token, (lookup, server, answer));
            let at = self.now + names.latency;
            self.network.alarm(at, token | OWN_ALARM);
        }
    }

    pub(super) fn looked_up(&mut self, token: u64) {
        let client = usize::try_from(token >> 40).unwrap_or(usize::MAX);
        let answer = self.clients.get_mut(client);
        if let Some((lookup, from, answer)) = answer.and_then(|c| c.answers.remove(&token)) {
            let bytes = &*answer;
            let input = DnsInput::Datagram { from, bytes };
            let input = Input::Dns { lookup, input };
            return self.with_engine(client, |engine, now| engine.handle(input, now));
        }
        let Some((conn, address, lookup)) = self
            .clients
            .get_mut(client)
            .and_then(|state| state.lookups.remove(&token))
        else {
            return;
        };
        if !self.clients[client].sockets.contains_key(&conn) {
            return;
        }
        if lookup.found {
            self.dial(client, conn, &address);
        } else {
            self.clients[client].sockets.remove(&conn);
            let error = io::Error::new(io::ErrorKind::NotFound, "no such host");
            let error = OpenError::Lookup(error);
            let input = Input::OpenFailed { conn, error };
            self.with_engine(client, |engine, now| engine.handle(input, now));
        }
    }

    fn dial(&mut self, client: usize, conn: SocketId, address: &ServerAddress) {
        let address = address.to_string();
        let server = self.addresses.iter().position(|known| *known == address);
        let owner = Owner {
            client,
            tag: conn.0,
        };
        let connection = self.network.dial(server, owner, self.now);
        let sockets = &mut self.clients[client].sockets;
        sockets.insert(conn, Socket::Dialled(connection));
    }

    pub(super) fn connected(&mut self, connection: u64) {
        if let Some(Owner { client, tag }) = self.network.owner(connection) {
            let conn = SocketId(tag);
            let input = Input::Opened { conn };
            self.with_engine(client, |engine, now| engine.handle(input, now));
        }
    }

    pub(super) fn not_connected(&mut self, owner: Owner, why: io::ErrorKind) {
        let (client, conn) = (owner.client, SocketId(owner.tag));
        self.clients[client].sockets.remove(&conn);
        let error = OpenError::Connect(why.into());
        let input = Input::OpenFailed { conn, error };
        self.with_engine(client, |engine, now| engine.handle(input, now));
    }

    /// Gives an engine what has arrived, and the end.
    pub(super) fn read(&mut self, connection: u64) {
        while let Some(Owner { client, tag }) = self.network.owner(connection) {
            let conn = SocketId(tag);
            let arrived = self.network.arrived(connection, Way::ToClient);
            let state = &mut self.clients[client];
            state.clocks.set(self.now);
            if arrived.is_empty() {
                let input = match self.network.ended(connection) {
                    None => return,
                    Some(Ended::Eof) => Input::Eof { conn },
                    Some(Ended::Reset) => Input::Fault {
                        conn,
                        fault: IoFault::Reset,
                    },
                };
                state.engine.handle(input, self.now);
                return self.pump(client);
            }
            let Some(space) = state.engine.read_space(conn) else {
                return;
            };
            let n = space.len().min(arrived.len());
            space[..n].copy_from_slice(&arrived[..n]);
            self.network.consume(connection, Way::ToClient, n);
            state.engine.handle_read(conn, n, self.now);
            self.pump(client);
            if self.network.is_drained(connection) {
                return;
            }
        }
    }

    /// A connection takes bytes again.
    pub(super) fn write(&mut self, connection: u64) {
        if let Some(Owner { client, tag }) = self.network.owner(connection) {
            self.clients[client].clocks.set(self.now);
            self.write_some(client, SocketId(tag), connection);
            self.pump(client);
        }
    }

    /// Writes what an engine offers, as far as the connection takes it.
    fn write_some(&mut self, client: usize, conn: SocketId, connection: u64) {
        loop {
            let engine = &mut self.clients[client].engine;
            let mut slices = [&[][..]; 8];
            let count = engine.poll_write(conn, &mut slices);
            let (mut taken, mut full) = (0, count == 0);
            for slice in &slices[..count] {
                let n = self.network.client_send(connection, slice, self.now);
                taken += n;
                if n < slice.len() {
                    full = true;
                    break;
                }
            }
            if taken > 0 {
                let input = Input::Written { conn, n: taken };
                engine.handle(input, self.now);
            }
            if full {
                return;
            }
        }
    }
}
