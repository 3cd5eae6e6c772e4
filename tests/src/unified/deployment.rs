//! The deployments that cases run on: started once, with what is known of them.

use std::{any::Any, sync::Mutex, time::Duration};

use bson::{Document, doc};
use mongo_client::{
    Client,
    options::{ClientOptions, ReadPreference},
};
use mongo_client_sim::{Instant, Seeded, Served, SetConfig, SimReplicaSet};
use xtask::cluster::{Cluster, Plan};

use super::{
    Checked, Stop,
    requirements::{Facts, TopologyKind},
    version::Version,
};
use crate::fault::Mongos;

/// The deployments that the runner can start, in the order in which cases prefer them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One server.
    Standalone,
    /// Three members.
    ReplicaSet,
    /// One server with users.
    StandaloneAuth,
    /// Three members with users.
    ReplicaSetAuth,
    /// Two routers of a sort: proxies of a replica set's primary.
    Routers,
    /// A load balancer of a sort before a replica set's primary.
    LoadBalancer,
    /// Three simulated members on real ports; only on demand.
    Simulated,
}

impl Kind {
    /// The kinds that cases choose from, unless they are told where to run.
    pub const ALL: [Self; 6] = [
        Self::Standalone,
        Self::ReplicaSet,
        Self::StandaloneAuth,
        Self::ReplicaSetAuth,
        Self::Routers,
        Self::LoadBalancer,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::ReplicaSet => "replica-set",
            Self::StandaloneAuth => "standalone-auth",
            Self::ReplicaSetAuth => "replica-set-auth",
            Self::Routers => "routers",
            Self::LoadBalancer => "load-balancer",
            Self::Simulated => "simulated",
        }
    }

    /// What is known of it before it runs. All have the same servers.
    #[must_use]
    pub fn facts(self, version: Version, parameters: Document) -> Facts {
        Facts {
            topology: match self {
                Self::Standalone | Self::StandaloneAuth => TopologyKind::Single,
                Self::ReplicaSet | Self::ReplicaSetAuth | Self::Simulated => {
                    TopologyKind::ReplicaSet
                }
                Self::Routers => TopologyKind::Sharded,
                Self::LoadBalancer => TopologyKind::LoadBalanced,
            },
            version,
            auth: matches!(self, Self::StandaloneAuth | Self::ReplicaSetAuth),
            parameters,
        }
    }

    /// The deployment that `cargo xtask test` has already started.
    fn shared(self) -> Option<String> {
        let name = match self {
            Self::Standalone => "STANDALONE",
            Self::ReplicaSet => "REPLICA_SET",
            Self::StandaloneAuth | Self::Routers | Self::LoadBalancer | Self::Simulated => {
                return None;
            }
            Self::ReplicaSetAuth => "AUTH",
        };
        std::env::var(format!("MONGO_CLIENT_TEST_{name}_URI")).ok()
    }

    fn plan(self) -> Plan {
        let mut plan = match self {
            Self::Standalone | Self::StandaloneAuth => Plan::standalone(),
            Self::ReplicaSet | Self::ReplicaSetAuth => Plan::replica_set(3),
            Self::Routers | Self::LoadBalancer | Self::Simulated => Plan::replica_set(1),
        };
        plan.auth = matches!(self, Self::StandaloneAuth | Self::ReplicaSetAuth);
        // A busy machine must not cause elections.
        plan.election_timeout_ms = 10_000;
        plan
    }
}

/// Three simulated members, whose entries take half a millisecond to each other.
fn simulated() -> Checked<Served<SimReplicaSet>> {
    let served = Served::start(3, |addresses, wall_epoch_ms| {
        let mut config = SetConfig::new("rs", addresses);
        config.wall_epoch_ms = wall_epoch_ms;
        config.lag = Duration::from_micros(500);
        SimReplicaSet::new(config, Box::new(Seeded::new(1)), Instant::ZERO)
    });
    served.map_err(|error| Stop::Failed(format!("the simulated set: {error}")))
}

/// A running deployment.
#[derive(Debug)]
pub struct Deployment {
    /// What it is.
    pub kind: Kind,
    uri: String,
    internal: Client,
    routers: Vec<Mongos>,
    /// Real or simulated servers that die with the value, where they are the runner's own.
    _servers: Mutex<Box<dyn Any + Send>>,
}

impl Deployment {
    /// Starts a deployment, or attaches to the shared one. Blocks.
    ///
    /// # Errors
    ///
    /// When the servers do not start.
    pub fn start(kind: Kind) -> Checked<Self> {
        if kind == Kind::Simulated {
            let served = simulated()?;
            return Self::of(kind, served.uri(Some("rs")), Vec::new(), Box::new(served));
        }
        let (uri, cluster) = match kind.shared() {
            Some(uri) => (uri, None),
            None => {
                let cluster = Cluster::start(&format!("spec-{}", kind.name()), kind.plan())
                    .map_err(|why| Stop::Failed(format!("{}: {why}", kind.name())))?;
                (cluster.uri(), Some(cluster))
            }
        };
        let mut routers = Vec::new();
        if let Some(cluster) = &cluster {
            let member = cluster.address(0);
            for services in [1, 2] {
                let outside = crate::rt::outside();
                let router = match kind {
                    Kind::Routers => outside.block_on(Mongos::start(&member)),
                    Kind::LoadBalancer => {
                        outside.block_on(Mongos::start_balancer(&member, services))
                    }
                    _ => break,
                };
                routers.push(router.map_err(|why| Stop::Failed(format!("a router: {why}")))?);
            }
        }
        Self::of(kind, uri, routers, Box::new(cluster))
    }

    fn of(
        kind: Kind,
        uri: String,
        routers: Vec<Mongos>,
        servers: Box<dyn Any + Send>,
    ) -> Checked<Self> {
        let internal = ClientOptions::parse_uri(&uri)
            .map(|parsed| parsed.options)
            .and_then(Client::with_options)
            .map_err(|error| Stop::Failed(format!("{uri}: {error}")))?;
        Ok(Self {
            kind,
            uri,
            internal,
            routers,
            _servers: Mutex::new(servers),
        })
    }

    /// Waits until the replies of all members have times. With users, a set has none before its
    /// keys for them are made, which takes a moment after its first election.
    ///
    /// # Errors
    ///
    /// When that takes longer than a minute.
    pub async fn await_times(&self) -> Checked {
        if self.kind != Kind::ReplicaSetAuth {
            return Ok(());
        }
        let all = async {
            for member in [ReadPreference::Primary, ReadPreference::secondary(None)] {
                // Secondaries are drawn: more draws than members.
                for _ in 0..10 {
                    while !self.tells_time(&member).await? {}
                }
            }
            Ok(())
        };
        let told = tokio::time::timeout(Duration::from_secs(60), all).await;
        told.unwrap_or_else(|_| Err("the set has no cluster times".into()))
    }

    async fn tells_time(&self, member: &ReadPreference) -> Checked<bool> {
        let ping = self.internal.database("admin");
        let ping = ping.run_command(doc! { "ping": 1 });
        let reply = ping.selection_criteria(member.clone()).await;
        let reply = reply.map_err(|error| Stop::Failed(format!("ping: {error}")))?;
        Ok(reply.contains_key("operationTime"))
    }

    /// The client for what the runner does itself.
    #[must_use]
    pub fn internal(&self) -> &Client {
        &self.internal
    }

    /// The connection string for a client entity that wants one router, several, or does not care.
    pub(super) fn uri_for(&self, several_routers: Option<bool>) -> String {
        let routers = match several_routers {
            Some(false) => self.routers.get(..1).unwrap_or_default(),
            _ => &self.routers,
        };
        if routers.is_empty() {
            return self.uri.clone();
        }
        if self.kind == Kind::LoadBalancer {
            // The first has one service behind it, the second has two.
            let several = several_routers != Some(false);
            let balancer = &self.routers[usize::from(several)];
            return format!("mongodb://{}/?loadBalanced=true", balancer.address());
        }
        let hosts: Vec<String> = routers.iter().map(|r| r.address().to_string()).collect();
        format!("mongodb://{}/", hosts.join(","))
    }

    /// The servers' version and parameters.
    ///
    /// # Errors
    ///
    /// When the servers do not answer.
    pub async fn ask(&self) -> Checked<(Version, Document)> {
        let admin = self.internal.database("admin");
        let ask = async |command| {
            let reply = admin.run_command(command).await;
            reply.map_err(|error| Stop::Failed(format!("{}: {error}", self.kind.name())))
        };
        let build_info = ask(doc! { "buildInfo": 1 }).await?;
        let parameters = ask(doc! { "getParameter": "*" }).await?;
        Ok((Version::of_server(&build_info)?, parameters))
    }
}
