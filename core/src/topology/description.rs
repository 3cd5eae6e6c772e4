//! What is known of a server and of the whole deployment: plain, immutable data.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    error::Error,
    hello::HelloReply,
    id::{Generation, ServerId},
    net::ServerAddress,
    time::{Instant, UnixMillis},
};

/// The type of a server (SDAM: "ServerType").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerType {
    /// A load balancer.
    LoadBalancer,
    /// A router of a sharded cluster.
    Mongos,
    /// A member of a replica set that claims to be primary (only in direct connections' input).
    PossiblePrimary,
    /// An arbiter.
    RsArbiter,
    /// A member that is not initialised.
    RsGhost,
    /// A member that serves no reads: hidden, starting up, recovering.
    RsOther,
    /// The primary.
    RsPrimary,
    /// A secondary.
    RsSecondary,
    /// A server outside any replica set.
    Standalone,
    /// Nothing is known.
    #[default]
    Unknown,
}

impl ServerType {
    /// Whether the server can execute commands of applications.
    #[must_use]
    pub fn is_data_bearing(self) -> bool {
        matches!(
            self,
            Self::LoadBalancer
                | Self::Mongos
                | Self::RsPrimary
                | Self::RsSecondary
                | Self::Standalone
        )
    }

    /// The type as the specification names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::Mongos => "Mongos",
            Self::PossiblePrimary => "PossiblePrimary",
            Self::RsArbiter => "RSArbiter",
            Self::RsGhost => "RSGhost",
            Self::RsOther => "RSOther",
            Self::RsPrimary => "RSPrimary",
            Self::RsSecondary => "RSSecondary",
            Self::Standalone => "Standalone",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for ServerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The type of a deployment (SDAM: "TopologyType").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopologyType {
    /// Behind a load balancer.
    LoadBalanced,
    /// A replica set without a known primary.
    ReplicaSetNoPrimary,
    /// A replica set with its primary.
    ReplicaSetWithPrimary,
    /// A sharded cluster.
    Sharded,
    /// One server only: direct connection, or a standalone.
    Single,
    /// Nothing is known.
    #[default]
    Unknown,
}

impl TopologyType {
    /// The type as the specification names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalanced => "LoadBalanced",
            Self::ReplicaSetNoPrimary => "ReplicaSetNoPrimary",
            Self::ReplicaSetWithPrimary => "ReplicaSetWithPrimary",
            Self::Sharded => "Sharded",
            Self::Single => "Single",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for TopologyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of one server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerDescription {
    /// Its address.
    pub address: ServerAddress,
    /// Its type.
    pub server_type: ServerType,
    /// Its last hello reply; `None` while unknown.
    pub hello: Option<Arc<HelloReply>>,
    /// Its last error; `None` while known.
    pub error: Option<Error>,
    /// The weighted average of its round-trip times.
    pub average_round_trip_time: Option<Duration>,
    /// The least of its last round-trip times; zero until two are known.
    pub min_round_trip_time: Duration,
    /// When it was last checked, on the monotonic clock.
    pub last_update: Option<Instant>,
    /// When it was last checked, on the wall clock; set where the wall clock is known.
    pub last_update_time: Option<UnixMillis>,
    /// The last topologyVersion that it reported, also in errors.
    pub topology_version: Option<crate::hello::TopologyVersion>,
}

impl ServerDescription {
    /// A server of which nothing is known.
    #[must_use]
    pub fn unknown(address: ServerAddress) -> Self {
        Self {
            address,
            server_type: ServerType::Unknown,
            hello: None,
            error: None,
            average_round_trip_time: None,
            min_round_trip_time: Duration::ZERO,
            last_update: None,
            last_update_time: None,
            topology_version: None,
        }
    }

    /// The lowest wire version that the server speaks; 0 while unknown.
    #[must_use]
    pub fn min_wire_version(&self) -> i32 {
        self.hello.as_ref().map_or(0, |h| h.min_wire_version)
    }

    /// The highest wire version that the server speaks; 0 while unknown.
    #[must_use]
    pub fn max_wire_version(&self) -> i32 {
        self.hello.as_ref().map_or(0, |h| h.max_wire_version)
    }

    /// The server's tags.
    #[must_use]
    pub fn tags(&self) -> Option<&BTreeMap<String, String>> {
        self.hello.as_ref().map(|h| &h.tags)
    }

    /// Whether the server takes writes: it is a primary, standalone, router or load balancer.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.server_type.is_data_bearing() && self.server_type != ServerType::RsSecondary
    }

    /// The name of the server's replica set.
    #[must_use]
    pub fn set_name(&self) -> Option<&str> {
        self.hello.as_ref().and_then(|h| h.set_name.as_deref())
    }
}

/// What is known of the deployment.
///
/// Immutable and shared by `Arc`; deliberately not `Clone`.
#[derive(Debug)]
#[non_exhaustive]
pub struct TopologyDescription {
    /// Its type.
    pub topology_type: TopologyType,
    /// The name of the replica set.
    pub set_name: Option<String>,
    /// The highest setVersion of a primary.
    pub max_set_version: Option<i64>,
    /// The highest electionId of a primary.
    pub max_election_id: Option<bson::oid::ObjectId>,
    /// Its servers, by id: ids are never reused, so the order is that of discovery.
    pub servers: BTreeMap<ServerId, Arc<ServerDescription>>,
    /// How long sessions live: the least among the data-bearing servers; `None` if one has none.
    pub logical_session_timeout: Option<Duration>,
    /// Why this client cannot talk to the deployment (wire versions).
    pub compatibility_error: Option<String>,
    /// heartbeatFrequencyMS, which staleness estimates need.
    pub heartbeat_frequency: Duration,
    /// localThresholdMS: the latency window.
    pub local_threshold: Duration,
}

impl TopologyDescription {
    /// A deployment of these servers, with ids from 1, and with the default options.
    #[must_use]
    pub fn new(
        topology_type: TopologyType,
        servers: impl IntoIterator<Item = ServerDescription>,
    ) -> Self {
        let servers = (1..).map(ServerId).zip(servers.into_iter().map(Arc::new));
        Self {
            topology_type,
            set_name: None,
            max_set_version: None,
            max_election_id: None,
            servers: servers.collect(),
            logical_session_timeout: None,
            compatibility_error: None,
            heartbeat_frequency: Duration::from_secs(10),
            local_threshold: Duration::from_millis(15),
        }
    }

    /// The server of an address.
    #[must_use]
    pub fn server(&self, address: &ServerAddress) -> Option<(ServerId, &Arc<ServerDescription>)> {
        self.servers
            .iter()
            .find(|(_, s)| s.address == *address)
            .map(|(id, s)| (*id, s))
    }

    /// The primary, if it is known.
    #[must_use]
    pub fn primary(&self) -> Option<&Arc<ServerDescription>> {
        self.servers
            .values()
            .find(|s| s.server_type == ServerType::RsPrimary)
    }

    /// The server that operations go to where they have no choice: the only one, the primary, or
    /// the first router that was discovered. `None` when none is known.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<ServerDescription>> {
        let direct = self.topology_type == TopologyType::Single;
        self.servers
            .values()
            .find(|s| s.is_writable() || (direct && s.server_type != ServerType::Unknown))
    }

    /// The addresses of the servers that are known to be up.
    pub fn known(&self) -> impl Iterator<Item = &ServerAddress> {
        self.servers
            .values()
            .filter(|s| s.server_type != ServerType::Unknown)
            .map(|s| &s.address)
    }

    /// The addresses of the replica set's members of a type; none outside of replica sets.
    pub fn members(&self, of: ServerType) -> impl Iterator<Item = &ServerAddress> {
        let set = matches!(
            self.topology_type,
            TopologyType::ReplicaSetNoPrimary | TopologyType::ReplicaSetWithPrimary
        );
        self.servers
            .values()
            .filter(move |s| set && s.server_type == of)
            .map(|s| &s.address)
    }
}

/// An immutable snapshot: the description, and what goes with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct TopologyView {
    /// Grows by one with every published view.
    pub version: u64,
    /// The description.
    pub description: Arc<TopologyDescription>,
    /// The generation of each server's pool when the view was published.
    pub generations: BTreeMap<ServerId, Generation>,
    /// Whether the topology was closed.
    pub closed: bool,
    /// The server that was dropped last because it does not belong to the deployment, and why.
    pub last_dropped: Option<Arc<str>>,
}

impl TopologyView {
    /// The first view of a deployment: of an open topology whose pools were never cleared.
    #[must_use]
    pub fn new(description: Arc<TopologyDescription>) -> Self {
        let generations = description.servers.keys().map(|id| (*id, Generation(0)));
        Self {
            version: 1,
            generations: generations.collect(),
            closed: false,
            last_dropped: None,
            description,
        }
    }
}
