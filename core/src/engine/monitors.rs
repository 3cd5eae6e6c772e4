//! Monitors: each with a connection of its own.

use std::time::Duration;

use super::{
    Engine, Event, Phase, SocketId, TimerTag,
    tables::{MonitorCell, Role},
};
use crate::{
    error::Error,
    event::sdam::SdamEvent,
    hello::HelloReply,
    id::ServerId,
    monitor::MonitorWant,
    route::{self, MonitorRoutes},
    topology::CheckOutcome,
    wire::Reply,
};

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

/// What a monitor or probe wants, without its borrow.
pub(super) enum Wish {
    Close(Option<SocketId>),
    Dial,
    End(Option<SocketId>),
    Fail(Error),
    Wait,
}

impl Engine {
    fn monitor(&mut self, id: ServerId) -> Option<&mut MonitorCell> {
        self.tables.servers.get_mut(&id)?.monitor.as_mut()
    }

    /// Does what a server's monitor wants, until it waits for something.
    pub(super) fn step_monitor(&mut self, id: ServerId) {
        let now = self.now;
        while let Some(cell) = self.monitor(id) {
            let mut news = News::default();
            route::monitor(&mut cell.machine, &mut news);
            if news.probe {
                self.start_probe(id);
            }
            if !news.items.is_empty() {
                self.tell(id, news.items);
                continue;
            }
            match self.monitor_wish(id) {
                Wish::Wait => break,
                Wish::Fail(error) => self.monitor_failed_quietly(id, error),
                Wish::Dial => self.dial_monitor(id),
                Wish::Close(socket) => {
                    socket
                        .into_iter()
                        .for_each(|socket| self.tables.forget(socket, false));
                    if let Some(cell) = self.monitor(id) {
                        cell.machine.closed(now);
                    }
                }
                Wish::End(socket) => {
                    socket
                        .into_iter()
                        .for_each(|socket| self.tables.forget(socket, false));
                    if let Some(server) = self.tables.servers.get_mut(&id) {
                        server.monitor = None;
                    }
                    self.tables.timers.set(TimerTag::Monitor(id), None);
                    self.tables.reap(id);
                }
            }
        }
    }

    fn tell(&mut self, id: ServerId, items: Vec<Item>) {
        let now = self.now;
        for item in items {
            match item {
                // Nothing comes after the end of the topology.
                Item::Heartbeat(_) if self.phase == Phase::Closed => {}
                Item::Heartbeat(event) => self.tables.emit(Event::Sdam(event)),
                Item::Outcome(outcome) => {
                    self.with_topology(|t| t.handle_check(id, outcome, now));
                }
            }
        }
    }

    /// Begins the wanted exchange or sleep, or says what else is to be done.
    fn monitor_wish(&mut self, id: ServerId) -> Wish {
        let now = self.now;
        let tables = &mut self.tables;
        let Some(cell) = tables.servers.get_mut(&id).and_then(|s| s.monitor.as_mut()) else {
            return Wish::Wait;
        };
        let conn = cell
            .socket
            .and_then(|socket| tables.sockets.get_mut(&socket)?.conn.as_mut());
        let mut sleep = None;
        let wish = match cell.machine.want() {
            MonitorWant::Stopped => Wish::End(cell.socket.take()),
            MonitorWant::Close => {
                cell.running = false;
                Wish::Close(cell.socket.take())
            }
            MonitorWant::Open if cell.socket.is_none() => Wish::Dial,
            MonitorWant::Open => Wish::Wait,
            MonitorWant::Sleep { until } => {
                sleep = Some(until);
                Wish::Wait
            }
            MonitorWant::Exchange { .. } if cell.running => Wish::Wait,
            MonitorWant::Exchange { request, deadline } => match conn {
                Some(conn) => match conn.begin(request, deadline, now) {
                    Ok(_) => {
                        cell.running = true;
                        Wish::Wait
                    }
                    Err(error) => Wish::Fail(error.into()),
                },
                None => Wish::Fail(Error::internal("monitor has no link")),
            },
            MonitorWant::AwaitReply { deadline } => match conn {
                Some(conn) => {
                    conn.set_deadline(deadline, now);
                    Wish::Wait
                }
                None => Wish::Fail(Error::internal("monitor has no link")),
            },
        };
        let socket = cell.socket;
        tables.timers.set(TimerTag::Monitor(id), sleep);
        if let Some(socket) = socket {
            tables.touch(socket);
        }
        wish
    }

    fn dial_monitor(&mut self, id: ServerId) {
        let keep_alive = self.running.as_ref().is_some_and(|r| r.settings.keep_alive);
        let socket = self.dial_for(id, Role::Monitor(id), keep_alive);
        if let Some(cell) = self.monitor(id) {
            cell.socket = socket;
            cell.running = false;
        }
    }

    pub(super) fn dial_for(
        &mut self,
        id: ServerId,
        role: Role,
        keep_alive: bool,
    ) -> Option<SocketId> {
        let server = self.tables.servers.get(&id)?;
        let limit = server.monitor_config.connect_timeout;
        let until = limit.map(|limit| self.now + limit);
        let address = server.address.clone();
        Some(self.tables.dial(role, address, keep_alive, until))
    }

    pub(super) fn monitor_established(
        &mut self,
        id: ServerId,
        hello: Box<HelloReply>,
        rtt: Duration,
    ) {
        let now = self.now;
        if let Some(cell) = self.monitor(id) {
            cell.machine.handle_established(hello, rtt, 0, now);
            self.step_monitor(id);
        }
    }

    pub(super) fn monitor_reply(&mut self, id: ServerId, reply: &Reply, more_to_come: bool) {
        let now = self.now;
        if let Some(cell) = self.monitor(id) {
            cell.running = false;
            cell.machine
                .handle_reply(reply.document(), more_to_come, now);
            self.step_monitor(id);
        }
    }

    /// The monitor's socket is gone.
    pub(super) fn monitor_failed(&mut self, id: ServerId, error: Error) {
        if let Some(cell) = self.monitor(id) {
            cell.socket = None;
            self.monitor_failed_quietly(id, error);
            self.step_monitor(id);
        }
    }

    fn monitor_failed_quietly(&mut self, id: ServerId, error: Error) {
        let now = self.now;
        if let Some(cell) = self.monitor(id) {
            cell.running = false;
            cell.machine.handle_failure(error, now);
        }
    }

    pub(super) fn monitor_timeout(&mut self, id: ServerId) {
        let now = self.now;
        if let Some(cell) = self.monitor(id) {
            cell.machine.handle_timeout(now);
            self.step_monitor(id);
        }
    }
}
