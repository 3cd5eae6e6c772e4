//! A client's world without a database: virtual time, a network of bytes, and simulated servers.
//!
//! - [`Sim`] is a runtime for the client. Everything runs on the calling thread; time moves only
//!   when no task can run, and then straight to the next event; which of several runnable tasks runs
//!   next is drawn from the seed. Two runs with one seed are the same to the last byte.
//! - [`SimServer`] and [`SimReplicaSet`] speak the wire protocol. They are machines without clock and
//!   sockets: [`Sim::host`] puts them on the simulated network, [`Served`] on real ports.
//! - [`SimCluster`] puts routers before a replica set.
//! - [`Script`] answers by a closure where a server would know too much.
//!
//! docs/SIMULATION.md says what is simulated; [`Listing`] has the names.
//!
//! ```
//! use std::time::Duration;
//!
//! use mongo_client_sim::{Seeded, SetConfig, Sim, SimReplicaSet};
//!
//! let sim = Sim::new(7);
//! let addresses = (0..3).map(|n| format!("m{n}.test:2701{n}"));
//! let config = SetConfig::new("rs", addresses);
//! let set = SimReplicaSet::new(config, Box::new(Seeded::new(7)), sim.now());
//! let hosted = sim.host(set);
//!
//! // A client on `sim.runtime()` would lose its primary now, and find the next one.
//! hosted.with(|set, now| set.kill(0, now));
//! sim.block_on(sim.sleep(Duration::from_secs(15)));
//! assert_ne!(hosted.with(|set, _| set.primary()), Some(0));
//! ```

mod cancel;
mod choices;
mod clock;
mod cluster;
mod datagram;
mod deployment;
mod engine_world;
mod executor;
mod failure;
mod host;
mod listing;
mod machinery;
mod net;
mod runtime;
mod script;
mod server;
mod set;
mod store;
pub mod swarm;
mod tcp;
mod wire;

pub use mongo_client_core::time::Instant;

pub use self::{
    cancel::{GiveUpAt, GivenUp, give_up_at},
    choices::{Choices, Listed, Record, Seeded, Streams},
    clock::WallClock,
    cluster::{ClusterConfig, SimCluster},
    deployment::Deployment,
    engine_world::{EngineWorld, Happening},
    executor::{Sim, Stats},
    host::Hosted,
    listing::Listing,
    machinery::in_machinery,
    net::{
        Behaviour, Peer, PeerOutput, Wire,
        fault::{Fault, FaultCounts, FaultKind, Nature},
        network::NetworkConfig,
    },
    script::{Script, Scripted, hello_reply, member_reply, request_document},
    server::{Hook, OpTime, Output, Scene, Seen, ServerConfig, SimServer, User},
    set::{MemberConfig, SetConfig, SimReplicaSet},
    tcp::Served,
    wire::Command,
};
