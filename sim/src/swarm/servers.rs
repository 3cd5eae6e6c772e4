//! The servers of a run: one, a set, or routers before a set.

use std::collections::BTreeMap;

use bson::{Document, doc};
use mongo_client_core::time::Instant;

use super::{
    names::Names,
    odd::{Odd, Oddities},
    plan::{PASSWORD, Plan, SMALL_MESSAGE, Topology, USER},
    workload::{COUNTERS, DATABASE, THINGS},
};
use crate::{
    ClusterConfig, Output, ServerConfig, SetConfig, SimCluster, SimReplicaSet, SimServer, User,
    choices::Streams, deployment::Deployment,
};

/// The servers of a run.
pub(super) struct Servers {
    kind: Kind,
    /// What each server says that a healthy one does not.
    oddities: Vec<Oddities>,
    names: Names,
}

enum Kind {
    Routers(Box<SimCluster>),
    Set(Box<SimReplicaSet>),
    Standalone(Box<SimServer>),
}

impl Servers {
    pub(super) fn new(plan: &Plan, streams: &Streams, now: Instant) -> Self {
        let mut users = Vec::new();
        if plan.auth {
            users.push(User::new(USER, PASSWORD));
        }
        let addresses = plan.addresses();
        let choices = streams.fork("servers");
        let mut set = SetConfig::new("rs", plan.member_addresses());
        set.users.clone_from(&users);
        set.election_timeout = plan.election_timeout;
        set.lag = plan.lag;
        let kind = match plan.topology {
            Topology::Routers(_) => {
                let config = ClusterConfig::new(addresses, set);
                Kind::Routers(Box::new(SimCluster::new(config, choices, now)))
            }
            Topology::Set(_) => Kind::Set(Box::new(SimReplicaSet::new(set, choices, now))),
            Topology::Standalone => {
                let address = addresses.into_iter().next().unwrap_or_default();
                let mut config = ServerConfig::new(address);
                config.users = users;
                Kind::Standalone(Box::new(SimServer::new(config, choices)))
            }
        };
        let mut this = Self {
            kind,
            oddities: Vec::new(),
            names: Names::new(plan),
        };
        for server in 0..plan.topology.servers() {
            let own = Oddities::default();
            if plan.old {
                let address = this.server(server).address().to_owned();
                let member = matches!(plan.topology, Topology::Set(_)).then_some(address);
                own.grow_old(member);
            }
            if plan.small_messages && server % 2 == 1 {
                this.server(server).set_message_len_max(SMALL_MESSAGE);
            }
            this.oddities.push(own.clone());
            this.server(server).set_hook(move |seen| own.answer(seen));
        }
        this
    }

    /// Who knows the SRV records of the routers.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Lets a server say something odd a few times.
    pub(super) fn speak_oddly(&mut self, server: usize, odd: Odd) {
        self.oddities[server].set(Some(odd));
    }

    /// The replica set, to do something to it.
    pub(super) fn set(&mut self, now: Instant) -> Option<&mut SimReplicaSet> {
        match &mut self.kind {
            Kind::Routers(cluster) => Some(cluster.set_mut(now)),
            Kind::Set(set) => Some(set),
            Kind::Standalone(_) => None,
        }
    }

    /// The routers and their set.
    pub(super) fn cluster(&mut self) -> Option<&mut SimCluster> {
        match &mut self.kind {
            Kind::Routers(cluster) => Some(cluster),
            Kind::Set(_) | Kind::Standalone(_) => None,
        }
    }

    /// One of the servers that clients reach.
    pub(super) fn server(&mut self, index: usize) -> &mut SimServer {
        match &mut self.kind {
            Kind::Routers(cluster) => cluster.router_mut(index),
            Kind::Set(set) => set.member_mut(index),
            Kind::Standalone(server) => server,
        }
    }

    /// Sets the fail point of a server; `None` switches it off.
    pub(super) fn fail(&mut self, server: usize, mode: Document, data: Document) {
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        let set = self.server(server).configure_fail_point(&command);
        set.expect("the fail points of the swarm are simulated");
    }

    /// Switches all fail points off.
    pub(super) fn no_failures(&mut self, servers: usize) {
        for server in 0..servers {
            self.oddities[server].set(None);
            let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
            let off = self.server(server).configure_fail_point(&command);
            off.expect("a fail point can be switched off");
        }
    }

    /// The documents of the primary; `None` while there is none.
    pub(super) fn documents(&self) -> Option<BTreeMap<&'static str, Vec<Document>>> {
        let server = match &self.kind {
            Kind::Routers(cluster) => cluster.set().member(cluster.set().primary()?),
            Kind::Set(set) => set.member(set.primary()?),
            Kind::Standalone(server) => server,
        };
        let of = |name: &'static str| (name, server.documents(DATABASE, name));
        Some([of(THINGS), of(COUNTERS)].into())
    }
}

impl Servers {
    fn all(&self) -> &dyn Deployment {
        match &self.kind {
            Kind::Routers(cluster) => &**cluster,
            Kind::Set(set) => &**set,
            Kind::Standalone(server) => &**server,
        }
    }

    fn all_mut(&mut self) -> &mut dyn Deployment {
        match &mut self.kind {
            Kind::Routers(cluster) => &mut **cluster,
            Kind::Set(set) => &mut **set,
            Kind::Standalone(server) => &mut **server,
        }
    }
}

impl Deployment for Servers {
    fn addresses(&self) -> Vec<String> {
        self.all().addresses()
    }

    fn listens(&self, server: usize) -> bool {
        self.all().listens(server)
    }

    fn part(&mut self, servers: &[usize], now: Instant) {
        match &mut self.kind {
            // The members behind the routers that are struck.
            Kind::Routers(cluster) => cluster.set_mut(now).part(servers, now),
            Kind::Set(_) | Kind::Standalone(_) => self.all_mut().part(servers, now),
        }
    }

    fn accept(&mut self, server: usize, connection: u64, now: Instant) -> bool {
        self.all_mut().accept(server, connection, now)
    }

    fn hang_up(&mut self, connection: u64, now: Instant) {
        self.all_mut().hang_up(connection, now);
    }

    fn receive(&mut self, connection: u64, bytes: &[u8], now: Instant) {
        self.all_mut().receive(connection, bytes, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.all_mut().poll_output()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.all().poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.all_mut().handle_timeout(now);
    }
}
