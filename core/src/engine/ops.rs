//! Operations: select → lease → exchange → retry, each step as far as it goes at once.
//!
//! The sequence is [`Operation`]'s. An operation is out of the table while it advances, and back in
//! it with exactly one thing to wait for, or over.

mod exchange;
mod lease;
mod select;

use std::time::Duration;

use super::{
    Command, Engine, Executed, OpId, Output, PinId, SessionId, SocketId, TimerTag, tables::Held,
};
use crate::{
    conn::Health,
    cursor::pin::Ended,
    error::{Error, Result},
    event::CommandMonitor,
    id::{OperationId, ServerId, Ticket},
    marks::{self, Mark},
    mutants::{self, Mutant},
    op::{Failure, Operation, Progress, Stage, Want},
    pool::CancelReason,
    session::SessionState,
    time::Instant,
};

/// An operation that fails so often without waiting pauses: with a deadline the number of attempts
/// has no other limit.
const STEPS_MAX: u32 = 300;
/// How long it pauses.
const BREATHER: Duration = Duration::from_millis(10);

/// The session of an operation.
#[derive(Debug)]
pub(super) enum OpSession {
    /// None yet: it gets its own with its first connection, where sessions are supported.
    None,
    Own(SessionState),
    Caller(SessionId),
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// The start of the engine, which looks its hosts up.
    Start,
    /// A server.
    Server {
        until: Instant,
        /// The version of the view for which checks were asked.
        asked: Option<u64>,
    },
    Ticket {
        server: ServerId,
        ticket: Ticket,
    },
    /// The reply, or for `silent` requests the end of the writing.
    Exchange {
        silent: bool,
    },
    Pause,
    /// The reply of a cancelled operation of the same cursor.
    Pin,
}

/// Whose operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Caller,
    /// Tells servers of the end of sessions, before the engine closes.
    EndSessions,
    /// Best effort; then the session, if any, ends.
    KillCursor(Option<SessionId>),
}

#[derive(Debug)]
pub(super) struct Op {
    pub(super) id: OpId,
    pub(super) origin: Origin,
    pub(super) wait: Wait,
    pub(super) session: OpSession,
    pub(super) held: Option<Held>,
    /// `None` until the engine has started.
    operation: Option<Operation>,
    command: Command,
    counted: Option<ServerId>,
    monitor: Option<CommandMonitor>,
}

/// How far an operation has come in one step.
enum Flow {
    Continue,
    Wait(Wait),
    Done(Result<crate::wire::Reply>),
}

impl From<Progress> for Flow {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Continue => Self::Continue,
            Progress::Done(result) => Self::Done(result),
        }
    }
}

impl Op {
    pub(super) fn new(id: OpId, command: Command, origin: Origin) -> Box<Self> {
        let session = match command.session {
            Some(session) => OpSession::Caller(session),
            None => OpSession::None,
        };
        Box::new(Self {
            id,
            origin,
            wait: Wait::Start,
            session,
            held: None,
            operation: None,
            command,
            counted: None,
            monitor: None,
        })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.command.deadline
    }

    pub(super) fn pin(&self) -> Option<PinId> {
        self.command.pin
    }
}

impl Engine {
    /// Begins an operation, now that there is a topology.
    pub(super) fn begin_op(&mut self, mut op: Box<Op>) {
        let Some(running) = &self.running else {
            return self.finish(op, Err(Error::internal("the engine has not started")));
        };
        self.operation_last += 1;
        let id = OperationId(self.operation_last);
        let context = running.settings.operation_context(id, op.command.deadline);
        let operation = Operation::new(op.command.spec.clone(), context);
        op.operation = Some(operation);
        self.advance(op);
    }

    /// Goes on with an operation until it waits or is over.
    pub(super) fn advance(&mut self, mut op: Box<Op>) {
        let mut steps = 0;
        loop {
            steps += 1;
            if steps > STEPS_MAX {
                let until = self.now + BREATHER;
                self.tables.timers.set(TimerTag::Op(op.id), Some(until));
                op.wait = Wait::Pause;
                self.ops.insert(op.id, op);
                return;
            }
            match self.step(&mut op) {
                Flow::Continue => {}
                Flow::Done(result) => return self.finish(op, result),
                Flow::Wait(wait) => {
                    op.wait = wait;
                    self.ops.insert(op.id, op);
                    return;
                }
            }
        }
    }

    fn step(&mut self, op: &mut Op) -> Flow {
        let Some(operation) = &op.operation else {
            return Flow::Done(Err(Error::internal("an operation that was not begun")));
        };
        match operation.want() {
            Want::Server { .. } => self.select(op),
            Want::Lease(server) => self.check_out(op, server),
            Want::Exchange(_) => self.exchange(op),
            Want::Pause { until } => {
                // Back-pressure: no connection and no load is held while waiting.
                self.release(op);
                self.tables.timers.set(TimerTag::Op(op.id), Some(until));
                Flow::Wait(Wait::Pause)
            }
            Want::Nothing => Flow::Done(Err(Error::internal("operation wants nothing"))),
        }
    }

    /// Gives back what the last attempt held.
    fn release(&mut self, op: &mut Op) {
        self.give_back(op, Ended::Failed);
        if let Some(id) = op.counted.take() {
            if let Some(server) = self.tables.servers.get_mut(&id) {
                server.operations = server.operations.saturating_sub(1);
            }
            self.tables.reap(id);
        }
    }

    fn give_back(&mut self, op: &mut Op, ended: Ended) {
        let held = op.held.take();
        if let Some(held) = held.and_then(|held| self.keep(op, held, ended)) {
            self.surrender(held);
        }
    }

    pub(super) fn health(&self, socket: SocketId) -> Health {
        let socket = self.tables.sockets.get(&socket);
        socket
            .and_then(|socket| socket.conn.as_ref())
            .map_or(Health::Perished, |conn| conn.health())
    }

    fn failed(&mut self, op: &mut Op, error: Error, stage: Stage) -> Flow {
        let Some(operation) = &mut op.operation else {
            return Flow::Done(Err(error));
        };
        let session = self.sessions.of(&mut op.session);
        let failure = Failure { error, stage };
        let progress = operation.failed(failure, session, self.now, &mut self.rng);
        progress.into()
    }

    /// Ends an operation: everything it held goes back, and its result leaves.
    pub(super) fn finish(&mut self, mut op: Box<Op>, result: Result<crate::wire::Reply>) {
        self.release(&mut op);
        self.let_go(&mut op);
        let selected = op.operation.as_mut().and_then(Operation::take_server);
        let result = result.and_then(|reply| {
            let selected = selected.ok_or_else(|| Error::internal("a reply without a server"))?;
            Ok(Executed {
                reply,
                server: selected.server,
                address: (*selected.address).clone(),
            })
        });
        if op.origin == Origin::Caller {
            let op = op.id;
            self.tables
                .outputs
                .push_back(Output::Completed { op, result });
        }
    }

    /// Forgets an operation's timer, place and session.
    fn let_go(&mut self, op: &mut Op) {
        self.tables.timers.set(TimerTag::Op(op.id), None);
        self.selecting.remove(&op.id);
        let view = self.tables.view.as_deref();
        let terms = self.sessions.terms(view, self.running.as_ref());
        self.sessions.release(&mut op.session, terms, self.now);
        if let Some(pin) = op.command.pin.take() {
            self.release_pin(pin);
        }
        if op.origin != Origin::Caller {
            self.background = self.background.saturating_sub(1);
        }
        if let Origin::KillCursor(Some(session)) = op.origin {
            self.close_session(session);
        }
    }

    /// A wait of an operation has taken too long, or its pause is over.
    pub(super) fn op_timeout(&mut self, id: OpId) {
        let now = self.now;
        let Some(op) = self.ops.get(&id) else {
            return;
        };
        match op.wait {
            Wait::Exchange { .. } => {}
            // Settles the ticket with its error.
            Wait::Ticket { server, ticket } => {
                self.tables.with_pool(server, |pool| {
                    pool.cancel(ticket, CancelReason::Timeout, now);
                });
            }
            Wait::Server { .. } | Wait::Pause => {
                let Some(mut op) = self.ops.remove(&id) else {
                    return;
                };
                self.selecting.remove(&id);
                if let Some(operation) = &mut op.operation {
                    operation.resumed(now);
                }
                self.advance(op);
            }
            Wait::Start | Wait::Pin => {
                if let Some(op) = self.ops.remove(&id) {
                    let error = Error::from(std::io::ErrorKind::TimedOut).with_timeout();
                    self.finish(op, Err(error));
                }
            }
        }
    }

    /// Ends an operation that nobody waits for any more. No result leaves.
    pub(super) fn drop_op(&mut self, mut op: Box<Op>) {
        self.cut_off(&mut op);
        self.release(&mut op);
        self.let_go(&mut op);
    }

    /// Leaves the queue, or gives the reply up.
    pub(super) fn cut_off(&mut self, op: &mut Op) {
        let now = self.now;
        match op.wait {
            Wait::Ticket { server, ticket } => {
                marks::reached(Mark::CancelEngineTicket);
                self.tables.tickets.remove(&(server, ticket));
                if mutants::active(Mutant::TicketLeaked) {
                    return;
                }
                self.tables.with_pool(server, |pool| {
                    pool.cancel(ticket, CancelReason::Dropped, now);
                });
            }
            Wait::Exchange { .. } => {
                marks::reached(Mark::CancelEngineExchanging);
                // Whether the server has used the transaction number is unknown.
                if let Some(session) = self.sessions.of(&mut op.session) {
                    session.mark_dirty();
                }
                self.command_failed(op, &Error::dropped());
                self.abandon(op);
            }
            Wait::Pin => {}
            Wait::Start => marks::reached(Mark::CancelEngineStart),
            Wait::Server { .. } => marks::reached(Mark::CancelEngineSelecting),
            Wait::Pause => marks::reached(Mark::CancelEnginePausing),
        }
    }
}
