//! What tests put in a server's place or before it: listeners that are no servers, a proxy that
//! harms what passes, a road and a network that hold it up or lose it, and a name server.

mod listener;
mod name_server;
mod network;
mod proxy;
mod road;
mod tls;

pub use self::{
    listener::{Bogus, Manner},
    name_server::{NameServer, Service},
    network::Network,
    proxy::{Fate, Proxy, Request},
    road::{Road, Way},
    tls::TlsListener,
};
