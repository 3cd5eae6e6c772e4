//! A simulated cluster: routers before a replica set.
//!
//! A router takes commands as a server does and has them answered by the member that the command
//! needs. It tries again what may be sent twice when the set has changed under it, and waits for a
//! primary. Clients reach only the routers; the set is reached through [`SimCluster::set_mut`].

mod forward;

use std::{collections::BTreeMap, time::Duration};

use mongo_client_core::time::Instant;

use self::forward::Pending;
use crate::{
    Choices, Output, Seeded, ServerConfig, SetConfig, SimReplicaSet, SimServer,
    deployment::Deployment,
};

/// What a cluster is told at its beginning.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// The routers' addresses, `host:port`.
    pub routers: Vec<String>,
    /// The replica set behind them; its users are those of the cluster.
    pub set: SetConfig,
    /// How long a router waits for a member that a command can go to.
    pub patience: Duration,
}

impl ClusterConfig {
    /// Routers that wait 20 seconds for a member, as the real ones do.
    #[must_use]
    pub fn new(routers: impl IntoIterator<Item = String>, set: SetConfig) -> Self {
        Self {
            routers: routers.into_iter().collect(),
            set,
            patience: Duration::from_secs(20),
        }
    }
}

/// Simulated routers and their replica set.
pub struct SimCluster {
    set: SimReplicaSet,
    routers: Vec<Router>,
    choices: Box<dyn Choices>,
    patience: Duration,
    /// The time of the last call.
    now: Instant,
    /// The router of each client's connection.
    clients: BTreeMap<u64, usize>,
    /// The connection to a member that serves a client's connection.
    upstream: BTreeMap<(u64, usize), u64>,
    /// Whose connection to the set it is.
    owners: BTreeMap<u64, (u64, usize)>,
    next_connection: u64,
    next_request: i32,
    /// What members are asked, by the request's id.
    pending: BTreeMap<i32, Pending>,
    /// What there is no member for.
    waiting: Vec<Pending>,
}

struct Router {
    server: SimServer,
    up: bool,
}

impl SimCluster {
    /// Starts a cluster; the set's first member is primary at once.
    #[must_use]
    pub fn new(config: ClusterConfig, mut choices: Box<dyn Choices>, now: Instant) -> Self {
        let mut routers = Vec::new();
        for address in &config.routers {
            let mut server_config = ServerConfig::new(address.clone());
            server_config.wall_epoch_ms = config.set.wall_epoch_ms;
            server_config.users.clone_from(&config.set.users);
            let own = Seeded::new(choices.draw("router seed", u64::MAX));
            let mut server = SimServer::new(server_config, Box::new(own));
            server.route();
            routers.push(Router { server, up: true });
        }
        let own = Seeded::new(choices.draw("set seed", u64::MAX));
        Self {
            set: SimReplicaSet::new(config.set, Box::new(own), now),
            routers,
            choices,
            patience: config.patience,
            now,
            clients: BTreeMap::new(),
            upstream: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_connection: 1,
            next_request: 1,
            pending: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// The number of routers.
    #[must_use]
    pub fn routers(&self) -> usize {
        self.routers.len()
    }

    /// One router, to give it a hook. Panics for a router that does not exist, like indexing.
    pub fn router_mut(&mut self, router: usize) -> &mut SimServer {
        &mut self.routers[router].server
    }

    /// The replica set behind the routers.
    #[must_use]
    pub fn set(&self) -> &SimReplicaSet {
        &self.set
    }

    /// The replica set behind the routers, to do something to it at a time.
    pub fn set_mut(&mut self, now: Instant) -> &mut SimReplicaSet {
        self.now = now;
        &mut self.set
    }

    /// Ends a router's process: its connections are reset and nobody listens. Its cursors are lost.
    pub fn kill_router(&mut self, router: usize, now: Instant) {
        self.now = now;
        self.routers[router].up = false;
        self.routers[router].server.reset_connections();
        let of_router = self.clients.iter().filter(|(_, owner)| **owner == router);
        let gone: Vec<u64> = of_router.map(|(client, _)| *client).collect();
        for client in gone {
            self.forget(client);
        }
        self.pump();
    }

    /// Starts the process of a router again.
    pub fn restart_router(&mut self, router: usize, now: Instant) {
        self.now = now;
        self.routers[router].server.reboot();
        self.routers[router].server.route();
        self.routers[router].up = true;
        self.pump();
    }

    /// A client's connection is gone, and with it all that is done for it.
    fn forget(&mut self, client: u64) {
        self.clients.remove(&client);
        let range = (client, 0)..=(client, usize::MAX);
        let gone: Vec<(u64, usize)> = self.upstream.range(range).map(|(key, _)| *key).collect();
        for key in gone {
            if let Some(connection) = self.upstream.remove(&key) {
                self.owners.remove(&connection);
                self.set.hang_up(connection, self.now);
            }
        }
        self.pending.retain(|_, pending| pending.client() != client);
        self.waiting.retain(|pending| pending.client() != client);
    }
}

impl Deployment for SimCluster {
    fn addresses(&self) -> Vec<String> {
        let routers = self.routers.iter();
        routers.map(|r| r.server.address().to_owned()).collect()
    }

    fn listens(&self, server: usize) -> bool {
        self.routers.get(server).is_some_and(|router| router.up)
    }

    fn accept(&mut self, server: usize, connection: u64, now: Instant) -> bool {
        self.now = now;
        let Some(router) = self.routers.get_mut(server).filter(|r| r.up) else {
            return false;
        };
        router.server.accept(connection);
        self.clients.insert(connection, server);
        true
    }

    fn hang_up(&mut self, connection: u64, now: Instant) {
        self.now = now;
        if let Some(router) = self.clients.get(&connection) {
            self.routers[*router].server.hang_up(connection);
            self.forget(connection);
        }
    }

    fn receive(&mut self, connection: u64, bytes: &[u8], now: Instant) {
        self.now = now;
        if let Some(router) = self.clients.get(&connection) {
            self.routers[*router].server.receive(connection, bytes, now);
            self.pump();
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.pump();
        let routers = self.routers.iter_mut();
        routers.into_iter().find_map(|r| r.server.poll_output())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let routers = self.routers.iter().filter(|r| r.up);
        let routers = routers.filter_map(|r| r.server.poll_timeout());
        let waiting = self.waiting.iter().map(Pending::deadline);
        let set = self.set.poll_timeout();
        routers.chain(waiting).chain(set).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.set.handle_timeout(now);
        for router in self.routers.iter_mut().filter(|r| r.up) {
            router.server.settle(now);
        }
        self.pump();
    }
}

#[cfg(test)]
mod tests;
