//! Where the actions of topology and pools go, and the loop that does what they leave.
//!
//! Destinations only change tables, feed machines other than the one being drained, and queue
//! [`Work`]; the loop in [`Engine::run`] does the rest. It ends: an input makes finitely much work,
//! and whatever would repeat itself (checks, retries, populating a pool) waits for a timer.

use std::sync::Arc;

use super::{
    Engine, Event,
    tables::{Held, Role, Server, Tables, User, WatchCell, Work},
};
use crate::{
    event::{
        cmap::{CmapEvent, ConnectionClosedReason},
        sdam::SdamEvent,
    },
    id::{ConnId, Generation, ServerId, Ticket},
    monitor::{Monitor, RttProbe, Watch},
    mutants::{self, Mutant},
    net::ServerAddress,
    pool::{Checkout, Lease, Pool, PoolDirective, PoolError},
    route::{self, PoolRoutes, TopologyRoutes},
    settings::Settings,
    time::Instant,
    topology::{Topology, TopologyView},
};

/// The destinations of the topology's actions.
struct TopologyRouting<'a> {
    tables: &'a mut Tables,
    settings: &'a Settings,
    now: Instant,
}

impl TopologyRouting<'_> {
    fn monitor(&mut self, id: ServerId, tell: impl FnOnce(&mut WatchCell<Monitor>)) {
        let server = self.tables.servers.get_mut(&id);
        if let Some(monitor) = server.and_then(|s| s.monitor.as_mut()) {
            tell(monitor);
            self.tables.work.push_back(Work::Monitor(id));
        }
    }
}

impl TopologyRoutes for TopologyRouting<'_> {
    fn add_server(&mut self, id: ServerId, address: ServerAddress) {
        let events = self.tables.wishes.cmap;
        let server = Server::new(self.settings, address, events, self.now);
        self.tables.servers.insert(id, server);
        self.tables.work.push_back(Work::Monitor(id));
        self.tables.with_pool(id, |_| {});
    }

    fn remove_server(&mut self, id: ServerId) {
        let Some(server) = self.tables.servers.get_mut(&id) else {
            return;
        };
        server.removed = true;
        if let Some(monitor) = &mut server.monitor {
            monitor.machine.stop(self.now);
        }
        if let Some(probe) = &mut server.probe {
            probe.machine.stop(self.now);
        }
        self.tables.work.push_back(Work::Monitor(id));
        self.tables.work.push_back(Work::Probe(id));
        self.tables.with_pool(id, |pool| pool.close(self.now));
    }

    fn direct_pool(&mut self, id: ServerId, directive: PoolDirective) {
        let now = self.now;
        self.tables.with_pool(id, |pool| pool.apply(directive, now));
    }

    fn check_now(&mut self, id: ServerId) {
        let now = self.now;
        self.monitor(id, |monitor| monitor.machine.request_check(now));
    }

    fn cancel_check(&mut self, id: ServerId) {
        let now = self.now;
        self.monitor(id, |monitor| monitor.machine.cancel_check(now));
    }

    fn publish(&mut self, view: Arc<TopologyView>) {
        self.tables.view = Some(view);
        if !mutants::active(Mutant::LostWakeUp) {
            self.tables.work.push_back(Work::Select);
        }
    }

    fn resolve_srv(&mut self) {
        self.tables.work.push_back(Work::ResolveSrv);
    }

    fn event(&mut self, event: SdamEvent) {
        self.tables.emit(Event::Sdam(event));
    }
}

/// The destinations of a pool's actions: all of them wait, because the pool is borrowed.
struct PoolRouting {
    server: ServerId,
    work: Vec<PoolWork>,
}

enum PoolWork {
    Close(Option<super::SocketId>),
    Event(CmapEvent),
    Interrupt(ConnId),
    Open(ConnId, Generation),
    Settle(Ticket, Result<Lease<super::SocketId>, PoolError>),
}

impl PoolRoutes<super::SocketId> for PoolRouting {
    fn settle(&mut self, ticket: Ticket, result: Result<Lease<super::SocketId>, PoolError>) {
        self.work.push(PoolWork::Settle(ticket, result));
    }

    fn open(&mut self, id: ConnId, generation: Generation) {
        self.work.push(PoolWork::Open(id, generation));
    }

    fn close(&mut self, _id: ConnId, conn: Option<super::SocketId>, _: ConnectionClosedReason) {
        self.work.push(PoolWork::Close(conn));
    }

    fn interrupt(&mut self, id: ConnId) {
        self.work.push(PoolWork::Interrupt(id));
    }

    fn event(&mut self, event: CmapEvent) {
        self.work.push(PoolWork::Event(event));
    }
}

impl Tables {
    /// Runs a section on a server's pool, and takes the pool's actions.
    pub(super) fn with_pool<R>(
        &mut self,
        id: ServerId,
        section: impl FnOnce(&mut Pool<super::SocketId>) -> R,
    ) -> Option<R> {
        let server = self.servers.get_mut(&id)?;
        let out = section(&mut server.pool);
        let mut routing = PoolRouting {
            server: id,
            work: Vec::new(),
        };
        route::pool(&mut server.pool, &mut routing);
        for work in routing.work {
            self.pool_work(routing.server, work);
        }
        self.arm_pool(id);
        self.reap(id);
        Some(out)
    }

    /// Checks a connection out for an operation; a ticket is known before it can settle.
    pub(super) fn with_checkout(
        &mut self,
        id: ServerId,
        op: super::OpId,
        now: Instant,
    ) -> Option<Checkout<super::SocketId>> {
        let server = self.servers.get_mut(&id)?;
        let checkout = server.pool.checkout(now);
        if let Checkout::Wait(ticket) = &checkout {
            self.tickets.insert((id, *ticket), op);
        }
        self.with_pool(id, |_| {});
        Some(checkout)
    }

    fn pool_work(&mut self, server: ServerId, work: PoolWork) {
        let work = match work {
            PoolWork::Event(event) => return self.emit(Event::Cmap(event)),
            PoolWork::Close(None) => return,
            PoolWork::Close(Some(conn)) => Work::Close(conn),
            PoolWork::Interrupt(id) => match self.pooled.get(&(server, id)) {
                Some(conn) => Work::Interrupt(*conn),
                None => return,
            },
            PoolWork::Open(id, generation) => Work::Open {
                server,
                id,
                generation,
            },
            PoolWork::Settle(ticket, result) => Work::Settled {
                op: self.tickets.remove(&(server, ticket)),
                server,
                result,
            },
        };
        self.work.push_back(work);
    }

    /// Gives a connection back whose operation has ended.
    pub(super) fn check_in(
        &mut self,
        held: Held,
        reusable: bool,
        why: Option<ConnectionClosedReason>,
        now: Instant,
    ) {
        if let Some(socket) = self.sockets.get_mut(&held.socket) {
            socket.user = User::Nobody;
        }
        self.with_pool(held.server, |pool| {
            pool.checkin(held.token, held.socket, reusable, why, now);
        });
    }
}

impl Engine {
    /// Runs a section on the topology, and takes its actions.
    pub(super) fn with_topology(&mut self, section: impl FnOnce(&mut Topology)) {
        let Some(running) = &mut self.running else {
            return;
        };
        section(&mut running.topology);
        let mut routing = TopologyRouting {
            tables: &mut self.tables,
            settings: &running.settings,
            now: self.now,
        };
        route::topology(&mut running.topology, &mut routing);
        let at = running.topology.poll_timeout().map(|(at, _)| at);
        self.tables.timers.set(super::TimerTag::Topology, at);
    }

    /// Does what steps left for later, until nothing is left.
    pub(super) fn run(&mut self) {
        loop {
            let Some(work) = self.tables.work.pop_front() else {
                if self.end_if_ready() {
                    continue;
                }
                return;
            };
            match work {
                Work::Close(conn) => self.tables.forget(conn, false),
                Work::Interrupt(conn) => self.interrupt(conn),
                Work::Monitor(id) => self.step_watcher::<Monitor>(id),
                Work::Probe(id) => self.step_watcher::<RttProbe>(id),
                Work::ResolveSrv => self.poll_srv(),
                Work::Select => self.select_again(),
                Work::Open {
                    server,
                    id,
                    generation,
                } => self.open(server, id, generation),
                Work::Settled {
                    op, server, result, ..
                } => self.settled(op, server, result),
            }
        }
    }

    fn open(&mut self, server: ServerId, id: ConnId, generation: Generation) {
        let (Some(running), Some(target)) = (&self.running, self.tables.servers.get(&server))
        else {
            return;
        };
        let role = Role::Pool {
            server,
            id,
            generation,
        };
        let until = target.config.connect_timeout.map(|limit| self.now + limit);
        let address = target.address.clone();
        self.tables
            .dial(role, address, running.settings.keep_alive, until);
    }
}
