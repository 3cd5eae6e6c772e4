//! The sans-IO core of mongo-client.
//!
//! Protocol machines that take bytes, timer events and replies, and return messages, selection
//! decisions and pool actions. Nothing in this crate touches a socket, a clock, a random source or
//! an executor: every outside fact is an argument.
//!
//! Method grammar, the same on every machine:
//!
//! - `handle_x(.., now)`: an outside fact enters;
//! - `poll_x()`: an effect leaves (`None`: nothing more at present);
//! - `poll_timeout() -> Option<(Instant, Reason)>`: the next deadline and why it exists;
//! - verbs (`begin`, `checkout`, `close`): commands; nouns: getters; `want()`: an idempotent peek.
//!
//! `now` is always the last argument.

pub mod auth;
pub mod codec;
pub mod concern;
pub mod conn;
pub mod cursor;
pub mod dns;
#[cfg(feature = "engine")]
pub mod engine;
pub mod error;
pub mod event;
pub mod hello;
pub mod id;
pub mod marks;
pub mod monitor;
pub mod mutants;
pub mod nesting;
pub mod net;
pub mod op;
pub mod options;
pub mod pool;
pub mod read_preference;
pub mod rng;
pub mod route;
pub mod select;
pub mod session;
pub mod settings;
pub mod time;
pub mod tls;
pub mod topology;
pub mod uri;
pub mod wire;

#[cfg(test)]
#[cfg(feature = "engine")]
mod secrets_tests;

pub use bson;
