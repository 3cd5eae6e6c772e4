//! The servers of a run: one, or a set.

use std::collections::BTreeMap;

use bson::{Document, doc};
use mongo_client_core::time::Instant;

use super::{
    odd::{Odd, Oddities},
    plan::{PASSWORD, Plan, Topology, USER},
    workload::{COUNTERS, DATABASE, THINGS},
};
use crate::{
    Output, ServerConfig, SetConfig, SimReplicaSet, SimServer, User, choices::Streams,
    deployment::Deployment,
};

/// The servers of a run.
pub(super) struct Servers {
    kind: Kind,
    /// What each server says that a healthy one does not.
    oddities: Vec<Oddities>,
}

enum Kind {
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
        let kind = match plan.topology {
            Topology::Set(_) => {
                let mut config = SetConfig::new("rs", addresses);
                config.users = users;
                config.election_timeout = plan.election_timeout;
                config.lag = plan.lag;
                Kind::Set(Box::new(SimReplicaSet::new(config, choices, now)))
            }
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
        };
        for server in 0..plan.topology.servers() {
            let own = Oddities::default();
            if plan.old {
                let address = this.server(server).address().to_owned();
                let member = matches!(plan.topology, Topology::Set(_)).then_some(address);
                own.grow_old(member);
            }
            this.oddities.push(own.clone());
            this.server(server).set_hook(move |seen| own.answer(seen));
        }
        this
    }

    /// Lets a server say something odd a few times.
    pub(super) fn speak_oddly(&mut self, server: usize, odd: Odd) {
        self.oddities[server].set(Some(odd));
    }

    pub(super) fn set(&mut self) -> Option<&mut SimReplicaSet> {
        match &mut self.kind {
            Kind::Set(set) => Some(set),
            Kind::Standalone(_) => None,
        }
    }

    /// One of the servers.
    pub(super) fn server(&mut self, index: usize) -> &mut SimServer {
        match &mut self.kind {
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
            Kind::Set(set) => set.member(set.primary()?),
            Kind::Standalone(server) => server,
        };
        let of = |name: &'static str| (name, server.documents(DATABASE, name));
        Some([of(THINGS), of(COUNTERS)].into())
    }
}

impl Deployment for Servers {
    fn addresses(&self) -> Vec<String> {
        match &self.kind {
            Kind::Set(set) => set.addresses(),
            Kind::Standalone(server) => Deployment::addresses(&**server),
        }
    }

    fn listens(&self, server: usize) -> bool {
        match &self.kind {
            Kind::Set(set) => set.listens(server),
            Kind::Standalone(one) => Deployment::listens(&**one, server),
        }
    }

    fn part(&mut self, servers: &[usize], now: Instant) {
        match &mut self.kind {
            Kind::Set(set) => set.part(servers, now),
            Kind::Standalone(one) => Deployment::part(&mut **one, servers, now),
        }
    }

    fn accept(&mut self, server: usize, connection: u64, now: Instant) -> bool {
        match &mut self.kind {
            Kind::Set(set) => set.accept(server, connection, now),
            Kind::Standalone(one) => Deployment::accept(&mut **one, server, connection, now),
        }
    }

    fn hang_up(&mut self, connection: u64, now: Instant) {
        match &mut self.kind {
            Kind::Set(set) => set.hang_up(connection, now),
            Kind::Standalone(server) => Deployment::hang_up(&mut **server, connection, now),
        }
    }

    fn receive(&mut self, connection: u64, bytes: &[u8], now: Instant) {
        match &mut self.kind {
            Kind::Set(set) => set.receive(connection, bytes, now),
            Kind::Standalone(server) => Deployment::receive(&mut **server, connection, bytes, now),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        match &mut self.kind {
            Kind::Set(set) => Deployment::poll_output(&mut **set),
            Kind::Standalone(server) => Deployment::poll_output(&mut **server),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Set(set) => Deployment::poll_timeout(&**set),
            Kind::Standalone(server) => Deployment::poll_timeout(&**server),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match &mut self.kind {
            Kind::Set(set) => set.handle_timeout(now),
            Kind::Standalone(server) => Deployment::handle_timeout(&mut **server, now),
        }
    }
}
