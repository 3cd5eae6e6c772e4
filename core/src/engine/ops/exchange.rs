//! One request and its reply: sent, answered, broken or abandoned.

use super::{Engine, Flow, Op, OpId, Wait};
use crate::{
    conn::{Abandoned, BeginError, ConnError},
    cursor::pin::Ended,
    engine::Event,
    error::{Error, ErrorKind},
    event::{CommandMonitor, ExchangeSite, cmap::ConnectionClosedReason, command::CommandEvent},
    marks::{self, Mark},
    op::{Stage, Want},
    route,
    session::ClusterTime,
    wire::Reply,
};

impl Engine {
    /// Sends the request of this attempt.
    pub(super) fn exchange(&mut self, op: &mut Op) -> Flow {
        let now = self.now;
        let (Some(held), Some(operation)) = (&mut op.held, &op.operation) else {
            return Flow::Done(Err(Error::internal("no connection was checked out")));
        };
        let Want::Exchange(request) = operation.want() else {
            return Flow::Continue;
        };
        let socket = self.tables.sockets.get_mut(&held.socket);
        let Some(conn) = socket.and_then(|socket| socket.conn.as_mut()) else {
            return Flow::Done(Err(Error::internal("a lease without a socket")));
        };
        let exchange = match conn.begin(request, operation.deadline(), now) {
            Ok(exchange) => exchange,
            Err(error) => {
                // On a retry the error of the earlier attempt may say more.
                let error = match error {
                    // The connection failed, not the command.
                    BeginError::Tls(error) => error,
                    error => Error::invalid_argument(format!("command {}: {error}", request.name)),
                };
                self.give_back(op, Ended::Failed);
                return self.failed(op, error, Stage::Exchange { sent: false });
            }
        };
        held.exchange = Some(exchange);
        let silent = request.more_to_come;
        if self.tables.wishes.command
            && let Some(server) = self.tables.servers.get(&held.server)
        {
            let site = ExchangeSite {
                address: &server.address,
                conn: held.token.id,
                hello: conn.hello(),
                exchange,
            };
            let (monitor, event) = CommandMonitor::started(operation, request, site, now);
            op.monitor = Some(monitor);
            let event = Event::Command(CommandEvent::Started(event));
            self.tables.emit(event);
        }
        self.tables.touch(held.socket);
        Flow::Wait(Wait::Exchange { silent })
    }

    /// Every byte of a request without a reply may have been written.
    pub(in crate::engine) fn sent(&mut self, id: OpId) {
        let wait = self.ops.get(&id).map(|op| op.wait);
        if let Some(Wait::Exchange { silent: true }) = wait {
            self.replied(id, None);
        }
    }

    /// A reply came: gossip, tell the topology of state changes, decide about a retry.
    pub(in crate::engine) fn replied(&mut self, id: OpId, reply: Option<Reply>) {
        let Some(mut op) = self.ops.remove(&id) else {
            return;
        };
        let flow = match reply {
            None => {
                self.succeeded(&mut op, None);
                self.give_back(&mut op, Ended::Over);
                match &mut op.operation {
                    Some(operation) => operation.replied_nothing(self.now).into(),
                    None => Flow::Continue,
                }
            }
            Some(reply) => self.answered(&mut op, reply),
        };
        match flow {
            Flow::Done(result) => self.finish(op, result),
            _ => self.advance(op),
        }
    }

    fn answered(&mut self, op: &mut Op, reply: Reply) -> Flow {
        let now = self.now;
        let gossip = &mut self.cluster_time;
        let session = self.sessions.of(&mut op.session);
        let checked = route::reply(&reply, session, |time| {
            ClusterTime::advance(gossip, time);
        });
        match &checked {
            Err(error) if matches!(*error.kind, ErrorKind::Command(_)) => {
                self.command_failed(op, error);
            }
            _ => self.succeeded(op, Some(&reply)),
        }
        let sound = checked.is_ok();
        if let (Err(error), Some(held)) = (checked, &op.held) {
            let service = self.service_of(held.socket);
            let app_error = route::reply_error(error, held.token.generation, service);
            let server = held.server;
            self.with_topology(|t| t.handle_app_error(server, &app_error, now));
        }
        let ended = match sound {
            true if op.command.pin.is_some() => Ended::of_reply(reply.document()),
            true => Ended::Over,
            false => Ended::Failed,
        };
        self.give_back(op, ended);
        let Some(operation) = &mut op.operation else {
            return Flow::Continue;
        };
        if sound {
            return operation.succeeded(reply).into();
        }
        let session = self.sessions.of(&mut op.session);
        let progress = operation.replied(reply, session, now, &mut self.rng);
        progress.into()
    }

    /// The connection failed while the request was under way.
    pub(in crate::engine) fn exchange_broken(&mut self, id: OpId, error: ConnError) {
        let now = self.now;
        let Some(mut op) = self.ops.remove(&id) else {
            return;
        };
        let held = op.held;
        let service = held.and_then(|held| self.service_of(held.socket));
        if let Some(held) = held {
            let app_error = route::app_error(&error, held.token.generation, service);
            self.with_topology(|t| t.handle_app_error(held.server, &app_error, now));
        }
        // Only now: the pool is cleared before it gets the connection back (SDAM: "Error handling").
        self.give_back(&mut op, Ended::Failed);
        self.command_failed(&mut op, &error.error);
        match self.failed(&mut op, error.error, Stage::Exchange { sent: true }) {
            Flow::Done(result) => self.finish(op, result),
            _ => self.advance(op),
        }
    }

    fn service_of(&self, socket: crate::engine::SocketId) -> Option<bson::oid::ObjectId> {
        let socket = self.tables.sockets.get(&socket)?;
        socket.conn.as_ref()?.hello()?.service_id
    }

    fn succeeded(&mut self, op: &mut Op, reply: Option<&Reply>) {
        if let Some(monitor) = op.monitor.take() {
            let event = CommandEvent::Succeeded(monitor.succeeded(reply, self.now));
            self.tables.emit(Event::Command(event));
        }
    }

    pub(super) fn command_failed(&mut self, op: &mut Op, error: &Error) {
        if let Some(monitor) = op.monitor.take() {
            let event = CommandEvent::Failed(monitor.failed(error, self.now));
            self.tables.emit(Event::Command(event));
        }
    }

    /// Nobody waits for the reply any more: the connection is kept, drained or closed.
    pub(super) fn abandon(&mut self, op: &mut Op) {
        let now = self.now;
        let Some(held) = op.held.take() else {
            return;
        };
        let socket = self.tables.sockets.get_mut(&held.socket);
        let abandoned = match (socket, held.exchange) {
            (Some(socket), Some(exchange)) => {
                let conn = socket.conn.as_mut();
                conn.map(|c| c.abandon(exchange, now))
            }
            _ => None,
        };
        let Some(held) = self.keep(op, held, Ended::Failed) else {
            return self.tables.touch(held.socket);
        };
        match abandoned {
            Some(Abandoned::Reusable) => {
                marks::reached(Mark::CancelEngineReusable);
                self.tables.check_in(held, true, None, now);
            }
            Some(Abandoned::Drain { .. }) => {
                marks::reached(Mark::CancelEngineDrain);
                self.surrender(held);
            }
            Some(Abandoned::Close) | None => {
                marks::reached(Mark::CancelEngineClose);
                let why = Some(ConnectionClosedReason::Dropped);
                self.tables.check_in(held, false, why, now);
            }
        }
        self.tables.touch(held.socket);
    }
}
