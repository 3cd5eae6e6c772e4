//! Round-trip time probes: each measures beside a streaming monitor, on a connection of its own.

use std::time::Duration;

use super::{
    Engine, TimerTag,
    monitors::Wish,
    tables::{ProbeCell, Role},
};
use crate::{
    error::Error,
    hello::HelloReply,
    id::ServerId,
    monitor::{RttProbe, RttWant},
    route,
    wire::Reply,
};

impl Engine {
    fn probe(&mut self, id: ServerId) -> Option<&mut ProbeCell> {
        self.tables.servers.get_mut(&id)?.probe.as_mut()
    }

    pub(super) fn start_probe(&mut self, id: ServerId) {
        let now = self.now;
        let (Some(running), Some(server)) = (&self.running, self.tables.servers.get_mut(&id))
        else {
            return;
        };
        if server.probe.is_none() && !server.removed {
            let config = running.settings.monitor_config(&server.address);
            server.probe = Some(ProbeCell {
                machine: RttProbe::new(config, now),
                socket: None,
                running: false,
            });
            self.step_probe(id);
        }
    }

    /// Does what a server's probe wants, until it waits for something.
    pub(super) fn step_probe(&mut self, id: ServerId) {
        let now = self.now;
        while let Some(cell) = self.probe(id) {
            let mut samples = Vec::new();
            route::probe(&mut cell.machine, |sample| samples.push(sample));
            for sample in samples {
                self.with_topology(|t| t.handle_rtt(id, sample, now));
            }
            match self.probe_wish(id) {
                Wish::Wait => break,
                Wish::Fail(_) => {
                    if let Some(cell) = self.probe(id) {
                        cell.running = false;
                        cell.machine.handle_failure(now);
                    }
                }
                Wish::Dial => {
                    let socket = self.dial_for(id, Role::Probe(id), false);
                    if let Some(cell) = self.probe(id) {
                        cell.socket = socket;
                        cell.running = false;
                    }
                }
                Wish::Close(socket) => {
                    socket
                        .into_iter()
                        .for_each(|socket| self.tables.forget(socket, false));
                    if let Some(cell) = self.probe(id) {
                        cell.machine.closed(now);
                    }
                }
                Wish::End(socket) => {
                    socket
                        .into_iter()
                        .for_each(|socket| self.tables.forget(socket, false));
                    if let Some(server) = self.tables.servers.get_mut(&id) {
                        server.probe = None;
                    }
                    self.tables.timers.set(TimerTag::Probe(id), None);
                    self.tables.reap(id);
                }
            }
        }
    }

    fn probe_wish(&mut self, id: ServerId) -> Wish {
        let now = self.now;
        let tables = &mut self.tables;
        let Some(cell) = tables.servers.get_mut(&id).and_then(|s| s.probe.as_mut()) else {
            return Wish::Wait;
        };
        let conn = cell
            .socket
            .and_then(|socket| tables.sockets.get_mut(&socket)?.conn.as_mut());
        let mut sleep = None;
        let wish = match cell.machine.want() {
            RttWant::Stopped => Wish::End(cell.socket.take()),
            RttWant::Close => {
                cell.running = false;
                Wish::Close(cell.socket.take())
            }
            RttWant::Open if cell.socket.is_none() => Wish::Dial,
            RttWant::Open => Wish::Wait,
            RttWant::Sleep { until } => {
                sleep = Some(until);
                Wish::Wait
            }
            RttWant::Exchange { .. } if cell.running => Wish::Wait,
            RttWant::Exchange { request, deadline } => match conn {
                Some(conn) => match conn.begin(request, deadline, now) {
                    Ok(_) => {
                        cell.running = true;
                        Wish::Wait
                    }
                    Err(error) => Wish::Fail(error.into()),
                },
                None => Wish::Fail(Error::internal("probe has no link")),
            },
        };
        let socket = cell.socket;
        tables.timers.set(TimerTag::Probe(id), sleep);
        if let Some(socket) = socket {
            tables.touch(socket);
        }
        wish
    }

    pub(super) fn probe_established(&mut self, id: ServerId, hello: &HelloReply, rtt: Duration) {
        let now = self.now;
        if let Some(cell) = self.probe(id) {
            cell.machine.handle_established(hello, rtt, now);
            self.step_probe(id);
        }
    }

    pub(super) fn probe_reply(&mut self, id: ServerId, reply: &Reply) {
        let now = self.now;
        if let Some(cell) = self.probe(id) {
            cell.running = false;
            cell.machine.handle_reply(reply.document(), now);
            self.step_probe(id);
        }
    }

    /// The probe's socket is gone.
    pub(super) fn probe_failed(&mut self, id: ServerId) {
        let now = self.now;
        if let Some(cell) = self.probe(id) {
            cell.socket = None;
            cell.running = false;
            cell.machine.handle_failure(now);
            self.step_probe(id);
        }
    }

    pub(super) fn probe_timeout(&mut self, id: ServerId) {
        let now = self.now;
        if let Some(cell) = self.probe(id) {
            cell.machine.handle_timeout(now);
            self.step_probe(id);
        }
    }
}
