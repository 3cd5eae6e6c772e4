//! What happens on a socket: its opening, its bytes, its end.

use std::{io, sync::Arc};

use super::{
    Engine, OpenError, Output, SocketId,
    tables::{Held, Role, User},
};
use crate::{
    conn::{ConnError, ConnEvent, Connection, Health, IoFault, Phase, Purpose},
    error::Error,
    event::cmap::ConnectionClosedReason,
    hello::HelloReply,
    id::{ConnId, Generation, ServerId},
    monitor::{Monitor, RttProbe},
    route,
    wire::Reply,
};

impl Engine {
    /// Runs a section on a socket's machine, and takes the machine's events.
    pub(super) fn with_conn(&mut self, id: SocketId, section: impl FnOnce(&mut Connection)) {
        let Some(socket) = self.tables.sockets.get_mut(&id) else {
            return;
        };
        let Some(conn) = &mut socket.conn else {
            return;
        };
        section(conn);
        self.take_events(id);
    }

    /// Takes the events of a socket's machine.
    pub(super) fn take_events(&mut self, id: SocketId) {
        while let Some(event) = self
            .tables
            .sockets
            .get_mut(&id)
            .and_then(|socket| socket.conn.as_mut()?.poll_event())
        {
            self.conn_event(id, event);
        }
        self.look_at_silence(id);
        self.tables.touch(id);
    }

    fn conn_event(&mut self, id: SocketId, event: ConnEvent) {
        let Some(role) = self.tables.sockets.get(&id).map(|socket| socket.role) else {
            return;
        };
        match event {
            ConnEvent::Derive(job) => {
                let output = Output::Derive { conn: id, job };
                self.tables.outputs.push_back(output);
            }
            ConnEvent::Established { hello, rtt } => match role {
                Role::Monitor(server) => {
                    self.watcher_established::<Monitor>(server, hello, rtt);
                }
                Role::Probe(server) => {
                    self.watcher_established::<RttProbe>(server, hello, rtt);
                }
                Role::Pool {
                    server, id: name, ..
                } => self.pool_established(server, name, id, &hello),
            },
            ConnEvent::Reply {
                reply,
                more_to_come,
                ..
            } => match role {
                Role::Monitor(server) => {
                    self.watcher_replied::<Monitor>(server, &reply, more_to_come);
                }
                Role::Probe(server) => {
                    self.watcher_replied::<RttProbe>(server, &reply, more_to_come);
                }
                Role::Pool { .. } => self.pool_reply(id, reply),
            },
            ConnEvent::Closed(error) => self.broken(id, role, error),
        }
    }

    fn pool_established(
        &mut self,
        server: ServerId,
        name: ConnId,
        id: SocketId,
        hello: &HelloReply,
    ) {
        if let Some(socket) = self.tables.sockets.get_mut(&id) {
            socket.user = User::Nobody;
        }
        let (service, now) = (hello.service_id, self.now);
        self.tables
            .with_pool(server, |pool| pool.opened(name, id, service, now));
    }

    fn pool_reply(&mut self, id: SocketId, reply: Reply) {
        if let Some(socket) = self.tables.sockets.get(&id)
            && let User::Op(op) = socket.user
        {
            self.replied(op, Some(reply));
        }
    }

    /// What ends without an event: a request that has no reply was written, a drain is over.
    fn look_at_silence(&mut self, id: SocketId) {
        let Some(socket) = self.tables.sockets.get(&id) else {
            return;
        };
        let idle = socket
            .conn
            .as_ref()
            .is_some_and(|conn| conn.health() == Health::Idle);
        if !idle {
            return;
        }
        match (socket.user, socket.role) {
            (User::Op(op), _) => self.sent(op),
            (User::Draining(token), Role::Pool { server, .. }) => {
                let held = Held {
                    server,
                    token,
                    socket: id,
                    exchange: None,
                };
                self.tables.check_in(held, true, None, self.now);
            }
            (User::Pinned(pin), _) => self.pin_settled(pin),
            _ => {}
        }
    }

    /// A connection is of no use any more, or could not be opened.
    fn broken(&mut self, id: SocketId, role: Role, error: ConnError) {
        let Some(socket) = self.tables.sockets.get_mut(&id) else {
            return;
        };
        match role {
            Role::Monitor(server) => {
                self.tables.forget(id, false);
                self.watcher_failed::<Monitor>(server, route::check_error(error));
            }
            Role::Probe(server) => {
                self.tables.forget(id, false);
                self.watcher_failed::<RttProbe>(server, route::check_error(error));
            }
            Role::Pool {
                server,
                id: name,
                generation,
            } => match socket.user {
                User::Opening => {
                    self.tables.forget(id, false);
                    self.open_failed(server, name, generation, &error);
                }
                User::Op(op) => self.exchange_broken(op, error),
                User::Draining(token) => {
                    let held = Held {
                        server,
                        token,
                        socket: id,
                        exchange: None,
                    };
                    let why = Some(ConnectionClosedReason::Dropped);
                    self.tables.check_in(held, false, why, self.now);
                }
                // Nobody's operation failed: SDAM hears nothing. The pool finds out when it hands
                // the connection out.
                User::Nobody => self.tables.bury(id),
                User::Pinned(pin) => {
                    self.tables.bury(id);
                    self.pin_settled(pin);
                }
            },
        }
    }

    /// CMAP: the pool is cleared before the connection is reported closed.
    fn open_failed(
        &mut self,
        server: ServerId,
        name: ConnId,
        generation: Generation,
        error: &ConnError,
    ) {
        let now = self.now;
        let app_error = route::app_error(error, generation, None);
        self.with_topology(|t| t.handle_app_error(server, &app_error, now));
        self.tables
            .with_pool(server, |pool| pool.open_failed(name, &error.error, now));
    }

    /// The host has opened the connection.
    pub(super) fn opened(&mut self, id: SocketId) {
        let Some(socket) = self.tables.sockets.get(&id) else {
            return;
        };
        if socket.conn.is_some() || socket.dead {
            return;
        }
        let role = socket.role;
        let Some(server) = self.tables.servers.get(&role.server()) else {
            return;
        };
        let (config, name, purpose) = match role {
            Role::Pool { id, .. } => (&server.config, id, Purpose::Application),
            Role::Monitor(_) => (&server.monitor_config, ConnId(0), Purpose::Monitor),
            Role::Probe(_) => (&server.monitor_config, ConnId(0), Purpose::RttProbe),
        };
        let config = Arc::clone(config);
        match Connection::new(config, name, purpose, &mut *self.entropy, self.now) {
            Ok(conn) => {
                if let Some(socket) = self.tables.sockets.get_mut(&id) {
                    socket.conn = Some(Box::new(conn));
                }
                self.take_events(id);
            }
            Err(error) => self.broken(id, role, error),
        }
    }

    /// The host could not open the connection; it has nothing to close.
    pub(super) fn not_opened(&mut self, id: SocketId, error: OpenError) {
        let Some(socket) = self.tables.sockets.get_mut(&id) else {
            return;
        };
        if socket.conn.is_some() || socket.dead {
            return;
        }
        socket.dead = true;
        let role = socket.role;
        let Some(server) = self.tables.servers.get(&role.server()) else {
            return;
        };
        let address = server.address.clone();
        let error = match error {
            // Not the server's load: without labels (CMAP: "Backpressure-enabled").
            OpenError::Lookup(error) => ConnError {
                error: Error::io(error).with_server(address),
                phase: Phase::Connect,
            },
            OpenError::Connect(error) => {
                ConnError::new(Error::io(error).with_server(address), Phase::Connect)
            }
        };
        self.broken(id, role, error);
    }

    /// A socket's deadline has passed.
    pub(super) fn socket_timeout(&mut self, id: SocketId) {
        let now = self.now;
        let Some(socket) = self.tables.sockets.get(&id) else {
            return;
        };
        if socket.conn.is_some() {
            return self.with_conn(id, |conn| conn.handle_timeout(now));
        }
        if socket.dead || socket.dial_until.is_none_or(|until| until > now) {
            return;
        }
        let role = socket.role;
        let Some(server) = self.tables.servers.get(&role.server()) else {
            return;
        };
        let text = format!("connecting to {} timed out", server.address);
        let error = Error::io(io::Error::new(io::ErrorKind::TimedOut, text))
            .with_server(server.address.clone());
        self.broken(id, role, ConnError::new(error, Phase::Connect));
    }

    /// The pool wants a connection to stop, wherever it is.
    pub(super) fn interrupt(&mut self, id: SocketId) {
        let Some(socket) = self.tables.sockets.get(&id) else {
            return;
        };
        if matches!(socket.user, User::Opening) {
            // The pool has forgotten it.
            return self.tables.forget(id, false);
        }
        let now = self.now;
        self.with_conn(id, |conn| conn.handle_fault(IoFault::Interrupted, now));
    }
}
