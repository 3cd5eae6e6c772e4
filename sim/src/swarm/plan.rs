//! What one run is made of: drawn from the seed before anything happens.
//!
//! Swarm testing: a run that has only some kinds of faults, some options and some operations goes
//! deeper than one that has a little of everything. So each fault is absent with probability one half,
//! and weights of operations are zero as often.

use std::{fmt, str::FromStr, time::Duration};

use mongo_client_core::{
    dns::ResolverConfig,
    net::ServerAddress,
    options::{ClientOptions, Compressor, Credential, ServerMonitoringMode, Tls},
};

pub use super::profile::Profile;
use super::{observe::OpKind, profile};
use crate::{NetworkConfig, choices::Choices};

/// Which composition of the client is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The futures driver on the simulation's executor.
    Driver,
    /// The engine, pumped directly.
    Engine,
}

impl Mode {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Engine => "engine",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Self::Driver, Self::Engine].into_iter();
        let found = found.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("no mode `{name}`; there are driver and engine"))
    }
}

/// The servers of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// So many routers before a replica set of [`BEHIND`] members.
    Routers(usize),
    /// A replica set of so many members.
    Set(usize),
    /// One server that is in no set: it has no retryable writes.
    Standalone,
}

/// How many members the set behind routers has.
pub const BEHIND: usize = 3;

impl Topology {
    /// How many servers there are that clients reach.
    #[must_use]
    pub fn servers(self) -> usize {
        match self {
            Self::Routers(n) | Self::Set(n) => n,
            Self::Standalone => 1,
        }
    }

    /// How many members the replica set has; 0 where there is none.
    #[must_use]
    pub fn members(self) -> usize {
        match self {
            Self::Routers(_) => BEHIND,
            Self::Set(n) => n,
            Self::Standalone => 0,
        }
    }
}

/// How often something is done: the mean of exponentially distributed pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The name of the fault.
    pub kind: &'static str,
    /// The mean time between two of them.
    pub every: Duration,
}

/// What one run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The profile that it was drawn with.
    pub profile: Profile,
    /// Which client is under test.
    pub mode: Mode,
    /// The servers.
    pub topology: Topology,
    /// Whether the only server is as old as a client may meet: it has no labels, and does not count
    /// its states.
    pub old: bool,
    /// Whether every second server takes messages of [`SMALL_MESSAGE`] bytes at most.
    pub small_messages: bool,
    /// Whether the clients are told a host that is no member, and not all that are.
    pub odd_seeds: bool,
    /// Whether the clients authenticate (SCRAM-SHA-256, with [`PASSWORD`]).
    pub auth: bool,
    /// What the clients offer to compress with.
    pub compressor: Option<Compressor>,
    /// How long a member waits for a primary before it stands for election.
    pub election_timeout: Duration,
    /// How long entries of the log take to secondaries.
    pub lag: Duration,
    /// The least time that bytes are under way, one way.
    pub latency_min: Duration,
    /// The mean of what comes on top of that.
    pub latency_mean: Duration,
    /// How many bytes of a client may be under way on one connection.
    pub window: usize,
    /// Whether the clients find the routers by SRV records.
    pub srv: bool,

    /// `maxPoolSize`.
    pub max_pool_size: u32,
    /// `minPoolSize`.
    pub min_pool_size: u32,
    /// `maxConnecting`.
    pub max_connecting: u32,
    /// `maxIdleTimeMS`.
    pub max_idle_time: Option<Duration>,
    /// `waitQueueTimeoutMS`.
    pub wait_queue_timeout: Option<Duration>,
    /// `heartbeatFrequencyMS`.
    pub heartbeat: Duration,
    /// `serverMonitoringMode`: stream or poll.
    pub streaming: bool,
    /// `retryReads`.
    pub retry_reads: bool,
    /// `retryWrites`.
    pub retry_writes: bool,
    /// Whether an overloaded server is avoided.
    pub retargeting: bool,
    /// `connectTimeoutMS`.
    pub connect_timeout: Duration,
    /// `socketTimeoutMS`.
    pub socket_timeout: Option<Duration>,
    /// `serverSelectionTimeoutMS`.
    pub selection_timeout: Duration,
    /// `localThresholdMS`.
    pub local_threshold: Duration,

    /// How many clients there are, each with its own pools and monitors.
    pub clients: usize,
    /// How many operations may be under way at once, over all clients.
    pub concurrency: usize,
    /// The mean time between two operations.
    pub pace: Duration,
    /// The weight of each kind of operation; some are 0.
    pub mix: Vec<(OpKind, u64)>,
    /// One operation in so many is given up before its end; 0: none.
    pub drops: u64,
    /// One operation in so many has a deadline of its own (engine mode); 0: none.
    pub deadlines: u64,
    /// One poll in so many is one that nothing asked for, and so many reads and writes are put off
    /// (driver mode); 0: none.
    pub yields: u64,
    /// Whether the clients are closed by letting go of them (driver mode).
    pub let_go: bool,
    /// The faults that exist, and how often they happen.
    pub faults: Vec<Rate>,

    /// How long the safety phase takes.
    pub safety: Duration,
}

/// The password of the user `swarm`; it must not show anywhere.
pub const PASSWORD: &str = "s3cret-of-the-swarm";

/// What servers that take small messages only announce. Real ones take 48 MB.
pub const SMALL_MESSAGE: i32 = 64 * 1024;

/// The name whose SRV records are the routers.
pub const SRV_HOST: &str = "cluster.swarm.test";

/// How often they are asked for at most; in reality it is a minute.
const SRV_EVERY: Duration = Duration::from_secs(5);

/// The user.
pub const USER: &str = "swarm";

impl Plan {
    /// Draws a plan.
    pub fn draw(seed: u64, profile: Profile, mode: Mode, choices: &mut dyn Choices) -> Self {
        profile::draw(seed, profile, mode, choices)
    }

    /// The addresses of the servers that clients reach.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let all = 0..self.topology.servers();
        let host = match self.topology {
            Topology::Routers(_) => "swarm.test",
            Topology::Set(_) | Topology::Standalone => "test",
        };
        all.map(|n| format!("m{n}.{host}:{}", 27_017 + n)).collect()
    }

    /// The addresses of the members of the set.
    #[must_use]
    pub fn member_addresses(&self) -> Vec<String> {
        match self.topology {
            Topology::Routers(_) => {
                let all = 0..BEHIND;
                all.map(|n| format!("behind{n}.test:{}", 27_117 + n))
                    .collect()
            }
            Topology::Set(_) | Topology::Standalone => self.addresses(),
        }
    }

    /// The network between them.
    #[must_use]
    pub fn network(&self) -> NetworkConfig {
        NetworkConfig {
            latency_min: self.latency_min,
            latency_mean: self.latency_mean,
            window: self.window,
        }
    }

    /// The options of each client, without event handlers.
    #[must_use]
    pub fn options(&self) -> ClientOptions {
        let mut options = ClientOptions::default();
        let parse = |text: String| ServerAddress::parse(&text).expect("the addresses are valid");
        let mut hosts = self.addresses();
        if self.odd_seeds {
            hosts.truncate(hosts.len() / 2 + 1);
            hosts.push(String::from("stranger.test:27099"));
        }
        if self.srv {
            hosts.clear();
            options.srv_host = Some(String::from(SRV_HOST));
            // It would be switched on by the name.
            options.tls = Some(Tls::Disabled);
            let mut resolver = ResolverConfig::new(vec![([10, 0, 0, 53], 53).into()]);
            resolver.timeout = Duration::from_secs(2);
            resolver.rescan_interval_min = Some(SRV_EVERY);
            options.resolver_config = Some(resolver);
        }
        options.hosts = hosts.into_iter().map(parse).collect();
        if matches!(self.topology, Topology::Set(_)) {
            options.repl_set_name = Some(String::from("rs"));
        }
        if self.auth {
            let credential = Credential::builder().username(USER).password(PASSWORD);
            options.credential = Some(credential.source("admin"));
        }
        options.compressors = self.compressor.map(|one| vec![one]);
        options.max_pool_size = Some(self.max_pool_size);
        options.min_pool_size = Some(self.min_pool_size);
        options.max_connecting = Some(self.max_connecting);
        options.max_idle_time = self.max_idle_time;
        options.wait_queue_timeout = self.wait_queue_timeout;
        options.heartbeat_freq = Some(self.heartbeat);
        options.server_monitoring_mode = Some(if self.streaming {
            ServerMonitoringMode::Stream
        } else {
            ServerMonitoringMode::Poll
        });
        options.retry_reads = Some(self.retry_reads);
        options.retry_writes = Some(self.retry_writes);
        options.enable_overload_retargeting = Some(self.retargeting);
        options.connect_timeout = Some(self.connect_timeout);
        options.socket_timeout = self.socket_timeout;
        options.server_selection_timeout = Some(self.selection_timeout);
        options.local_threshold = Some(self.local_threshold);
        options
    }

    /// How long it takes at most to clear away what was given up: a drain ends after a second, a
    /// dial and a handshake after the connect timeout each.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        self.connect_timeout * 2 + Duration::from_secs(2)
    }

    /// How long one command may take by the client's own limits: two attempts, each a selection, a
    /// checkout and an exchange. `None` when one of these has no limit.
    #[must_use]
    pub fn command_bound(&self) -> Option<Duration> {
        let attempt = self.selection_timeout + self.wait_queue_timeout? + self.socket_timeout?;
        Some(attempt * 2)
    }

    /// Within how much time after the healing everything must be well: the old has ended, the
    /// members have elected a primary and caught up, and the monitors have seen it.
    #[must_use]
    pub fn settling(&self) -> Duration {
        let election = self.election_timeout * 2 + Duration::from_secs(2);
        let check = self.heartbeat * 2 + self.connect_timeout * 2;
        let caught_up = self.lag * 4 + self.worst_latency() * 20;
        election + check + caught_up + self.quiet()
    }

    /// What a single way over the network takes at most without faults.
    #[must_use]
    pub fn worst_latency(&self) -> Duration {
        self.latency_min + self.latency_mean * 20
    }

    /// Whether bytes may be corrupted: then a client may believe of its servers what is not true, and
    /// nothing but its own safety can be asked of it.
    #[must_use]
    pub fn is_hostile(&self) -> bool {
        self.has(crate::FaultKind::CorruptByte.name())
    }

    /// Whether a fault may happen in this run.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.faults.iter().any(|rate| rate.kind == kind)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#?}")
    }
}
