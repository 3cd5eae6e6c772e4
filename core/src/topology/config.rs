//! What a topology is told when it starts.

use std::time::Duration;

use super::TopologyType;
use crate::{
    id::TopologyId,
    net::ServerAddress,
    options::{DEFAULT_HEARTBEAT_FREQUENCY, DEFAULT_LOCAL_THRESHOLD},
};

/// The least time between two lookups of SRV records that succeed ("Polling SRV Records").
pub const SRV_RESCAN_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// How the SRV records of a `mongodb+srv` host are polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvPolling {
    /// The host of the connection string.
    pub host: String,
    /// The service name, `mongodb` by default.
    pub service: String,
    /// The greatest number of servers to use (`srvMaxHosts`); 0 for no limit.
    pub max_hosts: u32,
    /// The time to the first rescan: the least TTL of the first lookup.
    pub rescan_interval: Duration,
    /// The least time to any rescan after a success: [`SRV_RESCAN_INTERVAL_MIN`], but for tests.
    pub rescan_interval_min: Duration,
}

/// What a topology is told when it starts.
#[derive(Clone, Debug)]
pub struct TopologyConfig {
    /// Names the topology in events.
    pub id: TopologyId,
    /// The servers of the connection string or of the SRV records.
    pub seeds: Vec<ServerAddress>,
    /// The replica set that is required.
    pub set_name: Option<String>,
    /// `directConnection=true`: only the one seed, whatever it is.
    pub direct: bool,
    /// `loadBalanced=true`.
    pub load_balanced: bool,
    /// The interval between checks.
    pub heartbeat_frequency: Duration,
    /// The latency window, for views.
    pub local_threshold: Duration,
    /// SRV polling, for `mongodb+srv` hosts.
    pub srv: Option<SrvPolling>,
    /// Decides which of too many SRV hosts are used.
    pub rng_seed: u64,
    /// The number of the first server's id: beyond those of the client's earlier topology.
    pub first_server: u32,
}

impl TopologyConfig {
    /// A topology of these seeds with default options.
    #[must_use]
    pub fn new(id: TopologyId, seeds: Vec<ServerAddress>) -> Self {
        Self {
            id,
            seeds,
            set_name: None,
            direct: false,
            load_balanced: false,
            heartbeat_frequency: DEFAULT_HEARTBEAT_FREQUENCY,
            local_threshold: DEFAULT_LOCAL_THRESHOLD,
            srv: None,
            rng_seed: 0,
            first_server: 0,
        }
    }

    /// The type to start with (SDAM: "Initial TopologyType").
    pub(super) fn initial_type(&self) -> TopologyType {
        if self.load_balanced {
            TopologyType::LoadBalanced
        } else if self.direct {
            TopologyType::Single
        } else if self.set_name.is_some() {
            TopologyType::ReplicaSetNoPrimary
        } else {
            TopologyType::Unknown
        }
    }
}
