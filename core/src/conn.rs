//! The connection machine: one socket's protocol.
//!
//! Decides what is sent and what is expected on one socket: TLS, handshake, authentication, and
//! then one exchange at a time. It does not dial, does not choose which command runs, and knows
//! nothing of pools: whoever drives the socket carries bytes, faults and time.
//!
//! Invariants:
//! 1. One exchange at a time: nothing is written while a reply is unread.
//! 2. A reply that does not answer the request (`responseTo`) ends the connection.
//! 3. [`ConnEvent::Closed`] is emitted exactly once, last; afterwards nothing is written.
//! 4. Whatever the server sends, memory is bounded by the message limit.
//!
//! The states and their transitions stand in `conn/machine.rs`.
//!
//! Specifications: "MongoDB Handshake", "OP_MSG", "Authentication", "CMAP" (establishing a
//! connection).

mod channel;
mod config;
mod handshake;
mod machine;
mod metadata;
mod types;

#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod metadata_tests;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod scratch_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tls_tests;

pub use self::{
    channel::Scratch,
    config::ConnectionConfig,
    machine::Connection,
    metadata::{ClientMetadata, HandshakeEnvironment, client_metadata},
    types::{
        Abandoned, BeginError, ConnError, ConnEvent, ConnTimer, Health, IoFault, Phase, Purpose,
    },
};
