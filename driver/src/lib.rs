//! The runtime-neutral driver of mongo-client: futures and the public API over the sans-IO core.

pub mod client;
pub mod session;
