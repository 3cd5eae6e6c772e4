//! What the peers of the end-to-end benchmarks share: cases, documents, load and measures.
//!
//! Nothing here knows a driver, so that the official driver's peer, which lives in a workspace of
//! its own, runs exactly the same cases.

mod allocations;
mod case;
mod control;
mod data;
mod elements;
mod histogram;
mod load;
mod peer;
mod rows;

pub use allocations::Counting;
pub use case::Case;
pub use control::{Measures, Turn, serve};
pub use data::{DATABASE, NewSmall, Small, big, kib64, new_small, small, small_raw};
pub use elements::{Element, Elements};
pub use histogram::Histogram;
pub use load::Executor;
pub use peer::{Error, MANY, Peer, Result, Worker, all, found, with_pool};
pub use rows::{RowClient, row};
