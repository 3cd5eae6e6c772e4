//! What tests put in a server's place or before it: listeners that are no servers or do not even
//! accept, a proxy that harms what passes or makes a mongos of a mongod, a road and a network that
//! hold it up or lose it, a tap that records it, an end of TLS before a plain server, and a name
//! server.

mod black_hole;
mod listener;
mod mongos;
pub mod name_server;
mod network;
mod proxy;
mod road;
mod tap;
mod tls;
mod tls_terminator;

pub use self::{
    black_hole::BlackHole,
    listener::{Bogus, Manner},
    mongos::Mongos,
    name_server::NameServer,
    network::Network,
    proxy::{Fate, Proxy, Request},
    road::{Road, Way},
    tap::{Sent, Tap},
    tls::TlsListener,
    tls_terminator::{Presented, Terminator, Versions},
};
