//! Invariant 10.
//!
//! The client's view of its deployment is that of the [reference](super::reference), fed with the
//! hello replies of the client's heartbeat events.
//!
//! What applications find out is told by no event of its own: it shows as a server whose description
//! becomes Unknown. That is taken as it is, and its consequences are checked.

use std::{collections::BTreeMap, sync::Arc};

use mongo_client_core::{
    event::sdam::{SdamEvent, ServerDescriptionChangedEvent},
    net::ServerAddress,
    time::Instant,
    topology::{ServerType, TopologyDescription, TopologyType},
};

use super::{
    Part,
    reference::{Kind, Reference, Shape, address},
    was_cancelled,
};
use crate::swarm::{observe::Observation, plan::Plan};

#[derive(Debug)]
struct Client {
    reference: Reference,
    view: Option<Arc<TopologyDescription>>,
    /// The last view, without servers, was published.
    closing: bool,
}

#[derive(Debug)]
pub(super) struct Topology {
    seeds: Vec<String>,
    /// Which routers there are follows from SRV records, too, which the reference does not know.
    srv: bool,
    set_name: Option<String>,
    clients: BTreeMap<usize, Client>,
}

impl Topology {
    pub(super) fn new(plan: &Plan) -> Self {
        let options = plan.options();
        Self {
            seeds: match plan.srv {
                true => plan.addresses(),
                false => options.hosts.iter().map(ToString::to_string).collect(),
            },
            srv: plan.srv,
            set_name: options.repl_set_name,
            clients: BTreeMap::new(),
        }
    }
}

impl Part for Topology {
    fn name(&self) -> &'static str {
        "topology-as-specified"
    }

    fn observe(&mut self, _: Instant, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Sdam { client, event } = what else {
            return Ok(());
        };
        if let SdamEvent::TopologyOpening(_) = event {
            let client = Client {
                reference: Reference::new(&self.seeds, self.set_name.as_deref()),
                view: None,
                closing: false,
            };
            self.clients.insert(client_of(what), client);
            return Ok(());
        }
        if let SdamEvent::TopologyClosed(_) = event {
            self.clients.remove(client);
            return Ok(());
        }
        let Some(known) = self.clients.get_mut(client) else {
            return Ok(());
        };
        if self.srv {
            known.routers(event);
        }
        let result = known.sdam(event);
        result.map_err(|what| format!("client {client}: {what}"))
    }
}

fn client_of(what: &Observation<'_>) -> usize {
    match what {
        Observation::Sdam { client, .. } => *client,
        _ => 0,
    }
}

fn name(server: &ServerAddress) -> String {
    address(&server.to_string())
}

impl Client {
    fn sdam(&mut self, event: &SdamEvent) -> Result<(), String> {
        if self.closing {
            return Err(format!("after the last view: {event:?}"));
        }
        match event {
            SdamEvent::TopologyDescriptionChanged(e) if e.new_description.servers.is_empty() => {
                self.closing = true;
            }
            SdamEvent::ServerHeartbeatSucceeded(e) => {
                self.compare("before a heartbeat")?;
                self.reference.hello(&name(&e.server_address), &e.reply);
            }
            SdamEvent::ServerHeartbeatFailed(e) if !was_cancelled(&e.failure) => {
                self.compare("before a heartbeat")?;
                self.reference.lost(&name(&e.server_address), None);
            }
            SdamEvent::ServerDescriptionChanged(e) => self.changed(e),
            SdamEvent::TopologyDescriptionChanged(e) => {
                self.view = Some(Arc::clone(&e.new_description));
                return self.compare("after a change");
            }
            _ => {}
        }
        Ok(())
    }

    /// A router came or went.
    fn routers(&mut self, event: &SdamEvent) {
        match event {
            SdamEvent::ServerOpening(e) => self.reference.open(&name(&e.address)),
            SdamEvent::ServerClosed(e) => self.reference.close(&name(&e.address)),
            _ => {}
        }
    }

    /// A server became Unknown by what an application found out.
    fn changed(&mut self, event: &ServerDescriptionChangedEvent) {
        let new = &event.new_description;
        let by_application = new.server_type == ServerType::Unknown && new.error.is_some();
        let name = name(&event.address);
        let version = new.topology_version.map(|v| (v.process_id, v.counter));
        let known = self.reference.servers.get(&name);
        if by_application && known.is_some_and(|s| s.kind != Kind::Unknown || s.version != version)
        {
            self.reference.lost(&name, version);
        }
    }

    fn compare(&self, when: &str) -> Result<(), String> {
        let Some(view) = &self.view else {
            return Ok(());
        };
        let reference = &self.reference;
        let servers = view.servers.values();
        let servers = servers.map(|s| (name(&s.address), kind(s.server_type)));
        let servers: BTreeMap<String, Option<Kind>> = servers.collect();
        let expected = reference.servers.iter();
        let expected: BTreeMap<String, Option<Kind>> =
            expected.map(|(a, s)| (a.clone(), Some(s.kind))).collect();
        if servers != expected
            || shape(view.topology_type) != Some(reference.shape)
            || view.set_name != reference.set_name
            || view.max_election_id != reference.max_election
            || view.max_set_version != reference.max_version
        {
            return Err(format!(
                "{when} the view is {:?} {servers:?}, election {:?}, version {:?}; it should be \
                 {:?} {expected:?}, election {:?}, version {:?}",
                view.topology_type,
                view.max_election_id,
                view.max_set_version,
                reference.shape,
                reference.max_election,
                reference.max_version,
            ));
        }
        Ok(())
    }
}

fn kind(server_type: ServerType) -> Option<Kind> {
    Some(match server_type {
        ServerType::Mongos => Kind::Mongos,
        ServerType::RsArbiter => Kind::RsArbiter,
        ServerType::RsGhost => Kind::RsGhost,
        ServerType::RsOther => Kind::RsOther,
        ServerType::RsPrimary => Kind::RsPrimary,
        ServerType::RsSecondary => Kind::RsSecondary,
        ServerType::Standalone => Kind::Standalone,
        ServerType::Unknown => Kind::Unknown,
        _ => return None,
    })
}

fn shape(topology_type: TopologyType) -> Option<Shape> {
    Some(match topology_type {
        TopologyType::ReplicaSetNoPrimary => Shape::ReplicaSetNoPrimary,
        TopologyType::ReplicaSetWithPrimary => Shape::ReplicaSetWithPrimary,
        TopologyType::Sharded => Shape::Sharded,
        TopologyType::Single => Shape::Single,
        TopologyType::Unknown => Shape::Unknown,
        TopologyType::LoadBalanced => return None,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};

    use super::*;
    use crate::swarm::{
        checks::tests::{Run, opening, plan, succeeded, view},
        plan,
    };

    fn run() -> Run {
        let mut plan = plan();
        plan.topology = plan::Topology::Set(1);
        plan.odd_seeds = false;
        let mut run = Run::of(Topology::new(&plan));
        run.sdam(opening()).unwrap();
        run
    }

    fn hello() -> bson::Document {
        doc! {
            "ok": 1, "setName": "rs", "isWritablePrimary": true, "hosts": ["m0.test:27017"],
            "maxWireVersion": 17, "electionId": ObjectId::from_bytes([1; 12]), "setVersion": 1,
        }
    }

    #[test]
    fn a_view_that_follows_from_the_heartbeat_is_as_specified() {
        let mut run = run();
        run.sdam(view(&[ServerType::Unknown], |v| {
            v.topology_type = TopologyType::ReplicaSetNoPrimary;
        }))
        .unwrap();
        run.sdam(succeeded(false, hello())).unwrap();
        run.sdam(view(&[ServerType::RsPrimary], |v| {
            v.topology_type = TopologyType::ReplicaSetWithPrimary;
            v.max_election_id = Some(ObjectId::from_bytes([1; 12]));
            v.max_set_version = Some(1);
        }))
        .unwrap();
        run.sdam(succeeded(true, hello())).unwrap();
    }

    #[test]
    fn a_view_that_ignores_a_heartbeat_or_its_election_is_found() {
        let mut deaf = run();
        deaf.sdam(view(&[ServerType::Unknown], |v| {
            v.topology_type = TopologyType::ReplicaSetNoPrimary;
        }))
        .unwrap();
        deaf.sdam(succeeded(false, hello())).unwrap();
        assert!(deaf.sdam(succeeded(true, hello())).is_err());
        let mut forgetful = run();
        forgetful.sdam(succeeded(false, hello())).unwrap();
        let without_election = view(&[ServerType::RsPrimary], |v| {
            v.topology_type = TopologyType::ReplicaSetWithPrimary;
        });
        assert!(forgetful.sdam(without_election).is_err());
    }
}
