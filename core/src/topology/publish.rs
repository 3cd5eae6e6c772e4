//! Turns a changed draft into actions, in the one order that is safe: a pool is ready before the
//! view that lets it be chosen, and cleared after the view that says its server is unknown.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Topology, TopologyAction, TopologyDescription, TopologyView,
    draft::Draft,
    facts::{same_server, same_topology},
    pools::PoolOrders,
    rtt::RttStats,
};
use crate::{
    error::Error,
    event::sdam::{
        SdamEvent, ServerClosedEvent, ServerDescriptionChangedEvent, ServerOpeningEvent,
        TopologyDescriptionChangedEvent,
    },
    id::{Generation, ServerId},
};

/// What happens to the pool of the server that a change is about.
pub(super) enum PoolOrder {
    /// It is cleared.
    Clear {
        /// Whether connections in use are closed too.
        interrupt_in_use: bool,
        /// Why.
        cause: Error,
    },
    /// It stays as it is.
    Keep,
    /// It may hand out connections, if it did not before.
    Ready,
}

impl Topology {
    /// Makes a draft the description: events, pools, view.
    ///
    /// `subject` is the server that the change came from, if any.
    pub(super) fn adopt(&mut self, draft: Draft, subject: Option<(ServerId, PoolOrder)>) {
        let old = std::mem::replace(&mut self.draft, draft);
        self.announce_servers(&old, subject.as_ref().map(|(id, _)| *id));
        let description = Arc::new(self.draft.describe(&self.config));
        self.announce_topology(description);

        let mut clear = None;
        match subject {
            Some((id, PoolOrder::Ready)) => self.order_ready(id),
            Some((
                id,
                PoolOrder::Clear {
                    interrupt_in_use,
                    cause,
                },
            )) => {
                clear = self
                    .pools
                    .get_mut(&id)
                    .map(|pool| (id, pool.clear(interrupt_in_use, cause)));
            }
            Some((_, PoolOrder::Keep)) | None => {}
        }
        for id in only_in(&old, &self.draft) {
            self.pools.remove(&id);
            self.rtts.remove(&id);
        }
        self.publish();
        if let Some((id, directive)) = clear
            && self.pools.contains_key(&id)
        {
            self.actions
                .push_back(TopologyAction::Pool { id, directive });
        }
        for id in only_in(&old, &self.draft) {
            self.actions.push_back(TopologyAction::RemoveServer { id });
        }
    }

    pub(super) fn order_ready(&mut self, id: ServerId) {
        let directive = self.pools.get_mut(&id).and_then(PoolOrders::ready);
        if let Some(directive) = directive {
            self.actions
                .push_back(TopologyAction::Pool { id, directive });
        }
    }

    /// Emits what changed for servers since `old`, and orders new ones to be created.
    pub(super) fn announce_servers(&mut self, old: &Draft, subject: Option<ServerId>) {
        // The server that was checked comes first: the others changed because of it.
        let others = old
            .servers
            .keys()
            .copied()
            .filter(|id| Some(*id) != subject);
        for id in subject.into_iter().chain(others) {
            let (Some(before), Some(after)) = (old.servers.get(&id), self.draft.servers.get(&id))
            else {
                continue;
            };
            if !same_server(before, after) {
                let event = ServerDescriptionChangedEvent {
                    address: after.address.clone(),
                    topology_id: self.config.id,
                    previous_description: Arc::clone(before),
                    new_description: Arc::clone(after),
                };
                self.emit(SdamEvent::ServerDescriptionChanged(Box::new(event)));
            }
        }
        for id in only_in(&self.draft, old) {
            let address = self.draft.servers[&id].address.clone();
            self.pools.insert(id, PoolOrders::new());
            self.rtts.insert(id, RttStats::default());
            self.emit(SdamEvent::ServerOpening(ServerOpeningEvent {
                address: address.clone(),
                topology_id: self.config.id,
            }));
            self.actions
                .push_back(TopologyAction::AddServer { id, address });
        }
        for id in only_in(old, &self.draft) {
            self.emit(SdamEvent::ServerClosed(ServerClosedEvent {
                address: old.servers[&id].address.clone(),
                topology_id: self.config.id,
            }));
        }
    }

    /// Replaces the description and emits the change, if it is one.
    pub(super) fn announce_topology(&mut self, description: Arc<TopologyDescription>) {
        let previous = std::mem::replace(&mut self.description, Arc::clone(&description));
        if !same_topology(&previous, &description) {
            let event = TopologyDescriptionChangedEvent {
                topology_id: self.config.id,
                previous_description: previous,
                new_description: description,
            };
            self.emit(SdamEvent::TopologyDescriptionChanged(Box::new(event)));
        }
    }

    /// Publishes the present description.
    pub(super) fn publish(&mut self) {
        let generations: BTreeMap<ServerId, Generation> = self
            .pools
            .iter()
            .map(|(id, pool)| (*id, pool.generation(None)))
            .collect();
        self.view = Arc::new(TopologyView {
            version: self.view.version + 1,
            description: Arc::clone(&self.description),
            generations,
            closed: self.closed,
            last_dropped: self.draft.last_dropped.clone(),
        });
        self.actions
            .push_back(TopologyAction::Publish(Arc::clone(&self.view)));
    }

    pub(super) fn emit(&mut self, event: SdamEvent) {
        self.actions.push_back(TopologyAction::Event(event));
    }
}

/// The servers of `these` that are not in `those`.
fn only_in(these: &Draft, those: &Draft) -> Vec<ServerId> {
    these
        .servers
        .keys()
        .copied()
        .filter(|id| !those.servers.contains_key(id))
        .collect()
}
