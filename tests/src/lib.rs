//! Specification, live and simulated tests of mongo-client, and what they share.

pub mod conformance;
pub mod deploy;
pub mod executed;
pub mod fault;
pub mod harness;
pub mod live;
pub mod logs;
pub mod pools;
pub mod rt;
pub mod secrets;
pub mod secure;
pub mod sim;
pub mod spec;
pub mod unified;
pub mod watched;
pub mod witness;
