//! The connections that cursors keep behind a load balancer: each of a cursor's commands names its
//! pin. With any other deployment pins stay empty.
//!
//! Which lease stays is [`Pin`]'s decision. Invariants: 1. one operation at a time uses a pin;
//! 2. a kept connection counts as in use by its pool until its pin ends, even if it broke; 3. an
//! operation that follows one which was cancelled waits until the reply of that one is consumed.

use std::collections::BTreeMap;

use super::{
    Engine, OpId, Output, Phase, PinId, SocketId, TimerTag,
    ops::{Op, Wait},
    tables::{Held, User},
};
use crate::{
    conn::Health,
    cursor::pin::{Ended, Pick, Pin, Taken},
    error::{Error, Result},
    event::cmap::ConnectionClosedReason,
    time::Instant,
};

#[derive(Debug, Default)]
struct Entry {
    pin: Pin<Held>,
    /// The operation that uses it.
    user: Option<OpId>,
    /// The caller has ended it; it goes when its operation does.
    ended: bool,
}

#[derive(Debug, Default)]
pub(super) struct Pins {
    table: BTreeMap<PinId, Entry>,
    last: u64,
}

/// The connection for an operation of a cursor.
pub(super) enum Lent {
    /// Any of the pool will do.
    Any,
    /// It is lost.
    Gone,
    /// The reply of a cancelled operation is still to be consumed.
    Later,
    /// That of the cursor.
    This(Held),
}

impl Pins {
    pub(super) fn open(&self) -> usize {
        self.table.len()
    }

    /// Whether an operation may use a pin.
    pub(super) fn check(&self, id: PinId) -> Result<()> {
        match self.table.get(&id).filter(|entry| !entry.ended) {
            None => Err(Error::invalid_argument("pin: it has ended")),
            Some(entry) if entry.user.is_some() => Err(Error::invalid_argument(
                "pin: another operation is using it",
            )),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn claim(&mut self, id: PinId, op: OpId) {
        if let Some(entry) = self.table.get_mut(&id) {
            entry.user = Some(op);
        }
    }
}

impl Engine {
    /// A place for the connection that a cursor keeps behind a load balancer: pass it to the command
    /// that makes the cursor and to all later ones, then end it.
    pub fn pin(&mut self) -> PinId {
        self.pins.last += 1;
        let id = PinId(self.pins.last);
        self.pins.table.insert(id, Entry::default());
        id
    }

    /// Ends a pin: the connection of its cursor goes back to the pool. A pin in use ends with its
    /// operation.
    pub fn unpin(&mut self, pin: PinId, now: Instant) {
        self.see(now);
        self.end_pin(pin);
        self.run();
    }

    pub(super) fn is_balanced(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.settings.topology.load_balanced)
    }

    /// The connection for an operation.
    pub(super) fn lend_pin(&mut self, op: &Op) -> Lent {
        let Some(id) = op.pin().filter(|_| self.is_balanced()) else {
            return Lent::Any;
        };
        let Some(entry) = self.pins.table.get(&id) else {
            return Lent::Any;
        };
        match entry.pin.kept().map(|held| self.health(held.socket)) {
            None | Some(Health::Idle) => {}
            Some(Health::Draining) => return Lent::Later,
            // It stays with the cursor until that is closed.
            Some(_) => return Lent::Gone,
        }
        let Some(entry) = self.pins.table.get_mut(&id) else {
            return Lent::Any;
        };
        match entry.pin.lend() {
            Pick::Any => Lent::Any,
            Pick::Gone => Lent::Gone,
            Pick::This(held) => Lent::This(held),
        }
    }

    /// An operation is over with a connection: gives it out again, unless its cursor keeps it.
    pub(super) fn keep(&mut self, op: &Op, held: Held, ended: Ended) -> Option<Held> {
        let id = op.pin();
        let Some(id) = id.filter(|_| self.is_balanced() && self.phase != Phase::Closed) else {
            return Some(held);
        };
        let Some(entry) = self.pins.table.get_mut(&id) else {
            return Some(held);
        };
        let kept = Held {
            exchange: None,
            ..held
        };
        match entry.pin.take_back(kept, ended) {
            Taken::Back(_) => return Some(held),
            Taken::First => {
                self.tables
                    .with_pool(held.server, |pool| pool.pin(held.token));
            }
            Taken::Kept => {}
        }
        if let Some(socket) = self.tables.sockets.get_mut(&held.socket) {
            socket.user = User::Pinned(id);
        }
        if self.health(held.socket) == Health::Perished {
            self.tables.bury(held.socket);
        }
        None
    }

    /// The connection of a cursor is idle again, or broke.
    pub(super) fn pin_settled(&mut self, id: PinId) {
        let user = self.pins.table.get(&id).and_then(|entry| entry.user);
        let waits = |op: &OpId| {
            let wait = self.ops.get(op).map(|op| op.wait);
            matches!(wait, Some(Wait::Pin))
        };
        if let Some(op) = user.filter(waits).and_then(|op| self.ops.remove(&op)) {
            self.tables.timers.set(TimerTag::Op(op.id), None);
            self.advance(op);
        }
    }

    /// An operation is over: its pin is free again.
    pub(super) fn release_pin(&mut self, id: PinId) {
        let Some(entry) = self.pins.table.get_mut(&id) else {
            return;
        };
        entry.user = None;
        if entry.ended {
            self.end_pin(id);
        }
    }

    /// Ends a pin, as soon as no operation uses it.
    pub(super) fn end_pin(&mut self, id: PinId) {
        match self.pins.table.get_mut(&id) {
            Some(entry) if entry.user.is_some() => entry.ended = true,
            Some(_) => {
                let held = self.pins.table.remove(&id);
                if let Some(held) = held.and_then(|mut entry| entry.pin.end()) {
                    self.surrender(held);
                }
            }
            None => {}
        }
    }

    /// The engine ends, and all cursors with it.
    pub(super) fn end_pins(&mut self) {
        let all: Vec<_> = self.pins.table.keys().copied().collect();
        for id in all {
            self.end_pin(id);
        }
    }

    /// Gives a connection back to its pool, whatever state it is in.
    pub(super) fn surrender(&mut self, held: Held) {
        let now = self.now;
        match self.health(held.socket) {
            Health::Idle => self.tables.check_in(held, true, None, now),
            Health::Draining => {
                if let Some(socket) = self.tables.sockets.get_mut(&held.socket) {
                    socket.user = User::Draining(held.token);
                }
                self.tables
                    .with_pool(held.server, |pool| pool.drain(held.token, now));
            }
            _ => {
                let why = Some(ConnectionClosedReason::Error);
                self.tables.check_in(held, false, why, now);
            }
        }
    }
}

impl super::Tables {
    /// A connection broke while no operation used it. The host closes it; its pool, or the pin that
    /// keeps it, finds out when it is wanted.
    pub(super) fn bury(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.dead) else {
            return;
        };
        socket.conn = None;
        socket.dead = true;
        self.timers.set(TimerTag::Socket(id), None);
        self.outputs.push_back(Output::Close { conn: id });
    }
}
