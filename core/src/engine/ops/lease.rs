//! Getting a connection for an operation.

use super::{Engine, Flow, Op, OpSession, Wait};
use crate::{
    conn::Health,
    cursor::pin::gone,
    engine::{
        OpId, Phase, SocketId, TimerTag,
        pins::Lent,
        tables::{Held, User, pool_gone},
    },
    error::{Error, ErrorKind},
    event::cmap::ConnectionClosedReason,
    id::ServerId,
    op::{ConnFacts, Stage},
    pool::{Checkout, Lease, PoolError},
    session::SessionState,
};

impl Engine {
    /// Asks the pool for a connection.
    pub(super) fn check_out(&mut self, op: &mut Op, id: ServerId) -> Flow {
        let now = self.now;
        match self.lend_pin(op) {
            Lent::Any => {}
            Lent::Gone => return Flow::Done(Err(gone())),
            Lent::Later => {
                let until = op.command.deadline;
                self.tables.timers.set(TimerTag::Op(op.id), until);
                return Flow::Wait(Wait::Pin);
            }
            Lent::This(held) => return self.equipped(op, held),
        }
        loop {
            let Some(checkout) = self.tables.with_checkout(id, op.id, now) else {
                let address = op.operation.as_ref().and_then(|o| o.server());
                let error = address.map_or_else(
                    || Error::internal("no server was selected"),
                    |selected| pool_gone(&selected.address),
                );
                return self.failed(op, error, Stage::Checkout);
            };
            match checkout {
                Checkout::Ready(lease) => {
                    if self.health(lease.conn) == Health::Idle {
                        return self.leased(op, id, lease);
                    }
                    // It broke while nobody used it.
                    let (token, why) = (lease.token, ConnectionClosedReason::Error);
                    self.tables.forget(lease.conn, false);
                    self.tables
                        .with_pool(id, |pool| pool.discard(token, why, now));
                }
                Checkout::Refused(error) => return self.refused(op, id, &error),
                Checkout::Wait(ticket) => {
                    let limit = self.running.as_ref();
                    let limit = limit.and_then(|running| running.settings.wait_queue_timeout);
                    let until = [limit.map(|limit| now + limit), op.command.deadline];
                    let until = until.into_iter().flatten().min();
                    self.tables.timers.set(TimerTag::Op(op.id), until);
                    return Flow::Wait(Wait::Ticket { server: id, ticket });
                }
            }
        }
    }

    fn refused(&mut self, op: &mut Op, id: ServerId, error: &PoolError) -> Flow {
        // Pools are closed with the engine; then it is not the pool's fault.
        if self.phase == Phase::Closed {
            return Flow::Done(Err(Error::new(ErrorKind::Shutdown)));
        }
        let server = self.tables.servers.get(&id);
        let error = match (server, op.operation.as_ref().and_then(|o| o.server())) {
            (Some(server), _) => error.into_error(&server.address),
            (None, Some(selected)) => error.into_error(&selected.address),
            (None, None) => Error::internal("no server was selected"),
        };
        self.failed(op, error, Stage::Checkout)
    }

    /// A ticket has its result.
    pub(in crate::engine) fn settled(
        &mut self,
        op: Option<OpId>,
        server: ServerId,
        result: std::result::Result<Lease<SocketId>, PoolError>,
    ) {
        let Some(mut op) = op.and_then(|id| self.ops.remove(&id)) else {
            // Nobody waits for it any more.
            if let Ok(lease) = result {
                let idle = self.health(lease.conn) == Health::Idle;
                let held = Held {
                    server,
                    token: lease.token,
                    socket: lease.conn,
                    exchange: None,
                };
                let why = (!idle).then_some(ConnectionClosedReason::Error);
                self.tables.check_in(held, idle, why, self.now);
            }
            return;
        };
        self.tables.timers.set(TimerTag::Op(op.id), None);
        let flow = match result {
            Ok(lease) => self.leased(&mut op, server, lease),
            Err(error) => self.refused(&mut op, server, &error),
        };
        match flow {
            Flow::Done(result) => self.finish(op, result),
            _ => self.advance(op),
        }
    }

    fn leased(&mut self, op: &mut Op, server: ServerId, lease: Lease<SocketId>) -> Flow {
        let held = Held {
            server,
            token: lease.token,
            socket: lease.conn,
            exchange: None,
        };
        self.equipped(op, held)
    }

    /// Has a connection: builds the request of this attempt.
    fn equipped(&mut self, op: &mut Op, held: Held) -> Flow {
        let now = self.now;
        op.held = Some(held);
        let Some(socket) = self.tables.sockets.get_mut(&held.socket) else {
            return Flow::Done(Err(Error::internal("a lease without a socket")));
        };
        socket.user = User::Op(op.id);
        let hello = socket.conn.as_ref().and_then(|conn| conn.hello());
        let (Some(hello), Some(operation)) = (hello, &mut op.operation) else {
            return Flow::Done(Err(Error::internal("a lease without a handshake")));
        };
        let facts = ConnFacts::from(hello);
        if operation.sends_session(&facts) {
            // Sessions: an implicit session is taken only once a connection is had.
            if let OpSession::None = op.session {
                op.session = OpSession::Own(SessionState::implicit());
            }
            let view = self.tables.view.as_deref();
            let terms = self.sessions.terms(view, self.running.as_ref());
            let entropy = &mut *self.entropy;
            self.sessions.acquire(&mut op.session, terms, entropy, now);
        }
        let session = self.sessions.of(&mut op.session);
        let time = self.cluster_time.as_ref();
        match operation.checked_out(&facts, session, time, now) {
            Ok(()) => Flow::Continue,
            Err(error) => Flow::Done(Err(error)),
        }
    }
}
