//! Monitors and round-trip time probes: each with a connection of its own.

use std::time::Duration;

use super::{
    Engine, Event, Phase, SocketId, TimerTag,
    tables::{Role, Server, WatchCell},
};
use crate::{
    error::Error,
    event::sdam::SdamEvent,
    hello::HelloReply,
    id::ServerId,
    monitor::{Monitor, RttProbe, Want, Watch},
    route::{self, MonitorRoutes},
    topology::CheckOutcome,
    wire::Reply,
};

/// A machine that watches a server, and where the engine keeps it.
pub(super) trait Watcher: Watch + Sized {
    /// Its place in the record of its server.
    fn cell(server: &mut Server) -> &mut Option<WatchCell<Self>>;

    /// What its connection is for.
    fn role(server: ServerId) -> Role;

    /// The name of its timer.
    fn timer(server: ServerId) -> TimerTag;

    /// Hands on what it has told; whether there was something.
    fn hand_on(engine: &mut Engine, server: ServerId) -> bool;
}

impl Watcher for Monitor {
    fn cell(server: &mut Server) -> &mut Option<WatchCell<Self>> {
        &mut server.monitor
    }

    fn role(server: ServerId) -> Role {
        Role::Monitor(server)
    }

    fn timer(server: ServerId) -> TimerTag {
        TimerTag::Monitor(server)
    }

    fn hand_on(engine: &mut Engine, server: ServerId) -> bool {
        let mut news = News::default();
        if let Some(cell) = engine.watcher::<Self>(server) {
            route::monitor(&mut cell.machine, &mut news);
        }
        if news.probe {
            engine.start_probe(server);
        }
        let told = !news.items.is_empty();
        engine.tell(server, news.items);
        told
    }
}

impl Watcher for RttProbe {
    fn cell(server: &mut Server) -> &mut Option<WatchCell<Self>> {
        &mut server.probe
    }

    fn role(server: ServerId) -> Role {
        Role::Probe(server)
    }

    fn timer(server: ServerId) -> TimerTag {
        TimerTag::Probe(server)
    }

    fn hand_on(engine: &mut Engine, server: ServerId) -> bool {
        let mut samples = Vec::new();
        if let Some(cell) = engine.watcher::<Self>(server) {
            route::probe(&mut cell.machine, |sample| samples.push(sample));
        }
        let now = engine.now;
        let told = !samples.is_empty();
        for sample in samples {
            engine.with_topology(|t| t.handle_rtt(server, sample, now));
        }
        told
    }
}

/// What a monitor told, in its order: the topology's events come between the heartbeats'.
#[derive(Default)]
struct News {
    items: Vec<Item>,
    probe: bool,
}

enum Item {
    Heartbeat(SdamEvent),
    Outcome(CheckOutcome),
}

impl MonitorRoutes for News {
    fn heartbeat(&mut self, event: SdamEvent) {
        self.items.push(Item::Heartbeat(event));
    }

    fn outcome(&mut self, outcome: CheckOutcome) {
        self.items.push(Item::Outcome(outcome));
    }

    fn probe(&mut self) {
        self.probe = true;
    }
}

/// What a watcher wants, without its borrow.
enum Wish {
    Close(Option<SocketId>),
    Dial,
    End(Option<SocketId>),
    Fail(Error),
    Wait,
}

impl Engine {
    fn watcher<M: Watcher>(&mut self, id: ServerId) -> Option<&mut WatchCell<M>> {
        M::cell(self.tables.servers.get_mut(&id)?).as_mut()
    }

    fn tell(&mut self, id: ServerId, items: Vec<Item>) {
        let now = self.now;
        for item in items {
            match item {
                // Nothing comes after the end of the topology.
                Item::Heartbeat(_) if self.phase == Phase::Closed => {}
                Item::Heartbeat(event) => {
                    if !self.is_muted(id, &event) {
                        self.tables.emit(Event::Sdam(event));
                    }
                }
                Item::Outcome(outcome) => {
                    self.with_topology(|t| t.handle_check(id, outcome, now));
                }
            }
        }
    }

    /// A server that was removed, by its own reply perhaps, begins no check any more: neither the
    /// beginning nor the end of such a check is told.
    fn is_muted(&mut self, id: ServerId, event: &SdamEvent) -> bool {
        let Some(server) = self.tables.servers.get_mut(&id) else {
            return false;
        };
        server.muted |= server.removed && matches!(event, SdamEvent::ServerHeartbeatStarted(_));
        server.muted
    }

    fn start_probe(&mut self, id: ServerId) {
        let now = self.now;
        let (Some(running), Some(server)) = (&self.running, self.tables.servers.get_mut(&id))
        else {
            return;
        };
        if server.probe.is_none() && !server.removed {
            let config = running.settings.monitor_config(&server.address);
            server.probe = Some(WatchCell::new(RttProbe::new(config, now)));
            self.step_watcher::<RttProbe>(id);
        }
    }

    /// Does what a server's monitor or probe wants, until it waits for something.
    pub(super) fn step_watcher<M: Watcher>(&mut self, id: ServerId) {
        let now = self.now;
        while self.watcher::<M>(id).is_some() {
            if M::hand_on(self, id) {
                continue;
            }
            match self.wish::<M>(id) {
                Wish::Wait => break,
                Wish::Fail(error) => self.watcher_fails::<M>(id, error),
                Wish::Dial => self.dial_watcher::<M>(id),
                Wish::Close(socket) => {
                    self.forget_socket(socket);
                    if let Some(cell) = self.watcher::<M>(id) {
                        cell.machine.closed(now);
                    }
                }
                Wish::End(socket) => {
                    self.forget_socket(socket);
                    if let Some(server) = self.tables.servers.get_mut(&id) {
                        *M::cell(server) = None;
                    }
                    self.tables.timers.set(M::timer(id), None);
                    self.tables.reap(id);
                }
            }
        }
    }

    fn forget_socket(&mut self, socket: Option<SocketId>) {
        if let Some(socket) = socket {
            self.tables.forget(socket, false);
        }
    }

    /// Begins the wanted exchange or sleep, or says what else is to be done.
    fn wish<M: Watcher>(&mut self, id: ServerId) -> Wish {
        let now = self.now;
        let tables = &mut self.tables;
        let Some(cell) = tables
            .servers
            .get_mut(&id)
            .and_then(|s| M::cell(s).as_mut())
        else {
            return Wish::Wait;
        };
        let conn = cell
            .socket
            .and_then(|socket| tables.sockets.get_mut(&socket)?.conn.as_mut());
        let mut sleep = None;
        let wish = match cell.machine.want() {
            Want::Stopped => Wish::End(cell.socket.take()),
            Want::Close => {
                cell.running = false;
                Wish::Close(cell.socket.take())
            }
            Want::Open if cell.socket.is_none() => Wish::Dial,
            Want::Open => Wish::Wait,
            Want::Sleep { until } => {
                sleep = Some(until);
                Wish::Wait
            }
            Want::Exchange { .. } if cell.running => Wish::Wait,
            Want::Exchange { request, deadline } => match conn {
                Some(conn) => match conn.begin(request, deadline, now) {
                    Ok(_) => {
                        cell.running = true;
                        Wish::Wait
                    }
                    Err(error) => Wish::Fail(error.into()),
                },
                None => Wish::Fail(Error::internal("a watcher has no link")),
            },
            Want::AwaitReply { deadline } => match conn {
                Some(conn) => {
                    conn.set_deadline(deadline, now);
                    Wish::Wait
                }
                None => Wish::Fail(Error::internal("a watcher has no link")),
            },
        };
        let socket = cell.socket;
        tables.timers.set(M::timer(id), sleep);
        if let Some(socket) = socket {
            tables.touch(socket);
        }
        wish
    }

    fn dial_watcher<M: Watcher>(&mut self, id: ServerId) {
        let keep_alive = self.running.as_ref().is_some_and(|r| r.settings.keep_alive);
        let Some(server) = self.tables.servers.get(&id) else {
            return;
        };
        let limit = server.monitor_config.connect_timeout;
        let until = limit.map(|limit| self.now + limit);
        let address = server.address.clone();
        let socket = self.tables.dial(M::role(id), address, keep_alive, until);
        if let Some(cell) = self.watcher::<M>(id) {
            cell.socket = Some(socket);
            cell.running = false;
        }
    }

    pub(super) fn watcher_established<M: Watcher>(
        &mut self,
        id: ServerId,
        hello: Box<HelloReply>,
        rtt: Duration,
    ) {
        let now = self.now;
        if let Some(cell) = self.watcher::<M>(id) {
            cell.machine.handle_established(hello, rtt, now);
            self.step_watcher::<M>(id);
        }
    }

    pub(super) fn watcher_replied<M: Watcher>(
        &mut self,
        id: ServerId,
        reply: &Reply,
        more_to_come: bool,
    ) {
        let now = self.now;
        if let Some(cell) = self.watcher::<M>(id) {
            cell.running = false;
            cell.machine
                .handle_reply(reply.document(), more_to_come, now);
            self.step_watcher::<M>(id);
        }
    }

    /// The socket of a monitor or probe is gone.
    pub(super) fn watcher_failed<M: Watcher>(&mut self, id: ServerId, error: Error) {
        if let Some(cell) = self.watcher::<M>(id) {
            cell.socket = None;
            self.watcher_fails::<M>(id, error);
            self.step_watcher::<M>(id);
        }
    }

    fn watcher_fails<M: Watcher>(&mut self, id: ServerId, error: Error) {
        let now = self.now;
        if let Some(cell) = self.watcher::<M>(id) {
            cell.running = false;
            cell.machine.handle_failure(error, now);
        }
    }

    pub(super) fn watcher_timeout<M: Watcher>(&mut self, id: ServerId) {
        let now = self.now;
        if let Some(cell) = self.watcher::<M>(id) {
            cell.machine.handle_timeout(now);
            self.step_watcher::<M>(id);
        }
    }
}
