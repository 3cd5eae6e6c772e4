//! What tests put in a server's place or before it: listeners that are no servers, a proxy that
//! harms what passes, and a name server.

mod listener;
mod name_server;
mod proxy;
mod tls;

pub use self::{
    listener::{Bogus, Manner},
    name_server::{NameServer, Service},
    proxy::{Fate, Proxy, Request},
    tls::TlsListener,
};
