//! Servers that misbehave: listeners that are no servers, and a proxy that harms what passes.

mod listener;
mod proxy;
mod tls;

pub use self::{
    listener::{Bogus, Manner},
    proxy::{Fate, Proxy, Request},
    tls::TlsListener,
};
