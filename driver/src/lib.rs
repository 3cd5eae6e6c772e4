//! The runtime-neutral driver of mongo-client: futures and the public API over the sans-IO core.

pub mod action;
pub mod client;
pub mod collection;
pub mod cursor;
pub mod database;
pub mod namespace;
pub mod options;
pub mod results;
pub mod session;
