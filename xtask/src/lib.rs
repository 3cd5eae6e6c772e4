//! What the project's commands and its live tests share: the fetched programs and files, the
//! certificates, and real servers that are started, broken and stopped.
//!
//! Nothing here speaks through the client under test: [`wire`] is a blocking OP_MSG client of its
//! own, so that a broken client can't hide behind a broken harness.

pub mod certificates;
pub mod cluster;
pub mod failure;
pub mod fixtures;
pub mod mongod;
pub mod process;
pub mod setup;
mod watchdog;
pub mod wire;

pub use failure::{Context, Failure, Result};
