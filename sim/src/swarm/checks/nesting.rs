//! Invariant 16.
//!
//! Events are well nested: what starts ends once, and nothing comes before the beginning or after
//! the end of what it belongs to.

use std::collections::BTreeMap;

use mongo_client_core::{
    event::{cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    time::Instant,
};

use super::{ByPool, Part};
use crate::swarm::observe::{End, Observation};

/// What is open of a server.
#[derive(Debug, Default)]
struct Server {
    /// The commands under way, by connection and request.
    commands: BTreeMap<(u32, i32), i64>,
    /// Heartbeats under way; those of monitors whose server was removed may still end.
    heartbeats: usize,
    former_heartbeats: usize,
    known: bool,
    pool: Pool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Pool {
    #[default]
    None,
    Open,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Nesting {
    servers: ByPool<Server>,
    /// The clients whose topology is open.
    open: Vec<usize>,
}

impl Part for Nesting {
    fn name(&self) -> &'static str {
        "events-well-nested"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        let (client, result) = match what {
            Observation::Cmap { client, event } => (client, self.pool(*client, event)),
            Observation::Command { client, event } => (client, self.command(*client, event)),
            Observation::Sdam { client, event } => (client, self.sdam(*client, event)),
            _ => return Ok(()),
        };
        result.map_err(|what| format!("client {client}: {what}"))
    }

    fn finish(&mut self, _: &End<'_>) -> Result<(), String> {
        for (client, address, server) in &self.servers.0 {
            if let Some(((_, request), _)) = server.commands.first_key_value() {
                return Err(format!(
                    "client {client}, {address}: no event tells the end of request {request}"
                ));
            }
        }
        Ok(())
    }
}

impl Nesting {
    fn command(&mut self, client: usize, event: &CommandEvent) -> Result<(), String> {
        let (connection, request, operation) = match event {
            CommandEvent::Started(e) => {
                let key = (e.connection.id, e.request_id);
                let server = self.servers.of(client, &e.connection.address);
                return match server.commands.insert(key, e.operation_id.0) {
                    Some(_) => Err(format!("request {} starts twice", e.request_id)),
                    None => Ok(()),
                };
            }
            CommandEvent::Succeeded(e) => (&e.connection, e.request_id, e.operation_id),
            CommandEvent::Failed(e) => (&e.connection, e.request_id, e.operation_id),
            _ => return Ok(()),
        };
        let server = self.servers.of(client, &connection.address);
        let started = server.commands.remove(&(connection.id, request));
        if started != Some(operation.0) {
            return Err(format!(
                "request {request} ends for operation {operation}, it started for {started:?}"
            ));
        }
        Ok(())
    }

    fn pool(&mut self, client: usize, event: &CmapEvent) -> Result<(), String> {
        let address = match event {
            CmapEvent::PoolCreated(e) => {
                self.servers.of(client, &e.address).pool = Pool::Open;
                return Ok(());
            }
            CmapEvent::PoolClosed(e) => {
                let pool = &mut self.servers.of(client, &e.address).pool;
                return match std::mem::replace(pool, Pool::Closed) {
                    Pool::Open => Ok(()),
                    other => Err(format!("the pool of {} closes: {other:?}", e.address)),
                };
            }
            CmapEvent::PoolReady(e) => &e.address,
            CmapEvent::PoolCleared(e) => &e.address,
            CmapEvent::ConnectionCreated(e) => &e.address,
            CmapEvent::ConnectionReady(e) => &e.address,
            CmapEvent::ConnectionCheckedOut(e) => &e.address,
            // These may come from those who still hold a connection of a closed pool.
            _ => return Ok(()),
        };
        let pool = &self.servers.of(client, address).pool;
        if *pool != Pool::Open {
            return Err(format!("of the pool of {address} ({pool:?}): {event:?}"));
        }
        Ok(())
    }

    fn sdam(&mut self, client: usize, event: &SdamEvent) -> Result<(), String> {
        let is_open = self.open.contains(&client);
        match event {
            SdamEvent::TopologyOpening(_) if !is_open => self.open.push(client),
            SdamEvent::TopologyOpening(_) => return Err(String::from("a topology opens twice")),
            _ if !is_open => return Err(format!("outside of a topology: {event:?}")),
            SdamEvent::TopologyClosed(_) => {
                self.open.retain(|c| *c != client);
                for (c, _, server) in &mut self.servers.0 {
                    if *c == client {
                        (server.known, server.heartbeats) = (false, 0);
                    }
                }
            }
            SdamEvent::ServerOpening(e) => {
                let server = self.servers.of(client, &e.address);
                if std::mem::replace(&mut server.known, true) {
                    return Err(format!("{} opens twice", e.address));
                }
            }
            SdamEvent::ServerClosed(e) => {
                let server = self.servers.of(client, &e.address);
                server.former_heartbeats += std::mem::take(&mut server.heartbeats);
                if !std::mem::replace(&mut server.known, false) {
                    return Err(format!("{} closes, and was not open", e.address));
                }
            }
            SdamEvent::ServerHeartbeatStarted(e) => {
                let server = self.servers.of(client, &e.server_address);
                server.heartbeats += 1;
                if !server.known || server.heartbeats > 1 {
                    return Err(format!("a heartbeat of {} too many", e.server_address));
                }
            }
            SdamEvent::ServerHeartbeatSucceeded(e) => {
                return self.heartbeat_ends(client, &e.server_address);
            }
            SdamEvent::ServerHeartbeatFailed(e) => {
                return self.heartbeat_ends(client, &e.server_address);
            }
            _ => {}
        }
        Ok(())
    }

    fn heartbeat_ends(
        &mut self,
        client: usize,
        address: &mongo_client_core::net::ServerAddress,
    ) -> Result<(), String> {
        let server = self.servers.of(client, address);
        for open in [&mut server.former_heartbeats, &mut server.heartbeats] {
            if *open > 0 {
                *open -= 1;
                return Ok(());
            }
        }
        Err(format!("a heartbeat of {address} ends, and none has begun"))
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::swarm::checks::tests::{
        Run, command, command_failed, created, failed, opening, pool_closed, pool_created,
        server_opening, started, topology_closed,
    };

    #[test]
    fn a_command_ends_once() {
        let mut run = Run::of(Nesting::default());
        assert!(run.command(command_failed(1)).is_err());
        run.command(command(1, doc! { "ping": 1 })).unwrap();
        assert!(run.command(command(1, doc! { "ping": 1 })).is_err());
        run.command(command_failed(1)).unwrap();
        run.finish().unwrap();
        run.command(command(2, doc! { "ping": 1 })).unwrap();
        assert!(run.finish().is_err());
    }

    #[test]
    fn events_of_a_pool_come_between_its_creation_and_its_end() {
        let mut run = Run::of(Nesting::default());
        assert!(run.cmap(created(1)).is_err());
        run.cmap(pool_created()).unwrap();
        run.cmap(created(1)).unwrap();
        run.cmap(pool_closed()).unwrap();
        assert!(run.cmap(created(2)).is_err());
        assert!(run.cmap(pool_closed()).is_err());
    }

    #[test]
    fn heartbeats_come_one_by_one_and_within_their_topology() {
        let mut run = Run::of(Nesting::default());
        assert!(run.sdam(started(false)).is_err());
        let mut run = Run::of(Nesting::default());
        run.sdam(opening()).unwrap();
        run.sdam(server_opening()).unwrap();
        run.sdam(started(false)).unwrap();
        run.sdam(failed()).unwrap();
        assert!(run.sdam(failed()).is_err());
        run.sdam(started(false)).unwrap();
        assert!(run.sdam(started(false)).is_err());
        run.sdam(topology_closed()).unwrap();
        assert!(run.sdam(failed()).is_err());
    }
}
