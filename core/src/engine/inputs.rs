//! Bytes and time that come in, and the count of what there is.

use super::{Census, Engine, SocketId, TimerTag};
use crate::monitor::{Monitor, RttProbe};

impl Engine {
    pub(super) fn read(&mut self, conn: SocketId, mut bytes: &[u8]) {
        let now = self.now;
        if bytes.is_empty() {
            return self.with_conn(conn, |c| c.handle_read(0, now));
        }
        while !bytes.is_empty() {
            let mut taken = 0;
            self.with_conn(conn, |c| {
                let space = c.read_space();
                taken = space.len().min(bytes.len());
                space[..taken].copy_from_slice(&bytes[..taken]);
                c.handle_read(taken, now);
            });
            if taken == 0 {
                return;
            }
            bytes = &bytes[taken..];
        }
    }

    pub(super) fn timeout(&mut self) {
        for tag in self.tables.timers.take_due(self.now) {
            let now = self.now;
            match tag {
                TimerTag::Lookup => self.lookup_timeout(),
                TimerTag::Monitor(id) => self.watcher_timeout::<Monitor>(id),
                TimerTag::Op(id) => self.op_timeout(id),
                TimerTag::Pool(id) => {
                    if let Some(server) = self.tables.servers.get_mut(&id) {
                        server.maintained = Some(now);
                    }
                    self.tables.with_pool(id, |pool| pool.handle_timeout(now));
                }
                TimerTag::Probe(id) => self.watcher_timeout::<RttProbe>(id),
                TimerTag::Shutdown => self.shutdown_timeout(),
                TimerTag::Socket(id) => self.socket_timeout(id),
                TimerTag::Topology => self.with_topology(|t| t.handle_timeout(now)),
            }
        }
    }

    /// What the engine holds at this moment.
    #[must_use]
    pub fn census(&self) -> Census {
        let servers = self.tables.servers.values();
        Census {
            pools: servers
                .clone()
                .map(|server| (server.address.clone(), server.pool.counts()))
                .collect(),
            ops: self.ops.len(),
            operations: servers.map(|server| server.operations).sum(),
            sockets: self.tables.sockets.len(),
            tickets: self.tables.tickets.len(),
            sessions_idle: self.sessions.pool.len(),
            sessions_open: self.sessions.open(),
            pins_open: self.pins.open(),
            timers: self.tables.timers.len(),
            lookups: usize::from(self.lookup.is_some()),
        }
    }
}
