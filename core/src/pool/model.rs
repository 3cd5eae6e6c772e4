//! The pool against a small reference, under random operations and in an exhaustive small world.
//!
//! The reference knows what a caller may count on, not how the pool decides: which tickets are open
//! and in which order, where each connection is, and which are stale.

use std::{collections::BTreeMap, io, time::Duration};

use super::*;
use crate::{net::ServerAddress, rng::Rng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Gone,
    Leased(LeaseToken, Place),
    Opening(Generation),
    Pool,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Cancel(usize, CancelReason),
    Checkin(usize, bool),
    Checkout,
    Clear { interrupt: bool },
    Close,
    Discard(usize),
    Drain(usize),
    Opened(usize),
    OpenFailed(usize),
    Pin(usize),
    Ready,
    Time,
}

struct Model {
    pool: Pool<ConnId>,
    config: PoolConfig,
    now: Instant,
    epoch: u64,
    generation: Generation,
    ready: bool,
    closed: bool,
    waiting: Vec<Ticket>,
    issued: u64,
    id_last: ConnId,
    conns: BTreeMap<ConnId, Where>,
}

impl Model {
    fn new(config: PoolConfig) -> Self {
        Self {
            pool: Pool::new(config.clone(), Instant::ZERO),
            config,
            now: Instant::ZERO,
            epoch: 0,
            generation: Generation(0),
            ready: false,
            closed: false,
            waiting: Vec::new(),
            issued: 0,
            id_last: ConnId(0),
            conns: BTreeMap::new(),
        }
    }

    fn pick(&self, n: usize, wanted: impl Fn(&Where) -> bool) -> Option<(ConnId, Where)> {
        let found: Vec<_> = self.conns.iter().filter(|(_, w)| wanted(w)).collect();
        let (id, place) = found.get(n.checked_rem(found.len())?)?;
        Some((**id, **place))
    }

    fn leased(&self, n: usize) -> Option<(ConnId, LeaseToken)> {
        match self.pick(n, |w| matches!(w, Where::Leased(..)))? {
            (id, Where::Leased(token, _)) => Some((id, token)),
            _ => None,
        }
    }

    fn opening(&self, n: usize) -> Option<ConnId> {
        self.pick(n, |w| matches!(w, Where::Opening(_)))
            .map(|(id, _)| id)
    }

    /// Runs an operation, if there is something that it can act on.
    fn run(&mut self, op: Op) -> bool {
        let now = self.now;
        match op {
            Op::Cancel(n, why) => {
                let Some(at) = n.checked_rem(self.waiting.len()) else {
                    return false;
                };
                let ticket = self.waiting[at];
                if why == CancelReason::Dropped {
                    self.waiting.remove(at);
                }
                self.pool.cancel(ticket, why, now);
            }
            Op::Checkin(n, reusable) => {
                let Some((id, token)) = self.leased(n) else {
                    return false;
                };
                let stale = token.generation != self.generation;
                let gone = stale || self.closed || !reusable;
                self.conns
                    .insert(id, if gone { Where::Gone } else { Where::Pool });
                self.pool.checkin(token, id, reusable, None, now);
            }
            Op::Checkout => self.checkout(),
            Op::Clear { interrupt } => {
                self.generation.0 += 1;
                self.direct(PoolState::Paused, interrupt);
            }
            Op::Close => {
                self.closed = true;
                self.pool.close(now);
            }
            Op::Discard(n) => {
                let Some((id, token)) = self.leased(n) else {
                    return false;
                };
                self.conns.insert(id, Where::Gone);
                let why = ConnectionClosedReason::Error;
                self.pool.discard(token, why, now);
            }
            Op::Drain(n) => {
                let Some((id, token)) = self.leased(n) else {
                    return false;
                };
                self.conns.insert(id, Where::Leased(token, Place::Draining));
                self.pool.drain(token, now);
            }
            Op::Pin(n) => {
                let Some((id, token)) = self.leased(n) else {
                    return false;
                };
                self.conns.insert(id, Where::Leased(token, Place::Pinned));
                self.pool.pin(token);
            }
            Op::Opened(n) => {
                let Some(id) = self.opening(n) else {
                    return false;
                };
                let stale = self.conns[&id] != Where::Opening(self.generation);
                self.conns
                    .insert(id, if stale { Where::Gone } else { Where::Pool });
                self.pool.opened(id, id, None, now);
            }
            Op::OpenFailed(n) => {
                let Some(id) = self.opening(n) else {
                    return false;
                };
                self.conns.insert(id, Where::Gone);
                let error = Error::from(io::ErrorKind::ConnectionReset);
                self.pool.open_failed(id, &error, now);
            }
            Op::Ready => self.direct(PoolState::Ready, false),
            Op::Time => {
                self.now = now + Duration::from_millis(300);
                if let Some((at, _)) = self.pool.poll_timeout()
                    && at <= self.now
                {
                    self.pool.handle_timeout(self.now);
                    let next = self.pool.poll_timeout();
                    assert!(next.is_none_or(|(at, _)| at > self.now), "a busy timer");
                }
            }
        }
        self.settle();
        true
    }

    fn direct(&mut self, state: PoolState, interrupt_in_use: bool) {
        self.ready = state == PoolState::Ready;
        self.epoch += 1;
        let directive = PoolDirective {
            epoch: self.epoch,
            generation: self.generation,
            state,
            interrupt_in_use,
            service_id: None,
            cause: None,
        };
        self.pool.apply(directive, self.now);
    }

    fn checkout(&mut self) {
        let available = self.conns.values().any(|w| *w == Where::Pool);
        match self.pool.checkout(self.now) {
            Checkout::Ready(lease) => {
                assert!(self.waiting.is_empty(), "a newcomer was served first");
                self.lease(lease);
            }
            Checkout::Refused(_) => assert!(!self.ready || self.closed, "refused though ready"),
            Checkout::Wait(ticket) => {
                let reaped = self.config.max_idle_time.is_some();
                assert!(!available || reaped, "waits beside an available connection");
                self.issued += 1;
                assert_eq!(ticket, Ticket(self.issued));
                self.waiting.push(ticket);
            }
        }
    }

    fn lease(&mut self, lease: Lease<ConnId>) {
        assert!(self.ready && !self.closed, "a lease of an unready pool");
        assert_eq!(lease.token.generation, self.generation, "a stale lease");
        assert_eq!(lease.token.id, lease.conn, "a payload was swapped");
        let place = Where::Leased(lease.token, Place::Leased);
        let before = self.conns.insert(lease.conn, place);
        assert_eq!(before, Some(Where::Pool), "{} was elsewhere", lease.conn);
    }

    fn settle(&mut self) {
        self.carry_out();
        self.conns.retain(|_, place| *place != Where::Gone);
        self.compare();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                PoolAction::Close { id, conn, .. } => {
                    assert_eq!(conn, Some(id), "a payload was swapped");
                    self.conns.insert(id, Where::Gone);
                }
                PoolAction::Event(_) => panic!("an event that nobody wants"),
                PoolAction::Fail { ticket, .. } => {
                    let at = self.waiting.iter().position(|t| *t == ticket);
                    self.waiting.remove(at.expect("a ticket settles once"));
                }
                PoolAction::Grant { ticket, lease } => {
                    assert_eq!(self.waiting.first(), Some(&ticket), "not the front");
                    self.waiting.remove(0);
                    self.lease(lease);
                }
                PoolAction::Interrupt { id } => {
                    if matches!(self.conns.get(&id), Some(Where::Opening(_))) {
                        self.conns.insert(id, Where::Gone);
                    }
                }
                PoolAction::Open { id, generation } => {
                    assert_eq!(generation, self.generation);
                    assert_eq!(id, ConnId(self.id_last.0 + 1), "ids go up by one");
                    self.id_last = id;
                    self.conns.insert(id, Where::Opening(generation));
                }
            }
        }
    }

    fn compare(&self) {
        self.pool.check_invariants();
        let count = |wanted: fn(&Where) -> bool| self.conns.values().filter(|w| wanted(w)).count();
        let expected = PoolCounts {
            available: count(|w| *w == Where::Pool),
            leased: count(|w| matches!(w, Where::Leased(_, Place::Leased))),
            pinned: count(|w| matches!(w, Where::Leased(_, Place::Pinned))),
            draining: count(|w| matches!(w, Where::Leased(_, Place::Draining))),
            opening: count(|w| matches!(w, Where::Opening(_))),
            waiting: self.waiting.len(),
        };
        assert_eq!(self.pool.counts(), expected);
    }

    /// Whatever happened: once the server is back, everybody who waits is served.
    fn finish(mut self) {
        if self.closed {
            return;
        }
        self.run(Op::Ready);
        for _ in 0..10_000 {
            if self.waiting.is_empty() {
                return;
            }
            let moved = self.run(Op::Opened(0)) || self.run(Op::Checkin(0, true));
            assert!(moved, "{:?} wait for nothing", self.waiting);
        }
        panic!("{:?} were never served", self.waiting);
    }
}

fn random_op(rng: &mut Rng) -> Op {
    let n = rng.below(1 << 16);
    match rng.below(41) {
        0..12 => Op::Checkout,
        12..20 => Op::Checkin(n, rng.below(8) > 0),
        20..27 => Op::Opened(n),
        27..29 => Op::OpenFailed(n),
        29 => Op::Discard(n),
        30 => Op::Drain(n),
        31 => Op::Cancel(n, CancelReason::Dropped),
        32 => Op::Cancel(n, CancelReason::Timeout),
        33..36 => Op::Ready,
        36 => Op::Clear { interrupt: false },
        37 => Op::Clear { interrupt: true },
        38 => Op::Time,
        39 => Op::Pin(n),
        _ if n < 1 << 11 => Op::Close,
        _ => Op::Time,
    }
}

#[test]
fn random_operations_agree_with_the_reference() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let mut config = PoolConfig::new(ServerAddress::default());
        config.max_pool_size = [0, 1, 2, 5][rng.below(4)];
        config.max_connecting = [0, 1, 2, 4][rng.below(4)];
        config.min_pool_size = [0, 0, 1, 3][rng.below(4)];
        config.max_idle_time = [None, Some(Duration::from_secs(1))][rng.below(2)];
        let mut model = Model::new(config);
        for _ in 0..300 {
            let op = random_op(&mut rng);
            model.run(op);
        }
        model.finish();
    }
}

#[test]
fn every_order_of_six_operations_in_a_small_world_agrees_with_the_reference() {
    let ops = [
        Op::Checkout,
        Op::Checkin(0, true),
        Op::Discard(0),
        Op::Opened(0),
        Op::Opened(1),
        Op::OpenFailed(0),
        Op::Cancel(0, CancelReason::Dropped),
        Op::Clear { interrupt: false },
        Op::Clear { interrupt: true },
        Op::Ready,
    ];
    let mut config = PoolConfig::new(ServerAddress::default());
    config.max_pool_size = 2;
    let (base, mut code) = (ops.len(), 0);
    let mut finished = 0;
    while code < base.pow(6) {
        let mut model = Model::new(config.clone());
        model.run(Op::Ready);
        // The first operation is the most significant digit, so that one that is impossible (at
        // most two tickets wait) rules all orders out that begin alike.
        let impossible = (0..6).rev().find(|place| {
            let op = ops[code / base.pow(*place) % base];
            let crowded = matches!(op, Op::Checkout) && model.waiting.len() == 2;
            crowded || !model.run(op)
        });
        if impossible.is_none() {
            model.finish();
            finished += 1;
        }
        let step = base.pow(impossible.unwrap_or(0));
        code = (code / step + 1) * step;
    }
    assert!(finished > 10_000, "only {finished} orders were possible");
}
