//! The description while it is being changed: what [`rules`](super::rules) work on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::Arc,
    time::Duration,
};

use bson::oid::ObjectId;

use super::{ServerDescription, ServerType, TopologyConfig, TopologyDescription, TopologyType};
use crate::{hello::HOSTS_MAX, id::ServerId, net::ServerAddress};

/// A description that can change.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) topology_type: TopologyType,
    pub(super) set_name: Option<String>,
    pub(super) max_set_version: Option<i64>,
    pub(super) max_election_id: Option<ObjectId>,
    pub(super) servers: BTreeMap<ServerId, Arc<ServerDescription>>,
    /// The server that was dropped last, and why, for the errors of failed selections.
    pub(super) last_dropped: Option<Arc<str>>,
    next_id: u32,
}

impl Draft {
    /// Nothing is known: no servers.
    pub(super) fn empty() -> Self {
        Self {
            topology_type: TopologyType::Unknown,
            set_name: None,
            max_set_version: None,
            max_election_id: None,
            servers: BTreeMap::new(),
            last_dropped: None,
            next_id: 0,
        }
    }

    /// The same without its servers and whatever is known.
    pub(super) fn emptied(&self) -> Self {
        Self {
            next_id: self.next_id,
            ..Self::empty()
        }
    }

    /// The number of the id that the next server gets.
    pub(super) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// The description to start with.
    pub(super) fn initial(config: &TopologyConfig) -> Self {
        let mut draft = Self {
            topology_type: config.initial_type(),
            set_name: config.set_name.clone(),
            next_id: config.first_server,
            ..Self::empty()
        };
        draft.add(&config.seeds);
        draft
    }

    /// Adds servers that a reply names, as long as there are not too many: without a primary nothing
    /// removes them, so a hostile server could name others in each reply.
    pub(super) fn add_members<'a>(&mut self, members: impl Iterator<Item = &'a ServerAddress>) {
        let room = HOSTS_MAX.saturating_sub(self.servers.len());
        let present: BTreeSet<ServerAddress> =
            self.servers.values().map(|s| s.address.clone()).collect();
        self.add(members.filter(|m| !present.contains(*m)).take(room));
    }

    /// Adds servers of which nothing is known, except those that are there.
    pub(super) fn add<'a>(&mut self, addresses: impl IntoIterator<Item = &'a ServerAddress>) {
        // A set, because a reply may list many hosts.
        let mut present: BTreeSet<ServerAddress> =
            self.servers.values().map(|s| s.address.clone()).collect();
        for address in addresses {
            let address = address.clone().with_default_port();
            if present.insert(address.clone()) {
                let id = ServerId(self.next_id);
                self.next_id += 1;
                let server = Arc::new(ServerDescription::unknown(address));
                self.servers.insert(id, server);
            }
        }
    }

    /// Removes a server that does not belong to the deployment.
    pub(super) fn drop_server(&mut self, id: ServerId, why: impl Display) {
        if let Some(server) = self.servers.remove(&id) {
            self.last_dropped = Some(format!("{} was dropped: {why}", server.address).into());
        }
    }

    pub(super) fn has_primary(&self) -> bool {
        self.servers
            .values()
            .any(|s| s.server_type == ServerType::RsPrimary)
    }

    /// The immutable description.
    pub(super) fn describe(&self, config: &TopologyConfig) -> TopologyDescription {
        // Behind a load balancer compatibility is the connections' concern.
        let compatibility_error = match self.topology_type {
            TopologyType::LoadBalanced => None,
            _ => self.servers.values().find_map(|s| s.incompatibility()),
        };
        TopologyDescription {
            topology_type: self.topology_type,
            set_name: self.set_name.clone(),
            max_set_version: self.max_set_version,
            max_election_id: self.max_election_id,
            servers: self.servers.clone(),
            logical_session_timeout: self.logical_session_timeout(),
            compatibility_error,
            heartbeat_frequency: config.heartbeat_frequency,
            local_threshold: config.local_threshold,
        }
    }

    /// The least among the data-bearing servers; `None` when one of them has none.
    fn logical_session_timeout(&self) -> Option<Duration> {
        let mut data_bearing = self
            .servers
            .values()
            .filter(|s| s.server_type.is_data_bearing())
            .map(|s| s.hello.as_ref().and_then(|h| h.logical_session_timeout));
        let first = data_bearing.next()??;
        data_bearing.try_fold(first, |least, next| next.map(|next| least.min(next)))
    }
}
