//! A deterministic runtime for testing the driver: virtual clock, scripted network, seeded
//! executor.
//!
//! Everything runs on the calling thread. Time moves only when no task can run, and then straight
//! to the next event; which of several runnable tasks runs next is drawn from the seed. Two runs
//! with one seed are the same to the last byte.
//!
//! ```
//! use mongo_client_sim::Sim;
//!
//! let sim = Sim::new(7);
//! let runtime = sim.runtime();
//! assert_eq!(sim.block_on(async { 6 * 7 }), 42);
//! assert_eq!(runtime.name(), "sim");
//! ```

mod choices;
mod datagram;
mod deployment;
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
mod tcp;
mod wire;

pub use mongo_client_core::time::Instant;

pub use self::{
    choices::{Choices, Listed, Seeded},
    deployment::Deployment,
    executor::{Sim, Stats},
    host::Hosted,
    listing::Listing,
    machinery::in_machinery,
    net::{Behaviour, Peer, PeerOutput, Wire},
    script::{Script, Scripted, hello_reply, member_reply, request_document},
    server::{Hook, OpTime, Output, Scene, Seen, ServerConfig, SimServer},
    set::{SetConfig, SimReplicaSet},
    tcp::Served,
};
